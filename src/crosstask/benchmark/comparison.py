"""The papers' Table 2: M per task, improvement over single-task learning, mean, rank; with intervals. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crosstask.benchmark.predictions import COHORT_CASE
from crosstask.benchmark.resampling import Values, case_values, cohort_values, drawn_weights, interval
from crosstask.benchmark.scores import over_seeds, per_case
from crosstask.errors import InputError
from crosstask.functional.improvement import relative_improvement
from crosstask.methods import baseline_of
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
        improvement: over STL (of the same variant) in percent; NaN for STL itself, without STL, and where M of STL is
            zero.
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
    """One method: a cell per task, the mean improvement with its interval, and its rank by that within its variant."""

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
        cases: number of cases behind each figure, per task; of all seeds together.
        groups: number of independent groups of cases, of all tasks.
        seeds: number of seeds.
        by_seed: every seed has test cases of its own.
        remarks: what must be said beside the figures wherever they are shown; see
            :func:`crosstask.benchmark.scored.scoring_remarks`.
    """

    dataset: str
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    cases: dict[str, int]
    groups: int
    seeds: int
    by_seed: bool = False
    remarks: tuple[str, ...] = ()


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
    by_seed: bool = False,
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

    Where every seed has test cases of its own, M is that of each seed on its own cases, and the mean over seeds. The
    bootstrap resamples the groups of all seeds together, and each seed counts those of its cases that were drawn.

    Args:
        table: long table of scores.
        dataset: name of the data set.
        methods: keys of those to compare, in order; ``stl`` is the baseline, of each variant its own.
        predictions: table of image-level predictions, for metrics of all cases together.
        groups: ``{case: group}``: cases of one patient or lesion are not independent; by default all are.
        measures: M of each task; by default the first metric of each task in the table. Metrics that are not defined
            for these cases (an AUC without a positive one) are not in it, so it is safer to give them.
        by_seed: every seed has test cases of its own, the same for all methods.
        resamplings: number of bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a method has no scores, or methods (or seeds, but with ``by_seed``) were scored on different cases.
    """
    measures = tuple(measures if measures is not None else measures_of(table))
    values: dict[str, Values] = {
        measure.task: cohort_values(predictions, measure.task, measure.metric, methods, by_seed=by_seed)
        if measure.of == "cohort"
        else case_values(table, measure.task, measure.metric, methods, by_seed=by_seed)
        for measure in measures
    }
    weights, number = drawn_weights(values, groups or {}, resamplings, np.random.default_rng(seed))
    cells: dict[str, dict[str, Cell]] = {method: {} for method in methods}
    draws: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    for measure in measures:
        found = values[measure.task]
        weight = weights[measure.task]
        beside = companions(table, measure, methods)
        single = {method: [float(figure(None)[0]) for figure in found.figures[method]] for method in methods}
        means = {method: float(np.mean(single[method])) for method in methods}
        drawn: dict[str, np.ndarray] = {}
        for method in methods:
            value, seeds = means[method], single[method]
            deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else float("nan")
            baseline = baseline_of(method)
            if method == baseline or baseline not in methods:
                cells[method][measure.task] = Cell(value, deviation, companion=beside[method])
                continue
            try:
                improvement = relative_improvement(means[baseline], value, higher_is_better=measure.higher_is_better)
            except ValueError:
                cells[method][measure.task] = Cell(value, deviation, companion=beside[method])
                draws[method].append(np.full(resamplings, np.nan))
                continue
            for name in (baseline, method):
                if name not in drawn:
                    drawn[name] = np.mean([figure(weight) for figure in found.figures[name]], axis=0)
            resampled = _improvements(drawn[baseline], drawn[method], measure)
            draws[method].append(resampled)
            cells[method][measure.task] = Cell(
                value, deviation, improvement, *interval(resampled), companion=beside[method]
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
        by_seed=by_seed,
    )


def companions(table: pd.DataFrame, measure: Measure, methods: Sequence[str]) -> dict[str, float]:
    """Each method's value of the metric that M is not shown without, mean over seeds; NaN if there is none."""
    part = table[(table["task"] == measure.task) & (table["metric"] == measure.companion)]
    means = over_seeds(per_case(part))
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
        by_seed=first.by_seed,
    )


def _improvements(baseline: np.ndarray, value: np.ndarray, measure: Measure) -> np.ndarray:
    gain = value - baseline if measure.higher_is_better else baseline - value
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(baseline != 0, 100 * gain / np.abs(baseline), np.nan)


def _mean_cell(cells: Sequence[Cell], draws: Sequence[np.ndarray]) -> Cell:
    if not draws:
        return Cell(float("nan"), float("nan"))
    mean = float(np.mean([cell.improvement for cell in cells]))
    return Cell(float("nan"), float("nan"), mean, *interval(np.mean(draws, axis=0)))


def _ranks(overall: dict[str, Cell], methods: Sequence[str]) -> dict[str, int]:
    """Rank by mean improvement, 1 the best, equal ones alike; STL counts as zero, as in the papers.

    Methods of one variant are ranked among themselves: improvements over different baselines do not compare.
    """
    ranks: dict[str, int] = {}
    for baseline in dict.fromkeys(map(baseline_of, methods)):
        rivals = [method for method in methods if baseline_of(method) == baseline]
        gains = {method: 0.0 if method == baseline else overall[method].improvement for method in rivals}
        if baseline in rivals and not any(math.isnan(gain) for gain in gains.values()):
            ranks |= {method: 1 + sum(other > gains[method] for other in gains.values()) for method in rivals}
    return ranks
