"""What networks see of a case beside its image: beams aimed at its targets, and what an earlier run predicted of it."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from crosstask.errors import InputError, listed
from crosstask.functional.beams import Aperture, Grid, apertures, mirrored
from crosstask.functional.sides import other_sides
from crosstask.geometry import Geometry

Slices = Sequence[slice | int]
PREDICTED = "predicted"
"""Case array of what an earlier run predicted."""
_KEPT_APERTURES = 4096
"""Cases whose beams' openings a process keeps, some 30 KiB each."""


class Readable(Protocol):
    """A case that can be read in part: prepared in a store, or raw in memory."""

    @property
    def channels(self) -> Mapping[str, tuple[str, ...]]: ...

    @property
    def geometry(self) -> Geometry: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str, channels: Sequence[int] | None = None, slices: Slices | None = None) -> np.ndarray: ...


@dataclass(frozen=True)
class Beams:
    """Input channels of what beams irradiate, one each; see :mod:`crosstask.functional.beams`.

    They are computed as they are asked for, from the openings, which a process keeps: nine beams of a patch of 64^3
    voxels take 15 ms, where reading them from a store takes 7, and another margin costs no preparation.

    Attributes:
        array: case array of the structures that are the targets.
        targets: their names; those that a case has are aimed at together.
        angles: of the gantry, in degrees.
        margin: around the targets' outline, in mm.
        distance: of the source from the isocentre, in mm.
    """

    array: str
    targets: tuple[str, ...]
    angles: tuple[float, ...]
    margin: float
    distance: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels."""
        return tuple(f"beam {angle:g}" for angle in self.angles)

    def other_sides(self) -> list[int]:
        """Of each beam the index of that which it becomes once left and right have changed places.

        Raises:
            ValueError: that is none of the beams; the message is the name.
        """
        places = {angle % 360: index for index, angle in enumerate(self.angles)}
        for name, angle in zip(self.names, self.angles, strict=True):
            if mirrored(angle) not in places:
                raise ValueError(name)
        return [places[mirrored(angle)] for angle in self.angles]

    def there(self, case: Readable) -> list[int]:
        """Channels of a case's targets."""
        return [index for index, name in enumerate(case.channels.get(self.array, ())) if name in self.targets]

    def fields(self, case: Readable, slices: Slices | None = None) -> np.ndarray:
        """Which voxels each beam irradiates, ``beams *s``, float32, 0 or 1.

        Raises:
            InputError: the case has no target.
        """
        grid, dropped = _part(case.geometry, slices)
        openings = self._apertures(case)
        fields = np.empty((len(openings), *grid.shape), np.float32)
        for channel, aperture in zip(fields, openings, strict=True):
            channel[:] = aperture.field(grid)
        return fields.squeeze(dropped) if dropped else fields

    def _apertures(self, case: Readable) -> tuple[Aperture, ...]:
        key = (id(case), self)
        kept = _kept.get(key)
        if kept is not None and kept[0]() is case:
            _kept.move_to_end(key)
            return kept[1]
        targets = case.read(self.array, there).max(0) > 0 if (there := self.there(case)) else np.zeros(0, bool)
        if not targets.any():
            raise without_targets([str(getattr(case, "id", "the case"))], self.targets)
        grid, _ = _part(case.geometry, None)
        found = apertures(targets, grid, self.angles, margin=self.margin, distance=self.distance)
        _kept[key] = (weakref.ref(case), found)
        while len(_kept) > _KEPT_APERTURES:
            _kept.popitem(last=False)
        return found


_kept: OrderedDict[tuple[int, Beams], tuple[Any, tuple[Aperture, ...]]] = OrderedDict()


def without_targets(case_ids: Sequence[str], targets: Sequence[str]) -> InputError:
    """The error for cases that no beam can be aimed at."""
    return InputError(
        f"dataset.beams: {listed(case_ids, 4)} has none of the targets {', '.join(targets)}; draw one, leave the case "
        "out, or name what is its target in dataset.beams.targets"
    )


@dataclass(frozen=True)
class Earlier:
    """Input channels of what an earlier run predicted: probabilities as they are, quantities in its own unit of output.

    Attributes:
        channels: ``TASK/CLASS`` of each.
        scales: what each is divided by.
    """

    channels: tuple[str, ...]
    scales: tuple[float, ...]

    def other_sides(self) -> list[int]:
        """Of each channel the index of its counterpart once left and right have changed places.

        Raises:
            ValueError: a class has no counterpart; the message is the name.
        """
        return other_sides(self.channels)

    def read(self, case: Readable, slices: Slices | None = None) -> np.ndarray:
        """The channels ``c *s``, float32.

        Raises:
            InputError: they were not predicted of the case.
        """
        there = case.channels.get(PREDICTED, ())
        if missing := [name for name in self.channels if name not in there]:
            raise InputError(
                f"input_from: of case {getattr(case, 'id', '')} there is no prediction of {missing[0]} by the earlier "
                "run; crosstask train and benchmark make them before they train"
            )
        values = case.read(PREDICTED, [there.index(name) for name in self.channels], slices).astype(np.float32)
        scales = np.array(self.scales, np.float32)
        return values / scales.reshape(-1, *(1,) * (values.ndim - 1))


def _part(geometry: Geometry, slices: Slices | None) -> tuple[Grid, tuple[int, ...]]:
    """The grid of a part of a volume, and which axes of ``c *s`` integers drop."""
    starts, strides, shape, dropped = [], [], [], []
    for axis, length in enumerate(geometry.shape):
        part = slices[axis] if slices is not None and axis < len(slices) else slice(None)
        if not isinstance(part, slice):
            dropped.append(axis + 1)
            part = slice(part % length, part % length + 1)
        start, stop, stride = part.indices(length)
        starts.append(start)
        strides.append(stride)
        shape.append(len(range(start, stop, stride)))
    origin = geometry.points([starts])[0]
    steps = np.diag(np.array(geometry.spacing) * strides) @ np.asarray(geometry.direction, dtype=float)
    return Grid(tuple(shape), origin, steps), tuple(dropped)
