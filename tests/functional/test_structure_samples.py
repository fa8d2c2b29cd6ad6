"""Histograms of contours and masks against formulas, and what contours stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dvh_phantoms import CENTRE, box, cylinder, decaying, dose_grid, ramp, sphere

from crosstask.functional.structure_samples import dvh_of_contours, dvh_of_mask, plane_spacing, prisms_of
from crosstask.geometry import Geometry

SOLIDS = {"sphere": sphere(15.0), "cylinder": cylinder(12.0, 40.0), "box": box(40.0, 24.0, 31.0)}
FIELDS = {
    "ramp along z": lambda solid: ramp(solid, 0),
    "ramp along x": lambda solid: ramp(solid, 2),
    "decaying": lambda solid: decaying(solid, 2 * max(solid.half)),
}


def square(side: float, at: float, middle: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """A square contour across z."""
    half = side / 2
    corners = np.array([[-half, -half], [-half, half], [half, half], [half, -half]]) + middle
    return np.insert(corners, 0, at, axis=1)


@pytest.mark.parametrize("offset", [0.5, 0.4])  # with no plane on a flat end, which may belong to it or not
@pytest.mark.parametrize("field_name", FIELDS)
@pytest.mark.parametrize("solid_name", SOLIDS)
def test_within_one_percent_of_the_formula_at_2_mm(solid_name, field_name, offset):
    solid = SOLIDS[solid_name]
    field = FIELDS[field_name](solid)
    dose, geometry = dose_grid(solid, field, 2.0)
    dvh = dvh_of_contours(solid.contours(2.0, offset), dose, geometry.indices, pitch=2.0, thickness=2.0)
    assert dvh.volume == pytest.approx(solid.volume / 1000, rel=0.01)
    assert dvh.mean == pytest.approx(field.mean, rel=0.01)
    for percent in (1, 2, 50, 95, 99):
        assert dvh.dose_at(percent) == pytest.approx(field.dose_at(percent), rel=0.01), percent
    for gy in (40.0, 50.0, 60.0):
        assert dvh.volume_at(gy) == pytest.approx(field.volume_at(gy), abs=1.0), gy


@pytest.mark.parametrize("solid_name", SOLIDS)
def test_a_mask_with_partial_volumes(solid_name):
    solid = SOLIDS[solid_name]
    field = decaying(solid, 2 * max(solid.half))
    dose, geometry = dose_grid(solid, field, 2.0)
    mask = shares(solid, geometry, 6)
    dvh = dvh_of_mask(mask, geometry.spacing, dose, pitch=2.0)
    assert dvh.volume == pytest.approx(solid.volume / 1000, rel=0.01)
    assert dvh.mean == pytest.approx(field.mean, rel=0.01)
    # the voxels at its edge reach further out than the structure: the lowest doses suffer
    for percent, error in {1: 0.01, 50: 0.01, 95: 0.015}.items():
        assert dvh.dose_at(percent) == pytest.approx(field.dose_at(percent), rel=error), percent


def shares(solid, geometry: Geometry, parts: int) -> np.ndarray:
    """The share of each voxel that lies in a solid, of points in it."""
    voxels = np.argwhere(np.ones(geometry.shape, bool))
    steps = (np.arange(parts) + 0.5) / parts - 0.5
    found = np.zeros(len(voxels))
    for place in np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3):
        away = np.abs(geometry.points(voxels + place) - CENTRE)
        if solid is SOLIDS["sphere"]:
            found += np.linalg.norm(away, axis=1) < solid.half[0]
        elif solid is SOLIDS["cylinder"]:
            found += (np.linalg.norm(away[:, 1:], axis=1) < solid.half[1]) & (away[:, 0] < solid.half[0])
        else:
            found += (away < solid.half).all(axis=1)
    return (found / parts**3).reshape(geometry.shape)


def turned(angle: float) -> np.ndarray:
    """A turn about x and then about z, of z y x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def test_a_turn_of_structure_and_grid_changes_nothing():
    solid = SOLIDS["cylinder"]
    dose, geometry = dose_grid(solid, decaying(solid, 2 * max(solid.half)), 2.5)
    turn = turned(0.6)
    oblique = replace(
        geometry,
        origin=tuple((np.array(geometry.origin) @ turn).tolist()),
        direction=tuple(map(tuple, turn.tolist())),
    )
    contours = solid.contours(3.0, 0.2)
    straight = dvh_of_contours(contours, dose, geometry.indices, pitch=2.5, thickness=3.0)
    slanted = dvh_of_contours([contour @ turn for contour in contours], dose, oblique.indices, pitch=2.5, thickness=3.0)
    assert slanted.volume == pytest.approx(straight.volume, rel=1e-3)
    for percent in (1, 50, 99):
        assert slanted.dose_at(percent) == pytest.approx(straight.dose_at(percent), rel=1e-3)


