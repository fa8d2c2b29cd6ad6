"""Samples of the dose in a structure, fine enough for a :class:`~crosstask.functional.dvh.Dvh` of small structures.

A structure is either closed planar contours in space, or a mask on a grid. Both are filled with points much closer than
the voxels of the dose; each point stands for a small volume, and the dose there is interpolated linearly in space.

Each point lies somewhere in its own small cell, by a low-discrepancy sequence, and not in the middle: points in rows
would see a dose that rises along the rows in a few steps only.

How fine: points are at most half a voxel of the dose apart, and so close that a structure gets some :data:`FEWEST` of
them at least; only where that would be more than :data:`MOST`, or :data:`MOST_IN_PLANE` in the box around the contours
of a plane, are they wider apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crosstask.functional.contours import fill
from crosstask.functional.dvh import Dvh, dvh_of

FEWEST = 50_000
MOST = 2_000_000
MOST_IN_PLANE = 500_000
_FINEST = 8
"""At most so many pixels along a side of a cell tell which share of it lies inside the contours."""
_PIXELS = 250_000
"""And so many in a plane, unless it has more cells than that."""
_ROOT = 1.2207440846057596
_SAME_PLANE = 0.2
"""Planes closer than this, in mm, are one: coordinates are rounded, often to a tenth."""
_FLAT = 0.5
"""Points of one contour further than this from its plane, in mm, are refused."""
_GAP = 1.5
"""Neighbouring planes further apart than so many plane spacings have nothing between them."""

Ends = Literal["half", "none"]
"""How far a structure goes beyond its outermost contours: half a plane spacing, or not at all."""
ENDS: tuple[Ends, ...] = ("half", "none")
ToIndices = Callable[[np.ndarray], np.ndarray]
"""From positions, ``n 3``, to indices ``z y x`` of the dose's grid, ``n 3``: ``geometry.indices`` for those in mm."""


@dataclass(frozen=True)
class Slab:
    """All contours of one plane, and how thick a slab they stand for.

    Attributes:
        polygons: vertices in the plane, in mm, ``n 2`` each; what lies in an odd number of them belongs to the
            structure.
        lower, upper: the slab's faces, along the normal, in mm.
    """

    polygons: tuple[np.ndarray, ...]
    lower: float
    upper: float


@dataclass(frozen=True)
class Prisms:
    """A structure as slabs on top of each other.

    Attributes:
        axes: unit vectors along which a plane's rows and columns and the normal run, ``3 3``, in the order of the
            contours' own coordinates.
        slabs: in their order along the normal.
    """

    axes: np.ndarray
    slabs: tuple[Slab, ...]

    @property
    def filled(self) -> float:
        """Volume of the polygons, in mm^3, with holes counted as filled."""
        return sum(sum(map(_area, slab.polygons)) * (slab.upper - slab.lower) for slab in self.slabs)

    @property
    def widest(self) -> float:
        """Area of the largest box around the polygons of a plane, in mm^2."""
        return max(math.prod(np.ptp(np.concatenate(slab.polygons), axis=0)) for slab in self.slabs)


def prisms_of(contours: Sequence[np.ndarray], thickness: float, ends: Ends = "half") -> Prisms:
    """A structure as its contours say: each plane's area holds for a slab around the plane.

    The slabs meet halfway between neighbouring planes. By ``ends`` the first and the last plane reach half a plane
    spacing further, or end there; and so do both sides of a gap: where planes are more than 1.5 plane spacings apart,
    what lies between them is not taken for filled. A plane alone has the thickness of one in either case, as it
    would have no volume. The plane spacing is the median distance of neighbouring planes.

    Args:
        contours: closed planar contours, vertices ``n 3`` in mm, all parallel; those of less than 3 points are points
            or lines, and left out.
        thickness: of the slab of a structure that has one plane only, in mm; usually the distance of the CT's slices.
        ends: ``half`` or ``none``.

    Raises:
        ValueError: no contour has an area, or contours are not flat or not parallel.
    """
    drawn = [np.asarray(contour, dtype=float) for contour in contours if len(contour) >= 3]
    if not drawn:
        raise ValueError("no contour of three points or more")
    axes = _axes(drawn)
    turned = [contour @ axes.T for contour in drawn]
    if any(np.ptp(contour[:, 2]) > _FLAT for contour in turned):
        raise ValueError("the contours are not flat, or not parallel to each other")
    planes: list[tuple[float, list[np.ndarray]]] = []
    for contour in sorted(turned, key=lambda contour: float(contour[:, 2].mean())):
        place = float(contour[:, 2].mean())
        if planes and place - planes[-1][0] <= _SAME_PLANE:
            planes[-1][1].append(contour[:, :2])
        else:
            planes.append((place, [contour[:, :2]]))
    faces = _faces([place for place, _ in planes], thickness, ends)
    return Prisms(
        axes,
        tuple(Slab(tuple(polygons), *face) for (_, polygons), face in zip(planes, faces, strict=True)),
    )


