"""Where exported files go: never over a file that is there, never among the files that were read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from crosstask.errors import InputError
from crosstask.files import writing


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file that is not there yet, whole or not at all.

    Gives the name to write to, which has the ending of ``path``; it becomes ``path`` when the block ends without an
    error, and is removed otherwise. The folder is made.

    Raises:
        InputError: there is a file of that name; nothing is written.
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    if os.path.lexists(path):  # a link to nothing counts: it would be replaced
        raise InputError(f"{path}: is there already; give a new folder or remove it, nothing is overwritten")
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def must_be_new(folder: Path) -> None:
    """Make sure that a folder is not there yet, or empty.

    Raises:
        InputError: it holds something, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is not empty; give a new folder, nothing is overwritten")


def refuse_input_folder(output: Path, files: Iterable[Path]) -> None:
    """Make sure that nothing is written among what was read.

    Folders are compared as the disk knows them, so that symbolic links, ``..`` and names that differ in case alone
    are seen through.

    Args:
        output: folder to write to; it need not exist.
        files: the files, or whole folders, that were read.

    Raises:
        InputError: the output is a folder of these files, or lies in one.
    """
    read = {
        identity: folder
        for folder in {folder for file in files for folder in _folders(Path(file))}
        if (identity := _identity(folder)) is not None
    }
    whole = output.resolve()
    for folder in (whole, *whole.parents):
        if (identity := _identity(folder)) in read:
            raise InputError(f"{output}: is in {read[identity]}, which holds the input; give a folder outside of it")


def _folders(file: Path) -> tuple[Path, ...]:
    """The folder that a file is named in, and the one that it lies in if it is a link; a folder itself."""
    return (file,) if file.is_dir() else (file.parent, file.resolve().parent)


def _identity(folder: Path) -> tuple[int, int] | None:
    """What is the same for all names of a folder; None if it is not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
