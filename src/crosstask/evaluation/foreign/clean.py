"""From rows of scores as they were given to the project's long table, with what a comparison needs. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.cells import describe
from crosstask.evaluation.compact import distinct, replaced
from crosstask.evaluation.comparison import MEAN, Measure, measures_of
from crosstask.evaluation.foreign import cells, checks
from crosstask.evaluation.foreign.columns import with_columns
from crosstask.evaluation.foreign.given import Given, given_of
from crosstask.evaluation.predictions import COHORT_CASE
from crosstask.functional.cohort import LEAST_POSITIVES
from crosstask.registry import did_you_mean


@dataclass(frozen=True)
class Scores:
    """Scores that can be compared.

    Attributes:
        table: the long table (:data:`crosstask.evaluation.scores.COLUMNS`) and ``group``, each cell once.
        measures: M of each task.
        by_seed: every seed has test cases of its own (folds); else all runs have the same.
        predictions: image-level predictions, for figures of all cases together; None without.
        constant: scores of the constant predictor; None without.
        remarks: what was chosen, left out or numbered, a sentence each.
        least_positives: positive cases (groups of them) that a class must have to count in figures of all cases.
        predicted_groups: ``{case: group}`` of cases that only predictions name.
    """

    table: pd.DataFrame
    measures: tuple[Measure, ...]
    by_seed: bool = False
    predictions: pd.DataFrame | None = None
    constant: pd.DataFrame | None = None
    remarks: tuple[str, ...] = ()
    least_positives: int = LEAST_POSITIVES
    predicted_groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, as they come."""
        return tuple(self.table["method"].unique())

    @property
    def groups(self) -> dict[str, str]:
        """``{case: group}``."""
        known = distinct(self.table, ["case", "group"])
        named = zip(known["case"], known["group"], strict=True)
        return {**self.predicted_groups, **{case: group for case, group in named if case != COHORT_CASE}}


@dataclass(frozen=True)
class Choice:
    """What is compared of a table.

    Attributes:
        metrics: ``{task: metric}`` by which it is judged; the first of the others' in the table.
        better: ``{metric: "higher" or "lower"}`` where the table does not say.
        tasks, methods: only these; all by default.
    """

    metrics: Mapping[str, str]
    better: Mapping[str, str]
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()


