"""Reading a store: mapped, block by block, from any number of processes."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from crosstask.buckets import Bucket, Place, store_place
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.store.fingerprint import digest
from crosstask.store.format import REMEDY, ArrayHeader, CaseHeader
from crosstask.store.index import Head
from crosstask.store.shelf import BucketShelf, Fetch, FolderShelf, shelf_of
from crosstask.store.table import Table

_SECONDS_TO_WAIT = 2.0
_OPEN_CASES = 1024
"""Descriptions that a store holds in memory, about 8 KiB each; one that was let go is read anew in 50 us."""

if sys.platform == "win32":
    _OPEN_ARRAYS = 256
else:
    import resource

    # Each mapped array holds a file descriptor, of which the rest of the process needs most.
    _limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _OPEN_ARRAYS = 1024 if _limit == resource.RLIM_INFINITY else min(1024, max(32, _limit // 4))
_OPEN_BYTES = 64 << 20
"""Memory that mapped arrays may take."""
_BYTES_OF_ONE = 160 << 10
"""Of each, beside what Blosc2 unpacks a block in."""


@dataclass(frozen=True, slots=True)
class StoredCase:
    """A prepared case: its id, its group (which no split may divide) and the split that the data set gives."""

    id: str
    group: str
    split: str


class _OpenArrays:
    """The mapped arrays of this process, the least recently used of which are let go.

    Blosc2 contexts must not be used by two threads at once, hence the lock; a forked child starts afresh.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.arrays: OrderedDict[tuple[str, str], tuple[Any, Fetch | None, int]] = OrderedDict()
        self.taken = self.let_go = 0
        self.checked: set[int] = set()

    def read(
        self,
        shelf: FolderShelf | BucketShelf,
        key: tuple[str, str],
        header: ArrayHeader,
        parts: Sequence[_Part],
        *,
        check: bool,
    ) -> None:
        """Read blocks of an array.

        Args:
            shelf: where the store's files lie.
            key: the file, and its checksum.
            header: what the file must hold.
            parts: each block, and where its values go.
            check: hold the file against its checksum if this process has not done so.

        Raises:
            InputError: the file is missing or damaged.
        """
        with self.lock:
            found = self.arrays.get(key)
            if found is None:
                found = self.arrays[key] = self._opened(shelf, key, header, check)
                self.taken += found[2]
                while len(self.arrays) > self.limit or (self.taken > _OPEN_BYTES and len(self.arrays) > 1):
                    self.taken -= self.arrays.popitem(last=False)[1][2]
                    self.let_go += 1
                    if self.let_go % _LET_GO_AT_ONCE == 0:
                        _give_back()
            else:
                self.arrays.move_to_end(key)
            array, fetch, taken = found
            if fetch is not None:
                for _, start, stop in parts:
                    fetch(start, stop)
            try:
                for values, start, stop in parts:
                    _read_block(array, values, start, stop)
            except Exception as error:  # Blosc2 gives errors of many types on damaged files
                self.arrays.pop(key, None)
                self.taken -= taken
                raise InputError(f"{key[0]}: is damaged ({type(error).__name__}): {REMEDY}") from error

    def _opened(
        self, shelf: FolderShelf | BucketShelf, key: tuple[str, str], header: ArrayHeader, check: bool
    ) -> tuple[Any, Fetch | None, int]:
        mark = hash(key)
        array, fetch = shelf.array(key[0], header, check=check and mark not in self.checked)
        self.checked.add(mark)
        return array, fetch, _BYTES_OF_ONE + 4 * math.prod(array.blocks) * array.dtype.itemsize


_Part = tuple[np.ndarray, tuple[int, ...], tuple[int, ...]]
"""Where the values of a block go, its first corner, and the one behind its last."""

