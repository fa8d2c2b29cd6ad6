"""Figures and predictions cell by cell (seed, case, class), the same cells of every method or a refusal. No torch here.

A method whose rows of one class are missing would be averaged over the others, and one that is not a number over what
is one: both look like a gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.predictions import COHORT_CASE

_ANEW = (
    "remove scores.csv (and predictions.csv) from its run folder and run the benchmark again, or leave the method out "
    "(methods=[...])"
)
_NO_NUMBER = "leave the method out (methods=[...]), or train it anew"
_KEYS = ["method", "seed", "case", "class"]


def score_cells(
    table: pd.DataFrame, task: str, metric: str, methods: Sequence[str], *, by_seed: bool, same_seeds: bool = True
) -> pd.DataFrame:
    """Values of a metric per (case, class), one column a run (method, seed).

    A cell that is NaN has no number under any run; with ``by_seed`` also where its case is not of the run's seed.

    Args:
        table: long table of scores.
        task: name of the task.
        metric: name of the metric.
        methods: which.
        by_seed: every seed has cases of its own; else all runs must have the same cells.
        same_seeds: all methods must have the same seeds.

    Raises:
        InputError: a method has no scores, or a run not the cells that another has; a cell is there twice, with
            different values; or methods differ in unit or direction.
    """
    part = table[table["method"].isin(list(methods)) & (table["task"] == task) & (table["metric"] == metric)]
    for method in methods:
        if method not in set(part["method"]):
            raise InputError(f"method {method!r} has no score {metric!r} for task {task!r}; evaluate it")
    _same_kind(part, task, metric)
    part = _once(part.assign(**{"class": part["class"].fillna("")}), "value", task)
    frame = part.pivot(index=["case", "class"], columns=["method", "seed"], values="value").astype(float)
    frame = frame.where(np.isfinite(frame))
    known = frame.notna().to_numpy()
    columns: Any = frame.columns
    runs: list[tuple[Any, Any]] = list(columns)  # (method, seed)
    for method in methods:
        if not known[:, [name == method for name, _ in runs]].any():
            raise InputError(
                f"method {method!r} has no score {metric!r} for task {task!r} that is a number; {_NO_NUMBER}"
            )
    by_seed_known: dict[object, np.ndarray] = {}
    for seed in sorted({seed for _, seed in runs}):
        own = {name: known[:, place] for place, (name, other) in enumerate(runs) if other == seed}
        by_seed_known[seed] = np.any(list(own.values()), axis=0)
        lacking = _lacking(own, methods, same_seeds=same_seeds)
        if lacking is not None:
            method, row = lacking
            raise _missing(part, task, metric, method, seed, *frame.index[row])
    if not by_seed:
        _same_of_every_seed(frame.index, by_seed_known, task)
    return frame


def _lacking(known: Mapping[str, np.ndarray], methods: Sequence[str], *, same_seeds: bool) -> tuple[str, int] | None:
    """A method without a cell of its seed that another has, and which; ``known`` says which cells each has."""
    wanted = np.any(list(known.values()), axis=0)
    for method in methods:
        own = known.get(method, np.zeros_like(wanted))
        if (method in known or same_seeds) and (lacking := wanted & ~own).any():
            return method, int(lacking.argmax())
    return None


def _same_kind(part: pd.DataFrame, task: str, metric: str) -> None:
    """Refuse methods that differ in the unit or direction of a metric."""
    for column in ("unit", "higher_is_better"):
        if part[column].astype(str).nunique() > 1:
            first, other = part.drop_duplicates(column).iloc[:2].to_dict("records")
            raise InputError(
                f"task {task!r}: {column} of {metric} is {first[column]!r} for method {first['method']!r} and "
                f"{other[column]!r} for {other['method']!r}; score one of them anew: {_ANEW}"
            )


def _once(part: pd.DataFrame, value: str, task: str) -> pd.DataFrame:
    """Each cell once: equal copies are one (a table that was joined twice)."""
    part = part.drop_duplicates([*_KEYS, value])
    twice = part[part.duplicated(_KEYS)]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"task {task!r}: {describe(row['case'], row['class'])}, seed {row['seed']} is there twice for method "
            f"{row['method']!r}, with different values; {_ANEW}"
        )
    return part


def _missing(
    part: pd.DataFrame, task: str, metric: str, method: str, seed: object, case: object, name: object
) -> InputError:
    """The error for a cell that one method lacks."""
    own = part[(part["method"] == method) & (part["seed"] == seed)]
    if own.empty:
        return InputError(f"task {task!r}: seed {seed} is not scored for method {method!r}, as others are; {_ANEW}")
    if ((own["case"] == case) & (own["class"] == name)).any():
        return InputError(
            f"task {task!r}: {metric} of {describe(case, name)}, seed {seed} is no number for method {method!r}, as it "
            f"is for others; {_NO_NUMBER}"
        )
    return InputError(
        f"task {task!r}: {describe(case, name)}, seed {seed} is not scored by every method: {method!r} "
        f"lacks it; {_ANEW}"
    )


def _same_of_every_seed(cells: pd.Index, known: Mapping[object, np.ndarray], task: str) -> None:
    """Refuse a seed that lacks a cell (case, class) of another; ``known`` says which cells each has."""
    whole = np.any(list(known.values()), axis=0)
    for seed, own in known.items():
        if (lacking := whole & ~own).any():
            case, name = cells[int(lacking.argmax())]
            raise InputError(
                f"task {task!r}: {describe(case, name)} is not scored with seed {seed}, as with others; remove "
                "scores.csv from the run folders of that seed and run the benchmark again"
            )


def describe(case: object, name: object) -> str:
    """A case and a class in words."""
    parts = [f"case {case}" if case != COHORT_CASE else "", f"class {name}" if name else ""]
    return ", ".join(filter(None, parts)) or "the figure of all cases"


def prediction_cells(
    predictions: pd.DataFrame, task: str, methods: Sequence[str], *, by_seed: bool, same_seeds: bool = True
) -> dict[tuple[str, int], pd.DataFrame]:
    """Predictions of one task by method and seed, each with the same labelled cases and classes.

    Args:
        predictions: table of image-level predictions.
        task: name of the task.
        methods: which.
        by_seed: every seed has cases of its own; else all seeds must have the same.
        same_seeds: all methods must have the same seeds.

    Raises:
        InputError: a method has no predictions, or not the cells that another has, or of other labels; a prediction is
            no number; or a cell is there twice, with different values.
    """
    part = predictions[(predictions["task"] == task) & predictions["method"].isin(list(methods))]
    part = _once(part[part["target"].notna()], "prediction", task)
    for method in methods:
        if method not in set(part["method"]):
            raise InputError(
                f"method {method!r} has no predictions for task {task!r}: no case has its label, or it was not "
                "evaluated"
            )
    broken = part[~np.isfinite(part["prediction"].to_numpy(dtype=float))]
    if len(broken):
        row = broken.iloc[0]
        raise InputError(
            f"task {task!r}: the prediction for {describe(row['case'], row['class'])}, seed {row['seed']} is no number "
            f"for method {row['method']!r}; {_NO_NUMBER}"
        )
    runs = {
        (str(method), int(seed)): rows
        for method, own in part.groupby("method")
        for seed, rows in own.groupby(own["seed"].astype(int))
    }
    labels = {run: set(zip(rows["case"], rows["class"], strict=True)) for run, rows in runs.items()}
    known = set().union(*labels.values())
    for seed in sorted({seed for _, seed in runs}):
        wanted = set().union(*(there for (_, other), there in labels.items() if other == seed)) if by_seed else known
        for method in methods:
            if not same_seeds and (method, seed) not in labels:
                continue
            lacking = wanted - labels.get((method, seed), set())
            if lacking:
                case, name = min(lacking)
                raise _missing(part, task, "the prediction", method, seed, case, name)
    _same_labels(part, task, by_seed=by_seed)
    return runs


def _same_labels(part: pd.DataFrame, task: str, *, by_seed: bool) -> None:
    """Refuse methods that were scored against different labels of a case."""
    found = part.groupby([*(["seed"] if by_seed else []), "case", "class"])["target"].nunique()
    if (found > 1).any():
        *_, case, name = found.index[found > 1][0]
        rows = part[(part["case"] == case) & (part["class"] == name)]
        method = rows[rows["target"] != rows["target"].iloc[0]]["method"].iloc[0]
        raise InputError(
            f"task {task!r}: {describe(case, name)} is scored against another label for method {method!r}; {_ANEW}"
        )
