"""The papers' Table 2: M per task, improvement over single-task learning, mean, rank; with intervals. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crosstask.benchmark.predictions import COHORT_CASE, cohort_of, prediction_table
from crosstask.benchmark.scores import per_case
from crosstask.errors import InputError
from crosstask.functional.cohort import Cohort, cohort_metric, mean_over_classes
from crosstask.functional.improvement import relative_improvement
from crosstask.methods import BASELINE
from crosstask.tasks.base import Task

_COMPANIONS = {"accuracy": "balanced_accuracy", "balanced_accuracy": "accuracy"}
"""Where one of two classes is rare, either of these misleads without the other: tables show both."""


@dataclass(frozen=True)
class Measure:
    """The metric by which a task is judged: its M.

    Attributes:
        task: name of the task.
        metric: name of the metric.
        unit: its unit.
        higher_is_better: its direction.
        of: ``case`` if every case has one, ``cohort`` if only many together have.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool
    of: Literal["case", "cohort"] = "case"

    @property
    def companion(self) -> str:
        """Metric that tables show beside it; empty if there is none."""
        return _COMPANIONS.get(self.metric, "")


@dataclass(frozen=True)
class Cell:
    """One method on one task.

    Attributes:
        value: M, mean over cases and seeds.
        deviation: standard deviation of M over seeds, NaN with one seed.
        improvement: over STL in percent; NaN for STL itself, without STL, and where M of STL is zero.
        low, high: 95 % interval of the improvement, from paired resampling of the cases.
        companion: the metric that M is not shown without, NaN if there is none.
    """

    value: float
    deviation: float
    improvement: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    companion: float = float("nan")


@dataclass(frozen=True)
class Row:
    """One method: a cell per task, the mean improvement with its interval, and the rank by it."""

    method: str
    cells: dict[str, Cell]
    mean: Cell
    rank: int | None


@dataclass(frozen=True)
class Comparison:
    """The table of one data set.

    Attributes:
        dataset: its name.
        measures: each task's M.
        rows: the methods, in the order given.
        cases: number of cases behind each figure, per task.
        groups: number of independent groups of cases, of all tasks.
        seeds: number of seeds.
    """

    dataset: str
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    cases: dict[str, int]
    groups: int
    seeds: int


def measure_of(task: Task) -> Measure:
    """The first metric of a task is its M."""
    first = task.metrics()[0]
    return Measure(task.name, first.name, first.unit, first.higher_is_better, first.of)


def measures_of(table: pd.DataFrame) -> tuple[Measure, ...]:
    """The first metric of each task in the table is its M."""
    first = table.drop_duplicates("task")
    return tuple(
        Measure(
            str(row.task),
            str(row.metric),
            str(row.unit),
            bool(row.higher_is_better),
            "cohort" if row.case == COHORT_CASE else "case",
        )
        for row in first.itertuples(index=False)
    )


