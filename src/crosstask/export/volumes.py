"""Predictions of volumes as NIfTI, on the grid of the file that each was predicted from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.csv_cells import csv_text
from crosstask.datasets import Dataset
from crosstask.datasets.base import CaseData
from crosstask.export.cases import UNCERTAINTY, CaseWriter, write_text
from crosstask.export.nifti import write_nifti, write_nifti_like
from crosstask.export.placing import placed_masks
from crosstask.files import file_name
from crosstask.geometry import Geometry
from crosstask.io.grids import regrid
from crosstask.prediction.predictor import Prediction
from crosstask.tasks.base import Task
from crosstask.tasks.segmentation import SegmentationTask

PROBABILITIES = "probabilities"


class NiftiWriter(CaseWriter):
    """Pixel-level predictions as ``<task>/<case>.nii.gz`` on the grid of the file that they were predicted from.

    Spacing, origin and direction are that file's own, whatever grid the network looked at. Of a segmentation it is a
    label map: 0 for the background, 1 for the first class and so on, as ``<task>/classes.csv`` says; of classes that
    may overlap there is also a mask each, ``<task>/<class>/<case>.nii.gz``, and a voxel of several has in the map the
    one that is the surest. Quantities are floats in their unit. With :attr:`probabilities`, ``probabilities/<task>/
    <class>/<case>.nii.gz`` has these as floats; of an ensemble ``uncertainty`` has the standard deviation over seeds in
    the same form.
    """

    name = "nifti"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Pictures, or nothing at pixel level."""
        if dataset.spatial_dims != 3:
            return f"{dataset.name} has pictures; use --format png or npz"
        if not any(task.level == "pixel" for task in assembly.tasks):
            return "the run predicts nothing voxel by voxel; use --format csv"
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        name = f"{file_name(prediction.case)}.nii.gz"
        for task in self.assembly.tasks:
            if task.level != "pixel":
                continue
            values, place = prediction.values[task.name], folder / file_name(task.name)
            if isinstance(task, SegmentationTask):
                self._write_masks(place, name, task, values, case)
                if self.probabilities:
                    self._write_floats(folder / PROBABILITIES / place.name, name, task, values, case)
            else:
                self._write_floats(place, name, task, values, case)
            if task.name in prediction.spread:
                self._write_floats(folder / UNCERTAINTY / place.name, name, task, prediction.spread[task.name], case)

    def _write_masks(self, place: Path, name: str, task: SegmentationTask, values: np.ndarray, case: CaseData) -> None:
        native = _native(case)
        if native == case.geometry:
            masks, margins = task.to_masks(values).astype(bool), task.margins(values)
        else:
            masks = placed_masks(task, values, case.geometry, native)
            margins = np.stack([regrid(one.astype(np.float32), case.geometry, native) for one in task.margins(values)])
        kind = np.uint8 if len(masks) < 256 else np.uint16
        surest = np.where(masks, margins, -np.inf).argmax(0)
        _write(place / name, np.where(masks.any(0), surest + 1, 0).astype(kind), case)
        write_text(
            place / "classes.csv", csv_text([("label", "class"), (0, "background"), *enumerate(task.classes, 1)])
        )
        if task.exclusive or len(masks) == 1:
            return
        for label, mask in zip(task.classes, masks, strict=True):
            _write(place / file_name(label) / name, mask.astype(np.uint8), case)
        if several := int((masks.sum(0) > 1).sum()):
            self.notes.append(
                f"{name}: {several} voxels belong to several classes of {task.name}; the label map has the surest of "
                "them, the masks beside it have all"
            )

    def _write_floats(self, place: Path, name: str, task: Task, values: np.ndarray, case: CaseData) -> None:
        """Of one channel a file in the folder, of several one in a folder for each."""
        native = _native(case)
        single = len(values) == 1
        for label, channel in zip(task.classes, values, strict=True):
            path = place / name if single else place / file_name(label) / name
            placed = channel if native == case.geometry else regrid(channel, case.geometry, native)
            _write(path, placed.astype(np.float32), case)


def _native(case: CaseData) -> Geometry:
    """The grid of the file that a case was read from; the case's own where that is not known."""
    return case.geometry if case.source is None else case.source.grid


def _write(path: Path, array: np.ndarray, case: CaseData) -> None:
    if case.source is None:
        write_nifti(path, array, case.geometry)
    else:
        write_nifti_like(path, array, case.source.file)
