"""What a pipeline tells, on a terminal or in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from crosstask.cli.terminal import err, on_terminal, out, progress_bar
from crosstask.history import epoch_line, read_history
from crosstask.pipeline.listener import Listener, Update
from crosstask.runs import HISTORY, RunSpec

if TYPE_CHECKING:
    from crosstask.evaluation.run import State


class Terminal(Listener):
    """Results to standard output; warnings, and progress if a person looks on, to standard error."""

    def told(self, line: str) -> None:
        out.print(line, markup=False)

    def warned(self, line: str) -> None:
        err.print(line, markup=False)

    @contextmanager
    def progress(self, title: str, *, at_once: bool = True) -> Iterator[Update]:
        with progress_bar(title, at_once=at_once) as update:
            yield update

    @contextmanager
    def runs(self, specs: Sequence[RunSpec]) -> Iterator[Callable[[Sequence[State]], None]]:
        """A live table of all runs on a terminal; elsewhere a line an epoch, and one when a run is done."""
        if not on_terminal():
            yield _Lines(specs)
            return
        with Live(console=err, refresh_per_second=2, transient=True) as live:
            yield lambda states: live.update(_table(states))

    @property
    def draws_training(self) -> bool:
        return on_terminal()


class _Lines:
    """A line for every epoch that a run has ended since it was looked at last."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._told = {spec.name: len(read_history(spec.folder / HISTORY)) for spec in specs}
        self._done: set[str] = set()

    def __call__(self, states: Sequence[State]) -> None:
        for state in states:
            if state.doing != "waiting" and state.spec.name not in self._done:
                self._tell_epochs(state.spec)
            if state.doing == "done" and state.spec.name not in self._done:
                self._done.add(state.spec.name)
                count = f"{len(self._done)} of {len(states)}"
                err.print(f"{state.spec.name}: done, {state.epochs} epochs ({count})", markup=False)

    def _tell_epochs(self, spec: RunSpec) -> None:
        for row in read_history(spec.folder / HISTORY)[self._told[spec.name] :]:
            self._told[spec.name] += 1
            err.print(f"{spec.name}: {epoch_line(row, spec.experiment.training.epochs)}", markup=False)


def _table(states: Sequence[State]) -> Table:
    table = Table("Run", "Epochs", "", box=None)
    for state in states:
        total = state.spec.experiment.training.epochs
        filled = round(20 * min(state.epochs / total, 1))
        bar = "[green]" + "━" * filled + "[/][dim]" + "━" * (20 - filled) + "[/]"
        table.add_row(escape(state.spec.name), f"{bar} {state.epochs}/{total}", state.doing)
    return table
