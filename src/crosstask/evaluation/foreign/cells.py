"""Cells of a given table: text, numbers, directions and seeds, or the row and column of what is none. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

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
_KIND = ("task", "metric", "own")


def texts(column: pd.Series) -> pd.Series:
    """Cells as text without spaces around it, whole floats as integers are written; empty where there is nothing.

    As categories: see :mod:`crosstask.evaluation.compact`.
    """
    return compact.texts(_texts(column))


def _texts(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype) and column.notna().all():
        return _as_categories(column.cat.codes.to_numpy(), column.cat.categories, column.index)
    if column.dtype.kind == "f":
        filled = column.astype(object)
        whole = column.notna() & np.isfinite(column) & (column == column.round())
        return filled.mask(whole, column.where(whole, 0).astype("int64").astype(str)).where(column.notna(), "").map(str)
    if column.notna().all() and (column.dtype.kind in "iub" or pd.api.types.infer_dtype(column) == "string"):
        codes, cells = pd.factorize(column)  # a long table repeats its cells; among other objects 1 equals True
        return _as_categories(codes, cells, column.index)
    return column.astype(object).where(column.notna(), "").map(lambda cell: str(cell).strip())


def _as_categories(codes: np.ndarray, cells: Iterable[object], index: pd.Index) -> pd.Series:
    """A long table repeats its cells: each of the different ones is written once."""
    return pd.Series(compact.categories(codes, [str(cell).strip() for cell in cells]), index)


def numbers(given: Given) -> np.ndarray:
    """The column ``value``; NaN where there is none.

    Raises:
        InputError: a cell is neither a number nor a word for none.
    """
    column = given.frame["value"]
    if column.dtype.kind in "fiu":
        return column.to_numpy(dtype=float)
    cells = _texts(column).astype(object)
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
    (cells, words), (metric_of, names) = (
        compact.codes_of(texts(given.frame[key])) for key in ("higher_is_better", "metric")
    )
    which, pairs = pd.factorize(cells.astype(np.int32) * len(names) + metric_of)  # as they come
    said = [(words[pair // len(names)].lower(), names[pair % len(names)]) for pair in pairs]
    for at, (word, name) in enumerate(said):
        if word and name in told and told[name] != _direction(word):
            raise InputError(
                f"{given.where(int((which == at).argmax()))}, column 'higher_is_better': {word!r}, and {told[name]} is "
                "better by the command line; leave one of them out"
            )
    found = [_direction(word) if word else told.get(name) for word, name in said]
    if None in found:
        at = found.index(None)
        place, (word, name) = int((which == at).argmax()), said[at]
        if not any(word for word, _ in said):
            raise InputError(
                f"{given.tables[given.table[place]] or 'the table'}: nothing says whether a higher {name} is better; "
                f"add a column 'higher_is_better' (true or false), or --better {name}=higher, or =lower (in "
                f"Python better={{{name!r}: 'higher'}})"
            )
        what = f"{word!r} is neither true nor false" if word else "is empty"
        raise InputError(f"{given.where(place)}, column 'higher_is_better': {what}; write true or false")
    values = np.array([better == HIGHER for better in found])[which]
    _alike(given, pd.Series(values), "higher_is_better")
    return values


def _direction(cell: str) -> str | None:
    if cell in _TRUE:
        return HIGHER
    return LOWER if cell in _FALSE else None


def _alike(given: Given, values: pd.Series, column: str) -> None:
    """Refuse a metric of a task that has two directions or units."""
    distinct = compact.distinct(compact.replaced(given.frame[["task", "metric"]], {"own": values}), _KIND)
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
        return _numbered(cells, {label: int(float(label)) for label in labels}), ()
    order = {label: number for number, label in enumerate(sorted(labels, key=natural))}
    said = listed((f"{label!r} is {number}" for label, number in order.items()), _MOST_LABELS)
    return _numbered(cells, order), (f"Seeds are labels, numbered in their order: {said}.",)


def _numbered(cells: pd.Series, numbers_of: Mapping[str, int]) -> np.ndarray:
    codes, labels = compact.codes_of(cells)
    return np.array([numbers_of[label] for label in labels], dtype=np.int64)[codes]


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
