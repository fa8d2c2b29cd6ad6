"""One process at a time on a folder; and who is at work there, for those who only look."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crosstask.errors import CrosstaskError

if sys.platform == "win32":
    import msvcrt

    def _seize(file: int) -> None:
        # A byte far behind the text, since a locked range cannot be read by others.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
else:
    import fcntl

    def _seize(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


PRESENT = ".at-work"
"""Folder of the files by which processes say that they are at work on what it lies in."""


@dataclass(frozen=True)
class Holder:
    """A process that is at work somewhere, by its own words.

    Attributes:
        process: its number.
        host: the machine that it runs on; empty where it did not say.
    """

    process: int
    host: str = ""

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        return cls(os.getpid(), socket.gethostname())

    @property
    def is_alive(self) -> bool | None:
        """Whether it still runs; None where that cannot be told from this machine."""
        if self.host not in ("", socket.gethostname()) or sys.platform == "win32":  # there a look would end it
            return None
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except OSError:  # of another user
            return True
        return True

    def __str__(self) -> str:
        return f"{self.process} {self.host}".rstrip()


def holder_of(root: Path, name: str) -> Holder | None:
    """Who holds, or held when it was killed, a lock file; None where there is none. Nothing is locked by the look."""
    try:
        process, _, host = (root / name).read_text(encoding="utf-8", errors="replace").strip().partition(" ")
        return Holder(int(process), host)
    except (OSError, ValueError):
        return None


@contextmanager
def present(folder: Path) -> Iterator[None]:
    """Say, by a small file, that this process is at work on a folder that can be written; any number may be.

    What processes that were killed left there is removed.
    """
    here, made = Holder.here(), not folder.exists()
    path = folder / PRESENT / str(here).replace(" ", "@").replace("/", "_")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left, holder in _present(folder):
            if holder.is_alive is False:
                left.unlink(missing_ok=True)
        path.write_text(f"{here}\n", encoding="utf-8")
    except OSError:  # a courtesy to those who look; what matters is refused where it is written
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()
            if made:  # and nothing came of it
                folder.rmdir()


def present_in(folder: Path) -> list[Holder]:
    """The processes that say they are at work on a folder, without those that are known to be gone."""
    return [holder for _, holder in _present(folder) if holder.is_alive is not False]


def _present(folder: Path) -> Iterator[tuple[Path, Holder]]:
    with contextlib.suppress(OSError):
        for path in sorted((folder / PRESENT).iterdir()):
            holder = holder_of(path.parent, path.name)
            if holder is not None:
                yield path, holder


@contextmanager
def locked(root: Path, name: str, doing: str) -> Iterator[None]:
    """Hold the lock file ``name`` in a folder that is there; ``doing`` says in the error what the holder does.

    The operating system ties the lock to the process, so one that a killed process left behind is simply taken over;
    the process id inside the file is for the reader.

    Raises:
        CrosstaskError: another process holds it.
        OSError: the folder cannot be written.
    """
    path = root / name
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _seize(file)
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(file, 300).decode(errors="replace").strip().partition(" ")[0]
            os.close(file)
            raise CrosstaskError(
                f"{root}: is being {doing} by process {holder or 'unknown'}: wait until it has finished, or stop it"
            ) from error
        except BaseException:
            os.close(file)
            raise
        if _is_at(file, path):
            break
        os.close(file)  # its holder removed it between our opening and our locking
    try:
        os.ftruncate(file, 0)
        os.write(file, f"{Holder.here()}\n".encode())
        yield
    finally:
        # Removed before it is let go; Windows cannot remove an open file, and a lock file left there does no harm.
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
