"""Polygons to masks and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.measure import points_in_poly

from crosstask.functional.contours import fill, outlines

SQUARE = np.array([[1.5, 2.5], [1.5, 8.5], [7.5, 8.5], [7.5, 2.5]])
HOLE = np.array([[2.5, 3.5], [6.5, 3.5], [6.5, 7.5], [2.5, 7.5]])
ISLAND = np.array([[3.5, 4.5], [3.5, 6.5], [5.5, 6.5], [5.5, 4.5]])

any_mask = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
off_grid = st.floats(-3, 12, allow_nan=False).filter(lambda value: abs(value - round(value)) > 1e-3)
any_polygon = st.lists(st.tuples(off_grid, off_grid), min_size=3, max_size=12).map(np.array)


def test_a_square_with_hole_and_island():
    expected = np.zeros((10, 12), bool)
    expected[2:8, 3:9] = True
    expected[3:7, 4:8] = False
    expected[4:6, 5:7] = True
    np.testing.assert_array_equal(fill([SQUARE, HOLE, ISLAND], (10, 12)), expected)
    np.testing.assert_array_equal(fill([ISLAND, SQUARE[::-1], HOLE], (10, 12)), expected)


def test_a_hole_reached_by_a_cut_within_one_line():
    # Out along the cut and back along it: the way planning systems write holes that have no contour of their own.
    line = np.concatenate([SQUARE[:1], HOLE, HOLE[:1], SQUARE])
    np.testing.assert_array_equal(fill([line], (10, 12)), fill([SQUARE, HOLE], (10, 12)))


def test_no_polygon_and_one_outside_are_empty():
    assert not fill([], (3, 4)).any()
    assert not fill([SQUARE + 100, SQUARE - 100], (10, 12)).any()
    assert fill([SQUARE * 1e6 - 1e6], (5, 6)).shape == (5, 6)


@given(any_polygon)
def test_pixels_are_those_whose_centre_another_even_odd_test_finds_inside(polygon):
    shape = (9, 8)
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
    expected = points_in_poly(centres, polygon).reshape(shape)
    found = fill([polygon], shape)
    differing = centres[(found != expected).ravel()]
    # The two may differ where a centre lies on an edge to within rounding, nowhere else.
    assert all(_distance(centre, polygon) < 1e-9 for centre in differing)


def _distance(point: np.ndarray, polygon: np.ndarray) -> float:
    away = []
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        along = end - start
        share = np.clip(np.dot(point - start, along) / max(np.dot(along, along), 1e-30), 0, 1)
        away.append(float(np.linalg.norm(start + share * along - point)))
    return min(away)


@pytest.mark.parametrize("radius", [5.0, 12.0])
def test_the_area_of_a_circle(radius):
    angles = np.linspace(0, 2 * math.pi, 720, endpoint=False)
    circle = np.stack([20.3 + radius * np.sin(angles), 19.6 + radius * np.cos(angles)], 1)
    found = fill([circle], (40, 40))
    y, x = np.mgrid[:40, :40]
    distance = np.hypot(y - 20.3, x - 19.6)
    np.testing.assert_array_equal(found, distance < radius)
    assert found.sum() == pytest.approx(math.pi * radius**2, rel=0.03)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4), st.integers(1, 4))
def test_centres_on_edges_belong_to_one_side(y, x, height, width):
    block = np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]], float)
    expected = np.zeros((9, 9), bool)
    expected[y : y + height, x : x + width] = True
    np.testing.assert_array_equal(fill([block], (9, 9)), expected)


@given(st.lists(st.integers(0, 8), min_size=4, max_size=4), st.integers(3, 7))
def test_two_polygons_that_share_an_edge_share_no_pixel_and_leave_none(ends, count):
    # A plane cut in two by any line between two edges of it, and again into a fan.
    rng = np.random.default_rng([*ends, count])
    centre = rng.integers(2, 14, 2) / 2
    corners = [np.array(corner) for corner in ((-1.0, -1.0), (-1.0, 9.0), (9.0, 9.0), (9.0, -1.0))]
    fan = [
        fill([np.array([centre, one, two])], (9, 9))
        for one, two in zip(corners, [*corners[1:], corners[0]], strict=True)
    ]
    np.testing.assert_array_equal(np.sum(fan, axis=0), 1)


@given(any_mask)
def test_outlines_filled_are_the_mask_again(mask):
    lines = outlines(mask)
    np.testing.assert_array_equal(fill(lines, mask.shape), mask)
    assert len(lines) > 0 or not mask.any()
    for line in lines:
        assert len(line) >= 4 and not np.array_equal(line[0], line[-1])


@given(any_mask)
def test_every_outline_has_the_area_of_its_pixels(mask):
    for line in outlines(mask):
        (y, x), (v, u) = line.T, np.roll(line, -1, axis=0).T
        area = abs(float((y * u - x * v).sum())) / 2
        assert area == pytest.approx(fill([line], mask.shape).sum(), abs=1e-9)


@given(any_mask)
def test_no_outline_comes_near_a_centre(mask):
    for line in outlines(mask):
        away = np.abs(line - np.rint(line)).max(axis=1)
        assert (away > 0.29).all() and (away <= 0.5 + 1e-9).all()


@given(any_mask, st.integers(0, 2**32 - 1))
def test_outlines_survive_the_rounding_of_coordinates(mask, seed):
    noise = np.random.default_rng(seed)
    lines = [line + noise.uniform(-1e-6, 1e-6, line.shape) for line in outlines(mask)]
    np.testing.assert_array_equal(fill(lines, mask.shape), mask)


def test_a_line_of_many_points_is_filled_part_by_part(monkeypatch):
    angles = np.linspace(0, 2 * math.pi, 500, endpoint=False)
    circle = np.stack([20.3 + 15 * np.sin(angles), 19.6 + 15 * np.cos(angles)], 1)
    whole = fill([circle], (40, 40))
    monkeypatch.setattr("crosstask.functional.contours._CROSSINGS_AT_ONCE", 100)
    np.testing.assert_array_equal(fill([circle], (40, 40)), whole)


@pytest.mark.parametrize(
    "polygon", [[[0, 0], [1, math.nan], [2, 2]], [[0, 0], [1, math.inf], [2, 2]], [0, 1], [[0, 0, 0]]]
)
def test_what_is_no_polygon(polygon):
    with pytest.raises(ValueError, match="n x 2 finite"):
        fill([np.array(polygon, float)], (4, 4))
