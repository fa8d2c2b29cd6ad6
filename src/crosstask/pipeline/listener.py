"""How work tells what it does: it calls a listener, and never prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crosstask.evaluation.run import State
    from crosstask.runs import RunSpec

Update = Callable[..., None]


class Listener:
    """Hears what happens, and does nothing with it; a subclass shows what it wants to show.

    The command line's prints (``crosstask.cli.terminal``); a notebook may collect, a window draw.
    """

    def told(self, line: str) -> None:
        """A result, in one line."""

    def warned(self, line: str) -> None:
        """Something that the user should know, in one line."""

    def followed(self, line: str) -> None:
        """What happens on the way, in one line; nobody needs it afterwards."""

    def epoch(self, spec: RunSpec, row: Mapping[str, Any]) -> None:
        """A run that is trained in this process has ended an epoch; ``row`` is that of its history."""

    @contextmanager
    def progress(self, title: str, *, at_once: bool = True) -> Iterator[Update]:
        """A stretch of work; what it gives is called as ``update(done, total, what)``.

        Args:
            title: what is done.
            at_once: whether there is surely something to do; else nothing is to be seen before the first update.
        """
        yield _ignored

    @contextmanager
    def runs(self, specs: Sequence[RunSpec]) -> Iterator[Callable[[Sequence[State]], None] | None]:
        """The trainings of a benchmark; what it gives is told about once a second how far every run is."""
        yield None

    @property
    def draws_training(self) -> bool:
        """Whether a training in this process may draw its own progress bar on the terminal."""
        return False


def _ignored(done: int, total: int, what: str = "") -> None:
    pass
