"""Dose to a DICOM RT dose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.errors import CrosstaskError
from crosstask.export.dicom_common import LONG, decimal, decimals, plain_values, reference, rt_object, save, text
from crosstask.export.rtplan import RT_PLAN
from crosstask.geometry import Geometry
from crosstask.io.dicom.header import PREDICTED

if TYPE_CHECKING:
    from crosstask.io.dicom.ct import CtSeries

RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_SIXTEEN = 125.0
"""Largest dose in Gy that is stored in 16 bits: the step is then below 2 mGy, and no value errs by 1 mGy."""
_FINE = 1e-6
"""Gy of one step in 32 bits, which reach 4,294 Gy. It does not follow from the largest dose, so no rounding can carry
that over the end of 32 bits to zero."""
_MOST = 4294.0


@plain_values()
def write_rtdose(
    path: Path,
    ct: CtSeries,
    dose: np.ndarray,
    geometry: Geometry,
    *,
    model: str,
    plan: str | None = None,
    warning: str = PREDICTED,
) -> None:
    """Write a dose as an RTDOSE in the CT's study, unapproved.

    A dose comes back within 1 mGy. It is stored in 16 bits, which every system reads, in steps of a 65,535th of its
    maximum (it errs by 0.5 mGy at 70 Gy); over 125 Gy in 32 bits, in steps of 1 uGy. Doses below zero, which a network
    may give, become zero. Planes lie where the grid says, in any direction; their offsets are relative to the first
    plane's position.

    Args:
        path: the new file.
        ct: the series that was predicted from.
        dose: ``z y x``, in Gy.
        geometry: its grid: the CT's or any other in the same frame of reference.
        model: what made the prediction; it stands in SoftwareVersions.
        plan: SOP instance UID of the RT plan that the dose belongs to. DICOM wants one of a dose that is a whole
            plan's, and a predicted dose is meant to be: see :func:`crosstask.export.rtplan.write_rtplan`; without
            one it names a plan that nobody has made yet, by a new UID.
        warning: what the file says of itself, in the description of its series and in its comment.

    Raises:
        InputError: the file is there already, or would lie in the CT's folder.
        CrosstaskError: the dose is not finite, over 4,294 Gy or not of the grid's shape; or the disk is full.
    """
    from pydicom.uid import generate_uid

    _check(dose, geometry)
    stored, step = quantised(dose)
    normal, down, right = np.asarray(geometry.direction)[:, ::-1]
    made = rt_object(ct, sop_class=RT_DOSE, modality="RTDOSE", model=model, warning=warning)
    del made.ApprovalStatus  # a dose has none
    made.ContentDate, made.ContentTime = made.SeriesDate, made.SeriesTime
    made.ImagePositionPatient = decimals((geometry.origin or ())[::-1])
    made.ImageOrientationPatient = decimals([*right, *down])
    made.PixelSpacing = decimals(geometry.spacing[1:])
    made.SliceThickness = decimal(geometry.spacing[0])
    made.Rows, made.Columns = stored.shape[1:]
    if len(stored) > 1:  # of a single plane there are no offsets
        # positions of planes count along the cross product of row and column, which the first axis may run against
        way = np.sign(normal @ np.cross(right, down))
        made.GridFrameOffsetVector = decimals(way * geometry.spacing[0] * np.arange(len(stored)))
        made.NumberOfFrames = len(stored)
        made.FrameIncrementPointer = 0x3004000C  # to GridFrameOffsetVector
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * stored.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = 0
    made.DoseUnits = "GY"
    made.DoseType = "PHYSICAL"
    made.DoseComment = text(f"{warning}. {model}", LONG)
    made.DoseGridScaling = decimal(step)
    made.TissueHeterogeneityCorrection = None
    made.DoseSummationType = "PLAN"
    made.ReferencedRTPlanSequence = [reference(RT_PLAN, plan or generate_uid(prefix=None))]
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW"
    save(path, made, ct)


def quantised(dose: np.ndarray) -> tuple[np.ndarray, float]:
    """The whole numbers that are stored, little endian, and the Gy of one; a negative dose is zero."""
    # float64: the 24 bits of a float32 could round the largest of 32 bits up, past their end
    positive = np.clip(dose, 0, None, dtype=np.float64)
    top = float(positive.max())
    small = top <= _SIXTEEN
    # as the file writes it, in 16 characters, so that what is read is what was divided by; a dose of zero has one too
    step = float(decimal(max(top, 1.0) / np.iinfo(np.uint16).max)) if small else _FINE
    positive /= step  # in place: doses of a whole CT are large
    return np.rint(positive, out=positive).astype("<u2" if small else "<u4"), step


def _check(dose: np.ndarray, geometry: Geometry) -> None:
    if dose.shape != tuple(geometry.shape) or dose.ndim != 3:
        raise CrosstaskError(f"dose of {dose.shape} on a grid of {geometry.shape}; give z y x")
    if not np.isfinite(dose).all():
        raise CrosstaskError("the dose is not finite everywhere; train with a lower learning rate or precision 32")
    if dose.max() > _MOST:
        raise CrosstaskError(f"a dose of {dose.max():.0f} Gy is over what is written ({_MOST:.0f} Gy); check its unit")
