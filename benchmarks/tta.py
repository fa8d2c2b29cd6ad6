"""What test-time augmentation brings: runs of a trained benchmark, scored on its test cases with and without.

Run ``python benchmarks/tta.py BENCHMARK_DIR [--method ctan]``; the networks see whole images (``sample.kind: image`` or
``volume``). Every case is read and resized once for all runs, which is why this is quicker than ``crosstask evaluate
RUN evaluation.tta=flips`` run by run; the figures are the same. What is kept: nothing; it prints each run's figures and
the mean difference over the seeds of a method with its 95 % interval by Student's t, which is over runs alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from crosstask.evaluation.evaluate import arrays_of, score_case
from crosstask.evaluation.predictions import cohort_rows, prediction_rows, prediction_table
from crosstask.experiment import with_evaluation
from crosstask.functional.resize import resize
from crosstask.pipeline.subject import experiment_at
from crosstask.prediction.predictor import Predictor
from crosstask.runs import RunSpec, run_specs
from crosstask.splits import splits_of
from crosstask.store import Store

_BATCH = 32
WAYS = {"without": (), "with": ("evaluation.tta=flips",)}


class Rows:
    """Figures of one run, one way, case by case."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.assembly = predictor, predictor.assembly.for_scoring()
        self.scores: dict[tuple[str, str], list[float]] = {}
        self.labels: list[tuple[object, ...]] = []

    def add(self, case_id: str, case, values: dict[str, np.ndarray]) -> None:
        """A case with what was predicted of it."""
        for task, _, metric, value, *_ in score_case(None, self.assembly, case, values):
            self.scores.setdefault((task, metric), []).append(value)
        for task in self.assembly.tasks:
            if task.level == "image":
                target, present = self.assembly.target(task, case)
                head = (self.predictor.spec.key, self.predictor.spec.seed, case_id)
                self.labels += [(*head, *row) for row in prediction_rows(task, values[task.name], target, present)]

    def figures(self) -> Iterator[tuple[str, str, float]]:
        """(task, metric, value): the first metric of each task."""
        table = prediction_table(self.labels)
        for task in self.assembly.tasks:
            first = task.metrics()[0]
            if first.of == "case":
                yield task.name, first.name, float(np.mean(self.scores[task.name, first.name]))
            else:
                part = table[table["task"] == task.name]
                yield from ((task.name, metric, value) for _, metric, value, *_ in cohort_rows([first], part))


def score(specs: Sequence[RunSpec], store: Store, cases: Sequence[str]) -> dict[str, list[Rows]]:
    """Both ways of all runs, ``{way: one a run}``."""
    predictors = [Predictor(spec.folder, device="cpu") for spec in specs]
    mirrored = [with_evaluation(spec.experiment, WAYS["with"]) for spec in specs]
    found = {way: [Rows(predictor) for predictor in predictors] for way in WAYS}
    for start in range(0, len(cases), _BATCH):
        ids = cases[start : start + _BATCH]
        whole = [arrays_of(store, case_id) for case_id in ids]
        seen = [
            resize(torch.from_numpy(predictors[0].assembly.image(case))[None], specs[0].experiment.sample.size)
            for case in whole
        ]
        for index, predictor in enumerate(predictors):
            own = predictor.experiment
            for way in WAYS:
                predictor.experiment = mirrored[index] if way == "with" else own
                with torch.inference_mode():
                    decoded = predictor.decoded(torch.cat(seen))
                for place, (case_id, case) in enumerate(zip(ids, whole, strict=True)):
                    values = {
                        task.name: resize(decoded[task.name][place : place + 1].float(), case.geometry.shape)[0].numpy()
                        if task.level == "pixel"
                        else decoded[task.name][place].float().numpy()
                        for task in predictor.tasks
                    }
                    found[way][index].add(case_id, case, values)
            predictor.experiment = own
        print(f"{start + len(ids)} of {len(cases)} cases", flush=True)
    return found


def main() -> None:
    """Score, and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--method", action="append", help="only this one; may be repeated")
    given = parser.parse_args()
    experiment = experiment_at(given.benchmark)
    specs = [spec for spec in run_specs(experiment) if not given.method or spec.key in given.method]
    store = Store(experiment.store_folder)
    cases = splits_of(store, specs[0].experiment.dataset, "image", needed=("test",))["test"]
    found = score(specs, store, cases)
    differences: dict[tuple[str, str, str], list[float]] = {}
    for index, spec in enumerate(specs):
        for (task, metric, before), (*_, after) in zip(*(found[way][index].figures() for way in WAYS), strict=True):
            print(f"{spec.name}: {task} {metric} {before:.3f} without, {after:.3f} with")
            differences.setdefault((spec.key, task, metric), []).append(after - before)
    for (key, task, metric), values in differences.items():
        middle, count = float(np.mean(values)), len(values)
        half = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count) if count > 1 else math.nan
        print(f"{key} {task} {metric}: {middle:+.3f} [{middle - half:+.3f}, {middle + half:+.3f}], {count} runs")


if __name__ == "__main__":
    main()
