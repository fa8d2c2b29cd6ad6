"""A small made-up cohort of lesions in CT volumes: volumes, outlines as masks, and a table of characteristics."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume

GRID = Geometry((14, 40, 44), (3.0, 0.8, 0.7), (-120.0, 33.0, -8.0))
ENDING = ".nii.gz"


def lesion_mask(index: int) -> np.ndarray:
    """An ellipsoid that lies elsewhere in each case; in mm it is about as deep as it is wide."""
    centre = np.array([6 + index % 3, 18 + index % 5, 24 - index % 4])
    axes = zip(np.ogrid[:14, :40, :44], centre, (2.2, 7.0 + index % 2, 8.0), strict=True)
    return sum(((places - at) / radius) ** 2 for places, at, radius in axes) < 1


def make_lesions(folder: Path, count: int = 10, **changes: Any) -> Path:
    """Cases c0, c1 and so on, a bright lesion where malignant; returns the cohort file.

    Every case has one image: lung with noise, the lesion's HU by its label, the margin a rating from 1 to 3.
    """
    for name in ("volumes", "outlines"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rows = [["id", "patient", "malignant", "margin"]]
    for index in range(count):
        malignant, margin = index % 2, 1 + index % 3
        volume = np.random.default_rng(index).normal(-800, 30, GRID.shape)
        mask = lesion_mask(index)
        volume[mask] = 100 if malignant else -500
        write_volume(folder / "volumes" / f"c{index}{ENDING}", volume.astype(np.int16), GRID)
        write_volume(folder / "outlines" / f"c{index}{ENDING}", mask, GRID)
        rows.append([f"c{index}", f"p{index // 2 if index < 4 else index}", str(malignant), str(margin)])
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return write_lesion_spec(folder, **changes)


def write_lesion_spec(where: Path, /, **changes: Any) -> Path:
    """The cohort file; a change to None takes a key out."""
    spec: dict[str, Any] = {
        "table": "table.csv",
        "case": "id",
        "group": "patient",
        "image": f"volumes/{{id}}{ENDING}",
        "dimensions": 3,
        "masks": {"segmentation": {"classes": {"Lesion": f"outlines/{{id}}{ENDING}"}}},
        "labels": {
            "malignant": {"kind": "binary", "column": "malignant"},
            "margin": {"kind": "classes", "column": "margin", "classes": ["1", "2", "3", "4"]},
        },
    }
    path = where / "cohort.yaml"
    spec = {key: value for key, value in {**spec, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path