def test_contours_of_a_sagittal_plane():
    dose = np.full((20, 20, 20), 30.0)
    contours = [square(8.0, at)[:, [1, 2, 0]] for at in (8.0, 10.0, 12.0)]  # z y x: planes across x
    dvh = dvh_of_contours(
        [contour + np.array([9, 9, 0]) for contour in contours], dose, lambda p: p, pitch=1.0, thickness=2.0
    )
    assert dvh.volume == pytest.approx(8 * 8 * 6 / 1000)
    assert (dvh.minimum, dvh.maximum) == (30, 30)


class TestPrisms:
    """What contours stand for between and beyond their planes."""

    @staticmethod
    def faces(places: list[float], thickness: float = 3.0) -> list[tuple[float, float]]:
        prisms = prisms_of([square(10.0, place) for place in places], thickness)
        ends = [(slab.lower, slab.upper) for slab in prisms.slabs]
        if prisms.axes[2][0] < 0:  # the normal may point either way
            ends = [(-upper, -lower) for lower, upper in reversed(ends)]
        return [(round(lower, 6), round(upper, 6)) for lower, upper in ends]

    def test_half_a_spacing_beyond_the_ends(self):
        assert self.faces([0, 3, 6]) == [(-1.5, 1.5), (1.5, 4.5), (4.5, 7.5)]

    def test_order_of_the_file_does_not_matter(self):
        assert self.faces([6, 0, 3]) == self.faces([0, 3, 6])

    def test_one_plane_is_as_thick_as_is_said(self):
        assert self.faces([5], thickness=2.5) == [(3.75, 6.25)]

    def test_every_second_slice(self):
        assert self.faces([0, 6, 12], thickness=3.0) == [(-3, 3), (3, 9), (9, 15)]

    def test_a_gap_stays_empty(self):
        assert self.faces([0, 3, 6, 15, 18]) == [(-1.5, 1.5), (1.5, 4.5), (4.5, 7.5), (13.5, 16.5), (16.5, 19.5)]

    def test_slabs_meet_halfway_where_planes_are_closer(self):
        assert self.faces([0, 3, 6, 7, 10]) == [(-1.5, 1.5), (1.5, 4.5), (4.5, 6.5), (6.5, 8.5), (8.5, 11.5)]

    def test_rounding_of_positions_makes_no_new_plane(self):
        prisms = prisms_of([square(10.0, 0.0), square(4.0, 0.004), square(10.0, 3.0)], 3.0)
        assert sorted(len(slab.polygons) for slab in prisms.slabs) == [1, 2]

    def test_plane_spacing(self):
        assert plane_spacing([square(10.0, place) for place in (0, 3, 6, 15)]) == pytest.approx(3)
        assert plane_spacing([square(10.0, 0.0), square(4.0, 0.0)]) is None

    def test_points_and_lines_are_left_out(self):
        assert len(prisms_of([square(10.0, 0.0)[:2], square(10.0, 3.0), square(10.0, 6.0)[:1]], 3.0).slabs) == 1

    @pytest.mark.parametrize(
        ("contours", "words"),
        [
            ([], "no contour"),
            ([square(10.0, 0.0)[:2]], "no contour"),
            ([square(10.0, 0.0) + np.array([[0, 0, 0], [4, 0, 0], [0, 0, 0], [4, 0, 0]])], "flat"),
            ([square(30.0, 0.0), square(30.0, 5.0)[:, [1, 0, 2]]], "parallel"),
        ],
    )
    def test_faults(self, contours, words):
        with pytest.raises(ValueError, match=words):
            prisms_of(contours, 3.0)


