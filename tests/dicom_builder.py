"""Objects of one DICOM patient with references, labels and identifiers of choice, a few voxels each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from crosstask.datasets.dicom_rt.choice import Choice, choose
from crosstask.io.dicom.index import index_folder
from dicom_fakes import Identity, Placement, write_ct, write_dose, write_plan, write_structures

SHAPE = (4, 8, 8)
SQUARE = np.array([[-20.0, -20, 0], [20, -20, 0], [20, 20, 0], [-20, 20, 0]])


def item(**attributes: object) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def _change(file: Dataset, attributes: dict[str, Any]) -> None:
    """Set attributes, or remove those that are None."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(file, keyword, value)
        elif keyword in file:
            delattr(file, keyword)


class Builder:
    """Writes a patient's objects with identifiers of choice: names of files are what their UIDs are made of."""

    def __init__(self, folder: Path, seed: int = 5) -> None:
        self.folder, self.who = folder, Identity(seed)
        folder.mkdir(parents=True)
        self.placement = Placement((5.0, 6.0, 6.0), (-21.0, -21.0, -7.5))

    def ct(self, name: str = "CT", slices: int = 4, frame: str = "frame", hu: int = 40, **attributes: Any) -> None:
        """A series; ``Modality="MR"`` makes it another image."""

        def change(number: int, file: Dataset) -> None:
            file.SeriesInstanceUID = self.who.uid("series", name)
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = self.who.uid(name, number)
            file.FrameOfReferenceUID = self.who.uid(frame)
            _change(file, attributes)

        places = [self.folder / f"{name}{number}.dcm" for number in range(slices)]
        write_ct(places, np.full((slices, *SHAPE[1:]), hu, np.int16), self.placement, self.who, change=change)

    def plan(
        self,
        name: str,
        beams: dict[int, str] | None = None,
        structures: str = "",
        frame: str = "frame",
        gy: float | None = 60.0,
        **attributes: Any,
    ) -> None:
        """``beams``: what each is for, by number; they are all in fraction group 1."""

        def change(file: Dataset) -> None:
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = self.who.uid(name)
            file.FrameOfReferenceUID = self.who.uid(frame)
            file.BeamSequence = [item(BeamNumber=n, TreatmentDeliveryType=kind) for n, kind in (beams or {}).items()]
            file.FractionGroupSequence[0].ReferencedBeamSequence = [item(ReferencedBeamNumber=n) for n in beams or {}]
            if structures:
                file.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID = self.who.uid(structures)
            _change(file, attributes)

        write_plan(self.folder / name, self.who, prescription=gy, change=change)

    def dose(
        self,
        name: str,
        plan: str = "",
        frame: str = "frame",
        beams: Sequence[int] = (),
        gy: float = 1,
        also: Sequence[str] = (),
        structures: str = "",
        **attributes: Any,
    ) -> None:
        """``also``: further plans that it refers to; ``structures``: the structure set that it refers to."""

        def change(file: Dataset) -> None:
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = self.who.uid(name)
            file.FrameOfReferenceUID = self.who.uid(frame)
            if plan:
                file.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = self.who.uid(plan)
            numbers = [item(ReferencedBeamNumber=n) for n in beams]
            group = item(ReferencedFractionGroupNumber=1, ReferencedBeamSequence=numbers)
            file.ReferencedRTPlanSequence[0].ReferencedFractionGroupSequence = [group]
            file.ReferencedRTPlanSequence.extend(item(ReferencedSOPInstanceUID=self.who.uid(one)) for one in also)
            if structures:
                file.ReferencedStructureSetSequence = [item(ReferencedSOPInstanceUID=self.who.uid(structures))]
            _change(file, attributes)

        write_dose(self.folder / name, np.full(SHAPE, gy), self.placement, self.who, change=change)

    def structures(
        self,
        name: str,
        series: str = "CT",
        frame: str = "frame",
        contours: dict[str, list[np.ndarray]] | None = None,
        images: bool = False,
        **attributes: Any,
    ) -> None:
        """``series``: that it was drawn on, or none if empty; ``images``: contours name the series' slices instead."""

        def change(file: Dataset) -> None:
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = self.who.uid(name)
            space = file.ReferencedFrameOfReferenceSequence[0]
            space.FrameOfReferenceUID = self.who.uid(frame)
            for structure in file.StructureSetROISequence:
                structure.ReferencedFrameOfReferenceUID = self.who.uid(frame)
            drawn = space.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
            drawn.SeriesInstanceUID = self.who.uid("series", series)
            if images or not series:
                del space.RTReferencedStudySequence
            if images:
                for drawing in file.ROIContourSequence:
                    for contour in drawing.ContourSequence:
                        contour.ContourImageSequence = [item(ReferencedSOPInstanceUID=self.who.uid(series, 0))]
            _change(file, attributes)

        write_structures(self.folder / name, contours or {"CTV": [SQUARE]}, self.who, change=change)

    def choice(self, **asked: Sequence[str]) -> Choice:
        """What the rule chooses of all that is written."""
        return choose(index_folder(self.folder, workers=1).files, **asked)

    def chosen(self, **asked: Sequence[str]) -> tuple[set[str], str | None, str | None, str | None, tuple[str, ...]]:
        """Names of the CT, structure set, dose and plan, and the notes."""
        choice = self.choice(**asked)
        structures, plan = (None if path is None else path.name for path in (choice.structures, choice.plan))
        doses = " + ".join(path.name for path in choice.doses) or None
        return {re.sub(r"\d+\.dcm$", "", path.name) for path in choice.ct}, structures, doses, plan, choice.notes
