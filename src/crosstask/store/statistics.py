"""Figures of the training labels and images, streamed over a store case by case."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.buckets import Bucket
from crosstask.errors import CrosstaskError, InputError
from crosstask.files import cache_folder, is_writable
from crosstask.store.fingerprint import canonical, digest
from crosstask.store.index import STATISTICS_NAME, replace_file
from crosstask.store.reader import Store

_CACHE_VERSION = 2
_HALF = 16
_BINS = 1 << _HALF


def channel_statistics(
    store: Store,
    case_ids: Sequence[str],
    source: str,
    classes: Sequence[str],
    region_array: str | None = None,
) -> dict[str, dict[str, float]]:
    """Figures of each class (channel) of an array over some cases.

    Only one channel of one case is in memory at a time. A case without a class (a missing label) adds nothing to that
    class. All figures are over whole cases, so each voxel weighs the same, and are kept in the store's folder.

    Args:
        store: the store.
        case_ids: cases to look at, usually those of the training split.
        source: name of the array.
        classes: channel names.
        region_array: name of an array with one channel; ``mean``, ``std`` and ``median`` are then over its voxels
            that are not zero. ``count`` and ``positive`` are over the whole grid always. Of labels of whole cases each
            case is one voxel, and there is no region.

    Returns:
        ``{class: figures}`` with ``count`` (voxels where the class is labelled), ``positive`` (voxels > 0 of these),
        ``mean``, ``std`` (population), ``median`` (exact for values of at most 16-bit integer or 32-bit real type,
        else of the values rounded to 32-bit reals) and ``cases`` (number of cases that carry the class). A class that
        no case carries has counts of 0, and NaN for the rest.

    Raises:
        InputError: the store lacks a case, a case with the class lacks ``region_array`` or has several channels
            of it, or a file is damaged.
    """
    ids = sorted(set(case_ids))
    return cached(
        store,
        ["statistics", store.fingerprint_of(ids), source, list(classes), region_array],
        set(classes),
        lambda: {name: _class_statistics(_Voxels(store, ids, source, name, region_array)) for name in classes},
    )


def labels_of(store: Store, case_ids: Sequence[str], source: str) -> dict[str, dict[str, float]]:
    """Labels of whole cases: ``{case: {class: value}}``, without those that are missing; from the store's index.

    Raises:
        InputError: the store lacks a case, a description is damaged, or the array is no label of the whole case.
    """
    ids = sorted(set(case_ids))
    return dict(zip(ids, store.labels(ids, source), strict=True))


def digests_of(store: Store, case_ids: Sequence[str], name: str) -> dict[str, str]:
    """Digest of an array's values, by case; equal ones are equal arrays. Cases that lack it are left out.

    Raises:
        InputError: the store lacks a case, or a description is damaged.
    """
    ids = sorted(set(case_ids))
    return {case: value for case, value in zip(ids, store.digests(ids, name), strict=True) if value}


def slices_with(
    store: Store, case_ids: Sequence[str], source: str, classes: Sequence[str]
) -> dict[str, dict[str, list[int]]]:
    """Where each class is to be found: ``{case: {class: indexes along the first axis with a voxel > 0}}``.

    A class that a case lacks (a missing label) is left out of that case. Kept in the store's folder.

    Raises:
        InputError: the store lacks a case, or a file is damaged.
    """
    ids = sorted(set(case_ids))

    def find() -> dict[str, dict[str, list[int]]]:
        found: dict[str, dict[str, list[int]]] = {}
        for case_id in ids:
            case = store.open(case_id)
            names = case.channels.get(source, ())
            found[case_id] = {}
            for name in classes:
                if name in names:
                    values = case.read(source, [names.index(name)])[0]
                    hits = (values > 0).any(axis=tuple(range(1, values.ndim)))
                    found[case_id][name] = np.flatnonzero(hits).tolist()
        return found

    return cached(store, ["slices", store.fingerprint_of(ids), source, list(classes)], set(ids), find)


def cached(store: Store, key: Sequence[Any], names: set[str], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``compute`` gives, kept under the key; ``names`` are the keys of a whole result.

    It is kept in the store's folder, or with the user's own caches if nothing may be written there: the key tells the
    content of the cases, so it is right for any store. On object storage it is kept in both.
    """
    name = f"{STATISTICS_NAME}/{digest([_CACHE_VERSION, *key])}.json"
    bucket = store.root if isinstance(store.root, Bucket) else None
    own = isinstance(store.root, Path) and is_writable(store.root)
    path = (store.root if isinstance(store.root, Path) and own else cache_folder()) / name
    looks = [path.read_bytes] if bucket is None else [path.read_bytes, lambda: bucket.read(name)]
    for look in looks:
        with suppress(OSError, ValueError, TypeError, CrosstaskError):
            kept = json.loads(look())
            if set(kept) == names:
                return dict(kept)
    result = compute()
    content = canonical(result, indent=1).encode()
    with suppress(OSError):  # what cannot be kept is still true
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    if bucket is not None:
        with suppress(OSError, CrosstaskError):
            bucket.write(name, content)
    return result


