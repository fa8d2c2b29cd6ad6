"""The two scores of the OpenKBP challenge (Babier et al., Medical Physics 2021), and the structures they look at.

The dose score says how far the whole dose is off, the DVH score how far the figures are off by which a plan is
judged. Lower is better for both; both are in Gy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from crosstask.functional.dvh import dvh_metrics

OARS = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
"""Organs at risk, in the order of the channels."""
TARGETS = ("PTV56", "PTV63", "PTV70")
"""Planning target volumes; the number is the prescribed dose in Gy."""
STRUCTURES = OARS + TARGETS
"""Every structure of the data set, in the order of the channels."""
STRUCTURE_METRICS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(OARS, ("D_0.1cc", "mean")),
    **dict.fromkeys(TARGETS, ("D_99", "D_95", "D_1")),
}
"""Which figures of the DVH are compared in which structure."""


def dose_score(reference: np.ndarray, prediction: np.ndarray, region: np.ndarray) -> float:
    """Mean absolute dose difference of one patient over the voxels that can receive dose, in Gy.

    ``sum |reference - prediction| / (voxels of region)``; the sum runs over the whole grid, the prediction is set
    to zero outside the region.

    Args:
        reference: planned dose in Gy.
        prediction: predicted dose in Gy, of the same shape.
        region: the challenge's ``possible_dose_mask``, of the same shape; nonzero inside.

    Raises:
        ValueError: the shapes differ, or the region is empty.
    """
    inside = _region(reference, prediction, region)
    difference = np.where(inside, prediction, 0.0).astype(np.float64) - reference.astype(np.float64)
    return float(np.abs(difference).sum() / np.count_nonzero(inside))


def dvh_errors(
    reference: np.ndarray,
    prediction: np.ndarray,
    region: np.ndarray,
    structures: Mapping[str, np.ndarray],
    voxel_volume: float,
) -> dict[tuple[str, str], float]:
    """Absolute DVH differences of one patient: one cell per structure and figure, in Gy.

    Args:
        reference: planned dose in Gy.
        prediction: predicted dose in Gy, of the same shape.
        region: the challenge's ``possible_dose_mask``; the prediction is set to zero outside it.
        structures: ``{name: mask}`` of the contoured structures; one that is missing here is left out, as in the
            challenge.
        voxel_volume: volume of one voxel, in mm^3.

    Returns:
        ``{(structure, metric): |reference - prediction|}``, in the order of :data:`STRUCTURES`; organs at risk have
        ``D_0.1cc`` and ``mean``, targets ``D_99``, ``D_95`` and ``D_1``.

    Raises:
        ValueError: shapes differ, a mask or the region is empty, or a structure is not one of the challenge's.
    """
    unknown = sorted(set(structures) - set(STRUCTURES))
    if unknown:
        raise ValueError(f"no such structure in OpenKBP: {', '.join(unknown)}")
    inside = _region(reference, prediction, region)
    prediction = np.where(inside, prediction, 0.0)
    cells: dict[tuple[str, str], float] = {}
    for name in STRUCTURES:
        if name not in structures:
            continue
        expected = dvh_metrics(reference, structures[name], voxel_volume)
        predicted = dvh_metrics(prediction, structures[name], voxel_volume)
        for metric in STRUCTURE_METRICS[name]:
            cells[name, metric] = abs(expected[metric] - predicted[metric])
    return cells


def aggregate(
    dose_scores: Iterable[float], dvh_cells: Iterable[Mapping[tuple[str, str], float]]
) -> tuple[float, float]:
    """Dose and DVH score of several patients, in Gy.

    The dose score is the mean over patients. The DVH score is the mean over *all* cells of all patients at once, so
    a patient with more contoured structures weighs more; it is not a number (NaN) where there is no cell at all.

    Raises:
        ValueError: there is no patient.
    """
    doses = list(dose_scores)
    if not doses:
        raise ValueError("no patient to aggregate")
    cells = [value for patient in dvh_cells for value in patient.values()]
    return float(np.mean(doses)), float(np.mean(cells)) if cells else float("nan")


def _region(reference: np.ndarray, prediction: np.ndarray, region: np.ndarray) -> np.ndarray:
    if not reference.shape == prediction.shape == region.shape:
        raise ValueError(f"shapes differ: reference {reference.shape}, {prediction.shape}, region {region.shape}")
    inside = region.astype(bool)
    if not inside.any():
        raise ValueError("the region is empty: no voxel can receive dose")
    return inside
