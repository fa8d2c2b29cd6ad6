"""The papers' Table 2: M per task, improvement over single-task learning, mean, rank; with intervals. No torch here.

M of a method is the mean over cases (of the mean over their classes), or a figure of all cases together, then the
mean over runs. The improvement is computed from unrounded M. Its interval holds both chances: of training each
method anew and of drawing the cases (groups of those that belong together) anew, see
:mod:`crosstask.evaluation.contrast`; with one run of a method the cases' alone, and then there is no verdict and no
rank. All tasks share the draws, so that the interval of the mean knows how they go together.

Verdicts are adjusted by Holm: of the means over methods, of the tasks over methods and tasks. Ranks are by the
mean, from all pairs of methods of one variant.

Where M of the baseline is zero, or near it by :func:`crosstask.functional.improvement.near_zero`, there is no
improvement to speak of: it stays NaN, and so do the method's mean and every rank.

Where every seed has test cases of its own, M is that of each seed on its own cases, and the mean over seeds; the
draws are of the groups of all seeds together, and each seed counts those of its cases that were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.frame import COLUMNS, line_of
from crosstask.evaluation.gains import NO_GAIN, Gain, Gains, Scale
from crosstask.evaluation.predictions import COHORT_CASE
from crosstask.evaluation.resampling import Draws, Values, case_values, cohort_values, draw, too_rare
from crosstask.evaluation.scores import over_seeds, per_case
from crosstask.evaluation.unpredicted import OVERLAP, Unpredicted, unpredicted
from crosstask.evaluation.verdict import Pair, Pairs, Rank, ranks_of
from crosstask.functional.improvement import LEVEL, MARGIN
from crosstask.methods import baseline_of, label_of
from crosstask.tasks.base import Task

_COMPANIONS = {"accuracy": "balanced_accuracy", "balanced_accuracy": "accuracy"}
"""Where one of two classes is rare, either of these misleads without the other: tables show both."""
_HIGHEST = {"%": 100.0, "": 1.0}
"""The highest value of what is better the higher it is, by its unit."""
MEAN = "mean"
"""Stands for the task in rows of the mean over all tasks."""
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
    """One method on one task, or the mean of all.

    Attributes:
        value: M, mean over cases and runs; of a mean NaN.
        deviation: standard deviation of M over runs, NaN with one.
        companion: the metric that M is not shown without, NaN if there is none.
        gain: improvement over the baseline (STL of the same variant), with interval and verdict.
        runs: number of runs behind it.
        groups: number of independent groups of cases behind it.
    """

    value: float
    deviation: float
    companion: float = float("nan")
    gain: Gain = NO_GAIN
    runs: int = 0
    groups: int = 0

    @property
    def improvement(self) -> float:
        """Over the baseline in percent; NaN for itself, without one, and where M of it is zero or near it."""
        return self.gain.improvement

    @property
    def low(self) -> float:
        """Lower end of the improvement's interval."""
        return self.gain.low

    @property
    def high(self) -> float:
        """Upper end of the improvement's interval."""
        return self.gain.high

    @property
    def undefined(self) -> str:
        """Why there is no improvement where one is asked for; else empty."""
        return self.gain.undefined

    @property
    def verdict(self) -> str:
        """What may be said of the improvement; empty where none is asked for."""
        return self.gain.verdict


@dataclass(frozen=True)
class Row:
    """One method: a cell per task, the mean improvement with its interval, and the ranks that it may have by that.

    With one run each there is no rank: the order of single runs is as much that of the luck of their training.
    """

    method: str
    cells: dict[str, Cell]
    mean: Cell
    rank: Rank | None


