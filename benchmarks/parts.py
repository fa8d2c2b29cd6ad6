"""CPU time of what a comparison does beside training: splits, resamplings, thresholds, verdicts, augmentation.

    OMP_NUM_THREADS=1 python benchmarks/parts.py [--rounds 5]

Generated cases of realistic number (HAM10000's 8,000 images, 1,600 of them in the test set, 2,000 resamplings). The
median of the rounds is printed, with what one would notice: a part that grows with the square of its cases.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import crosstask
from crosstask.assembly import Assembly
from crosstask.experiment import AugmentationSection, DatasetSection, SplitSection
from crosstask.functional.cohort import Cohort, best_threshold, cohort_metric
from crosstask.sample import Sample
from crosstask.splits import split_cases
from crosstask.tasks import SegmentationTask
from crosstask.training.augmentation import Augmentation


@dataclass
class Picture:
    """What a split needs of a case."""

    id: str
    group: str
    split: str = ""


def splits(number: int) -> Callable[[], object]:
    """Draw stratified splits of pictures, a quarter of which share a lesion."""
    random = np.random.default_rng(0)
    own = number * 3 // 4
    groups = np.r_[np.arange(own), random.integers(0, own, number - own)]
    cases = [Picture(f"i{index}", f"g{group}") for index, group in enumerate(groups)]
    strata = {case.id: str(label) for case, label in zip(cases, random.choice(7, number), strict=True)}
    rule = SplitSection(rule="drawn", stratify="diagnosis")
    section = DatasetSection(name="lesions", root=Path("raw"), tasks={"dose": {}}, splits=rule)
    return lambda: split_cases(cases, section, strata=strata, digests={case.id: case.id for case in cases})


def resamplings(name: str, number: int) -> Callable[[], object]:
    """2,000 bootstrap values of a figure of seven exclusive classes."""
    random = np.random.default_rng(0)
    target = np.eye(7, dtype=np.float32)[random.integers(0, 7, number)]
    probability = random.dirichlet(np.ones(7), number).astype(np.float32)
    decision = np.eye(7, dtype=np.float32)[probability.argmax(1)]
    cohort = Cohort(probability, target, np.ones(target.shape, dtype=bool), decision)
    weight = random.multinomial(number, np.full(number, 1 / number), 2000)
    return lambda: cohort_metric(name, cohort, weight)


def threshold(number: int) -> Callable[[], object]:
    """The threshold of the best balanced accuracy."""
    random = np.random.default_rng(0)
    probability = random.random(number)
    target = random.random(number) < probability
    return lambda: best_threshold(target, probability)


def verdict(number: int) -> Callable[[], object]:
    """A comparison of four methods, five seeds and two tasks from a table of scores."""
    random = np.random.default_rng(0)
    frame = pd.MultiIndex.from_product(
        [("stl", "a", "b", "c"), range(5), [f"p{case}" for case in range(number)], ("organs", "dose")],
        names=["method", "seed", "case", "task"],
    ).to_frame(index=False)
    dose = frame["task"] == "dose"
    frame["metric"] = np.where(dose, "mae", "dice")
    frame["value"] = np.where(dose, 3.0, 75.0) + random.normal(size=len(frame)) * np.where(dose, 0.3, 5.0)
    frame["higher_is_better"] = ~dose
    return lambda: crosstask.compare(frame, baseline="stl")


def augmentation(size: int) -> Callable[[], object]:
    """Flips, rotation, scale, intensity and noise of one slice."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    body = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < size**2 / 16).float()[None]
    assembly = Assembly(
        (SegmentationTask("mask", "masks", ["body"]),),
        "image",
        "region",
        ((0.0, 1.0),),
        structure_array="masks",
        structures=("body",),
    )
    sample = Sample(
        image=2 * body - 1,
        targets={"mask": body},
        present={"mask": torch.tensor([True])},
        region=body > 0,
        case="c",
        position=(0,),
    )
    settings = AugmentationSection(flip=["x", "y"], rotate=30, scale=0.2, intensity=0.2, noise=0.1)
    change, generator = Augmentation(settings, assembly), np.random.default_rng(0)
    return lambda: change(sample, generator)


def parts() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is measured, by name."""
    for number in (4000, 8000):
        yield f"stratified splits, {number:,} images", splits(number)
    for name in ("balanced_accuracy", "auc"):
        yield f"2,000 resamplings of {name}, 1,600 cases", resamplings(name, 1600)
    for number in (150_000, 300_000):
        yield f"best threshold, {number:,} cases", threshold(number)
    for number in (200, 1600):
        yield f"verdict of 4 methods, 5 seeds, 2 tasks, {number:,} cases", verdict(number)
    for size in (64, 128):
        yield f"augmentation of a {size} x {size} slice", augmentation(size)


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for name, call in parts():
        call()
        taken = statistics.median(seconds(call) for _ in range(rounds))
        print(f"{name:60s} {1000 * taken:9.1f} ms", flush=True)


if __name__ == "__main__":
    main()
