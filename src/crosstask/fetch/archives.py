"""Zip files that may come from anyone, unpacked with every member looked at first."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.checks import CHUNK, new_hash, safe_path, wrong_hash


def unpack(
    archive: Path,
    folder: Path,
    place: Callable[[str], str | None],
    *,
    limit: int,
    published: Mapping[str, tuple[int, str]] | None = None,
) -> dict[str, int]:
    """Unpack a zip file that may come from anyone.

    Every member is looked at before the first byte is written.

    Args:
        archive: the zip file.
        folder: where to; new or empty.
        place: path of a member -> where it goes below the folder, or None to leave it out.
        limit: most bytes that may come out of it.
        published: ``{path: (bytes, digest)}`` of all that must come out of it.

    Returns:
        ``{path: bytes}`` of all files that were written.

    Raises:
        InputError: a member leads out of the folder, is a link, a device or encrypted, goes where another does, or
            there is too much of it; the message names the member.
        CrosstaskError: the archive is damaged, or lacks a published file.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            chosen = _choose(archive.name, file.infolist(), place, limit)
            if missing := next((path for path in published or () if path not in chosen), None):
                raise CrosstaskError(f"{archive.name}: lacks {missing}, which is published; run the same command again")
            for path, member in chosen.items():
                _write(archive.name, file, member, folder / path, (published or {}).get(path))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CrosstaskError(
            f"{archive.name}: the archive is damaged ({str(error) or type(error).__name__}); run the same command again"
        ) from None
    return {path: member.file_size for path, member in chosen.items()}


def _choose(
    archive: str, members: Sequence[zipfile.ZipInfo], place: Callable[[str], str | None], limit: int
) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()
    total = 0
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        total += member.file_size
        path = None if member.is_dir() or not safe_path(name) else place(name)
        reason = ""
        if not safe_path(name):
            reason = "leads out of the folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            reason = "is a link" if kind == stat.S_IFLNK else "is a device"
        elif member.flag_bits & 1:
            reason = "is encrypted"
        elif total > limit:
            reason = f"brings the unpacked size to {total} bytes, far more than expected"
        elif path is not None and (path.lower() in taken or not safe_path(path)):
            reason = "goes where another one does" if safe_path(path) else "leads out of the folder"
        if reason:
            raise InputError(f"{archive}: refused, its member {name!r} {reason}; nothing was unpacked")
        if path is not None:
            chosen[path] = member
            taken.add(path.lower())
    return chosen


def _write(
    archive: str, file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, published: tuple[int, str] | None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    hasher = new_hash(published[1], member.file_size) if published else None
    with file.open(member) as source, path.open("xb") as out:
        while chunk := source.read(CHUNK):
            try:
                out.write(chunk)
            except OSError as error:
                error.filename = error.filename or str(path)
                raise
            if hasher:
                hasher.update(chunk)
    if published and (fault := wrong_hash(hasher, published[1])):
        raise CrosstaskError(f"{archive}: {member.filename}: {fault}; run the same command again")
