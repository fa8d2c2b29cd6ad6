"""Table 2 of Fang et al. (2019): how well each method makes the major diagnosis, and what it gains. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crosstask.evaluation.cells import prediction_cells
from crosstask.evaluation.contrast import LEAST, Part, Spread, spread_of
from crosstask.evaluation.gains import Estimate
from crosstask.evaluation.predictions import cohort_of
from crosstask.evaluation.rare import fewest
from crosstask.evaluation.resampling import Draws, Values, cohort_values, draw, too_rare
from crosstask.functional.delong import delong, logit_interval
from crosstask.methods import baseline_of
from crosstask.tasks.base import Task

FIGURES = ("auc", "accuracy", "sensitivity", "specificity")
"""The paper's columns."""


@dataclass(frozen=True)
class Diagnosis:
    """The table of one data set.

    Attributes:
        dataset: its name.
        task: the major task.
        positive: class that sensitivity and specificity are of; empty where they are means over classes.
        rows: ``{method: {figure: estimate}}`` in percent, methods in the order given.
        differences: ``{method: estimate}``: AUC minus that of STL of the same variant, in percentage points; methods
            without a baseline are not in it.
        cases: number of test cases, of all seeds together.
        groups: number of independent groups of them.
        seeds: number of seeds.
        level: of the intervals.
        remarks: what must be said beside the figures wherever they are shown, a sentence each.
    """

    dataset: str
    task: str
    positive: str
    rows: dict[str, dict[str, Estimate]]
    differences: dict[str, Estimate]
    cases: int
    groups: int
    seeds: int
    level: float = 0.95
    remarks: tuple[str, ...] = ()


def diagnose(
    predictions: pd.DataFrame,
    *,
    dataset: str,
    task: Task,
    methods: Sequence[str],
    groups: Mapping[str, str] | None = None,
    by_seed: bool = False,
    least_positives: int = 1,
    level: float = 0.95,
    resamplings: int = 2000,
    seed: int = 0,
) -> Diagnosis:
    """Figures of the major task, mean over seeds, each with an interval.

    The intervals hold both chances, of training and of drawing cases (:mod:`crosstask.evaluation.contrast`; with one
    seed that of the cases alone): of figures on the logit scale, of differences as they are. Cases move a figure as
    they do over bootstrap draws of groups, the same draws for all; an AUC of one class, whose cases are independent
    and the same with every seed, as DeLong has it. The rarer side's groups count as degrees of freedom.

    Of two classes, sensitivity is that of the last in the task's list and specificity that of the others, as of a
    finding that is there or not; with more, and with several findings, all figures are means over the classes.

    Args:
        predictions: table of image-level predictions.
        dataset: name of the data set.
        task: the major task, a classification of whole cases.
        methods: keys, in order.
        groups: ``{case: group}``; by default every case is one.
        by_seed: every seed has test cases of its own.
        least_positives: cases that a class must have for its figures; see
            :func:`crosstask.functional.cohort.comparable`.
        level: of the intervals.
        resamplings: number of bootstrap samples.
        seed: of the bootstrap.

    Raises:
        InputError: a method has no predictions, or methods were scored on different cases.
    """
    index = len(task.classes) - 1 if len(task.classes) <= 2 and not _several(task) else None
    values = {
        name: cohort_values(
            predictions,
            task.name,
            name,
            methods,
            by_seed=by_seed,
            classes=task.classes,
            index=index,
            least=least_positives,
            groups=groups,
        )
        for name in FIGURES
    }
    draws = draw(values, groups or {}, resamplings, np.random.default_rng(seed))
    runs = prediction_cells(predictions, task.name, methods, by_seed=by_seed)
    cases = {method: _Cases(task, own, groups or {}) for method, own in _by_method(runs).items()}
    drawn = _drawn(values, draws, by_seed=by_seed)
    rows = {method: _estimates(drawn, method, cases[method], index, by_seed=by_seed, level=level) for method in methods}
    first = values[FIGURES[0]]
    return Diagnosis(
        dataset=dataset,
        task=task.name,
        positive="" if index is None else task.classes[index],
        rows=rows,
        differences=_differences(drawn["auc"], methods, level),
        cases=len(first.cases),
        groups=draws.number,
        seeds=len(first.figures[methods[0]]),
        level=level,
        remarks=_remarks(values, rows, too_rare(first, groups or {}, draws.number)),
    )


def _several(task: Task) -> bool:
    """Whether a case may have several of the classes."""
    return task.values == "sigmoid" and len(task.classes) > 1


class _Drawn:
    """A figure of every method and run, of the cases as they are (``s 1``) and of each bootstrap draw (``s 1 r``)."""

    def __init__(
        self, single: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray], groups: int, *, by_seed: bool
    ) -> None:
        self._single, self._drawn, self._groups, self._by_seed = single, drawn, groups, by_seed

    def mean(self, method: str) -> float:
        """Over runs, in percent."""
        return float(self._single[method].mean())

    def spread(self, contrast: Mapping[str, float]) -> Spread:
        """The variance of a sum of methods' means with coefficients."""
        coefficients = {method: np.array([own]) for method, own in contrast.items()}
        return spread_of(coefficients, self._single, self._drawn, self._groups, paired=self._by_seed)


