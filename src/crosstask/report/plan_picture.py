"""One page on one plan: its anatomy, its dose, its histograms and their figures."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosstask.functional.contours import outlines
from crosstask.functional.dice import dice
from crosstask.functional.dvh import MM3_IN_CC, Dvh, parse_metric
from crosstask.functional.structure_samples import dvh_of_mask
from crosstask.geometry import Geometry
from crosstask.report.drawing import WRONG
from crosstask.report.dvh import Colour, colours_of, draw_dvh, shortened

WARNING = "predicted, not for clinical use"
_PAGE = (11.69, 8.27)
"""A4, landscape, in inches."""
_WINDOW = (-160.0, 240.0)
"""Soft tissue, in HU."""
_AIR = -500.0
_MARGIN = 8.0
"""Around what is shown of the CT, in mm."""
_LETTERS = ("IS", "AP", "RL")
"""What lies towards lower and towards higher z, y and x of DICOM's LPS."""
_PLANES = {"axial": (0, (1, 1), (2, 1)), "coronal": (1, (0, -1), (2, 1)), "sagittal": (2, (0, -1), (1, 1))}
"""Of each plane the axis of space across it, and axis and sign of its rows downward and its columns to the right."""
_SLANTED = 0.26
"""Part of a unit vector from which its letter is shown: an axis more than 15 degrees off."""
_HOT = 0.95
_PAINTED = 0.1
"""Share of the highest dose from which it is painted."""
_SPOTS = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)
"""Where the letters of a plane's sides stand: left, right, upper, lower."""
_MOST_ROWS = 13
_Column = tuple[str, Mapping[str, str]]
"""Head of a column, and its cells by structure."""
_VIEWS = (0.03, 0.47, 0.88, 0.45)
"""Room of the planes on the page: left, bottom, width, height."""


@dataclass(frozen=True)
class _View:
    """A plane of the array, turned as it is looked at.

    Attributes:
        name: axial, coronal or sagittal.
        across, at: the array's axis across the plane, and the index along it.
        rows, columns: the array's axes downward and to the right.
        flips: whether rows and columns run against these axes.
        sides: letters at the left, right, upper and lower side.
    """

    name: str
    across: int
    at: int
    rows: int
    columns: int
    flips: tuple[bool, bool]
    sides: tuple[str, str, str, str]

    def of(self, volume: np.ndarray) -> np.ndarray:
        """The plane of a volume."""
        plane = np.take(volume, self.at, axis=self.across)
        plane = plane if self.rows < self.columns else plane.T
        return plane[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]

    def size(self, geometry: Geometry) -> tuple[float, float]:
        """Height and width, in mm."""
        height, width = (geometry.shape[axis] * geometry.spacing[axis] for axis in (self.rows, self.columns))
        return height, width


@dataclass(frozen=True)
class _Side:
    """The predicted or the reference's side of a page: structures, and the dose if there is one."""

    masks: Mapping[str, np.ndarray]
    dose: np.ndarray | None

    def histograms(self, geometry: Geometry) -> dict[str, Dvh]:
        """Of the structures that are not empty."""
        if self.dose is None:
            return {}
        return {
            name: dvh_of_mask(mask, geometry.spacing, self.dose, pitch=min(geometry.spacing))
            for name, mask in self.masks.items()
            if mask.any()
        }


