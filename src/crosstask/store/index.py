"""The index of a store: ``store.json``, its head, and the columns that this names.

The head says which data set this is, how it was read, and which files of columns hold its cases. These files are named
by their content and written first, so the head, replaced at one stroke, always names whole ones. While cases are being
prepared the journal holds what was finished since.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.buckets import Place
from crosstask.errors import InputError
from crosstask.store import journal
from crosstask.store.columns import Columns, Texts, packed
from crosstask.store.fingerprint import RawFile, canonical, digest, digest_bytes, sealed
from crosstask.store.format import CASE_VERSION, READABLE_VERSIONS, opened, read_description, write_bytes
from crosstask.store.table import Entry, Table, entry_of, raw_columns, raw_json, table_columns, unknown_entry

INDEX_NAME = "store.json"
INDEX_VERSION = 3
"""Versions 1 and 2 held all cases in ``store.json``; they are read, and written in columns by the next preparation."""
LOCK_NAME = "prepare.lock"
CASES_NAME = "cases"
STATISTICS_NAME = "statistics"
COLUMN_FILE = re.compile(r"(index|raw)-[0-9a-f]{32}\.bin")
REMEDY = "run `crosstask prepare` again to fix it"
_FORMAT = "crosstask store"


def settings_digest(dataset: str, settings: Mapping[str, Any], version: int | None = None) -> str:
    """Digest of all that decides what a prepared case holds, its raw files apart."""
    return digest([CASE_VERSION if version is None else version, dataset, settings])


@dataclass(frozen=True)
class Head:
    """What ``store.json`` says.

    Attributes:
        dataset: name of the data set.
        settings: its read settings.
        complete: whether the last ``prepare`` came to its end.
        version: of the format of the index.
        index, raw: root digests of the files of columns; None in earlier versions.
        cases: the cases themselves, of earlier versions.
        base: digest of the file.
    """

    dataset: str
    settings: dict[str, Any]
    complete: bool
    version: int = INDEX_VERSION
    index: str | None = None
    raw: str | None = None
    cases: list[dict[str, Any]] = field(default_factory=list)
    base: str = ""

    @property
    def files(self) -> set[str]:
        """Names of the files of columns."""
        named = {"index": self.index, "raw": self.raw}
        return {column_file(kind, root) for kind, root in named.items() if root is not None}

    @property
    def is_current(self) -> bool:
        """Whether the cases are of the format in which they are written now."""
        return self.version == INDEX_VERSION or self.version == CASE_VERSION

    def to_bytes(self, count: int) -> bytes:
        """The file."""
        values = {
            "format": _FORMAT,
            "version": INDEX_VERSION,
            "dataset": self.dataset,
            "settings": self.settings,
            "settings_hash": settings_digest(self.dataset, self.settings),
            "complete": self.complete,
            "cases": count,
            "index": self.index,
            "raw": self.raw,
        }
        return canonical(sealed(values), indent=0).encode()

    @classmethod
    def from_bytes(cls, content: bytes, path: object) -> Head:
        """The inverse of :meth:`to_bytes`; earlier versions are read, too.

        Raises:
            InputError: they are damaged, or of another version; the message names ``path``.
        """
        try:
            values = json.loads(content)
            if values["format"] != _FORMAT:
                raise ValueError
            version = values["version"]
            if version in (*READABLE_VERSIONS, INDEX_VERSION):
                values = opened(values, _FORMAT, (*READABLE_VERSIONS, INDEX_VERSION))
                new = version == INDEX_VERSION
                return cls(
                    dataset=str(values["dataset"]),
                    settings=dict(values["settings"]),
                    complete=bool(values["complete"]),
                    version=int(version),
                    index=str(values["index"]) if new else None,
                    raw=str(values["raw"]) if new else None,
                    cases=[] if new else [dict(case) for case in values["cases"]],
                    base=digest_bytes(content),
                )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged: {REMEDY}") from error
        raise InputError(f"{path}: has version {version}, not {INDEX_VERSION}: run `crosstask prepare` again")


def column_file(kind: str, root: str) -> str:
    """Name of a file of columns."""
    return f"{kind}-{root}.bin"


def read_head(root: Path) -> Head:
    """``store.json`` of a folder.

    Raises:
        InputError: it is missing, damaged or of another version.
    """
    path = root / INDEX_NAME
    try:
        return Head.from_bytes(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file: write the store with `crosstask prepare`") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: make it readable") from error


def open_columns(root: Path, kind: str, expected: str) -> Columns:
    """A file of columns, mapped.

    Raises:
        FileNotFoundError: there is none of this content.
        InputError: it is damaged, or cannot be read.
    """
    path = root / column_file(kind, expected)
    try:
        columns = Columns.open(path, REMEDY)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}: {REMEDY}") from error
    if columns.root != expected:
        raise InputError(f"{path}: is damaged: {REMEDY}")
    return columns


def read_table(root: Path, head: Head) -> Table:
    """The cases of a store in a folder.

    Raises:
        FileNotFoundError: its file of columns is gone: the head was replaced since it was read.
        InputError: it is damaged.
    """
    if head.index is not None:
        return Table(open_columns(root, "index", head.index))
    return Table.of(_entries_of_earlier(root, head))


def read_entries(root: Path, head: Head) -> dict[str, Entry]:
    """The cases of a store as entries, with the states of their raw files, and with those in the journal.

    Raises:
        FileNotFoundError, InputError: as :func:`read_table`.
    """
    if head.index is None or head.raw is None:
        return {entry.id: entry for entry in _entries_of_earlier(root, head)}
    raw = Texts(open_columns(root, "raw", head.raw), "raw")
    found = {entry.id: entry for entry in read_table(root, head).entries(raw)}
    with suppress(FileNotFoundError):
        found |= journal.entries((root / journal.JOURNAL_NAME).read_bytes(), head.base)
    return found


def write_index(root: Path, head: Head, entries: Iterable[Entry]) -> Head:
    """Write the columns of cases and then replace ``store.json`` at one stroke.

    Args:
        root: folder of the store.
        head: what else ``store.json`` says.
        entries: the cases.

    Returns:
        The head as it was written.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    files, head, content = index_files(head, list(entries))
    for name, data in files.items():
        if not _holds(root / name, data):
            replace_file(root / name, data)
    replace_file(root / INDEX_NAME, content)
    return head


