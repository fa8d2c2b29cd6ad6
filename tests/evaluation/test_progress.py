"""How far runs are, by files that are written by hand."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosstask.evaluation.progress import benchmark_progress, progress_of
from crosstask.history import duration
from crosstask.locks import PRESENT, Holder, holder_of, locked, present, present_in
from crosstask.runs import LOCK, RECORD, SCORES
from progress_fakes import benchmark, finish, gone, hold, log, report, train

posix = pytest.mark.skipif(sys.platform == "win32", reason="a look at another process would end it")


@posix
def test_the_state_of_a_run_follows_its_folder_lock_and_log(tmp_path: Path) -> None:
    spec = benchmark(tmp_path / "results")[0]
    dead = gone()
    assert progress_of(spec).state == "waiting"
    hold(spec)
    assert (progress_of(spec).state, progress_of(spec).process) == ("training", Holder.here())
    train(spec, [0.1, 0.2])
    assert progress_of(spec).state == "training"
    hold(spec, dead)
    assert (progress_of(spec).state, progress_of(spec).epochs) == ("interrupted", 2)
    log(spec, f"{spec.name}: epoch 1 of 4: loss dose 0.5; score 0.1; 2.0 s\n")
    assert progress_of(spec).state == "interrupted"
    log(spec, "Traceback\nKeyboardInterrupt\n")
    assert progress_of(spec).state == "interrupted"
    log(spec, "Traceback\ncrosstask.errors.InputError: training.batch_size: lower it\n")
    failed = progress_of(spec)
    assert (failed.state, failed.message) == ("failed", "training.batch_size: lower it")
    hold(spec)
    assert progress_of(spec).state == "training", "it was begun again"
    (spec.folder / LOCK).unlink()
    log(spec, "")
    finish(spec, scored=False)
    assert progress_of(spec).state == "trained"
    with present(spec.folder):
        assert progress_of(spec).state == "scoring"
    assert progress_of(spec).state == "trained"
    finish(spec)
    assert (progress_of(spec).state, progress_of(spec).epochs) == ("scored", 4)


def test_a_process_of_another_machine_is_believed(tmp_path: Path) -> None:
    spec = benchmark(tmp_path / "results")[0]
    hold(spec, Holder(1, "another-machine"))
    assert progress_of(spec).state == "training"


@posix
def test_who_is_at_work_says_so_and_is_forgotten_when_it_is_gone(tmp_path: Path) -> None:
    with present(tmp_path):
        assert present_in(tmp_path) == [Holder.here()]
        dead = gone()
        (tmp_path / PRESENT / "dead").write_text(f"{dead}\n")
        assert present_in(tmp_path) == [Holder.here()]
        with present(tmp_path):
            assert not (tmp_path / PRESENT / "dead").exists()
    assert present_in(tmp_path) == [] and not (tmp_path / PRESENT).exists()


def test_a_look_at_a_lock_leaves_it_to_its_holder(tmp_path: Path) -> None:
    assert holder_of(tmp_path, "a.lock") is None
    with locked(tmp_path, "a.lock", "trained"):
        assert holder_of(tmp_path, "a.lock") == Holder.here() and Holder.here().is_alive is not False
    (tmp_path / "a.lock").write_text("nonsense")
    assert holder_of(tmp_path, "a.lock") is None
    (tmp_path / "a.lock").write_text("4711\n")  # as earlier versions wrote it
    assert holder_of(tmp_path, "a.lock") == Holder(4711)


def test_the_time_left_is_that_of_the_nearest_run_that_was_timed(tmp_path: Path) -> None:
    output = tmp_path / "results"
    segmentation, dose, hps = benchmark(output)
    look = lambda: benchmark_progress("watched", output, [segmentation, dose, hps])  # noqa: E731
    assert math.isnan(look().seconds_left) and look().share == 0
    train(segmentation, [0.1, 0.2], seconds=3.0)
    # 2 epochs of 3 s, and of the others 4 each, which nobody has timed
    assert look().seconds_left == pytest.approx(2 * 3 + 4 * 3 + 4 * 3)
    train(hps, [0.1], seconds=10.0)
    assert look().seconds_left == pytest.approx(2 * 3 + 4 * 3 + 3 * 10)
    hold(segmentation)
    hold(hps)
    assert look().seconds_left == pytest.approx((2 * 3 + 4 * 3 + 3 * 10) / 2), "two at a time"
    assert look().share == pytest.approx(3 / 12)
    for spec in (segmentation, dose):
        (spec.folder / LOCK).unlink(missing_ok=True)
        finish(spec)
        os.utime(spec.folder / RECORD, (1000, 1000))
        os.utime(spec.folder / SCORES, (1005, 1005))
    assert look().seconds_left == pytest.approx(3 * 10 + 5), "scoring took the others 5 s"
    os.utime(segmentation.folder / SCORES, (999_999, 999_999))  # scored on another day
    assert look().seconds_left == pytest.approx(3 * 10 + 5)


def test_a_run_that_ended_early_counts_as_whole(tmp_path: Path) -> None:
    specs = benchmark(tmp_path / "results", methods=["hps"])
    finish(specs[0], epochs=2)
    assert benchmark_progress("watched", tmp_path / "results", specs).share == 1


def test_it_is_done_when_all_is_scored_and_the_page_is_there(tmp_path: Path) -> None:
    output = tmp_path / "results"
    specs = benchmark(output)
    look = lambda: benchmark_progress("watched", output, specs)  # noqa: E731
    for spec in specs:
        assert not look().is_done
        finish(spec)
    assert not look().is_done, "there is no page"
    report(output)
    assert look().is_done and look().seconds_left == 0
    with present(output):
        assert not look().is_done, "it is at work yet"
    os.utime(output / "index.html", (1000, 1000))
    assert not look().is_done, "the page is older than the scores"


def test_it_looks_without_torch() -> None:
    code = "import sys, crosstask.evaluation.progress, crosstask.cli.watching; "
    code += "from crosstask.pipeline.subject import experiment_at; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (100, "2 min"), (3570, "1 h"), (3661, "1 h 1 min"), (7200, "2 h"),
     (86400, "1 d"), (100_000, "1 d 4 h"), (172_000, "2 d")],
)  # fmt: skip
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
