"""Small data sets of generated files, with the faults that a store has to bear. No torch, so workers start fast."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.store.fingerprint import sealed
from crosstask.store.index import read_entries, read_head, settings_digest

SHAPE = (6, 10, 9)
TURNED = ((1.0, 0.0, 0.0), (0.0, 0.8, 0.6), (0.0, -0.6, 0.8))
"""Directions of a grid that does not run along the axes of space."""


@dataclass(frozen=True)
class FakeCase:
    id: str
    group: str
    split: str
    files: tuple[Path, ...]


@dataclass
class FakeData:
    arrays: dict[str, np.ndarray]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, Any] = field(default_factory=dict)


class FakeDataset:
    """One text file a case, which holds the seed of its arrays. Every reading is noted in ``log``, if that is given."""

    name = "fake"

    def __init__(
        self,
        root: Path,
        *,
        scale: float = 1.0,
        pause: float = 0.0,
        bad: tuple[str, ...] = (),
        killed: tuple[str, ...] = (),
        log: Path | None = None,
    ) -> None:
        self.root, self.scale, self.pause, self.bad, self.killed, self.log = root, scale, pause, bad, killed, log

    def cases(self) -> list[FakeCase]:
        files = sorted(self.root.glob("*.txt"))
        splits = ("train", "validation", "test")
        return [
            FakeCase(file.stem, f"patient {file.stem}", splits[place % 3], (file,)) for place, file in enumerate(files)
        ]

    def read_settings(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def read(self, case: FakeCase) -> FakeData:
        if self.log is not None:
            (self.log / f"{case.id}-{time.monotonic_ns()}").touch()
        time.sleep(self.pause)
        if case.id in self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if case.id in self.bad:
            raise InputError(f"{case.files[0]}: is bad: fix it")
        return arrays(int(case.files[0].read_text()), self.scale)


def arrays(seed: int, scale: float = 1.0) -> FakeData:
    """The arrays of a case: organs are missing in some, and one array has no channel at all."""
    random = np.random.default_rng(seed)
    organs = ("cord", "brainstem", "parotid") if seed % 2 else ("cord",)
    return FakeData(
        arrays={
            "ct": random.integers(-1000, 3000, (1, *SHAPE)).astype(np.int16),
            "dose": (scale * random.normal(20, 9, (1, *SHAPE))).astype(np.float32),
            "organs": (random.random((len(organs), *SHAPE)) < 0.2).astype(np.uint8),
            "region": random.random((1, *SHAPE)) < 0.6,
            "targets": np.zeros((0, *SHAPE), np.uint8),
        },
        channels={"ct": ("ct",), "dose": ("dose",), "organs": organs, "region": ("region",), "targets": ()},
        geometry=Geometry(SHAPE, (2.5, 1.1 + seed / 7, 1.1), (-3.25, 0.1, 7.0), TURNED if seed % 2 else None),
        information={"seed": seed, "spacing": np.float32(0.5), "note": "ünïcode"},
    )


def write_raw(root: Path, count: int = 6) -> Path:
    """Raw files ``pt_1.txt`` ... of a data set."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        (root / f"pt_{number}.txt").write_text(str(number))
    return root


def contents(root: Path) -> dict[str, bytes]:
    """All files below a folder, but for files of columns that its index does not name: those of the index before."""
    found = {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
    named = found.get("store.json", b"").decode("utf-8", "replace")
    return {name: content for name, content in found.items() if not name.endswith(".bin") or name[:-4][-32:] in named}


def as_earlier(root: Path, version: int) -> None:
    """Make a store one that version 1 or 2 wrote: all cases in ``store.json``, and in version 1 no checksums."""
    head = read_head(root)
    entries = read_entries(root, head).values()
    settings = settings_digest("fake", head.settings, version)
    fields = ("id", "group", "split", "folder", "checksum")
    values: dict[str, Any] = {
        "format": "crosstask store",
        "version": version,
        "dataset": "fake",
        "settings": head.settings,
        "settings_hash": settings,
        "complete": True,
        "cases": [
            {**{name: getattr(entry, name) for name in fields}, "raw": json.loads(entry.raw)} for entry in entries
        ],
    }
    for path in root.glob("*.bin"):
        path.unlink()
    (root / "store.json").write_text(json.dumps(values if version == 1 else sealed(values)))
    for path in root.glob("cases/*/case.json") if version == 1 else ():
        values = json.loads(path.read_text())
        del values["checksum"]
        path.write_text(json.dumps({**values, "version": 1, "settings": settings}))