def compare(
    table: pd.DataFrame,
    *,
    dataset: str,
    methods: Sequence[str],
    predictions: pd.DataFrame | None = None,
    groups: Mapping[str, str] | None = None,
    measures: Sequence[Measure] | None = None,
    resamplings: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on the same cases.

    Where M of STL is zero there is no improvement to speak of: it stays NaN, and so do the method's mean and rank.

    M of a method is the mean over cases (of the mean over their classes), or a figure of all cases together, then the
    mean over seeds. The improvement is computed from unrounded M. Its interval resamples groups of cases that belong
    together, the same ones for both methods (a paired bootstrap), with the seeds averaged: it says how far the cases at
    hand carry, not how far another training would go astray. All tasks share the resampling, so that the interval of
    the mean knows how they go together.

    Args:
        table: long table of scores.
        dataset: name of the data set.
        methods: which to compare, in order; ``stl`` is the baseline.
        predictions: table of image-level predictions, for metrics of all cases together.
        groups: ``{case: group}``: cases of one patient or lesion are not independent; by default all are.
        measures: M of each task; by default the first metric of each task in the table. Metrics that are not defined
            for these cases (an AUC without a positive one) are not in it, so it is safer to give them.
        resamplings: number of bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a method has no scores, or methods or seeds were scored on different cases.
    """
    measures = tuple(measures if measures is not None else measures_of(table))
    values = {
        measure.task: _cohort_values(table, predictions, measure, methods)
        if measure.of == "cohort"
        else _case_values(table, measure, methods)
        for measure in measures
    }
    weights, number = _resampled(values, groups or {}, resamplings, np.random.default_rng(seed))
    cells: dict[str, dict[str, Cell]] = {method: {} for method in methods}
    draws: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    for measure in measures:
        found = values[measure.task]
        weight = weights[measure.task]
        beside = companions(table, measure, methods)
        by_seed = {method: [float(figure(None)[0]) for figure in found.figures[method]] for method in methods}
        means = {method: float(np.mean(by_seed[method])) for method in methods}
        drawn: dict[str, np.ndarray] = {}
        for method in methods:
            value, seeds = means[method], by_seed[method]
            deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan")
            if method == BASELINE or BASELINE not in methods:
                cells[method][measure.task] = Cell(value, deviation, companion=beside[method])
                continue
            try:
                improvement = relative_improvement(means[BASELINE], value, higher_is_better=measure.higher_is_better)
            except ValueError:
                cells[method][measure.task] = Cell(value, deviation, companion=beside[method])
                draws[method].append(np.full(resamplings, np.nan))
                continue
            for name in (BASELINE, method):
                if name not in drawn:
                    drawn[name] = np.mean([figure(weight) for figure in found.figures[name]], axis=0)
            resampled = _improvements(drawn[BASELINE], drawn[method], measure)
            draws[method].append(resampled)
            cells[method][measure.task] = Cell(
                value, deviation, improvement, *_interval(resampled), companion=beside[method]
            )
    overall = {method: _mean_cell(list(cells[method].values()), draws[method]) for method in methods}
    ranks = _ranks(overall, methods)
    return Comparison(
        dataset=dataset,
        measures=measures,
        rows=tuple(Row(method, cells[method], overall[method], ranks.get(method)) for method in methods),
        cases={task: len(found.cases) for task, found in values.items()},
        groups=number,
        seeds=table[table["method"].isin(list(methods))]["seed"].nunique(),
    )


def companions(table: pd.DataFrame, measure: Measure, methods: Sequence[str]) -> dict[str, float]:
    """Each method's value of the metric that M is not shown without, mean over seeds; NaN if there is none."""
    part = table[(table["task"] == measure.task) & (table["metric"] == measure.companion)]
    means = per_case(part).groupby("method")["value"].mean()
    return {method: float(means.get(method, float("nan"))) for method in methods}


def average(comparisons: Sequence[Comparison]) -> Comparison:
    """Average improvement per task position over several data sets, as the last block of the papers' Table 2.

    Raises:
        InputError: the data sets differ in methods or number of tasks.
    """
    first = comparisons[0]
    methods = [row.method for row in first.rows]
    for other in comparisons[1:]:
        if [row.method for row in other.rows] != methods:
            raise InputError(f"{other.dataset} and {first.dataset} differ in methods: no average; set methods=[...]")
        if len(other.measures) != len(first.measures):
            raise InputError(
                f"{first.dataset} has {len(first.measures)} tasks and {other.dataset} {len(other.measures)}: no "
                "average, which goes by the position of tasks; compare them one by one, or set dataset.tasks"
            )
    positions = [f"task {index + 1}" for index in range(len(first.measures))]
    cells: dict[str, dict[str, Cell]] = {}
    overall: dict[str, Cell] = {}
    for index, method in enumerate(methods):
        cells[method] = {}
        for position, name in enumerate(positions):
            gains = [
                comparison.rows[index].cells[comparison.measures[position].task].improvement
                for comparison in comparisons
            ]
            cells[method][name] = Cell(float("nan"), float("nan"), float(np.mean(gains)))
        gains = [comparison.rows[index].mean.improvement for comparison in comparisons]
        overall[method] = Cell(float("nan"), float("nan"), float(np.mean(gains)))
    ranks = _ranks(overall, methods)
    return Comparison(
        dataset="Average",
        measures=tuple(Measure(name, "", "", higher_is_better=True) for name in positions),
        rows=tuple(Row(method, cells[method], overall[method], ranks.get(method)) for method in methods),
        cases={},
        groups=0,
        seeds=first.seeds,
    )


@dataclass(frozen=True)
class _Values:
    """M of one task under every method.

    Attributes:
        cases: the cases behind it.
        figures: ``{method: one function a seed}`` from weights ``r n`` of the cases (None: each once) to M, ``r``.
    """

    cases: tuple[str, ...]
    figures: dict[str, list[Callable[[np.ndarray | None], np.ndarray]]]


def _case_values(table: pd.DataFrame, measure: Measure, methods: Sequence[str]) -> _Values:
    """A metric that every case has: its mean over cases."""
    frame = _by_case(table, measure, methods)
    columns = frame.unstack(level="seed")
    missing = np.argwhere(columns.isna().to_numpy())
    if len(missing):
        case, (_, seed) = columns.index[missing[0][0]], columns.columns[missing[0][1]]
        raise InputError(f"task {measure.task!r}: case {case} is not scored with seed {seed}; evaluate again")
    cases = tuple(str(case) for case in columns.index)

    def mean(values: np.ndarray) -> Callable[[np.ndarray | None], np.ndarray]:
        def figure(weight: np.ndarray | None) -> np.ndarray:
            if weight is None:
                return values.mean(keepdims=True)
            with np.errstate(invalid="ignore"):
                return weight @ values / weight.sum(1)

        return figure

    return _Values(
        cases, {method: [mean(column) for column in columns[method].to_numpy(dtype=float).T] for method in methods}
    )


def _cohort_values(
    table: pd.DataFrame, predictions: pd.DataFrame | None, measure: Measure, methods: Sequence[str]
) -> _Values:
    """A metric of all cases together, from their predictions."""
    figures: dict[str, list[Callable[[np.ndarray | None], np.ndarray]]] = {method: [] for method in methods}
    part = prediction_table([]) if predictions is None else predictions[predictions["task"] == measure.task]
    part = part[part["method"].isin(list(methods))]
    for method in methods:
        if method not in set(part["method"]):
            raise InputError(
                f"method {method!r} has no predictions for task {measure.task!r}: no case has its label, or it was "
                "not evaluated"
            )
    labels = {run: set(zip(rows["case"], rows["class"], strict=True)) for run, rows in part.groupby(["method", "seed"])}
    known = set().union(*labels.values())
    cases = tuple(sorted({case for case, _ in known}))
    for method in methods:
        for seed in sorted(part["seed"].unique()):
            there = labels.get((method, seed), set())
            if there != known:
                case = min(known - there)[0]
                raise InputError(
                    f"task {measure.task!r}: case {case}, seed {seed} is not scored by every method; evaluate again"
                )
            rows = part[(part["method"] == method) & (part["seed"] == seed)]
            _, _, cohort = cohort_of(rows, cases)

            def figure(weight: np.ndarray | None, cohort: Cohort = cohort) -> np.ndarray:
                return mean_over_classes(cohort_metric(measure.metric, cohort, weight))

            figures[method].append(figure)
    return _Values(cases, figures)


def _resampled(
    values: Mapping[str, _Values], groups: Mapping[str, str], resamplings: int, generator: np.random.Generator
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


def _by_case(table: pd.DataFrame, measure: Measure, methods: Sequence[str]) -> pd.DataFrame:
    """Value per (seed, case), one column a method."""
    asked = table["method"].isin(list(methods))
    part = table[asked & (table["task"] == measure.task) & (table["metric"] == measure.metric)]
    frame = per_case(part).pivot(index=["seed", "case"], columns="method", values="value")
    for method in methods:
        if method not in frame.columns or frame[method].dropna().empty:
            raise InputError(
                f"method {method!r} has no score {measure.metric!r} for task {measure.task!r}; evaluate it"
            )
    whole = frame[list(methods)]
    if whole.isna().to_numpy().any():
        seed, case = whole.index[whole.isna().any(axis=1)][0]
        raise InputError(
            f"task {measure.task!r}: case {case}, seed {seed} is not scored by every method; evaluate again"
        )
    return whole


def _improvements(baseline: np.ndarray, value: np.ndarray, measure: Measure) -> np.ndarray:
    gain = value - baseline if measure.higher_is_better else baseline - value
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(baseline != 0, 100 * gain / np.abs(baseline), np.nan)


def _mean_cell(cells: Sequence[Cell], draws: Sequence[np.ndarray]) -> Cell:
    if not draws:
        return Cell(float("nan"), float("nan"))
    mean = float(np.mean([cell.improvement for cell in cells]))
    return Cell(float("nan"), float("nan"), mean, *_interval(np.mean(draws, axis=0)))


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of resampled values; NaN if more than one in twenty is not defined (no case of a rare class)."""
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.95 * len(draws):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _ranks(overall: dict[str, Cell], methods: Sequence[str]) -> dict[str, int]:
    """Rank by mean improvement, 1 the best, equal ones alike; STL counts as zero, as in the papers."""
    if BASELINE not in methods:
        return {}
    gains = {method: 0.0 if method == BASELINE else overall[method].improvement for method in methods}
    if any(math.isnan(gain) for gain in gains.values()):
        return {}
    return {method: 1 + sum(other > gains[method] for other in gains.values()) for method in methods}
