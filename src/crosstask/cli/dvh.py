"""``crosstask dvh``: dose-volume histograms of the structures of a plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.markup import escape
from rich.table import Table

from crosstask.cli.terminal import out, progress_bar
from crosstask.csv_cells import csv_text
from crosstask.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from crosstask.functional.dvh import Dvh, Metric
    from crosstask.functional.structure_samples import Ends
    from crosstask.geometry import Geometry

FIGURES = ("min", "mean", "max", "D99%", "D95%", "D50%", "D2%", "D0.1cc")
"""Figures that are always given."""
_CURVE_STEP = 0.1
_FEW_VOXELS = 20
_LONGEST_NAME = 24
"""Longer ones are broken into lines."""
_FRAME = 3
"""Characters of a table's column besides its text."""


def dvh(
    dose: Annotated[
        Path, typer.Argument(help="RTDOSE file, or a dose in Gy as .nii, .nii.gz, .mha, .mhd or .nrrd.", metavar="DOSE")
    ],
    structures: Annotated[
        Path, typer.Argument(help="RTSTRUCT file, or a folder of masks, one volume a structure.", metavar="STRUCT")
    ],
    structure: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads annotations at run time, also on Python 3.10
        typer.Option(help="Only this structure, by its name; may be repeated."),
    ] = None,
    metric: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Also this figure: D98%, D2cc, V20Gy, V20Gycc, V95% (of the prescription); may be repeated."),
    ] = None,
    prescription: Annotated[Optional[float], typer.Option(help="Prescribed dose, in Gy.", metavar="GY")] = None,  # noqa: UP045
    ends: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Where contoured structures end: half (a plane spacing, beyond their outermost contours; default) or "
            "none (at them).",
            metavar="half|none",
        ),
    ] = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Folder for curves, figures and a picture; must be new or empty."),
    ] = None,
) -> None:
    """Dose-volume histograms of structures: volumes, doses, and the figures that are asked for."""
    from crosstask.export.output import must_be_new
    from crosstask.functional.dvh import parse_metric

    if prescription is not None and not 0 < prescription < float("inf"):
        raise InputError(f"--prescription: {prescription:g} is no dose; give it in Gy, more than 0")
    figures = {found.name: found for found in map(parse_metric, (*FIGURES, *(metric or ())))}
    for figure in figures.values():
        if figure.needs_prescription and prescription is None:
            raise InputError(f"--metric {figure.name}: is of a prescribed dose; give that with --prescription, in Gy")
    if output is not None:
        must_be_new(output)
    plan = _read_dose(dose)
    histograms, notes = _histograms(plan, _read_structures(structures, plan, structure or (), _ends(ends)))
    if not histograms:
        raise InputError(f"{structures}: no structure has a DVH; {notes[0]}")
    _print(histograms, list(figures.values()), prescription)
    for note in (*plan.notes, *notes):
        out.print(f"Note: {note}", markup=False)
    if output is not None:
        _write(output, histograms, list(figures.values()), prescription)
        out.print(f"Curves, figures and picture: {output}", markup=False)


@dataclass(frozen=True)
class _Plan:
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
class _Structure:
    """A structure whose histogram can be computed; it is a ValueError where there is none."""

    name: str
    histogram: Callable[[_Plan], Dvh]
    copies: int = 0


def _read_dose(path: Path) -> _Plan:
    import numpy as np

    if _is_volume(path):
        values, geometry = _read_volume(path)
        if (values < 0).any():
            raise InputError(f"{path}: holds values below 0, so it is no dose; give a dose in Gy")
        return _Plan(path, values.astype(np.float32), geometry, "", ())
    from crosstask.io.dicom.rt import read_dose

    dose = read_dose(path)
    part = f"the dose is of one {dose.summation or 'unknown part'}, not of the whole PLAN"
    notes = () if dose.summation in ("PLAN", "MULTI_PLAN") else (part,)
    return _Plan(path, dose.dose, dose.geometry, dose.frame_of_reference, notes)


def _is_volume(path: Path) -> bool:
    from crosstask.io.image_files import VOLUME_ENDINGS, ending

    return ending(path) in VOLUME_ENDINGS


def _read_volume(path: Path) -> tuple[np.ndarray, Geometry]:
    """A volume on its grid, turned as the file says, oblique ones too."""
    import numpy as np

    from crosstask.io.volumes import read_volume

    values, geometry, header = read_volume(path)
    cosines = np.array(header["direction"].split(), dtype=float).reshape(3, 3)
    return values, replace(geometry, direction=tuple(map(tuple, cosines.T[::-1, ::-1].tolist())))


def _ends(given: str | None) -> Ends | None:
    """What ``--ends`` says; None without it."""
    from crosstask.functional.structure_samples import ENDS

    found = next((ends for ends in ENDS if ends == given), None)
    if given is not None and found is None:
        raise InputError(f"--ends: {given!r} is not accepted; one of {', '.join(ENDS)}")
    return found


def _read_structures(path: Path, plan: _Plan, wanted: Sequence[str], ends: Ends | None) -> list[_Structure]:
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


