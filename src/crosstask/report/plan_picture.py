"""One page on one plan: its anatomy, its dose, its histograms and their figures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crosstask.functional.dice import dice
from crosstask.functional.dvh import MM3_IN_CC, Dvh, parse_metric
from crosstask.geometry import Geometry
from crosstask.report.drawing import WRONG
from crosstask.report.dvh import Colour, colours_of, draw_dvh, shortened
from crosstask.report.plan_views import PAGE, Side, cut, draw_views

WARNING = "predicted, not for clinical use"
_AIR = -500.0
_MARGIN = 8.0
"""Around what is shown of the CT, in mm."""
_MOST_ROWS = 13
_Column = tuple[str, Mapping[str, str]]
"""Head of a column, and its cells by structure."""


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

    predicted = Side(masks, dose)
    reference = None
    if reference_masks or reference_dose is not None:
        reference = Side(reference_masks or masks, dose if reference_dose is None else reference_dose)
    arrays = [hu, *masks.values(), *(() if reference is None else reference.masks.values())]
    arrays += [each for each in (dose, reference_dose) if each is not None]
    if any(array.shape != tuple(geometry.shape) for array in arrays):
        raise ValueError(f"CT, masks and doses of a picture must have the grid's shape {geometry.shape}")

    box = _shown(hu, geometry, [*masks.values(), *(() if reference is None else reference.masks.values())])
    part = geometry.cropped(box)
    predicted, reference = cut(predicted, box), None if reference is None else cut(reference, box)
    names = [*predicted.masks, *(() if reference is None else reference.masks)]
    colours = colours_of(names)
    figure = Figure(figsize=PAGE)
    figure.text(0.03, 0.962, shortened(title, 80), fontsize=14, fontweight="bold", va="center")
    figure.text(0.97, 0.962, WARNING, fontsize=11, color=WRONG, fontweight="bold", ha="right", va="center")
    draw_views(figure, hu[box], part, predicted, reference, colours)
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
