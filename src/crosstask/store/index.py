"""``store.json``: what a store holds, case by case."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.errors import InputError
from crosstask.store.fingerprint import RawFile, canonical, digest, sealed
from crosstask.store.format import FORMAT_VERSION, READABLE_VERSIONS, opened, write_bytes

INDEX_NAME = "store.json"
LOCK_NAME = "prepare.lock"
CASES_NAME = "cases"
STATISTICS_NAME = "statistics"
_FORMAT = "crosstask store"


def settings_digest(dataset: str, settings: Mapping[str, Any], version: int | None = None) -> str:
    """Digest of all that decides what a prepared case holds, its raw files apart."""
    return digest([FORMAT_VERSION if version is None else version, dataset, settings])


@dataclass(frozen=True)
class Entry:
    """One prepared case: its id, group, split and folder, the state of its raw files, the digest of its content."""

    id: str
    group: str
    split: str
    folder: str
    raw: tuple[RawFile, ...]
    checksum: str


@dataclass
class Index:
    """Content of ``store.json``.

    Attributes:
        dataset: name of the data set.
        settings: its read settings.
        complete: whether the last ``prepare`` came to its end.
        entries: ``{case id: entry}``, in the data set's order.
        version: of the format in which it was written.
    """

    dataset: str
    settings: dict[str, Any]
    complete: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    version: int = FORMAT_VERSION

    def write(self, root: Path) -> None:
        """Replace ``store.json`` at one stroke.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        values = {
            "format": _FORMAT,
            "version": FORMAT_VERSION,
            "dataset": self.dataset,
            "settings": self.settings,
            "settings_hash": settings_digest(self.dataset, self.settings),
            "complete": self.complete,
            "cases": [
                {**vars(entry), "raw": [file.to_json() for file in entry.raw]} for entry in self.entries.values()
            ],
        }
        replace_file(root / INDEX_NAME, canonical(sealed(values), indent=0).encode())

    @classmethod
    def read(cls, root: Path) -> Index:
        """Read ``store.json``.

        Raises:
            InputError: it is missing, damaged or of another version.
        """
        path = root / INDEX_NAME
        try:
            values = json.loads(path.read_bytes())
            if values["format"] != _FORMAT:
                raise ValueError
            version = values["version"]
            if version in READABLE_VERSIONS:
                return cls._from_json(opened(values, _FORMAT))
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file: write the store with `crosstask prepare`") from error
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}: make it readable") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged: run `crosstask prepare` again to fix it") from error
        raise InputError(f"{path}: has version {version}, not {FORMAT_VERSION}: run `crosstask prepare` again")

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> Index:
        entries = [
            Entry(**{**entry, "raw": tuple(RawFile.from_json(file) for file in entry["raw"])})
            for entry in values["cases"]
        ]
        return cls(
            dataset=str(values["dataset"]),
            settings=dict(values["settings"]),
            complete=bool(values["complete"]),
            entries={entry.id: entry for entry in entries},
            version=int(values["version"]),
        )


def is_of_earlier_version(root: Path) -> bool:
    """Whether a folder holds a store whose cases the next preparation makes anew, for their format."""
    try:
        return Index.read(root).version != FORMAT_VERSION
    except InputError:
        return False


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a kill, meets the old content or the new, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_bytes(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
