"""Predicted structures and dose as a treatment planning system opens them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets import Dataset, DicomRT
from crosstask.datasets.base import CaseData
from crosstask.datasets.dicom_rt.patient import PatientCase
from crosstask.export.cases import UNCERTAINTY, CaseWriter
from crosstask.export.dicom_common import source_of
from crosstask.export.nifti import write_nifti
from crosstask.export.placing import PlacedPlan, placed_plan, placed_spread
from crosstask.export.rtdose import write_rtdose
from crosstask.export.rtplan import write_rtplan
from crosstask.export.rtstruct import write_rtstruct
from crosstask.export.segmentation import write_segmentation
from crosstask.files import file_name
from crosstask.io.dicom.ct import CtSeries
from crosstask.prediction.predictor import Prediction

RTSTRUCT, RTPLAN, RTDOSE, SEG, NIFTI = "RTSTRUCT.dcm", "RTPLAN.dcm", "RTDOSE.dcm", "SEG.dcm", "nifti"
"""Names of the files, and of the folder, of a case."""


class DicomWriter(CaseWriter):
    """One folder a case, all on the CT's own grid: structures as RTSTRUCT and SEG, dose as RTDOSE, and each as NIfTI.

    The dose belongs to an RTPLAN that is written with it (:func:`crosstask.export.rtplan.write_rtplan`).

    Patient, DICOM study and frame of reference are those of the CT that was predicted from; series and objects are new
    and say that they are predicted and not for clinical use. Outlines are as smooth as the CT allows, and volumes those
    of the case's grid (:func:`crosstask.export.placing.placed_masks`). Dose is zero outside the body.

    Of an ensemble ``uncertainty`` holds as NIfTI the standard deviation over seeds: of the dose in Gy, and of the
    structures' probabilities.

    Attributes:
        draw: called for every case that is written, as ``draw(its folder, case id, placed plan, case)``, before its
            files are moved to their place: a page of what they hold.
    """

    name = "dicom"

    def __init__(self, folder: Path, assembly: Assembly, dataset: Dataset, model: str = "") -> None:
        super().__init__(folder, assembly, dataset, model)
        self.draw: Callable[[Path, str, PlacedPlan, PatientCase], None] | None = None

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Another data set, or neither dose nor structures."""
        if not isinstance(dataset, DicomRT):
            return f"{dataset.name} has no CT in DICOM to refer to; leave --format out, or use npz"
        if not any(task.level == "pixel" for task in assembly.tasks):
            return "the run predicts neither dose nor structures; use --format csv"
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        assert isinstance(case, PatientCase)  # as the data set gives them
        folder = folder / file_name(prediction.case)
        placed = placed_plan(self.assembly, prediction, case)
        ct = case.patient.ct
        structures = self._write_masks(folder, ct, placed.masks) if placed.masks else ""
        if placed.dose is not None:
            plan = write_rtplan(folder / RTPLAN, ct, model=self.model, structures=structures)
            write_rtdose(folder / RTDOSE, ct, placed.dose, ct.geometry, model=self.model, plan=plan)
            write_nifti(folder / NIFTI / "dose.nii.gz", placed.dose, ct.geometry)
        for name, spread in placed_spread(self.assembly, prediction, case).items():
            write_nifti(folder / UNCERTAINTY / f"{file_name(name)}.nii.gz", spread, ct.geometry)
        if self.draw is not None:
            self.draw(folder, prediction.case, placed, case)
        if broken := source_of(ct)[1]:
            self.notes.append(
                f"{prediction.case}: not in the files that were written, since what the CT says is no valid DICOM: "
                f"{', '.join(broken)}"
            )

    def _write_masks(self, folder: Path, ct: CtSeries, masks: dict[str, np.ndarray]) -> str:
        """Structures; the SOP instance UID of the RTSTRUCT."""
        uid = write_rtstruct(folder / RTSTRUCT, ct, masks, model=self.model)
        write_segmentation(folder / SEG, ct, masks, model=self.model)
        for name, mask in masks.items():
            write_nifti(folder / NIFTI / f"{file_name(name)}.nii.gz", mask, ct.geometry)
        return uid
