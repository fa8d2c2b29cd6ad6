"""One process at a time on a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
            holder = os.read(file, 32).decode(errors="replace").strip()
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
        os.write(file, f"{os.getpid()}\n".encode())
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