def uniform(contours: list[np.ndarray], thickness: float = 2.0):
    dose = np.full((24, 40, 40), 20.0)
    return dvh_of_contours(
        [c + np.array([10, 20, 20]) for c in contours], dose, lambda p: p, pitch=1.0, thickness=thickness
    )


def test_a_hole_and_an_island_in_it():
    rings = [square(side, at) for at in (0.0, 2.0) for side in (20.0, 12.0, 4.0)]
    assert uniform(rings).volume == pytest.approx((400 - 144 + 16) * 4 / 1000, rel=4e-3)


def test_two_parts_far_apart():
    parts = [square(1.0, 0.0, middle) for middle in ((-15.0, -15.0), (15.0, 15.0))]
    assert uniform(parts).volume == pytest.approx(2 * 2 / 1000, rel=0.02)


def test_a_small_structure_gets_thousands_of_samples():
    dvh = uniform([square(0.8, 0.0)])
    assert len(dvh.doses) > 10_000
    assert dvh.volume == pytest.approx(0.8**2 * 2 / 1000)


def test_no_area():
    flat = np.array([[0.0, 0, 0], [0, 0, 5], [0, 0, 9]])
    with pytest.raises(ValueError, match="no area"):
        uniform([flat])


def test_dose_is_interpolated_between_voxels_and_holds_to_the_edge():
    dose = np.broadcast_to(np.arange(10.0), (10, 10, 10))
    contours = [square(6.0, at) + np.array([0, 4.5, 4.5]) for at in (3.0, 4.0)]
    dvh = dvh_of_contours(contours, dose, lambda p: p, pitch=1.0, thickness=1.0)
    assert (dvh.minimum, dvh.maximum) == pytest.approx((1.5, 7.5), abs=0.2)
    assert dvh.dose_at(50) == pytest.approx(4.5, abs=0.1)
    whole = [square(10.0, at) + np.array([0, 4.5, 4.5]) for at in (3.0, 4.0)]
    dvh = dvh_of_contours(whole, dose, lambda p: p, pitch=1.0, thickness=1.0)
    assert dvh.outside == 0
    assert dvh.curve([0.01, 8.99]).tolist() == pytest.approx([95, 5], abs=0.6)  # half a voxel at the first and last


def test_what_lies_beyond_the_dose_grid_is_told_and_not_counted():
    dose = np.full((10, 10, 10), 40.0)
    contours = [square(4.0, at) + np.array([0, 4.5, 9.5]) for at in (3.0, 4.0)]  # a half of it is beyond 9.5
    dvh = dvh_of_contours(contours, dose, lambda p: p, pitch=1.0, thickness=1.0)
    assert dvh.share_outside == pytest.approx(0.5, abs=0.01)
    assert dvh.volume == pytest.approx(4 * 2 * 2 / 1000, rel=0.02)
    assert dvh.volume + dvh.outside == pytest.approx(4 * 4 * 2 / 1000)
    assert dvh.mean == pytest.approx(40)
    with pytest.raises(ValueError, match="outside of the dose grid"):
        dvh_of_contours([c + np.array([0, 0, 30]) for c in contours], dose, lambda p: p, pitch=1.0, thickness=1.0)


def test_a_mask_is_as_large_as_its_voxels():
    mask = np.zeros((6, 7, 8), bool)
    mask[2:4, 1:3, 4:7] = True
    dose = np.broadcast_to(np.arange(8.0), mask.shape)
    dvh = dvh_of_mask(mask, (3.0, 2.0, 2.0), dose, pitch=2.0)
    assert dvh.volume == pytest.approx(mask.sum() * 12 / 1000)
    assert dvh.mean == pytest.approx(5)
    assert (dvh.minimum, dvh.maximum) == pytest.approx((3.5, 6.5), abs=0.1)  # the voxels' faces