def plane_spacing(contours: Sequence[np.ndarray]) -> float | None:
    """Median distance of neighbouring planes of contours (as for :func:`prisms_of`), in mm; None for a single plane."""
    slabs = prisms_of(contours, 0.0).slabs
    return None if len(slabs) < 2 else slabs[0].upper - slabs[0].lower


def _area(polygon: np.ndarray) -> float:
    """Area inside a polygon that does not cross itself (Gauss's formula)."""
    following = np.roll(polygon, -1, axis=0)
    return abs(float((polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]).sum())) / 2


def _axes(contours: Sequence[np.ndarray]) -> np.ndarray:
    """Directions of a plane's rows and columns and its normal, of the contours together."""
    spread = np.concatenate([contour - contour.mean(axis=0) for contour in contours])
    normal = np.linalg.svd(spread, full_matrices=False)[2][2]
    # along an axis of space where the contours are: boxes drawn along it are then met exactly
    along = np.eye(3)[int(np.abs(normal).argmin())]
    columns = along - normal * (normal @ along)
    columns /= np.linalg.norm(columns)
    return np.stack([np.cross(normal, columns), columns, normal])


def _faces(places: Sequence[float], thickness: float, ends: Ends) -> list[tuple[float, float]]:
    """Lower and upper face of the slab of each plane."""
    steps = np.diff(places)
    spacing = float(np.median(steps)) if len(steps) else thickness
    end = spacing if ends == "half" else 0.0
    halves = np.where(steps > _GAP * spacing, end, steps) / 2
    below, above = np.append(end / 2, halves), np.append(halves, end / 2)
    alone = below + above == 0
    below[alone] = above[alone] = spacing / 2
    return [(place - down, place + up) for place, down, up in zip(places, below, above, strict=True)]


def dvh_of_contours(
    contours: Sequence[np.ndarray],
    dose: np.ndarray,
    to_indices: ToIndices,
    *,
    pitch: float,
    thickness: float,
    ends: Ends = "half",
) -> Dvh:
    """The DVH of a contoured structure, on its own contours: no voxel decides what belongs to it.

    Args:
        contours: as for :func:`prisms_of`.
        dose: ``z y x``, in Gy.
        to_indices: from mm to indices of the dose's grid.
        pitch: smallest spacing of the dose's grid, in mm.
        thickness: as for :func:`prisms_of`.
        ends: likewise.

    Returns:
        the histogram; volume beyond the dose grid (half a voxel outside of the outermost centres) is ``outside``.

    Raises:
        ValueError: as :func:`prisms_of`; or the contours have no area, or no part of the structure lies in the grid.
    """
    prisms = prisms_of(contours, thickness, ends)
    step = max(_step(prisms.filled, pitch), math.sqrt(prisms.widest / MOST_IN_PLANE))
    return _dvh(_points_of(prisms, step), dose, to_indices)


def dvh_of_mask(
    mask: np.ndarray, voxel: Sequence[float], dose: np.ndarray, to_indices: ToIndices | None = None, *, pitch: float
) -> Dvh:
    """The DVH of a structure that is given as a mask on a grid, such as a prediction.

    Args:
        mask: ``z y x``; the share of each voxel that belongs to the structure, 0 to 1 or bool.
        voxel: spacing of the mask's grid, in mm, ``z y x``.
        dose: ``z y x``, in Gy.
        to_indices: from indices of the mask's grid to those of the dose's; None where the grids are the same.
        pitch: smallest spacing of the dose's grid, in mm.

    Returns:
        the histogram, as of :func:`dvh_of_contours`.

    Raises:
        ValueError: the mask is empty, is not 0 to 1, or no part of it lies in the dose's grid; or it has another shape
            than a dose on the same grid.
    """
    if to_indices is None and mask.shape != dose.shape:
        raise ValueError(f"the mask has shape {mask.shape}, the dose {dose.shape}")
    filled = float(mask.sum(dtype=float))
    if not filled:
        raise ValueError("the mask is empty")
    volume = filled * math.prod(voxel)
    blocks = np.array([max(1, round((volume / MOST) ** (1 / 3) / length)) for length in voxel])
    shares = _in_blocks(mask, blocks)
    size = np.array(voxel) * blocks
    inside = np.argwhere(shares != 0)
    parts = np.maximum(np.rint(size / _step(volume, pitch)), 1).astype(int)

    def points() -> Iterator[_Points]:
        for layer, part in enumerate(itertools.product(*map(range, parts))):
            within = (np.array(part) + _within_cells(len(inside), layer)) / parts
            yield (inside + within) * blocks - 0.5, shares[tuple(inside.T)], float(math.prod(size / parts))

    return _dvh(points(), dose, to_indices or (lambda indices: indices))


