"""Synthetic DICOM RT: CT series, structure sets, doses and plans of known geometry, written with pydicom alone.

:func:`write_patient` makes a whole prostate patient and returns what a reader must find. The writers below it take any
array on any :class:`Placement` and a ``change`` that is called with each dataset before it is saved, for files with
traps in them. All vectors here are in DICOM's own order x y z; only ``Placement.geometry`` is z y x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.measure import grid_points_in_poly

from crosstask.geometry import Geometry

CT, RTSTRUCT, RTDOSE, RTPLAN = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.481.5",
)
CONTOUR_DATA = Tag("ContourData")
PATIENT_NAME, BIRTH_DATE = "Secret^Person", "19450607"
"""Must never be found in a message."""

_TILT = np.deg2rad(30)
ORIENTATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], str]] = {
    "supine": ((1, 0, 0), (0, 1, 0), "HFS"),
    "prone": ((-1, 0, 0), (0, -1, 0), "HFP"),
    "feet first": ((-1, 0, 0), (0, 1, 0), "FFS"),
    "sagittal": ((0, 1, 0), (0, 0, -1), "HFS"),
    "oblique": (
        (np.cos(_TILT), np.sin(_TILT), 0),
        (-np.sin(_TILT) * np.cos(_TILT), np.cos(_TILT) ** 2, np.sin(_TILT)),
        "HFS",
    ),
}
"""Direction of the rows, of the columns, and the patient position, by name."""

Change = Callable[[Dataset], Any]


def _unchanged(dataset: Dataset) -> None:
    pass


@dataclass(frozen=True)
class Placement:
    """Where an array lies.

    Attributes:
        spacing: of slices, rows, columns, in mm.
        corner: x y z of voxel (0, 0, 0), in mm.
        orientation: a key of ``ORIENTATIONS``.
    """

    spacing: tuple[float, float, float] = (5.0, 6.0, 8.0)
    corner: tuple[float, float, float] = (-188.0, -141.0, -57.5)
    orientation: str = "supine"

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors along slices, rows down and columns, ``3 3``, each x y z."""
        along, down = (np.array(vector, float) for vector in ORIENTATIONS[self.orientation][:2])
        return np.stack([np.cross(along, down), down, along])

    def points(self, indices: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """x y z of ``n 3`` indices (slice, row, column)."""
        return np.asarray(self.corner) + (np.asarray(indices, float) * self.spacing) @ self.axes

    def indices(self, points: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`points`."""
        return (np.asarray(points) - self.corner) @ self.axes.T / self.spacing

    def geometry(self, shape: tuple[int, int, int]) -> Geometry:
        """What a reader should make of it."""
        return Geometry(
            shape=shape,
            spacing=self.spacing,
            origin=self.corner[::-1],
            direction=tuple(tuple(vector[::-1]) for vector in self.axes.tolist()),
        )


@dataclass(frozen=True)
class Identity:
    """Unique identifiers of a patient's files, made of a seed."""

    seed: int = 0

    @property
    def patient_id(self) -> str:
        return f"fake-{self.seed:03d}"

    def uid(self, *parts: object) -> str:
        """The identifier of anything: ``"study"``, ``"frame"``, ``"series", "CT"``, ``"RTPLAN"``, ``"CT", 3``."""
        return generate_uid(entropy_srcs=[str(self.seed), *map(str, parts)])


@dataclass(frozen=True)
class FakePatient:
    """What :func:`write_patient` wrote.

    Attributes:
        folder: of all files.
        identity: the identifiers: patient_id, and ``uid("study")``, ``uid("frame")``, ``uid("series", "CT")``,
            ``uid("RTSTRUCT")``, ``uid("RTDOSE")``, ``uid("RTPLAN")``, ``uid("CT", k)`` of slice k.
        hu: CT, ``z y x``, int16.
        masks: structures on the CT's grid by name, bool.
        dose: Gy on the dose's own grid, float64.
        geometry, dose_geometry: the two grids.
        prescription, fractions: of the plan.
        files: paths by modality; those of the CT in slice order.
    """

    folder: Path
    identity: Identity
    hu: np.ndarray
    masks: Mapping[str, np.ndarray]
    dose: np.ndarray
    geometry: Geometry
    dose_geometry: Geometry
    prescription: float
    fractions: int
    files: Mapping[str, list[Path]] = field(repr=False)


STRUCTURES = ("Body", "Bladder", "Rectum", "Femoral_Head_L", "Femoral_Head_R", "CTV")
_KINDS = {"Body": "EXTERNAL", "CTV": "CTV"}
_HU = {"Body": 40, "Bladder": 8, "Rectum": 30, "Femoral_Head_L": 650, "Femoral_Head_R": 640, "CTV": 45}


def write_patient(
    folder: Path,
    *,
    seed: int = 0,
    shape: tuple[int, int, int] = (24, 48, 48),
    spacing: tuple[float, float, float] = (5.0, 6.0, 8.0),
    orientation: str = "supine",
    prescription: float = 60.0,
    fractions: int = 20,
    names: Mapping[str, str] | None = None,
    clutter: bool = True,
) -> FakePatient:
    """Write a synthetic prostate patient: CT, RTSTRUCT, RTDOSE and RTPLAN in mixed subfolders under odd names.

    The anatomy is made of ellipses whose sizes and places vary with the seed. Structures are contoured on each slice.
    The dose is the prescription within the CTV and a margin and falls off outside; its grid is smaller than the CT's,
    off it, and of other spacing.

    Args:
        folder: made if missing.
        seed: anatomy, identifiers and names of the files.
        shape: slices, rows, columns of the CT.
        spacing: of them, in mm.
        orientation: key of ``ORIENTATIONS``. The anatomy keeps its place in the array, so beyond "supine" the words
            left and front are no longer true.
        prescription, fractions: of the plan; dose in Gy.
        names: what the file calls the structures, by their names here (``STRUCTURES``); default as they are.
        clutter: put files that are no DICOM between the others.
    """
    rng = np.random.default_rng(seed)
    who = Identity(seed)
    extent = np.multiply(shape, spacing)
    axes = Placement(orientation=orientation).axes
    centre = rng.uniform(-20, 20, 3).round(2)
    corner = tuple((centre - (np.subtract(shape, 1) / 2 * spacing) @ axes).round(3).tolist())
    placement = Placement(spacing, corner, orientation)  # type: ignore[arg-type]
    ellipses = _anatomy(rng, shape, spacing)
    planes = {name: _outlines(ellipses[name], shape[0]) for name in STRUCTURES}
    masks = {name: _mask(planes[name], shape) for name in STRUCTURES}
    hu = np.full(shape, -1000, np.int16)
    for name in STRUCTURES:
        hu[masks[name]] = _HU[name]
    hu[masks["Body"]] += np.rint(rng.normal(0, 12, int(masks["Body"].sum()))).astype(np.int16)

    dose_spacing = (4.0, 7.0, 7.5)
    dose_shape = tuple(max(2, round(0.8 * length / step)) for length, step in zip(extent, dose_spacing, strict=True))
    dose_corner = (centre - (np.subtract(dose_shape, 1) / 2 * dose_spacing) @ axes + rng.uniform(-1, 1, 3)).round(3)
    dose_placement = Placement(dose_spacing, tuple(dose_corner.tolist()), orientation)  # type: ignore[arg-type]
    grid = np.stack(np.meshgrid(*map(np.arange, dose_shape), indexing="ij"), -1).reshape(-1, 3)
    away = _distance(ellipses["CTV"], placement.indices(dose_placement.points(grid))).reshape(dose_shape)
    dose = prescription * (1.02 * np.exp(-np.maximum(away - 1.3, 0) / 1.5)) * rng.uniform(0.995, 1.005, dose_shape)

    places = _odd_places(rng, folder, shape[0] + 3)
    files = {
        "CT": write_ct(places[: shape[0]], hu, placement, who),
        "RTSTRUCT": [places[shape[0]]],
        "RTDOSE": [places[shape[0] + 1]],
        "RTPLAN": [places[shape[0] + 2]],
    }
    contours = {
        (names or {}).get(name, name): [
            placement.points(np.insert(line, 0, number, axis=1)) for number, line in planes[name].items()
        ]
        for name in STRUCTURES
    }
    kinds = {(names or {}).get(name, name): kind for name, kind in _KINDS.items()}
    write_structures(files["RTSTRUCT"][0], contours, who, kinds=kinds, slices=shape[0])
    write_dose(files["RTDOSE"][0], dose, dose_placement, who)
    write_plan(files["RTPLAN"][0], who, prescription=prescription, fractions=fractions)
    if clutter:
        (folder / "notes.txt").write_text("no DICOM\n")
        (folder / "empty.dcm").write_bytes(b"")
    return FakePatient(
        folder=folder,
        identity=who,
        hu=hu,
        masks=masks,
        dose=dose,
        geometry=placement.geometry(shape),
        dose_geometry=dose_placement.geometry(dose_shape),  # type: ignore[arg-type]
        prescription=prescription,
        fractions=fractions,
        files=files,
    )


def write_ct(
    places: Path | Sequence[Path],
    hu: np.ndarray,
    placement: Placement,
    who: Identity,
    *,
    slope: float = 1.0,
    intercept: float = -1024.0,
    signed: bool = False,
    change: Callable[[int, Dataset], Any] | None = None,
) -> list[Path]:
    """Write a CT series and return its paths in slice order.

    Args:
        places: a folder (files are called CT000.dcm and so on), or one path a slice.
        hu: ``z y x``.
        placement: where it lies.
        who: identifiers.
        slope, intercept: HU are the stored values times slope plus intercept.
        signed: the stored values are signed.
        change: called with the number of a slice and its dataset before that is saved.
    """
    paths = [places / f"CT{number:03d}.dcm" for number in range(len(hu))] if isinstance(places, Path) else list(places)
    kind = np.dtype("<i2" if signed else "<u2")
    stored = np.rint((hu - intercept) / slope)
    assert stored.min() >= np.iinfo(kind).min and stored.max() <= np.iinfo(kind).max, "HU do not fit"
    for number, path in enumerate(paths):
        dataset = _dataset(CT, who.uid("CT", number), "CT", who)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.BodyPartExamined = "PELVIS"
        dataset.PatientPosition = ORIENTATIONS[placement.orientation][2]
        dataset.FrameOfReferenceUID = who.uid("frame")
        dataset.PositionReferenceIndicator = ""
        dataset.InstanceNumber = str(len(hu) - number)  # against the order of positions
        dataset.AcquisitionNumber = "1"
        dataset.SliceThickness = _ds(placement.spacing[0])
        dataset.KVP = "120"
        dataset.ImagePositionPatient = _ds(placement.points([[number, 0, 0]])[0])
        dataset.ImageOrientationPatient = _ds(placement.axes[[2, 1]].ravel())
        dataset.PixelSpacing = _ds(placement.spacing[1:])
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = _ds(slope), _ds(intercept), "HU"
        _pixels(dataset, stored[number].astype(kind), 16)
        if change is not None:
            change(number, dataset)
        _save(dataset, path)
    return paths


def write_structures(
    path: Path,
    contours: Mapping[str, Sequence[np.ndarray]],
    who: Identity,
    *,
    kinds: Mapping[str, str] | None = None,
    slices: int = 0,
    change: Change = _unchanged,
) -> Path:
    """Write a structure set.

    Args:
        path: the file.
        contours: for each structure's name its contours, ``n 3`` x y z in mm.
        who: identifiers.
        kinds: RTROIInterpretedType by name, ORGAN by default.
        slices: how many CT slices (``who.uid("CT", k)``) the file refers to.
        change: called with the dataset before it is saved.
    """
    dataset = _dataset(RTSTRUCT, who.uid("RTSTRUCT"), "RTSTRUCT", who)
    dataset.StructureSetLabel = "Fake"
    dataset.StructureSetDate, dataset.StructureSetTime = "20240102", "101112"
    image = [_item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=who.uid("CT", k)) for k in range(slices)]
    series = _item(SeriesInstanceUID=who.uid("series", "CT"), ContourImageSequence=Items(image))
    visit = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=who.uid("study"),
        RTReferencedSeriesSequence=Items([series]),
    )
    frame = _item(FrameOfReferenceUID=who.uid("frame"), RTReferencedStudySequence=Items([visit]))
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])
    names, drawn, observed = [], [], []
    for number, (name, lines) in enumerate(contours.items(), 1):
        names.append(
            _item(
                ROINumber=str(number),
                ReferencedFrameOfReferenceUID=who.uid("frame"),
                ROIName=name,
                ROIGenerationAlgorithm="MANUAL",
            )
        )
        parts = [_contour(np.asarray(line)) for line in lines]
        drawn.append(
            _item(
                ROIDisplayColor=[str(40 * number % 256), "100", str(255 - number)],
                ReferencedROINumber=str(number),
                ContourSequence=Items(parts),
            )
        )
        kind = (kinds or {}).get(name, "ORGAN")
        observed.append(
            _item(
                ObservationNumber=str(number),
                ReferencedROINumber=str(number),
                RTROIInterpretedType=kind,
                ROIInterpreter="",
            )
        )
    dataset.StructureSetROISequence = Items(names)
    dataset.ROIContourSequence = Items(drawn)
    dataset.RTROIObservationsSequence = Items(observed)
    dataset.ApprovalStatus = "UNAPPROVED"
    change(dataset)
    return _save(dataset, path)


