"""CT series: slices of DICOM files to one volume in Hounsfield units.

Axes:
    ``z y x`` of the series itself, whatever its orientation: z runs along the normal of the slices (the cross product
    of row and column direction, so the grid is right-handed), y down their rows, x along their columns. Nothing is
    turned or interpolated; where the axes point in the patient is the Geometry's ``direction``.

Values:
    Stored value times RescaleSlope plus RescaleIntercept, each slice by its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.dicom.header import COPY_AGAIN, Header
from crosstask.io.image_files import MAXIMUM_VOXELS
from crosstask.io.series import UNEVEN

CT_IMAGE, ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
_TILT, _ROUNDED_WAY = 0.1, 0.15
"""Largest way of a slice off the line along the normal, in pixels or in mm: less is rounding."""
_ROUNDED = (0.1, 0.05, 0.01)
"""mm to which some programs round positions: so much may those of planes lie off an even grid."""
_SAME_DIRECTION = 1e-4
_SAME_SPACING = 1e-3
_KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "PatientID",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
]


@dataclass(frozen=True)
class CtSeries:
    """A CT series as a volume.

    Attributes:
        hu: ``z y x``, int16 where that holds every value exactly, else float32. Pixels outside the scanner's field of
            view are what it wrote there, often -1024 or below.
        geometry: the grid, in mm, in DICOM's LPS space.
        files: the slices' files, in the order of z.
        sop_instances: the slices' unique identifiers, in the same order.
        patient_id: as in the files; may be empty.
        study, series, frame_of_reference: unique identifiers.
        patient_position: HFS, FFP, ...; empty if the files do not say. The geometry does not depend on it.
    """

    hu: np.ndarray
    geometry: Geometry
    files: tuple[Path, ...]
    sop_instances: tuple[str, ...]
    patient_id: str
    study: str
    series: str
    frame_of_reference: str
    patient_position: str


@dataclass(frozen=True)
class _Slice:
    """What the header of one slice says; vectors are in DICOM's own order x y z."""

    path: Path
    sop_instance: str
    patient_id: str
    study: str
    series: str
    frame_of_reference: str
    patient_position: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    position: np.ndarray
    orientation: np.ndarray
    thickness: float


def read_ct(files: Iterable[Path]) -> CtSeries:
    """Read the slices of one CT series.

    Localizers among them are left out. The distance of slices is that of their positions; that of a single slice is its
    thickness.

    Args:
        files: the series' files in any order.

    Raises:
        InputError: a file cannot be read or is no CT slice; slices of several series, sizes, orientations or spacings;
            slices that are missing, twice there, or shifted against each other (a tilted gantry). The message names
            the file.
    """
    slices = [found for path in files if (found := _slice_of(Path(path))) is not None]
    if not slices:
        raise InputError("no CT slice among the files; give those of one CT series")
    _check_alike(slices)
    slices, geometry = _arranged(slices)
    first = slices[0]
    return CtSeries(
        hu=_hounsfield(slices),
        geometry=geometry,
        files=tuple(each.path for each in slices),
        sop_instances=tuple(each.sop_instance for each in slices),
        patient_id=first.patient_id,
        study=first.study,
        series=first.series,
        frame_of_reference=first.frame_of_reference,
        patient_position=first.patient_position,
    )