@dataclass(frozen=True)
class _Voxels:
    """The voxels of one class, case by case."""

    store: Store
    case_ids: Sequence[str]
    source: str
    name: str
    region_array: str | None

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Per case that carries the class: all values, and those in the region, both flat."""
        for case_id in self.case_ids:
            case = self.store.open(case_id)
            names = case.channels.get(self.source, ())
            if self.name not in names:
                continue
            values = case.read(self.source, [names.index(self.name)])
            if self.region_array is None or values.ndim == 1:
                yield values.reshape(-1), values.reshape(-1)
                continue
            shape = case.shape(self.region_array)
            if shape[0] != 1:
                raise InputError(
                    f"case {case_id}: array {self.region_array!r} has {shape[0]} channels: a region needs exactly one"
                )
            yield values.reshape(-1), values[case.read(self.region_array) != 0]


def _class_statistics(voxels: _Voxels) -> dict[str, float]:
    count = positive = cases = inside = 0
    mean = squares = 0.0
    bins = np.zeros(_BINS, np.int64)
    for every, values in voxels:
        cases += 1
        count += every.size
        positive += int(np.count_nonzero(every > 0))
        if not values.size:
            continue
        # Joined by Chan, Golub & LeVeque (1983), since sums of squares lose digits.
        distinct, times = _distinct(values)
        case_mean = float(np.average(distinct.astype(np.float64), weights=times))
        deviations = np.subtract(distinct, case_mean, dtype=np.float64)
        difference, total = case_mean - mean, inside + values.size
        mean += difference * values.size / total
        squares += float(np.sum(deviations**2 if times is None else times * deviations**2))
        squares += difference**2 * inside * values.size / total
        inside = total
        bins += _counts(_keys(distinct) >> _HALF, times)
    return {
        "count": count,
        "positive": positive,
        "mean": mean if inside else math.nan,
        "std": math.sqrt(squares / inside) if inside else math.nan,
        "median": _median(bins, inside, voxels) if inside and math.isfinite(mean) else math.nan,
        "cases": cases,
    }


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and how often each occurs: of small integers the different ones, of others all, once each (None)."""
    if values.dtype.kind not in "biu" or values.dtype.itemsize > 2:
        return values, None
    low = int(values.min())
    times = np.bincount(values.astype(np.intp) - low)
    places = np.flatnonzero(times)
    return places + low, times[places]


def _counts(keys: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """How often each of the 2^16 keys occurs; float64 sums of counts are exact below 2^53."""
    return np.bincount(keys, weights=times, minlength=_BINS).astype(np.int64)


def _keys(values: np.ndarray) -> np.ndarray:
    """32-bit unsigned integers that are ordered as the values are (as 32-bit reals)."""
    bits = np.add(values, np.float32(0), dtype=np.float32, casting="unsafe").view(np.uint32)  # -0 becomes 0
    keys: np.ndarray = bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
    return keys


def _value(key: int) -> float:
    """The value of a key."""
    bits = key ^ 0x80000000 if key >> 31 else key ^ 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))


def _median(bins: np.ndarray, count: int, voxels: _Voxels) -> float:
    """Median by radix selection: the upper halves of all keys are counted, then the lower ones where the middle lies.

    Args:
        bins: how many keys have each upper half.
        count: how many there are.
        voxels: read once more for the lower halves.
    """
    places = ((count - 1) // 2, count // 2)
    ends = np.cumsum(bins)
    uppers = [int(np.searchsorted(ends, place, side="right")) for place in places]
    lower = {upper: np.zeros(_BINS, np.int64) for upper in uppers}
    for _, values in voxels:
        if not values.size:
            continue
        distinct, times = _distinct(values)
        keys = _keys(distinct)
        for upper, counts in lower.items():
            chosen = keys >> _HALF == upper
            counts += _counts(keys[chosen] & (_BINS - 1), None if times is None else times[chosen])
    found = []
    for place, upper in zip(places, uppers, strict=True):
        rest = place - int(ends[upper] - bins[upper])
        found.append(_value((upper << _HALF) | int(np.searchsorted(np.cumsum(lower[upper]), rest, side="right"))))
    return (found[0] + found[1]) / 2


def spacing_range(store: Store, cases: Sequence[str]) -> list[list[float]] | None:
    """Smallest and largest spacing of prepared volumes, ``[[z, y, x], [z, y, x]]``; None of pictures, or no case.

    Args:
        store: the prepared cases.
        cases: which.
    """
    steps = np.array([geometry.spacing for geometry in store.geometries(cases)])
    return None if steps.ndim != 2 or steps.shape[1] != 3 else [steps.min(0).tolist(), steps.max(0).tolist()]