def index_files(head: Head, entries: list[Entry]) -> tuple[dict[str, bytes], Head, bytes]:
    """The files of columns, the head that names them, and its bytes."""
    files, roots = {}, {}
    for kind, columns in (("index", table_columns(entries)), ("raw", raw_columns(entries))):
        data, roots[kind] = packed(columns)
        files[column_file(kind, roots[kind])] = data
    made = Head(head.dataset, head.settings, head.complete, index=roots["index"], raw=roots["raw"])
    content = made.to_bytes(len(entries))
    return files, Head.from_bytes(content, INDEX_NAME), content


def _entries_of_earlier(root: Path, head: Head) -> list[Entry]:
    """The cases of an index of an earlier version, completed by their own descriptions."""
    return [_entry_of_earlier(root, head, values) for values in head.cases]


def _entry_of_earlier(root: Path, head: Head, values: dict[str, Any]) -> Entry:
    path = root / INDEX_NAME
    try:
        plain = unknown_entry(values)
        raw = raw_json(RawFile.from_json(file) for file in values["raw"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged: {REMEDY}") from error
    try:
        header, described = read_description(root / CASES_NAME / plain.folder)
    except InputError:
        return plain
    return entry_of(plain, plain.folder, raw, header, described) if header.checksum == plain.checksum else plain


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has this content already."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def is_of_earlier_version(root: Place) -> bool:
    """Whether a place holds a store whose cases the next preparation makes anew, for their format."""
    try:
        return isinstance(root, Path) and not read_head(root).is_current
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
