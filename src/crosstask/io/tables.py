"""Tables of any common kind as text: CSV, TSV, Excel and Parquet. Every cell stays what was written: '007' is '007'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.errors import InputError, InputErrors
from crosstask.io.table_formats import Choices, Lines, read_delimited, read_excel, read_parquet, too_large

MOST_ROWS = 2**20
"""As many as Excel has; beyond this, or :data:`MOST_CELLS`, a table is no list of cases and would fill the memory."""
MOST_CELLS = 10_000_000
MOST_LETTERS = 500_000_000
_TITLES = 40
"""So many rows may stand above the names of the columns."""
ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
"""Endings of the files that :func:`read_table` reads."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        number: as a spreadsheet counts: the header is row 1.
        cells: ``{column: text}``, without spaces around it; empty where the cell is.
        sheet: the one it is of, where a table is of several; else empty.
    """

    number: int
    cells: dict[str, str]
    sheet: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages: ``row 3``."""
        return f"row {self.number} of sheet {self.sheet!r}" if self.sheet else f"row {self.number}"

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: where it came from.
        columns: names, in order.
        rows: those that are not empty.
        sheet: the one that was read, where an Excel file has several; else None.
        notes: what was chosen or left out in reading.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    sheet: str | None = None
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> list[str]:
        """All cells of a column."""
        return [row.cells[name] for row in self.rows]


