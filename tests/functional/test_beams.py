"""Coplanar beams against what geometry says of spheres and boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crosstask.functional.beams import Grid, apertures, mirrored
from crosstask.geometry import Geometry

SHAPE, SPACING = (24, 40, 44), (5.0, 3.0, 2.5)


def grid_of(geometry: Geometry) -> Grid:
    steps = np.diag(geometry.spacing) @ np.asarray(geometry.direction)
    return Grid(geometry.shape, np.asarray(geometry.origin), steps)


def points_of(geometry: Geometry) -> np.ndarray:
    indices = np.indices(geometry.shape).reshape(3, -1).T
    return geometry.points(indices).reshape(*geometry.shape, 3)


def sphere(geometry: Geometry, radius: float) -> tuple[np.ndarray, np.ndarray]:
    points = points_of(geometry)
    middle = points.reshape(-1, 3).mean(0)
    return np.linalg.norm(points - middle, axis=-1) < radius, points


def off_axis(points: np.ndarray, isocentre: np.ndarray, angle: float, distance: float) -> np.ndarray:
    """How far from the beam's axis rays through points cross the plane of the isocentre: by the angle at the source."""
    source = isocentre + distance * np.array([0, -math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    rays, axis = points - source, (isocentre - source) / distance
    cosine = (rays @ axis) / np.linalg.norm(rays, axis=-1)
    return distance * np.tan(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("distance", [600.0, 1000.0])
@pytest.mark.parametrize("angle", [0.0, 40.0, 90.0, 200.0])
@pytest.mark.parametrize("tilted", [False, True])
def test_a_sphere_is_irradiated_by_the_cone_that_touches_it(angle, distance, tilted):
    turn = math.radians(7)
    direction = ((1, 0, 0), (0, math.cos(turn), math.sin(turn)), (0, -math.sin(turn), math.cos(turn)))
    geometry = Geometry(SHAPE, SPACING, (-70.0, 12.0, 30.0), direction if tilted else None)
    radius, margin = 26.0, 6.0
    mask, points = sphere(geometry, radius)
    (aperture,) = apertures(mask, grid_of(geometry), [angle], margin=margin, distance=distance)
    field = aperture.field(grid_of(geometry))
    away = off_axis(points, aperture.isocentre, angle, distance)
    edge = distance * math.tan(math.asin(radius / distance)) + margin
    room = 0.5 * max(SPACING) + aperture.step  # of a sphere of voxels, and of the raster
    assert field[away < edge - room].all()
    assert not field[away > edge + room].any()
    assert field.sum() == pytest.approx((away <= edge).sum(), rel=0.08)


def test_a_box_is_seen_from_the_front_as_a_rectangle_that_grows_with_the_depth():
    geometry = Geometry((30, 60, 60), (4.0, 4.0, 4.0))
    mask = np.zeros(geometry.shape, bool)
    mask[10:20, 28:32, 25:35] = True  # thin along the beam
    (aperture,) = apertures(mask, grid_of(geometry), [0.0], margin=8.0, distance=500.0)
    assert aperture.isocentre == pytest.approx([58.0, 118.0, 118.0])
    field = aperture.field(grid_of(geometry))
    for y in (0, 30, 59):
        rows, columns = np.where(field[:, y])
        scale = (500 + (4 * y - 118)) / 500  # the source is in front, at low y
        front = 500 / (500 + 4 * 28 - 118)  # of the box's near face
        assert (rows.max() - rows.min()) * 4 == pytest.approx((40 * front + 16) * scale, abs=9)
        assert (columns.max() - columns.min()) * 4 == pytest.approx((40 * front + 16) * scale, abs=9)
    widths = field.sum((0, 2))
    assert (np.diff(widths.astype(int)) >= 0).all() and widths[-1] > 1.4 * widths[0]


def test_a_part_of_a_grid_has_that_part_of_the_field():
    geometry = Geometry(SHAPE, SPACING)
    mask, _ = sphere(geometry, 20.0)
    (aperture,) = apertures(mask, grid_of(geometry), [120.0])
    whole = aperture.field(grid_of(geometry))
    origin = geometry.points([[3, 10, 12]])[0]
    part = aperture.field(Grid((9, 11, 20), origin, np.diag(SPACING)))
    np.testing.assert_array_equal(part, whole[3:12, 10:21, 12:32])


@pytest.mark.parametrize("angle", [0.0, 40.0, 120.0])
def test_left_and_right_change_places_with_the_angle(angle):
    geometry = Geometry(SHAPE, SPACING)
    generator = np.random.default_rng(1)
    mask = np.zeros(SHAPE, bool)
    mask[8:14, 12:20, 9:17] = generator.random((6, 8, 8)) < 0.5
    (one,) = apertures(mask, grid_of(geometry), [angle])
    (other,) = apertures(mask[..., ::-1], grid_of(geometry), [mirrored(angle)])
    np.testing.assert_array_equal(one.field(grid_of(geometry))[..., ::-1], other.field(grid_of(geometry)))


def test_the_source_is_where_the_gantry_says():
    geometry = Geometry((9, 41, 41), (10.0, 10.0, 10.0))
    mask = np.zeros(geometry.shape, bool)
    mask[4, 20, 20] = True
    for angle, (y, x) in {0.0: (0, 20), 90.0: (20, 40), 180.0: (40, 20), 270.0: (20, 0)}.items():
        (aperture,) = apertures(mask, grid_of(geometry), [angle], margin=1.0, distance=500.0)
        thickness = {place: aperture.field(grid_of(geometry))[:, place[0], place[1]].sum() for place in [(y, x)]}
        assert thickness[y, x] >= 1, "the beam comes from there"
    (front,) = apertures(mask, grid_of(geometry), [0.0], margin=12.0, distance=500.0)
    field = front.field(grid_of(geometry))
    assert field[:, 40].sum() > field[:, 0].sum(), "it is narrow at the front, where the source is"


def test_nothing_to_aim_at():
    with pytest.raises(ValueError, match="no target"):
        apertures(np.zeros((4, 4, 4), bool), Grid((4, 4, 4), np.zeros(3), np.eye(3)), [0.0])