def write_dose(
    path: Path,
    dose: np.ndarray,
    placement: Placement,
    who: Identity,
    *,
    bits: int = 16,
    offsets: str = "relative",
    change: Change = _unchanged,
) -> Path:
    """Write a dose.

    Args:
        path: the file.
        dose: Gy, ``z y x``, along the normal of the placement.
        placement: where it lies.
        who: identifiers.
        bits: of a stored value, 16 or 32.
        offsets: "relative" (the first is zero), "absolute" (z of the patient; transverse planes only), or either with
            "falling" before it: frames in the other order, so the offsets run against the normal.
        change: called with the dataset before it is saved.
    """
    dataset = _dataset(RTDOSE, who.uid("RTDOSE"), "RTDOSE", who)
    scaling = float(_ds(max(float(dose.max()), 1e-3) / (2**bits - 1) * (1 + 1e-9)))
    stored = np.minimum(np.rint(dose / scaling), 2**bits - 1).astype(f"<u{bits // 8}")
    steps = np.arange(len(dose)) * placement.spacing[0]
    first = 0
    if "falling" in offsets:
        stored, first, steps = stored[::-1], len(dose) - 1, -steps
    corner = placement.points([[first, 0, 0]])[0]
    if "absolute" in offsets:
        steps = corner[2] + steps * placement.axes[0, 2]
    dataset.FrameOfReferenceUID = who.uid("frame")
    dataset.PositionReferenceIndicator = ""
    dataset.ImagePositionPatient = _ds(corner)
    dataset.ImageOrientationPatient = _ds(placement.axes[[2, 1]].ravel())
    dataset.PixelSpacing = _ds(placement.spacing[1:])
    dataset.SliceThickness = _ds(placement.spacing[0])
    dataset.InstanceNumber = "1"
    dataset.NumberOfFrames = str(len(dose))
    dataset.FrameIncrementPointer = 0x3004000C
    dataset.GridFrameOffsetVector = _ds(steps)
    dataset.DoseUnits, dataset.DoseType, dataset.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dataset.DoseGridScaling = _ds(scaling)
    plan = _item(ReferencedSOPClassUID=RTPLAN, ReferencedSOPInstanceUID=who.uid("RTPLAN"))
    dataset.ReferencedRTPlanSequence = Items([plan])
    _pixels(dataset, stored, bits)
    change(dataset)
    return _save(dataset, path)


