"""What commands share: colours and progress on a terminal, plain lines elsewhere, errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# A table that goes to a file or a pipe is not cut to the width of a terminal that is not there.
out = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def on_terminal() -> bool:
    """Whether a person sees the progress."""
    return sys.stderr.isatty()


@contextmanager
def progress_bar(title: str, *, at_once: bool = True) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, and nothing elsewhere; call what it gives with (done, total, what).

    With ``at_once=False`` it is seen from the first call on, for work that there may be none of.
    """
    if not on_terminal():
        yield lambda *_: None
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
