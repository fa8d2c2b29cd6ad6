"""Masks to a DICOM RT structure set."""

from __future__ import annotations

import colorsys
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.export.dicom_common import (
    LONG,
    SHORT,
    date_and_time,
    names_of,
    plain_values,
    reference,
    rt_object,
    save,
    text,
)
from crosstask.functional.contours import outlines
from crosstask.io.dicom.ct import CT_IMAGE
from crosstask.io.dicom.header import PREDICTED

if TYPE_CHECKING:
    from pydicom import Dataset

    from crosstask.io.dicom.ct import CtSeries

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
_STUDY = "1.2.840.10008.3.1.2.3.1"
_GOLDEN = 0.618034
"""A hue this much further round the circle is far from all before it."""
_TARGETS = ("GTV", "CTV", "PTV")


@plain_values()
def write_rtstruct(
    path: Path, ct: CtSeries, masks: Mapping[str, np.ndarray], *, model: str, warning: str = PREDICTED
) -> str:
    """Write masks as an RTSTRUCT on the CT's slices, in the CT's study, unapproved.

    Every ring of a slice is a contour (CLOSED_PLANAR) between the voxel centres inside and outside; the rings of holes
    are contours too, and a point is inside where an odd number of contours encloses it (XOR), as planning systems read
    it. So the voxel centres inside are exactly the mask's, and so is the area (see
    :func:`crosstask.functional.contours.outlines`), by which planning systems tell volumes. Coordinates have four
    decimals, 0.1 um. A structure without a voxel is there by its name, without a contour.

    Args:
        path: the new file.
        ct: the series that was predicted from.
        masks: ``{structure: z y x}``, bool, on the CT's own grid.
        model: what made the prediction; it stands in SoftwareVersions.
        warning: what the file says of itself, in the description of its series among others.

    Returns:
        its SOP instance UID.

    Raises:
        InputError: the file is there already, or would lie in the CT's folder.
        CrosstaskError: a mask is not on the CT's grid, two structures have the same name, or the disk is full.
    """
    names = names_of(ct, masks)
    made = rt_object(ct, sop_class=RT_STRUCTURE_SET, modality="RTSTRUCT", model=model, warning=warning)
    made.StructureSetLabel = text(warning.split(",")[0].upper(), SHORT)
    made.StructureSetName = text(warning, LONG)
    made.StructureSetDescription = text(f"{warning}. {model}", 1024)
    made.StructureSetDate, made.StructureSetTime = date_and_time(datetime.datetime.now())
    slices = _slices(ct)
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(ct, slices)]
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    for number, (name, fitted) in enumerate(names.items(), 1):
        made.StructureSetROISequence.append(
            _item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=ct.frame_of_reference,
                ROIName=fitted,
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        )
        contours = list(_contours(masks[name], ct, slices))
        drawn = _item(ROIDisplayColor=list(colour(number - 1)), ReferencedROINumber=number)
        if contours:
            drawn.ContourSequence = contours
        made.ROIContourSequence.append(drawn)
        made.RTROIObservationsSequence.append(
            _item(
                ObservationNumber=number,
                ReferencedROINumber=number,
                RTROIInterpretedType=_interpreted(name),
                ROIInterpreter=None,
            )
        )
    save(path, made, ct, implicit=True)  # the points of a large contour are longer than 64 KB
    return str(made.SOPInstanceUID)


def colour(number: int) -> tuple[int, int, int]:
    """Red, green and blue (0 to 255) of a structure; the first dozens are well apart."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 1.0 if number % 2 == 0 else 0.6, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _interpreted(name: str) -> str:
    """Kind of a structure by the beginning of its name, as usual in planning: a target, or else an organ."""
    return next((target for target in _TARGETS if name.upper().startswith(target)), "ORGAN")


def _slices(ct: CtSeries) -> list[Dataset]:
    """A reference to each slice of the CT."""
    return [reference(CT_IMAGE, uid) for uid in ct.sop_instances]


def _frame_of_reference(ct: CtSeries, slices: list[Dataset]) -> Dataset:
    series = _item(SeriesInstanceUID=ct.series, ContourImageSequence=slices)
    study = _item(ReferencedSOPClassUID=_STUDY, ReferencedSOPInstanceUID=ct.study, RTReferencedSeriesSequence=[series])
    return _item(FrameOfReferenceUID=ct.frame_of_reference, RTReferencedStudySequence=[study])


def _contours(mask: np.ndarray, ct: CtSeries, slices: list[Dataset]) -> Iterator[Dataset]:
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        for ring in outlines(mask[number]):
            corners = without_collinear(ring)
            points = ct.geometry.points(np.insert(corners, 0, number, axis=1))[:, ::-1]
            yield _item(
                ContourImageSequence=[slices[number]],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[_millimetres(value) for value in points.ravel()],
            )


def without_collinear(ring: np.ndarray) -> np.ndarray:
    """A closed ring ``n 2`` without the points on a straight line between their neighbours: the same polygon."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turn) > 1e-9]


def _millimetres(value: float) -> str:
    """A coordinate with four decimals, without trailing zeros."""
    return f"{round(value, 4) + 0.0:.4f}".rstrip("0").rstrip(".")  # + 0.0: no -0


def _item(**attributes: object) -> Dataset:
    """An item of a sequence."""
    from pydicom import Dataset

    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
