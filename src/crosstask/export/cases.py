"""Predictions to files: the challenge's submission format, and NumPy archives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets.base import CaseData
from crosstask.errors import InputError
from crosstask.io import openkbp_csv
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.segmentation import SegmentationTask


def write_openkbp(folder: Path, prediction: Prediction, assembly: Assembly, case: CaseData) -> None:
    """Dose as ``pt_N.csv``, the OpenKBP challenge's submission format, and masks as ``masks/pt_N/<structure>.csv``.

    Dose is zero outside the case's ``possible_dose_mask``, as the challenge asks.

    Raises:
        InputError: the run predicts neither dose nor masks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    region = assembly.region(case)
    written = False
    for task in assembly.tasks:
        values = prediction.values[task.name]
        if isinstance(task, SegmentationTask):
            masks = task.to_masks(values)
            target = folder / "masks" / prediction.case
            target.mkdir(parents=True, exist_ok=True)
            for name, mask in zip(task.classes, masks, strict=True):
                openkbp_csv.write_mask(target / f"{name}.csv", mask)
            written = True
        elif task.source == "dose":
            dose = values[0] if region is None else values[0] * region[0]
            openkbp_csv.write_dose(folder / f"{prediction.case}.csv", dose)
            written = True
    if not written:
        raise InputError("--format openkbp: the run predicts neither dose nor structures; use --format npz")


def write_npz(folder: Path, prediction: Prediction, assembly: Assembly, case: CaseData) -> None:
    """All decoded values as ``<case>.npz``: one array ``c z y x`` per task, and the spacing in mm."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prediction.case}.npz"
    temporary = folder / f".{prediction.case}.part.npz"
    arrays = dict(prediction.values)
    classes = {f"classes_{task.name}": np.array(task.classes) for task in assembly.tasks}
    try:
        np.savez_compressed(temporary, **arrays, **classes, spacing=np.array(case.geometry.spacing))  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


WRITERS: dict[str, Callable[[Path, Prediction, Assembly, CaseData], None]] = {
    "openkbp": write_openkbp,
    "npz": write_npz,
}
