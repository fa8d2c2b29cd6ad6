"""RTSTRUCT: structures as contours, their masks on a grid, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.functional.contours import fill, traced_once, without_copies
from crosstask.functional.structure_samples import Ends
from crosstask.geometry import Geometry
from crosstask.io.dicom.header import COPY_AGAIN, Header, UnusableError
from crosstask.io.dicom.index import frame_of_reference, referenced_series

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Geometric types that enclose an area."""

_SAME_PLANE = 0.2
"""mm that points of one plane may lie apart along the normal: coordinates are rounded, often to 0.1."""
_ROUNDED = 0.75
"""mm that a contour may lie from its copy: coordinates in whole millimetres are up to 0.71 off in their plane."""
_FURTHER_ON = 1e-3
"""Share of a slice by which planes are looked for beyond a slice, so that rounding decides nothing half-way."""
_FURTHEST = 1e5
"""mm from the origin; further away, a coordinate is damaged."""


@dataclass(frozen=True)
class Contour:
    """One line.

    Attributes:
        points: ``n 3``, each z y x in mm in DICOM's LPS space; the last is joined to the first.
        kind: its ContourGeometricType: CLOSED_PLANAR, POINT, ...
    """

    points: np.ndarray
    kind: str


@dataclass(frozen=True)
class Structure:
    """An organ or target ("ROI" in DICOM).

    Attributes:
        file: the structure set's file.
        number: ROINumber.
        name: as in the file, without spaces around it.
        colour: red, green, blue of 0 to 255; None if the file does not say.
        kind: RTROIInterpretedType (ORGAN, PTV, CTV, EXTERNAL, ...); may be empty.
        frame_of_reference: of its points; may be empty.
        contours: in the file's order; none for a structure that has a name only. Of contours that the file holds more
            than once, each once.
        copies: how many contours more the file holds.
    """

    file: Path
    number: int
    name: str
    colour: tuple[int, int, int] | None
    kind: str
    frame_of_reference: str
    contours: tuple[Contour, ...]
    copies: int = 0


@dataclass(frozen=True)
class StructureSet:
    """What an RTSTRUCT file holds.

    Attributes:
        file: where it was read.
        label: StructureSetLabel.
        structures: in the file's order.
        series: CT (or other) series that it was drawn on; usually one.
        sop_instance, study, frame_of_reference: unique identifiers; the last may be empty.
        patient_id: as in the file; may be empty.
    """

    file: Path
    label: str
    structures: tuple[Structure, ...]
    series: tuple[str, ...]
    sop_instance: str
    study: str
    frame_of_reference: str
    patient_id: str

    def named(self, name: str) -> Structure:
        """The structure of a name, exactly as written.

        Raises:
            InputError: there is none, or several.
        """
        found = [structure for structure in self.structures if structure.name == name]
        if len(found) != 1:
            names = ", ".join(structure.name for structure in self.structures)
            raise InputError(f"{self.file}: {len(found)} structures are named {name!r}; its structures are: {names}")
        return found[0]


@dataclass(frozen=True)
class Raster:
    """A structure on a grid.

    Attributes:
        mask: ``z y x``, bool.
        skipped: contours that enclose nothing: points, open lines, those of less than three points.
        outside: contours more than half a slice away from any slice of the grid.
    """

    mask: np.ndarray
    skipped: int
    outside: int


def read_structures(file: Path) -> StructureSet:
    """Read an RTSTRUCT file.

    Raises:
        InputError: the file cannot be read, or is no RTSTRUCT. The message names it.
    """
    file = Path(file)
    header = Header.read(file)
    if header.text("Modality") != "RTSTRUCT":
        raise InputError(f"{file}: is no RTSTRUCT file; give one")
    for keyword in ("StructureSetROISequence", "ROIContourSequence"):
        if not header.has(keyword):  # a file that was cut off between two attributes looks like this, too
            raise UnusableError(f"{file}: holds no contours (no {keyword}); export it again, with contours")
    drawn: dict[int, list[Header]] = {}
    for item in header.items("ROIContourSequence"):
        drawn.setdefault(item.whole("ReferencedROINumber"), []).append(item)  # a file may have several of one number
    observed = {
        item.whole("ReferencedROINumber"): item.text("RTROIInterpretedType", "")
        for item in header.items("RTROIObservationsSequence")
    }
    common = frame_of_reference(header)
    return StructureSet(
        file=file,
        label=header.text("StructureSetLabel", ""),
        structures=tuple(
            _structure(item, drawn.get(number, []), observed.get(number, ""), common)
            for item in header.items("StructureSetROISequence")
            for number in (item.whole("ROINumber"),)
        ),
        series=tuple(dict.fromkeys(referenced_series(header))),
        sop_instance=header.uid("SOPInstanceUID"),
        study=header.uid("StudyInstanceUID"),
        frame_of_reference=common,
        patient_id=header.text("PatientID", ""),
    )


