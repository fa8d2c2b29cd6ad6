"""Figures of every method and seed on the same cases, and how often the bootstrap draws each case. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crosstask.evaluation.cells import describe, prediction_cells, score_cells
from crosstask.evaluation.predictions import cohort_of, prediction_table
from crosstask.evaluation.rare import fewest, left_out, rare_remarks
from crosstask.functional.cohort import Cohort, comparable, prepared, prepared_task, sides_of

Figure = Callable[[np.ndarray | None], np.ndarray]
"""From weights ``r n`` of the cases (None: each once) to a metric, ``r``."""
_CELLS = 1 << 21  # weights at a time: 8 MB
_OFTEN = 0.01  # share of the resamplings from which a class is missing that is worth a word


@dataclass(frozen=True)
class Values:
    """A metric of one task under every method.

    Attributes:
        cases: the cases behind it, of all seeds together.
        figures: ``{method: one figure a run}``.
        seeds: ``{method: the seed of each run}``.
        by_case: ``{method: mean over runs of each case's own figure}``; None where a case has none.
        sides: ``{class or "without CLASS": the cases that are}`` without which the metric is not defined.
        remarks: what the figures do not say: classes that are left out, and why there is no figure.
    """

    cases: tuple[str, ...]
    figures: dict[str, list[Figure]]
    seeds: dict[str, tuple[int, ...]]
    by_case: Mapping[str, np.ndarray] | None = None
    sides: Mapping[str, frozenset[str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def case_values(
    table: pd.DataFrame,
    task: str,
    metric: str,
    methods: Sequence[str],
    *,
    by_seed: bool,
    same_seeds: bool = True,
    without: Collection[str] = (),
) -> Values:
    """A metric that every case has: its mean over cases, of the mean over the classes of each.

    Args:
        table: long table of scores.
        task: name of the task.
        metric: name of the metric.
        methods: which.
        by_seed: every seed has cases of its own, on which the methods must agree; else all seeds have the same.
        same_seeds: all methods must have the same seeds.
        without: classes that do not count, being in no case.

    Raises:
        InputError: see :func:`crosstask.evaluation.cells.score_cells`.
    """
    cells = score_cells(table, task, metric, methods, by_seed=by_seed, same_seeds=same_seeds)
    undefined = cells.isna().all(axis=1)
    remarks = _unscored(task, metric, cells.index[undefined])
    cells = cells[~undefined]
    seeds = {method: tuple(sorted(map(int, cells[method].columns))) for method in methods}
    names = cells.index.get_level_values("class")
    remarks += _empty(task, metric, sorted(set(names) & set(without)), every=set(names) <= set(without))
    if set(names) <= set(without):
        cases = tuple(dict.fromkeys(map(str, cells.index.get_level_values("case"))))
        return Values(cases, {method: [_no_figure] * len(seeds[method]) for method in methods}, seeds, remarks=remarks)
    columns = cells[~names.isin(list(without))].groupby(level="case").mean()
    runs: dict[Any, np.ndarray] = dict(zip(columns.columns, columns.to_numpy(dtype=float).T, strict=True))
    figures = {method: [_mean_figure(runs[method, seed]) for seed in seeds[method]] for method in methods}
    by_case = {method: _mean_of_known([runs[method, seed] for seed in seeds[method]]) for method in methods}
    return Values(tuple(map(str, columns.index)), figures, seeds, by_case, remarks=remarks)


def _mean_of_known(runs: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the runs that were scored on each case: ``n``."""
    known = np.isfinite(runs)
    return np.asarray(np.where(known, runs, 0.0).sum(0) / known.sum(0))


def _mean_figure(values: np.ndarray) -> Figure:
    """The mean over the cases that a run was scored on."""
    own = ~np.isnan(values)
    known, counted = np.where(own, values, 0.0), own.astype(np.float64)

    def figure(weight: np.ndarray | None) -> np.ndarray:
        if weight is None:
            return values[own].mean(keepdims=True)
        weight = weight.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):
            return np.asarray(weight @ known / (weight @ counted))

    return figure


def _no_figure(weight: np.ndarray | None) -> np.ndarray:
    return np.full(1 if weight is None else len(weight), np.nan)


def _unscored(task: str, metric: str, cells: pd.Index) -> tuple[str, ...]:
    """What to say of cases that no method has a number for."""
    if not len(cells):
        return ()
    case, name = cells[0]
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    return (f"{task}: {metric} is no number under any method, and left out, for {describe(case, name)}{more}.",)


