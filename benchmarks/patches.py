"""Patches of lesions a second, on one core with one thread, from prepared cases.

Run ``python benchmarks/patches.py [--store PATH]``. What is timed is one training sample at a time, in random order, as
the papers' experiments with lesions take them: a 64 x 64 patch of 0.5 mm, shifted and turned two times in three, in
three windows, resized to 224 x 224. The cases are generated (a CT of 128 x 256 x 256 voxels of 1.25 x 0.7 x 0.7 mm each
with an ellipsoid of 30 mm), or those of a store. Lesions are in memory after each was touched once; ``--cold`` keeps
none, so that every patch is read from the store.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from generated import Cases, ball, random_of

from crosstask.assembly import Assembly
from crosstask.datasets.base import Case, CaseData
from crosstask.experiment import LesionSection
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare
from crosstask.tasks import ClassificationTask
from crosstask.training.lesion import KEPT_BYTES, LesionSamples

WINDOWS = ((-800.0, -200.0), (-200.0, 400.0), (-1000.0, 400.0))
SIZE = (224, 224)
GRID = Geometry((128, 256, 256), (1.25, 0.7, 0.7))


class Generated(Cases):
    """A data set of noisy lungs with an ellipsoid each."""

    def read(self, case: Case) -> CaseData:
        """One case, always the same."""
        random = random_of(case)
        mask = ball(GRID, np.array(GRID.shape) * random.uniform(0.35, 0.65, 3), 15)
        ct = random.normal(-800, 60, GRID.shape)
        ct[mask] += 750
        arrays = {
            "image": ct.astype(np.int16)[None],
            "segmentation": mask.astype(np.uint8)[None],
            "label": np.array([1.0], np.float32),
        }
        channels: dict[str, tuple[str, ...]] = {"image": ("image",), "segmentation": ("Lesion",), "label": ("label",)}
        return CaseData(arrays, channels, GRID)


def rates(samples: LesionSamples, count: int, runs: int) -> tuple[list[float], list[float]]:
    """Patches a second of wall time and of processor time, of each run."""
    for case in dict.fromkeys(samples.cases):
        samples[samples.cases.index(case)]
    order = np.random.default_rng(0).permutation(len(samples)).tolist()
    wall, processor = [], []
    for run in range(runs):
        chosen = [order[(run * count + place) % len(order)] for place in range(count)]
        started, worked = time.perf_counter(), time.process_time()
        for index in chosen:
            samples[index]
        wall.append(count / (time.perf_counter() - started))
        processor.append(count / (time.process_time() - worked))
    return wall, processor


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a prepared store instead of generated cases")
    parser.add_argument("--outline", default="segmentation", help="its case array of outlines")
    parser.add_argument("--image", default="image", help="its case array of the image")
    parser.add_argument("--cases", type=int, default=8, help="generated cases")
    parser.add_argument("--count", type=int, default=600, help="patches of a run")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--cold", action="store_true", help="keep no lesion in memory")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = LesionSection(outline=options.outline)
    with tempfile.TemporaryDirectory() as folder:
        if options.store is None:
            print(f"generating {options.cases} cases", file=sys.stderr)
            prepare(Generated(options.cases, GRID), Path(folder) / "store", workers=1)
        store = Store(options.store or Path(folder) / "store")
        tasks = (ClassificationTask("label", "label", ["label"], exclusive=False),)
        assembly = Assembly(tasks, options.image, None, WINDOWS)
        kept = 0 if options.cold else KEPT_BYTES
        samples = LesionSamples(store, [case.id for case in store.cases], assembly, SIZE, settings, 0, kept)
        wall, processor = rates(samples, options.count, options.runs)
    print(f"{len(store)} cases, {options.runs} runs of {options.count} patches, median (lowest to highest):")
    for name, found in (("wall", wall), ("processor", processor)):
        median, low, high = statistics.median(found), min(found), max(found)
        print(f"  patches a second of {name} time: {median:.0f} ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
