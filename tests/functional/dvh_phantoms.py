"""Structures and doses whose histograms are known by formula, as contours and a dose grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crosstask.geometry import Geometry

CENTRE = np.array([3.37, -1.21, 2.58])
"""Of every structure, in mm, ``z y x``: on no voxel and on no plane."""
LEVELS = 4000


@dataclass(frozen=True)
class Solid:
    """A structure around :data:`CENTRE`.

    Attributes:
        outline: half its length along z, and its cross-section at a height from the centre, ``n 2`` (y, x).
        volume: in mm^3.
        half: half its extent along z y x.
        above: share of its volume that lies further than t along an axis (z y x) from the centre.
        within: share of its volume that lies within a distance of the centre.
    """

    outline: Callable[[float], np.ndarray]
    volume: float
    half: tuple[float, float, float]
    above: Callable[[int, np.ndarray], np.ndarray]
    within: Callable[[np.ndarray], np.ndarray]

    def contours(self, spacing: float, offset: float) -> list[np.ndarray]:
        """Closed planar contours on planes so far apart; ``offset``, 0 to 1, shifts the planes by a share of it."""
        count = int(self.half[0] / spacing) + 2
        heights = (np.arange(-count, count + 1) + offset) * spacing
        return [
            np.insert(self.outline(height), 0, height, axis=1) + CENTRE
            for height in heights
            if abs(height) < self.half[0] - 1e-9
        ]


def circle(radius: float) -> np.ndarray:
    """360 points on a circle of the same area."""
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    wider = radius * np.sqrt(2 * np.pi / 360 / np.sin(2 * np.pi / 360))
    return wider * np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _cap(u: np.ndarray) -> np.ndarray:
    """Share of a ball beyond a plane at u radii from its centre."""
    return (2 - 3 * u + u**3) / 4


def _segment(u: np.ndarray) -> np.ndarray:
    """Share of a disc beyond a line at u radii from its centre."""
    return (np.arccos(u) - u * np.sqrt(1 - u**2)) / np.pi


def sphere(radius: float) -> Solid:
    return Solid(
        outline=lambda height: circle(np.sqrt(radius**2 - height**2)),
        volume=4 / 3 * np.pi * radius**3,
        half=(radius, radius, radius),
        above=lambda axis, t: _cap(np.clip(t / radius, -1, 1)),
        within=lambda r: np.clip(r / radius, 0, 1) ** 3,
    )


def cylinder(radius: float, length: float) -> Solid:
    """Its axis runs along z."""
    heights = (np.arange(2000) + 0.5) / 2000 * length - length / 2

    def within(r: np.ndarray) -> np.ndarray:
        discs = np.clip(np.asarray(r)[..., None] ** 2 - heights**2, 0, radius**2)
        return discs.mean(-1) / radius**2

    def above(axis: int, t: np.ndarray) -> np.ndarray:
        return np.clip(0.5 - t / length, 0, 1) if axis == 0 else _segment(np.clip(t / radius, -1, 1))

    return Solid(
        outline=lambda height: circle(radius),
        volume=np.pi * radius**2 * length,
        half=(length / 2, radius, radius),
        above=above,
        within=within,
    )


def box(*lengths: float) -> Solid:
    """Its sides run along z y x."""
    halves = np.array(lengths) / 2
    steps = [(np.arange(80) + 0.5) / 80 * half for half in halves]
    away = np.sort(np.sqrt(steps[0][:, None, None] ** 2 + steps[1][:, None] ** 2 + steps[2] ** 2), axis=None)
    (_, y, x) = halves
    return Solid(
        outline=lambda height: np.array([[-y, -x], [-y, x], [y, x], [y, -x]]),
        volume=float(np.prod(lengths)),
        half=tuple(halves.tolist()),
        above=lambda axis, t: np.clip(0.5 - t / lengths[axis], 0, 1),
        within=lambda r: np.searchsorted(away, r) / away.size,
    )


@dataclass(frozen=True)
class Field:
    """A dose.

    Attributes:
        at: dose in Gy at positions, ``n 3`` mm.
        above: share of a solid that receives at least a dose.
        lowest, highest: in the solid, in Gy.
    """

    at: Callable[[np.ndarray], np.ndarray]
    above: Callable[[np.ndarray], np.ndarray]
    lowest: float
    highest: float

    def dose_at(self, percent: float) -> float:
        """D_x."""
        doses = np.linspace(self.lowest, self.highest, LEVELS)
        return float(np.interp(-percent / 100, -self.above(doses), doses))

    def volume_at(self, gy: float) -> float:
        """V_x in percent."""
        return 100 * float(self.above(np.array([gy]))[0])

    @property
    def mean(self) -> float:
        """Mean dose in Gy: the integral of the share that receives a dose."""
        doses = np.linspace(self.lowest, self.highest, LEVELS)
        return self.lowest + float(np.trapezoid(self.above(doses), doses))


def ramp(solid: Solid, axis: int) -> Field:
    """30 Gy on one side of a solid to 70 Gy on the other, linear along an axis."""
    half = solid.half[axis]
    return Field(
        at=lambda points: 50 + 20 * (points[:, axis] - CENTRE[axis]) / half,
        above=lambda dose: solid.above(axis, (dose - 50) / 20 * half),
        lowest=30.0,
        highest=70.0,
    )


def decaying(solid: Solid, halved_at: float) -> Field:
    """70 Gy in the centre, falling as a Gaussian to a half of it at a distance in mm."""
    reach, furthest = halved_at, float(np.linalg.norm(solid.half))

    def at(points: np.ndarray) -> np.ndarray:
        return 70 * 0.5 ** (((points - CENTRE) ** 2).sum(axis=1) / reach**2)

    def above(dose: np.ndarray) -> np.ndarray:
        return solid.within(reach * np.sqrt(np.log2(70 / np.asarray(dose))))

    return Field(at=at, above=above, lowest=70 * 0.5 ** ((furthest / reach) ** 2), highest=70.0)


def dose_grid(solid: Solid, field: Field, spacing: float, margin: float = 6.0) -> tuple[np.ndarray, Geometry]:
    """The dose at the voxel centres of a grid around a solid, ``z y x``."""
    halves = np.array(solid.half) + margin
    shape = tuple((np.ceil(2 * halves / spacing) + 1).astype(int).tolist())
    geometry = Geometry(shape, (spacing,) * 3, tuple((CENTRE - halves).tolist()))
    places = geometry.points(np.argwhere(np.ones(shape, bool)))
    return field.at(places).reshape(shape), geometry
