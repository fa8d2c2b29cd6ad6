"""Figures of every method and seed on the same cases, and how often the bootstrap draws each case. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.benchmark.predictions import cohort_of, prediction_table
from crosstask.benchmark.scores import per_case
from crosstask.errors import InputError
from crosstask.functional.cohort import Cohort, cohort_metric, mean_over_classes

Figure = Callable[[np.ndarray | None], np.ndarray]
"""From weights ``r n`` of the cases (None: each once) to a metric, ``r``."""


@dataclass(frozen=True)
class Values:
    """A metric of one task under every method.

    Attributes:
        cases: the cases behind it, of all seeds together.
        figures: ``{method: one figure a seed}``.
    """

    cases: tuple[str, ...]
    figures: dict[str, list[Figure]]


def case_values(table: pd.DataFrame, task: str, metric: str, methods: Sequence[str], *, by_seed: bool) -> Values:
    """A metric that every case has: its mean over cases.

    Args:
        table: long table of scores.
        task: name of the task.
        metric: name of the metric.
        methods: which.
        by_seed: every seed has cases of its own, on which the methods must agree; else all seeds have the same.

    Raises:
        InputError: a method has no scores, or not of the cases that another has.
    """
    columns = _by_case(table, task, metric, methods).unstack(level="seed")
    missing = np.argwhere(columns.isna().to_numpy())
    if len(missing) and not by_seed:
        case, (_, seed) = columns.index[missing[0][0]], columns.columns[missing[0][1]]
        raise InputError(f"task {task!r}: case {case} is not scored with seed {seed}; evaluate again")
    cases = tuple(str(case) for case in columns.index)

    def mean(values: np.ndarray) -> Figure:
        own = ~np.isnan(values)

        def figure(weight: np.ndarray | None) -> np.ndarray:
            if weight is None:
                return values[own].mean(keepdims=True)
            with np.errstate(invalid="ignore"):
                return weight[:, own] @ values[own] / weight[:, own].sum(1)

        return figure

    return Values(
        cases, {method: [mean(column) for column in columns[method].to_numpy(dtype=float).T] for method in methods}
    )


def _by_case(table: pd.DataFrame, task: str, metric: str, methods: Sequence[str]) -> pd.DataFrame:
    """Value per (seed, case), one column a method."""
    asked = table["method"].isin(list(methods))
    part = table[asked & (table["task"] == task) & (table["metric"] == metric)]
    frame = per_case(part).pivot(index=["seed", "case"], columns="method", values="value")
    for method in methods:
        if method not in frame.columns or frame[method].dropna().empty:
            raise InputError(f"method {method!r} has no score {metric!r} for task {task!r}; evaluate it")
    whole = frame[list(methods)]
    if whole.isna().to_numpy().any():
        seed, case = whole.index[whole.isna().any(axis=1)][0]
        raise InputError(f"task {task!r}: case {case}, seed {seed} is not scored by every method; evaluate again")
    return whole


def cohort_values(
    predictions: pd.DataFrame | None,
    task: str,
    metric: str,
    methods: Sequence[str],
    *,
    by_seed: bool,
    classes: Sequence[str] | None = None,
    index: int | None = None,
) -> Values:
    """A metric of all cases together, from their predictions: mean over the classes, or that of one of them.

    Args:
        predictions: table of image-level predictions.
        task: name of the task.
        metric: name of the metric.
        methods: which.
        by_seed: every seed has cases of its own, on which the methods must agree; else all seeds have the same.
        classes: in order; by default as they come.
        index: the class.

    Raises:
        InputError: a method has no predictions, or not of the cases that another has.
    """
    figures: dict[str, list[Figure]] = {method: [] for method in methods}
    part = prediction_table([]) if predictions is None else predictions[predictions["task"] == task]
    part = part[part["method"].isin(list(methods))]
    for method in methods:
        if method not in set(part["method"]):
            raise InputError(
                f"method {method!r} has no predictions for task {task!r}: no case has its label, or it was not "
                "evaluated"
            )
    labels = {run: set(zip(rows["case"], rows["class"], strict=True)) for run, rows in part.groupby(["method", "seed"])}
    known = set().union(*labels.values())
    cases = tuple(sorted({case for case, _ in known}))
    for seed in sorted(part["seed"].unique()):
        wanted = set().union(*(there for (_, other), there in labels.items() if other == seed)) if by_seed else known
        for method in methods:
            there = labels.get((method, seed), set())
            if there != wanted:
                case = min(wanted - there)[0]
                raise InputError(
                    f"task {task!r}: case {case}, seed {seed} is not scored by every method; evaluate again"
                )
            rows = part[(part["method"] == method) & (part["seed"] == seed)]
            # a case of another seed has no label here, and so counts for nothing
            _, _, cohort = cohort_of(rows, cases, classes)

            def figure(weight: np.ndarray | None, cohort: Cohort = cohort) -> np.ndarray:
                values = cohort_metric(metric, cohort, weight)
                return mean_over_classes(values) if index is None else values[:, min(index, values.shape[1] - 1)]

            figures[method].append(figure)
    return Values(cases, figures)


def drawn_weights(
    values: Mapping[str, Values], groups: Mapping[str, str], resamplings: int, generator: np.random.Generator
) -> tuple[dict[str, np.ndarray], int]:
    """How often each resampling draws each task's cases, ``{task: r n}``, and the number of groups to draw from."""
    cases = sorted({case for found in values.values() for case in found.cases})
    names = sorted({groups.get(case, case) for case in cases})
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((resamplings, len(names)))
    for row, drawn in enumerate(generator.integers(0, len(names), (resamplings, len(names)))):
        counts[row] = np.bincount(drawn, minlength=len(names))
    return {
        task: counts[:, [place[groups.get(case, case)] for case in found.cases]] for task, found in values.items()
    }, len(names)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled values; NaN if more than one in twenty is not defined (no case of a rare class)."""
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.95 * len(draws):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
