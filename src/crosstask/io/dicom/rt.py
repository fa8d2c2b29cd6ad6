"""RTDOSE and RTPLAN: a dose grid in Gy, and what a plan says of its prescription."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.dicom.ct import even_planes, grid, orientation_of, position_of
from crosstask.io.dicom.header import COPY_AGAIN, Header, UnusableError
from crosstask.io.dicom.index import frame_of_reference
from crosstask.io.image_files import MAXIMUM_VOXELS

Beam = tuple[int, int]
"""Number of a fraction group, and of a beam."""

_ALIGNED = 1e-3
_ROUNDED = 0.1 + 1e-6
"""mm by which the first plane's offset and position may differ: either may be rounded to 0.1."""
_TREATS = ("", "TREATMENT", "CONTINUATION")


@dataclass(frozen=True)
class DoseGrid:
    """A dose distribution.

    Attributes:
        file: where it was read.
        dose: Gy, ``z y x`` of the grid, float32.
        geometry: the grid, which may be smaller than the CT's and differently spaced; in mm, in DICOM's LPS space.
        units: always ``"GY"``.
        dose_type: always ``"PHYSICAL"``.
        summation: DoseSummationType; empty if the file does not say. PLAN is the dose of all fractions of a plan;
            others (BEAM, FRACTION, MULTI_PLAN, ...) are of parts or several plans and left to the caller.
        plan: SOP instance of the RTPLAN; empty if the file does not say.
        sop_instance, study, frame_of_reference: unique identifiers; the last may be empty.
        patient_id: as in the file; may be empty.
    """

    file: Path
    dose: np.ndarray
    geometry: Geometry
    units: str
    dose_type: str
    summation: str
    plan: str
    sop_instance: str
    study: str
    frame_of_reference: str
    patient_id: str


@dataclass(frozen=True)
class Plan:
    """A treatment plan, as far as it concerns the dose.

    Attributes:
        file: where it was read.
        label: RTPlanLabel.
        prescription: Gy of all fractions, the highest TargetPrescriptionDose of its targets; None if there is none.
        fractions: planned, of all fraction groups together; None if the file does not say.
        structure_set: SOP instance of its RTSTRUCT; empty if the file does not say.
        sop_instance, study, frame_of_reference: unique identifiers; the last may be empty.
        patient_id: as in the file; may be empty.
    """

    file: Path
    label: str
    prescription: float | None
    fractions: int | None
    structure_set: str
    sop_instance: str
    study: str
    frame_of_reference: str
    patient_id: str


def read_dose(file: Path) -> DoseGrid:
    """Read an RTDOSE file: stored values times DoseGridScaling, its planes sorted along their normal.

    The offsets of the planes (GridFrameOffsetVector) are relative to ImagePositionPatient if the first is zero, else
    they are positions along the patient's z (DICOM PS3.3, C.8.8.3.2). They may run against the normal: then planes are
    put in the other order.

    Raises:
        UnusableError: see :func:`unusable_dose`; or the scale is 0.
        InputError: the file cannot be read; is no RTDOSE; uneven planes. The message names the file.
    """
    file = Path(file)
    header = Header.read(file, pixels=True)
    _must_be(header, "RTDOSE")
    if why := _unusable(header):
        raise UnusableError(f"{file}: {why}; export the physical dose in Gy")
    scaling = header.number("DoseGridScaling")
    if scaling == 0:
        raise UnusableError(f"{file}: DoseGridScaling 0 is no scale: the dose is zero everywhere; export it again")
    if not 0 < scaling < 1e6:
        raise InputError(f"{file}: DoseGridScaling {scaling:g} is no scale of a dose; export the dose again")
    geometry, order = _planes(header)
    dose = (header.pixels(geometry.shape[0])[order].astype(np.float64) * scaling).astype(np.float32)
    return DoseGrid(
        file=file,
        dose=dose,
        geometry=geometry,
        units="GY",
        dose_type="PHYSICAL",
        summation=header.text("DoseSummationType", ""),
        plan=_referenced(header, "ReferencedRTPlanSequence"),
        sop_instance=header.uid("SOPInstanceUID"),
        study=header.uid("StudyInstanceUID"),
        frame_of_reference=frame_of_reference(header),
        patient_id=header.text("PatientID", ""),
    )