def write_plan(
    path: Path,
    who: Identity,
    *,
    prescription: float | None = 60.0,
    fractions: int | None = 20,
    change: Change = _unchanged,
) -> Path:
    """Write a plan without beams: prescription in Gy and number of fractions, either of them left out if None."""
    dataset = _dataset(RTPLAN, who.uid("RTPLAN"), "RTPLAN", who)
    dataset.FrameOfReferenceUID = who.uid("frame")
    dataset.PositionReferenceIndicator = ""
    dataset.RTPlanLabel = "Fake"
    dataset.RTPlanDate, dataset.RTPlanTime = "20240102", "101112"
    dataset.RTPlanGeometry = "PATIENT"
    target = _item(
        DoseReferenceNumber="1",
        DoseReferenceStructureType="VOLUME",
        DoseReferenceType="TARGET",
        ReferencedROINumber="6",
    )
    if prescription is not None:
        target.TargetPrescriptionDose = _ds(prescription)
    dataset.DoseReferenceSequence = Items([target])
    group = _item(FractionGroupNumber="1", NumberOfBeams="0", NumberOfBrachyApplicationSetups="0")
    if fractions is not None:
        group.NumberOfFractionsPlanned = str(fractions)
    dataset.FractionGroupSequence = Items([group])
    structures = _item(ReferencedSOPClassUID=RTSTRUCT, ReferencedSOPInstanceUID=who.uid("RTSTRUCT"))
    dataset.ReferencedStructureSetSequence = Items([structures])
    dataset.ApprovalStatus = "UNAPPROVED"
    change(dataset)
    return _save(dataset, path)


