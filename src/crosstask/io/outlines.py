"""Outlines drawn as polygons, in a JSON file, to masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crosstask.errors import InputError
from crosstask.functional.contours import fill
from crosstask.geometry import Geometry

ENDING = ".json"
_ACROSS = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Which of x y z a plane has one value of."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Polygon(_Part):
    """One closed line in a plane.

    Attributes:
        plane: axial has x and y, coronal x and z, sagittal y and z.
        slice, x, y, z: where along the axis across it: a number of voxels as ``slice``, or mm as ``z`` of an axial,
            ``y`` of a coronal, ``x`` of a sagittal plane.
        points: pairs of the plane's two axes; the last is joined to the first.
    """

    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    slice: int | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    points: list[tuple[float, float]] = Field(min_length=3)

    def place(self, unit: str) -> float | None:
        """Where the plane lies along the axis across it; None where the file does not say it in its unit alone."""
        key = "slice" if unit == "voxel" else "xyz"[_ACROSS[self.plane]]
        given = {name: value for name in ("slice", "x", "y", "z") if (value := getattr(self, name)) is not None}
        return float(given[key]) if list(given) == [key] else None


class Outline(_Part):
    """What an outline's file holds; an empty list of polygons says that there is no lesion."""

    unit: Literal["voxel", "mm"]
    polygons: list[Polygon]

    @model_validator(mode="after")
    def _placed(self) -> Outline:
        for number, polygon in enumerate(self.polygons, 1):
            if polygon.place(self.unit) is None:
                key = "slice" if self.unit == "voxel" else "xyz"[_ACROSS[polygon.plane]]
                raise ValueError(f"polygon {number}: unit {self.unit} needs {key!r}, and no other place of its plane")
        return self


def read_outline(
    path: Path, geometry: Geometry, axes: tuple[tuple[int, int, int], tuple[bool, bool, bool]]
) -> np.ndarray:
    """The mask of an outline's file.

    A voxel belongs to a polygon if its centre lies inside. Polygons of one slice are joined by exclusive or, so that
    one within another is a hole; what different slices and planes cover is joined.

    Args:
        path: a JSON file, ``{"unit": "voxel" | "mm", "polygons": [{"plane": ..., "slice": ..., "points": [...]}]}``.
            Voxels are counted from 0 along the axes of the image's own file (x the first); mm are the patient's in
            DICOM's sense, x to the left, y to the back, z to the head. See :class:`Polygon`.
        geometry: the image's grid.
        axes: how the image's axes were turned, from :func:`crosstask.io.volumes.axes_of`.

    Returns:
        ``z y x`` of the grid, uint8.

    Raises:
        InputError: the file cannot be read, is no such outline, or a polygon lies outside of the image.
    """
    outline = _load(path)
    mask = np.zeros(geometry.shape, np.uint8)
    slices: dict[tuple[int, int], np.ndarray] = {}
    for number, polygon in enumerate(outline.polygons, 1):
        points = _indices(polygon, outline.unit, geometry, axes)
        own = _ACROSS[polygon.plane]
        across = axes[0][own] if outline.unit == "voxel" else 2 - own
        lowest, highest = points.min(0), points.max(0)
        if (highest < -0.5).any() or (lowest > np.array(geometry.shape) - 0.5).any():
            raise InputError(
                f"{path}: polygon {number} lies outside of its image of {' x '.join(map(str, geometry.shape))} voxels "
                f"(z y x); fix its points, or the unit {outline.unit!r}"
            )
        flat = [axis for axis in range(3) if axis != across]
        inside = fill([points[:, flat]], (geometry.shape[flat[0]], geometry.shape[flat[1]]))
        key = (across, min(max(round(float(points[0, across])), 0), geometry.shape[across] - 1))
        slices[key] = slices[key] ^ inside if key in slices else inside
    for (across, where), inside in slices.items():
        view = np.moveaxis(mask, across, 0)
        view[where] |= inside
    return mask


def _load(path: Path) -> Outline:
    try:
        return Outline.model_validate(json.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        message = str(fault["msg"]).removeprefix("Value error, ")
        raise InputError(f"{path}: no outline: {f'{place}: ' if place else ''}{message}; fix the file") from None
    except (OSError, ValueError, RecursionError) as error:  # text or JSON that cannot be read is a ValueError
        raise InputError(f"{path}: cannot be read as JSON ({error}); export the outline again") from None


def _indices(
    polygon: Polygon, unit: str, geometry: Geometry, axes: tuple[tuple[int, int, int], tuple[bool, bool, bool]]
) -> np.ndarray:
    """Points of a polygon as indices z y x of the grid, ``n 3``."""
    place = polygon.place(unit)
    assert place is not None, "validated"
    spatial = np.insert(np.array(polygon.points, dtype=float), _ACROSS[polygon.plane], place, axis=1)
    if unit == "mm":
        origin, spacing = np.array(geometry.origin), np.array(geometry.spacing)
        indices: np.ndarray = (spatial[:, ::-1] - origin) / spacing
        return indices
    indices = np.empty_like(spatial)
    for own, (axis, turned) in enumerate(zip(*axes, strict=True)):
        indices[:, axis] = geometry.shape[axis] - 1 - spatial[:, own] if turned else spatial[:, own]
    return indices
