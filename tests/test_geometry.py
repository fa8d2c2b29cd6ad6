"""Grids in space: voxels to millimetres and back, also where the axes do not run along those of space."""

import math

import numpy as np
import pytest

from crosstask.geometry import Geometry

HALF, ROOT = 0.5, math.sqrt(3) / 2
OBLIQUE = Geometry((4, 5, 6), (3.0, 2.0, 1.5), (10.0, 20.0, 30.0), ((ROOT, HALF, 0), (-HALF, ROOT, 0), (0, 0, 1)))
"""Turned by 30 degrees in the plane of z and y."""


def test_without_a_direction_axes_run_along_space() -> None:
    grid = Geometry((2, 3), (2.0, 0.5), (1.0, -1.0))
    assert grid.aligned and grid == Geometry((2, 3), (2.0, 0.5), (1.0, -1.0), ((1, 0), (0, 1)))
    assert grid.points([[1, 2], [0, -1]]).tolist() == [[3.0, 0.0], [1.0, -1.5]]


def test_points_of_a_turned_grid() -> None:
    assert not OBLIQUE.aligned
    z, y, x = OBLIQUE.points([[2, 0, 0], [0, 2, 0], [0, 0, 2]])
    assert z == pytest.approx([10 + 6 * ROOT, 20 + 6 * HALF, 30])
    assert y == pytest.approx([10 - 4 * HALF, 20 + 4 * ROOT, 30])
    assert x == pytest.approx([10, 20, 33])


def test_indices_are_the_inverse_of_points() -> None:
    indices = np.random.default_rng(0).normal(size=(20, 3)) * 50
    assert OBLIQUE.indices(OBLIQUE.points(indices)) == pytest.approx(indices, abs=1e-9)


def test_a_box_keeps_its_voxels_where_they_were() -> None:
    box = (slice(1, 3), slice(2, 5), slice(0, 4))
    part = OBLIQUE.cropped(box)
    assert part.shape == (2, 3, 4)
    assert part.points([[1, 1, 1]]) == pytest.approx(OBLIQUE.points([[2, 3, 1]]))


@pytest.mark.parametrize(
    "direction", [((1, 0), (1, 0)), ((2, 0), (0, 1)), ((1, 0, 0), (0, 1, 0)), ((float("nan"), 0), (0, 1))]
)
def test_directions_that_are_no_axes_are_refused(direction: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="right angles"):
        Geometry((2, 2), (1.0, 1.0), direction=direction)
