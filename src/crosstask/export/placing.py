"""Predictions from a case's grid to a CT's own, without loss of volume."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets.dicom_rt.patient import PatientCase
from crosstask.geometry import Geometry
from crosstask.io.grids import regrid, threshold_for
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.segmentation import SegmentationTask


@dataclass(frozen=True)
class PlacedPlan:
    """A patient's predicted structures and dose on the CT's own grid: what files hold and pages show.

    Attributes:
        masks: bool ``z y x`` by structure.
        dose: ``z y x`` in Gy, never below 0, and 0 outside the body; None if it is not predicted.
    """

    masks: dict[str, np.ndarray]
    dose: np.ndarray | None


def placed_plan(assembly: Assembly, prediction: Prediction, case: PatientCase) -> PlacedPlan:
    """Structures and dose of a prediction on the CT's grid.

    Args:
        assembly: the tasks that were predicted.
        prediction: on the case's grid.
        case: what was predicted from.
    """
    masks: dict[str, np.ndarray] = {}
    dose = None
    ct, body = case.patient.ct, case.patient.body
    for task in assembly.tasks:
        values = prediction.values[task.name]
        if isinstance(task, SegmentationTask):
            found = placed_masks(task, values, case.geometry, ct.geometry)
            masks |= dict(zip(task.classes, found, strict=True))
        elif task.array == "dose":
            dose = np.where(body, regrid(values[0], case.geometry, ct.geometry), 0).clip(min=0)
    return PlacedPlan(masks, dose)


def placed_spread(assembly: Assembly, prediction: Prediction, case: PatientCase) -> dict[str, np.ndarray]:
    """Standard deviation over the seeds of an ensemble on the CT's grid, ``z y x``; empty of one run.

    Of each structure's probability, under its name, and of the dose in Gy, under ``dose``, 0 outside the body.

    Args:
        assembly: the tasks that were predicted.
        prediction: on the case's grid.
        case: what was predicted from.
    """
    found: dict[str, np.ndarray] = {}
    for task in assembly.tasks:
        if task.name not in prediction.spread or task.level != "pixel":
            continue
        spread = prediction.spread[task.name]
        placed = [regrid(values, case.geometry, case.patient.ct.geometry).clip(min=0) for values in spread]
        if isinstance(task, SegmentationTask):
            found |= dict(zip(task.classes, placed, strict=True))
        elif task.array == "dose":
            found["dose"] = np.where(case.patient.body, placed[0], 0)
    return found


def placed_masks(task: SegmentationTask, values: np.ndarray, grid: Geometry, native: Geometry) -> np.ndarray:
    """Masks on a CT's grid of probabilities on a coarser one, with the volumes that they have there.

    Interpolated probabilities make smooth outlines, but their peaks are lower: to decide them at the same threshold
    takes half of a cord of two voxels, and most of what is one voxel wide. So each structure has a threshold of its
    own, by which its volume is that of its mask on the case's grid, the one that was judged. It reaches at most one
    voxel of that grid beyond this mask. Where classes exclude each other, voxels that several of them take go to the
    one with the highest margin.

    Args:
        task: decides from probabilities.
        values: ``c z y x``.
        grid: theirs.
        native: the CT's.

    Returns:
        bool ``c z y x``.
    """
    masks = np.zeros((len(values), *native.shape), bool)
    best = np.full(native.shape, -np.inf, np.float32) if task.exclusive else None
    margins = task.margins(values)
    for index, (mask, margin) in enumerate(zip(task.to_masks(values).astype(bool), margins, strict=True)):
        box = _box(mask, grid, native)
        if box is None:
            continue
        part = native.cropped(box)
        share = regrid(mask.astype(np.float32), grid, part)
        near = share > 0
        score = regrid(margin.astype(np.float32), grid, part)
        taken = near & (score >= threshold_for(score[near], max(float(share.sum(dtype=np.float64)), 1.0)))
        if best is not None:
            taken &= score > best[box]
            masks[:index, box[0], box[1], box[2]] &= ~taken  # of lower margin, every one
            best[box][taken] = score[taken]
        masks[index][box] = taken
    return masks


def _box(mask: np.ndarray, grid: Geometry, native: Geometry) -> tuple[slice, ...] | None:
    """The part of the CT's grid that a mask, and one voxel of its own grid around it, can reach; None if none."""
    if not mask.any():
        return None
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    corners = list(itertools.product(*((first - 1.0, last + 1.0) for first, last in ends)))
    reached = native.indices(grid.points(corners))
    box = []
    for low, high, length in zip(reached.min(0), reached.max(0), native.shape, strict=True):
        start, stop = max(int(np.floor(low)), 0), min(int(np.ceil(high)) + 1, length)
        if start >= stop:
            return None
        box.append(slice(start, stop))
    return tuple(box)
