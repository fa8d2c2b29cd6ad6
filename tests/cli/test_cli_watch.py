"""``crosstask watch``: snapshots, lines, and the end with the benchmark."""

from __future__ import annotations

import json
import time

import pytest

from crosstask.cli import watching
from crosstask.cli.watching import sparkline
from crosstask.evaluation.progress import RunProgress
from crosstask.runs import EXPERIMENT
from progress_fakes import benchmark, experiment_at, finish, hold, log, report, train


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results"


def test_a_snapshot_says_of_each_run_how_far_it_is(call, output):
    segmentation, dose, hps = benchmark(output)
    finish(segmentation)
    train(dose, [-0.5, -0.25])
    hold(dose)
    train(hps, [0.1])
    log(hps, "crosstask.errors.CrosstaskError: no memory [is] left\n")
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    shown = call("watch", output, "--once")
    assert shown.code == 0 and not shown.err
    lines = {line.split()[0]: line for line in shown.out.splitlines() if line.strip()}
    assert "scored" in lines["stl/seed0/segmentation"] and "4 of 4" in lines["stl/seed0/segmentation"]
    assert "▁▃▆█ 0.300" in lines["stl/seed0/segmentation"]
    assert "training" in lines["stl/seed0/dose"] and "2 of 4" in lines["stl/seed0/dose"]
    assert "0.5" in lines["stl/seed0/dose"] and "-0.250" in lines["stl/seed0/dose"]
    assert "failed" in lines["hps/seed0"] or "failed" in shown.out
    assert "hps/seed0: no memory [is] left" in shown.out
    assert "watched: 3 runs: 1 training, 1 failed, 1 scored; 58% of the epochs, about 10 s left" in shown.out
    assert "cores" in shown.out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before, "it writes nothing"


def test_json_has_the_same_for_scripts(call, output):
    specs = benchmark(output)
    train(specs[2], [0.25, float("nan")])
    found = json.loads(call("watch", output, "--json").out, parse_constant=pytest.fail)
    assert (found["name"], found["done"], found["at_work"]) == ("watched", False, [])
    assert found["counts"] == {
        "training": 0, "scoring": 0, "failed": 0, "interrupted": 1, "waiting": 2, "trained": 0, "scored": 0
    }  # fmt: skip
    run = found["runs"][2]
    assert (run["run"], run["state"], run["epochs"], run["epochs_planned"]) == ("hps/seed0", "interrupted", 2, 4)
    assert run["losses"] == {"segmentation": 0.5, "dose": 0.5} and run["score"] is None
    assert found["seconds_left"] == pytest.approx(2 * 2 + 2 * 4 * 2)
    assert found["machine"]["cores"] >= 1


def test_off_a_terminal_it_is_a_line_where_something_changes_and_it_ends_with_the_benchmark(call, output, monkeypatch):
    specs = benchmark(output)
    steps = [lambda: hold(specs[0]), lambda: None, lambda: [finish(spec) for spec in specs], lambda: report(output)]
    monkeypatch.setattr(watching, "_pause", lambda _: steps.pop(0)())
    shown = call("watch", output)
    (specs[0].folder / "train.lock").unlink(missing_ok=True)
    lines = [line[9:] for line in shown.out.splitlines()]
    assert shown.code == 0 and not steps
    assert len(lines) == 4, "nothing had changed once"
    assert "3 waiting; 0% of the epochs; nobody is at work" in lines[0] and "1 training" in lines[1]
    assert lines[-1] == "watched: 3 runs: 3 scored; 100% of the epochs"
    assert all(time.strptime(line[:8], "%H:%M:%S") for line in shown.out.splitlines())


def test_more_seeds_are_seen_when_the_benchmark_adds_them(output):
    benchmark(output)
    look = watching._Look(output)
    assert len(look().runs) == 3
    (output / EXPERIMENT).write_text(experiment_at(output, seeds=[0, 1]).dump())
    import os

    os.utime(output / EXPERIMENT, (4e9, 4e9))
    assert len(look().runs) == 6


def test_what_is_no_benchmark_is_told(call, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no run and no benchmark" in call("watch", "empty").error
    finish(benchmark(tmp_path / "results")[0])
    assert "is one run; give the benchmark" in call("watch", "results/runs/stl/seed0/segmentation").error
    assert "no such run folder" in call("watch", "nothing").error
    shown = call("watch", "nothing", "--json")
    assert shown.code == 2 and json.loads(shown.out)["exit_code"] == 2


def test_of_many_runs_those_that_matter_have_room(output):
    specs = benchmark(output, seeds=list(range(10)))
    states = ["scored"] * 20 + ["waiting"] * 5 + ["training"] + ["waiting"] * 4
    runs = [RunProgress(spec, state, []) for spec, state in zip(specs, states, strict=True)]
    shown, folded = watching._shown(runs, 6)
    assert [run.state for run in shown] == ["waiting"] * 4 + ["training"]
    assert folded == "5 waiting, 20 scored"


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([float("nan")], ""), ([1.0], "▁"), ([0, 1], "▁█"), ([0, float("nan"), 7], "▁ █"),
     (list(range(64)), "▁▁▂▂▃▃▄▄▅▅▆▆▇▇██")],
)  # fmt: skip
def test_sparklines(values, bars):
    assert sparkline(values) == bars