def unusable_dose(file: Path) -> str:
    """Why an RTDOSE file holds no dose to be used, from its header alone; empty if it may.

    EFFECTIVE dose depends on a biological model, ERROR is a difference of doses, and RELATIVE units are of a
    prescription that the file does not give. Some files hold a histogram or points and no grid. A damaged file is not
    judged here: what is wrong with it is told when it is read.
    """
    try:
        return _unusable(Header.read(Path(file), only=["DoseUnits", "DoseType", "Rows", "GridFrameOffsetVector"]))
    except InputError:
        return ""


def _unusable(header: Header) -> str:
    for keyword, wanted, others in (
        ("DoseUnits", "GY", ("RELATIVE",)),
        ("DoseType", "PHYSICAL", ("EFFECTIVE", "ERROR")),
    ):
        said = header.text(keyword, "").upper()
        if not said:
            return f"no {keyword} is given"
        if said != wanted:
            return f"{keyword} is not {wanted}" + (f" but {said}" if said in others else "")
    return "" if header.has("Rows") else "it holds no dose grid"


def _planes(header: Header) -> tuple[Geometry, slice]:
    """Grid of a dose, and the order in which the file's frames lie along the normal."""
    frames, rows, columns = header.whole("NumberOfFrames", 1), header.whole("Rows"), header.whole("Columns")
    if min(frames, rows, columns) < 1 or frames * rows * columns > MAXIMUM_VOXELS:
        raise InputError(f"{header.path}: a dose grid of {frames} x {rows} x {columns} voxels; {COPY_AGAIN}")
    row_step, column_step = header.numbers("PixelSpacing", 2).tolist()
    position, orientation = position_of(header), orientation_of(header)
    if frames == 1:
        step, order = header.number("SliceThickness"), slice(None)
    else:
        start, step, order = _step(header, _offsets(header, frames, position, orientation))
        position = position + orientation[2] * start
    if not all(0.01 <= each <= 1000 for each in (step, row_step, column_step)):
        raise InputError(f"{header.path}: voxels of {step:g} x {row_step:g} x {column_step:g} mm; {COPY_AGAIN}")
    return grid((frames, rows, columns), (step, row_step, column_step), position, orientation), order