def _from_masks(path: Path) -> list[_Structure]:
    files = sorted(file for file in path.iterdir() if _is_volume(file)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no mask in this folder (.nii, .nii.gz, .mha, .mhd, .nrrd); give one a structure")
    return [_mask_of(file) for file in files]


def _mask_of(file: Path) -> _Structure:
    from crosstask.io.image_files import ending

    def histogram(plan: _Plan) -> Dvh:
        from crosstask.functional.structure_samples import dvh_of_mask

        values, geometry = _read_volume(file)
        return dvh_of_mask(
            _shares(file, values),
            geometry.spacing,
            plan.dose,
            lambda indices: plan.geometry.indices(geometry.points(indices)),
            pitch=plan.pitch,
        )

    return _Structure(file.name[: -len(ending(file))], histogram)


def _shares(file: Path, values: np.ndarray) -> np.ndarray:
    """Occupancies of a mask: 0 to 1, or one other number for inside."""
    import numpy as np

    if not (np.isfinite(values).all() and values.min() >= 0):
        raise InputError(f"{file}: a mask holds 0 outside and 1 inside, and shares between at most; save it so")
    if values.max() <= 1:
        return values
    levels = np.unique(values[values > 0])
    if len(levels) > 1:
        raise InputError(f"{file}: holds several labels ({levels[0]:g}, {levels[1]:g}); give one mask a structure")
    return values > 0


def _from_contours(path: Path, plan: _Plan, ends: Ends) -> list[_Structure]:
    from crosstask.io.dicom.structures import CLOSED, Structure, read_structures

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

    def of(structure: Structure) -> _Structure:
        def histogram(plan: _Plan) -> Dvh:
            from crosstask.functional.structure_samples import dvh_of_contours

            to_indices, contours = plan.geometry.indices, drawn[structure.number]
            return dvh_of_contours(contours, plan.dose, to_indices, pitch=plan.pitch, thickness=thickness, ends=ends)

        return _Structure(structure.name, histogram, structure.copies)

    return [of(structure) for structure in structures.structures]


def _thickness(structures: Sequence[Sequence[np.ndarray]], geometry: Geometry) -> float:
    """Of a structure on a single plane: as the planes of the other structures lie, else as those of the dose."""
    from crosstask.functional.structure_samples import plane_spacing

    found = []
    for contours in structures:
        try:
            spacing = plane_spacing(contours)
        except ValueError:  # it is said where its histogram is computed
            continue
        if spacing is not None:
            found.append(spacing)
    return min(found, default=geometry.spacing[0])


def _histograms(plan: _Plan, structures: Sequence[_Structure]) -> tuple[dict[str, Dvh], list[str]]:
    """Histograms by name (a name that a file has twice is numbered), and what is to be said of structures."""
    histograms: dict[str, Dvh] = {}
    notes: list[str] = []
    with progress_bar("Sampling") as progress:
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
    from crosstask.functional.dvh import MM3_IN_CC

    if histogram.share_outside > 0.001:
        yield (
            f"{histogram.share_outside:.1%} of it lies outside of the dose grid; doses and V are of the part inside, "
            f"{histogram.volume:.2f} cc"
        )
    voxels = (histogram.volume + histogram.outside) * MM3_IN_CC / geometry.voxel_volume
    if voxels < _FEW_VOXELS:
        yield f"as large as {voxels:.1f} voxels of the dose grid, so its figures are uncertain"


@dataclass(frozen=True)
class _Column:
    """One figure of all structures."""

    title: str
    unit: str
    values: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.title, self.unit, *self.values))) + _FRAME


def _print(histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None) -> None:
    """One table, or several below each other where a terminal is too narrow for all figures."""
    volumes = [histogram.volume + histogram.outside for histogram in histograms.values()]
    columns = [_Column("Volume", "cc", [f"{cc:.3g}" if cc < 1 else f"{cc:.2f}" for cc in volumes])]
    for figure in figures:
        values = [f"{figure.of(histogram, prescription):.2f}" for histogram in histograms.values()]
        columns.append(_Column(figure.name, figure.unit, values))
    longest = max(len("Structure"), min(max(map(len, histograms)), _LONGEST_NAME))
    for batch in _batches(columns, out.width - longest - _FRAME - 1):
        table = Table()
        table.add_column("Structure", overflow="fold", max_width=longest)
        for column in batch:
            table.add_column(f"{column.title}\n{column.unit}", justify="right", no_wrap=True)
        for name, *values in zip(histograms, *(column.values for column in batch), strict=True):
            table.add_row(escape(name), *values)
        out.print(table)


def _batches(columns: Sequence[_Column], room: int) -> list[list[_Column]]:
    """Columns that fit beside each other, at least one at a time."""
    batches: list[list[_Column]] = [[]]
    for column in columns:
        if batches[-1] and sum(each.width for each in (*batches[-1], column)) > room:
            batches.append([])
        batches[-1].append(column)
    return batches


def _write(folder: Path, histograms: Mapping[str, Dvh], figures: Sequence[Metric], prescription: float | None) -> None:
    from crosstask.files import write_atomically, writing
    from crosstask.report.dvh import dvh_plot

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "dvh.csv", csv_text([("structure", "dose_gy", "volume_percent"), *_curves(histograms)]))
    rows = _figures(histograms, figures, prescription)
    write_atomically(folder / "dvh_metrics.csv", csv_text([("structure", "figure", "value", "unit"), *rows]))
    write_atomically(folder / "dvh.png", dvh_plot(histograms, prescription=prescription))


def _curves(histograms: Mapping[str, Dvh]) -> Iterator[Sequence[str]]:
    """Every curve from 0 Gy to the first dose that nothing receives."""
    import numpy as np

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
