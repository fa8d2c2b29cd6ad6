"""Where an array lies in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-6
"""Direction cosines closer than this are the same: DICOM writes them with some six digits."""


@dataclass(frozen=True)
class Geometry:
    """Grid of a volume or an image. All tuples run in array axis order, so ``z y x`` for a volume.

    Attributes:
        shape: number of voxels along each axis.
        spacing: distance of neighbouring voxel centres along each axis, in mm.
        origin: position of the centre of voxel ``(0, ..., 0)``, in mm.
        direction: for each array axis the unit vector along which it runs, itself in the order of the axes
            (``direction[0]`` of a volume is the ``z y x`` of its slice normal). None: along the axes of space.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...] | None = None
    direction: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        axes = len(self.shape)
        if self.origin is None:
            object.__setattr__(self, "origin", (0.0,) * axes)
        if not axes == len(self.spacing) == len(self.origin or ()):
            raise ValueError(f"shape {self.shape}, spacing {self.spacing} and origin {self.origin} differ in length")
        matrix = np.eye(axes) if self.direction is None else np.asarray(self.direction, dtype=float)
        if matrix.shape != (axes, axes) or not np.allclose(matrix @ matrix.T, np.eye(axes), atol=1e-3):
            raise ValueError(f"direction must be {axes} unit vectors at right angles, not {self.direction}")
        object.__setattr__(self, "direction", tuple(tuple(row) for row in matrix.tolist()))
        if not all(math.isfinite(step) and step > 0 for step in self.spacing):
            raise ValueError(f"spacing must be positive and finite, not {self.spacing}")

    def box_around(self, first: Sequence[int], last: Sequence[int], margin: float) -> tuple[slice, ...]:
        """Voxels from ``first`` to ``last`` (indices, both in it) and those up to ``margin`` mm around, in the grid."""
        rooms = [math.ceil(margin / step - 1e-9) for step in self.spacing]
        return tuple(
            slice(max(int(low) - room, 0), min(int(high) + room + 1, length))
            for low, high, room, length in zip(first, last, rooms, self.shape, strict=True)
        )

    def cropped(self, box: Sequence[slice]) -> Geometry:
        """The grid of a box of voxels, such as :meth:`box_around` gives: it begins at the box's first voxel."""
        return Geometry(
            shape=tuple(part.stop - part.start for part in box),
            spacing=self.spacing,
            origin=tuple(self.points([[part.start for part in box]])[0].tolist()),
            direction=self.direction,
        )

    @property
    def aligned(self) -> bool:
        """Whether every axis runs along the axis of space of the same place, in its direction."""
        return bool(np.allclose(self._matrix, np.eye(len(self.shape)), atol=_ROUNDING))

    @property
    def _matrix(self) -> np.ndarray:
        return np.asarray(self.direction, dtype=float)

    def points(self, indices: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """Where voxels lie: ``n a`` indices, whole or not, to ``n a`` mm, both in the order of the axes."""
        steps = np.asarray(indices, dtype=float) * np.asarray(self.spacing)
        return np.asarray(self.origin) + steps @ self._matrix

    def indices(self, points: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
        """The inverse of :meth:`points`; whole numbers are voxel centres."""
        away = np.asarray(points, dtype=float) - np.asarray(self.origin)
        return np.asarray(away @ np.linalg.inv(self._matrix) / np.asarray(self.spacing))

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3 (area in mm^2 for an image)."""
        return math.prod(self.spacing)