if hasattr(blosc2.NDArray, "get_slice_numpy"):

    def _read_block(array: Any, values: np.ndarray, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        # What Blosc2's own indexing calls in the end, without the three times as long way there.
        array.get_slice_numpy(values, (start, stop))
else:

    def _read_block(array: Any, values: np.ndarray, start: tuple[int, ...], stop: tuple[int, ...]) -> None:
        values[...] = array[tuple(slice(low, high) for low, high in zip(start, stop, strict=True))]


_LET_GO_AT_ONCE = 1024


def _give_back() -> None:
    """Let the system have the memory of arrays that were let go, of which glibc keeps 0.7 KB each."""
    if _TRIM is not None:
        _TRIM(0)


_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
_arrays = _OpenArrays(_OPEN_ARRAYS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_arrays.reset)


class CaseArrays:
    """The arrays of one prepared case. Nothing is read until :meth:`read` asks for it.

    Attributes:
        id: id of the case.
        channels: ``{array: channel names}``; a channel that is not there is a missing label.
        geometry: the grid of all arrays.
        information: the case's other facts.
    """

    def __init__(self, shelf: FolderShelf | BucketShelf, folder: str, header: CaseHeader, *, check: bool) -> None:
        self.id = header.id
        self.channels = header.channels
        self.geometry: Geometry = header.geometry
        self.information = header.information
        self._shelf, self._folder, self._arrays, self._check = shelf, folder, header.arrays, check
        self._keys: dict[str, tuple[str, str]] = {}

    def __contains__(self, name: object) -> bool:
        """Whether the case has an array of this name."""
        return name in self._arrays

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape ``c *s`` of an array.

        Raises:
            InputError: the case has no such array.
        """
        return self._header(name).shape

    def digest(self, name: str) -> str:
        """Digest of an array's shape, type and values: the same for the same array, whatever the case.

        Raises:
            InputError: the case has no such array.
        """
        header = self._header(name)
        return digest([header.dtype, header.shape, header.content])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array.

        Raises:
            InputError: the case has no such array.
        """
        return np.dtype(self._header(name).dtype)

    def read(
        self, name: str, channels: Sequence[int] | None = None, slices: Sequence[slice | int] | None = None
    ) -> np.ndarray:
        """Values of an array, of which only the blocks that are needed are decompressed.

        Args:
            name: name of the array.
            channels: indices of channels, in the order wanted; all if None.
            slices: what to take along each spatial axis, as in NumPy: a slice keeps the axis, an integer drops it.
                Axes at the end may be left out, and then are read whole.

        Returns:
            ``c *s`` of the selection, a new array of the stored type; ``c`` of labels of the whole case, which have no
            slices.

        Raises:
            InputError: the case has no such array, or its file is missing or damaged.
            IndexError: an index is out of range, or there are more slices than axes.
        """
        header = self._header(name)
        shape = header.shape
        if slices is None or len(slices) == 0:
            start, stop = _WHOLE[: len(shape) - 1], shape[1:]
            after: tuple[slice | int, ...] = ()
        else:
            start, stop, after = _spatial(shape[1:], slices, name)
        wanted = None if channels is None else _channels(shape[0], channels, name)
        if header.values is not None:
            values = np.array(header.values, np.dtype(header.dtype))
            return values if wanted is None else values[wanted]
        values = self._block(name, header, wanted, start, stop)
        if after:
            whole: tuple[slice | int, ...] = (slice(None), *after)
            values = values[whole]
        return values

    def _block(
        self, name: str, header: ArrayHeader, wanted: list[int] | None, start: tuple[int, ...], stop: tuple[int, ...]
    ) -> np.ndarray:
        count = header.shape[0] if wanted is None else len(wanted)
        values = np.empty((count, *[high - low for low, high in zip(start, stop, strict=True)]), header.dtype)
        if header.file is None or not values.size:
            return values
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = (self._shelf.path(self._folder, header.file), header.checksum)
        if wanted is None:
            parts = [(values, (0, *start), (count, *stop))]
        else:
            parts, at = [], 0
            for low, high in _runs(wanted):
                parts.append((values[at : at + high - low], (low, *start), (high, *stop)))
                at += high - low
        _arrays.read(self._shelf, key, header, parts, check=self._check)
        return values

    def _header(self, name: str) -> ArrayHeader:
        try:
            return self._arrays[name]
        except KeyError:
            raise InputError(
                f"case {self.id}: has no array {name!r}: choose one of {', '.join(self._arrays) or 'none'}"
            ) from None


class Store:
    """Prepared cases of one data set, as :func:`crosstask.store.prepare` wrote them.

    What it knows of its cases is in the index, which is memory-mapped: opening takes no longer for many of them, a
    pickle holds where the store is and no more, and each process maps the arrays that it reads.

    Args:
        root: folder of the store, or its address on object storage (``s3://bucket/prefix``).
        check: hold each file against its checksum when a process first opens it (about 1 ms a MB), so that a damaged
            one gives an error, not wrong values. Its length is looked at in any case.
        case_ids: the cases that it is to have; by default all.

    Attributes:
        root: folder of the store.
        dataset: name of the data set.
        settings: the read settings under which it was prepared.

    Raises:
        InputError: there is no store, it is damaged, of another version, or was not prepared to the end.
    """

    def __init__(self, root: Path | str | Bucket, *, check: bool = True, case_ids: Iterable[str] | None = None) -> None:
        place = store_place(root)
        self.root: Place = place if isinstance(place, Bucket) else place.absolute()
        self.check = check
        self._only = None if case_ids is None else frozenset(case_ids)
        self._shelf = shelf_of(self.root)
        self._use(*_complete_index(self.root, self._shelf))

    def _use(self, head: Head, table: Table) -> None:
        self.dataset, self.settings = head.dataset, head.settings
        self._index, self._table = head.index, table
        self._opened: OrderedDict[str, CaseArrays] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Where the store is, and which: not what its index holds, nor opened cases."""
        return {name: value for name, value in self.__dict__.items() if name not in _OF_A_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the same index again.

        Raises:
            InputError: it is no longer there.
        """
        self.__dict__.update(state)
        self._use(*_complete_index(self.root, self._shelf, self._index))

    @cached_property
    def cases(self) -> list[StoredCase]:
        """The prepared cases, in the data set's order."""
        table, only = self._table, self._only
        named = zip(table.texts("id").all(), table.coded("group").all(), table.coded("split").all(), strict=True)
        return [StoredCase(*case) for case in named if only is None or case[0] in only]

    def __len__(self) -> int:
        """Number of cases."""
        return len(self._table) if self._only is None else len(self.cases)

    def __contains__(self, case_id: object) -> bool:
        """Whether the store has a case of this id."""
        return (self._only is None or case_id in self._only) and self._table.row(case_id) is not None

    @property
    def fingerprint(self) -> str:
        """Digest of all cases: the same for the same data and read settings, wherever they were prepared."""
        return self.fingerprint_of(case.id for case in self.cases)

    def fingerprint_of(self, case_ids: Iterable[str]) -> str:
        """Digest of some cases, whatever their order.

        Raises:
            InputError: the store has no such case.
        """
        ids = sorted(set(case_ids))
        return digest(list(zip(ids, self._table.digests("checksum", self._rows(ids)), strict=True)))

    def open(self, case_id: str) -> CaseArrays:
        """A case, without reading its arrays.

        Raises:
            InputError: the store has no such case, or its description is missing, damaged or another's.
        """
        # Two threads at worst open the same case twice, or find that the other has let it go.
        arrays = self._opened.get(case_id)
        if arrays is None:
            arrays = self._opened[case_id] = self._arrays_of(case_id)
            while len(self._opened) > _OPEN_CASES:
                self._opened.popitem(last=False)
        else:
            with suppress(KeyError):
                self._opened.move_to_end(case_id)
        return arrays

    def _arrays_of(self, case_id: str) -> CaseArrays:
        """A case that was not opened, or was let go; stores that show their cases otherwise override it."""
        row = self._row(case_id)
        return CaseArrays(self._shelf, self._folder_of(row), self._described(row), check=self.check)

    def verify(self, case_id: str) -> None:
        """Hold all files of a case against their checksums.

        Raises:
            InputError: one is missing or damaged; the message names it and the remedy.
        """
        row = self._row(case_id)
        header = self._described(row)
        self._shelf.verify(self._folder_of(row), header, self._table.digest("described", row))

    # --- what the index says of many cases at once ---

    def shapes(self, case_ids: Sequence[str]) -> list[tuple[int, ...]]:
        """Shape of the grid of each case, without opening it.

        Raises:
            InputError: the store has no such case, or its description is damaged.
        """
        return self._table.shapes(self._known(case_ids))

    def geometries(self, case_ids: Sequence[str]) -> list[Geometry]:
        """Grid of each case; as :meth:`shapes`."""
        return [self._table.geometry(row) for row in self._known(case_ids).tolist()]

    def channels(self, case_ids: Sequence[str], name: str) -> list[tuple[str, ...]]:
        """Channel names of an array in each case, none where the case lacks it; as :meth:`shapes`."""
        return self._table.channels(self._known(case_ids), name)

    def digests(self, case_ids: Sequence[str], name: str) -> list[str]:
        """:meth:`CaseArrays.digest` of an array in each case, empty where the case lacks it; as :meth:`shapes`."""
        contents = self._table.contents(self._known(case_ids), name)
        return ["" if content is None else digest(content) for content in contents]

    def labels(self, case_ids: Sequence[str], name: str) -> list[dict[str, float]]:
        """Labels of each whole case, ``{class: value}`` without those that are missing; as :meth:`shapes`.

        Raises:
            InputError: as :meth:`shapes`; or the array is no label of the whole case.
        """
        rows = self._known(case_ids)
        found = []
        for case_id, names, values in zip(
            case_ids, self._table.channels(rows, name), self._table.labels(rows, name), strict=True
        ):
            if names and values is None:
                raise no_label(case_id, name)
            found.append(dict(zip(names, values or (), strict=True)))
        return found

    # --- rows of the index ---

    def _row(self, case_id: str) -> int:
        row = self._table.row(case_id) if self._only is None or case_id in self._only else None
        if row is None:
            raise InputError(f"{self.root}: has no case {case_id!r}: prepare it with `crosstask prepare`")
        return row

    def _rows(self, case_ids: Sequence[str]) -> np.ndarray:
        return np.fromiter((self._row(case_id) for case_id in case_ids), np.int64, len(case_ids))

    def _known(self, case_ids: Sequence[str]) -> np.ndarray:
        """Rows of cases of which the index has the description; of others this is looked for, and so refused."""
        rows = self._rows(case_ids)
        without = ~self._table.columns["described"].reshape(-1, 16)[rows].any(1)
        for row in rows[without].tolist():
            self._described(row)
        return rows

    def _folder_of(self, row: int) -> str:
        return self._shelf.folder(self._table.texts("folder")[row])

    def _described(self, row: int) -> CaseHeader:
        """What a case's description says, if it still says what the index does."""
        self._shelf.check(self._folder_of(row), self._table.digest("described", row))
        return self._table.header(row)


_OF_A_PROCESS = ("_table", "_opened", "cases")
_WHOLE = (0,) * 32


def no_label(case_id: str, name: str) -> InputError:
    """The error of a label of whole cases that is one of pixels."""
    return InputError(f"case {case_id}: {name!r} is an array of pixels: name one of labels of whole cases")


def _complete_index(root: Place, shelf: FolderShelf | BucketShelf, index: str | None = None) -> tuple[Head, Table]:
    """The index of a store; where a preparation lets new cases take the place of older ones, that is waited for.

    Args:
        root: of the store.
        shelf: its files.
        index: root digest of its columns, where they must be those and no others.

    Raises:
        InputError: as :class:`Store`.
    """
    until = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        head = shelf.head()
        if index is not None and head.index != index:
            head = replace(head, index=index, complete=True)
        if head.complete:
            try:
                return head, shelf.table(head)
            except FileNotFoundError as error:
                if index is not None or time.monotonic() > until:
                    gone = f"{error.filename or root}: is missing"
                    raise InputError(
                        f"{gone}: the store was prepared anew since it was opened; run the same command again"
                        if index is not None
                        else f"{gone}: run `crosstask prepare` again to fix it"
                    ) from error
                continue  # the head was replaced between the two looks
        if time.monotonic() > until or not shelf.is_held():
            break
        time.sleep(_SECONDS_TO_WAIT / 20)
    holder = shelf.holder()
    wait = f", or wait for process {holder} if that still does it" if holder else ""
    raise InputError(f"{root}: was not prepared to the end: run `crosstask prepare` again{wait}")


def _spatial(
    shape: tuple[int, ...], wanted: Sequence[slice | int], name: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[slice | int, ...]]:
    """First corner and end of the block to read, and what is left to do on it (steps, axes to drop; or nothing)."""
    if len(wanted) > len(shape):
        raise IndexError(f"{len(wanted)} slices for array {name!r} with {len(shape)} spatial axes")
    starts, stops = [0] * len(shape), list(shape)
    after: list[slice | int] = []
    plain = True
    for axis, part in enumerate(wanted):
        size = shape[axis]
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            if step != 1:
                places = range(start, stop, step)
                start, stop = (min(places[0], places[-1]), max(places[0], places[-1]) + 1) if places else (0, 0)
                plain = False
            starts[axis], stops[axis] = start, max(start, stop)
            after.append(slice(None, None, step))
        else:
            place = int(part)
            if not -size <= place < size:
                raise IndexError(f"index {place} is out of range for axis {axis} of array {name!r} ({size})")
            starts[axis] = place % size
            stops[axis] = starts[axis] + 1
            after.append(0)
            plain = False
    return tuple(starts), tuple(stops), () if plain else tuple(after)


def _channels(count: int, wanted: Sequence[int], name: str) -> list[int]:
    return [_position(channel, count, f"the channels of array {name!r}") for channel in wanted]


def _position(index: int, size: int, where: str) -> int:
    place = int(index)
    if not -size <= place < size:
        raise IndexError(f"index {place} is out of range for {where} ({size})")
    return place % size


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Neighbouring indices joined to ranges (start, stop), in order."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
