"""What a pipeline tells, on a terminal or in a pipe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from crosstask.cli.terminal import EVERY, ProgressLines, err, manner, note, on_terminal, out, progress_bar
from crosstask.history import EPOCH, duration, epoch_line, read_history
from crosstask.pipeline.listener import Listener, Update
from crosstask.runs import HISTORY, RunSpec

if TYPE_CHECKING:
    from crosstask.evaluation.progress import RunProgress
    from crosstask.evaluation.run import State


class Terminal(Listener):
    """Results to standard output; warnings, and progress if a person looks on, to standard error."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}

    def told(self, line: str) -> None:
        out.print(line, markup=False)

    def warned(self, line: str) -> None:
        err.print(line, markup=False)

    def followed(self, line: str) -> None:
        note(line)

    def epoch(self, spec: RunSpec, row: Mapping[str, Any]) -> None:
        """The first and the last epoch as lines; those between go with the lines of progress."""
        epochs = spec.experiment.training.epochs
        line = epoch_line(row, epochs)
        if int(row[EPOCH]) + 1 in (1, epochs):
            note(f"{spec.name}: {line}")
        self._latest[spec.name] = line

    @contextmanager
    def progress(self, title: str, *, at_once: bool = True) -> Iterator[Update]:
        with progress_bar(title, at_once=at_once) as update:
            if isinstance(update, ProgressLines):
                yield lambda done, total, what="": update(done, total, what or self._latest.get(title, ""))
            else:
                yield update

    @contextmanager
    def runs(self, specs: Sequence[RunSpec]) -> Iterator[Callable[[Sequence[State]], None]]:
        """A live table of all runs on a terminal; elsewhere lines now and then, and one when a run is done."""
        if not on_terminal():
            yield RunLines(specs)
            return
        named = names_of(specs)
        with Live(console=err, refresh_per_second=2, transient=True) as live:
            yield lambda states: live.update(_table(states, named))

    @property
    def draws_training(self) -> bool:
        return on_terminal() and not manner.as_json


class RunLines:
    """The first and the last epoch of each run, and when it is done; between them a line now and then.

    That is of the latest epoch, or of how far all of them are where there was none since the last line.

    Args:
        specs: the runs.
        say: told each line.
        clock: seconds.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        say: Callable[[str], None] = note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._specs, self._say, self._clock = specs, say, clock
        self._named = names_of(specs)
        self._told = {spec.folder: len(read_history(spec.folder / HISTORY)) for spec in specs}
        self._done: set[Path] = set()
        self._last = clock()

    def __call__(self, states: Sequence[State]) -> None:
        for state in states:
            if state.doing != "waiting" and state.spec.folder not in self._done:
                self._tell_epochs(state.spec)
            if state.doing == "done" and state.spec.folder not in self._done:
                self._done.add(state.spec.folder)
                count = f"{len(self._done)} of {len(states)}"
                self._line(f"{self._named[state.spec.folder]}: done, {state.epochs} epochs ({count})")
        if self._is_time:
            self._line(self._summary())

    @property
    def _is_time(self) -> bool:
        return self._clock() - self._last >= EVERY

    def _line(self, line: str) -> None:
        self._say(line)
        self._last = self._clock()

    def _tell_epochs(self, spec: RunSpec) -> None:
        rows = read_history(spec.folder / HISTORY)
        new, self._told[spec.folder] = rows[self._told[spec.folder] :], len(rows)
        epochs = spec.experiment.training.epochs
        for row in new:
            if int(row[EPOCH]) + 1 in (1, epochs) or (row is new[-1] and self._is_time):
                self._line(f"{self._named[spec.folder]}: {epoch_line(row, epochs)}")

    def _summary(self) -> str:
        from crosstask.evaluation.progress import SCORED, SCORING, TRAINING, progress_of, seconds_left

        runs = [progress_of(spec) for spec in self._specs]
        at_work = [run for run in runs if run.state in (TRAINING, SCORING)]
        doing = ", ".join(f"{self._named[run.spec.folder]} {_doing(run, run.state == SCORING)}" for run in at_work)
        left = seconds_left(runs)
        return (
            f"{sum(run.state == SCORED for run in runs)} of {len(runs)} runs are done"
            + (f"; at work: {doing}" if doing else "")
            + (f"; about {duration(left)} left" if math.isfinite(left) else "")
        )


def _doing(run: RunProgress, scored: bool) -> str:
    return "is scored" if scored else f"{run.epochs} of {run.planned} epochs"


def names_of(specs: Sequence[RunSpec]) -> dict[Path, str]:
    """What runs are called, by their folders: with the name of their experiment where there are several."""
    several = len({spec.experiment.output_folder for spec in specs}) > 1
    return {spec.folder: f"{spec.experiment.name}: {spec.name}" if several else spec.name for spec in specs}


def _table(states: Sequence[State], named: Mapping[Path, str]) -> Table:
    table = Table("Run", "Epochs", "", box=None)
    for state in states:
        total = state.spec.experiment.training.epochs
        filled = round(20 * min(state.epochs / total, 1))
        bar = "[green]" + "━" * filled + "[/][dim]" + "━" * (20 - filled) + "[/]"
        table.add_row(escape(named[state.spec.folder]), f"{bar} {state.epochs}/{total}", state.doing)
    return table
