"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from crosstask.errors import CrosstaskError


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all.

    Raises:
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    raw = data.encode() if isinstance(data, str) else data
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a disk can refuse into one line that names the file, or the folder, that was being written.

    Raises:
        CrosstaskError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CrosstaskError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); free space or mend this, then "
            "run the same command again"
        ) from error
