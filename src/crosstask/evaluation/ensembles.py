"""Ensembles of seeds beside their seeds: figures from tables of scores and of image-level predictions. No torch here.

An ensemble is one thing: there is no second one, so nothing is known of the chance of training it, and its intervals
are over cases alone. It has no verdict and no rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.resampling import Values, case_values, cohort_values, draw
from crosstask.evaluation.scores import score_table
from crosstask.functional.uncertainty import error_within_spread
from crosstask.tasks.base import Metric, Task

ENSEMBLE = -1
"""Stands for the seed in tables of an ensemble."""
OF_SPREAD = ("within_1sd", "within_2sd", "error_spread_correlation")
"""What the spread of a quantity says of its error; a single seed has none of these."""
_MOST_LOST = 0.05  # share of the resamplings without a figure beyond which there is no interval
_CELL = ["case", "task", "values", "class"]


@dataclass(frozen=True)
class EnsembleFigure:
    """A metric of an ensemble, and of its seeds.

    Attributes:
        method, task, metric, unit: of what.
        higher_is_better: which way; None of what has a right value, and none of the best.
        seeds: how many.
        alone: mean over the seeds, each for itself; NaN where a seed has no such figure.
        together: of the ensemble.
        low, high: interval of ``together`` over the test cases; NaN where there is none.
        cases: how many there are.
    """

    method: str
    task: str
    metric: str
    unit: str
    higher_is_better: bool | None
    seeds: int
    alone: float
    together: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True)
class Resampling:
    """How intervals come about: draws of groups of cases.

    Attributes:
        groups: ``{case: group}``.
        number: of draws.
        level: of confidence.
        least: positives that a class must have to count.
    """

    groups: Mapping[str, str]
    number: int
    level: float
    least: int = 1


def mean_predictions(predictions: pd.DataFrame, thresholds: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Image-level predictions of an ensemble from those of its seeds; no network is needed for them.

    Args:
        predictions: rows of one method; see :mod:`crosstask.evaluation.predictions`.
        thresholds: ``{task: {class: threshold}}`` of tasks that have any.

    Returns:
        The same columns, with :data:`ENSEMBLE` as seed, and ``spread``, the standard deviation over seeds.

    Raises:
        InputError: a seed has other cases or labels than the others.
    """
    columns = [*predictions.columns, "spread"]
    if predictions.empty:
        return predictions.assign(spread=[])
    grouped = predictions.groupby(_CELL, sort=False, dropna=False)
    table = grouped.agg(
        method=("method", "first"),
        target=("target", "first"),
        prediction=("prediction", "mean"),
        spread=("prediction", "std"),
        number=("seed", "nunique"),
    ).reset_index()
    seeds = predictions.groupby("task")["seed"].nunique()
    short = table[table["number"] < table["task"].map(seeds)]
    if len(short):
        row = short.iloc[0]
        raise InputError(
            f"{row['method']}: not every seed has a prediction of {row['task']!r} for case {row['case']}; run "
            "crosstask benchmark again, which scores what is lacking"
        )
    table["seed"] = ENSEMBLE
    table["decision"] = _decisions(table, thresholds)
    return table[columns]