@dataclass(frozen=True)
class Comparison:
    """The table of one data set.

    Attributes:
        dataset: its name.
        measures: each task's M.
        rows: the methods, in the order given.
        cases: number of cases behind each figure, per task; of all seeds together.
        groups: number of independent groups of cases, of all tasks.
        seeds: number of runs of each method; of the one with the fewest.
        by_seed: every seed has test cases of its own.
        remarks: what must be said beside the figures wherever they are shown, a sentence each: what decided and which
            cases count (:func:`crosstask.evaluation.scored.scoring_remarks`), why a figure or an interval is not there.
        unpredicted: classes that a run never predicts.
        empty: per task the structures that are in no test case, and so not in M.
        margin: of equivalence, in percent.
        level: of confidence of intervals and verdicts.
        baseline: the method that the others are compared with; None where each variant has its own STL.
        pairs: of all methods with the same baseline, where each has a mean improvement.
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
    margin: float = MARGIN
    level: float = LEVEL
    baseline: str | None = None
    pairs: Pairs = field(default_factory=dict)

    def label(self, method: str) -> str:
        """How tables write a method: as it is named where its scores come from elsewhere."""
        return label_of(method) if self.baseline is None else method

    def baseline_of(self, method: str) -> str:
        """What a method is compared with."""
        return self.baseline or baseline_of(method, [row.method for row in self.rows])

    def to_frame(self) -> pd.DataFrame:
        """One row per method and task, and one for the mean of the tasks, without the baselines' own.

        Columns: method, task (``mean`` for the mean), improvement, low, high (percent), p, p_adjusted, verdict, seeds,
        groups; these names stay. Beside them p_equivalent_adjusted, difference with its interval in the metric's unit,
        unit, log_ratio with its interval, share_of_seeds (of the variance), runs_won, cases_won, rank_low, rank_high,
        and low_nadeau_bengio, high_nadeau_bengio (for splits by seed).
        """
        units = {measure.task: measure.unit for measure in self.measures}
        lines = [
            line_of(
                row.method,
                task,
                cell.gain,
                runs=cell.runs,
                groups=cell.groups,
                unit=units.get(task, ""),
                rank=row.rank if task == MEAN else None,
            )
            for row in self.rows
            if self.baseline_of(row.method) != row.method
            for task, cell in [*row.cells.items(), (MEAN, row.mean)]
        ]
        return pd.DataFrame(lines, columns=list(COLUMNS))


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
    same_seeds: bool = True,
    baseline: str | None = None,
    margin: float = MARGIN,
    level: float = LEVEL,
    test_to_train: float = math.nan,
    least_positives: int = 1,
    resamplings: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare methods on the same cells, or refuse; how, is said at the head of this module.

    Args:
        table: long table of scores.
        dataset: name of the data set.
        methods: keys of those to compare, in order.
        predictions: table of image-level predictions, for metrics of all cases together.
        constant: scores of the constant predictor: what an error of the baseline is small against, and where there is
            nothing to be found.
        groups: ``{case: group}``: cases of one patient or lesion are not independent; by default all are.
        measures: M of each task; by default its first metric in the table, which lacks those that are not defined.
        by_seed: every seed has test cases of its own, the same for all methods.
        same_seeds: all methods must have the same seeds, as in a benchmark; else they may have more or fewer runs.
        baseline: what the others are compared with; None for ``stl``, of each variant its own.
        margin: a difference below so many percent is equivalence.
        level: of confidence of intervals and verdicts.
        test_to_train: test cases for one training case, of splits by seed.
        least_positives: positive cases (groups of them) that a class must have to count in M; see
            :func:`crosstask.functional.cohort.comparable`.
        resamplings: number of bootstrap draws.
        seed: of the bootstrap.
        progress: told how many draws of how many have been looked at, or None.

    Raises:
        InputError: a method has no scores, or methods (or seeds, but with ``by_seed``) were scored on different cells,
            or one has what is no number.
    """
    measures, groups = tuple(measures if measures is not None else measures_of(table)), groups or {}
    empty = {measure.task: empty_structures(constant, measure) for measure in measures}
    cells = _Cells(by_seed, same_seeds, least_positives, groups)
    values = {measure.task: cells.of(measure, methods, table, predictions, empty[measure.task]) for measure in measures}
    draws = draw(values, groups, resamplings, np.random.default_rng(seed))
    baselines = {method: baseline or baseline_of(method, methods) for method in methods}
    gains = Gains(
        values,
        draws,
        _scales(measures, constant_means(constant, measures, empty)),
        baselines,
        margin=margin,
        level=level,
        by_seed=by_seed,
        test_to_train=test_to_train,
        label=str if baseline is not None else label_of,
        progress=progress,
    )
    beside = {measure.task: companions(table, measure, methods) for measure in measures}
    pairs = _pairs(gains, baselines)
    rows = _rows(gains, _runs(values, methods), draws.groups, beside, ranks_by_baseline(pairs, baselines, level))
    found = Comparison(dataset, measures, rows, _cases(values), draws.number, min(row.mean.runs for row in rows))
    return replace(
        found,
        by_seed=by_seed,
        remarks=_remarks(rows, values, groups, draws),
        unpredicted=unpredicted(table, predictions, methods, constant),
        empty=empty,
        margin=margin,
        level=level,
        baseline=baseline,
        pairs=pairs,
    )


def _cases(values: Mapping[str, Values]) -> dict[str, int]:
    """Number of cases behind each task's figure."""
    return {task: len(found.cases) for task, found in values.items()}


@dataclass(frozen=True)
class _Cells:
    """Which cells of each run count; see :func:`compare`."""

    by_seed: bool
    same_seeds: bool
    least: int
    groups: Mapping[str, str]

    def of(
        self,
        measure: Measure,
        methods: Sequence[str],
        table: pd.DataFrame,
        predictions: pd.DataFrame | None,
        without: Collection[str],
    ) -> Values:
        """What M is made of: figures of all cases together, or of each, without some structures."""
        task, metric = measure.task, measure.metric
        if measure.of == "case":
            return case_values(
                table, task, metric, methods, by_seed=self.by_seed, same_seeds=self.same_seeds, without=without
            )
        return cohort_values(
            predictions,
            task,
            metric,
            methods,
            by_seed=self.by_seed,
            same_seeds=self.same_seeds,
            least=self.least,
            groups=self.groups,
        )


