"""Faults of a whole table of scores: spellings, duplicates, groups, and which cells every run has. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.cells import describe
from crosstask.evaluation.compact import changed, codes_of, distinct, texts
from crosstask.evaluation.comparison import Measure
from crosstask.evaluation.foreign.given import Given

_KEYS = ["method", "seed", "case", "task", "class", "metric"]
_SUMMARIES = frozenset(
    {
        "mean",
        "average",
        "avg",
        "std",
        "sd",
        "stdev",
        "median",
        "total",
        "overall",
        "all",
        "sum",
        "min",
        "max",
        "mittelwert",
        "moyenne",
        "media",
        "n",
    }
)
_FILE_ENDING = re.compile(r"\.(nii\.gz|nii|mha|mhd|nrrd|dcm|npz|npy|png|jpe?g|tiff?|0+)$")
_FRACTION, _PERCENT = 1.0, 20.0
_SHARED = 0.5
"""Seeds that share less than this of their cases have test cases of their own."""


def same_spellings(given: Given) -> None:
    """Refuse names of methods, tasks, metrics and classes that differ in case, spaces and underscores alone.

    Classes are those of one task: an outline may be called ``Lesion`` and a diagnosis ``lesion``.
    """
    for column in ("method", "task", "metric", "class"):
        names = distinct(given.frame, ["task", column] if column == "class" else [column])
        if column != "class":
            names.insert(0, "within", "")
        known: dict[tuple[str, str], tuple[int, str]] = {}
        for place, task, name in names.itertuples():
            first, other = known.setdefault((task, re.sub(r"[\s_]+", "", name).casefold()), (place, name))
            if other != name:
                raise InputError(
                    f"{given.both(first, place)}, column {column!r}: {other!r} and {name!r} differ in spelling alone; "
                    "write one of them everywhere, or names that differ more"
                )


def no_summaries(given: Given) -> None:
    """Refuse rows of a mean or a deviation among those of cases."""
    cases = given.frame["case"]
    summaries = [case for case in cases.unique() if case.casefold() in _SUMMARIES]
    for place in np.flatnonzero(cases.isin(summaries)):
        raise InputError(
            f"{given.where(int(place))}, column 'case': {given.frame['case'][place]!r} looks like a summary of cases, "
            "and would count as one of them; take such rows away"
        )


def same_cases(given: Given) -> None:
    """Refuse cases that different methods write differently: ``case_01`` and ``Case_1``, ``7`` and ``7.nii.gz``."""
    pairs = distinct(given.frame, ["case", "method"])
    methods = pairs.groupby("case", sort=False, observed=True)["method"].agg(frozenset)
    alike: dict[str, list[str]] = {}
    for case in methods.index:
        alike.setdefault(plain_case(case), []).append(case)
    for names in alike.values():
        for one, other in combinations(names, 2):
            if not methods[one] & methods[other]:
                places = [int(np.flatnonzero(given.frame["case"] == name)[0]) for name in (one, other)]
                raise InputError(
                    f"{given.both(*places)}, column 'case': is {one!r} (of {min(methods[one])!r}) the same as "
                    f"{other!r} (of {min(methods[other])!r})? Write a case alike for every method"
                )


def plain_case(case: str) -> str:
    """A case without what people and programs write differently."""
    name = _FILE_ENDING.sub("", re.sub(r"\s+", "", case.casefold()))
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", name)


def once(given: Given) -> tuple[Given, tuple[str, ...]]:
    """Each cell once, and what to say of equal copies.

    Raises:
        InputError: a cell has two different values.
    """
    frame = given.frame
    if not _has_copies(frame):
        return given, ()
    copies = frame.duplicated(_KEYS)
    if not copies.any():
        return given, ()
    first = frame.groupby(_KEYS, sort=False, observed=True)["value"].transform("first")
    other = np.flatnonzero(frame["value"] != first)
    if len(other):
        place = int(other[0])
        row = frame.iloc[place]
        start = int(np.flatnonzero((frame[_KEYS] == row[_KEYS]).all(axis=1))[0])
        where = " of ".join(filter(None, [describe(row["case"], row["class"]), f"task {row['task']!r}"]))
        hint = ""
        if given.unused and not (frame["class"] != "").any():
            hint = f"; if {given.unused[0]!r} tells them apart, name it: --column class={given.unused[0]}"
        raise InputError(
            f"{given.both(start, place)}: {row['metric']} of {where}, method {row['method']!r}, seed {row['seed']}, is "
            f"{frame['value'][start]:g} and {row['value']:g} ({len(other)} such cells); take one away{hint}"
        )
    number = int(copies.sum())
    said = "1 value is" if number == 1 else f"{number} values are"
    return given.kept(~copies.to_numpy()), (f"{said} there twice, and equal: each counts once.",)


def _has_copies(frame: pd.DataFrame) -> bool:
    """Whether two rows may have the same keys: not where it says no. In little memory."""
    key = np.zeros(len(frame), dtype=np.int64)
    for name in _KEYS:
        codes, names = codes_of(frame[name])
        key *= len(names)
        key += codes
    key.sort()
    return bool((key[1:] == key[:-1]).any())


def groups(given: Given) -> pd.Series:
    """The group of each row's case: that of any row of the case; where no case has one, each is its own.

    Raises:
        InputError: a case is in two groups, or some have one and others none.
    """
    frame = given.frame
    pairs = distinct(frame, ["case", "group"]).astype(object)
    stated = pairs[(pairs["group"] != "") & (pairs["case"] != "")]
    if stated.empty:
        return frame["case"]
    first = stated.groupby("case")["group"].first()
    other = stated.index[stated["group"] != stated["case"].map(first)]
    if len(other):
        place = int(other[0])
        case = frame["case"][place]
        start = int(stated.index[stated["case"] == case][0])
        raise InputError(
            f"{given.both(start, place)}, column 'group': case {case} is in {frame['group'][start]!r} and "
            f"{frame['group'][place]!r}; give it one group"
        )
    lacking = np.flatnonzero((frame["case"] != "") & ~frame["case"].isin(first.index))
    if len(lacking):
        place = int(lacking[0])
        raise InputError(
            f"{given.where(place)}, column 'group': case {frame['case'][place]} has none, and others have; give every "
            "case its group (its own name if it is alone)"
        )
    return texts(changed(frame["case"], lambda case: first.get(case, "")))


def one_scale(given: Given, measure: Measure) -> None:
    """Refuse a figure that one method has as a fraction and another in percent, where no unit is told."""
    if measure.unit or not measure.higher_is_better or measure.of == "cohort":
        return
    part = given.frame[(given.frame["task"] == measure.task) & (given.frame["metric"] == measure.metric)]
    ranges = part.groupby("method", sort=False, observed=True)["value"].agg(["min", "max", "median"])
    small = ranges[(ranges["min"] >= 0) & (ranges["max"] <= _FRACTION)]
    large = ranges[(ranges["median"] > _PERCENT) & (ranges["max"] <= 100)]
    if len(small) and len(large):
        raise InputError(
            f"task {measure.task!r}: {measure.metric} of {small.index[0]!r} is at most {small['max'].iloc[0]:g}, and "
            f"of {large.index[0]!r} up to {large['max'].iloc[0]:g}: is the one a fraction, the other percent? "
            "Write one, and a column 'unit' that says which"
        )


def by_seed_of(given: Given, measures: Sequence[Measure], predictions: pd.DataFrame | None) -> bool:
    """Whether every seed has test cases of its own, the same for all methods; else all runs have the same.

    Raises:
        InputError: runs differ in their cells otherwise, or some tasks have the one and some the other.
    """
    found = {measure.task: _own_cases(given, measure, predictions) for measure in measures}
    if len(set(found.values())) > 1:
        own = next(task for task, is_own in found.items() if is_own)
        other = next(task for task, is_own in found.items() if not is_own)
        raise InputError(
            f"every seed has test cases of its own in task {own!r}, and the same as the others in {other!r}; compare "
            f"them one by one: --task {own}"
        )
    return any(found.values())


Runs = dict[tuple[str, int], np.ndarray]
"""``{(method, seed): its cells}``: which of all (case, class) it has, ``n``, bool."""


@dataclass(frozen=True)
class _Cells:
    """The cells of a task.

    Attributes:
        case, name: of each cell; in order.
        runs: which of them each run has.
    """

    case: np.ndarray
    name: np.ndarray
    runs: Runs

    @classmethod
    def of(cls, part: pd.DataFrame) -> _Cells:
        """Those of some rows."""
        (case, cases), (name, names) = codes_of(part["case"]), codes_of(part["class"])
        cell, cells = pd.factorize(case.astype(np.int64) * len(names) + name, sort=True)
        runs: Runs = {}
        (method, methods), (seed, seeds) = codes_of(part["method"]), codes_of(part["seed"])
        run, known = pd.factorize(method.astype(np.int64) * max(len(seeds), 1) + seed)  # as they come
        for place, of in enumerate(known.tolist()):
            own = np.zeros(len(cells), dtype=bool)
            own[cell[run == place]] = True
            runs[str(methods[of // len(seeds)]), int(str(seeds[of % len(seeds)]))] = own
        of_case, of_name = np.divmod(cells, max(len(names), 1))
        return cls(np.array(cases, dtype=object)[of_case], np.array(names, dtype=object)[of_name], runs)


def _own_cases(given: Given, measure: Measure, predictions: pd.DataFrame | None) -> bool:
    """The same of one task."""
    keys = ["method", "seed", "case", "class"]
    part = given.frame.loc[(given.frame["task"] == measure.task) & (given.frame["metric"] == measure.metric), keys]
    if measure.of == "cohort":
        known = None if predictions is None else predictions[predictions["task"] == measure.task]
        if known is None or not len(known):
            place = given.place(part)
            raise InputError(
                f"{given.where(place)}, column 'case': is empty, and {measure.metric} of all cases together says "
                f"nothing of how far they carry; give values of single cases, or a benchmark's folder, which has "
                f"predictions.csv, or judge by another metric: --metric {measure.task}=METRIC"
            )
        part = known.loc[known["target"].notna(), keys]
    cells = _Cells.of(part)
    for method in given.frame["method"].unique():
        if not any(name == method for name, _ in cells.runs):
            raise InputError(
                f"method {method!r} has no {measure.metric} for task {measure.task!r}; add its rows, or leave it out: "
                "--method NAME for each of the others (or --task NAME for the other tasks)"
            )
    if all(own.all() for own in cells.runs.values()):
        return False
    own = _divided(cells)
    if own:
        _same_seeds(measure, cells.runs)
        for seed in sorted({seed for _, seed in cells.runs}):
            _same_cells(given, measure, cells, {run: there for run, there in cells.runs.items() if run[1] == seed})
    else:
        _same_cells(given, measure, cells, cells.runs)
    return own


def _divided(cells: _Cells) -> bool:
    """Whether seeds of a method share few of their cases; not so where no method has two seeds.

    Raises:
        InputError: seeds of one method do, and those of another do not.
    """
    case, cases = pd.factorize(cells.case)
    there = {run: np.bincount(case[own], minlength=len(cases)) > 0 for run, own in cells.runs.items()}
    shares: dict[str, list[float]] = {}
    for (one, cases_of), (two, others) in combinations(there.items(), 2):
        if one[0] == two[0]:
            share = (cases_of & others).sum() / min(cases_of.sum(), others.sum())
            shares.setdefault(one[0], []).append(float(share))
    own = {method: max(values) < _SHARED for method, values in shares.items()}
    if len(set(own.values())) > 1:
        divided = next(method for method, is_own in own.items() if is_own)
        whole = next(method for method, is_own in own.items() if not is_own)
        raise InputError(
            f"every seed of {divided!r} has test cases of its own (folds), and those of {whole!r} share theirs; test "
            "them on the same cases, or give all folds of one method as one seed"
        )
    return any(own.values())


def _same_seeds(measure: Measure, runs: Runs) -> None:
    """Refuse methods that lack a seed where every seed has cases of its own."""
    seeds = {seed for _, seed in runs}
    for method in dict.fromkeys(method for method, _ in runs):
        if lacking := seeds - {seed for name, seed in runs if name == method}:
            raise InputError(
                f"task {measure.task!r}: every seed has test cases of its own (folds), and method {method!r} has no "
                f"seed {min(lacking)}; add it, or take that seed away for every method"
            )


def _same_cells(given: Given, measure: Measure, cells: _Cells, runs: Runs) -> None:
    """Refuse runs of which one lacks a cell that another has."""
    every = np.any(list(runs.values()), axis=0)
    for (method, seed), own in runs.items():
        lacking = np.flatnonzero(every & ~own)
        if not len(lacking):
            continue
        case, name = cells.case[lacking[0]], cells.name[lacking[0]]
        rows = given.frame[
            (given.frame["task"] == measure.task)
            & (given.frame["case"] == case)
            & (given.frame["class"] == name)
            & (given.frame["method"].ne(method) | given.frame["seed"].ne(seed))
        ]
        where = f" ({given.where(given.place(rows))})" if len(rows) else ""
        more = f", and {len(lacking) - 1} more such cells" if len(lacking) > 1 else ""
        raise InputError(
            f"task {measure.task!r}: {describe(case, name)} has {measure.metric} in another run{where}, and none for "
            f"method {method!r}, seed {seed}{more}; add it, or take it away for every method and seed"
        )
