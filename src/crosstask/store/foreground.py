"""Where each class of a case is, for draws of single voxels: an index per case, in compressed rows, mapped.

A row is a class. Its entries are the runs of consecutive voxels in the flat array, each with the number of voxels
before it in the row, so that the k-th voxel of a class is found by bisection: in microseconds, and in a few pages of
the file, however large the case is. An index is made when a case is first drawn from, and kept by the content of its
masks.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.store.derived import folder_beside
from crosstask.store.fingerprint import digest
from crosstask.store.reader import CaseArrays, Store

FOREGROUND_NAME = "foreground"
_VERSION = 1
_MAPPED = 256
"""Indexes that a process has open at a time: each holds a file descriptor."""


class ForegroundIndex:
    """Where the channels of an array of masks are.

    Attributes:
        counts: voxels of each channel.

    Args:
        values: one array of int64: the number of channels n, where each row begins (n + 1 of them, in runs), the voxels
            of each row (n); then the first voxel of each run, and the voxels before it in its row.
    """

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values)  # of a mapped array each slice would cost more than the search
        rows = int(values[0])
        self._rows = values[1 : rows + 2]
        self.counts = values[rows + 2 : 2 * rows + 2]
        rest = values[2 * rows + 2 :]
        self._starts, self._before = rest[: len(rest) // 2], rest[len(rest) // 2 :]

    def voxel(self, channel: int, number: int) -> int:
        """Flat index of a channel's voxel by its number in C order.

        Raises:
            IndexError: the channel has fewer voxels.
        """
        if not 0 <= number < self.counts[channel]:
            raise IndexError(f"voxel {number} of {self.counts[channel]}")
        low, high = int(self._rows[channel]), int(self._rows[channel + 1])
        run = low + int(np.searchsorted(self._before[low:high], number, side="right")) - 1
        return int(self._starts[run]) + number - int(self._before[run])


def index_of(masks: np.ndarray) -> np.ndarray:
    """The values of a :class:`ForegroundIndex` of masks ``c *s``: a voxel counts where it is not zero."""
    starts, before, counts, lengths = [], [], [], []
    for mask in masks:
        inside = np.concatenate([[False], mask.reshape(-1) != 0, [False]])
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        first, sizes = edges[::2], edges[1::2] - edges[::2]
        starts.append(first)
        before.append(np.cumsum(sizes) - sizes)
        counts.append(int(sizes.sum()))
        lengths.append(len(first))
    head = [len(masks), *np.cumsum([0, *lengths]), *counts]
    return np.concatenate([np.asarray(head), *starts, *before]).astype(np.int64)


class Foreground:
    """The indexes of a store's cases, those that were used last being open.

    It pickles without what is open: every process maps its own.

    Args:
        store: the prepared cases.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = folder_beside(store.root) / FOREGROUND_NAME
        self._open: OrderedDict[tuple[str, str], ForegroundIndex] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """All but the open indexes."""
        return {**self.__dict__, "_open": OrderedDict()}

    def of(self, case_id: str, source: str) -> ForegroundIndex:
        """The index of an array of masks of a case, made now if there is none.

        Raises:
            InputError: the store lacks the case or the array, or its file is damaged.
        """
        key = (case_id, source)
        index = self._open.get(key)
        if index is None:
            index = self._open[key] = self._mapped(self._store.open(case_id), source)
            while len(self._open) > _MAPPED:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(key)
        return index

    def _mapped(self, case: CaseArrays, source: str) -> ForegroundIndex:
        path = self._folder / f"{digest([_VERSION, case.digest(source)])}.npy"
        with suppress(OSError, ValueError, IndexError, EOFError):
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            if _is_whole(values, len(case.channels[source])):
                return ForegroundIndex(values)
        made = index_of(case.read(source))
        with suppress(OSError):  # what cannot be kept is still true
            _write(path, made)
        return ForegroundIndex(made)


def _is_whole(values: np.ndarray, channels: int) -> bool:
    """Whether the values of a file are an index of so many channels."""
    if values.ndim != 1 or values.dtype != np.int64 or len(values) < 2 * channels + 2 or values[0] != channels:
        return False
    return len(values) == 2 * channels + 2 + 2 * int(values[channels + 1])


def _write(path: Path, values: np.ndarray) -> None:
    """Write a new file under another name first: other processes may make the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(suffix=".npy", prefix=".new", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            np.save(file, values)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
