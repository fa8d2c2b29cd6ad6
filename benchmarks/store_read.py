"""Time of random reads from the store, against compressed NumPy archives and memory-mapped NumPy files.

Run ``python benchmarks/store_read.py [--size 128] [--repeats 200]``. A case of one CT (int16), ten masks (uint8), one
dose (float32) and one region mask is generated and written in all three ways. What is timed is what training asks for:
one slice, or one 64^3 patch, of the CT, four of the masks, the dose and the region. Files are in the page cache, so
the figures are those of decompression, not of the disk. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare

MASKS = [0, 2, 3, 7]
PATCH = 64
Read = Callable[[tuple[slice, ...]], list[np.ndarray]]


class Generated:
    """A data set of one head-like case with noise of realistic size in CT and dose."""

    name = "generated"

    def __init__(self, size: int) -> None:
        self.size = size
        self.data = self.generate()

    def cases(self) -> list[Case]:
        """The one case."""
        return [Case("case", "case", "train", ())]

    def read_settings(self) -> dict[str, Any]:
        """What it depends on."""
        return {"size": self.size}

    def read(self, case: Case) -> CaseData:
        """Its arrays, generated before, so that the time of writing is that alone."""
        return self.data

    def generate(self) -> CaseData:
        """A head-like body with texture, noise, round masks and a dose that falls off."""
        size, random = self.size, np.random.default_rng(0)
        z, y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
        region = (y / 0.8) ** 2 + (x / 0.6) ** 2 < 1
        coarse = random.normal(size=(size // 8 + 1,) * 3).repeat(8, 0).repeat(8, 1).repeat(8, 2)[:size, :size, :size]
        ct = np.where(region, 1000 + 40 * random.standard_normal(region.shape) + 200 * coarse, 0).astype(np.int16)
        dose = np.where(region, 70 * np.exp(-2 * (z**2 + y**2 + x**2)) + random.normal(0, 0.05, region.shape), 0)
        places = random.uniform(-0.6, 0.6, (10, 3))
        masks = np.stack([(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 < 0.025 for a, b, c in places])
        arrays = {
            "ct": ct[None],
            "dose": np.round(dose, 3).astype(np.float32)[None],
            "masks": masks.astype(np.uint8),
            "region": region.astype(np.uint8)[None],
        }
        channels = {name: tuple(f"{name} {place}" for place in range(len(array))) for name, array in arrays.items()}
        return CaseData(arrays, channels, Geometry((size,) * 3, (3.0, 2.0, 2.0)))


def readers(folder: Path, size: int) -> Iterator[tuple[str, Read, int, float]]:
    """Write the case in each way: name, function that reads a part of it, bytes on disk, seconds of writing."""
    dataset = Generated(size)
    data = dataset.read(dataset.cases()[0])

    started = time.perf_counter()
    prepare(dataset, folder / "store", workers=1)
    seconds = time.perf_counter() - started
    store = Store(folder / "store")

    def from_store(part: tuple[slice, ...]) -> list[np.ndarray]:
        case = store.open("case")
        wanted = {"ct": None, "masks": MASKS, "dose": None, "region": None}
        return [case.read(name, channels, part) for name, channels in wanted.items()]

    yield "store (Blosc2)", from_store, _bytes(folder / "store" / "cases"), seconds

    started = time.perf_counter()
    np.savez_compressed(folder / "case.npz", **data.arrays)
    seconds = time.perf_counter() - started

    def from_archive(part: tuple[slice, ...]) -> list[np.ndarray]:
        with np.load(folder / "case.npz") as archive:
            return [_part(archive[name], name, part) for name in ("ct", "masks", "dose", "region")]

    yield "npz", from_archive, (folder / "case.npz").stat().st_size, seconds

    started = time.perf_counter()
    (folder / "npy").mkdir()
    for name, array in data.arrays.items():
        np.save(folder / "npy" / f"{name}.npy", array)
    seconds = time.perf_counter() - started
    mapped = {name: np.load(folder / "npy" / f"{name}.npy", mmap_mode="r") for name in data.arrays}

    def from_mapped(part: tuple[slice, ...]) -> list[np.ndarray]:
        return [_part(mapped[name], name, part) for name in ("ct", "masks", "dose", "region")]

    yield "mapped npy", from_mapped, _bytes(folder / "npy"), seconds


def _part(array: np.ndarray, name: str, part: tuple[slice, ...]) -> np.ndarray:
    return np.array(array[(MASKS if name == "masks" else slice(None), *part)])


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def milliseconds(read: Read, parts: list[tuple[slice, ...]]) -> tuple[float, float]:
    """Median and 95th percentile of the time of one read."""
    read(parts[0])
    times = []
    for part in parts:
        started = time.perf_counter()
        read(part)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), float(np.percentile(times, 95))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis (at least 64)")
    parser.add_argument("--repeats", type=int, default=200, help="slices; a tenth as many patches and npz reads")
    options = parser.parse_args()
    random = np.random.default_rng(1)
    size, few = options.size, max(3, options.repeats // 10)
    slices = [(slice(place, place + 1),) for place in random.integers(0, size, options.repeats).tolist()]
    corners = random.integers(0, size - PATCH + 1, (few, 3)).tolist()
    patches = [tuple(slice(place, place + PATCH) for place in corner) for corner in corners]
    print(f"{'':16}{'write s':>9}{'MB':>8}{'slice ms (95 %)':>20}{'patch ms (95 %)':>20}")
    expected: list[np.ndarray] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for name, read, stored, seconds in readers(Path(folder), size):
            found = read(slices[0]) + read(patches[0])
            if expected is not None and not all(map(np.array_equal, found, expected)):
                raise SystemExit(f"{name} read other values")
            expected = found
            slice_time = milliseconds(read, slices[:few] if name == "npz" else slices)
            patch_time = milliseconds(read, patches)
            print(
                f"{name:16}{seconds:9.2f}{stored / 1e6:8.2f}"
                + "".join(f"{middle:10.2f} ({high:7.2f})" for middle, high in (slice_time, patch_time))
            )


if __name__ == "__main__":
    main()