def has_contours(file: Path) -> bool:
    """Whether a structure set has any contour; one that is damaged counts, and is told when it is read."""
    try:
        header = Header.read(Path(file), only=["ROIContourSequence"])
        return any(item.has("ContourSequence") for item in header.items("ROIContourSequence"))
    except InputError:
        return True


def drawn_images(file: Path) -> frozenset[str]:
    """SOP instances of the slices that the contours of a structure set name; none if it names none or is damaged."""
    try:
        header = Header.read(Path(file), only=["ROIContourSequence"])
        contours = [contour for item in header.items("ROIContourSequence") for contour in item.items("ContourSequence")]
        return frozenset(
            image.uid("ReferencedSOPInstanceUID", "")
            for contour in contours
            for image in contour.items("ContourImageSequence")
        ) - {""}
    except InputError:
        return frozenset()


def _structure(item: Header, drawn: Sequence[Header], kind: str, frame: str) -> Structure:
    contours = [_contour(contour) for drawing in drawn for contour in drawing.items("ContourSequence")]
    # What is drawn twice would be a hole: two copies would cancel each other.
    lines = [
        traced_once(contour.points, _SAME_PLANE) if contour.kind in CLOSED else np.empty((0, 3)) for contour in contours
    ]
    kept = without_copies(lines, _SAME_PLANE, _ROUNDED)
    twice = sum(len(line) < len(contour.points) for line, contour in zip(lines, contours, strict=True) if len(line))
    return Structure(
        file=item.path,
        number=item.whole("ROINumber"),
        name=item.text("ROIName", ""),
        colour=next(filter(None, map(_colour, drawn)), None),
        kind=kind,
        frame_of_reference=item.uid("ReferencedFrameOfReferenceUID", "") or frame,
        contours=tuple(
            replace(contours[number], points=lines[number]) if len(lines[number]) else contours[number]
            for number in kept
        ),
        copies=len(contours) - len(kept) + twice,
    )


def _colour(drawn: Header) -> tuple[int, int, int] | None:
    if not drawn.has("ROIDisplayColor"):
        return None
    red, green, blue = np.clip(drawn.numbers("ROIDisplayColor", 3), 0, 255).astype(int).tolist()
    return red, green, blue