def _decisions(table: pd.DataFrame, thresholds: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """What predictions amount to: a quantity itself, a class, or what is above its threshold.

    Of classes that exclude each other it is the most probable one, or with thresholds the one with the highest ratio.
    """
    decision = table["prediction"].to_numpy(dtype=float).copy()
    for task, part in table.groupby("task", sort=False):
        kind, rows = part["values"].iloc[0], part.index.to_numpy()
        if kind == "softmax":
            ratio = part["prediction"]
            if str(task) in thresholds:
                ratio = ratio / part["class"].map(dict(thresholds[str(task)])).astype(float)
            highest = ratio.groupby(part["case"], sort=False).idxmax()
            decision[rows] = 0.0
            decision[highest.to_numpy()] = 1.0
        elif kind == "sigmoid":
            limits = part["class"].map(dict(thresholds[str(task)])).to_numpy(dtype=float)
            decision[rows] = part["prediction"].to_numpy(dtype=float) > limits
    return decision


def figures_of(
    tasks: Iterable[Task],
    pixel: tuple[pd.DataFrame, pd.DataFrame],
    image: tuple[pd.DataFrame, pd.DataFrame],
    how: Resampling,
) -> list[EnsembleFigure]:
    """Every figure of a method's ensemble.

    Args:
        tasks: of the experiment.
        pixel: long tables of scores, of the ensemble and of its seeds alone.
        image: image-level predictions, of the ensemble and of its seeds alone.
        how: intervals come about.
    """
    together, alone = (_joined(scores, _errors(table)) for scores, table in zip(pixel, image, strict=True))
    found: list[EnsembleFigure] = []
    for task in tasks:
        known = {metric.name: metric for metric in task.metrics()}
        own = together[together["task"] == task.name]
        names = list(dict.fromkeys([*known, *own["metric"]]))
        for name in names:
            metric = known.get(name)
            if metric is not None and metric.of == "cohort":
                found += _cohort_figure(task, metric, image, how)
            elif (rows := own[own["metric"] == name]).size:
                found.append(_case_figure(task.name, metric or _metric_of(rows), rows, alone, how))
        found += _scalar_spread(task, *image)
    return found


def _joined(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Both tables; an empty one has no say in the types of the columns."""
    return pd.concat([table for table in (one, other) if len(table)] or [one], ignore_index=True)


def _errors(predictions: pd.DataFrame) -> pd.DataFrame:
    """Absolute errors of quantities of whole cases, as a long table of scores."""
    part = predictions[predictions["values"] == "quantity"] if len(predictions) else predictions
    rows = part[["method", "seed", "case", "task", "class", "target", "prediction"]].itertuples(index=False, name=None)
    return score_table((*head, "mae", abs(value - target), "", False) for *head, target, value in rows)


def _metric_of(rows: pd.DataFrame) -> Metric:
    """A metric that is none of the task's own, by its rows."""
    first = rows.iloc[0]
    return Metric(str(first["metric"]), str(first["unit"]), bool(first["higher_is_better"]))


def _case_figure(task: str, metric: Metric, rows: pd.DataFrame, alone: pd.DataFrame, how: Resampling) -> EnsembleFigure:
    """A metric that every case has."""
    method, name = str(rows["method"].iloc[0]), metric.name
    values = case_values(rows, task, name, [method], by_seed=False)
    seeds: list[float] = []
    if name not in OF_SPREAD:
        of_seeds = case_values(alone, task, name, [method], by_seed=False)
        seeds = [float(figure(None)[0]) for figure in of_seeds.figures[method]]
    return _figure(method, metric, task, values, seeds, alone["seed"].nunique(), how)


def _cohort_figure(
    task: Task, metric: Metric, image: tuple[pd.DataFrame, pd.DataFrame], how: Resampling
) -> list[EnsembleFigure]:
    """A metric of all cases together; none where the method does not learn the task."""
    together, alone = (table[table["task"] == task.name] if len(table) else table for table in image)
    if not len(together):
        return []
    method = str(together["method"].iloc[0])
    options = {"by_seed": False, "least": how.least, "groups": how.groups}
    values = cohort_values(together, task.name, metric.name, [method], **options)  # type: ignore[arg-type]
    of_seeds = cohort_values(alone, task.name, metric.name, [method], **options)  # type: ignore[arg-type]
    seeds = [float(figure(None)[0]) for figure in of_seeds.figures[method]]
    return [_figure(method, metric, task.name, values, seeds, len(seeds), how)]


def _figure(
    method: str, metric: Metric, task: str, values: Values, seeds: Sequence[float], number: int, how: Resampling
) -> EnsembleFigure:
    (figure,) = values.figures[method]
    draws = draw({task: values}, how.groups, how.number, np.random.default_rng(0))
    (drawn,) = draws.resampled({task: [figure]})[task]
    lost = ~np.isfinite(drawn)
    low = high = math.nan
    if draws.groups[task] > 1 and lost.mean() <= _MOST_LOST:
        low, high = np.quantile(drawn[~lost], [(1 - how.level) / 2, (1 + how.level) / 2]).tolist()
    return EnsembleFigure(
        method,
        task,
        metric.name,
        metric.unit,
        None if metric.name in OF_SPREAD[:2] else metric.higher_is_better,
        number,
        math.fsum(seeds) / len(seeds) if seeds else math.nan,
        float(figure(None)[0]),
        low,
        high,
        len(values.cases),
    )


def _scalar_spread(task: Task, together: pd.DataFrame, alone: pd.DataFrame) -> list[EnsembleFigure]:
    """What the spread of a quantity of whole cases says of its error, over the cases."""
    part = together[(together["task"] == task.name) & (together["values"] == "quantity")]
    if part.empty:
        return []
    error = (part["prediction"] - part["target"]).to_numpy(dtype=float)
    found = error_within_spread(error, part["spread"].to_numpy(dtype=float))
    method, nan = str(part["method"].iloc[0]), math.nan
    seeds = alone[alone["task"] == task.name]["seed"].nunique()
    higher = dict.fromkeys(OF_SPREAD[:2], None)
    return [
        EnsembleFigure(
            method,
            task.name,
            name,
            "%" if name in higher else "",
            higher.get(name, True),
            seeds,
            nan,
            value,
            nan,
            nan,
            len(part),
        )
        for name, value in found.items()
    ]
