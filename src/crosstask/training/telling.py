"""Who is told what happens in a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crosstask.history import epoch_line
from crosstask.runs import RunSpec


def _unheard(line: str) -> None:
    pass


@dataclass(frozen=True)
class Telling:
    """Who is told what happens in a training.

    Attributes:
        tell: in one line what the user should know.
        follow: the row of each epoch once it is on disk; None: ``tell`` gets a line of it.
        step: how many batches of how many of the whole training are done.
        draws: a progress bar on the terminal, in the place of lines of epochs.
    """

    tell: Callable[[str], None] = _unheard
    follow: Callable[[Mapping[str, Any]], None] | None = None
    step: Callable[[int, int], None] | None = None
    draws: bool = False

    def epochs_of(self, spec: RunSpec) -> Callable[[Mapping[str, Any]], None] | None:
        """What is told the rows of a run's epochs; None where a bar is drawn."""
        if self.draws or self.follow is not None:
            return self.follow
        return lambda row: self.tell(f"{spec.name}: {epoch_line(row, spec.experiment.training.epochs)}")

    @classmethod
    def through(cls, send: Callable[[tuple[object, ...]], None], *, draws: bool) -> Telling:
        """One that sends all to another process, which is to :meth:`hear` it."""
        return cls(
            lambda line: send(("tell", line)),
            lambda row: send(("follow", dict(row))),
            lambda done, of: send(("step", done, of)),
            draws,
        )

    def hear(self, what: str, *values: Any) -> None:
        """Pass on what another process has sent."""
        heard = getattr(self, what)
        if heard is not None:
            heard(*values)
