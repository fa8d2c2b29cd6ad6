"""Masks on their way from a case's grid to a CT's."""

from __future__ import annotations

import numpy as np
import pytest

from crosstask.export.placing import placed_masks
from crosstask.functional.dice import dice
from crosstask.geometry import Geometry
from crosstask.io.grids import regrid
from crosstask.tasks.segmentation import SegmentationTask

GRID = Geometry(shape=(20, 32, 32), spacing=(3.0, 3.0, 3.0), origin=(0.0, 0.0, 0.0))
FINE = Geometry(shape=(20, 96, 96), spacing=(3.0, 1.0, 1.0), origin=(0.0, -1.0, -1.0))
TILT = np.deg2rad(20)
OBLIQUE = Geometry(
    shape=(40, 80, 80),
    spacing=(2.5, 1.1, 1.2),
    origin=(-20.0, 0.0, 0.0),
    direction=((np.cos(TILT), np.sin(TILT), 0), (-np.sin(TILT), np.cos(TILT), 0), (0, 0, 1)),
)


def tube(grid: Geometry, radius: float, middle: float = 46.0) -> np.ndarray:
    """A cord along z that bends a little, as shares of voxels: 1 inside, 0.5 on its surface, over one fine voxel."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    z, y, x = grid.points(index).T
    away = np.hypot(y - middle - 0.15 * (z - 30), x - 47 + 0.1 * (z - 30))
    return np.clip(radius - away + 0.5, 0, 1).reshape(grid.shape)


def probability(radius: float, middle: float = 46.0) -> np.ndarray:
    """What a fair network says of it on the coarse grid: high inside, falling off over some millimetres."""
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1).reshape(-1, 3)
    z, y, x = GRID.points(index).T
    away = np.hypot(y - middle - 0.15 * (z - 30), x - 47 + 0.1 * (z - 30))
    return (1 / (1 + np.exp(away - radius))).reshape(GRID.shape).astype(np.float32)


def overlapping(*names: str) -> SegmentationTask:
    return SegmentationTask("organs", "structures", names)


def volume(masks: np.ndarray, grid: Geometry) -> np.ndarray:
    return np.asarray(masks.sum(axis=(1, 2, 3)) * grid.voxel_volume)


@pytest.mark.parametrize("native", [FINE, OBLIQUE], ids=["finer", "oblique"])
def test_thin_structures_keep_the_volume_that_was_judged(native: Geometry):
    task = overlapping("thin", "cord", "organ")
    values = np.stack([probability(radius) for radius in (1.6, 3.0, 12.0)])
    placed = placed_masks(task, values, GRID, native)
    judged = volume(task.to_masks(values), GRID)
    inside = volume(np.stack([regrid(mask.astype(np.float32), GRID, native) for mask in task.to_masks(values)]), native)
    assert inside == pytest.approx(judged, rel=0.02), "all of it lies in the CT, or the test says nothing"
    assert volume(placed, native) == pytest.approx(inside, rel=0.005)
    usual = np.stack([regrid(channel, GRID, native) for channel in values]) > 0.5
    assert volume(usual, native)[0] < 0.6 * judged[0], "what is avoided"


def test_they_are_nearer_to_the_truth():
    task, values, truth = overlapping("cord"), probability(2.0)[None], tube(FINE, 2.0) >= 0.5
    placed = placed_masks(task, values, GRID, FINE)[0]
    interpolated = regrid(values[0], GRID, FINE) > 0.5
    blocks = regrid(task.to_masks(values)[0].astype(np.float32), GRID, FINE) >= 0.5
    assert dice(placed, truth) > 0.8
    assert dice(placed, truth) > max(dice(interpolated, truth), dice(blocks, truth)) + 0.1


def test_nothing_appears_further_than_a_voxel_from_the_mask():
    values = np.stack([np.full(GRID.shape, 0.49, np.float32)])
    values[0, 8:12, 10, 10] = 0.51
    placed = placed_masks(overlapping("spot"), values, GRID, FINE)[0]
    assert placed.any()
    places = FINE.points(np.argwhere(placed))
    line = np.clip(places[:, :1], 24, 33)
    assert np.abs(places - np.concatenate([line, np.full((len(places), 2), 30.0)], axis=1)).max() < 3.0


@pytest.mark.parametrize("exclusive", [False, True], ids=["overlapping", "exclusive"])
def test_on_the_same_grid_they_are_the_same(exclusive: bool):
    rng = np.random.default_rng(0)
    values = rng.dirichlet((1, 1, 1), GRID.shape).transpose(3, 0, 1, 2)[:2].astype(np.float32)
    task = SegmentationTask("organs", "structures", ("a", "b"), exclusive=exclusive)
    assert np.array_equal(placed_masks(task, values, GRID, GRID), task.to_masks(values).astype(bool))


def test_classes_that_exclude_each_other_do_not_overlap():
    first, second = probability(4.0, 40.0), probability(4.0, 48.0)
    both = first + second
    values = np.stack([first, second]) / np.maximum(both, 1)
    task = SegmentationTask("organs", "structures", ("one", "two"), exclusive=True)
    placed = placed_masks(task, values, GRID, FINE)
    assert not (placed[0] & placed[1]).any()
    assert volume(placed, FINE) == pytest.approx(volume(task.to_masks(values), GRID), rel=0.03)
    touching = placed[0][:, 1:] & placed[1][:, :-1] | placed[1][:, 1:] & placed[0][:, :-1]
    assert touching.any(), "they lie side by side, or the test says nothing"


def test_what_is_nowhere_stays_nowhere():
    task = overlapping("none", "far")
    values = np.stack([np.zeros(GRID.shape, np.float32), probability(3.0)])
    far = Geometry(shape=(4, 4, 4), spacing=(1.0, 1.0, 1.0), origin=(500.0, 500.0, 500.0))
    assert not placed_masks(task, values, GRID, far).any()
    assert placed_masks(task, values, GRID, FINE).any(axis=(1, 2, 3)).tolist() == [False, True]


def test_a_single_voxel_is_not_lost_on_a_coarser_ct():
    values = np.zeros((1, *GRID.shape), np.float32)
    values[0, 10, 10, 10] = 0.9
    coarse = Geometry(shape=(10, 16, 16), spacing=(6.0, 6.0, 6.0), origin=(1.5, 1.5, 1.5))
    assert placed_masks(overlapping("spot"), values, GRID, coarse).sum() == 1
