"""Figures and predictions cell by cell (seed, case, class), the same cells of every method or a refusal. No torch here.

A method whose rows of one class are missing would be averaged over the others, and one that is not a number over what
is one: both look like a gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.compact import codes_of, occurring
from crosstask.evaluation.predictions import COHORT_CASE

_ANEW = (
    "remove scores.csv (and predictions.csv) from its run folder and run the benchmark again, or leave the method out "
    "(methods=[...])"
)
_NO_NUMBER = "leave the method out (methods=[...]), or train it anew"
_DENSE = 1 << 24  # so many pairs have a place each
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
    chosen = table["method"].isin(list(methods)) & (table["task"] == task) & (table["metric"] == metric)
    _same_kind(table, chosen, task, metric)
    part = table.loc[chosen, [*_KEYS, "value"]]
    there = set(part["method"].unique())
    for method in methods:
        if method not in there:
            raise InputError(f"method {method!r} has no score {metric!r} for task {task!r}; evaluate it")
    if part["class"].isna().any():
        part = part.assign(**{"class": part["class"].astype(object).fillna("")})
    part, grid = _once(part, "value", task)
    values = np.full(grid.shape, np.nan)
    values.ravel()[grid.place] = part["value"].to_numpy(dtype=float)
    values[~np.isfinite(values)] = np.nan
    known = ~np.isnan(values)
    runs = grid.runs
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
            raise _missing(part, task, metric, method, seed, *grid.cell(row))
    frame = pd.DataFrame(values, index=grid.index, columns=pd.MultiIndex.from_tuples(runs, names=["method", "seed"]))
    if not by_seed:
        _same_of_every_seed(frame.index, by_seed_known, task)
    return frame


def _rows(table: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The rows that are chosen; no copy where these are all."""
    return table if chosen.all() else table[chosen]


