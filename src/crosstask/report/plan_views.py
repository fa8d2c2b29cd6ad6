"""Three planes through a plan: its anatomy, its dose and its structures, as they are usually looked at."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosstask.functional.contours import outlines
from crosstask.functional.dvh import Dvh
from crosstask.functional.structure_samples import dvh_of_mask
from crosstask.geometry import Geometry
from crosstask.report.dvh import Colour

PAGE = (11.69, 8.27)
"""A4, landscape, in inches."""
_WINDOW = (-160.0, 240.0)
"""Soft tissue, in HU."""
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
_VIEWS = (0.03, 0.47, 0.88, 0.45)
"""Room of the planes on the page: left, bottom, width, height."""


@dataclass(frozen=True)
class View:
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
class Side:
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


def cut(side: Side, box: tuple[slice, ...]) -> Side:
    """The part of a side in a box of voxels."""
    return Side({name: mask[box] for name, mask in side.masks.items()}, None if side.dose is None else side.dose[box])


def _centre(side: Side, shape: tuple[int, ...]) -> tuple[int, ...]:
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


def views_of(geometry: Geometry, centre: Sequence[int]) -> list[View]:
    """The planes of the array that are nearest to the patient's, as they are usually looked at."""
    matrix = np.asarray(geometry.direction)
    order = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(matrix[axes[k], k]) for k in range(3)))
    found = []
    for name, (across, (down, down_sign), (right, right_sign)) in _PLANES.items():
        rows, columns = order[down], order[right]
        flips = bool(matrix[rows, down] * down_sign < 0), bool(matrix[columns, right] * right_sign < 0)
        downward, rightward = (-1 if flips[0] else 1) * matrix[rows], (-1 if flips[1] else 1) * matrix[columns]
        sides = tuple(_letters(vector) for vector in (-rightward, rightward, -downward, downward))
        found.append(View(name, order[across], centre[order[across]], rows, columns, flips, sides))  # type: ignore[arg-type]
    return found


def _letters(vector: np.ndarray) -> str:
    """Towards what a direction z y x goes, the largest part first."""
    parts = sorted(range(3), key=lambda axis: -abs(float(vector[axis])))
    return "".join(_LETTERS[axis][int(vector[axis] > 0)] for axis in parts if abs(vector[axis]) > _SLANTED)


def draw_views(
    figure: Any,
    hu: np.ndarray,
    geometry: Geometry,
    predicted: Side,
    reference: Side | None,
    colours: Mapping[str, Colour],
) -> None:
    """Three planes beside each other at one scale, as large as the room allows, and the colours of the dose."""
    views = views_of(geometry, _centre(predicted, geometry.shape))
    sizes = [view.size(geometry) for view in views]
    left, bottom, width, height = _VIEWS
    gap = 0.03
    room = (width - gap * (len(views) - 1)) * PAGE[0]
    scale = min(height * PAGE[1] / max(size[0] for size in sizes), room / sum(size[1] for size in sizes))
    used = sum(size[1] for size in sizes) * scale / PAGE[0] + gap * (len(views) - 1)
    place = left + (width - used) / 2
    painted = None
    for view, (tall, wide) in zip(views, sizes, strict=True):
        share = wide * scale / PAGE[0], tall * scale / PAGE[1]
        axis = figure.add_axes((place, bottom + (height - share[1]) / 2, *share))
        place += share[0] + gap
        painted = _draw_view(axis, view, (tall, wide), hu, predicted, reference, colours)
    if painted is not None:
        tallest = max(size[0] for size in sizes) * scale / PAGE[1]
        axis = figure.add_axes((left + width + 0.025, bottom + (height - tallest) / 2, 0.012, tallest))
        figure.colorbar(painted, cax=axis).set_label("dose, Gy")


def _draw_view(
    axis: Any,
    view: View,
    size: tuple[float, float],
    hu: np.ndarray,
    predicted: Side,
    reference: Side | None,
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
    view: View,
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
