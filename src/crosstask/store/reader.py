"""Reading a store: mapped, block by block, from any number of processes."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.store.fingerprint import digest
from crosstask.store.format import (
    HEADER_NAME,
    REMEDY,
    ArrayHeader,
    CaseHeader,
    check_file,
    check_files,
    map_array,
    read_header,
)
from crosstask.store.index import CASES_NAME, LOCK_NAME, Entry, Index

_SECONDS_TO_WAIT = 2.0
_OPEN_HEADERS = 16384  # a few KiB each

if sys.platform == "win32":
    _OPEN_ARRAYS = 256
else:
    import resource

    # Each mapped array holds a file descriptor, of which the rest of the process needs most, and about 40 KiB.
    _limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    _OPEN_ARRAYS = 1024 if _limit == resource.RLIM_INFINITY else min(1024, max(32, _limit // 4))


@dataclass(frozen=True)
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
        self.arrays: OrderedDict[tuple[Path, str], Any] = OrderedDict()
        self.checked: set[tuple[Path, str]] = set()

    def read(self, path: Path, header: ArrayHeader, selection: tuple[slice, ...], *, check: bool) -> np.ndarray:
        """Values of a block of an array.

        Raises:
            InputError: the file is missing or damaged.
        """
        key = (path, header.checksum)
        with self.lock:
            array = self.arrays.get(key)
            if array is None:
                check_file(path, header, content=check and key not in self.checked)
                self.checked.add(key)
                array = self.arrays[key] = map_array(path, header)
                while len(self.arrays) > self.limit:
                    self.arrays.popitem(last=False)
            else:
                self.arrays.move_to_end(key)
            try:
                values: np.ndarray = array[selection]
            except Exception as error:  # Blosc2 gives errors of many types on damaged files
                self.arrays.pop(key, None)
                raise InputError(f"{path}: is damaged ({type(error).__name__}): {REMEDY}") from error
            return values


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

    def __init__(self, folder: Path, header: CaseHeader, *, check: bool) -> None:
        self.id = header.id
        self.channels = header.channels
        self.geometry: Geometry = header.geometry
        self.information = header.information
        self._folder, self._arrays, self._check = folder, header.arrays, check

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
        selection, after = _spatial(header.shape[1:], tuple(slices or ()), name)
        wanted = _channels(header.shape[0], channels, name)
        if header.values is not None:
            return np.array(header.values, np.dtype(header.dtype))[wanted]
        values = self._block(header, wanted, selection)
        if after:
            rest = (slice(None), *after)
            values = values[rest]
        return values

    def _block(self, header: ArrayHeader, channels: list[int], selection: tuple[slice, ...]) -> np.ndarray:
        shape = tuple(part.stop - part.start for part in selection)
        if header.file is None or not channels or 0 in shape:
            return np.empty((len(channels), *shape), np.dtype(header.dtype))
        path = self._folder / header.file
        runs = _runs(channels)
        parts = [
            _arrays.read(path, header, (slice(start, stop), *selection), check=self._check) for start, stop in runs
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _header(self, name: str) -> ArrayHeader:
        try:
            return self._arrays[name]
        except KeyError:
            raise InputError(
                f"case {self.id}: has no array {name!r}: choose one of {', '.join(self._arrays) or 'none'}"
            ) from None


class Store:
    """Prepared cases of one data set, as :func:`crosstask.store.prepare` wrote them.

    It holds no open file, so it may be pickled and used after a fork; each process maps the arrays that it reads.

    Args:
        root: folder of the store.
        check: hold each file against its checksum when a process first opens it (about 1 ms a MB), so that a damaged
            one gives an error, not wrong values. Its length is looked at in any case.

    Attributes:
        root: folder of the store.
        dataset: name of the data set.
        settings: the read settings under which it was prepared.
        cases: the prepared cases, in the data set's order.

    Raises:
        InputError: there is no store, it is damaged, of another version, or was not prepared to the end.
    """

    def __init__(self, root: Path | str, *, check: bool = True) -> None:
        self.root = Path(root).absolute()
        self.check = check
        index = _complete_index(self.root)
        self.dataset = index.dataset
        self.settings = index.settings
        self.cases = [StoredCase(entry.id, entry.group, entry.split) for entry in index.entries.values()]
        self._entries = index.entries
        self._opened: OrderedDict[str, CaseArrays] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """All but the opened cases."""
        return {**self.__dict__, "_opened": OrderedDict()}

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.cases)

    def __contains__(self, case_id: object) -> bool:
        """Whether the store has a case of this id."""
        return case_id in self._entries

    @property
    def fingerprint(self) -> str:
        """Digest of all cases: the same for the same data and read settings, wherever they were prepared."""
        return self.fingerprint_of(self._entries)

    def fingerprint_of(self, case_ids: Iterable[str]) -> str:
        """Digest of some cases, whatever their order.

        Raises:
            InputError: the store has no such case.
        """
        return digest(sorted((case_id, self._entry(case_id).checksum) for case_id in set(case_ids)))

    def open(self, case_id: str) -> CaseArrays:
        """A case, without reading its arrays.

        Raises:
            InputError: the store has no such case, or its description is missing, damaged or another's.
        """
        # Two threads at worst open the same case twice.
        arrays = self._opened.get(case_id)
        if arrays is None:
            folder = self._folder(case_id)
            arrays = CaseArrays(folder, self._read_header(case_id), check=self.check)
            if len(self._opened) >= _OPEN_HEADERS:
                self._opened = OrderedDict()
            self._opened[case_id] = arrays
        return arrays

    def verify(self, case_id: str) -> None:
        """Hold all files of a case against their checksums.

        Raises:
            InputError: one is missing or damaged; the message names it and the remedy.
        """
        check_files(self._folder(case_id), self._read_header(case_id), content=True)

    def _read_header(self, case_id: str) -> CaseHeader:
        folder = self._folder(case_id)
        header = read_header(folder)
        if header.checksum != self._entry(case_id).checksum:
            raise InputError(f"{folder / HEADER_NAME}: is damaged, or was rebuilt since the store was opened: {REMEDY}")
        return header

    def _entry(self, case_id: str) -> Entry:
        try:
            return self._entries[case_id]
        except KeyError:
            raise InputError(f"{self.root}: has no case {case_id!r}: prepare it with `crosstask prepare`") from None

    def _folder(self, case_id: str) -> Path:
        return self.root / CASES_NAME / self._entry(case_id).folder


def _complete_index(root: Path) -> Index:
    """The index of a store; where a preparation lets new cases take the place of older ones, that is waited for.

    Raises:
        InputError: as :class:`Store`.
    """
    until = time.monotonic() + _SECONDS_TO_WAIT
    while not (index := Index.read(root)).complete:
        if time.monotonic() > until or not (root / LOCK_NAME).exists():
            break
        time.sleep(_SECONDS_TO_WAIT / 20)
    if index.complete:
        return index
    try:
        holder = (root / LOCK_NAME).read_text(encoding="utf-8", errors="replace").strip().partition(" ")[0]
    except OSError:
        holder = ""
    wait = f", or wait for process {holder} if that still does it" if holder else ""
    raise InputError(f"{root}: was not prepared to the end: run `crosstask prepare` again{wait}")


def _spatial(
    shape: tuple[int, ...], wanted: tuple[slice | int, ...], name: str
) -> tuple[tuple[slice, ...], tuple[slice | int, ...]]:
    """Contiguous slices to read, and what is left to do on the result (steps, axes to drop; empty if nothing)."""
    if len(wanted) > len(shape):
        raise IndexError(f"{len(wanted)} slices for array {name!r} with {len(shape)} spatial axes")
    block: list[slice] = []
    after: list[slice | int] = []
    for axis, size in enumerate(shape):
        part = wanted[axis] if axis < len(wanted) else slice(None)
        if isinstance(part, slice):
            start, stop, step = part.indices(size)
            places = range(start, stop, step)
            low, high = (min(places[0], places[-1]), max(places[0], places[-1]) + 1) if places else (0, 0)
            block.append(slice(low, high))
            after.append(slice(None, None, step))
        else:
            place = _position(part, size, f"axis {axis} of array {name!r}")
            block.append(slice(place, place + 1))
            after.append(0)
    return tuple(block), () if all(part == slice(None, None, 1) for part in after) else tuple(after)


def _channels(count: int, wanted: Sequence[int] | None, name: str) -> list[int]:
    if wanted is None:
        return list(range(count))
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