def plan_picture(
    hu: np.ndarray,
    geometry: Geometry,
    masks: Mapping[str, np.ndarray],
    dose: np.ndarray | None = None,
    *,
    title: str,
    reference_masks: Mapping[str, np.ndarray] | None = None,
    reference_dose: np.ndarray | None = None,
    prescription: float | None = None,
) -> bytes:
    """A page that shows a plan in three planes, its histograms and figures.

    The planes meet in the middle of the highest doses; without a dose in the middle of the target (a name with PTV, CTV
    or GTV in it), or of the first structure. They are planes of the array, in true proportions and one scale, with the
    letters of the directions in which its axes run: an oblique volume is shown as it was scanned, not resampled, with
    two letters a side. The patient's right is on the left of axial and coronal planes, the front on the left of
    sagittal ones.

    With a reference, its lines are solid and those of the prediction dashed, in planes and histograms. The reference
    takes the structures, or the dose, that it does not have of its own from the prediction. The painted dose is the
    predicted one.

    Args:
        hu: CT, ``z y x`` of the array, in HU.
        geometry: its grid; that of all arrays.
        masks: structures by name, bool.
        dose: in Gy. Without one there is no wash and no histogram.
        title: of the page.
        reference_masks: structures to compare with.
        reference_dose: dose to compare with, in Gy.
        prescription: prescribed dose, in Gy.

    Returns:
        a PNG of one A4 page, landscape.

    Raises:
        ValueError: arrays and grid differ in shape.
    """
    from matplotlib.figure import Figure

    predicted = _Side(masks, dose)
    reference = None
    if reference_masks or reference_dose is not None:
        reference = _Side(reference_masks or masks, dose if reference_dose is None else reference_dose)
    arrays = [hu, *masks.values(), *(() if reference is None else reference.masks.values())]
    arrays += [each for each in (dose, reference_dose) if each is not None]
    if any(array.shape != tuple(geometry.shape) for array in arrays):
        raise ValueError(f"CT, masks and doses of a picture must have the grid's shape {geometry.shape}")

    box = _shown(hu, geometry, [*masks.values(), *(() if reference is None else reference.masks.values())])
    part = geometry.cropped(box)
    predicted, reference = _cut(predicted, box), None if reference is None else _cut(reference, box)
    names = [*predicted.masks, *(() if reference is None else reference.masks)]
    colours = colours_of(names)
    figure = Figure(figsize=_PAGE)
    figure.text(0.03, 0.962, shortened(title, 80), fontsize=14, fontweight="bold", va="center")
    figure.text(0.97, 0.962, WARNING, fontsize=11, color=WRONG, fontweight="bold", ha="right", va="center")
    _draw_views(figure, hu[box], part, predicted, reference, colours)
    histograms = predicted.histograms(part)
    others = {} if reference is None else reference.histograms(part)
    dosed = dose is not None or reference_dose is not None
    _draw_histograms(figure, histograms, others, colours, prescription, dosed=dosed)
    sides = [predicted] if reference is None else [predicted, reference]
    compared = sides if reference_masks and reference_masks is not masks else [predicted]
    columns = _columns(
        [side.masks for side in compared], [histograms, others][: len(sides)], part.voxel_volume, prescription
    )
    _draw_table(figure, colours, columns)
    if reference is not None:
        lines = "solid: reference   dashed: predicted   in brackets: of the reference"
        figure.text(0.03, 0.93, lines, fontsize=9, color="0.3", va="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _shown(hu: np.ndarray, geometry: Geometry, masks: Sequence[np.ndarray]) -> tuple[slice, ...]:
    """The part of the grid with something in it: air around a patient is not worth looking at."""
    there = hu > _AIR
    for mask in masks:
        there = there | (mask > 0)
    if not there.any():
        return tuple(slice(0, length) for length in geometry.shape)
    ends = [np.flatnonzero(there.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]].tolist() for axis in range(3)]
    return geometry.box_around([first for first, _ in ends], [last for _, last in ends], _MARGIN)


def _cut(side: _Side, box: tuple[slice, ...]) -> _Side:
    return _Side({name: mask[box] for name, mask in side.masks.items()}, None if side.dose is None else side.dose[box])


def _centre(side: _Side, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where the planes meet: the voxel of what matters most that is nearest to its middle."""
    if side.dose is not None and side.dose.max() > 0:
        there = side.dose >= _HOT * side.dose.max()
    else:
        filled = {name: mask for name, mask in side.masks.items() if mask.any()}
        target = next((name for name in filled if any(word in name.upper() for word in ("PTV", "CTV", "GTV"))), None)
        there = filled[target] if target else next(iter(filled.values()), np.ones(shape, bool))
    voxels = np.argwhere(there)
    nearest = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()
    return tuple(voxels[nearest].tolist())


def _views(geometry: Geometry, centre: Sequence[int]) -> list[_View]:
    """The planes of the array that are nearest to the patient's, as they are usually looked at."""
    matrix = np.asarray(geometry.direction)
    order = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(matrix[axes[k], k]) for k in range(3)))
    found = []
    for name, (across, (down, down_sign), (right, right_sign)) in _PLANES.items():
        rows, columns = order[down], order[right]
        flips = bool(matrix[rows, down] * down_sign < 0), bool(matrix[columns, right] * right_sign < 0)
        downward, rightward = (-1 if flips[0] else 1) * matrix[rows], (-1 if flips[1] else 1) * matrix[columns]
        sides = tuple(_letters(vector) for vector in (-rightward, rightward, -downward, downward))
        found.append(_View(name, order[across], centre[order[across]], rows, columns, flips, sides))  # type: ignore[arg-type]
    return found


