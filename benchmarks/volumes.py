"""What 3-D costs beside its networks: a draw of a foreground voxel, and the masks of nine beams.

Run ``python benchmarks/volumes.py``. Everything is measured in one process with one thread, interleaved, in processor
time. The cases are generated: 128^3 voxels with ten ellipsoids, as OpenKBP's patients have structures.

- A draw by the index (:mod:`crosstask.store.foreground`) against one that reads the whole mask of a class and finds its
  voxels, as it was done before there was the index. Both give the same voxel of the same random numbers.
- Nine beams of a patch of 64^3 as they are computed for it, against reading nine masks of that patch from a store.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from generated import Cases, ball, random_of
from rows import Row

from crosstask.datasets.base import Case, CaseData
from crosstask.geometry import Geometry
from crosstask.inputs import Beams
from crosstask.store import CaseArrays, Store, prepare
from crosstask.store.foreground import Foreground

GRID = Geometry((128, 128, 128), (2.5, 3.9, 3.9))
NAMES = tuple(f"organ {number}" for number in range(9))
ANGLES = tuple(40.0 * number for number in range(9))
BEAMS = Beams("structures", ("PTV",), ANGLES, 5.0, 1000.0)
_PATCH = 64


class Generated(Cases):
    """A data set of ellipsoids, of which the last is a target, with the fields of nine beams beside it."""

    def read(self, case: Case) -> CaseData:
        """One case, always the same."""
        random = random_of(case)
        masks = np.stack([_organ(random) for _ in range(len(NAMES) + 1)])
        arrays = {"structures": masks, "image": random.integers(0, 2000, (1, *GRID.shape)).astype(np.int16)}
        channels: dict[str, tuple[str, ...]] = {"structures": (*NAMES, "PTV"), "image": ("image",)}
        data = CaseData(arrays, channels, GRID)
        fields = BEAMS.fields(data).astype(np.uint8)
        return CaseData({**arrays, "beams": fields}, {**channels, "beams": BEAMS.names}, GRID)


def _organ(random: np.random.Generator) -> np.ndarray:
    """An organ of 15 to 25 mm in half the volume's middle."""
    centre = np.array(GRID.shape) * random.uniform(0.3, 0.7, 3)
    return ball(GRID, centre, random.uniform(15, 25)).astype(np.uint8)


def drawn_from_mask(case: CaseArrays, channel: int, generator: np.random.Generator) -> int:
    """A random voxel of a class, by its whole mask."""
    return int(generator.choice(np.flatnonzero(case.read("structures", [channel])[0])))


def draws(store: Store, count: int) -> tuple[float, float]:
    """Processor time of a draw by the whole mask and by the index: medians of so many, interleaved."""
    cases, index = [case.id for case in store.cases], Foreground(store)
    for case in cases:  # as after the first epoch
        index.of(case, "structures")
    before, after = [], []
    for draw in range(count):
        case, channel = cases[draw % len(cases)], draw % len(NAMES)
        started = time.process_time()
        found = drawn_from_mask(store.open(case), channel, np.random.default_rng(draw))
        middle = time.process_time()
        own = index.of(case, "structures")
        again = own.voxel(channel, int(np.random.default_rng(draw).integers(own.counts[channel])))
        after.append(time.process_time() - middle)
        before.append(middle - started)
        if found != again:
            raise AssertionError("the index draws other voxels")
    return statistics.median(before), statistics.median(after)


def beams(store: Store, count: int, runs: int) -> tuple[float, float]:
    """Processor time of nine masks of a patch, read from the store and computed: medians, interleaved."""
    random = np.random.default_rng(0)
    case = store.open(store.cases[0].id)
    ways = {
        "kept": lambda part: case.read("beams", None, part).astype(np.float32),
        "computed": lambda part: BEAMS.fields(case, part),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(runs * count):
        part = tuple(slice(at, at + _PATCH) for at in random.integers(0, GRID.shape[0] - _PATCH, 3).tolist())
        for way, work in ways.items():
            started = time.process_time()
            work(part)
            times[way].append(time.process_time() - started)
    return statistics.median(times["kept"]), statistics.median(times["computed"])


def rows(short: bool) -> Iterator[Row]:
    """The rows of the table of performance."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Generated(2 if short else 8, GRID), Path(folder) / "store", workers=1)
        store = Store(Path(folder) / "store")
        before, after = draws(store, 60 if short else 400)
        yield Row(
            "draw of a foreground voxel, by the index of a case against its whole mask, 128^3",
            before / after,
            10.0,
            lower_is_better=False,
            note=f"{1e3 * before:.2f} ms against {1e3 * after:.3f} ms",
        )
        kept, computed = beams(store, 4 if short else 10, 3 if short else 7)
        yield Row(
            "masks of nine beams of a patch of 64^3, computed against read from a store",
            computed / kept,
            3.0,
            lower_is_better=True,
            note=f"{1e3 * computed:.1f} ms against {1e3 * kept:.1f} ms",
        )


def main() -> None:
    """Print the rows."""
    for row in rows(short="--short" in sys.argv):
        print(f"{row.what}: {row.measured:.2f} {row.unit} (bound {row.bound:g}); {row.note}")


if __name__ == "__main__":
    main()
