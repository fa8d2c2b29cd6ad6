"""The OpenKBP challenge's scores of a folder of predicted doses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.openkbp import found_twice, patient_number, patients_of
from crosstask.datasets.phantom import grid_shape
from crosstask.errors import InputError, listed
from crosstask.functional.openkbp_score import aggregate, dose_score, dvh_errors
from crosstask.io import openkbp_csv
from crosstask.io.openkbp_csv import DOSE_FILE, REGION_FILE, SPACING_FILE, STRUCTURE_FILES


@dataclass(frozen=True)
class PatientScore:
    """Scores of one patient.

    Attributes:
        patient: id, ``pt_N``.
        dose_score: in Gy.
        dvh_errors: ``{(structure, figure): |reference - prediction|}``, in Gy, of the contoured structures.
        outside: number of voxels with dose outside ``possible_dose_mask`` in the prediction, which were set to zero.
    """

    patient: str
    dose_score: float
    dvh_errors: dict[tuple[str, str], float]
    outside: int


@dataclass(frozen=True)
class ScoreResult:
    """Scores of a folder of predictions; lower is better.

    Attributes:
        dose_score: mean over patients, in Gy.
        dvh_score: mean over all cells of all patients, in Gy; NaN where no structure is contoured.
        patients: number of patients.
        rows: one per patient, sorted by number.
    """

    dose_score: float
    dvh_score: float
    patients: int
    rows: tuple[PatientScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values for JSON; the DVH errors as ``{structure: {figure: value}}``, a NaN as None."""
        rows = []
        for row in self.rows:
            errors: dict[str, dict[str, float]] = {}
            for (structure, metric), value in row.dvh_errors.items():
                errors.setdefault(structure, {})[metric] = value
            rows.append(
                {
                    "patient": row.patient,
                    "dose_score": row.dose_score,
                    "dvh_errors": errors,
                    "voxels_outside_mask": row.outside,
                }
            )
        return {
            "dose_score": self.dose_score,
            "dvh_score": None if math.isnan(self.dvh_score) else self.dvh_score,
            "patients": self.patients,
            "rows": rows,
        }


def score_directory(
    reference_dir: Path,
    prediction_dir: Path,
    *,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score predicted doses ``pt_N.csv`` (the challenge's submission format) against raw patients.

    Args:
        reference_dir: a folder of patients ``pt_N``, e.g. ``validation-pats``, or a root with several such folders.
        prediction_dir: folder of the predictions.
        partial: score the patients that both folders have, instead of asking for all.
        progress: called with (patients done, patients in all) after each patient.

    Raises:
        InputError: a folder is missing or holds nothing to score, a patient has no prediction or a prediction no
            patient (unless ``partial``), or a file is faulty; the message names it.
    """
    references = _references(Path(reference_dir))
    predictions = _predictions(Path(prediction_dir))
    names = sorted(references.keys() & predictions.keys(), key=patient_number)
    if not names:
        raise InputError(f"{prediction_dir}: no prediction of any patient of {reference_dir}; files are named pt_N.csv")
    if not partial:
        if missing := _first(references.keys() - predictions.keys()):
            raise InputError(f"{prediction_dir}: no prediction of {missing}; predict them, or use --partial")
        if extra := _first(predictions.keys() - references.keys()):
            raise InputError(f"{reference_dir}: no patient for the predictions {extra}; remove them, or use --partial")
    rows = []
    for done, name in enumerate(names, start=1):
        rows.append(_score_patient(references[name], predictions[name]))
        if progress is not None:
            progress(done, len(names))
    dose, dvh = aggregate((row.dose_score for row in rows), (row.dvh_errors for row in rows))
    return ScoreResult(dose_score=dose, dvh_score=dvh, patients=len(rows), rows=tuple(rows))


def _score_patient(folder: Path, prediction_file: Path) -> PatientScore:
    shape = grid_shape(folder)
    spacing = openkbp_csv.read_spacing(folder / SPACING_FILE)
    reference = openkbp_csv.read_dose(folder / DOSE_FILE, shape)
    region = openkbp_csv.read_mask(folder / REGION_FILE, shape)
    if not region.any():
        raise InputError(f"{folder / REGION_FILE}: it lists no voxel; unpack the patient again or remove its folder")
    structures = {
        name: openkbp_csv.read_mask(folder / file, shape)
        for name, file in STRUCTURE_FILES.items()
        if (folder / file).exists()
    }
    contoured = {name: mask for name, mask in structures.items() if mask.any()}
    prediction = openkbp_csv.read_dose(prediction_file, shape, prediction=True)
    return PatientScore(
        patient=folder.name,
        dose_score=dose_score(reference, prediction, region),
        dvh_errors=dvh_errors(reference, prediction, region, contoured, math.prod(spacing)),
        outside=int(np.count_nonzero(prediction[region == 0])),
    )


def _references(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder of patients, e.g. validation-pats")
    found: dict[str, Path] = {}
    for _, patient in patients_of(folder):
        if patient.name in found:
            raise InputError(found_twice(patient, found[patient.name]))
        found[patient.name] = patient
    if not found:
        raise InputError(f"{folder}: no patient pt_N in it; give a folder of patients, e.g. validation-pats")
    return found


def _predictions(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the predictions pt_N.csv")
    found = {file.stem: file for file in folder.glob("pt_*.csv") if file.stem.removeprefix("pt_").isdecimal()}
    if not found:
        raise InputError(f"{folder}: no prediction pt_N.csv in it; give the folder of the predictions")
    return found


def _first(names: Iterable[str], limit: int = 3) -> str:
    """The first few of many names, for a message; empty where there is none."""
    return listed(sorted(names, key=patient_number), limit)
