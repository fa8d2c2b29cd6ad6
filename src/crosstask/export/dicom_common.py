"""What all DICOM objects that are written have in common: whose they are, what made them, and their file."""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask import __version__
from crosstask.errors import CrosstaskError
from crosstask.export.output import new_file, refuse_input_folder
from crosstask.io.dicom.header import MAKER, PREDICTED, Header, quiet
from crosstask.io.dicom.values import copied

if TYPE_CHECKING:
    from pydicom import Dataset

    from crosstask.io.dicom.ct import CtSeries

LABEL = "PREDICTED"
"""What a label of 16 characters says in the place of a series description."""
LONG, SHORT = 64, 16
"""Most characters of DICOM's long and short strings (LO, SH)."""

_OF_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved",
    "DeidentificationMethod", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight",
    "PositionReferenceIndicator",
)  # fmt: skip
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@contextmanager
def plain_values() -> Iterator[None]:
    """Values are taken as they are: those that are copied have been looked at, and unique identifiers are links."""
    from pydicom.config import disable_value_validation

    with quiet(), disable_value_validation():
        yield


@plain_values()
def rt_object(ct: CtSeries, *, sop_class: str, modality: str, model: str, warning: str = PREDICTED) -> Dataset:
    """A new RT object in the CT's study: patient, study, series, equipment, frame of reference and approval.

    Patient and study are those of the CT's first file (see :func:`source_of`); the series and the object are new, with
    UIDs below 2.25.

    Args:
        ct: the series that was predicted from.
        sop_class: UID of the kind of object.
        modality: ``RTSTRUCT``, ``RTDOSE`` or ``RTPLAN``.
        model: what made the prediction.
        warning: the series description.

    Raises:
        InputError: the CT cannot be read.
    """
    from pydicom.uid import generate_uid

    made, _ = source_of(ct)
    now = datetime.datetime.now()
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = generate_uid(prefix=None)
    made.InstanceCreationDate, made.InstanceCreationTime = date_and_time(now)
    made.Modality = modality
    made.SeriesInstanceUID = generate_uid(prefix=None)
    made.SeriesNumber = 1
    made.SeriesDate, made.SeriesTime = date_and_time(now)
    made.SeriesDescription = text(warning, LONG)
    made.OperatorsName = None
    made.Manufacturer = MAKER
    made.ManufacturerModelName = MAKER
    made.SoftwareVersions = list(software(model))
    made.FrameOfReferenceUID = ct.frame_of_reference
    if "PositionReferenceIndicator" not in made:
        made.PositionReferenceIndicator = None
    made.ApprovalStatus = "UNAPPROVED"
    made.InstanceNumber = 1
    return made


def reference(sop_class: str, sop_instance: str) -> Dataset:
    """An item of a sequence that refers to a DICOM object by its class and UID."""
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def date_and_time(moment: datetime.datetime) -> tuple[str, str]:
    """As DICOM writes them (DA, TM)."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def software(model: str) -> tuple[str, str]:
    """What made an object: this package, and the model."""
    return f"{MAKER} {__version__}", text(model, LONG)


def text(value: str, longest: int) -> str:
    r"""A string as DICOM can hold it: no control characters and no ``\``, which separates values; cut if too long."""
    clean = "".join("_" if char == "\\" or unicodedata.category(char) == "Cc" else char for char in value)
    return clean.strip()[:longest].rstrip()


def decimal(value: float) -> str:
    """A number of millimetres or a cosine as a decimal string of at most 16 characters (DS)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)  # no -0


def decimals(values: Sequence[float] | np.ndarray) -> list[str]:
    """Several of them."""
    return [decimal(value) for value in values]


def names_of(ct: CtSeries, masks: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The structures' names as DICOM can hold them, ``{name: at most 64 characters}``; the masks are checked.

    Raises:
        CrosstaskError: there is no mask; one is not on the CT's grid or not boolean; a name is empty, or two are the
            same once they are cut.
    """
    if not masks:
        raise CrosstaskError("there is no structure to write; predict at least one")
    shape = tuple(ct.geometry.shape)
    names: dict[str, str] = {}
    for name, mask in masks.items():
        if mask.shape != shape or mask.dtype != np.bool_:
            raise CrosstaskError(f"{name}: a mask of {mask.dtype} {mask.shape}; give bool on the CT's grid {shape}")
        fitted = text(name, LONG)
        if not fitted or fitted in names.values():
            raise CrosstaskError(
                f"structure {name!r}: DICOM holds {LONG} characters of a name, here {fitted!r}, which must be one of "
                "its own; rename the structure"
            )
        names[name] = fitted
    return names


@plain_values()
def source_of(ct: CtSeries) -> tuple[Dataset, list[str]]:
    """What is said of patient and study in the CT's first file, and the keywords of what is left out of that.

    Left out are values that the standard does not allow, such as a date with dashes: a file that has them may be
    refused as a whole. What may be empty is at least there. Unique identifiers are the CT's own in any case, since the
    new file would otherwise belong to nothing.

    Raises:
        InputError: the file cannot be read; the message names it.
    """
    made, broken = copied(Header.read(ct.files[0]), _OF_PATIENT_AND_STUDY)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in made:
            setattr(made, keyword, None)
    made.StudyInstanceUID = ct.study
    return made, broken


def save(path: Path, made: Dataset, ct: CtSeries, *, implicit: bool = False) -> None:
    """Write a DICOM object that was made from a CT, not among the CT's files; else as :func:`save_file`.

    Raises:
        InputError: the file is there already, or would lie among the CT's.
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    refuse_input_folder(path.parent, ct.files)
    save_file(path, made, implicit=implicit)


@plain_values()
def save_file(path: Path, made: Dataset, *, implicit: bool = False) -> None:
    """Write a DICOM object in little endian, whole or not at all.

    Args:
        path: the new file.
        made: the object.
        implicit: leave the types of the values to the reader. Every DICOM system understands that; it is needed where a
            value of text may be longer than 64 KB, for whose length the explicit form has no room.

    Raises:
        InputError: the file is there already.
        CrosstaskError: the disk is full, or the folder cannot be written.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = made.SOPClassUID
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    made.file_meta = meta
    with new_file(path) as part:
        made.save_as(part, enforce_file_format=True)
