"""Small STOIC2021 folders in the real layout: phantoms of a chest whose labels can be learned from the voxels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume

COLUMNS = ("PatientID", "probCOVID", "probSevere")


def make_stoic(
    root: Path,
    patients: int = 12,
    seed: int = 0,
    size: tuple[int, int, int] = (12, 32, 32),
    spacing: tuple[float, float, float] = (5.0, 4.0, 4.0),
) -> Path:
    """Write a data set and return its root.

    Every other patient has COVID, a dense patch in a lung; every other one of these is severe, the patch being large.
    Every fifth patient has no age and every seventh no sex in the header.

    Args:
        root: folder to make.
        patients: number of patients.
        seed: of everything drawn.
        size: voxels z y x of the scans.
        spacing: of the scans, z y x, in mm.
    """
    rng = np.random.default_rng(seed)
    (root / "data" / "mha").mkdir(parents=True)
    (root / "metadata").mkdir()
    rows = []
    for index in range(patients):
        covid, severe = index % 2, int(index % 4 == 3)
        header = {"PatientAge": f"{35 + 10 * (index % 6):03d}Y", "PatientSex": "MF"[index // 3 % 2]}
        if index % 5 == 4:
            del header["PatientAge"]
        if index % 7 == 6:
            del header["PatientSex"]
        grid = Geometry(size, spacing, tuple(float(place) for place in rng.uniform(-200, 200, 3)))
        patient = str(7 + 13 * index)
        write_volume(root / "data" / "mha" / f"{patient}.mha", chest(covid, severe, size, rng), grid, header)
        rows.append({"PatientID": patient, "probCOVID": str(covid), "probSevere": str(severe)})
    write_reference(root, rows)
    return root


def chest(covid: int, severe: int, size: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A body with two lungs ``z y x``, int16, HU."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, length) for length in size), indexing="ij")
    hu = np.full(size, -1000.0)
    hu[(y / 0.75) ** 2 + (x / 0.95) ** 2 <= 1] = 40
    for side in (-0.45, 0.45):
        hu[((x - side) / 0.33) ** 2 + (y / 0.5) ** 2 <= 1] = -850
    if covid:
        side, height = rng.choice([-0.45, 0.45]), rng.uniform(-0.4, 0.4)
        radius = 0.3 if severe else 0.18
        patch = (x - side) ** 2 + (y - 0.15) ** 2 + ((z - height) / 2) ** 2 <= radius**2
        hu[patch] = -250
    return np.rint(hu + rng.normal(0, 15, size)).astype(np.int16)


def read_reference(root: Path) -> list[dict[str, str]]:
    """Rows of the reference."""
    with (root / "metadata" / "reference.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_reference(root: Path, rows: Sequence[dict[str, str]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows of the reference, as they come."""
    with (root / "metadata" / "reference.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
