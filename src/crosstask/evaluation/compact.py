"""Long tables in little memory: every text once, and a small number in each row. No torch here.

A table of 25 runs, 20,000 cases and 10 classes has five million rows, and the same few thousand texts in them. As
categories whose order is that of the texts a column takes one to four bytes a row, and sorts and groups as they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

_PART = 1 << 18  # rows at a time
_DENSE = 1 << 24  # so many combinations of texts have a place each
_BLOCK = 1 << 22  # bytes of a file that are read at a time


def codes_of(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Each cell as the place of its text among those that occur, which are in order; no cell may be missing."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        numbers, found = pd.factorize(column, sort=True, use_na_sentinel=False)
        return numbers, list(found)
    codes = np.asarray(column.cat.codes.to_numpy())
    names = column.cat.categories
    there = np.flatnonzero(occurring(codes, len(names)))
    if len(there) == len(names) and names.is_monotonic_increasing:
        return codes, list(names)
    order = there[np.argsort(names[there].to_numpy(dtype=object), kind="stable")]
    place = np.zeros(len(names), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place[codes], list(names[order])


def occurring(codes: np.ndarray, number: int) -> np.ndarray:
    """Which of the numbers from 0 on occur: ``number``, bool; a part at a time, since an index is copied as int64."""
    found = np.zeros(number, dtype=bool)
    for start in range(0, len(codes), _PART):
        found[codes[start : start + _PART]] = True
    return found


def distinct(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The first row of each different one, in these columns alone."""
    size, found = 1, []
    for name in columns:
        codes, names = codes_of(table[name])
        found.append(codes)
        size *= max(len(names), 1)
    if size > _DENSE:
        return table[list(columns)].drop_duplicates()
    first = np.full(size, -1, dtype=np.int64)
    shape = [int(codes.max(initial=0)) + 1 for codes in found]
    for start in reversed(range(0, len(table), _PART)):
        part = slice(start, start + _PART)
        key = np.ravel_multi_index([codes[part] for codes in found], shape)[::-1]
        first[key] = np.arange(start + len(key) - 1, start - 1, -1)
    return table[list(columns)].iloc[np.sort(first[first >= 0])]


def occurring_in(table: pd.DataFrame, columns: Sequence[str]) -> Callable[[np.ndarray], set[tuple[Any, ...]]]:
    """The function of some rows (a mask) to the different ones among them, in these columns."""
    found = [codes_of(table[name]) for name in columns]
    key, size = np.zeros(len(table), dtype=np.int64), 1
    for codes, names in found:
        key *= len(names)
        key += codes
        size *= max(len(names), 1)
    which: np.ndarray
    which, known = pd.factorize(key) if size > _DENSE else (key.astype(np.int32), np.arange(size))

    def of(rows: np.ndarray) -> set[tuple[Any, ...]]:
        there = known[occurring(which[rows], len(known))]
        places = np.unravel_index(there, [max(len(names), 1) for _, names in found])
        return set(
            zip(*([names[at] for at in own] for own, (_, names) in zip(places, found, strict=True)), strict=True)
        )

    return of


