"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from crosstask.errors import CrosstaskError, InputError

Content = TypeVar("Content")
_log = logging.getLogger(__name__)
_PART = ".part"
_UNSAFE = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f]|^\.|[. ]$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)
_LONGEST = 180
"""Bytes of a name; file systems allow 255, and it gets an ending."""


def file_name(text: str) -> str:
    """An id or a class as the name of a file in a folder, of no other: different texts have different names.

    What file systems refuse, or take for a way to another folder, is written as ``%`` and its code; a name that is too
    long for them is cut, and ends in a digest of the whole.
    """
    name = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", text) or "%"
    if _RESERVED.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= _LONGEST:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{raw[: _LONGEST - 18].decode('utf-8', 'ignore')}%~{digest}"


_ONLY_LOOKING = False


@contextlib.contextmanager
def only_looking() -> Iterator[None]:
    """Write no file while it lasts, in this process: for a look at what would be done."""
    global _ONLY_LOOKING
    before, _ONLY_LOOKING = _ONLY_LOOKING, True
    try:
        yield
    finally:
        _ONLY_LOOKING = before


def is_only_looking() -> bool:
    """Whether nothing is written now; see :func:`only_looking`."""
    return _ONLY_LOOKING


def write_atomically(path: Path, data: bytes | str | Callable[[BinaryIO], object], *, keep: Path | None = None) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file.
        data: what it holds, or what writes that to a file.
        keep: the name that a file which was there before is kept under.

    Raises:
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    if _ONLY_LOOKING:
        return
    _log.debug("writes %s", path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    raw = data.encode() if isinstance(data, str) else data
    write = raw if callable(raw) else lambda file: file.write(raw)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                path.replace(keep)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def link_atomically(path: Path, source: Path) -> None:
    """Give a file that is never written to again a second name, in the place of what has it; a copy where links fail.

    Raises:
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    if _ONLY_LOOKING:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        temporary.unlink(missing_ok=True)
        os.link(source, temporary)
        temporary.replace(path)  # of a file that has this name already nothing happens
    except OSError:  # a file system without links, as on some network drives
        write_atomically(path, source.read_bytes())
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def must_be_new(files: Sequence[Path]) -> None:
    """Refuse to overwrite a file, and a folder that is not there."""
    for file in files:
        if file.exists():
            raise InputError(f"{file}: exists and is not overwritten; remove it or name another file")
        if not file.absolute().parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}; make it first")


def clear_leftovers(folder: Path, *, older_than: float = 0.0) -> None:
    """Remove what was begun in a folder, and below it, by a process that was killed before it was whole.

    Args:
        folder: which.
        older_than: seconds since it was last written to; 0 where nobody else can be writing there.
    """
    for path in folder.rglob(f".*{_PART}*"):
        with contextlib.suppress(OSError):
            if not older_than or time.time() - path.stat().st_mtime > older_than:
                path.unlink()


def is_writable(folder: Path) -> bool:
    """Whether files may be made in a folder that is there.

    One that nobody may write to by its mode is left alone by root too, as in a container.
    """
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)


def cache_folder() -> Path:
    """Where is kept what can be had again: $CROSSTASK_CACHE, or $XDG_CACHE_HOME/crosstask, or ~/.cache/crosstask."""
    if own := os.environ.get("CROSSTASK_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "crosstask"


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
            f"{error.filename or path}: cannot be written ({error.strerror or error}); free space or fix this, then "
            "run the same command again"
        ) from error


def put_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, by their paths in it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def in_parts(
    items: Iterable[tuple[str, Content]], size_of: Callable[[Content], int], most: int
) -> Iterator[dict[str, Content]]:
    """Named contents, some at a time: a part is full once it has ``most`` bytes."""
    part: dict[str, Content] = {}
    size = 0
    for name, content in items:
        part[name] = content
        size += size_of(content)
        if size >= most:
            yield part
            part, size = {}, 0
    if part:
        yield part