def _offsets(header: Header, frames: int, position: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Distances of the planes from ImagePositionPatient along the normal, in mm."""
    offsets = header.numbers("GridFrameOffsetVector", frames)
    if offsets[0] == 0:
        return offsets
    # Absolute: z of the patient, which the standard allows for transverse planes alone.
    if abs(abs(orientation[2, 2]) - 1) > _ALIGNED or abs(offsets[0] - position[2]) > _ROUNDED:
        raise InputError(
            f"{header.path}: GridFrameOffsetVector begins neither with 0 nor with z of ImagePositionPatient in "
            "transverse planes; export the dose again"
        )
    return np.asarray((offsets - offsets[0]) * np.sign(orientation[2, 2]))


def _step(header: Header, offsets: np.ndarray) -> tuple[float, float, slice]:
    """Lowest offset along the normal, distance of neighbouring planes, and their order along the normal."""
    steps = np.diff(offsets)
    usual = float(np.median(steps))
    found = even_planes(offsets, offsets[:, None])
    if found is None or usual == 0:
        at = int(np.argmax(np.abs(steps - usual)))
        raise InputError(
            f"{header.path}: planes {at} and {at + 1} are {steps[at]:.3f} mm apart, others {usual:.3f}; export the "
            "dose on evenly spaced planes"
        )
    start, step = found
    lowest = start if step > 0 else start + step * (len(offsets) - 1)
    return lowest, abs(step), slice(None, None, 1 if step > 0 else -1)


def read_doses(files: Sequence[Path]) -> DoseGrid:
    """The sum of doses of parts of one plan, as :func:`read_dose` reads each; that of a single file is its own.

    Raises:
        InputError: one cannot be read, or lies on another grid than the first.
    """
    first, *others = (read_dose(file) for file in files)
    if not others:
        return first
    total = first.dose.astype(np.float64)
    for other in others:
        if not _same_grid(first.geometry, other.geometry):
            raise InputError(
                f"{other.file}: lies on another grid than {first.file.name}, so they cannot be added up; export the "
                "dose of the whole plan"
            )
        total += other.dose
    return replace(first, dose=total.astype(np.float32), summation="PLAN")


def _same_grid(one: Geometry, other: Geometry) -> bool:
    """To a hundredth of a millimetre at the corners."""
    corners = list(itertools.product(*((0, length - 1) for length in one.shape)))
    return one.shape == other.shape and bool(np.abs(one.points(corners) - other.points(corners)).max() < 0.01)


def beams_of_plan(file: Path) -> frozenset[Beam]:
    """The beams that a plan treats with, without those for setup alone.

    Raises:
        InputError: the file cannot be read.
    """
    header = Header.read(Path(file), only=["FractionGroupSequence", "BeamSequence"])
    kinds = {
        item.whole("BeamNumber", -1): item.text("TreatmentDeliveryType", "") for item in header.items("BeamSequence")
    }
    return frozenset(
        (group.whole("FractionGroupNumber", 1), number)
        for group in header.items("FractionGroupSequence")
        for item in group.items("ReferencedBeamSequence")
        if kinds.get(number := item.whole("ReferencedBeamNumber", -1), "") in _TREATS
    )


def beams_of_dose(file: Path, beams: frozenset[Beam]) -> frozenset[Beam]:
    """The beams that a dose with summation type BEAM or FRACTION was computed for; none if the file does not say.

    Args:
        file: the RTDOSE file.
        beams: of its plan.

    Raises:
        InputError: the file cannot be read.
    """
    header = Header.read(Path(file), only=["DoseSummationType", "ReferencedRTPlanSequence"])
    summation = header.text("DoseSummationType", "")
    found: set[Beam] = set()
    for plan in header.items("ReferencedRTPlanSequence"):
        for group in plan.items("ReferencedFractionGroupSequence"):
            number = group.whole("ReferencedFractionGroupNumber", 1)
            if summation == "FRACTION":
                found |= {beam for beam in beams if beam[0] == number}
            elif summation == "BEAM":
                named = group.items("ReferencedBeamSequence")
                found |= {(number, item.whole("ReferencedBeamNumber", -1)) for item in named}
    return frozenset(found)


def read_plan(file: Path) -> Plan:
    """Read an RTPLAN file.

    Raises:
        InputError: the file cannot be read, or is no RTPLAN. The message names it.
    """
    file = Path(file)
    header = Header.read(file)
    _must_be(header, "RTPLAN")
    doses = [
        item.number("TargetPrescriptionDose")
        for item in header.items("DoseReferenceSequence")
        if item.has("TargetPrescriptionDose")
    ]
    fractions = [
        item.whole("NumberOfFractionsPlanned")
        for item in header.items("FractionGroupSequence")
        if item.has("NumberOfFractionsPlanned")
    ]
    return Plan(
        file=file,
        label=header.text("RTPlanLabel", ""),
        prescription=max(doses, default=0.0) or None,
        fractions=sum(fractions) or None,
        structure_set=_referenced(header, "ReferencedStructureSetSequence"),
        sop_instance=header.uid("SOPInstanceUID"),
        study=header.uid("StudyInstanceUID"),
        frame_of_reference=frame_of_reference(header),
        patient_id=header.text("PatientID", ""),
    )


def _must_be(header: Header, modality: str) -> None:
    if header.text("Modality") != modality:
        raise InputError(f"{header.path}: is no {modality} file; give one")


def _referenced(header: Header, keyword: str) -> str:
    """SOP instance that the first item of a sequence refers to; empty if there is none."""
    return next((item.uid("ReferencedSOPInstanceUID", "") for item in header.items(keyword)), "")
