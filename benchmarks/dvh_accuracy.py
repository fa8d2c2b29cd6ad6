"""How far the figures of a DVH are off the truth, by the size of a structure and the steepness of the dose.

Run ``python benchmarks/dvh_accuracy.py``. Spheres of known volume and known DVH are contoured on slices and put into a
dose on a grid of 2 mm; slices lie at eight places relative to the sphere, and the largest error of these is given.
Errors are in percent of the true figure. It prints the tables of docs/dvh.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "functional"))

from dvh_phantoms import CENTRE, Field, decaying, dose_grid, ramp, sphere

from crosstask.functional.dvh import Dvh
from crosstask.functional.structure_samples import dvh_of_contours, dvh_of_mask

GRID = 2.0
GRID_3D = (GRID, GRID, GRID)
OFFSETS = np.arange(8) / 8
RADII = (2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 25.0, 40.0)


def of_contours(radius: float, field: Field, slices: float) -> list[Dvh]:
    """One histogram for each place of the slices; those that no slice meets have none."""
    solid = sphere(radius)
    dose, geometry = dose_grid(solid, field, GRID)
    found = []
    for offset in OFFSETS:
        contours = solid.contours(slices, float(offset))
        if contours:
            found.append(dvh_of_contours(contours, dose, geometry.indices, pitch=GRID, thickness=slices))
    return found


def of_voxels(radius: float, field: Field) -> list[Dvh]:
    """From whole voxels, as by counting: those of the dose grid whose centre lies in the sphere."""
    _, first = dose_grid(sphere(radius), field, GRID)
    voxels = np.argwhere(np.ones(first.shape, bool))
    found = []
    for offset in OFFSETS:
        moved = tuple((np.array(first.origin) + offset * GRID * np.array([1.0, 0.7, 0.4])).tolist())
        geometry = replace(first, origin=moved)
        centres = geometry.points(voxels)
        mask = (np.linalg.norm(centres - CENTRE, axis=1) < radius).reshape(first.shape)
        found.append(dvh_of_mask(mask, GRID_3D, field.at(centres).reshape(first.shape), pitch=GRID))
    return found


def worst(dvhs: Sequence[Dvh], figure: Callable[[Dvh], float], truth: float) -> float:
    """Largest error, in percent of the truth."""
    return max(abs(figure(dvh) / truth - 1) for dvh in dvhs) * 100


def row(radius: float, field: Field, dvhs: Sequence[Dvh]) -> str:
    """Errors of one size."""
    volume = 4 / 3 * np.pi * radius**3 / 1000
    errors = [worst(dvhs, lambda dvh: dvh.volume, volume), worst(dvhs, lambda dvh: dvh.mean, field.mean)]
    errors += [worst(dvhs, lambda dvh, x=x: dvh.dose_at(x), field.dose_at(x)) for x in (1, 50, 95, 99)]
    return f"| {2 * radius:g} | {volume:.3g} | " + " | ".join(f"{error:.1f}" for error in errors) + " |"


def table(title: str, field_of: Callable[[float], Field], dvhs_of: Callable[[float, Field], list[Dvh]]) -> None:
    """One table, a row a size."""
    print(f"\n{title}\n")
    print("| diameter, mm | volume, cc | volume | mean | D_1 | D_50 | D_95 | D_99 |")
    print("|---|---|---|---|---|---|---|---|")
    for radius in RADII:
        field = field_of(radius)
        print(row(radius, field, dvhs_of(radius, field)), flush=True)


def main() -> None:
    def gentle(radius: float) -> Field:
        return decaying(sphere(radius), 2 * radius)

    def along(radius: float) -> Field:
        return ramp(sphere(radius), 0)

    def steep(radius: float) -> Field:
        return decaying(sphere(radius), radius)

    for slices in (2.0, 3.0):
        table(
            f"Contours every {slices:g} mm, 70 Gy in the centre and 59 Gy at the surface:",
            gentle,
            lambda radius, field, slices=slices: of_contours(radius, field, slices),
        )
    table("Contours every 2 mm, 70 Gy in the centre and 35 Gy at the surface:", steep, lambda *x: of_contours(*x, 2.0))
    table("Contours every 2 mm, 30 to 70 Gy along the slices' normal:", along, lambda *x: of_contours(*x, 2.0))
    table("Masks of whole voxels, 70 Gy in the centre and 59 Gy at the surface:", gentle, of_voxels)


if __name__ == "__main__":
    main()