def read_table(path: Path | str, *, sheet: str | None = None) -> Table:
    """Read a table by the ending of its name.

    Text may be separated by commas, semicolons, tabs or bars (what divides most rows alike), and is UTF-8 with or
    without a byte order mark, or UTF-16 with one. Titles and legends above the row that names the columns are
    left out, with a note. Numbers of Excel and Parquet are written as short as they can be (7.0 as 7), dates as
    2024-01-31, truth values as true and false. Of an Excel file, whatever size it states, all cells are read.

    Args:
        path: the file.
        sheet: name of an Excel sheet; by default the first that is not hidden and not empty.

    Raises:
        InputError: no such file, a kind that is not known, a damaged file, one that is too large, a
            column without name or two of one name, or a row of another length than the header.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        hint = "; save it as .xlsx" if ending in (".xls", ".ods", ".xlsm", ".numbers") else ""
        raise InputError(f"{path}: not a table that can be read; accepted endings: {', '.join(ENDINGS)}{hint}")
    if sheet is not None and ending != ".xlsx":
        raise InputError(f"{path}: only .xlsx files have sheets; leave the sheet {sheet!r} out")
    if not path.is_file():
        raise InputError(f"{path}: no such table; give the path of an existing file")
    choices = Choices()
    try:
        if ending == ".xlsx":
            lines = _limited(path, read_excel(path, sheet, choices))
        elif ending == ".parquet":
            lines = _limited(path, read_parquet(path, MOST_ROWS, MOST_CELLS))
        else:
            lines = _limited(path, read_delimited(path, choices))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    return _table(path, lines, choices)


def _limited(path: Path, lines: Lines) -> list[tuple[int, list[str]]]:
    """The rows that are not empty."""
    kept: list[tuple[int, list[str]]] = []
    count = letters = 0
    for number, cells in lines:
        if any(cells):
            kept.append((number, cells))
            count += len(cells)
            letters += sum(map(len, cells))
        if count > MOST_CELLS or len(kept) > MOST_ROWS or letters > MOST_LETTERS:
            raise too_large(path, MOST_ROWS, MOST_CELLS)
    return kept


def _table(path: Path, lines: list[tuple[int, list[str]]], choices: Choices) -> Table:
    """Header and rows from numbered lines."""
    if not lines:
        raise InputError(f"{path}: is empty; the first row must name the columns")
    titles, lines = _without_titles(lines)
    top, header = lines[0]
    notes = list(choices.notes)
    if titles:
        where = f"row {titles[0]}" if len(titles) == 1 else f"rows {titles[0]} to {titles[-1]}"
        notes.append(f"row {top} names the columns; left out above it: {where}")
    columns = _column_names(header)
    used = _used(lines[1:])
    if columns and not columns[0] and _counts([cells[0] for _, cells in lines[1:]]):
        notes.append("column 1 has no name and numbers the rows: left out")
        used.discard(0)
    faults = [_fault_of_row(path, number, cells, columns, top, whole=choices.whole) for number, cells in lines[1:]]
    if found := [fault for fault in faults if fault]:
        raise InputErrors(found)
    kept = [place for place, name in enumerate(columns) if name or place in used]
    names = [columns[place] for place in kept]
    _check_names(path, kept, names, top)
    if len(lines) == 1:
        raise InputError(f"{path}: has no row below the names of its columns; give one row a case")
    rows = [
        Row(number, {columns[place]: cells[place] if place < len(cells) else "" for place in kept})
        for number, cells in lines[1:]
    ]
    return Table(path, tuple(names), tuple(rows), choices.sheet, tuple(notes))


def _column_names(header: Sequence[str]) -> list[str]:
    """Names in one line each, without the empty ones that spreadsheets leave at the end."""
    columns = [" ".join(name.split()) if set(name) & set("\r\n\t") else name for name in header]
    while columns and not columns[-1]:
        columns.pop()
    return columns


def _check_names(path: Path, kept: Sequence[int], names: Sequence[str], top: int) -> None:
    """Every column that is kept has a name, and one of its own."""
    for place, name in zip(kept, names, strict=True):
        if not name:
            where = "the first row" if top == 1 else f"row {top}"
            raise InputError(f"{path}: column {place + 1} has no name in {where}; name it or take it out")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(f"{path}: {twice[0]!r} names {names.count(twice[0])} columns; rename all but one")


def _fault_of_row(path: Path, number: int, cells: list[str], columns: list[str], top: int, *, whole: bool) -> str:
    """What is wrong with a row, or nothing.

    It may not hold cells that no column is named for, nor lack some where they cannot just be left out.
    """
    extra = [place for place, cell in enumerate(cells) if cell and place >= len(columns)]
    if whole and (extra or len(cells) < len(columns)):
        where = "the first row" if top == 1 else f"row {top}"
        return (
            f"{path}, row {number}: has {len(cells)} cells, {where} {len(columns)}; fix the row (a cell that holds "
            "the separator needs quotes)"
        )
    if extra:
        return (
            f"{path}, row {number}: there is a cell in column {extra[0] + 1}, and row {top} has no name for it; clear "
            "the cell, or name its column"
        )
    return ""


def _without_titles(lines: list[tuple[int, list[str]]]) -> tuple[list[int], list[tuple[int, list[str]]]]:
    """Numbers of the rows of a title or legend above the names of the columns, and the rows from there on.

    The first row names the columns, unless some that are used have no name there. Then it is the first row that names
    them all, if the rows above it fill at most half as many cells, and none of its names is a number or stands among
    the values of its column: else it could be a case.
    """
    if _names_all(lines[0][1], _used(lines[1:])):
        return [], lines
    filled = 0
    for place in range(1, min(len(lines) - 1, _TITLES)):
        filled = max(filled, sum(map(bool, lines[place - 1][1])))
        names, below = lines[place][1], lines[place + 1 :]
        given = [name for name in names if name]
        if 2 * filled > len(given) or len(set(given)) < max(2, len(given)) or not _names_all(names, _used(below)):
            continue
        recurs = any(name and len(row) > at and row[at] == name for _, row in below for at, name in enumerate(names))
        if not recurs and not any(map(_numeric, given)):
            return [number for number, _ in lines[:place]], lines[place:]
    return [], lines


def _used(lines: Sequence[tuple[int, list[str]]]) -> set[int]:
    """Places of the columns in which any row has something."""
    return {place for _, cells in lines for place, cell in enumerate(cells) if cell}


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells number the rows from 0 or 1, as the index that pandas writes."""
    return any(cells == [str(number) for number in range(first, len(cells) + first)] for first in (0, 1))


def _names_all(names: Sequence[str], used: set[int]) -> bool:
    return all(place < len(names) and names[place] for place in used)


def _numeric(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
