"""Cells of a given table: text, numbers, directions and seeds, or the row and column of what is none. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from crosstask.errors import InputError, listed
from crosstask.evaluation import compact
from crosstask.evaluation.foreign.given import Given

_TRUE = frozenset({"true", "1", "1.0", "yes", "y", "higher", "up", "max", "maximize", "maximise"})
_FALSE = frozenset({"false", "0", "0.0", "no", "n", "lower", "down", "min", "minimize", "minimise"})
_MISSING = frozenset({"", "nan", "na", "n/a", "n.a.", "none", "null", "-", "--", "?", "missing", "undefined"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")  # so many digits a float has
_DIGITS = re.compile(r"(\d+)")
HIGHER, LOWER = "higher", "lower"
_MOST_LABELS = 10


def texts(column: pd.Series) -> pd.Series:
    """Cells as text without spaces around it, whole floats as integers are written; empty where there is nothing.

    As categories: see :mod:`crosstask.evaluation.compact`.
    """
    return compact.texts(_texts(column))


def _texts(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype) and column.notna().all():
        return compact.changed(column, lambda cell: str(cell).strip())
    if column.dtype.kind == "f":
        filled = column.astype(object)
        whole = column.notna() & np.isfinite(column) & (column == column.round())
        return filled.mask(whole, column.where(whole, 0).astype("int64").astype(str)).where(column.notna(), "").map(str)
    if column.notna().all() and (column.dtype.kind in "iub" or pd.api.types.infer_dtype(column) == "string"):
        codes, cells = pd.factorize(column)  # a long table repeats its cells; among other objects 1 equals True
        told = np.array([str(cell).strip() for cell in cells], dtype=object)
        return pd.Series(told[codes], column.index, dtype=object)
    return column.astype(object).where(column.notna(), "").map(lambda cell: str(cell).strip())


def numbers(given: Given) -> np.ndarray:
    """The column ``value``; NaN where there is none.

    Raises:
        InputError: a cell is neither a number nor a word for none.
    """
    column = given.frame["value"]
    if column.dtype.kind in "fiu":
        return column.to_numpy(dtype=float)
    cells = _texts(column)
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float)
    strange = np.flatnonzero(np.isnan(values) & ~cells.str.lower().isin(_MISSING).to_numpy())
    if len(strange):
        place = int(strange[0])
        more = f" (and {len(strange) - 1} more such cells)" if len(strange) > 1 else ""
        raise InputError(
            f"{given.where(place)}, column 'value': {cells[place]!r} is no number{more}; {_remedy(cells[place])}"
        )
    return values


def _remedy(cell: str) -> str:
    if re.fullmatch(r"[+-]?\d+,\d+", cell):
        return f"write {cell.replace(',', '.')!r}, or save the table as .xlsx, where numbers have no comma"
    if re.fullmatch(r"[+-]?[\d.,]+\s*%", cell):
        return "take the sign away from every value, and write it into a column 'unit'"
    if found := re.match(r"[+-]?\d+(\.\d+)?(?=\s*(±|\+/-|\())", cell):
        return f"it seems to be a mean with its spread ({found[0]} alone is a number): give one row a case"
    return "write a number, or take the row away for every method"


def directions(given: Given, told: Mapping[str, str]) -> np.ndarray:
    """The column ``higher_is_better`` as truth values.

    Args:
        given: the rows.
        told: ``{metric: higher or lower}``, which takes the place of cells that are empty.

    Raises:
        InputError: a cell says neither, or something else than ``told``; one is empty; or a metric of a task has both.
    """
    metrics = list(given.frame["metric"].unique())
    for metric, better in told.items():
        if better not in (HIGHER, LOWER):
            raise InputError(f"--better {metric}={better}: {better!r} is not accepted; one of {HIGHER}, {LOWER}")
        if metric not in metrics:
            raise InputError(f"--better {metric}={better}: there is no such metric; there are {', '.join(metrics)}")
    cells = compact.changed(texts(given.frame["higher_is_better"]), str.lower)
    says = {cell: _direction(cell) for cell in cells.unique()}
    wanted = compact.changed(given.frame["metric"], lambda metric: told.get(metric, ""))
    both = np.flatnonzero((wanted != "") & (cells != "") & (wanted != cells.map(says).fillna("")))
    if len(both):
        place = int(both[0])
        raise InputError(
            f"{given.where(place)}, column 'higher_is_better': {cells[place]!r}, and {wanted[place]} is better by the "
            "command line; leave one of them out"
        )
    found = cells.where(cells != "", wanted).map({**says, HIGHER: HIGHER, LOWER: LOWER})
    strange = np.flatnonzero(found.isna())
    if len(strange):
        place = int(strange[0])
        metric = given.frame["metric"][place]
        if (cells == "").all():
            raise InputError(
                f"{given.tables[given.table[place]] or 'the table'}: nothing says whether a higher {metric} is better; "
                f"add a column 'higher_is_better' (true or false), or --better {metric}=higher, or =lower (in "
                f"Python better={{{metric!r}: 'higher'}})"
            )
        said = f"{cells[place]!r} is neither true nor false" if cells[place] else "is empty"
        raise InputError(f"{given.where(place)}, column 'higher_is_better': {said}; write true or false")
    values = (found == HIGHER).to_numpy()
    _alike(given, pd.Series(values), "higher_is_better")
    return values


def _direction(cell: str) -> str | None:
    if cell in _TRUE:
        return HIGHER
    return LOWER if cell in _FALSE else None


def _alike(given: Given, values: pd.Series, column: str) -> None:
    """Refuse a metric of a task that has two directions or units."""
    distinct = given.frame[["task", "metric"]].assign(own=values).drop_duplicates()
    other = distinct.index[distinct.duplicated(["task", "metric"])]
    if len(other):
        place = int(other[0])
        task, metric = given.frame["task"][place], given.frame["metric"][place]
        same = (given.frame["task"] == task) & (given.frame["metric"] == metric)
        start = int(np.flatnonzero(same)[0])
        raise InputError(
            f"{given.both(start, place)}, column {column!r}: {metric} of task {task!r} has {values[start]!s:s} and "
            f"{values[place]!s:s}; give it one"
        )


def same_units(given: Given) -> None:
    """Refuse a metric of a task that has two units."""
    _alike(given, given.frame["unit"], "unit")


def seeds(given: Given) -> tuple[np.ndarray, tuple[str, ...]]:
    """Integers of the column ``seed``, and what to say of labels that are none: these are numbered in their order."""
    cells = given.frame["seed"]
    labels = list(cells.unique())
    if all(_WHOLE.fullmatch(label) for label in labels):
        return compact.changed(cells, lambda label: int(float(label))).to_numpy(dtype="int64"), ()
    order = {label: number for number, label in enumerate(sorted(labels, key=natural))}
    said = listed((f"{label!r} is {number}" for label, number in order.items()), _MOST_LABELS)
    numbered = compact.changed(cells, order.__getitem__).to_numpy(dtype="int64")
    return numbered, (f"Seeds are labels, numbered in their order: {said}.",)


def natural(label: str) -> list[tuple[int, int, str]]:
    """Key that sorts ``fold_2`` before ``fold_10``."""
    parts = _DIGITS.split(label)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part]


def missing_cells(given: Given, columns: tuple[str, ...]) -> None:
    """Refuse rows that lack what every row needs."""
    for column in columns:
        empty = np.flatnonzero((given.frame[column] == "").to_numpy())
        if len(empty):
            more = f" (and {len(empty) - 1} more such rows)" if len(empty) > 1 else ""
            raise InputError(
                f"{given.where(int(empty[0]))}, column {column!r}: is empty{more}; fill it in, or take the row away"
            )
