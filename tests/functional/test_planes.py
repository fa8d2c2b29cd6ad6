"""Patches in planes against a volume of known geometry, and against loops written out here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.functional.planes import PLANES, middle_of, plane_points, values_at
from crosstask.geometry import Geometry

GRID = Geometry((20, 24, 28), (2.5, 0.7, 0.9), (-31.0, 12.5, 100.0))
CENTRE = (-31.0 + 2.5 * 9, 12.5 + 0.7 * 11, 100.0 + 0.9 * 13)
AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""Across, rows, columns, as axes z y x."""


def millimetres(geometry: Geometry) -> list[np.ndarray]:
    """Volumes whose values are their voxels' own z, y and x in mm."""
    axes = zip(geometry.shape, geometry.spacing, geometry.origin, strict=True)
    return np.meshgrid(*(start + step * np.arange(length) for length, step, start in axes), indexing="ij")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("shift", "degrees"), [((0.0, 0.0), 0.0), ((1.3, -0.8), 0.0), ((-0.6, 1.1), 37.0)])
def test_a_linear_volume_gives_back_the_millimetres(plane: str, shift: tuple[float, float], degrees: float):
    across, down, right = AXES[plane]
    found = [
        values_at(
            volume, GRID.origin, GRID.spacing, plane_points(plane, CENTRE, 6, 0.5, shift, math.radians(degrees)), np.nan
        )
        for volume in millimetres(GRID)
    ]
    turn = math.radians(degrees)
    for row, column in itertools.product(range(6), range(6)):
        first, second = (row - 2.5) * 0.5, (column - 2.5) * 0.5
        expected = list(CENTRE)
        expected[down] += shift[0] + first * math.cos(turn) - second * math.sin(turn)
        expected[right] += shift[1] + first * math.sin(turn) + second * math.cos(turn)
        assert [values[row, column] for values in found] == pytest.approx(expected, abs=0.01)
        assert found[across][row, column] == pytest.approx(CENTRE[across], abs=0.01)


def trilinear(volume: np.ndarray, place: tuple[float, float, float]) -> float:
    """The eight voxels around a place, each by how near it is."""
    low = [min(math.floor(at), length - 2) for at, length in zip(place, volume.shape, strict=True)]
    total = 0.0
    for corner in itertools.product((0, 1), repeat=3):
        weight = math.prod(
            (at - start) if side else 1 - (at - start) for at, start, side in zip(place, low, corner, strict=True)
        )
        total += weight * float(volume[tuple(start + side for start, side in zip(low, corner, strict=True))])
    return total


@given(st.integers(0, 2**32 - 1))
def test_values_between_voxels_are_trilinear(seed: int):
    generator = np.random.default_rng(seed)
    volume = generator.integers(-1000, 1000, GRID.shape).astype(np.int16)
    places = generator.uniform(0, np.array(GRID.shape) - 1, (5, 3))
    points = (np.array(GRID.origin) + places * np.array(GRID.spacing)).T
    found = values_at(volume, GRID.origin, GRID.spacing, points, 0.0)
    assert found.dtype == np.float32
    assert found == pytest.approx([trilinear(volume, tuple(place)) for place in places], abs=0.01)


def test_the_edge_is_half_a_voxel_beyond_the_last_centre():
    volume = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    x = np.array([8.9, 9.1, 10.0, 11.0, 16.0, 16.9, 17.1])
    points = np.stack([np.zeros(7), np.zeros(7), x])
    assert values_at(volume, (0, 0, 10), (1, 1, 2), points, -7.0).tolist() == [-7, 0, 0, 0.5, 3, 3, -7]


def test_the_middle_of_a_solid_lesion_is_its_centre_of_mass():
    voxels = np.argwhere(np.ones((2, 3, 5), bool)) + 4
    assert middle_of(voxels, (1, 1, 1)).tolist() == [4.5, 5, 6]


def test_the_middle_of_a_hollow_lesion_is_its_nearest_voxel_in_millimetres():
    lesion = np.zeros((9, 9, 9), bool)
    lesion[0, 4, 4] = lesion[8, 4, 4] = lesion[4, 0, 4] = lesion[4, 8, 4] = True  # the mass is at 4 4 4
    lesion[4, 4, 6], lesion[4, 4, 1] = True, True
    voxels = np.argwhere(lesion)
    mass = voxels.mean(0)
    for spacing in ((1.0, 1.0, 1.0), (0.1, 1.0, 3.0), (2.0, 0.2, 1.0)):
        distances = [math.dist(voxel * np.array(spacing), mass * np.array(spacing)) for voxel in voxels]
        assert middle_of(voxels, spacing).tolist() == voxels[int(np.argmin(distances))].tolist()
