"""A volume as a CT series, for generated patients: what is written of real ones refers to their own CT."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from crosstask.errors import CrosstaskError
from crosstask.export.dicom_common import date_and_time, decimal, decimals, save_file
from crosstask.geometry import Geometry
from crosstask.io.dicom.ct import CT_IMAGE, CtSeries, read_ct
from crosstask.io.dicom.header import MAKER, UTF8

_LOWEST = -1024
"""HU of the stored value 0."""


def write_ct(folder: Path, hu: np.ndarray, geometry: Geometry, *, patient: str) -> CtSeries:
    """Write a volume as one CT image a slice, ``CT0001.dcm`` and so on, and read it back.

    Args:
        folder: where to write; made if missing.
        hu: ``z y x``, whole numbers from -1024 to 64511.
        geometry: its grid, z along the cross product of the slices' rows and columns.
        patient: name and id of the patient, who does not exist.

    Raises:
        InputError: a file is there already.
        CrosstaskError: a value cannot be stored, or the disk is full.
    """
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    stored = np.rint(hu) - _LOWEST
    if stored.min() < 0 or stored.max() > np.iinfo(np.uint16).max:
        raise CrosstaskError(f"CT numbers from {hu.min():.0f} to {hu.max():.0f} HU; give -1024 to 64511")
    study, series, frame = (generate_uid(prefix=None) for _ in range(3))
    now = datetime.datetime.now()
    _, down, right = np.asarray(geometry.direction)[:, ::-1]
    for number, plane in enumerate(stored.astype("<u2")):
        made = Dataset()
        made.SpecificCharacterSet = UTF8
        made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        made.SOPClassUID, made.SOPInstanceUID = CT_IMAGE, generate_uid(prefix=None)
        made.StudyDate, made.StudyTime = made.SeriesDate, made.SeriesTime = date_and_time(now)
        made.ContentDate, made.ContentTime = date_and_time(now)
        made.AccessionNumber = made.ReferringPhysicianName = made.PatientBirthDate = made.PatientSex = None
        made.Modality, made.Manufacturer, made.SeriesDescription = "CT", MAKER, "Generated, no patient"
        made.PatientName, made.PatientID, made.PatientPosition = patient, patient, "HFS"
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = study, series, frame
        made.StudyID, made.SeriesNumber, made.AcquisitionNumber = "1", 1, 1
        made.InstanceNumber = number + 1
        made.KVP = made.PositionReferenceIndicator = made.Laterality = None
        made.ImagePositionPatient = decimals(geometry.points([[number, 0, 0]])[0][::-1])
        made.ImageOrientationPatient = decimals([*right, *down])
        made.PixelSpacing, made.SliceThickness = decimals(geometry.spacing[1:]), decimal(geometry.spacing[0])
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.Rows, made.Columns = plane.shape
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
        made.RescaleIntercept, made.RescaleSlope, made.RescaleType = _LOWEST, 1, "HU"
        made.PixelData = plane.tobytes()
        made["PixelData"].VR = "OW"
        save_file(folder / f"CT{number + 1:04}.dcm", made)
    return read_ct(sorted(folder.glob("CT*.dcm")))
