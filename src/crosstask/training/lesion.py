"""Patches of lesions, as Fang et al. (2019) take them (sections 2.2 and 2.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crosstask.assembly import Assembly, Lesion, lesion_of, without_outline
from crosstask.errors import InputError
from crosstask.experiment import LesionSection
from crosstask.functional.planes import PLANES
from crosstask.functional.resize import resize
from crosstask.sample import Sample
from crosstask.store import Store
from crosstask.store.statistics import slices_with
from crosstask.training.samples import CaseSamples

KEPT_BYTES = 2 << 30
"""Lesions and their surroundings that one process keeps in memory."""


class LesionSamples(CaseSamples):
    """Patches of lesions in the three orthogonal planes; the same index gives the same patch, whoever loads it.

    For training, each case gives ``per_case`` patches about a random voxel of its lesion in a random plane, and of each
    ``copies`` more that are shifted and turned at random in that plane. Else it gives one, the axial one about the
    lesion's middle. Pixels are interpolated linearly from the volume as it is, which spares a resampling of all of it;
    the windows come after that, and then the patch is resized.

    Args:
        store: the prepared cases.
        case_ids: which of them.
        assembly: how to look at a case.
        size: height and width of a sample.
        settings: of the patches.
        seed: of the places; None for the middle.
        kept_bytes: of lesions that a process keeps in memory; further ones are read for every patch.

    Raises:
        InputError: a case has no outline, or an empty one.
    """

    def __init__(
        self,
        store: Store,
        case_ids: Sequence[str],
        assembly: Assembly,
        size: Sequence[int],
        settings: LesionSection,
        seed: int | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        check_outlines(store, case_ids, settings.outline)
        self._store, self._assembly, self._size = store, assembly, tuple(size)
        self._settings, self._seed, self._kept_bytes = settings, seed, kept_bytes
        each = 1 if seed is None else settings.per_case * (1 + settings.copies)
        self.cases = [case for case in case_ids for _ in range(each)]
        self._kept: dict[str, Lesion] = {}
        self._labels: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All but what is kept in memory: other processes read their own."""
        return {**self.__dict__, "_kept": {}, "_labels": {}}

    def __getitem__(self, index: int) -> Sample:
        case = self.cases[index]
        lesion = self._lesion(case)
        plane, voxel, shift, angle = self._place(range(len(self.cases))[index], lesion)
        image = self._assembly.windowed(lesion.patch(self._settings, plane, voxel, shift, angle))
        targets, present = self._labels_of(case)
        return Sample(
            image=resize(torch.from_numpy(image)[None], self._size)[0],
            targets=dict(targets),
            present=dict(present),
            region=None,
            case=case,
            position=tuple(round(float(at)) for at in voxel),
        )

    def _place(self, index: int, lesion: Lesion) -> tuple[str, np.ndarray, tuple[float, float], float]:
        """Plane, centre, shift and angle of a sample."""
        if self._seed is None:
            return PLANES[0], lesion.middle, (0.0, 0.0), 0.0
        patch, copy = divmod(index, 1 + self._settings.copies)
        generator = np.random.default_rng([self._seed, patch])
        plane = PLANES[generator.integers(len(PLANES))]
        voxel = lesion.voxels[generator.integers(len(lesion.voxels))]
        if copy == 0:
            return plane, voxel, (0.0, 0.0), 0.0
        down, right, turn = np.random.default_rng([self._seed, patch, copy]).uniform(-1, 1, 3)
        most = self._settings.shift
        return plane, voxel, (most * down, most * right), math.radians(self._settings.rotate) * turn

    def _lesion(self, case_id: str) -> Lesion:
        lesion = self._kept.get(case_id)
        if lesion is None:
            case = self._store.open(case_id)
            lesion = lesion_of(case_id, case, case.geometry, self._assembly.image_array, self._settings)
            # the first ones stay: to drop the oldest would, in random order, read nearly every one anew
            if sum(map(_bytes, self._kept.values())) + _bytes(lesion) <= self._kept_bytes:
                self._kept[case_id] = lesion
        return lesion

    def _labels_of(self, case_id: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if case_id not in self._labels:
            case = self._store.open(case_id)
            targets, present = {}, {}
            for task in self._assembly.tasks:
                target, labelled = self._assembly.target(task, case)
                targets[task.name], present[task.name] = torch.from_numpy(target), torch.from_numpy(labelled)
            self._labels[case_id] = targets, present
        return self._labels[case_id]


def check_outlines(store: Store, case_ids: Sequence[str], outline: str) -> None:
    """Refuse cases that no patch can be taken of.

    Args:
        store: the prepared cases.
        case_ids: which of them.
        outline: case array of masks whose voxels are the lesion.

    Raises:
        InputError: the cases have no such array, or some of them lack an outline or have an empty one.
    """
    cases = [store.open(case_id) for case_id in case_ids]
    if not cases:
        return
    if not any(outline in case.channels and len(case.shape(outline)) == 4 for case in cases):
        known = ", ".join(name for name in cases[0].channels if len(cases[0].shape(name)) == 4)
        raise InputError(f"sample.lesion.outline: the cases have no masks {outline!r}; choose among {known}")
    names = dict.fromkeys(name for case in cases for name in case.channels.get(outline, ()))
    found = slices_with(store, case_ids, outline, list(names))
    lacking = [case_id for case_id in case_ids if not any(found.get(case_id, {}).values())]
    if lacking:
        raise without_outline(lacking, outline)


def _bytes(lesion: Lesion) -> int:
    return lesion.image.nbytes + lesion.voxels.nbytes