def _drawn(values: Mapping[str, Values], draws: Draws, *, by_seed: bool) -> dict[str, _Drawn]:
    """Each figure of every method and run, of all draws: ``{name: it}``."""
    every = {name: [figure for own in found.figures.values() for figure in own] for name, found in values.items()}
    drawn = draws.resampled(every)
    made = {}
    for name, found in values.items():
        ends = np.cumsum([len(own) for own in found.figures.values()])[:-1]
        single = {method: np.array([figure(None) for figure in own]) for method, own in found.figures.items()}
        rows = dict(zip(found.figures, np.split(drawn[name][:, None], ends), strict=True))
        made[name] = _Drawn(single, rows, draws.groups[name], by_seed=by_seed)
    return made


class _Cases:
    """The labels and predictions of the runs of one method.

    Args:
        task: the task.
        runs: predictions of each run.
        groups: ``{case: group}``.
    """

    def __init__(self, task: Task, runs: Sequence[pd.DataFrame], groups: Mapping[str, str]) -> None:
        cases = sorted({str(case) for rows in runs for case in rows["case"].unique()})
        of_case = [groups.get(case, case) for case in cases]
        self.independent = len(set(of_case)) == len(cases)
        self._cohorts = [cohort_of(rows, cases, task.classes)[2] for rows in runs]
        self._sides = fewest(self._cohorts, of_case)

    def counts(self, name: str, index: int | None) -> tuple[int, ...]:
        """How many groups a figure is of: of an AUC positives and negatives; of the rarest class where it is a mean."""
        positive, negative = self._sides
        of = index if index is not None else int(np.where(positive > 0, positive, np.inf).argmin())
        found = {"sensitivity": [positive[of]], "specificity": [negative[of]], "auc": [positive[of], negative[of]]}
        return tuple(map(int, found.get(name, [positive[of] + negative[of]])))

    def delong(self, index: int) -> Spread:
        """The variance of the mean AUC of one class over runs, in percent squared.

        What run and case have together is in the scatter of the runs, so that the cases' part is what two runs share;
        for the least that there is in all see :func:`crosstask.evaluation.contrast.spread_of`.
        """
        labelled = self._cohorts[0].labelled[:, index]
        predictions = np.stack([cohort.prediction[labelled, index] for cohort in self._cohorts])
        areas, covariance = delong(self._cohorts[0].target[labelled, index], predictions)
        number, rarer = len(areas), int(self._sides[:, index].min())
        if not np.isfinite(covariance).all():
            return Spread()
        if number == 1:
            return Spread((Part("cases", 1e4 * float(covariance[0, 0]), rarer),), ("",))
        shared = float(covariance.sum() - covariance.trace()) / (number * (number - 1))
        runs = float(np.var(areas, ddof=1)) / number
        shared = max(0.0, shared, LEAST * float(covariance.sum()) / number**2 - runs)
        return Spread((Part("runs", 1e4 * runs, number), Part("cases", 1e4 * shared, rarer)))


def _by_method(runs: Mapping[tuple[str, int], pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    found: dict[str, list[pd.DataFrame]] = {}
    for (method, _), rows in sorted(runs.items(), key=lambda item: item[0]):
        found.setdefault(method, []).append(rows)
    return found


def _estimates(
    drawn: Mapping[str, _Drawn], method: str, cases: _Cases, index: int | None, *, by_seed: bool, level: float
) -> dict[str, Estimate]:
    """All figures of one method; ``index`` is the class that they are of, or None for means over the classes."""
    found = {}
    for name, of in drawn.items():
        if name == "auc" and index is not None and not by_seed and cases.independent:
            spread = cases.delong(index)
        else:
            spread = of.spread({method: 1.0})
        found[name] = _estimate(of.mean(method), spread, cases.counts(name, index), level)
    return found


def _differences(auc: _Drawn, methods: Sequence[str], level: float) -> dict[str, Estimate]:
    """What the AUC of each method is above that of its baseline, with an interval."""
    found = {}
    for method in methods:
        baseline = baseline_of(method, methods)
        if method != baseline and baseline in methods:
            gain = auc.mean(method) - auc.mean(baseline)
            half = auc.spread({method: 1.0, baseline: -1.0}).half_width(level)
            found[method] = Estimate(gain, gain - half, gain + half)
    return found


def _remarks(values: Mapping[str, Values], rows: Mapping[str, Mapping[str, Estimate]], rare: str) -> tuple[str, ...]:
    """What is said of the figures, once each, and for want of which classes some have no interval."""
    remarks = list(dict.fromkeys(remark for found in values.values() for remark in found.remarks))
    if rare and any(math.isnan(found.low) for figures in rows.values() for found in figures.values()):
        remarks.append(
            f"Some figures have no interval: too many resamplings lack a class. Groups of test cases: {rare}."
        )
    return tuple(remarks)


def _estimate(value: float, spread: Spread, counts: tuple[int, ...], level: float) -> Estimate:
    """A figure in percent with its interval on the logit scale."""
    if math.isnan(value):
        return Estimate(value)
    known = [replace(part, number=min(part.number, *counts)) if part.of == "cases" else part for part in spread.parts]
    spread = replace(spread, parts=tuple(known))
    low, high = logit_interval(value / 100, spread.variance / 1e4, spread.degrees, level, counts=counts)
    return Estimate(value, 100 * low, 100 * high)
