"""Has anything changed? Digests of values, arrays and files, and the state of a case's raw files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.errors import InputError

_DIGEST_BYTES = 16
_READ_BYTES = 1 << 20


def _plain(value: Any) -> Any:
    """What JSON does not know, in terms of what it knows; called by :func:`json.dumps`."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def canonical(value: Any, *, indent: int | None = None) -> str:
    """JSON with sorted keys: equal values give equal text. NumPy scalars, arrays, paths and sets are made plain.

    Raises:
        TypeError: a value has no JSON form.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, default=_plain, sort_keys=True, indent=indent, separators=separators)


def digest(value: Any) -> str:
    """BLAKE2b of the canonical JSON of a value, in hexadecimal."""
    return digest_bytes(canonical(value).encode())


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a file with their own digest among them, so that no change of the file goes unnoticed."""
    return {**values, "checksum": digest(values)}


def unsealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`sealed`.

    Raises:
        KeyError: there is no digest among the values.
        ValueError: it is that of other values.
    """
    rest = dict(values)
    if rest.pop("checksum") != digest(rest):
        raise ValueError("values that differ from their digest")
    return rest


def digest_bytes(data: Any) -> str:
    """BLAKE2b of bytes or of a contiguous buffer, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def digest_file(path: Path) -> str:
    """BLAKE2b of a file's content, read piece by piece.

    Raises:
        OSError: the file cannot be read.
    """
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            state.update(piece)
    return state.hexdigest()


@lru_cache(maxsize=256)
def _digest_unchanged(path: str, size: int, mtime_ns: int) -> str:
    """Digest of a raw file; a table that all cases share is read once a process."""
    return digest_file(Path(path))


@dataclass(frozen=True)
class RawFile:
    """State of one raw file: digest of its name below the common folder, bytes, time of change, BLAKE2b of content."""

    name: str
    size: int
    mtime_ns: int
    content: str

    def to_json(self) -> list[Any]:
        """As a JSON list."""
        return [self.name, self.size, self.mtime_ns, self.content]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> RawFile:
        """The inverse of :meth:`to_json`."""
        name, size, mtime_ns, content = values
        return cls(str(name), int(size), int(mtime_ns), str(content))


def _names(files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Files with names relative to their common folder, so that a moved data set keeps its names.

    Names are digests, because those of files and folders are often those of patients, who are not to be in a store.
    """
    if not files:
        return []
    absolute = [file.absolute() for file in files]
    common = os.path.commonpath([file.parent for file in absolute])
    return sorted((digest_bytes(file.relative_to(common).as_posix().encode()), file) for file in absolute)


def seems_unchanged(files: Sequence[Path], known: Sequence[RawFile]) -> bool:
    """Whether names, sizes and times of change are as known: the quick check, which opens no file."""
    try:
        now = [(name, (stat := file.stat()).st_size, stat.st_mtime_ns) for name, file in _names(files)]
    except OSError:
        return False
    return now == [(file.name, file.size, file.mtime_ns) for file in known]


def fingerprint(files: Sequence[Path]) -> tuple[RawFile, ...]:
    """State of raw files, content included.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    states = []
    for name, file in _names(files):
        try:
            stat = file.stat()
            content = _digest_unchanged(str(file), stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror or error}: restore the file or remove its case") from error
        states.append(RawFile(name, stat.st_size, stat.st_mtime_ns, content))
    return tuple(states)


def same_content(first: Sequence[RawFile], second: Sequence[RawFile]) -> bool:
    """Whether two states differ at most in the times of change, as after a mere copy."""
    return [(file.name, file.size, file.content) for file in first] == [
        (file.name, file.size, file.content) for file in second
    ]