def _letters(vector: np.ndarray) -> str:
    """Towards what a direction z y x goes, the largest part first."""
    parts = sorted(range(3), key=lambda axis: -abs(float(vector[axis])))
    return "".join(_LETTERS[axis][int(vector[axis] > 0)] for axis in parts if abs(vector[axis]) > _SLANTED)


def _draw_views(
    figure: Any,
    hu: np.ndarray,
    geometry: Geometry,
    predicted: _Side,
    reference: _Side | None,
    colours: Mapping[str, Colour],
) -> None:
    """Three planes beside each other at one scale, as large as the room allows, and the colours of the dose."""
    views = _views(geometry, _centre(predicted, geometry.shape))
    sizes = [view.size(geometry) for view in views]
    left, bottom, width, height = _VIEWS
    gap = 0.03
    room = (width - gap * (len(views) - 1)) * _PAGE[0]
    scale = min(height * _PAGE[1] / max(size[0] for size in sizes), room / sum(size[1] for size in sizes))
    used = sum(size[1] for size in sizes) * scale / _PAGE[0] + gap * (len(views) - 1)
    place = left + (width - used) / 2
    painted = None
    for view, (tall, wide) in zip(views, sizes, strict=True):
        share = wide * scale / _PAGE[0], tall * scale / _PAGE[1]
        axis = figure.add_axes((place, bottom + (height - share[1]) / 2, *share))
        place += share[0] + gap
        painted = _draw_view(axis, view, (tall, wide), hu, predicted, reference, colours)
    if painted is not None:
        tallest = max(size[0] for size in sizes) * scale / _PAGE[1]
        axis = figure.add_axes((left + width + 0.025, bottom + (height - tallest) / 2, 0.012, tallest))
        figure.colorbar(painted, cax=axis).set_label("dose, Gy")


def _draw_view(
    axis: Any,
    view: _View,
    size: tuple[float, float],
    hu: np.ndarray,
    predicted: _Side,
    reference: _Side | None,
    colours: Mapping[str, Colour],
) -> Any:
    """One plane: CT, dose, contours, letters; what was painted as dose, or None."""
    from matplotlib.patheffects import Normal, Stroke

    tall, wide = size
    extent = (0.0, wide, tall, 0.0)
    axis.set_facecolor("black")
    axis.imshow(view.of(hu), cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], extent=extent, aspect="auto")
    painted = None
    if predicted.dose is not None:
        top = max(float(predicted.dose.max()), 1e-3)
        wash = np.ma.masked_less(view.of(predicted.dose), _PAINTED * top)
        painted = axis.imshow(
            wash, cmap="turbo", alpha=0.42, vmin=0, vmax=top, extent=extent, aspect="auto", interpolation="bilinear"
        )
    if reference is not None:
        _draw_contours(axis, view, size, reference.masks, colours, "solid")
    _draw_contours(axis, view, size, predicted.masks, colours, "solid" if reference is None else "dashed")
    axis.set(xticks=[], yticks=[], xlim=(0, wide), ylim=(tall, 0))
    axis.set_title(view.name, fontsize=10)
    rim = [Stroke(linewidth=2.5, foreground="black"), Normal()]  # they may stand on bone
    for letters, (across, up, horizontal, vertical) in zip(view.sides, _SPOTS, strict=True):
        text = axis.text(across, up, letters, transform=axis.transAxes, ha=horizontal, va=vertical, fontweight="bold")
        text.set(color="white", path_effects=rim)
    return painted


def _draw_contours(
    axis: Any,
    view: _View,
    size: tuple[float, float],
    masks: Mapping[str, np.ndarray],
    colours: Mapping[str, Colour],
    line: str,
) -> None:
    """Outlines of the masks in a plane, as files hold them; the border of the plane closes what goes beyond it."""
    from matplotlib.collections import LineCollection

    for name, mask in masks.items():
        plane = view.of(mask).astype(bool)
        step = np.array(size) / plane.shape
        rings = [((ring + 0.5) * step)[:, ::-1] for ring in outlines(plane)]
        if rings:
            closed = [np.concatenate([ring, ring[:1]]) for ring in rings]
            axis.add_collection(LineCollection(closed, colors=[colours[name]], linewidths=1.3, linestyles=line))