def test_a_mask_on_a_grid_of_its_own():
    fine = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.25, -3.0, 1.0))
    coarse = Geometry((8, 8, 8), (3.0, 3.0, 3.0), (-1.0, -4.0, 0.0))
    places = coarse.points(np.argwhere(np.ones(coarse.shape, bool)))
    dose = (20 + places @ np.array([1.0, 0.5, 0.25])).reshape(coarse.shape)
    mask = np.zeros(fine.shape)
    mask[4:8, 5:9, 6:10] = 0.5
    dvh = dvh_of_mask(mask, fine.spacing, dose, lambda i: coarse.indices(fine.points(i)), pitch=3.0)
    middle = fine.points([[5.5, 6.5, 7.5]])[0]
    assert dvh.mean == pytest.approx(float(20 + middle @ np.array([1.0, 0.5, 0.25])), abs=0.01)
    assert dvh.volume == pytest.approx(0.032)


def test_a_mask_of_very_many_voxels_is_sampled_more_coarsely(monkeypatch):
    grid = Geometry((41, 50, 53), (1.0, 1.0, 1.0))
    places = grid.points(np.argwhere(np.ones(grid.shape, bool)))
    mask = (np.linalg.norm(places - (20, 25, 26), axis=1) < 17).reshape(grid.shape)
    dose = places @ np.array([0.5, 0.3, 0.7]).reshape(3, 1)
    all_of_it = dvh_of_mask(mask, grid.spacing, dose.reshape(grid.shape), pitch=1.0)
    monkeypatch.setattr("crosstask.functional.structure_samples.MOST", 2500)
    fewer = dvh_of_mask(mask, grid.spacing, dose.reshape(grid.shape), pitch=1.0)
    assert len(fewer.doses) < 5000 < len(all_of_it.doses)
    assert fewer.volume == pytest.approx(all_of_it.volume, rel=1e-6)
    assert fewer.mean == pytest.approx(all_of_it.mean, rel=5e-3)
    assert fewer.dose_at(50) == pytest.approx(all_of_it.dose_at(50), rel=0.01)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((4, 4, 4)), "empty"),
        (np.ones((4, 4, 5)), "shape"),
        (np.full((4, 4, 4), 1.5), "occupancy"),
    ],
)
def test_masks_that_are_none(mask, words):
    with pytest.raises(ValueError, match=words):
        dvh_of_mask(mask, (1.0, 1.0, 1.0), np.ones((4, 4, 4)), pitch=1.0)


def faces(contours: list[np.ndarray]) -> list[tuple[float, float]]:
    """Faces of the slabs of a structure that ends at its contours, whichever way its normal runs."""
    ends = [(round(abs(slab.lower), 6), round(abs(slab.upper), 6)) for slab in prisms_of(contours, 3.0, "none").slabs]
    return sorted((min(pair), max(pair)) for pair in ends)


def test_ends_none_ends_at_the_outermost_contours():
    """Three planes, a gap, two planes: by half a spacing less at each of four ends; a plane alone keeps its own."""
    places = [0.0, 3.0, 6.0, 30.0, 33.0]
    contours = [square(10.0, place) for place in places]
    assert faces(contours) == [
        (0.0, 1.5), (1.5, 4.5), (4.5, 6.0), (30.0, 31.5), (31.5, 33.0),
    ]  # fmt: skip
    half, none = (
        sum(slab.upper - slab.lower for slab in prisms_of(contours, 3.0, ends).slabs) for ends in ("half", "none")
    )
    assert half - none == pytest.approx(4 * 1.5)
    assert faces([square(10.0, 6.0)]) == [(4.5, 7.5)]
    assert faces([square(10.0, place) for place in (0.0, 3.0, 6.0, 30.0)])[-1] == (28.5, 31.5)