def _empty(task: str, metric: str, names: Sequence[str], *, every: bool) -> tuple[str, ...]:
    """What to say of structures that are in no case."""
    if not names:
        return ()
    what = f"{task}: no test case has any {', '.join(names)}"
    return (f"{what}, so {metric} is not defined." if every else f"{what}; {metric} leaves that out.",)


def cohort_values(
    predictions: pd.DataFrame | None,
    task: str,
    metric: str,
    methods: Sequence[str],
    *,
    by_seed: bool,
    same_seeds: bool = True,
    classes: Sequence[str] | None = None,
    index: int | None = None,
    least: int = 1,
    groups: Mapping[str, str] | None = None,
) -> Values:
    """A metric of all cases together, from their predictions: mean over the classes, or that of one of them.

    The classes are the same for every method and seed.

    Args:
        predictions: table of image-level predictions.
        task: name of the task.
        metric: name of the metric.
        methods: which.
        by_seed: every seed has cases of its own, on which the methods must agree; else all seeds have the same.
        same_seeds: all methods must have the same seeds.
        classes: in order; by default as they come.
        index: the class.
        least: positives (see :func:`crosstask.functional.cohort.comparable`) that a class must have, with every seed.
        groups: ``{case: group}``, which are counted; by default every case is one.

    Raises:
        InputError: see :func:`crosstask.evaluation.cells.prediction_cells`.
    """
    table = prediction_table([]) if predictions is None else predictions
    runs = prediction_cells(table, task, methods, by_seed=by_seed, same_seeds=same_seeds)
    cases = tuple(runs.cases)
    names = list(classes or dict.fromkeys(str(name) for rows in runs.values() for name in rows["class"].unique()))
    # a case of another seed has no label here, and so counts for nothing
    cohorts = {run: cohort_of(rows, cases, names)[2] for run, rows in runs.items()}
    of_case = [(groups or {}).get(case, case) for case in cases]
    counts = fewest(cohorts.values(), of_case)
    seeds = {method: tuple(sorted(seed for other, seed in runs if other == method)) for method in methods}
    figures = {
        method: [_cohort_figure(metric, cohorts[method, seed], index, least, counts) for seed in seeds[method]]
        for method in methods
    }
    of_seed = {seed: cohort for (_, seed), cohort in sorted(cohorts.items(), key=lambda item: item[0][1])}
    sides, remarks = _known_sides(task, metric, of_seed, names, cases, by_seed=by_seed)
    uncounted = left_out(metric, next(iter(of_seed.values())), names, counts, least)
    sides = {side: there for side, there in sides.items() if side.removeprefix("without ") not in uncounted}
    grouped = len(set(of_case)) < len(cases)
    remarks += rare_remarks(task, metric, list(cohorts.values()), names, counts, least, grouped=grouped)
    return Values(cases, figures, seeds, sides=sides, remarks=tuple(dict.fromkeys(remarks)))