def _contour(item: Header) -> Contour:
    kind = item.text("ContourGeometricType")
    points = item.numbers("ContourData") if item.has("ContourData") else np.empty(0)
    if len(points) % 3 or (np.abs(points) > _FURTHEST).any():
        raise InputError(f"{item.path}: ContourData is no list of points within 100 m; {COPY_AGAIN}")
    if item.whole("NumberOfContourPoints", len(points) // 3) != len(points) // 3:
        raise InputError(f"{item.path}: ContourData has another number of points than it says; {COPY_AGAIN}")
    return Contour(points=points.reshape(-1, 3)[:, ::-1], kind=kind)


def shares_of(structure: Structure, geometry: Geometry, *, frame_of_reference: str = "", ends: Ends) -> np.ndarray:
    """The share of each voxel that belongs to a structure, ``z y x`` float32.

    With ``ends`` half it is its mask. With none it ends at its outermost contours, which are in the middle of slices:
    these slices belong to it by half, and none beyond them. What lies on a single slice keeps that as a whole, since it
    would have half of its volume else and no middle.

    Args:
        structure: as of :func:`rasterise`.
        geometry: likewise.
        frame_of_reference: likewise.
        ends: ``half`` or ``none``.

    Raises:
        UnusableError: as of :func:`rasterise`.
    """
    mask = rasterise(structure, geometry, frame_of_reference=frame_of_reference, ends=ends).mask
    shares = mask.astype(np.float32)
    if ends == "half":
        return shares
    there = np.array([plane.any() for plane in mask], bool)
    before, after = np.append(False, there[:-1]), np.append(there[1:], False)
    shares[there & (before ^ after)] /= 2
    return shares


def mask_of(structure: Structure, geometry: Geometry, *, frame_of_reference: str = "") -> np.ndarray:
    """The mask of a structure, ``z y x`` bool; see :func:`rasterise`, which also counts what was left out."""
    return rasterise(structure, geometry, frame_of_reference=frame_of_reference).mask


def rasterise(structure: Structure, geometry: Geometry, *, frame_of_reference: str = "", ends: Ends = "half") -> Raster:
    """The voxels of a structure on a grid whose slices are parallel to its contours.

    A voxel belongs to it if its centre lies inside an odd number of the contours of its plane, so that contours within
    others are holes (:func:`crosstask.functional.contours.fill`).

    Contours make a stack of planes. A slice takes the plane that is nearest along the normal, within half a slice; if
    there are more planes than slices, the others are not used. A plane half-way between two slices counts for the one
    of lower z. A structure may be drawn on every m-th slice only: if it has at least three planes, none of them closer
    than m >= 2 slices and half of its gaps m wide, then each plane also counts for the slices nearer to it than to
    another: all of those in a gap of m slices (the one half-way takes the plane of higher z), and (m - 1) / 2 slices,
    rounded down, beyond its end (none beyond it with ``ends`` none).

    Args:
        structure: the contours.
        geometry: a CT's grid (not one with other slices).
        frame_of_reference: of that CT; if the structure says another one, its points mean something else there.
        ends: ``half`` or ``none``: how far it goes beyond its outermost contours.

    Raises:
        UnusableError: another frame of reference, or a contour that does not lie in a plane parallel to the slices.
    """
    where = f"{structure.file}: structure {structure.name!r}"
    own = structure.frame_of_reference
    if frame_of_reference and own and own != frame_of_reference:
        raise UnusableError(f"{where} has another frame of reference than the CT; give the CT that it was drawn on")
    closed = [contour for contour in structure.contours if contour.kind in CLOSED and len(contour.points) >= 3]
    lines = [geometry.indices(contour.points) for contour in closed]
    thick = _SAME_PLANE / geometry.spacing[0]
    for line in lines:
        if (depth := np.ptp(line[:, 0])) > thick:
            raise UnusableError(
                f"{where}: a contour reaches over {depth * geometry.spacing[0]:.1f} mm along the normal of the slices; "
                "draw it on the slices of this CT"
            )
    planes = _planes(lines, min(thick, 0.25))
    mask = np.zeros(geometry.shape, bool)
    flat = (geometry.shape[1], geometry.shape[2])
    for number, plane in _plane_of_slice(np.array(list(planes)), geometry.shape[0], ends).items():
        mask[number] = fill([line[:, 1:] for line in planes[plane]], flat)
    inside = sum(
        len(each)
        for place, each in planes.items()
        if abs(place - _FURTHER_ON - (geometry.shape[0] - 1) / 2) <= geometry.shape[0] / 2
    )
    return Raster(mask, skipped=len(structure.contours) - len(closed), outside=len(lines) - inside)


def _planes(lines: Sequence[np.ndarray], thick: float) -> dict[float, list[np.ndarray]]:
    """Contours by the plane that they lie in, in slices along the normal, ascending."""
    planes: dict[float, list[np.ndarray]] = {}
    place = -np.inf
    for height, line in sorted(((float(line[:, 0].mean()), line) for line in lines), key=lambda pair: pair[0]):
        if height - place > thick:
            place = height
            planes[place] = []
        planes[place].append(line)
    return planes


def _plane_of_slice(places: np.ndarray, slices: int, ends: Ends) -> dict[int, float]:
    """Which plane each slice takes, by the rule of :func:`rasterise`; places ascend."""
    found: dict[int, float] = {}
    if not len(places):
        return found
    apart = _slices_apart(places)
    for number in range(slices):
        distances = np.abs(places - number - _FURTHER_ON)
        nearest = int(np.argmin(distances))
        between = 0 < (after := int(np.searchsorted(places, number))) < len(places)
        in_gap = between and places[after] - places[after - 1] <= apart + 0.5
        reach = max(0.5, (apart - 1) // 2 + 0.25 if ends == "half" else 0.0)
        if distances[nearest] <= reach or (apart > 1 and in_gap):
            found[number] = float(places[nearest])
    return found


def _slices_apart(places: np.ndarray) -> int:
    """On every how many slices a structure is drawn; 1 unless it is clear that there are more."""
    gaps = np.diff(places)
    if len(gaps) < 2:
        return 1
    apart = round(float(gaps.min()))
    regular = np.abs(gaps - apart) <= 0.25
    return apart if apart >= 2 and regular[np.argmin(gaps)] and regular.mean() >= 0.5 else 1


def match_names(names: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find structures that are wanted under the names that a file gives them.

    Case, spaces and punctuation do not count ("Femoral_Head-L" is "femoral head l"). Every wanted name is a synonym of
    its own. If several names of the file fit, the one that is written exactly as the wanted name or else as a synonym,
    the first of them before the later ones, is taken.

    Args:
        names: of the file.
        synonyms: for each wanted name the others that it may have.

    Returns:
        the file's name for each wanted name; those that are not there are left out.

    Raises:
        InputError: several names fit one that is wanted, none of them exactly; a name is there twice; or it fits two
            that are wanted.
    """
    found: dict[str, str] = {}
    for wanted, others in synonyms.items():
        accepted = [wanted, *others]
        plain = {_plain(name) for name in accepted} - {""}
        fitting = [name for name in names if _plain(name) in plain]
        exact = next((name for name in accepted if name in fitting), None)
        chosen = [name for name in fitting if name == exact] if exact is not None else fitting
        if len(chosen) > 1:
            listed = ", ".join(repr(name) for name in chosen)
            raise InputError(f"structure {wanted!r}: {listed} all fit; rename one, or give the one that is meant")
        if chosen:
            found[wanted] = chosen[0]
    for wanted, name in found.items():
        rivals = [other for other, its in found.items() if its == name and other != wanted]
        if rivals:
            raise InputError(f"structure {name!r} fits {wanted!r} and {rivals[0]!r}; take it from the synonyms of one")
    return found


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
