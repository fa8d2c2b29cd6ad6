"""Where an array lies in space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """Grid of a volume or an image. All tuples run in array axis order, so ``z y x`` for a volume.

    Attributes:
        shape: number of voxels along each axis.
        spacing: distance of neighbouring voxel centres along each axis, in mm.
        origin: position of the centre of voxel ``(0, ..., 0)``, in mm.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.origin is None:
            object.__setattr__(self, "origin", (0.0,) * len(self.shape))
        if not len(self.shape) == len(self.spacing) == len(self.origin or ()):
            raise ValueError(f"shape {self.shape}, spacing {self.spacing} and origin {self.origin} differ in length")
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
        places = zip(self.origin or (), box, self.spacing, strict=True)
        return Geometry(
            shape=tuple(part.stop - part.start for part in box),
            spacing=self.spacing,
            origin=tuple(place + part.start * step for place, part, step in places),
        )

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm^3 (area in mm^2 for an image)."""
        return math.prod(self.spacing)