def _known_sides(
    task: str, metric: str, of_seed: Mapping[int, Cohort], names: Sequence[str], cases: Sequence[str], *, by_seed: bool
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """The cases without which a metric is not defined, the fewest of any seed, and what to say of those that lack."""
    sides: dict[str, frozenset[str]] = {}
    remarks: list[str] = []
    for seed, cohort in of_seed.items():  # labels are the same for all methods
        own = _sides(cohort, names, cases) if sides_of(metric, exclusive=cohort.exclusive) else {}
        remarks += _left_out(task, metric, cohort, own, f", seed {seed}" if by_seed else "")
        sides = _rarer(sides, own)
    return sides, remarks


def _cohort_figure(metric: str, cohort: Cohort, index: int | None, least: int, counts: np.ndarray) -> Figure:
    """A metric of one run: the mean over its classes, or that of one of them."""
    if index is None:
        return prepared_task(metric, cohort, least=least, counts=counts)
    counted = comparable(metric, cohort, least, counts)
    figures = prepared(metric, cohort, [index])

    def figure(weight: np.ndarray | None) -> np.ndarray:
        values = figures(np.ones((1, len(cohort.target))) if weight is None else weight)
        at = min(index, values.shape[1] - 1)
        return values[:, at] if counted[at] else np.full(len(values), np.nan)

    return figure


def _rarer(sides: Mapping[str, frozenset[str]], own: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Of each side the smaller of two sets of cases; an empty one says nothing."""
    found = dict(sides)
    for name, there in own.items():
        if there and (name not in found or len(there) < len(found[name])):
            found[name] = there
    return found


def _sides(cohort: Cohort, names: Sequence[str], cases: Sequence[str]) -> dict[str, frozenset[str]]:
    """Which cases are of each class, and, where classes may go together, which are not."""
    sides = {}
    for index, name in enumerate(names):
        labelled, wanted = cohort.labelled[:, index], cohort.target[:, index] > 0.5
        sides[name] = frozenset(np.asarray(cases)[labelled & wanted].tolist())
        if not cohort.exclusive:
            sides[f"without {name}"] = frozenset(np.asarray(cases)[labelled & ~wanted].tolist())
    return sides


def _left_out(task: str, metric: str, cohort: Cohort, sides: Mapping[str, frozenset[str]], where: str) -> list[str]:
    """What to say where a task's labels hold one class only, or lack one."""
    counted = comparable(metric, cohort)
    empty = [name for name, there in sides.items() if not there]
    if sides and not counted.any():
        there = ", ".join(name for name, there in sides.items() if there)
        return [
            f"{task}{where}: {metric} is not defined, since every labelled test case is of one class ({there}); "
            "whoever always says so would have 100 %."
        ]
    every = " with every seed" if where and metric != "accuracy" else ""
    return [f"{task}{where}: no test case is {', '.join(empty)}; {metric} leaves that out{every}."] if empty else []


def too_rare(values: Values, groups: Mapping[str, str], number: int) -> str:
    """The classes for want of which a metric has no interval, with their groups of cases; empty where none is rare.

    Args:
        values: the metric.
        groups: ``{case: group}``; by default every case is one.
        number: of groups that are drawn from.
    """
    found = {name: len({groups.get(case, case) for case in there}) for name, there in values.sides.items()}
    rare = {name: count for name, count in found.items() if (1 - count / max(number, 1)) ** number > _OFTEN}
    return ", ".join(f"{name} ({count})" for name, count in sorted(rare.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws of groups of cases, the same for all tasks; a block of them at a time is made, and made again.

    Attributes:
        places: ``{task: which of the groups each of its cases is of}``.
        groups: ``{task: number of groups of its cases}``.
        number: of groups in all.
        resamplings: number of draws.
        generator: of random numbers, as it is before the first draw; it is copied and stays so.
    """

    places: dict[str, np.ndarray]
    groups: dict[str, int]
    number: int
    resamplings: int
    generator: np.random.Generator

    def blocks(self) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """Which draws, and ``{task: how often each has each of its cases}``, ``r n`` of them.

        Each is the transpose of an array ``n r``: see :func:`crosstask.functional.cohort.prepared`.
        """
        generator = deepcopy(self.generator)
        cells = max([self.number, *map(len, self.places.values())])
        step = max(1, _CELLS // max(cells, 1))
        for start in range(0, self.resamplings, step):
            counts = np.zeros((min(step, self.resamplings - start), self.number), dtype=np.float32)
            for row in counts:
                row[:] = np.bincount(generator.integers(0, self.number, self.number), minlength=self.number)
            by_group = np.ascontiguousarray(counts.T)
            yield slice(start, start + len(counts)), {task: by_group[at].T for task, at in self.places.items()}

    def resampled(
        self, figures: Mapping[str, Sequence[Figure]], progress: Callable[[int, int], None] | None = None
    ) -> dict[str, np.ndarray]:
        """Figures in each draw: ``{task: f r}``. Every block is made once for all of them.

        Args:
            figures: ``{task: f figures of its cases}``.
            progress: told how many draws of how many are done, or None.
        """
        found = {task: np.empty((len(own), self.resamplings)) for task, own in figures.items()}
        if progress is not None:
            progress(0, self.resamplings)
        for which, weights in self.blocks():
            for task, own in figures.items():
                for row, figure in zip(found[task], own, strict=True):
                    row[which] = figure(weights[task])
            if progress is not None:
                progress(which.stop, self.resamplings)
        return found


def draw(
    values: Mapping[str, Values], groups: Mapping[str, str], resamplings: int, generator: np.random.Generator
) -> Draws:
    """Draw groups with replacement, as many as there are.

    Args:
        values: ``{task: the metric, with its cases}``.
        groups: ``{case: group}``; by default every case is one.
        resamplings: number of draws.
        generator: of random numbers.
    """
    of_task = {task: [groups.get(case, case) for case in found.cases] for task, found in values.items()}
    names = sorted({name for own in of_task.values() for name in own})
    place = {name: index for index, name in enumerate(names)}
    return Draws(
        {task: np.array([place[name] for name in own]) for task, own in of_task.items()},
        {task: len(set(own)) for task, own in of_task.items()},
        len(names),
        resamplings,
        generator,
    )
