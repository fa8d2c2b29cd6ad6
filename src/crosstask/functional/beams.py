"""What coplanar beams that conform to a target irradiate: cones of rays through the target's outline with a margin.

The geometry is that of a linear accelerator with the couch at zero (IEC 61217): the source goes round the patient's
long axis on a circle about the isocentre, here the targets' centre of mass. A beam's-eye view is the plane through the
isocentre, across the beam's axis; a point is projected into it along the ray from the source. With s its distance from
the isocentre towards the source and d that of the source, the projection enlarges by d / (d - s). A voxel is irradiated
where the projection of its centre lies within the outline of the projected targets, or at most the margin outside.

All vectors are in mm in the patient's axes, ``z y x`` (x to the left, y to the back), and a grid is the place of its
first voxel with the step that each index makes (:class:`crosstask.geometry.Geometry` without its shape).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SUBVOXELS = (-0.25, 0.0, 0.25)
"""Where in a voxel of the targets' surface rays are cast, along each axis."""
_FINEST = 1.0
"""mm, of the beam's-eye view's raster."""
_BEHIND = 1.0
"""mm in front of the source, beyond which nothing is projected."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie.

    Attributes:
        shape: number of voxels along each axis.
        origin: centre of the first voxel, ``z y x`` in mm.
        steps: ``3 3``: row k is the vector from a voxel to the next along axis k, in mm.
    """

    shape: tuple[int, ...]
    origin: np.ndarray
    steps: np.ndarray

    def along(self, direction: np.ndarray, start: np.ndarray) -> np.ndarray:
        """How far voxels lie along a direction from a point, in mm: ``z y x`` but for axes along which it is alike."""
        total = np.full((1, 1, 1), float((self.origin - start) @ direction), np.float32)
        for axis, (length, step) in enumerate(zip(self.shape, self.steps @ direction, strict=True)):
            if abs(step) > 1e-9:
                shape = [length if other == axis else 1 for other in range(3)]
                total = total + (np.arange(length, dtype=np.float32) * np.float32(step)).reshape(shape)
        return total


@dataclass(frozen=True)
class Aperture:
    """The opening of one beam.

    Attributes:
        angle: of the gantry, in degrees: 0 from the front, 90 from the patient's left.
        isocentre: ``z y x`` in mm.
        distance: of the source from the isocentre, in mm.
        step: of the raster, in mm at the isocentre.
        opening: ``v u``, bool: the raster of the beam's-eye view, v along the patient's axis, u across; odd sides, the
            isocentre in the middle.
    """

    angle: float
    isocentre: np.ndarray
    distance: float
    step: float
    opening: np.ndarray

    def field(self, grid: Grid) -> np.ndarray:
        """Which voxels of a grid the beam irradiates, bool ``z y x``."""
        v, u = _projected(grid, self.angle, self.isocentre, self.distance, unit=self.step)
        # one frame of closed raster around the opening: whatever is beyond is brought there
        framed = np.pad(self.opening, 1)
        height, width = framed.shape
        place = _rounded(v, height)
        place *= width
        found = framed.ravel().take(place + _rounded(u, width))
        return np.broadcast_to(found, grid.shape)


def apertures(
    targets: np.ndarray, grid: Grid, angles: Sequence[float], *, margin: float = 5.0, distance: float = 1000.0
) -> tuple[Aperture, ...]:
    """Openings of beams that conform to the outline of targets, each from its own side.

    The raster's step is half of the grid's widest step, but no finer than 1 mm; an edge is right to about that. What
    the targets' outline encloses is open, a concavity or a gap between two targets is not.

    Args:
        targets: which voxels are to be irradiated, bool ``z y x``.
        grid: where these lie.
        angles: of the gantry, in degrees.
        margin: around the outline, in mm at the isocentre.
        distance: of the source from the isocentre, in mm.

    Raises:
        ValueError: there is no target.
    """
    from scipy import ndimage

    voxels = np.argwhere(targets)
    if not len(voxels):
        raise ValueError("there is no target to aim at")
    isocentre = grid.origin + voxels.mean(0) @ grid.steps
    surface = np.argwhere(targets & ~ndimage.binary_erosion(targets))
    offsets = np.stack(np.meshgrid(_SUBVOXELS, _SUBVOXELS, _SUBVOXELS, indexing="ij"), -1).reshape(-1, 3)
    points = (grid.origin - isocentre) + (surface[:, None] + offsets).reshape(-1, 3) @ grid.steps
    step = max(_FINEST, float(np.linalg.norm(grid.steps, axis=1).max()) / 2)
    return tuple(
        Aperture(angle, isocentre, distance, step, _opening(points, angle, distance, step, margin)) for angle in angles
    )


def _opening(points: np.ndarray, angle: float, distance: float, step: float, margin: float) -> np.ndarray:
    """The raster of a beam's-eye view of points ``n 3`` (mm from the isocentre), opened by a margin."""
    from scipy import ndimage

    towards, across = _axes(angle)
    enlarged = distance / np.maximum(distance - points @ towards, _BEHIND)
    v = np.rint(points[:, 0] * enlarged / step).astype(np.int64)
    u = np.rint(points @ across * enlarged / step).astype(np.int64)
    room = math.ceil(margin / step) + 1
    rows, columns = (int(np.abs(places).max()) + room for places in (v, u))
    seen = np.zeros((2 * rows + 1, 2 * columns + 1), dtype=bool)
    seen[v + rows, u + columns] = True
    filled: np.ndarray = ndimage.binary_fill_holes(seen)  # the surface alone was projected
    opened: np.ndarray = ndimage.distance_transform_edt(~filled, sampling=step) <= margin
    return opened


def _axes(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors ``z y x`` of a gantry's angle in degrees: towards the source, and across the beam."""
    turn = math.radians(angle)
    return np.array([0.0, -math.cos(turn), math.sin(turn)]), np.array([0.0, math.sin(turn), math.cos(turn)])


def _rounded(places: np.ndarray, length: int) -> np.ndarray:
    """Index of places in a raster of odd length about its middle, those beyond at its ends; the places are lost."""
    places += np.float32(length // 2 + 0.5)
    np.clip(places, 0, length - 1, out=places)
    return places.astype(np.int32)


def _projected(
    grid: Grid, angle: float, isocentre: np.ndarray, distance: float, *, unit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Places v, u of all voxels in the beam's-eye view, in units of so many mm, but for axes along which all are alike.

    New arrays, in single precision.
    """
    towards, across = _axes(angle)
    nearer = np.maximum(distance - grid.along(towards, isocentre), _BEHIND)
    enlarged = np.float32(distance / unit) / nearer
    v = grid.along(np.array([1.0, 0.0, 0.0]), isocentre) * enlarged
    return v, grid.along(across, isocentre) * enlarged


def mirrored(angle: float) -> float:
    """The angle of a beam once left and right have changed places."""
    return -angle % 360