def _rows(
    gains: Gains,
    runs: Mapping[str, int],
    groups: Mapping[str, int],
    beside: Mapping[str, Mapping[str, float]],
    ranks: Mapping[str, Rank],
) -> tuple[Row, ...]:
    """A row a method.

    Args:
        gains: improvements of all methods.
        runs: number of runs of each.
        groups: number of groups of cases of each task.
        beside: ``{task: {method: the figure that M is not shown without}}``.
        ranks: of the methods that have any.
    """
    by_task, overall = gains.adjusted()
    rows = []
    for method, number in runs.items():
        cells = {
            task: Cell(
                float(gains.means[method][at]),
                _deviation(gains.single[method][:, at]),
                beside[task][method],
                by_task[method][task],
                number,
                groups[task],
            )
            for at, task in enumerate(gains.tasks)
        }
        mean = Cell(math.nan, math.nan, gain=overall[method], runs=number, groups=min(groups.values()))
        rows.append(Row(method, cells, mean, ranks.get(method)))
    return tuple(rows)


def _runs(values: Mapping[str, Values], methods: Sequence[str]) -> dict[str, int]:
    """Number of runs of each method, whose runs are the same in all tasks.

    Raises:
        InputError: a method has other seeds in one task than in another.
    """
    for method in methods:
        first, *others = values.items()
        for task, found in others:
            if found.seeds[method] != first[1].seeds[method]:
                told = [", ".join(map(str, own.seeds[method])) for own in (first[1], found)]
                raise InputError(
                    f"method {method!r} has seeds {told[0]} for task {first[0]!r} and {told[1]} for task {task!r}; "
                    "give the scores of all its runs for both, or compare the tasks one by one"
                )
    return {method: len(next(iter(values.values())).seeds[method]) for method in methods}


def _scales(measures: Sequence[Measure], floors: Mapping[str, float]) -> dict[str, Scale]:
    """What M of the baseline is small against: the highest value, or for an error that of the constant predictor."""
    return {
        measure.task: Scale(
            measure.higher_is_better,
            _HIGHEST.get(measure.unit, math.nan) if measure.higher_is_better else floors[measure.task],
        )
        for measure in measures
    }


def _deviation(runs: np.ndarray) -> float:
    return float(np.std(runs, ddof=1)) if len(runs) > 1 else math.nan


def _pairs(gains: Gains, baselines: Mapping[str, str]) -> dict[tuple[str, str], Pair]:
    """All pairs of methods with the same baseline, where each has a mean improvement; others do not compare."""
    pairs: dict[tuple[str, str], Pair] = {}
    for baseline in dict.fromkeys(baselines.values()):
        rivals = [method for method, own in baselines.items() if own == baseline]
        if baseline in rivals and all(map(gains.defined, rivals)):
            pairs |= {pair: gains.pair(*pair) for pair in combinations(rivals, 2)}
    return pairs


def ranks_by_baseline(pairs: Pairs, baselines: Mapping[str, str], level: float) -> dict[str, Rank]:
    """Ranks by the mean improvement, among the methods with the same baseline."""
    ranks: dict[str, Rank] = {}
    for baseline in dict.fromkeys(baselines.values()):
        own = {names: pair for names, pair in pairs.items() if baselines[names[0]] == baseline}
        ranks |= ranks_of(own, level=level) if own else {}
    return ranks


def _remarks(
    rows: Sequence[Row], values: Mapping[str, Values], groups: Mapping[str, str], draws: Draws
) -> tuple[str, ...]:
    """What to say of the figures; of tasks that have an improvement and for want of a class no interval, too."""
    remarks = [remark for found in values.values() for remark in found.remarks]
    for task, found in values.items():
        cells = [row.cells[task] for row in rows]
        if any(math.isfinite(cell.improvement) and math.isnan(cell.low) for cell in cells):
            rare = too_rare(found, groups, draws.number)
            remarks += [f"{task}: {_TOO_RARE} {rare}."] if rare else []
    return tuple(remarks)


def empty_structures(constant: pd.DataFrame | None, measure: Measure) -> frozenset[str]:
    """Structures that are in no test case, by the constant predictor: its empty mask is right in all of them.

    Whoever draws nothing has 100 % there and whoever draws one voxel 0 %, which compares nobody.
    """
    if constant is None or measure.metric != OVERLAP:
        return frozenset()
    part = constant[(constant["task"] == measure.task) & (constant["metric"] == measure.metric)]
    lowest = part.groupby("class", observed=True)["value"].min()
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
