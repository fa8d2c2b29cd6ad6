"""Predictions to files: the challenge's submission format, and NumPy archives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets.base import CaseData
from crosstask.errors import CrosstaskError, InputError
from crosstask.io import openkbp_csv
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.segmentation import SegmentationTask


def write_openkbp(folder: Path, prediction: Prediction, assembly: Assembly, case: CaseData) -> None:
    """Dose as ``pt_N.csv``, the OpenKBP challenge's submission format, and masks as ``masks/pt_N/<structure>.csv``.

    Dose is zero outside the case's ``possible_dose_mask``, as the challenge asks.

    Raises:
        InputError: the run predicts neither dose nor masks.
        CrosstaskError: a predicted value is not finite, or the disk is full.
    """
    _make_folder(folder)
    _all_finite(prediction)
    region = assembly.region(case)
    written = False
    for task in assembly.tasks:
        values = prediction.values[task.name]
        if isinstance(task, SegmentationTask):
            masks = task.to_masks(values)
            target = folder / "masks" / prediction.case
            _make_folder(target)
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
    """All decoded values as ``<case>.npz``: one array ``c z y x`` per task, and the spacing in mm.

    Raises:
        CrosstaskError: a predicted value is not finite, or the disk is full.
    """
    _make_folder(folder)
    _all_finite(prediction)
    path = folder / f"{prediction.case}.npz"
    temporary = folder / f".{prediction.case}.part.npz"
    arrays = dict(prediction.values)
    classes = {f"classes_{task.name}": np.array(task.classes) for task in assembly.tasks}
    try:
        np.savez_compressed(temporary, **arrays, **classes, spacing=np.array(case.geometry.spacing))  # type: ignore[arg-type]
        temporary.replace(path)
    except OSError as error:
        raise _not_writable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(path: Path, error: OSError) -> CrosstaskError:
    return CrosstaskError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder")


def _all_finite(prediction: Prediction) -> None:
    for task, values in prediction.values.items():
        if not np.isfinite(values).all():
            raise CrosstaskError(
                f"{prediction.case}: the network's {task} is not finite everywhere; train with a lower learning rate "
                "or precision 32"
            )


WRITERS: dict[str, Callable[[Path, Prediction, Assembly, CaseData], None]] = {
    "openkbp": write_openkbp,
    "npz": write_npz,
}
