"""Whether a download is what was published, and whether a name from outside may be trusted."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Any

CHUNK = 1 << 18


def new_hash(digest: str, size: int) -> Any:
    """Hash object for a published digest ``algorithm:hex`` of a file of so many bytes."""
    algorithm = digest.partition(":")[0]
    if algorithm == "git":
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)


def fault_of(path: Path, size: int | None, digest: str | None) -> str:
    """What a file on disk has against the published size and hash; empty if nothing."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"{actual} bytes, but {size} are published"
    if digest is None:
        return ""
    hasher = new_hash(digest, actual)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return wrong_hash(hasher, digest)


def wrong_hash(hasher: Any, digest: str) -> str:
    """What a finished hash has against the published digest; empty if nothing."""
    algorithm, _, expected = digest.partition(":")
    actual = hasher.hexdigest()
    return "" if actual == expected.lower() else f"its {algorithm} hash is {actual}, but {expected} is published"


def safe_path(name: str) -> bool:
    """Whether a name from outside stays below the folder that it is put in, on any operating system."""
    parts = name.rstrip("/").split("/")
    return not (
        any(part in ("", ".", "..") for part in parts)
        or any(character in name for character in "\\\0:")
        or PurePosixPath(name).is_absolute()
    )