def _slice_of(path: Path) -> _Slice | None:
    """The header of a slice; None for a localizer."""
    header = Header.read(path, only=_KEYWORDS)
    kind = header.uid("SOPClassUID")
    if kind == ENHANCED_CT_IMAGE:
        raise InputError(f"{path}: enhanced multi-frame CT is not supported; export the series as single slices")
    if kind != CT_IMAGE:
        raise InputError(f"{path}: is no CT image; give the files of one CT series")
    if "LOCALIZER" in header.text("ImageType", "").split("\\"):
        return None
    row_step, column_step = header.numbers("PixelSpacing", 2).tolist()
    thickness = header.number("SliceThickness", 0.0)
    if not (0.01 <= row_step <= 100 and 0.01 <= column_step <= 100):
        raise InputError(f"{path}: PixelSpacing {row_step:g} x {column_step:g} mm is none of a CT; {COPY_AGAIN}")
    return _Slice(
        path=path,
        sop_instance=header.uid("SOPInstanceUID"),
        patient_id=header.text("PatientID", ""),
        study=header.uid("StudyInstanceUID"),
        series=header.uid("SeriesInstanceUID"),
        frame_of_reference=header.uid("FrameOfReferenceUID"),
        patient_position=header.text("PatientPosition", ""),
        shape=(header.whole("Rows"), header.whole("Columns")),
        spacing=(row_step, column_step),
        position=position_of(header),
        orientation=orientation_of(header),
        thickness=thickness,
    )


def position_of(header: Header) -> np.ndarray:
    """ImagePositionPatient: the centre of the first pixel, ``x y z`` in mm."""
    position = header.numbers("ImagePositionPatient", 3)
    if np.abs(position).max() > 1e5:
        raise InputError(f"{header.path}: ImagePositionPatient lies over 100 m away; {COPY_AGAIN}")
    return position


def orientation_of(header: Header) -> np.ndarray:
    """Right-handed unit vectors, each x y z: along the columns of a row, down the rows, and the normal; ``3 3``."""
    along, down = header.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm([along, down], axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(along @ down) > 5e-4:
        raise InputError(
            f"{header.path}: ImageOrientationPatient is no pair of unit vectors at right angles; {COPY_AGAIN}"
        )
    along, down = along / lengths[0], down / lengths[1]
    normal = np.cross(along, down)
    return np.stack([along, down, normal / np.linalg.norm(normal)])


def grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], position: np.ndarray, orientation: np.ndarray
) -> Geometry:
    """Geometry (z y x) of a stack of planes, from its first position and orientation in DICOM's order x y z."""
    return Geometry(
        shape=shape,
        spacing=spacing,
        origin=tuple(position[::-1].tolist()),
        direction=tuple(tuple(vector) for vector in orientation[::-1, ::-1].tolist()),
    )


def _check_alike(slices: Sequence[_Slice]) -> None:
    """All slices must be of one series and lie in planes of one size, spacing and orientation."""
    first = slices[0]
    if len({each.series for each in slices}) > 1:
        raise InputError(
            f"{first.path.parent}: {len({each.series for each in slices})} CT series; give the files of one"
        )
    for each in slices:
        differing = [
            word
            for word, same in (
                ("frame of reference", each.frame_of_reference == first.frame_of_reference),
                ("patient or study", (each.patient_id, each.study) == (first.patient_id, first.study)),
                ("size", each.shape == first.shape),
                ("pixel spacing", np.allclose(each.spacing, first.spacing, rtol=_SAME_SPACING)),
                ("orientation", np.allclose(each.orientation, first.orientation, atol=_SAME_DIRECTION)),
            )
            if not same
        ]
        if differing:
            raise InputError(f"{each.path}: another {differing[0]} than {first.path.name} of its series; leave one out")


def _arranged(slices: Sequence[_Slice]) -> tuple[list[_Slice], Geometry]:
    """Slices in the order of z, and their grid."""
    orientation = slices[0].orientation
    heights = np.array([each.position @ orientation[2] for each in slices])
    order = np.argsort(heights, kind="stable")
    ordered, heights = [slices[index] for index in order], heights[order]
    start, step = _even_steps(ordered, heights)
    away = np.abs(np.stack([each.position - ordered[0].position for each in ordered]) @ orientation[:2].T)
    # Measured from the first slice, so that a small tilt is found by the way it adds up to.
    pixels = (away / np.array(ordered[0].spacing[::-1])).max(axis=1)
    shifted = (pixels > _TILT) & (away.max(axis=1) > _ROUNDED_WAY)
    if shifted.any():
        at = int(np.argmax(shifted))
        raise InputError(
            f"{ordered[at].path}: is shifted by {pixels[at]:.2f} pixels within its plane against "
            f"{ordered[0].path.name}: a tilted gantry or a moved table; resample the series to upright slices"
        )
    shape = (len(ordered), *ordered[0].shape)
    if min(shape) < 1 or np.prod(shape, dtype=float) > MAXIMUM_VOXELS:
        raise InputError(f"{ordered[0].path}: a series of {shape} voxels cannot be read; {COPY_AGAIN}")
    position = ordered[0].position + (start - heights[0]) * orientation[2]
    return ordered, grid(shape, (step, *ordered[0].spacing), position, orientation)


