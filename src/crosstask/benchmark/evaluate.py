"""Scores of a trained run, and of the constant predictor that any network must beat, on whole cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from crosstask.assembly import Assembly
from crosstask.benchmark.scores import score_table
from crosstask.datasets.base import CaseData, Dataset, Split
from crosstask.experiment import Experiment
from crosstask.network import assembly_of, dataset_of
from crosstask.prediction.predictor import Predictor
from crosstask.splits import split_cases
from crosstask.store import Store
from crosstask.store.statistics import channel_statistics
from crosstask.tasks.base import Task

Progress = Callable[[int, int, str], None]
CONSTANT = "constant"


def evaluate_run(
    folder: Path,
    store: Store,
    *,
    split: Split = "test",
    weights: str = "best",
    device: str = "cpu",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predict every case of a split and score it.

    Args:
        folder: the run folder.
        store: the prepared cases.
        split: which cases.
        weights: ``best`` or ``final``.
        device: of the network.
        progress: told (done, total, case) after each case.

    Returns:
        The long table; see :mod:`crosstask.benchmark.scores`.
    """
    predictor = Predictor(folder, weights=weights, device=device)
    plan = predictor.plan
    cases = split_cases(store.cases, plan.experiment.dataset, needed=(split,))[split]
    rows: list[tuple[object, ...]] = []
    for done, case_id in enumerate(cases, 1):
        arrays = store.open(case_id)
        prediction = predictor.predict(case_id, arrays, arrays.geometry)
        if plan.experiment.evaluation.keep_predictions:
            _keep(folder / "predictions" / f"{case_id}.npz", prediction.values)
        case = CaseData({name: arrays.read(name) for name in arrays.names}, dict(arrays.channels), arrays.geometry)
        for row in score_case(predictor.dataset, predictor.assembly, case, prediction.values):
            rows.append((plan.method.name, plan.seed, case_id, *row))
        if progress:
            progress(done, len(cases), case_id)
    return score_table(rows)


def evaluate_constant(
    experiment: Experiment, store: Store, *, split: Split = "test", progress: Progress | None = None
) -> pd.DataFrame:
    """Scores of the best constant prediction: no mask, and inside the region the training cases' median."""
    dataset = dataset_of(experiment)
    assembly = assembly_of(experiment, dataset)
    splits = split_cases(store.cases, experiment.dataset, needed=("train", split))
    for task in assembly.tasks:
        task.fit(channel_statistics(store, splits["train"], task.source, task.classes, assembly.region_source))
    rows: list[tuple[object, ...]] = []
    for done, case_id in enumerate(splits[split], 1):
        arrays = store.open(case_id)
        case = CaseData({name: arrays.read(name) for name in arrays.names}, dict(arrays.channels), arrays.geometry)
        region = assembly.region(case)
        values = {task.name: task.constant(arrays.geometry.shape, region) for task in assembly.tasks}
        for row in score_case(dataset, assembly, case, values):
            rows.append((CONSTANT, 0, case_id, *row))
        if progress:
            progress(done, len(splits[split]), case_id)
    return score_table(rows)


def score_case(
    dataset: Dataset, assembly: Assembly, case: CaseData, values: dict[str, np.ndarray]
) -> Iterator[tuple[str, str, str, float, str, bool]]:
    """Rows (task, class, metric, value, unit, higher is better) of one case: the tasks' own and the data set's."""
    region = assembly.region(case)
    for task in assembly.tasks:
        target, present = assembly.target(task, case)
        directions = {metric.name: metric for metric in task.metrics()}
        for name, metric, value in task.score(values[task.name], target, present, region):
            direction = directions[metric]
            yield task.name, name, metric, value, direction.unit, direction.higher_is_better
    classes = {task.name: task.classes for task in assembly.tasks}
    units: dict[str, Task] = {task.name: task for task in assembly.tasks}
    for task_name, name, metric, value in dataset.scores(case, values, classes):
        yield task_name, name, metric, value, units[task_name].unit, False


def _keep(path: Path, values: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part.npz")
    np.savez_compressed(temporary, **values)  # type: ignore[arg-type]
    temporary.replace(path)
