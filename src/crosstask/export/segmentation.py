"""Masks to a DICOM segmentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.errors import InputError
from crosstask.export.dicom_common import (
    LABEL,
    LONG,
    decimal,
    decimals,
    names_of,
    plain_values,
    software,
    source_of,
    text,
)
from crosstask.export.output import new_file, refuse_input_folder
from crosstask.export.rtstruct import colour
from crosstask.io.dicom.ct import CT_IMAGE
from crosstask.io.dicom.header import MAKER, PREDICTED

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset
    from pydicom.sr.coding import Code

    from crosstask.io.dicom.ct import CtSeries

_ANATOMY = {
    "bladder": "Bladder", "brain": "Brain", "duodenum": "Duodenum", "esophagus": "Esophagus", "eye": "Eye",
    "femoralhead": "FemoralHead", "femur": "Femur", "femurhead": "FemoralHead", "heart": "Heart", "kidney": "Kidney",
    "larynx": "Larynx", "lens": "Lens", "liver": "Liver", "lung": "Lung", "mandible": "Mandible",
    "oesophagus": "Esophagus", "opticchiasm": "OpticChiasm", "opticnerve": "OpticNerve", "pancreas": "Pancreas",
    "parotid": "ParotidGland", "parotidgland": "ParotidGland", "prostate": "Prostate", "rectum": "Rectum",
    "seminalvesicle": "SeminalVesicle", "spinalcord": "SpinalCord", "spleen": "Spleen", "stomach": "Stomach",
    "submandibular": "SubmandibularGland", "submandibulargland": "SubmandibularGland", "trachea": "Trachea",
}  # fmt: skip
"""Letters of a structure's name without its side -> keyword of its SNOMED code in pydicom's table."""
_TARGETS = ("gtv", "ctv", "itv", "ptv")
_SIDES = {"l": "Left", "left": "Left", "lt": "Left", "r": "Right", "right": "Right", "rt": "Right"}


@plain_values()
def write_segmentation(path: Path, ct: CtSeries, masks: Mapping[str, np.ndarray], *, model: str) -> None:
    """Write masks as a binary DICOM SEG on the CT's slices, in the CT's study, one segment a structure.

    Segments may overlap. A structure without a voxel is there by its name, without a frame. A segment's type is a
    SNOMED CT code where its name tells one, with the side of paired organs; of a target the code of GTV, CTV, ITV or
    PTV; else "Organ".

    Args:
        path: the new file.
        ct: the series that was predicted from.
        masks: ``{structure: z y x}``, bool, on the CT's own grid.
        model: what made the prediction; it stands in SoftwareVersions and names the segments' algorithm.

    Raises:
        InputError: the file is there already, or would lie in the CT's folder; the CT lacks what a DICOM SEG must have.
        CrosstaskError: a mask is not on the CT's grid, two structures have the same name, or the disk is full.
    """
    try:
        from highdicom.seg import Segmentation
    except ImportError:
        raise InputError("DICOM SEG needs highdicom; run pip install highdicom") from None
    from pydicom.uid import generate_uid

    refuse_input_folder(path.parent, ct.files)
    names = names_of(ct, masks)
    with new_file(path) as part:
        try:
            made = Segmentation(
                source_images=_sources(ct),
                pixel_array=np.stack(list(masks.values()), axis=-1),
                segmentation_type="BINARY",
                segment_descriptions=[_segment(at, name, model) for at, name in enumerate(names.values(), 1)],
                series_instance_uid=generate_uid(prefix=None),
                series_number=1,
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=software(model),
                device_serial_number=text(model, LONG),
                content_label=LABEL,
                content_description=PREDICTED,
                # without any, all frames must be there, and to leave that to highdicom makes it log so
                omit_empty_frames=any(mask.any() for mask in masks.values()),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            kind = type(error).__name__  # the message may quote the header
            raise InputError(
                f"{ct.files[0]}: no DICOM SEG can be made of this series' headers ({kind}); write an RTSTRUCT instead"
            ) from None
        made.SeriesDescription = PREDICTED
        made.save_as(part, enforce_file_format=True)


def _sources(ct: CtSeries) -> list[Dataset]:
    """The CT's slices, as far as a segmentation has to know them."""
    whose, _ = source_of(ct)
    _, down, right = np.asarray(ct.geometry.direction)[:, ::-1]
    corners = ct.geometry.points([[number, 0, 0] for number in range(ct.geometry.shape[0])])[:, ::-1]
    made = []
    for uid, corner in zip(ct.sop_instances, corners, strict=True):
        image = deepcopy(whose)
        image.SOPClassUID, image.SOPInstanceUID, image.Modality = CT_IMAGE, uid, "CT"
        image.SeriesInstanceUID, image.FrameOfReferenceUID = ct.series, ct.frame_of_reference
        image.Rows, image.Columns = ct.geometry.shape[1:]
        image.ImagePositionPatient, image.ImageOrientationPatient = decimals(corner), decimals([*right, *down])
        image.PixelSpacing = decimals(ct.geometry.spacing[1:])
        image.SliceThickness = decimal(ct.geometry.spacing[0])
        made.append(image)
    return made


def _segment(number: int, name: str, model: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    category, kind, side = codes_of(name)
    segment = SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=text(model, LONG), family=codes.DCM.ArtificialIntelligence, version=software(model)[0]
        ),
        display_color=CIELabColor.from_rgb(*colour(number - 1)),
    )
    if side is not None:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            CodedConcept.from_code(side)
        ]
    return segment


def codes_of(name: str) -> tuple[Code, Code, Code | None]:
    """Category, type and side of a structure, from the words of its name: ``Femoral_Head_L``, ``CTV60``."""
    from pydicom.sr.codedict import codes

    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    if words and words[0] in _TARGETS:
        return codes.DCM.RTTarget, getattr(codes.cid9534, words[0].upper()), None
    sides = [_SIDES[word] for word in words if word in _SIDES]
    letters = "".join(word for word in words if word not in _SIDES)
    known = _ANATOMY.get(letters) or _ANATOMY.get(letters.removesuffix("s"))
    if known is None:
        return codes.SCT.AnatomicalStructure, codes.SCT.Organ, None
    return codes.SCT.AnatomicalStructure, getattr(codes.SCT, known), getattr(codes.SCT, sides[0]) if sides else None