def _draw_histograms(
    figure: Any,
    histograms: Mapping[str, Dvh],
    references: Mapping[str, Dvh],
    colours: Mapping[str, Colour],
    prescription: float | None,
    *,
    dosed: bool,
) -> None:
    axis = figure.add_axes((0.06, 0.075, 0.4, 0.335))
    if not histograms and not references:
        axis.set_axis_off()
        missing = "no structure has a voxel, so there is no histogram" if dosed else "no dose"
        axis.text(0.5, 0.5, missing, transform=axis.transAxes, ha="center", color="0.4")
        return
    draw_dvh(axis, histograms, references, colours=colours, prescription=prescription)
    if prescription:
        axis.text(prescription, 103, f"{prescription:g} Gy", ha="center", va="bottom", fontsize=8, color="0.35")


def _draw_table(figure: Any, colours: Mapping[str, Colour], columns: Sequence[_Column]) -> None:
    """Figures of the structures, which are the legend as well."""
    axis = figure.add_axes((0.5, 0.03, 0.47, 0.4))
    axis.set_axis_off()
    axis.set(xlim=(0, 1), ylim=(_MOST_ROWS + 2, 0))
    crowded = any("(" in cell for _, cells in columns for cell in cells.values())
    size, longest, first = (8, 13, 0.36) if crowded else (9, 24, 0.5)
    ends = np.linspace(first, 1.0, len(columns)) if len(columns) > 1 else np.array([0.5])
    for end, (head, _) in zip(ends, columns, strict=True):
        axis.text(end, 0.5, head, ha="right", va="center", fontsize=8.5, color="0.3")
    axis.plot([0, float(ends[-1])], [1.0, 1.0], color="0.7", linewidth=0.7)
    names = list(colours)
    for row, name in enumerate(names[:_MOST_ROWS], 1):
        axis.plot([0, 0.03], [row + 0.5] * 2, color=colours[name], linewidth=3, solid_capstyle="butt")
        axis.text(0.045, row + 0.5, shortened(name, longest), va="center", fontsize=size)
        for end, (_, cells) in zip(ends, columns, strict=True):
            axis.text(end, row + 0.5, cells.get(name, "-"), ha="right", va="center", fontsize=size)
    if len(names) > _MOST_ROWS:
        axis.text(0.045, _MOST_ROWS + 1.5, f"and {len(names) - _MOST_ROWS} more", va="center", fontsize=9, color="0.3")


def _columns(
    masks: Sequence[Mapping[str, np.ndarray]],
    histograms: Sequence[Mapping[str, Dvh]],
    voxel: float,
    prescription: float | None,
) -> list[_Column]:
    """Volumes, overlap and figures of the prediction; with a reference its own in brackets.

    Args:
        masks: of the prediction, and of the reference if it has others.
        histograms: of the prediction, and of the reference if there is one.
        voxel: volume of a voxel, in mm^3.
        prescription: prescribed dose in Gy, or None.
    """
    volumes = [{name: f"{int(mask.sum()) * voxel / MM3_IN_CC:.1f}" for name, mask in side.items()} for side in masks]
    columns: list[_Column] = [("volume, cc", _beside(*volumes))]
    if len(masks) > 1:
        both = [name for name in masks[0] if name in masks[1]]
        columns.append(("Dice, %", {name: f"{100 * dice(masks[0][name], masks[1][name]):.0f}" for name in both}))
    if any(histograms):
        for figure in map(parse_metric, ("D2%", "mean", "D95%", *(("V95%",) if prescription else ()))):
            cells = [{name: f"{figure.of(dvh, prescription):.1f}" for name, dvh in side.items()} for side in histograms]
            columns.append((f"{figure.name}, {figure.unit}", _beside(*cells)))
    return columns


def _beside(own: Mapping[str, str], other: Mapping[str, str] | None = None) -> dict[str, str]:
    """Cells, with the reference's in brackets."""
    if other is None:
        return dict(own)
    return {name: f"{own.get(name, '-')} ({other.get(name, '-')})" for name in dict.fromkeys([*own, *other])}
