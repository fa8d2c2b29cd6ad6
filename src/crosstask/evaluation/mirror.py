"""A run folder on one machine kept the same on another: what has changed since the last look, and how it is put there.

A state that is handed on is that of one moment, as a kill at that moment would leave it, so that a run goes on from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crosstask.files import write_atomically, writing
from crosstask.locks import PRESENT
from crosstask.runs import EXPERIMENT, HISTORY, LAST, LOCK, PREVIOUS, RECORD
from crosstask.runs.code import PLUGINS

_TRIES = 20
_OWN = (EXPERIMENT, LOCK, PLUGINS, PRESENT)
"""What each machine has its own of: settings name its places, locks its processes."""

Marks = dict[str, tuple[int, int, int]]
"""Of each file, by its path in the folder: what changes whenever it is written."""


@dataclass(frozen=True)
class Change:
    """What is new in a run folder.

    Attributes:
        files: whole files, by their paths in it.
        removed: paths of those that are gone.
        log: what was added to the run's log.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    log: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.files or self.removed or self.log)

    def put(self, folder: Path, log: Path) -> None:
        """Put it into a folder: what others point to first, and what is gone last.

        Raises:
            CrosstaskError: the disk is full, or the folder cannot be written.
        """
        for name in sorted(self.files, key=_late):
            path = folder / name
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, self.files[name])
        for name in self.removed:
            (folder / name).unlink(missing_ok=True)
        if self.log:
            with writing(log), log.open("ab") as file:
                file.write(self.log)


def _late(name: str) -> tuple[bool, bool, str]:
    """Checkpoints after what they need, and the record, by which a run is complete, after all else."""
    return name == RECORD, name in (LAST, PREVIOUS), name


class Sender:
    """What another machine has not seen yet of a run folder.

    Args:
        folder: the run folder.
        log: the run's log.
        known: what the other has: the folder as it is now, if anything is there.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder, self._log = folder, log
        self._staged = folder.parent / f".{folder.name}.leaving"
        self._sent = dict(_marks(folder))
        self._said = log.stat().st_size if log.exists() else 0

    def news(self) -> Change:
        """What those who look on want to know at once: the table of epochs, and the log."""
        files = {}
        mark = dict(_marks(self._folder, (HISTORY,)))
        if mark and mark.items() - self._sent.items():
            files[HISTORY] = (self._folder / HISTORY).read_bytes()
            self._sent |= mark
        return Change(files, log=self._more_said())

    @property
    def has_new_checkpoint(self) -> bool:
        """Whether there is one that the other machine does not have: the last that is written of an epoch."""
        return any(self._sent.get(name) != mark for name, mark in _marks(self._folder, (LAST,)))

    def state(self) -> Change | None:
        """All that is new, of one moment; None where the folder changes too fast for a look."""
        for _ in range(_TRIES):
            marks = dict(_marks(self._folder))
            try:
                files = self._held(marks)
            except FileNotFoundError:
                continue
            if dict(_marks(self._folder)) == marks:
                removed = tuple(sorted(self._sent.keys() - marks.keys()))
                change = Change({name: path.read_bytes() for name, path in files.items()}, removed, self._more_said())
                self._sent = marks
                return change
        return None

    def _held(self, marks: Marks) -> dict[str, Path]:
        """Files that are new, under names of our own, which keep what they hold when others take their places."""
        shutil.rmtree(self._staged, ignore_errors=True)
        held = {}
        for number, name in enumerate(name for name, mark in marks.items() if self._sent.get(name) != mark):
            held[name] = self._staged / str(number)
            held[name].parent.mkdir(exist_ok=True)
            try:
                os.link(self._folder / name, held[name])
            except FileNotFoundError:
                raise
            except OSError:  # a disk without hard links
                shutil.copyfile(self._folder / name, held[name])
        return held

    def _more_said(self) -> bytes:
        if not self._log.exists():
            return b""
        with self._log.open("rb") as file:
            file.seek(self._said)
            more = file.read()
        self._said += len(more)
        return more

    def close(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._staged, ignore_errors=True)


def whole(folder: Path) -> Change:
    """All that a run folder holds which nobody writes to now."""
    return Change({name: (folder / name).read_bytes() for name, _ in _marks(folder)})


def _marks(folder: Path, names: tuple[str, ...] | None = None) -> Iterator[tuple[str, tuple[int, int, int]]]:
    paths = sorted(folder.rglob("*")) if names is None else [folder / name for name in names]
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if name.split("/")[0] in _OWN or path.name.endswith(".part"):
            continue
        try:
            state = path.stat()
        except OSError:
            continue
        if path.is_file():
            yield name, (state.st_ino, state.st_mtime_ns, state.st_size)
