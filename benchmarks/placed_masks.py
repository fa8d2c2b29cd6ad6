"""What becomes of a thin structure between the CT's own grid and that of a case, either way.

Run ``python benchmarks/placed_masks.py``. Cords along z on slices of 3 mm are predicted on a grid of 3 x 3 mm and
wanted on a CT of 1 x 1 mm, at eight places relative to both. The prediction is a perfect one, blurred by two thirds of
a voxel and cut at the threshold that gives the true volume on its own grid, so that all that is lost is lost on the
way. Three ways are compared: deciding the interpolated probabilities, taking the nearest decided voxel, and
:func:`crosstask.export.placing.placed_masks`. It prints the tables of docs/clinic.md; the second is of the way there:
the masks of the same cords, drawn on the CT, on the coarse grid.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from crosstask.export.placing import placed_masks
from crosstask.functional.dice import dice
from crosstask.geometry import Geometry
from crosstask.io.grids import regrid
from crosstask.tasks.segmentation import SegmentationTask

SLICES, COARSE, FINE = 20, 32, 96
GRID = Geometry(shape=(SLICES, COARSE, COARSE), spacing=(3.0, 3.0, 3.0), origin=(0.0, 1.0, 1.0))
CT = Geometry(shape=(SLICES, FINE, FINE), spacing=(3.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
DIAMETERS = (3.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0)
STEEPNESS = 10.0
BLUR = 2 / 3
TASK = SegmentationTask("organs", "structures", ("cord",))


def occupied(radius: float, places: np.ndarray, parts: int, voxels: int) -> np.ndarray:
    """Share of each voxel that lies in a bent cord, ``z y x``, from ``parts`` points along each side of a voxel."""
    step = 96 / (voxels * parts)
    at = (np.arange(voxels * parts) + 0.5) * step - 0.5
    z = np.arange(SLICES)[:, None, None] * 3.0
    y, x = at[None, :, None] - 46 - places[0] - 0.15 * (z - 30), at[None, None, :] - 47 - places[1] + 0.1 * (z - 30)
    inside = (y**2 + x**2 < radius**2).astype(np.float32)
    return np.asarray(inside.reshape(SLICES, voxels, parts, voxels, parts).mean(axis=(2, 4)))


def predicted(radius: float, places: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Probabilities on the coarse grid whose mask has the true volume."""
    blurred = ndimage.gaussian_filter(occupied(radius, places, 12, COARSE), (0, BLUR, BLUR))
    count = max(1, round(truth.sum() * CT.voxel_volume / GRID.voxel_volume))
    ordered = np.sort(blurred.ravel())[::-1]
    threshold = (ordered[count - 1] + ordered[count]) / 2
    return (1 / (1 + np.exp(-STEEPNESS * (blurred - threshold)))).astype(np.float32)


def print_drawn() -> None:
    """Print what is left of drawn cords on the coarse grid: volume in percent, and slices that have a voxel of it."""
    print("| diameter, mm | half of a voxel | volume kept |")
    print("|---|---|---|")
    for diameter in DIAMETERS:
        found: list[list[tuple[float, float]]] = [[], []]
        for places in np.random.default_rng(0).uniform(0, 3, (8, 2)):
            truth = occupied(diameter / 2, places, 5, FINE) >= 0.5
            half = regrid(truth.astype(np.float32), CT, GRID) >= 0.5
            for each, mask in zip(found, (half, regrid(truth, CT, GRID, mask=True)), strict=True):
                volume = mask.sum() * GRID.voxel_volume / (truth.sum() * CT.voxel_volume)
                each.append((volume * 100, mask.any(axis=(1, 2)).mean() * 100))
        cells = [f"{volume:.0f} %, {slices:.0f} %" for volume, slices in (np.mean(each, 0) for each in found)]
        print(f"| {diameter:g} | " + " | ".join(cells) + " |")


def print_placed() -> None:
    """Print volumes of predicted cords on the CT, in percent of the truth, and Dice."""
    print("| diameter, mm | interpolated, then decided | nearest voxel | `placed_masks` |")
    print("|---|---|---|---|")
    for diameter in DIAMETERS:
        found: list[list[tuple[float, float]]] = [[], [], []]
        for places in np.random.default_rng(0).uniform(0, 3, (8, 2)):
            truth = occupied(diameter / 2, places, 5, FINE) >= 0.5
            values = predicted(diameter / 2, places, truth)[None]
            ways = (
                regrid(values[0], GRID, CT) > TASK.threshold,
                TASK.to_masks(values)[0].astype(bool).repeat(FINE // COARSE, 1).repeat(FINE // COARSE, 2),
                placed_masks(TASK, values, GRID, CT)[0],
            )
            for each, mask in zip(found, ways, strict=True):
                each.append((mask.sum() / truth.sum() * 100, dice(mask, truth)))
        cells = [f"{volume:.0f} %, Dice {overlap:.2f}" for volume, overlap in (np.mean(each, 0) for each in found)]
        print(f"| {diameter:g} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    print_placed()
    print_drawn()