def _dataset(sop_class: str, sop_instance: str, modality: str, who: Identity) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, sop_instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop_class, sop_instance, modality
    dataset.PatientName, dataset.PatientBirthDate = PATIENT_NAME, BIRTH_DATE
    dataset.PatientID, dataset.PatientSex = who.patient_id, "M"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = who.uid("study"), who.uid("series", modality)
    dataset.StudyID, dataset.SeriesNumber = "1", "1"
    dataset.StudyDate, dataset.StudyTime = "20240102", "101112"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Manufacturer, dataset.ManufacturerModelName = "Fake", "Fake"
    if modality != "CT":
        dataset.OperatorsName = ""
    return dataset


def _contour(line: np.ndarray) -> Dataset:
    item = _item(
        ContourGeometricType="CLOSED_PLANAR" if len(line) > 1 else "POINT", NumberOfContourPoints=str(len(line))
    )
    text = "\\".join(_ds(line.ravel(), 6)).encode()
    text += b" " * (len(text) % 2)
    # As it stands in a file: pydicom's objects, one a number, would take most of the time of writing a patient.
    item[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(text), text, 0, False, True)
    return item


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _pixels(dataset: Dataset, stored: np.ndarray, bits: int) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()


def _ds(values: Any, digits: int = 9) -> Any:
    """Numbers as decimal strings, at most 16 characters each."""
    if np.ndim(values) == 0:
        return next(text for cut in range(12, 3, -1) if len(text := f"{float(values):.{cut}g}") <= 16)
    return [f"{value:.{digits}f}"[:16] for value in np.asarray(values, float).ravel() + 0.0]


