"""What commands share: colours and progress on a terminal, plain lines elsewhere; how loud they are, and JSON."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from crosstask.errors import one_line
from crosstask.history import duration

# A table that goes to a file or a pipe is not cut to the width of a terminal that is not there.
out = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

EVERY = 30.0
"""Seconds between two lines of progress where no terminal draws a bar."""


@dataclass
class Manner:
    """How a command speaks.

    Attributes:
        quiet: errors and warnings alone.
        verbose: 1 for what is read and decided and where results go, 2 for every file that is written, too.
        as_json: one JSON document on standard output, everything else on standard error.
    """

    quiet: bool = False
    verbose: int = 0
    as_json: bool = False

    def be(self, *, quiet: bool = False, verbose: int = 0, as_json: bool = False) -> None:
        """Be quieter, louder, or speak JSON; what was asked for before stays."""
        self.quiet, self.as_json = self.quiet or quiet, self.as_json or as_json
        self.verbose = max(self.verbose, verbose)
        out.stderr = self.as_json
        out.quiet = self.quiet
        _listen(self.verbose)

    def reset(self) -> None:
        """Be as a command is without options."""
        self.quiet, self.verbose, self.as_json = False, 0, False
        self.be()


manner = Manner()
_LOG = logging.getLogger("crosstask")


class _Lines(logging.Handler):
    """Writes what modules note, with the seconds since the command began."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"[dim]{time.monotonic() - self._begun:7.2f} s  {escape(one_line(record.getMessage()))}[/]")


def _listen(verbose: int) -> None:
    """Show the notes of our own modules as far as they are asked for, and none else's."""
    heard = [handler for handler in _LOG.handlers if isinstance(handler, _Lines)]
    if verbose and not heard:
        _LOG.addHandler(_Lines())
    for handler in heard if not verbose else ():
        _LOG.removeHandler(handler)
    _LOG.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    _LOG.propagate = not verbose


def note(line: str) -> None:
    """Something on the way that is neither result nor warning; not to be seen where a command is quiet."""
    if not manner.quiet:
        err.print(line, markup=False)


def on_terminal() -> bool:
    """Whether a person sees the progress."""
    return sys.stderr.isatty() and not manner.quiet


class ProgressLines:
    """Progress for a log: a line every half a minute at most, with the share that is done and the time left.

    Args:
        title: of the work.
        say: told each line.
        clock: seconds.
    """

    def __init__(
        self, title: str, say: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._say, self._clock = title, say, clock
        self._begun = self._told = clock()
        self._there: int | None = None

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """So many of so many are done; ``what`` is at work."""
        now = self._clock()
        if self._there is None:  # what was done before, as by a training that goes on, took no time of ours
            self._there = max(0, done - 1)
        if now - self._told < EVERY or done >= total:
            return
        self._told = now
        ours = done - self._there
        left = f", about {duration((now - self._begun) / ours * (total - done))} left" if ours > 0 else ""
        self._say(f"{self._title}: {done} of {total} ({done / total:.0%}){left}" + (f"; {what}" if what else ""))


@contextmanager
def progress_bar(title: str, *, at_once: bool = True) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, and lines now and then elsewhere; call what it gives with (done, total, what).

    With ``at_once=False`` it is seen from the first call on, for work that there may be none of.
    """
    if not on_terminal():
        yield ProgressLines(title)
        return
    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
    ]
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(title, total=None, what="", visible=at_once)

        def update(done: int, total: int, what: str = "") -> None:
            progress.update(task, completed=done, total=total, what=what, visible=True)

        yield update
