"""Patches of a volume in its orthogonal planes: where their pixels lie, and the values there.

Everything is in mm along a volume's own axes, ``z y x``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates

PLANES = ("axial", "coronal", "sagittal")
"""x-y, x-z and y-z: a plane's place here is the axis across it."""


def plane_points(
    plane: str,
    centre: Sequence[float],
    pixels: int,
    spacing: float,
    shift: Sequence[float] = (0.0, 0.0),
    angle: float = 0.0,
) -> np.ndarray:
    """Where the pixels of a square patch lie.

    Rows and columns run along the two axes of the plane, in the order ``z y x``, and are turned together about the
    patch's middle. The middle lies between the central pixels where their number is even.

    Args:
        plane: one of :data:`PLANES`.
        centre: of the patch, ``z y x``, in mm.
        pixels: of a side.
        spacing: of the pixels, in mm.
        shift: of the centre along the rows' and the columns' axis of the plane, in mm.
        angle: of the turn, from the rows' axis to the columns', in radians.

    Returns:
        ``3 pixels pixels``: z, y and x of each pixel, in mm.
    """
    across = PLANES.index(plane)
    down, right = (axis for axis in range(3) if axis != across)
    steps = (np.arange(pixels) - (pixels - 1) / 2) * spacing
    rows, columns = steps[:, None], steps
    points = np.empty((3, pixels, pixels))
    points[across] = centre[across]
    points[down] = centre[down] + shift[0] + math.cos(angle) * rows - math.sin(angle) * columns
    points[right] = centre[right] + shift[1] + math.sin(angle) * rows + math.cos(angle) * columns
    return points


def values_at(
    volume: np.ndarray, origin: Sequence[float], spacing: Sequence[float], points: np.ndarray, outside: float
) -> np.ndarray:
    """Values of a volume at points in space, interpolated linearly between its voxels.

    Between the outermost voxels' centres and the volume's edge, half a voxel on, the outermost value holds.

    Args:
        volume: ``z y x``.
        origin: of its first voxel's centre, z y x, in mm.
        spacing: of its voxels, z y x, in mm.
        points: ``3 *p``, z, y and x in mm.
        outside: the value beyond the edge.

    Returns:
        ``*p``, float32.
    """
    shape, start, step = (np.reshape(part, (3, *(1,) * (points.ndim - 1))) for part in (volume.shape, origin, spacing))
    places = (points - start) / step
    values: np.ndarray = map_coordinates(volume, places, np.float32, order=1, mode="nearest")
    values[((places < -0.5) | (places > shape - 0.5)).any(0)] = outside
    return values


def middle_of(voxels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The middle of a set of voxels: its centre of mass, or, where that lies in none of them, the voxel nearest to it.

    The lumen of a hollow organ is no part of a tumour of its wall, so the centre of mass alone would not do.

    Args:
        voxels: ``n 3``, indices z y x, at least one.
        spacing: of the voxels, ``z y x``, in mm.

    Returns:
        Its place in voxels, ``3``, fractions of a voxel in the first case.
    """
    mass = voxels.mean(0)
    away = np.abs(voxels - mass)
    if (away <= 0.5).all(1).any():
        return mass
    nearest: np.ndarray = voxels[((away * spacing) ** 2).sum(1).argmin()].astype(float)
    return nearest
