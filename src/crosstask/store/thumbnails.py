"""Small grey pictures of images, by which a copy that was saved anew (as JPEG, or in another size) can be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosstask.store.reader import Store
from crosstask.store.statistics import cached

_SIDES = {2: 16, 3: 8}
"""Pixels along each axis of the thumbnail, by the number of axes."""


def thumbnails_of(store: Store, case_ids: Sequence[str], name: str) -> dict[str, np.ndarray]:
    """A thumbnail of each case, float32, with mean 0 and length 1: the product of two is their correlation.

    Cases that lack the array, or whose image has one value alone, are left out. Kept in the store's folder.

    Args:
        store: the store.
        case_ids: which cases.
        name: case array of the image.

    Raises:
        InputError: the store lacks a case, or a file is damaged.
    """
    ids = sorted(set(case_ids))

    def find() -> dict[str, str]:
        return {case_id: _picture(store, case_id, name).tobytes().hex() for case_id in ids}

    found = cached(store, ["thumbnails", store.fingerprint_of(ids), name], set(ids), find)
    pictures = {case: np.frombuffer(bytes.fromhex(text), np.uint8).astype(np.float32) for case, text in found.items()}
    centred = {case: picture - picture.mean() for case, picture in pictures.items() if picture.size}
    return {case: picture / np.linalg.norm(picture) for case, picture in centred.items() if picture.any()}


def _picture(store: Store, case_id: str, name: str) -> np.ndarray:
    """Mean over the channels and over blocks of the image, its range spread over 0 to 255; flat."""
    case = store.open(case_id)
    if name not in case:
        return np.empty(0, np.uint8)
    values = case.read(name).astype(np.float64).mean(0)
    side = _SIDES[values.ndim]
    for axis in range(values.ndim):
        starts = np.arange(side) * values.shape[axis] // side
        ends = np.maximum((np.arange(side) + 1) * values.shape[axis] // side, starts + 1)
        sums = np.concatenate([np.zeros_like(values.take([0], axis)), values.cumsum(axis)], axis)
        lengths = np.expand_dims(ends - starts, [other for other in range(values.ndim) if other != axis])
        values = (sums.take(ends, axis) - sums.take(starts, axis)) / lengths
    low, high = values.min(), values.max()
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return np.asarray(np.rint(scaled), np.uint8).reshape(-1)
