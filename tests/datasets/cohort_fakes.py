"""Small made-up cohorts on disk: pictures or volumes with masks, a table, and the YAML that describes them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from crosstask.geometry import Geometry
from crosstask.io.volumes import write_volume

COLUMNS = ["id", "patient", "part", "covid", "grade", "edema", "nodule", "age"]
ROWS = [
    ["007", "p1", "train", "1", "mild", "1", "0", "63"],
    ["008", "p1", "train", "0", "none", "0", "", "63"],
    ["010", "p2", "val", "0", "severe", "NA", "1", "41.5"],
    ["b2", "p3", "test", "", "", "0", "1", "NA"],
    ["b10", "p4", "test", "1", "mild", "1", "1", "70"],
]
SPEC: dict[str, Any] = {
    "table": "table.csv",
    "case": "id",
    "group": "patient",
    "split": "part",
    "image": "images/{id}.png",
    "masks": {
        "organs": {
            "classes": {
                "Lesion": {"path": "masks/{id}.png", "values": [1, 2]},
                "Core": {"path": "masks/{id}.png", "values": 2},
                "Lung": "lung/{id}.png",
            }
        }
    },
    "labels": {
        "covid": {"kind": "binary", "column": "covid"},
        "grade": {"kind": "classes", "column": "grade", "classes": ["none", "mild", "severe"]},
        "findings": {"kind": "findings", "columns": ["edema", "nodule"]},
        "old": {"kind": "binary", "column": "age", "at_least": 60},
        "age": {"kind": "number", "column": "age", "unit": "years"},
    },
    "licence": "none needed",
}


def picture(index: int, shape: tuple[int, ...] = (20, 24)) -> np.ndarray:
    """Noise that differs by index."""
    return np.random.default_rng(index).integers(1, 255, shape).astype(np.uint8)


def write_table(folder: Path, rows: list[list[str]] = ROWS, columns: list[str] = COLUMNS) -> None:
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def write_spec(where: Path, /, **changes: Any) -> Path:
    """The cohort file; a change to None takes a key out."""
    spec = {key: value for key, value in {**SPEC, **changes}.items() if value is not None}
    path = where / "cohort.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return path


def make_pictures(folder: Path, **changes: Any) -> Path:
    """Five pictures of 20 x 24; 010 lacks its lung mask, b2 every mask."""
    for name in ("images", "masks", "lung"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (case, *_) in enumerate(ROWS):
        Image.fromarray(picture(index)).save(folder / "images" / f"{case}.png")
        if case != "b2":
            mask = np.zeros((20, 24), np.uint8)
            mask[2:8, 2:8], mask[4:6, 4:6] = 1, 2
            Image.fromarray(mask).save(folder / "masks" / f"{case}.png")
        if case not in ("b2", "010"):
            Image.fromarray(np.full((20, 24), 255, np.uint8)).save(folder / "lung" / f"{case}.png")
    write_table(folder)
    return write_spec(folder, **changes)


def make_volumes(folder: Path, **changes: Any) -> Path:
    """Two volumes of 6 x 8 x 10 voxels of 3 x 2 x 1 mm as NIfTI, the first with a mask."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    geometry = Geometry((6, 8, 10), (3.0, 2.0, 1.0), (5.0, -3.0, 2.0))
    for index, case in enumerate(("a", "b")):
        volume = np.random.default_rng(index).normal(0, 300, geometry.shape).astype(np.int16)
        write_volume(folder / "images" / f"{case}.nii.gz", volume, geometry)
    mask = np.zeros(geometry.shape, np.uint8)
    mask[1:4, 2:6, 3:9] = 1
    write_volume(folder / "masks" / "a.nii.gz", mask, geometry)
    write_table(folder, [["a", "3"], ["b", "5"]], ["id", "score"])
    spec = {
        "group": None,
        "split": None,
        "image": "images/{id}.nii.gz",
        "masks": {"organs": {"classes": {"Liver": "masks/{id}.nii.gz"}}},
        "labels": {"score": {"kind": "number", "column": "score"}},
    }
    return write_spec(folder, **{**spec, **changes})
