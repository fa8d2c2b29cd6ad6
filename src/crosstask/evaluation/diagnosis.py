"""Table 2 of Fang et al. (2019): how well each method makes the major diagnosis, and what it gains. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.evaluation.resampling import Figure, cohort_values, draw, interval, too_rare
from crosstask.methods import baseline_of
from crosstask.tasks.base import Task

FIGURES = ("auc", "accuracy", "sensitivity", "specificity")
"""The paper's columns."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval over cases; NaN where it is not defined."""

    value: float
    low: float = math.nan
    high: float = math.nan


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
    resamplings: int = 2000,
    seed: int = 0,
) -> Diagnosis:
    """Figures of the major task, mean over seeds, each with a bootstrap interval over groups of cases.

    All methods, seeds and figures share the resampling, so that the interval of a difference is a paired one. Of two
    classes, sensitivity is that of the last in the task's list and specificity that of the others, as of a finding that
    is there or not; with more, and with several findings, all figures are means over the classes.

    Args:
        predictions: table of image-level predictions.
        dataset: name of the data set.
        task: the major task, a classification of whole cases.
        methods: keys, in order.
        groups: ``{case: group}``; by default every case is one.
        by_seed: every seed has test cases of its own.
        least_positives: cases that a class must have for its figures; see
            :func:`crosstask.functional.cohort.comparable`.
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
    draws_of = draw(values, groups or {}, resamplings, np.random.default_rng(seed))
    weights, number = draws_of.weights, draws_of.number
    rows: dict[str, dict[str, Estimate]] = {}
    areas: dict[str, tuple[float, np.ndarray]] = {}
    for method in methods:
        rows[method] = {}
        for name, found in values.items():
            value, draws = _over_seeds(found.figures[method], weights[name])
            rows[method][name] = Estimate(value, *interval(draws, number))
            if name == "auc":
                areas[method] = value, draws
    differences = {}
    for method in methods:
        baseline = baseline_of(method, methods)
        if method != baseline and baseline in areas:
            (ours, ours_drawn), (theirs, theirs_drawn) = areas[method], areas[baseline]
            differences[method] = Estimate(ours - theirs, *interval(ours_drawn - theirs_drawn, number))
    first = values[FIGURES[0]]
    remarks = list(dict.fromkeys(remark for found in values.values() for remark in found.remarks))
    rare = too_rare(first, groups or {}, number)
    if rare and any(math.isnan(found.low) for figures in rows.values() for found in figures.values()):
        remarks.append(
            f"Some figures have no interval: too many resamplings lack a class. Groups of test cases: {rare}."
        )
    return Diagnosis(
        dataset=dataset,
        task=task.name,
        positive="" if index is None else task.classes[index],
        rows=rows,
        differences=differences,
        cases=len(first.cases),
        groups=number,
        seeds=len(first.figures[methods[0]]),
        remarks=tuple(remarks),
    )


def _several(task: Task) -> bool:
    """Whether a case may have several of the classes."""
    return task.values == "sigmoid" and len(task.classes) > 1


def _over_seeds(figures: Sequence[Figure], weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean over seeds, of the cases as they are and of each resampling."""
    value = float(np.mean([figure(None)[0] for figure in figures]))
    return value, np.mean([figure(weight) for figure in figures], axis=0)
