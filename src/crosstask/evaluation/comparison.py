"""The papers' Table 2: M per task, improvement over single-task learning, mean, rank; with intervals. No torch here."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.gains import Gains
from crosstask.evaluation.predictions import COHORT_CASE
from crosstask.evaluation.resampling import Values, case_values, cohort_values, drawn_weights, interval, too_rare
from crosstask.evaluation.scores import over_seeds, per_case
from crosstask.evaluation.unpredicted import OVERLAP, Unpredicted, unpredicted
from crosstask.methods import baseline_of
from crosstask.tasks.base import Task

_COMPANIONS = {"accuracy": "balanced_accuracy", "balanced_accuracy": "accuracy"}
"""Where one of two classes is rare, either of these misleads without the other: tables show both."""
_HIGHEST = {"%": 100.0, "": 1.0}
"""The highest value of what is better the higher it is, by its unit."""
_TOO_RARE = "no interval, since too many resamplings lack a class. Groups of test cases:"


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
            zero or near it.
        low, high: 95 % interval of the improvement, from paired resampling of the cases.
        companion: the metric that M is not shown without, NaN if there is none.
        undefined: why there is no improvement where one is asked for; else empty.
    """

    value: float
    deviation: float
    improvement: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    companion: float = float("nan")
    undefined: str = ""


@dataclass(frozen=True)
class Row:
    """One method: a cell per task, the mean improvement with its interval, and its rank by that within its variant.

    With one seed there is no rank: the order of single runs is as much that of the luck of their training.
    """

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
        remarks: what must be said beside the figures wherever they are shown, a sentence each: what decided and which
            cases count (:func:`crosstask.evaluation.scored.scoring_remarks`), why a figure or an interval is not there.
        unpredicted: classes that a run never predicts.
        empty: per task the structures that are in no test case, and so not in M.
    """

    dataset: str
    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    cases: dict[str, int]
    groups: int
    seeds: int
    by_seed: bool = False
    remarks: tuple[str, ...] = ()
    unpredicted: tuple[Unpredicted, ...] = ()
    empty: Mapping[str, frozenset[str]] = field(default_factory=dict)


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
    constant: pd.DataFrame | None = None,
    groups: Mapping[str, str] | None = None,
    measures: Sequence[Measure] | None = None,
    by_seed: bool = False,
    resamplings: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on the same cells: every seed, case and class that one was scored on, or a refusal.

    Where M of STL is zero, or near it by :func:`crosstask.functional.improvement.near_zero`, there is no improvement to
    speak of: it stays NaN, and so do the method's mean and every rank.

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
        constant: scores of the constant predictor: what an error of STL is small against, and where there is nothing to
            be found.
        groups: ``{case: group}``: cases of one patient or lesion are not independent; by default all are.
        measures: M of each task; by default the first metric of each task in the table. Metrics that are not defined
            for these cases (an AUC without a positive one) are not in it, so it is safer to give them.
        by_seed: every seed has test cases of its own, the same for all methods.
        resamplings: number of bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a method has no scores, or methods (or seeds, but with ``by_seed``) were scored on different cells,
            or one has what is no number.
    """
    measures, groups = tuple(measures if measures is not None else measures_of(table)), groups or {}
    empty = {measure.task: empty_structures(constant, measure) for measure in measures}
    values = {
        measure.task: _values(measure, table, predictions, methods, by_seed=by_seed, without=empty[measure.task])
        for measure in measures
    }
    weights, number = drawn_weights(values, groups, resamplings, np.random.default_rng(seed))
    floors, cells = constant_means(constant, measures, empty), {method: dict[str, Cell]() for method in methods}
    draws: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    remarks = [remark for found in values.values() for remark in found.remarks]
    for measure in measures:
        found = values[measure.task]
        gains = _gains(measure, found, weights[measure.task], number, floors)
        beside = companions(table, measure, methods)
        for method in methods:
            cells[method][measure.task] = _cell(gains, method, beside[method])
            if gains.asked(method):
                draws[method].append(gains.drawn(method))
        if any(_without_interval(cells[method][measure.task]) for method in methods):
            remarks += [f"{measure.task}: {_TOO_RARE} {rare}." for rare in [too_rare(found, groups, number)] if rare]
    overall = {method: _mean_cell(list(cells[method].values()), draws[method], number) for method in methods}
    runs = table[table["method"].isin(list(methods))]["seed"].nunique()
    ranks = _ranks(overall, methods) if runs > 1 else {}
    return Comparison(
        dataset=dataset,
        measures=measures,
        rows=tuple(Row(method, cells[method], overall[method], ranks.get(method)) for method in methods),
        cases={task: len(found.cases) for task, found in values.items()},
        groups=number,
        seeds=runs,
        by_seed=by_seed,
        remarks=tuple(remarks),
        unpredicted=unpredicted(table, predictions, methods, constant),
        empty=empty,
    )


