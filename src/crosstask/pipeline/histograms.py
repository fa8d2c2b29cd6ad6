"""Dose-volume histograms of the structures of a plan: read, sampled, written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crosstask.csv_cells import csv_text
from crosstask.errors import InputError
from crosstask.files import write_atomically, writing
from crosstask.functional.dvh import MM3_IN_CC, Dvh, Metric
from crosstask.functional.structure_samples import Ends, dvh_of_contours, dvh_of_mask, plane_spacing
from crosstask.geometry import Geometry
from crosstask.io.dicom.rt import read_dose
from crosstask.io.dicom.structures import CLOSED, Structure, read_structures
from crosstask.io.image_files import VOLUME_ENDINGS, ending
from crosstask.io.volumes import read_volume
from crosstask.pipeline.listener import Listener
from crosstask.report.dvh import dvh_plot

_CURVE_STEP = 0.1
_FEW_VOXELS = 20


@dataclass(frozen=True)
class Plan:
    """A dose on its grid."""

    path: Path
    dose: np.ndarray
    geometry: Geometry
    frame_of_reference: str
    notes: tuple[str, ...]

    @property
    def pitch(self) -> float:
        return min(self.geometry.spacing)


@dataclass(frozen=True)
class Measured:
    """A structure whose histogram can be computed; it is a ValueError where there is none."""

    name: str
    histogram: Callable[[Plan], Dvh]
    copies: int = 0


def read_plan(path: Path) -> Plan:
    """A dose, of an RTDOSE file or a volume in Gy.

    Raises:
        InputError: it cannot be read, or is no dose.
    """
    if _is_volume(path):
        values, geometry = _read_volume(path)
        if (values < 0).any():
            raise InputError(f"{path}: holds values below 0, so it is no dose; give a dose in Gy")
        return Plan(path, values.astype(np.float32), geometry, "", ())
    dose = read_dose(path)
    part = f"the dose is of one {dose.summation or 'unknown part'}, not of the whole PLAN"
    notes = () if dose.summation in ("PLAN", "MULTI_PLAN") else (part,)
    return Plan(path, dose.dose, dose.geometry, dose.frame_of_reference, notes)


def _is_volume(path: Path) -> bool:
    return ending(path) in VOLUME_ENDINGS


def _read_volume(path: Path) -> tuple[np.ndarray, Geometry]:
    """A volume on its grid, turned as the file says, oblique ones too."""
    values, geometry, header = read_volume(path)
    cosines = np.array(header["direction"].split(), dtype=float).reshape(3, 3)
    return values, replace(geometry, direction=tuple(map(tuple, cosines.T[::-1, ::-1].tolist())))


def structures_of(path: Path, plan: Plan, wanted: Sequence[str], ends: Ends | None) -> list[Measured]:
    """The structures that are wanted, in the order of the file; all of them if none is named."""
    masks = path.is_dir() or _is_volume(path)
    if masks and ends is not None:
        raise InputError(f"--ends: {path} holds masks, which have no contours; leave it out, or give an RTSTRUCT")
    found = _from_masks(path) if masks else _from_contours(path, plan, ends or "half")
    names = [structure.name for structure in found]
    for name in wanted:
        if name not in names:
            raise InputError(f"--structure: {path} has no {name!r}; it has {', '.join(names) or 'none'}")
    return [structure for structure in found if structure.name in (wanted or names)]


def _from_masks(path: Path) -> list[Measured]:
    files = sorted(file for file in path.iterdir() if _is_volume(file)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no mask in this folder (.nii, .nii.gz, .mha, .mhd, .nrrd); give one a structure")
    return [_mask_of(file) for file in files]


def _mask_of(file: Path) -> Measured:
    def histogram(plan: Plan) -> Dvh:
        values, geometry = _read_volume(file)
        return dvh_of_mask(
            _shares(file, values),
            geometry.spacing,
            plan.dose,
            lambda indices: plan.geometry.indices(geometry.points(indices)),
            pitch=plan.pitch,
        )

    return Measured(file.name[: -len(ending(file))], histogram)


def _shares(file: Path, values: np.ndarray) -> np.ndarray:
    """Occupancies of a mask: 0 to 1, or one other number for inside."""
    if not (np.isfinite(values).all() and values.min() >= 0):
        raise InputError(f"{file}: a mask holds 0 outside and 1 inside, and shares between at most; save it so")
    if values.max() <= 1:
        return values
    levels = np.unique(values[values > 0])
    if len(levels) > 1:
        raise InputError(f"{file}: holds several labels ({levels[0]:g}, {levels[1]:g}); give one mask a structure")
    return values > 0


def _from_contours(path: Path, plan: Plan, ends: Ends) -> list[Measured]:
    structures = read_structures(path)
    own = structures.frame_of_reference
    if own and plan.frame_of_reference and own != plan.frame_of_reference:
        raise InputError(
            f"{path}: has another frame of reference than {plan.path}; give dose and structures of one plan"
        )
    drawn = {
        structure.number: [contour.points for contour in structure.contours if contour.kind in CLOSED]
        for structure in structures.structures
    }
    thickness = _thickness(list(drawn.values()), plan.geometry)

    def of(structure: Structure) -> Measured:
        def histogram(plan: Plan) -> Dvh:
            to_indices, contours = plan.geometry.indices, drawn[structure.number]
            return dvh_of_contours(contours, plan.dose, to_indices, pitch=plan.pitch, thickness=thickness, ends=ends)

        return Measured(structure.name, histogram, structure.copies)

    return [of(structure) for structure in structures.structures]


def _thickness(structures: Sequence[Sequence[np.ndarray]], geometry: Geometry) -> float:
    """Of a structure on a single plane: as the planes of the other structures lie, else as those of the dose."""
    found = []
    for contours in structures:
        try:
            spacing = plane_spacing(contours)
        except ValueError:  # it is said where its histogram is computed
            continue
        if spacing is not None:
            found.append(spacing)
    return min(found, default=geometry.spacing[0])


def histograms_of(plan: Plan, structures: Sequence[Measured], listener: Listener) -> tuple[dict[str, Dvh], list[str]]:
    """Histograms by name (a name that a file has twice is numbered), and what is to be said of structures."""
    histograms: dict[str, Dvh] = {}
    notes: list[str] = []
    with listener.progress("Sampling") as progress:
        for done, structure in enumerate(structures, 1):
            try:
                histogram = structure.histogram(plan)
            except ValueError as error:
                notes.append(f"{structure.name}: no figures, {error}")
            else:
                name = _unlike(structure.name, histograms)
                histograms[name] = histogram
                notes += [f"{name}: {note}" for note in _notes(histogram, plan.geometry)]
                if structure.copies:
                    notes.append(f"{name}: contours that the file holds more than once count once ({structure.copies})")
            progress(done, len(structures), structure.name)
    return histograms, notes


def _unlike(name: str, others: Mapping[str, Dvh]) -> str:
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(found for found in itertools.chain([name], numbered) if found not in others)


def _notes(histogram: Dvh, geometry: Geometry) -> Iterator[str]:
    if histogram.share_outside > 0.001:
        yield (
            f"{histogram.share_outside:.1%} of it lies outside of the dose grid; doses and V are of the part inside, "
            f"{histogram.volume:.2f} cc"
        )
    voxels = (histogram.volume + histogram.outside) * MM3_IN_CC / geometry.voxel_volume
    if voxels < _FEW_VOXELS:
        yield f"as large as {voxels:.1f} voxels of the dose grid, so its figures are uncertain"


def write_histograms(
    folder: Path, histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None
) -> None:
    """Write curves, figures and a picture into a folder.

    Raises:
        CrosstaskError: it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "dvh.csv", csv_text([("structure", "dose_gy", "volume_percent"), *_curves(histograms)]))
    rows = _figures(histograms, figures, prescription)
    write_atomically(folder / "dvh_metrics.csv", csv_text([("structure", "figure", "value", "unit"), *rows]))
    write_atomically(folder / "dvh.png", dvh_plot(histograms, prescription=prescription))


def _curves(histograms: Mapping[str, Dvh]) -> Iterator[Sequence[str]]:
    """Every curve from 0 Gy to the first dose that nothing receives."""
    for name, histogram in histograms.items():
        doses = np.arange(int(histogram.maximum / _CURVE_STEP) + 2) * _CURVE_STEP
        for dose, percent in zip(doses, histogram.curve(doses), strict=True):
            yield name, f"{dose:.1f}", f"{percent:.4f}"


def _figures(
    histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None
) -> Iterator[Sequence[str]]:
    for name, histogram in histograms.items():
        yield name, "volume", f"{histogram.volume + histogram.outside:.6g}", "cc"
        yield name, "outside_dose_grid", f"{100 * histogram.share_outside:.4g}", "%"
        for figure in figures:
            yield name, figure.name, f"{figure.of(histogram, prescription):.6g}", figure.unit