def clean_scores(
    frame: pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    better: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> Scores:
    """The scores of a frame; messages name rows by its index.

    Args:
        frame: one row per method, seed, case, task, metric (and class): columns ``method``, ``seed``, ``case``,
            ``task``, ``metric``, ``value``, ``higher_is_better``, and if there are ``class``, ``unit`` and ``group``.
        columns: ``{one of these names: what the frame calls it}``.
        metrics: ``{task: metric}`` by which a task is judged; by default the first of the task in the frame.
        better: ``{metric: "higher" or "lower"}`` where there is no ``higher_is_better``.
        tasks: only these.
        methods: only these.

    Raises:
        InputError: a column is missing, a cell cannot be used, or the methods were not scored on the same cells.
    """
    if frame.empty:
        raise InputError("the table of scores has no row; give one row a method, seed, case, task and metric")
    given = with_columns(given_of(frame), columns or {}, {})
    return clean(given, Choice(metrics or {}, better or {}, tasks, methods))


def clean(
    given: Given,
    choice: Choice,
    *,
    predictions: pd.DataFrame | None = None,
    constant: pd.DataFrame | None = None,
) -> Scores:
    """The scores of rows with the columns of :data:`~crosstask.evaluation.foreign.given.COLUMNS`.

    Args:
        given: the rows.
        choice: what is compared.
        predictions: image-level predictions of the same methods.
        constant: scores of the constant predictor.

    Raises:
        InputError: see :func:`clean_scores`.
    """
    names = ("method", "case", "task", "class", "metric", "unit", "group", "seed")
    given = replace(given, frame=replaced(given.frame, {name: cells.texts(given.frame[name]) for name in names}))
    cells.missing_cells(given, ("method", "seed", "task", "metric"))
    checks.same_spellings(given)
    given = _chosen(given, choice)
    number, seed_remarks = cells.seeds(given)
    higher = cells.directions(given, choice.better)
    cells.same_units(given)
    given = replace(
        given, frame=replaced(given.frame, {"seed": number, "value": cells.numbers(given), "higher_is_better": higher})
    )
    measures, measure_remarks = _measures(given, choice.metrics)
    _cases_are_there(given, measures)
    checks.no_summaries(given)
    checks.same_cases(given)
    given, value_remarks = _with_values(given, measures)
    given, copy_remarks = checks.once(given)
    given = replace(given, frame=replaced(given.frame, {"group": checks.groups(given)}))
    predictions = _of_methods(predictions, given)
    by_seed = checks.by_seed_of(given, measures, predictions)
    for measure in measures:
        checks.one_scale(given, measure)
    own = ("Every seed has test cases of its own (folds): methods are compared seed by seed.",) * by_seed
    runs = _different_runs(given)
    return Scores(
        table=given.frame,
        measures=measures,
        by_seed=by_seed,
        predictions=predictions,
        constant=constant,
        remarks=(*given.remarks, *seed_remarks, *measure_remarks, *value_remarks, *copy_remarks, *own, *runs),
    )


def _chosen(given: Given, choice: Choice) -> Given:
    """The rows of the tasks and methods that are wanted."""
    keep = np.ones(len(given.frame), dtype=bool)
    for column, wanted in (("task", choice.tasks), ("method", choice.methods)):
        known = list(given.frame[column].unique())
        for name in wanted:
            if name not in known:
                raise InputError(f"--{column}: {_unknown(name, known)}")
        if wanted:
            keep &= given.frame[column].isin(list(wanted)).to_numpy()
    given = given.kept(keep)
    if given.frame.empty:
        raise InputError("--task and --method leave no row; choose a task that these methods have")
    if MEAN in given.frame["task"].unique():
        place = int(np.flatnonzero(given.frame["task"] == MEAN)[0])
        raise InputError(
            f"{given.where(place)}, column 'task': {MEAN!r} is what results call the mean of all tasks; "
            "name it otherwise"
        )
    return given


def _measures(given: Given, metrics: Mapping[str, str]) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
    """M of each task: the metric that is told, or the first; and what to say where there are several."""
    frame = given.frame
    pairs = distinct(frame, ["task", "metric"])
    there = {str(task): list(pairs.loc[pairs["task"] == task, "metric"]) for task in pairs["task"].unique()}
    for task, metric in metrics.items():
        if task not in there:
            raise InputError(f"--metric {task}={metric}: {_unknown(task, list(there))}")
        if metric not in there[task]:
            raise InputError(f"--metric {task}={metric}: {_unknown(metric, there[task])}")
    remarks = [
        f"{task} is judged by {known[0]}, the first of its {len(known)} metrics; --metric {task}=METRIC takes another "
        f"({', '.join(known[1:])})."
        for task, known in there.items()
        if len(known) > 1 and task not in metrics
    ]
    judged = {task: metrics.get(task, known[0]) for task, known in there.items()}
    found = {measure.task: measure for measure in measures_of(frame[_has(frame, judged)])}
    return tuple(found[task] for task in there), tuple(remarks)


def _unknown(name: str, known: Sequence[str]) -> str:
    return f"{name!r} is not in the table; {did_you_mean(name, known)}there are {', '.join(known)}"


def _is_judged(frame: pd.DataFrame, measures: Sequence[Measure]) -> pd.Series:
    return _has(frame, {measure.task: measure.metric for measure in measures})


def _has(frame: pd.DataFrame, metrics: Mapping[str, str]) -> pd.Series:
    """Which rows have the metric of their task."""
    found = pd.Series(False, frame.index)
    for task, metric in metrics.items():
        found |= (frame["task"] == task) & (frame["metric"] == metric)
    return found


def _cases_are_there(given: Given, measures: Sequence[Measure]) -> None:
    """Refuse a table of means: one row for all cases."""
    frame = given.frame
    single = [measure.task for measure in measures if measure.of == "case"]
    part = frame.loc[_is_judged(frame, measures) & frame["task"].isin(single), ["case"]]
    empty = part.index[part["case"] == COHORT_CASE]
    if len(empty):
        raise InputError(
            f"{given.where(given.place(part.loc[empty]))}, column 'case': is empty, and "
            "other rows of the task have a case; fill it in, or take the row away"
        )
    if len(part) and part["case"].nunique() == 1:
        raise InputError(
            f"{given.where(given.place(part))}, column 'case': every row has {part['case'].iloc[0]!r}; values of "
            "single cases are needed, since a mean does not say how far the test cases carry: give one row a case"
        )


def _with_values(given: Given, measures: Sequence[Measure]) -> tuple[Given, tuple[str, ...]]:
    """The rows with a number, and what to say of the others.

    What no run has a number for is left out for all. Of metrics by which nothing is judged, every other one is too.

    Raises:
        InputError: one run has no number by which it is judged, where another has one.
    """
    frame = given.frame
    empty = ~np.isfinite(frame["value"].to_numpy(dtype=float))
    if not empty.any():
        return given, ()
    if empty.all():
        raise InputError(f"{given.where(0)}, column 'value': no row has a number; write the values that were measured")
    judged = _is_judged(frame, measures).to_numpy()
    known = pd.MultiIndex.from_frame(frame.loc[judged & ~empty, ["task", "case", "class"]])
    cell = pd.MultiIndex.from_frame(frame[["task", "case", "class"]])
    lacking = np.flatnonzero(judged & empty & cell.isin(known))
    if len(lacking):
        place = int(lacking[0])
        row = frame.iloc[place]
        more = f" (and {len(lacking) - 1} more such cells)" if len(lacking) > 1 else ""
        raise InputError(
            f"{given.where(place)}, column 'value': {row['metric']} of {describe(row['case'], row['class'])}, method "
            f"{row['method']!r}, is empty or no number{more}, and other runs have one; write what a failure is worth "
            "(of an overlap 0), or take the case away for every method"
        )
    remarks = []
    if nowhere := int((judged & empty).sum()):
        remarks.append(f"Left out: {nowhere} values that are no numbers, of cells for which no run has one.")
    if aside := int((~judged & empty).sum()):
        names = ", ".join(frame.loc[~judged & empty, "metric"].unique())
        remarks.append(f"Left out: {aside} values that are no numbers, of metrics that do not judge ({names}).")
    return given.kept(~empty), tuple(remarks)


def _different_runs(given: Given) -> tuple[str, ...]:
    """What to say of methods that have different numbers of runs."""
    runs = distinct(given.frame, ["method", "seed"]).groupby("method", sort=False, observed=True).size()
    if runs.nunique() < 2:
        return ()
    return (f"Methods have different numbers of runs: {', '.join(f'{name} {runs[name]}' for name in runs.index)}.",)


def _of_methods(predictions: pd.DataFrame | None, given: Given) -> pd.DataFrame | None:
    if predictions is None:
        return None
    frame = given.frame
    wanted = predictions["method"].isin(frame["method"].unique()) & predictions["task"].isin(frame["task"].unique())
    return predictions if wanted.all() else predictions[wanted]


def known_baseline(scores: Scores, baseline: str) -> str:
    """The baseline, if it is among the methods and there is another to compare with it.

    Raises:
        InputError: it is not, or there is none.
    """
    if baseline not in scores.methods:
        near = did_you_mean(baseline, scores.methods)
        raise InputError(
            f"--baseline: {baseline!r} is no method of the table; {near}there are {', '.join(scores.methods)}"
        )
    if len(scores.methods) < 2:
        raise InputError(f"{baseline!r} is the only method of the table; add the rows of another to compare it with")
    return baseline