def _numbered(one: np.ndarray, ones: int, other: np.ndarray, others: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places as numbers: of each row which of those that occur, and which these are, in order."""
    if ones * others > _DENSE:
        return pd.factorize(one.astype(np.int64) * others + other, sort=True)
    key = one.astype(np.int32) * np.int32(others) + other.astype(np.int32)
    there = occurring(key, ones * others)
    if not there.all():
        key = (np.cumsum(there, dtype=np.int32) - 1)[key]
    return key, np.flatnonzero(there)


class Grid:
    """Cells (case, class) and runs (method, seed) of some rows, both in order, and where each row stands among them."""

    def __init__(self, part: pd.DataFrame) -> None:
        (case, cases), (name, names), (method, methods) = (codes_of(part[key]) for key in ("case", "class", "method"))
        seed, seeds = codes_of(part["seed"])
        cell, self._cells = _numbered(case, len(cases), name, len(names))
        run, runs = _numbered(method, len(methods), seed, len(seeds))
        self._cases, self._names = cases, names
        self.runs = [(methods[of // len(seeds)], seeds[of % len(seeds)]) for of in runs.tolist()]
        """``(method, seed)`` of each column."""
        self.shape = len(self._cells), len(self.runs)
        large = self.shape[0] * self.shape[1] >= 2**31
        self.place = (cell.astype(np.int64) if large else cell) * len(self.runs) + run
        """Of each row, in the grid row by row."""
        self.run = run
        """Of each row, which run it is of."""

    @property
    def twice(self) -> bool:
        """Whether a cell of a run has several rows."""
        number = self.shape[0] * self.shape[1]
        return len(self.place) > number or int(occurring(self.place, number).sum()) < len(self.place)

    @property
    def index(self) -> pd.MultiIndex:
        """Case and class of each row of the grid."""
        case, name = np.divmod(self._cells, len(self._names))
        return pd.MultiIndex(
            levels=[self._cases, self._names], codes=[case.tolist(), name.tolist()], names=["case", "class"]
        )

    def cell(self, row: int) -> tuple[str, str]:
        """Case and class of a row of the grid."""
        case, name = divmod(int(self._cells[row]), len(self._names))
        return self._cases[case], self._names[name]


def _lacking(
    known: Mapping[str, np.ndarray], methods: Sequence[str], *, same_seeds: bool, wanted: np.ndarray | None = None
) -> tuple[str, int] | None:
    """A method without a cell of its seed that another has, and which.

    Args:
        known: which cells each method has with that seed.
        methods: which.
        same_seeds: all methods must have the seed.
        wanted: the cells that they must have; by default those that one of them has.
    """
    wanted = np.any(list(known.values()), axis=0) if wanted is None else wanted
    for method in methods:
        own = known.get(method, np.zeros_like(wanted))
        if (method in known or same_seeds) and (lacking := wanted & ~own).any():
            return method, int(lacking.argmax())
    return None


def _same_kind(table: pd.DataFrame, chosen: pd.Series, task: str, metric: str) -> None:
    """Refuse methods that differ in the unit or direction of a metric."""
    for column in ("unit", "higher_is_better"):
        codes, kinds = pd.factorize(table.loc[chosen, column], use_na_sentinel=False)
        if len({str(kind) for kind in kinds}) > 1:
            rows = np.flatnonzero(chosen)[[0, int((codes == 1).argmax())]]
            first, other = table.iloc[rows].to_dict("records")
            raise InputError(
                f"task {task!r}: {column} of {metric} is {first[column]!r} for method {first['method']!r} and "
                f"{other[column]!r} for {other['method']!r}; score one of them anew: {_ANEW}"
            )


def _once(part: pd.DataFrame, value: str, task: str) -> tuple[pd.DataFrame, Grid]:
    """Each cell once: equal copies are one (a table that was joined twice). With where each row stands."""
    grid = Grid(part)
    if not grid.twice:
        return part, grid
    part = part.drop_duplicates([*_KEYS, value])
    twice = part[part.duplicated(_KEYS)]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"task {task!r}: {describe(row['case'], row['class'])}, seed {row['seed']} is there twice for method "
            f"{row['method']!r}, with different values; {_ANEW}"
        )
    return part, Grid(part)


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


class PredictedRuns(Mapping[tuple[str, int], pd.DataFrame]):
    """The rows of each run, cut out when they are asked for.

    Args:
        part: rows of all runs.
        rows: ``{(method, seed): which of them are its own}``.
    """

    def __init__(self, part: pd.DataFrame, rows: Mapping[tuple[str, int], np.ndarray]) -> None:
        self._part, self._rows = part, rows

    def __getitem__(self, run: tuple[str, int]) -> pd.DataFrame:
        return self._part.iloc[self._rows[run]]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def cases(self) -> list[str]:
        """All cases, in order."""
        return [str(case) for case in codes_of(self._part["case"])[1]]


def prediction_cells(
    predictions: pd.DataFrame, task: str, methods: Sequence[str], *, by_seed: bool, same_seeds: bool = True
) -> PredictedRuns:
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
    wanted = (predictions["task"] == task) & predictions["method"].isin(list(methods))
    part, grid = _once(_rows(predictions, wanted & predictions["target"].notna()), "prediction", task)
    there = set(part["method"].unique())
    for method in methods:
        if method not in there:
            raise InputError(
                f"method {method!r} has no predictions for task {task!r}: no case has its label, or it was not "
                "evaluated"
            )
    broken = np.flatnonzero(~np.isfinite(part["prediction"].to_numpy(dtype=float)))
    if len(broken):
        row = part.iloc[broken[0]]
        raise InputError(
            f"task {task!r}: the prediction for {describe(row['case'], row['class'])}, seed {row['seed']} is no number "
            f"for method {row['method']!r}; {_NO_NUMBER}"
        )
    runs = [(str(method), int(seed)) for method, seed in grid.runs]
    known = np.zeros(grid.shape, dtype=bool)
    known.ravel()[grid.place] = True
    for seed in sorted({seed for _, seed in runs}):
        own = {name: known[:, at] for at, (name, other) in enumerate(runs) if other == seed}
        lacking = _lacking(own, methods, same_seeds=same_seeds, wanted=None if by_seed else np.asarray(known.any(1)))
        if lacking is not None:
            method, row_of = lacking
            raise _missing(part, task, "the prediction", method, seed, *grid.cell(row_of))
    _same_labels(part, grid, task, by_seed=by_seed)
    ends = np.cumsum(np.bincount(grid.run, minlength=len(runs)))[:-1]
    rows = np.split(np.argsort(grid.run, kind="stable").astype(np.int32), ends)
    return PredictedRuns(part, dict(zip(runs, rows, strict=True)))


def _same_labels(part: pd.DataFrame, grid: Grid, task: str, *, by_seed: bool) -> None:
    """Refuse methods that were scored against different labels of a case."""
    target, cell = part["target"].to_numpy(), grid.place // grid.shape[1]
    if by_seed:
        seed, seeds = pd.factorize(part["seed"])
        cell = cell * len(seeds) + seed
    label = np.zeros(int(cell.max()) + 1, dtype=target.dtype)
    label[cell] = target
    if not (label[cell] != target).any():
        return
    found = part.groupby([*(["seed"] if by_seed else []), "case", "class"], observed=True)["target"].nunique()
    *_, case, name = found.index[found > 1][0]
    rows = part[(part["case"] == case) & (part["class"] == name)]
    method = rows[rows["target"] != rows["target"].iloc[0]]["method"].iloc[0]
    raise InputError(
        f"task {task!r}: {describe(case, name)} is scored against another label for method {method!r}; {_ANEW}"
    )