def compact(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns of text as categories in order; what holds anything else stays as it is."""
    return replaced(table, {str(name): texts(table[name]) for name in table.columns})


def texts(column: pd.Series) -> pd.Series:
    """A column of text as categories in order; any other as it is."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = column.cat.categories
        return column if names.is_monotonic_increasing else column.cat.reorder_categories(sorted(names))
    if column.dtype != object or pd.api.types.infer_dtype(column, skipna=False) != "string":
        return column
    codes, names = pd.factorize(column)
    return pd.Series(categories(codes, list(names)), index=column.index)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables below each other; columns that are categories in all of them stay so."""
    if len(tables) == 1:
        return numbered(tables[0])
    shared = [
        name
        for name in tables[0].columns
        if all(name in table and isinstance(table[name].dtype, pd.CategoricalDtype) for table in tables)
    ]
    names = {name: sorted(set().union(*(table[name].cat.categories for table in tables))) for name in shared}
    alike = [table.assign(**{name: table[name].cat.set_categories(names[name]) for name in shared}) for table in tables]
    return pd.concat(alike, ignore_index=True)


def categories(codes: np.ndarray, names: Sequence[str]) -> pd.Categorical:
    """A column of text from the place of each cell among some names, which may be equal and in any order."""
    order = sorted(set(names))
    place = {name: at for at, name in enumerate(order)}
    kind = np.min_scalar_type(-len(order) - 1)
    known = np.array([place[name] for name in names], dtype=kind)
    places_of: Any = known[codes] if len(known) else codes.astype(kind)
    return pd.Categorical.from_codes(places_of, pd.Index(order, dtype=object))


def replaced(table: pd.DataFrame, columns: Mapping[str, object]) -> pd.DataFrame:
    """The table with other columns in the place of some; the rest is not copied."""
    whole = {str(name): table[name] for name in table.columns} | dict(columns)
    return pd.DataFrame(whole, index=table.index, copy=False)


def numbered(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its rows numbered from 0 on; the same where they are."""
    return table if table.index.equals(pd.RangeIndex(len(table))) else table.reset_index(drop=True)


def places(column: pd.Series, order: Sequence[str]) -> np.ndarray:
    """Where each cell is in an order of texts; -1 where it is in none of its places."""
    index = pd.Index(np.array(order, dtype=object))
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return index.get_indexer(pd.Index(column))
    return np.asarray(index.get_indexer(column.cat.categories.astype(object))[column.cat.codes.to_numpy()])


def changed(column: pd.Series, change: Callable[[str], object]) -> pd.Series:
    """A column of text with every cell changed, each of the different ones once."""
    codes, names = codes_of(column)
    return pd.Series(np.array([change(name) for name in names], dtype=object)[codes], index=column.index)


def read_compact(path: Path, text: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """A table from a CSV file, its texts as categories; numbers as they were written, to the last bit.

    Args:
        path: the file.
        text: columns of text, as far as they are there.
        numbers: columns of numbers, NaN where a cell is empty.

    Raises:
        OSError, ValueError: it cannot be read as such a table.
    """
    import pyarrow as pa
    from pyarrow import csv

    types = {name: pa.dictionary(pa.int32(), pa.string()) for name in text} | {name: pa.float64() for name in numbers}
    batches = csv.open_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=False),
    )
    columns: dict[str, _Column] = {}
    for batch in batches:
        if not columns:
            rows = int(1.05 * path.stat().st_size / _BLOCK * len(batch)) + 1
            columns = {name: _Column(rows) for name in batches.schema.names}
        for name, column in columns.items():
            column.add(batch.column(name))
    columns = columns or {name: _Column(0) for name in batches.schema.names}
    del batches, batch
    pa.default_memory_pool().release_unused()
    return pd.DataFrame({name: column.joined() for name, column in columns.items()}, copy=False)


class _Column:
    """A column that comes in parts, texts as numbers from the beginning, in one array that is large enough for all.

    Args:
        rows: how many there will be, about.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._there = rows, 0
        self._whole = np.empty(0)
        self._names: dict[str, int] = {}
        self._is_text = False

    def add(self, part: pa.Array) -> None:
        """The next rows."""
        if hasattr(part, "dictionary"):
            self._is_text = True
            known = [self._names.setdefault(str(name), len(self._names)) for name in part.dictionary.to_pylist()]
            values = np.array(known, dtype=np.int32)[part.indices.to_numpy(zero_copy_only=False)]
            kind = np.min_scalar_type(-len(self._names) - 1)
        else:
            values = part.to_numpy(zero_copy_only=False)
            kind = values.dtype
        end = self._there + len(values)
        if end > len(self._whole) or kind.itemsize > self._whole.dtype.itemsize or not self._there:
            grown = np.empty(max(self._rows, end + end // 8), dtype=kind)  # what is not written takes no memory
            grown[: self._there] = self._whole[: self._there]
            self._whole = grown
        self._whole[self._there : end] = values
        self._there = end

    def joined(self) -> np.ndarray | pd.Categorical:
        """All rows; of text as categories in order."""
        whole = self._whole[: self._there]
        return categories(whole, list(self._names)) if self._is_text else whole
