"""Volumes from grid to grid, against other libraries and by their own properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from crosstask.geometry import Geometry
from crosstask.io.grids import covered, regrid


def turned(degrees: float) -> tuple[tuple[float, ...], ...]:
    matrix = Rotation.from_euler("xyz", [degrees, degrees / 2, -degrees], degrees=True).as_matrix()
    return tuple(map(tuple, matrix.tolist()))


CT = Geometry((12, 20, 24), (3.0, 1.2, 1.5), (-16.0, 4.0, -20.0))
OBLIQUE = Geometry((12, 20, 24), (3.0, 1.2, 1.5), (-16.0, 4.0, -20.0), turned(30))
DOSE = Geometry((9, 9, 10), (2.5, 2.0, 2.2), (-10.0, 8.0, -14.0))
FLIPPED = Geometry((12, 20, 24), (3.0, 1.2, 1.5), (17.0, 4.0, 14.5), ((-1, 0, 0), (0, 1, 0), (0, 0, -1)))
GRIDS = {"ct": CT, "oblique": OBLIQUE, "dose": DOSE, "flipped": FLIPPED}
PAIRS = list(itertools.permutations(GRIDS, 2))


def centres(geometry: Geometry) -> np.ndarray:
    """Position of every voxel, ``z y x 3``."""
    indices = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    return geometry.points(indices.reshape(-1, 3)).reshape(*geometry.shape, 3)


def noise(geometry: Geometry) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 1, geometry.shape)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_linear_functions_of_space_keep_their_values(source, target):
    source, target = GRIDS[source], GRIDS[target]
    slope = np.array([0.3, -0.2, 0.7])
    result = regrid(centres(source) @ slope + 3, source, target, outside=-99)
    index = source.indices(centres(target).reshape(-1, 3)).reshape(*target.shape, 3)
    within = ((index > 1) & (index < np.array(source.shape) - 2)).all(-1)
    assert within.any()
    np.testing.assert_allclose(result[within], (centres(target) @ slope + 3)[within], atol=1e-6)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_values_equal_those_of_another_interpolator(source, target):
    source, target = GRIDS[source], GRIDS[target]
    if (target.spacing[1] >= 2) != (source.spacing[1] >= 2):
        target = Geometry(target.shape, tuple(step / 2.5 for step in target.spacing), target.origin, target.direction)
    volume = noise(source)
    index = np.moveaxis(source.indices(centres(target).reshape(-1, 3)).reshape(*target.shape, 3), -1, 0)
    expected = map_coordinates(volume, index, order=1, mode="nearest")
    inside = covered(source, target)
    result = regrid(volume, source, target, outside=-7)
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-6)
    assert inside.any() and (result[~inside] == -7).all()


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64, np.uint8])
def test_the_same_grid_changes_nothing(name, kind):
    volume = (noise(GRIDS[name]) * 20 + 100).astype(kind)
    result = regrid(volume, GRIDS[name], GRIDS[name])
    assert result.dtype == kind
    np.testing.assert_allclose(result, volume, rtol=1e-6)
    mask = noise(GRIDS[name]) > 0
    np.testing.assert_array_equal(regrid(mask, GRIDS[name], GRIDS[name], mask=True), mask)


def test_a_coarse_grid_has_the_means_of_blocks():
    coarse = Geometry((6, 5, 8), (6.0, 4.8, 4.5), (-14.5, 5.8, -18.5))
    volume = noise(CT)
    expected = volume.reshape(6, 2, 5, 4, 8, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(regrid(volume, CT, coarse), expected, atol=1e-6)
    mask = volume > 0.2
    share = mask.reshape(6, 2, 5, 4, 8, 3).mean(axis=(1, 3, 5))
    result = regrid(mask, CT, coarse, mask=True)
    lowest, highest = share[result].min(), share[~result].max()
    assert lowest >= highest - 0.01, "the largest shares first"
    at_the_limit = (np.abs(share - lowest) < 0.01).sum()
    assert result.sum() == pytest.approx(mask.sum() / 24, abs=at_the_limit / 2 + 1)


def test_part_by_part_is_as_in_one_piece(monkeypatch):
    whole = regrid(noise(CT), CT, DOSE), regrid(noise(CT) > 0, CT, DOSE, mask=True)
    monkeypatch.setattr("crosstask.io.grids._VOXELS_AT_ONCE", 200)
    np.testing.assert_allclose(regrid(noise(CT), CT, DOSE), whole[0], atol=1e-9)
    np.testing.assert_array_equal(regrid(noise(CT) > 0, CT, DOSE, mask=True), whole[1])


@pytest.mark.parametrize("degrees", [0, 17, 30])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.1, 0.9), (5.0, 4.0, 4.0)])
def test_a_ball_keeps_its_volume(degrees, spacing):
    fine = Geometry((44, 44, 44), (1.0, 1.0, 1.0), (-21.5, -21.5, -21.5))
    ball = np.linalg.norm(centres(fine), axis=-1) < 17
    matrix = np.array(turned(degrees))
    shape = tuple(int(np.ceil(50 / step)) for step in spacing)
    volumes, integrals = [], []
    for shift in np.random.default_rng(0).uniform(-0.5, 0.5, (12, 3)):
        corner = (shift - np.subtract(shape, 1) / 2) * spacing @ matrix
        grid = Geometry(shape, spacing, tuple(corner), tuple(map(tuple, matrix)))
        volumes.append(regrid(ball, fine, grid, mask=True).sum() * grid.voxel_volume)
        integrals.append(regrid(ball.astype(np.float32), fine, grid).sum() * grid.voxel_volume)
    assert np.mean(volumes) == pytest.approx(ball.sum(), rel=0.005)
    np.testing.assert_allclose(integrals, ball.sum(), rtol=0.01)


@given(st.integers(1, 8), st.integers(0, 2), st.sampled_from([0.5, -0.5]))
def test_a_slab_shifted_by_half_a_voxel_keeps_its_thickness(thickness, axis, shift):
    grid = Geometry((12, 12, 12), (2.0, 2.0, 2.0))
    mask = np.zeros(grid.shape, bool)
    np.moveaxis(mask, axis, 0)[2 : 2 + thickness] = True
    origin = [0.0, 0.0, 0.0]
    origin[axis] = 2.0 * shift
    result = regrid(mask, grid, Geometry(grid.shape, grid.spacing, tuple(origin)), mask=True)
    profile = np.moveaxis(result, axis, 0)[:, 5, 5]
    assert profile.sum() == thickness


@pytest.mark.parametrize("degrees", [0, 25])
@pytest.mark.parametrize("diameter", [2.0, 3.0, 5.0])
def test_a_cord_keeps_its_volume_on_a_grid_as_coarse_as_itself(diameter, degrees):
    fine = Geometry((20, 60, 60), (3.0, 1.0, 1.0), (-28.5, -29.5, -29.5))
    z, y, x = np.moveaxis(centres(fine), -1, 0)
    cord = np.hypot(y - 0.15 * z, x + 0.1 * z) < diameter / 2
    matrix = np.array(turned(degrees))
    for shift in np.random.default_rng(0).uniform(-0.5, 0.5, (6, 3)):
        corner = (shift - np.array([11.5, 9.5, 9.5])) * 3 @ matrix
        grid = Geometry((24, 20, 20), (3.0, 3.0, 3.0), tuple(corner), tuple(map(tuple, matrix)))
        share = regrid(cord.astype(np.float32), fine, grid)
        result = regrid(cord, fine, grid, mask=True)
        assert result.sum() == pytest.approx(share.sum(), rel=0.05, abs=0.6)
        assert (share >= 0.5).sum() < 0.9 * share.sum() or diameter > 3, "what the half of a voxel would leave"
        assert not result[share == 0].any()


def test_what_is_smaller_than_half_a_voxel_is_gone():
    fine, coarse = Geometry((12, 12, 12), (1.0, 1.0, 1.0)), Geometry((4, 4, 4), (3.0, 3.0, 3.0), (1.0, 1.0, 1.0))
    mask = np.zeros(fine.shape, bool)
    mask[4, 4, 3:5] = True
    assert not regrid(mask, fine, coarse, mask=True).any()
    mask[3:6, 3:5, 3:6] = True
    assert np.argwhere(regrid(mask, fine, coarse, mask=True)).tolist() == [[1, 1, 1]]


def test_thin_volumes_and_half_voxels_at_the_border():
    slab = Geometry((1, 3, 3), (4.0, 2.0, 2.0))
    fine = Geometry((10, 3, 3), (1.0, 2.0, 2.0), (-4.5, 0.0, 0.0))
    result = regrid(np.full(slab.shape, 5.0), slab, fine, outside=-1)
    np.testing.assert_array_equal(result[:, 1, 1], [-1, -1, -1, 5, 5, 5, 5, -1, -1, -1])
    np.testing.assert_array_equal(covered(slab, fine), result == 5)


def test_integers_are_rounded_and_stay_in_their_type():
    grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0))
    between = Geometry((1, 1, 3), (1.0, 1.0, 1.0), (0.0, 0.0, 0.25))
    np.testing.assert_array_equal(regrid(np.array([[[0, 10, 10, 255]]], np.uint8), grid, between)[0, 0], [2, 10, 71])
    wider = Geometry((1, 1, 6), (1.0, 1.0, 1.0), (0.0, 0.0, -1.0))
    below_zero = regrid(np.full((1, 1, 4), 9, np.uint8), grid, wider, outside=-4)
    np.testing.assert_array_equal(below_zero[0, 0], [0, 9, 9, 9, 9, 0])
    large = np.full((1, 1, 4), 2**31 - 2, np.int32)
    np.testing.assert_array_equal(regrid(large, grid, between), large[..., :3])


def test_wrong_calls():
    with pytest.raises(ValueError, match="cannot be put"):
        regrid(np.zeros((2, 2, 2)), CT, DOSE)
    with pytest.raises(ValueError, match="mask"):
        regrid(np.zeros(CT.shape, bool), CT, DOSE)
