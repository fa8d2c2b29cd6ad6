"""A fetched folder: its record, what is there and what is still to come, and files put in place without harm."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from crosstask.errors import CrosstaskError, InputError
from crosstask.fetch.checks import CHUNK
from crosstask.fetch.items import Item

RECORD = ".crosstask-fetch.json"
"""File in a fetched folder: what is there, from where, and under which licence."""
WORK = ".crosstask-fetch"
"""Folder below a fetched one for what is not finished; removed in the end."""


def read_record(folder: Path) -> dict[str, Any]:
    """What a former fetch has written about a folder; empty if there was none.

    Raises:
        InputError: the record cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {**record, "items": {name: dict(files) for name, files in record["items"].items()}}
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        raise InputError(f"{folder}: is not a folder; choose another by -o") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: cannot be read; delete it, files that are there are kept") from None


def write_record(record: Mapping[str, Any], folder: Path) -> None:
    """Replace the record of a folder at once; its :data:`WORK` is there."""
    path = folder / RECORD
    temporary = folder / WORK / RECORD
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    temporary.replace(path)


def items_there(folder: Path, record: Mapping[str, Any]) -> set[str]:
    """Names of the recorded items whose files are all there, with their sizes."""
    return {
        name
        for name, files in record.get("items", {}).items()
        if all(size_of(folder / path) == size for path, size in files.items())
    }


def size_of(path: Path) -> int | None:
    """Bytes of a file; None if there is none, or it cannot be looked at."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


@dataclass(frozen=True)
class Need:
    """What a fetch has still to do.

    Attributes:
        items: those that are not there yet.
        download: bytes to download; None if a server does not say.
        disk: bytes that the disk must hold at the worst moment, about.
    """

    items: tuple[Item, ...]
    download: int | None
    disk: int


def need(items: Sequence[Item], folder: Path) -> Need:
    """What is not there yet of a list of items, and how much that is."""
    there = items_there(folder, read_record(folder))
    left = tuple(item for item in items if item.path not in there and not _plain_there(item, folder))
    sizes = [item.file.size for item in left]
    begun = sum(size_of(_partial(item, folder)) or size_of(whole_of(item, folder)) or 0 for item in left)
    archives = [item.file.size or item.unpacked // 2 for item in left if item.place]
    files = sum(item.file.size or 0 for item in left if not item.place)
    # Archives are unpacked and removed one by one.
    disk = files + sum(item.unpacked for item in left) + max(archives, default=0) - begun
    return Need(left, None if None in sizes else sum(size or 0 for size in sizes) - begun, max(0, disk))


def _plain_there(item: Item, folder: Path) -> bool:
    """Whether a plain file is there by its size; its hash is looked at when its turn comes."""
    return (
        item.place is None
        and item.file.size is not None
        and item.file.digest is None
        and (size_of(folder / item.path) == item.file.size)
    )


def whole_of(item: Item, folder: Path) -> Path:
    """Where an item is downloaded to; another for each version of it, so that two are never mixed."""
    file = item.file
    key = hashlib.sha256(f"{file.url} {file.size} {file.digest} {file.version}".encode()).hexdigest()[:12]
    return folder / WORK / f"{key}-{PurePosixPath(item.path).name}"


def _partial(item: Item, folder: Path) -> Path:
    whole = whole_of(item, folder)
    return whole.with_name(whole.name + ".part")


def check_space(needed: int, folder: Path) -> None:
    """Refuse what the disk below a folder (that may not be there yet) cannot hold.

    Raises:
        CrosstaskError: too little free space.
    """
    parent = folder.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise CrosstaskError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; free space, or choose a "
            "folder on another disk by -o"
        )


def install(source: Path, target: Path) -> None:
    """Move a file or a folder into place without replacing anything: what is there already must be the same.

    A folder that is not there yet appears at once and whole.

    Raises:
        InputError: something else is there; nothing has been moved then.
    """
    for file in (source, *source.rglob("*")):
        there = target / file.relative_to(source)
        if os.path.lexists(there) and not _alike(file, there):
            raise InputError(
                f"{there}: already exists and differs from the published one; move it away, or choose another folder "
                "with -o"
            )
    _merge(source, target)


def _alike(new: Path, old: Path) -> bool:
    if new.is_dir() or old.is_dir():
        return new.is_dir() and old.is_dir()
    if not old.is_file() or new.stat().st_size != old.stat().st_size:
        return False
    with new.open("rb") as one, old.open("rb") as other:
        while chunk := one.read(CHUNK):
            if chunk != other.read(CHUNK):
                return False
    return True


def _merge(source: Path, target: Path) -> None:
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
    elif source.is_dir():
        for child in source.iterdir():
            _merge(child, target / child.name)
