"""Two small cohorts of colour pictures: the one that runs learn from, and another clinic's, in other words."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from crosstask.datasets.base import Case, CaseData, Dataset
from crosstask.geometry import Geometry
from crosstask.tasks.base import Task

KINDS = ("red", "green", "blue")
THEIRS = {"red": ("RED", "Crimson"), "green": ("Grün, hell",), "blue": ("blue",)}
"""What the other clinic calls our kinds; it knows a kind of its own, ``odd``, too."""
HOME, AWAY = 18, 14


class Elsewhere(Dataset):
    """A data set of these tasks."""

    name = "elsewhere"
    image_array = "image"
    licence = source = citation = "none"

    def __init__(self, *tasks: Task) -> None:
        super().__init__(Path("there"))
        self._tasks = {task.name: task for task in tasks}

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def task(self, name: str, **options: Any) -> Task:
        return self._tasks[name]

    def cases(self) -> list[Case]:
        return []

    def read(self, case: Case) -> CaseData:
        raise AssertionError

    def check(self) -> Any:
        return iter(())


class Labels:
    """A prepared case with labels of the whole case in one array."""

    id, geometry = "x", Geometry((4, 4), (1.0, 1.0))

    def __init__(self, array: str, labels: dict[str, float]) -> None:
        self.names, self.information = (array,), dict[str, Any]()
        self.channels = {array: tuple(labels)}
        self._values = np.array(list(labels.values()), np.float32)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def read(self, name: str, channels: Any = None, slices: Any = None) -> np.ndarray:
        return self._values

    def shape(self, name: str) -> tuple[int, ...]:
        return self._values.shape


def disk(seed: int, kind: str | None, shape: tuple[int, int] = (40, 48)) -> tuple[np.ndarray, np.ndarray]:
    """A picture ``y x 3`` with a disk of its kind's colour, and the disk."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - draw.uniform(12, 28)) ** 2 + (x - draw.uniform(12, 36)) ** 2 < draw.uniform(5, 10) ** 2
    picture = draw.normal(90, 5, (*shape, 3))
    picture[inside] += 90 * np.array([kind == name for name in KINDS]) if kind else 40
    return picture.clip(0, 255).astype(np.uint8), inside


def make_home(folder: Path) -> Path:
    """The cohort that runs learn from: 18 PNG pictures h0 to h17 with kind, finding, age and the disk."""
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for index in range(HOME):
        kind = KINDS[index % 3]
        picture, inside = disk(index, kind)
        Image.fromarray(picture).save(folder / "pictures" / f"h{index}.png")
        Image.fromarray((255 * inside).astype(np.uint8)).save(folder / "pictures" / f"h{index}_mask.png")
        split = ("train", "train", "train", "validation", "test", "test")[index // 3]
        rows.append([f"h{index}", kind, str(index % 2), str(20 + index), split])
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "kind", "wet", "age", "split"], *rows])
    return _write(
        folder,
        {
            "table": "table.csv",
            "case": "id",
            "split": {"column": "split"},
            "image": "pictures/{id}.png",
            "channels": "colour",
            "masks": {"outline": {"classes": {"disk": "pictures/{id}_mask.png"}}},
            "labels": {
                "kind": {"kind": "classes", "column": "kind", "classes": list(KINDS)},
                "wet": {"kind": "binary", "column": "wet"},
                "age": {"kind": "number", "column": "age", "unit": "years"},
            },
        },
    )


def their_name(index: int) -> str:
    """What the other clinic calls the kind of its picture; every seventh is of none of ours, x5 has no diagnosis."""
    if index == 5:
        return ""
    if index % 7 == 6:
        return "odd"
    names = THEIRS[KINDS[index % 3]]
    return names[index % len(names)]


def our_name(theirs: str) -> str | None:
    """The kind that a name of theirs is."""
    return next((kind for kind, names in THEIRS.items() if theirs in names), None)


def make_away(folder: Path, *, size: tuple[int, int] = (52, 44), copies: int = 0, home: Path | None = None) -> Path:
    """The other clinic's 14 pictures x0 to x13: TIFF, BMP and RGBA of another size, masks of 0 and 1, semicolons.

    Args:
        folder: where.
        size: of the pictures.
        copies: that many of our pictures follow, as TIFF under other names (x100, ...), for which ``home`` is needed.
        home: folder of our cohort.
    """
    (folder / "Bilder").mkdir(parents=True)
    rows = []
    for index in range(AWAY):
        name = their_name(index)
        picture, inside = disk(1000 + index, our_name(name), size)
        ending = (".TIF", ".BMP", ".PNG")[index % 3]
        image = Image.fromarray(picture)
        (image.convert("RGBA") if ending == ".PNG" else image).save(folder / "Bilder" / f"x{index}{ending}")
        mask = f"Bilder/m{index}.PNG" if index != 4 else ""
        if mask:
            Image.fromarray(inside.astype(np.uint8)).save(folder / mask)
        rows.append([f"x{index}", f"Bilder/x{index}{ending}", mask, name, str(index % 2), str(12 * (30 + index))])
    for index in range(copies):
        assert home is not None
        with Image.open(home / "pictures" / f"h{index}.png") as image:
            image.save(folder / "Bilder" / f"x{100 + index}.TIF")
        rows.append([f"x{100 + index}", f"Bilder/x{100 + index}.TIF", "", "blue", "0", "400"])
    with (folder / "Liste.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([["Nr", "Bild", "Maske", "Farbe", "nass", "Monate"], *rows])
    return _write(
        folder,
        {
            "table": "Liste.csv",
            "case": "Nr",
            "image": "{Bild}",
            "channels": "colour",
            "masks": {"Umriss": {"classes": {"Scheibe": {"path": "{Maske}", "values": ">0"}}}},
            "labels": {
                "Farbe": {"kind": "classes", "column": "Farbe", "classes": [*sum(THEIRS.values(), ()), "odd"]},
                "wet": {"kind": "binary", "column": "nass"},
                "age": {"kind": "number", "column": "Monate", "unit": "months"},
            },
        },
    )


TASKS = {"Farbe": "kind", "Umriss": "outline"}
CLASSES = {"kind": {"RED": "red", "Crimson": "red", "Grün, hell": "green"}, "outline": {"Scheibe": "disk"}}
STATED = (
    *(word for theirs, ours in TASKS.items() for word in ("--task", f"{theirs}={ours}")),
    *(word for task, pairs in CLASSES.items() for a, b in pairs.items() for word in ("--class", f"{task}.{a}={b}")),
)
"""The same on the command line."""


def home_experiment(cohort: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """One epoch of two batches for every run."""
    return {
        "name": "home",
        "dataset": {
            "name": "cohort",
            "root": str(cohort),
            "tasks": ["outline", "kind", "wet"],
            "windows": [[0, 255]],
        },
        "sample": {"kind": "image", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {"epochs": 1, "batch_size": 4, "samples_per_epoch": 8, "threads": 1, "device": "cpu"},
        "evaluation": {"bootstrap": 50, "batch_size": 4, "least_positives": 1, "other_epochs": False},
        "methods": ["stl", "hps"],
        "seeds": [0],
        "output": str(output),
        **changes,
    }


def _write(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "cohort.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