def _values(
    measure: Measure,
    table: pd.DataFrame,
    predictions: pd.DataFrame | None,
    methods: Sequence[str],
    *,
    by_seed: bool,
    without: Collection[str],
) -> Values:
    """The cells that M is made of: of all cases together, or case by case."""
    if measure.of == "cohort":
        return cohort_values(predictions, measure.task, measure.metric, methods, by_seed=by_seed)
    return case_values(table, measure.task, measure.metric, methods, by_seed=by_seed, without=without)


def _gains(measure: Measure, values: Values, weights: np.ndarray, number: int, floors: Mapping[str, float]) -> Gains:
    """Improvements over STL, held against the highest value, or for an error against the constant predictor."""
    higher = measure.higher_is_better
    scale = _HIGHEST.get(measure.unit, math.nan) if higher else floors[measure.task]
    return Gains(values, weights, number, higher_is_better=higher, scale=scale)


def _cell(gains: Gains, method: str, companion: float) -> Cell:
    """M of a method on a task and its improvement, beside the figure that goes with M."""
    seeds, gain = gains.single[method], gains.of(method)
    deviation = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else math.nan
    return Cell(
        gains.means[method],
        deviation,
        gain.value,
        gain.low,
        gain.high,
        companion=companion,
        undefined=gain.undefined,
    )


def _without_interval(cell: Cell) -> bool:
    return math.isfinite(cell.improvement) and math.isnan(cell.low)


def empty_structures(constant: pd.DataFrame | None, measure: Measure) -> frozenset[str]:
    """Structures that are in no test case, by the constant predictor: its empty mask is right in all of them.

    Whoever draws nothing has 100 % there and whoever draws one voxel 0 %, which compares nobody.
    """
    if constant is None or measure.metric != OVERLAP:
        return frozenset()
    part = constant[(constant["task"] == measure.task) & (constant["metric"] == measure.metric)]
    lowest = part.groupby("class")["value"].min()
    return frozenset(map(str, lowest.index[lowest > 0]))


def constant_means(
    constant: pd.DataFrame | None, measures: Sequence[Measure], empty: Mapping[str, frozenset[str]]
) -> dict[str, float]:
    """M of the constant predictor per task, NaN where it is not defined or there is no table of it."""
    floors = dict.fromkeys((measure.task for measure in measures), math.nan)
    if constant is None:
        return floors
    for measure in measures:
        part = constant[(constant["task"] == measure.task) & (constant["metric"] == measure.metric)]
        means = list(over_seeds(per_case(part[~part["class"].isin(empty.get(measure.task, ()))])).values())
        floors[measure.task] = means[0] if means else math.nan
    return floors


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
    seeds = min(comparison.seeds for comparison in comparisons)
    ranks = _ranks(overall, methods) if seeds > 1 else {}
    return Comparison(
        dataset="Average",
        measures=tuple(Measure(name, "", "", higher_is_better=True) for name in positions),
        rows=tuple(Row(method, cells[method], overall[method], ranks.get(method)) for method in methods),
        cases={},
        groups=0,
        seeds=seeds,
        by_seed=first.by_seed,
    )


def _mean_cell(cells: Sequence[Cell], draws: Sequence[np.ndarray], groups: int) -> Cell:
    if not draws:
        return Cell(float("nan"), float("nan"))
    mean = float(np.mean([cell.improvement for cell in cells]))
    return Cell(float("nan"), float("nan"), mean, *interval(np.mean(draws, axis=0), groups))


def _ranks(overall: dict[str, Cell], methods: Sequence[str]) -> dict[str, int]:
    """Rank by mean improvement, 1 the best, equal ones alike; STL counts as zero, as in the papers.

    Methods of one variant are ranked among themselves: improvements over different baselines do not compare.
    """
    ranks: dict[str, int] = {}
    baselines = {method: baseline_of(method, methods) for method in methods}
    for baseline in dict.fromkeys(baselines.values()):
        rivals = [method for method in methods if baselines[method] == baseline]
        gains = {method: 0.0 if method == baseline else overall[method].improvement for method in rivals}
        if baseline in rivals and not any(math.isnan(gain) for gain in gains.values()):
            ranks |= {method: 1 + sum(other > gains[method] for other in gains.values()) for method in rivals}
    return ranks
