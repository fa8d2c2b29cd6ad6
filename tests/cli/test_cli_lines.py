"""Progress in a log: a line now and then, by a clock that is given."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from crosstask.cli import listening, terminal
from crosstask.cli.listening import RunLines, Terminal
from crosstask.cli.terminal import ProgressLines
from crosstask.evaluation.run import State, state_of
from progress_fakes import benchmark, finish, hold, write_history


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_thousand_steps_in_five_minutes_are_nine_lines_with_share_and_time_left():
    clock, said = Clock(), []
    update = ProgressLines("Preparing", said.append, clock)
    for done in range(1, 1201):
        clock.now += 0.25
        update(done, 1200, f"case {done}")
    assert len(said) == 9
    assert said[0] == "Preparing: 120 of 1200 (10%), about 4 min left; case 120"
    assert said[-1] == "Preparing: 1080 of 1200 (90%), about 30 s left; case 1080"


def test_what_is_quick_says_nothing():
    clock, said = Clock(), []
    update = ProgressLines("Preparing", said.append, clock)
    for done in range(1, 11):
        clock.now += 2
        update(done, 10)
    assert said == []


def test_what_was_done_before_took_no_time_of_ours():
    clock, said = Clock(), []
    update = ProgressLines("hps/seed0", said.append, clock)
    for done in range(501, 700):
        clock.now += 1
        update(done, 700)
    assert said[0] == "hps/seed0: 530 of 700 (76%), about 3 min left"


def test_a_step_that_takes_longer_than_the_pause_is_a_line_each():
    clock, said = Clock(), []
    update = ProgressLines("Scoring", said.append, clock)
    for done in range(1, 5):
        clock.now += 100
        update(done, 4)
    assert [line.partition(" (")[0] for line in said] == ["Scoring: 1 of 4", "Scoring: 2 of 4", "Scoring: 3 of 4"]


def test_epochs_of_runs_are_the_first_and_the_last_and_one_now_and_then(tmp_path):
    output = tmp_path / "results"
    specs = benchmark(output, methods=["hps"], seeds=[0], training={"epochs": 60})
    clock, said = Clock(), []
    tell = RunLines(specs, said.append, clock)
    for epoch in range(1, 61):
        clock.now += 5
        write_history(specs[0], [0.1] * epoch, seconds=5.0)
        tell([State(specs[0], epoch, "training")])
    tell([State(specs[0], 60, "done")])
    epochs = [int(line.split()[2]) for line in said if ": epoch " in line]
    assert epochs == [1, 7, 13, 19, 25, 31, 37, 43, 49, 55, 60]
    assert said[-1] == "hps/seed0: done, 60 epochs (1 of 1)" and len(said) == 12


def test_between_long_epochs_it_says_how_far_all_are(tmp_path):
    specs = benchmark(tmp_path / "results", methods=["hps"], seeds=[0, 1])
    finish(specs[0])
    clock, said = Clock(), []
    tell = RunLines(specs, said.append, clock)
    hold(specs[1])
    for _ in range(10):
        clock.now += 10
        tell([state_of(spec) for spec in specs])
    assert said == ["hps/seed0: done, 4 epochs (1 of 2)"] + 3 * [
        "1 of 2 runs are done; at work: hps/seed1 0 of 4 epochs; about 8 s left"
    ]


def test_a_training_in_this_process_tells_epochs_with_its_progress(tmp_path, monkeypatch):
    (spec,) = benchmark(tmp_path / "results", methods=["hps"])
    clock, said = Clock(), []
    monkeypatch.setattr(listening, "note", said.append)
    monkeypatch.setattr(listening, "progress_bar", lambda *_, **__: _lines(clock, said))
    listener = Terminal()
    with listener.progress(spec.name, at_once=False) as step:
        for epoch in range(4):
            for batch in range(10):
                clock.now += 5
                step(epoch * 10 + batch + 1, 40)
            listener.epoch(spec, {"epoch": epoch, "seconds": 50.0, "score": 0.5, "loss/dose": 0.25})
    first = "hps/seed0: epoch 1 of 4: loss dose 0.25; score 0.5000; 50.0 s"
    assert said.index(first) == 1 and said[-1] == first.replace("epoch 1", "epoch 4")
    assert said[2] == "hps/seed0: 12 of 40 (30%), about 2 min left; epoch 1 of 4: loss dose 0.25; score 0.5000; 50.0 s"
    assert len(said) == 2 + 6


class _lines:  # noqa: N801
    def __init__(self, clock, said):
        self.lines = ProgressLines("hps/seed0", said.append, clock)

    def __enter__(self):
        return self.lines

    def __exit__(self, *_):
        return None


@pytest.fixture
def printed(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=stream, soft_wrap=True))
    terminal.manner.reset()
    yield stream
    terminal.manner.reset()


@pytest.mark.parametrize(("verbose", "seen"), [(0, []), (1, ["decided"]), (2, ["decided", "wrote [it]"])])
def test_notes_of_modules_are_heard_as_far_as_they_are_asked_for(printed, verbose, seen):
    terminal.manner.be(verbose=verbose)
    log = logging.getLogger("crosstask.somewhere")
    log.info("decided")
    log.debug("wrote [it]")
    logging.getLogger("another").warning("nothing of ours")
    lines = printed.getvalue().splitlines()
    assert [line.partition(" s  ")[2] for line in lines] == seen
    assert all(float(line.partition(" s  ")[0]) >= 0 for line in lines)


def test_a_quiet_command_has_no_progress(printed):
    terminal.manner.be(quiet=True)
    terminal.note("on the way")
    assert not printed.getvalue() and not terminal.on_terminal() and terminal.out.quiet


def test_runs_of_several_experiments_are_told_apart(tmp_path):
    specs = [
        spec
        for name in ("first", "second")
        for spec in benchmark(tmp_path / name, name=name, methods=["hps"], seeds=[0])
    ]
    said = []
    lines = RunLines(specs, said.append, Clock())
    finish(specs[1])
    lines([state_of(spec) for spec in specs])
    assert [line for line in said if "done" in line] == ["second: hps/seed0: done, 4 epochs (1 of 2)"]
    assert all(line.startswith("second: hps/seed0: ") for line in said)