def _in_blocks(mask: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Means of blocks of voxels, as so many voxels need not be told apart; beyond the grid there is nothing."""
    if (blocks == 1).all():
        return mask.astype(float)
    missing = -np.array(mask.shape) % blocks
    padded = np.pad(mask.astype(np.float32), [(0, more) for more in missing])
    counts = np.array(padded.shape) // blocks
    return padded.reshape(np.stack([counts, blocks], axis=1).ravel()).mean(axis=(1, 3, 5), dtype=float)


_Points = tuple[np.ndarray, np.ndarray, float]
"""Positions ``n 3``, occupancies ``n``, and the volume of one sample in mm^3."""


def _step(volume: float, pitch: float) -> float:
    """Distance of the points, in mm."""
    if not volume > 0:
        raise ValueError("it has no area")
    return max(min(pitch / 2, (volume / FEWEST) ** (1 / 3)), (volume / MOST) ** (1 / 3))


def _points_of(prisms: Prisms, step: float) -> Iterator[_Points]:
    """Points within each slab; those whose cell a contour crosses count by the share that is inside."""
    for slab in prisms.slabs:
        corners = np.concatenate(slab.polygons)
        low, extent = corners.min(axis=0), np.ptp(corners, axis=0)
        if not (extent > 0).all():
            continue  # a line
        counts = np.maximum(np.ceil(extent / step - 1e-6), 1).astype(int)
        sizes = extent / counts
        shares = _occupancy(slab.polygons, low, sizes, (int(counts[0]), int(counts[1])))
        used = np.argwhere(shares > 0)
        levels = max(1, math.ceil((slab.upper - slab.lower) / step - 1e-6))
        corner, cell = np.append(low, slab.lower), np.append(sizes, (slab.upper - slab.lower) / levels)
        for level in range(levels):
            places = np.insert(used.astype(float), 2, level, axis=1) + _within_cells(len(used), level)
            yield (corner + places * cell) @ prisms.axes, shares[tuple(used.T)], float(math.prod(cell))


def _occupancy(
    polygons: Sequence[np.ndarray], low: np.ndarray, sizes: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """The share of each cell of a plane that lies inside, by filling a grid that is finer still."""
    finer = min(max(math.isqrt(_PIXELS // math.prod(shape)), 1), _FINEST)
    pixels = [(polygon - low) / sizes * finer - 0.5 for polygon in polygons]
    filled = fill(pixels, (shape[0] * finer, shape[1] * finer))
    return filled.reshape(shape[0], finer, shape[1], finer).mean(axis=(1, 3))


def _within_cells(count: int, layer: int) -> np.ndarray:
    """Where in its cell each point of a layer lies, ``n 3``, 0 to 1: an additive recurrence, other in each layer.

    Its steps are powers of the root of x^4 = x + 1, which spreads the points evenly over the three axes.
    """
    steps = _ROOT ** -np.arange(1.0, 4.0)
    return np.modf(0.5 + (np.arange(count)[:, None] + 0.5 + layer * _ROOT) * steps)[0]


def _dvh(points: Iterator[_Points], dose: np.ndarray, to_indices: ToIndices) -> Dvh:
    """The histogram of points; without a dose are those beyond half a voxel from the outermost centres."""
    from scipy.ndimage import map_coordinates

    edge = np.array(dose.shape) - 0.5
    doses, shares, volumes = [], [], []
    for places, occupancy, volume in points:
        indices = to_indices(places)
        inside = ((indices >= -0.5) & (indices <= edge)).all(axis=1)
        values = map_coordinates(dose, indices.T, output=np.float32, order=1, mode="nearest")
        doses.append(np.where(inside, values, np.nan))
        shares.append(occupancy)
        volumes.append(np.full(len(occupancy), volume))
    if not any(np.isfinite(values).any() for values in doses):
        raise ValueError("it lies outside of the dose grid")
    return dvh_of(np.concatenate(doses), np.concatenate(shares), np.concatenate(volumes))
