"""The papers' Table 2: M per task, improvement over single-task learning, mean, rank; with intervals. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.benchmark.scores import per_case
from crosstask.errors import InputError
from crosstask.functional.improvement import relative_improvement
from crosstask.methods import BASELINE


@dataclass(frozen=True)
class Measure:
    """The metric by which a task is judged: its M.

    Attributes:
        task: name of the task.
        metric: name of the metric.
        unit: its unit.
        higher_is_better: its direction.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Cell:
    """One method on one task.

    Attributes:
        value: M, mean over cases and seeds.
        deviation: standard deviation of M over seeds, NaN with one seed.
        improvement: over STL in percent; NaN for STL itself, without STL, and where M of STL is zero.
        low, high: 95 % interval of the improvement, from paired resampling of the cases.
    """

    value: float
    deviation: float
    improvement: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")


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
        seeds: number of seeds.
    """

    dataset: str
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    cases: dict[str, int]
    seeds: int


def measures_of(table: pd.DataFrame) -> tuple[Measure, ...]:
    """The first metric of each task in the table is its M."""
    first = table.drop_duplicates("task")
    return tuple(
        Measure(str(row.task), str(row.metric), str(row.unit), bool(row.higher_is_better))
        for row in first.itertuples(index=False)
    )


def compare(
    table: pd.DataFrame,
    *,
    dataset: str,
    methods: Sequence[str],
    measures: Sequence[Measure] | None = None,
    resamplings: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on the same cases.

    Where M of STL is zero there is no improvement to speak of: it stays NaN, and so do the method's mean and rank.

    M of a method is the mean over cases (of the mean over their classes), then over seeds. The improvement is
    computed from unrounded M. Its interval resamples cases, the same ones for both methods (a paired bootstrap), with
    the seeds averaged: it says how far the cases at hand carry, not how far another training would go astray. Tasks
    that are scored on the same cases share the resampling, so that the interval of the mean knows how they go together.

    Args:
        table: long table of scores.
        dataset: name of the data set.
        methods: which to compare, in order; ``stl`` is the baseline.
        measures: M of each task; by default the first metric of each task.
        resamplings: number of bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a method has no scores, or methods were scored on different cases.
    """
    measures = tuple(measures if measures is not None else measures_of(table))
    values = {measure.task: _by_case(table, measure, methods) for measure in measures}
    generator = np.random.default_rng(seed)
    cells: dict[str, dict[str, Cell]] = {method: {} for method in methods}
    draws: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    orders: dict[tuple[str, ...], np.ndarray] = {}
    for measure in measures:
        frame = values[measure.task]
        means = frame.groupby(level="case").mean()
        cases = tuple(means.index)
        if cases not in orders:
            orders[cases] = generator.integers(0, len(cases), (resamplings, len(cases)))
        order = orders[cases]
        for method in methods:
            by_seed = frame[method].groupby(level="seed").mean().dropna()
            value = float(means[method].mean())
            deviation = float(by_seed.std()) if len(by_seed) > 1 else float("nan")
            if method == BASELINE or BASELINE not in methods:
                cells[method][measure.task] = Cell(value, deviation)
                continue
            try:
                improvement = relative_improvement(
                    float(means[BASELINE].mean()), value, higher_is_better=measure.higher_is_better
                )
            except ValueError:
                cells[method][measure.task] = Cell(value, deviation)
                draws[method].append(np.full(resamplings, np.nan))
                continue
            resampled = _improvements(
                means[BASELINE].to_numpy()[order].mean(1), means[method].to_numpy()[order].mean(1), measure
            )
            draws[method].append(resampled)
            cells[method][measure.task] = Cell(value, deviation, improvement, *_interval(resampled))
    overall = {method: _mean_cell(list(cells[method].values()), draws[method]) for method in methods}
    ranks = _ranks(overall, methods)
    return Comparison(
        dataset=dataset,
        measures=measures,
        rows=tuple(Row(method, cells[method], overall[method], ranks.get(method)) for method in methods),
        cases={task: frame.index.get_level_values("case").nunique() for task, frame in values.items()},
        seeds=table[table["method"].isin(list(methods))]["seed"].nunique(),
    )


def average(comparisons: Sequence[Comparison]) -> Comparison:
    """Average improvement per task position over several data sets, as the last block of the papers' Table 2.

    Raises:
        InputError: the data sets differ in methods or number of tasks.
    """
    first = comparisons[0]
    methods = [row.method for row in first.rows]
    for other in comparisons[1:]:
        if [row.method for row in other.rows] != methods or len(other.measures) != len(first.measures):
            raise InputError(f"{other.dataset} and {first.dataset} differ in methods or number of tasks: no average")
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
        seeds=first.seeds,
    )


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
    """The middle 95 % of resampled values; NaN if any of them is not defined."""
    if np.isnan(draws).any():
        return float("nan"), float("nan")
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _ranks(overall: dict[str, Cell], methods: Sequence[str]) -> dict[str, int]:
    """Rank by mean improvement, 1 the best, equal ones alike; STL counts as zero, as in the papers."""
    if BASELINE not in methods:
        return {}
    gains = {method: 0.0 if method == BASELINE else overall[method].improvement for method in methods}
    if any(math.isnan(gain) for gain in gains.values()):
        return {}
    return {method: 1 + sum(other > gains[method] for other in gains.values()) for method in methods}
