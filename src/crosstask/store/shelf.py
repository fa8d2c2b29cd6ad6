"""Where a store's files lie, and how its readers get at them: in a folder, or below an address of object storage."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.buckets import Bucket, Place
from crosstask.errors import InputError
from crosstask.store.cache import WHOLE, CachedFile, cache_of, whole_file
from crosstask.store.columns import Columns
from crosstask.store.fingerprint import digest_bytes
from crosstask.store.format import (
    HEADER_NAME,
    REMEDY,
    ArrayHeader,
    CaseHeader,
    check_content,
    check_file,
    check_files,
    map_array,
    parsed_header,
    read_header,
)
from crosstask.store.frame import Frame
from crosstask.store.index import CASES_NAME, INDEX_NAME, LOCK_NAME, Head, column_file, read_head, read_table
from crosstask.store.index import REMEDY as INDEX_REMEDY
from crosstask.store.table import Table

Fetch = Callable[[tuple[int, ...], tuple[int, ...]], None]


class FolderShelf:
    """Files in a folder.

    Methods, of both shelves:
        head: ``store.json``.
        table: the cases that a head names; FileNotFoundError if these columns are gone.
        holder: number of the process that prepares the store, or that was killed at it; empty if there is none.
        folder, path: where a case's files are, and one of them.
        check: refuse a case whose description is no longer the one that the index is made of.
        verify: refuse a case of which a file is missing or differs from its checksum.
        array: an array, mapped, and what fetches a block of it (first corner, end) before it is read.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._cases = root, f"{root / CASES_NAME}{os.sep}"

    def head(self) -> Head:
        return read_head(self._root)

    def table(self, head: Head) -> Table:
        return read_table(self._root, head)

    def holder(self) -> str:
        try:
            return (self._root / LOCK_NAME).read_text(encoding="utf-8", errors="replace").strip().partition(" ")[0]
        except OSError:
            return ""

    def is_held(self) -> bool:
        """Whether a preparation may be about to end."""
        return (self._root / LOCK_NAME).exists()

    def folder(self, name: str) -> str:
        return f"{self._cases}{name}"

    def path(self, folder: str, file: str) -> str:
        return f"{folder}{os.sep}{file}"

    def check(self, folder: str, described: str) -> None:
        path = Path(folder)
        try:
            if digest_bytes((path / HEADER_NAME).read_bytes()) == described:
                return
        except OSError:
            pass
        read_header(path)  # says what is wrong with it, if it is damaged
        raise InputError(f"{path / HEADER_NAME}: is damaged, or was rebuilt since the store was opened: {REMEDY}")

    def verify(self, folder: str, header: CaseHeader, described: str) -> None:
        check_files(Path(folder), header, content=True)

    def array(self, path: str, header: ArrayHeader, *, check: bool) -> tuple[Any, Fetch | None]:
        check_file(Path(path), header, content=check)
        return map_array(Path(path), header), None


class BucketShelf:
    """Files on object storage. What lies under a name there never changes, but for ``store.json``."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def head(self) -> Head:
        try:
            return Head.from_bytes(self._bucket.read(INDEX_NAME), self._bucket.at(INDEX_NAME))
        except FileNotFoundError as error:
            raise InputError(
                f"{self._bucket.at(INDEX_NAME)}: no such file: write the store with `crosstask prepare`"
            ) from error

    def table(self, head: Head) -> Table:
        return Table(bucket_columns(self._bucket, "index", head.index or ""))

    def holder(self) -> str:
        return ""

    def is_held(self) -> bool:
        """A preparation lets readers have the store before it until it has ended."""
        return False

    def folder(self, name: str) -> str:
        return f"{CASES_NAME}/{name}"

    def path(self, folder: str, file: str) -> str:
        return f"{folder}/{file}"

    def check(self, folder: str, described: str) -> None:
        return  # another case has another name

    def verify(self, folder: str, header: CaseHeader, described: str) -> None:
        name = self.path(folder, HEADER_NAME)
        for file, expected in [(name, described), *self._arrays(folder, header)]:
            try:
                content = self._bucket.read(file)
            except FileNotFoundError as error:
                raise InputError(f"{self._bucket.at(file)}: is missing: {REMEDY}") from error
            if digest_bytes(content) != expected:
                raise InputError(f"{self._bucket.at(file)}: is damaged (its checksum differs): {REMEDY}")
        parsed_header(self._bucket.read(name), self._bucket.at(name))

    def _arrays(self, folder: str, header: CaseHeader) -> list[tuple[str, str]]:
        return [
            (self.path(folder, array.file), array.checksum)
            for array in header.arrays.values()
            if array.file is not None
        ]

    def array(self, path: str, header: ArrayHeader, *, check: bool) -> tuple[Any, Fetch | None]:
        cache = cache_of(self._bucket)
        for _ in range(3):
            file = cache.file(self._bucket, path, header.size, header.checksum)
            try:
                if header.size <= WHOLE:
                    file.fetch([(0, header.size)])
                    if check:
                        check_content(file.read(0, header.size), self._bucket.at(path), header)
                    mapped, fetch = map_array(self._checked(file, path, header), header), None
                else:
                    mapped, fetch = self._by_parts(file, path, header)
            except FileNotFoundError:
                continue  # another process has cleared it away just now
            if file.is_at(file.path):
                return mapped, fetch
        raise InputError(f"{cache.folder}: files vanish as fast as they come: set a larger store_cache")

    def _by_parts(self, file: CachedFile, path: str, header: ArrayHeader) -> tuple[Any, Fetch]:
        try:
            frame = Frame(file.read, header.size)
        except (ValueError, RuntimeError, IndexError) as error:
            raise InputError(f"{self._bucket.at(path)}: is damaged ({error}): {REMEDY}") from error
        file.fetch([frame.header, frame.table])
        mapped = map_array(self._checked(file, path, header), header)
        try:
            frame.hold(header.shape, tuple(mapped.chunks), tuple(mapped.blocks))
        except ValueError as error:
            raise InputError(f"{self._bucket.at(path)}: is damaged ({error}): {REMEDY}") from error

        def fetch(start: tuple[int, ...], stop: tuple[int, ...]) -> None:
            file.fetch(frame.needed(start, stop))

        return mapped, fetch

    def _checked(self, file: CachedFile, path: str, header: ArrayHeader) -> Path:
        try:
            check_file(file.path, header, content=False)
        except InputError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from None
            raise InputError(str(error).replace(str(file.path), self._bucket.at(path))) from error
        return file.path


def bucket_columns(bucket: Bucket, kind: str, expected: str) -> Columns:
    """A file of columns of a store on object storage, mapped from this machine's cache.

    Raises:
        FileNotFoundError: there is none of this content.
        InputError, CrosstaskError: it is damaged, or the storage refuses it.
    """
    name = column_file(kind, expected)
    path, is_new = whole_file(bucket, name)
    try:
        columns = Columns(np.memmap(path, np.uint8, "r"), bucket.at(name), INDEX_REMEDY)
        if columns.root != expected:
            raise ValueError
        if is_new:
            columns.check()  # so that no damaged copy stays on this machine
    except (ValueError, InputError) as error:
        path.unlink(missing_ok=True)
        raise InputError(f"{bucket.at(name)}: is damaged: {INDEX_REMEDY}") from error
    return columns


def shelf_of(root: Place) -> FolderShelf | BucketShelf:
    """The shelf of a place."""
    return BucketShelf(root) if isinstance(root, Bucket) else FolderShelf(root)