def _save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _odd_places(rng: np.random.Generator, folder: Path, count: int) -> list[Path]:
    """Paths in several folders, in no order, with any ending or none."""
    endings = ("", ".dcm", ".IMA", ".bin", ".1")
    folders = ("", "a", "a/Serie 2", "B")
    names = rng.permutation(count)
    return [
        folder
        / folders[int(rng.integers(len(folders)))]
        / f"IM{int(name):04d}{endings[int(rng.integers(len(endings)))]}"
        for name in names
    ]


Ellipses = tuple[np.ndarray, np.ndarray]
"""Centre and half axes along slice, row and column, in voxels; an endless half axis makes a cylinder."""


def _anatomy(rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]) -> dict[str, Ellipses]:
    def ellipse(centre: Sequence[float], half: Sequence[float]) -> Ellipses:
        """From mm off the middle, and half axes in shares of the extent, both of them varied."""
        place = (np.subtract(shape, 1) / 2) + (np.array(centre) + rng.uniform(-2, 2, 3)) * extent / np.array(
            spacing
        ) / 100
        return place, np.array(half) * rng.uniform(0.93, 1.07, 3) * extent / np.array(spacing)

    extent = np.multiply(shape, spacing)
    endless = np.inf
    return {
        "Body": ellipse((0, 0, 0), (endless, 0.38, 0.42)),
        "Bladder": ellipse((18, -12, 0), (0.22, 0.10, 0.10)),
        "Rectum": ellipse((0, 17, 0), (0.42, 0.065, 0.06)),
        "Femoral_Head_L": ellipse((2, 2, 25), (0.2, 0.085, 0.065)),
        "Femoral_Head_R": ellipse((2, 2, -25), (0.2, 0.085, 0.065)),
        "CTV": ellipse((-8, 1, 0), (0.2, 0.085, 0.075)),
    }


def _distance(ellipse: Ellipses, indices: np.ndarray) -> np.ndarray:
    """Of ``... 3`` indices from the centre, in half axes: 1 on the surface."""
    return np.asarray(np.sqrt((((indices - ellipse[0]) / ellipse[1]) ** 2).sum(-1)))


def _outlines(ellipse: Ellipses, slices: int) -> dict[int, np.ndarray]:
    """One polygon on each slice that an ellipse reaches, ``n 2`` of row and column."""
    centre, half = ellipse
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    circle = np.stack([np.sin(angles), np.cos(angles)], 1)
    left = 1 - ((np.arange(slices) - centre[0]) / half[0]) ** 2
    return {
        number: centre[1:] + np.sqrt(left[number]) * half[1:] * circle for number in range(slices) if left[number] > 0
    }


def _mask(outlines: Mapping[int, np.ndarray], shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels whose centres lie inside, found by another program than the one under test."""
    mask = np.zeros(shape, bool)
    for number, outline in outlines.items():
        mask[number] = grid_points_in_poly(shape[1:], outline)
    return mask


def compress_losslessly(dataset: Dataset, folder: Path) -> None:
    """Make a dataset's pixels of one frame lossless JPEG of process 14, selection value 1, as many archives do.

    Args:
        dataset: with 16 bits a pixel.
        folder: for a file on the way: GDCM, which compresses, wants one.
    """
    import SimpleITK as sitk  # noqa: N813
    from pydicom import dcmread

    path = folder / f"{generate_uid()}.dcm"
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    stored = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    writer.Execute(sitk.GetImageFromArray(stored))
    made = dcmread(path)
    path.unlink()
    dataset.file_meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
    dataset.PixelData = made.PixelData
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
