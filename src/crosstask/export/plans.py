"""Predicted structures and dose as a treatment planning system opens them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from crosstask.assembly import Assembly
from crosstask.datasets import Dataset, DicomRT
from crosstask.datasets.base import CaseData
from crosstask.export.cases import CaseWriter, file_name
from crosstask.export.nifti import write_nifti
from crosstask.export.rtdose import write_rtdose
from crosstask.export.rtstruct import write_rtstruct
from crosstask.export.segmentation import write_segmentation
from crosstask.functional.body import body_mask
from crosstask.geometry import Geometry
from crosstask.io.dicom_ct import CtSeries, read_ct
from crosstask.io.dicom_rt import read_plan
from crosstask.io.grids import regrid
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:
    from pathlib import Path

RTSTRUCT, RTDOSE, SEG, NIFTI = "RTSTRUCT.dcm", "RTDOSE.dcm", "SEG.dcm", "nifti"
"""Names of the files, and of the folder, of a case."""
_SLAB = 16
"""Slices of the CT that are brought to its grid at once, so that memory does not grow with the number of classes."""


class DicomWriter(CaseWriter):
    """One folder a case: structures as RTSTRUCT and SEG, dose as RTDOSE, and each as NIfTI, on the CT's own grid.

    Patient, DICOM study and frame of reference are those of the CT that was predicted from; series and objects are new
    and say that they are predicted and not for clinical use. Probabilities are interpolated to the CT's grid and
    decided there, so outlines are as smooth as the CT allows. Dose is zero outside the body.
    """

    format = "dicom"

    def __init__(self, folder: Path, assembly: Assembly, dataset: Dataset, model: str = "") -> None:
        super().__init__(folder, assembly, dataset, model)
        assert isinstance(dataset, DicomRT)  # or it was refused
        self._dataset = dataset

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Another data set, or neither dose nor structures."""
        if not isinstance(dataset, DicomRT):
            return f"{dataset.name} has no CT in DICOM to refer to; leave --format out, or use npz"
        if not any(task.level == "pixel" for task in assembly.tasks):
            return "the run predicts neither dose nor structures; use --format csv"
        return ""

    def _write(self, prediction: Prediction, case: CaseData) -> None:
        choice = self._dataset.choice(prediction.case)
        ct = read_ct(choice.ct)
        folder = self.folder / file_name(prediction.case)
        masks: dict[str, np.ndarray] = {}
        for task in self.assembly.tasks:
            values = prediction.values[task.name]
            if isinstance(task, SegmentationTask):
                found = native_masks(task, values, case.geometry, ct.geometry)
                masks |= dict(zip(task.classes, found, strict=True))
            elif task.source == "dose":
                body = body_mask(ct.hu, ct.geometry.spacing)
                dose = np.where(body, regrid(values[0], case.geometry, ct.geometry), 0)
                plan = None if choice.plan is None else read_plan(choice.plan).sop_instance
                write_rtdose(folder / RTDOSE, ct, dose, ct.geometry, model=self.model, plan=plan)
                write_nifti(folder / NIFTI / "dose.nii.gz", np.maximum(dose, 0), ct.geometry)
        if masks:
            self._write_masks(folder, ct, masks)

    def _write_masks(self, folder: Path, ct: CtSeries, masks: dict[str, np.ndarray]) -> None:
        write_rtstruct(folder / RTSTRUCT, ct, masks, model=self.model)
        write_segmentation(folder / SEG, ct, masks, model=self.model)
        for name, mask in masks.items():
            write_nifti(folder / NIFTI / f"{file_name(name)}.nii.gz", mask, ct.geometry)


def native_masks(task: SegmentationTask, values: np.ndarray, grid: Geometry, native: Geometry) -> np.ndarray:
    """Masks on the CT's grid of probabilities on the case's.

    Args:
        task: decides from probabilities.
        values: ``c z y x``.
        grid: theirs.
        native: the CT's.

    Returns:
        bool ``c z y x``.
    """
    masks = np.zeros((len(values), *native.shape), bool)
    for slab in _slabs(native.shape[0]):
        part = native.cropped((slab, slice(0, native.shape[1]), slice(0, native.shape[2])))
        masks[:, slab] = task.to_masks(np.stack([regrid(channel, grid, part) for channel in values]))
    return masks


def _slabs(slices: int) -> Iterator[slice]:
    for start in range(0, slices, _SLAB):
        yield slice(start, min(start + _SLAB, slices))