def _even_steps(slices: Sequence[_Slice], heights: np.ndarray) -> tuple[float, float]:
    """Height of the first slice, and the distance of neighbours, which must be the same everywhere but for rounding."""
    if len(slices) == 1:
        if not 0.01 <= slices[0].thickness <= 1000:
            raise InputError(f"{slices[0].path}: a single slice without SliceThickness; give the other slices, too")
        return float(heights[0]), slices[0].thickness
    steps = np.diff(heights)
    if steps.min() < 1e-2:
        at = int(np.argmin(steps))
        names = f"{slices[at].path} and {slices[at + 1].path.name}"
        raise InputError(f"{names}: two slices at one position; leave one out, or give the series one by one")
    found = even_planes(heights, np.stack([each.position for each in slices]))
    if found is None:
        usual = float(np.median(steps))
        at = int(np.argmax(np.abs(steps - usual)))
        names = f"{slices[at].path} and {slices[at + 1].path.name}"
        raise InputError(
            f"{names}: {steps[at]:.3f} mm apart, others {usual:.3f}; add the missing slice, or remove the one too many"
        )
    return found


def even_planes(heights: np.ndarray, written: np.ndarray) -> tuple[float, float] | None:
    """The first height and the step of evenly spaced planes; None if they are not.

    Steps may differ by a hundredth. Where all coordinates are rounded, heights may lie off an even grid by as much as
    they are rounded to, 0.1 mm at most, but not by a quarter of a step: nothing is taken for rounding that could be a
    missing plane.

    Args:
        heights: in mm, ascending or descending, two or more.
        written: the coordinates that they were computed from, one row a plane.
    """
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if (np.abs(steps - usual) <= max(UNEVEN * abs(usual), 1e-3)).all():
        return float(heights[0]), float((heights[-1] - heights[0]) / (len(heights) - 1))
    step, start = np.polyfit(np.arange(len(heights)), heights, 1)
    off = np.abs(start + step * np.arange(len(heights)) - heights).max()
    return (float(start), float(step)) if off <= min(_rounded_to(written), abs(step) / 4) else None


def _rounded_to(written: np.ndarray) -> float:
    """To how many mm coordinates are rounded, those that are the same in all rows apart; 0 if they are not."""
    moving = written[:, np.ptp(written, axis=0) > 1e-9]
    return next((unit for unit in _ROUNDED if np.abs(moving / unit - np.rint(moving / unit)).max() < 1e-4), 0.0)


def _hounsfield(slices: Sequence[_Slice]) -> np.ndarray:
    """Values of the slices, ``z y x``, in int16 as long as that holds all of them."""
    volume = np.empty(0, np.int16)
    for number, each in enumerate(slices):
        header = Header.read(each.path, pixels=True)
        slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
        values = header.pixels()[0].astype(np.float64) * slope + intercept
        if number == 0:  # not before there are pixels, since their number in a damaged header may be anything
            volume = np.empty((len(slices), *values.shape), np.int16)
        if volume.dtype == np.int16 and not _fits(values):
            volume = volume.astype(np.float32)
        if not np.abs(values).max() < 1e9:
            raise InputError(f"{each.path}: values up to {np.abs(values).max():.3g} HU; {COPY_AGAIN}")
        volume[number] = values
    return volume


def _fits(values: np.ndarray) -> bool:
    limits = np.iinfo(np.int16)
    return bool(values.min() >= limits.min and values.max() <= limits.max and np.array_equal(values, np.rint(values)))
