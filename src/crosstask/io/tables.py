"""Tables of any common kind as text: CSV, TSV, Excel and Parquet. Every cell stays what was written: '007' is '007'."""

from __future__ import annotations

import csv
import datetime
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstask.errors import InputError

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
"""Endings of the files that :func:`read_table` reads."""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        number: as a spreadsheet counts: the header is row 1.
        cells: ``{column: text}``, without spaces around it; empty where the cell is.
    """

    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: where it came from.
        columns: names, in order.
        rows: those that are not empty.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def column(self, name: str) -> list[str]:
        """All cells of a column."""
        return [row.cells[name] for row in self.rows]


def read_table(path: Path | str, *, sheet: str | None = None) -> Table:
    """Read a table by the ending of its name.

    CSV may be separated by commas, semicolons or tabs (what the header has most of), and is UTF-8 with or without a
    byte order mark. Numbers of Excel and Parquet are written as short as they can be (7.0 as 7), dates as 2024-01-31,
    truth values as true and false.

    Args:
        path: the file.
        sheet: name of an Excel sheet; by default the first.

    Raises:
        InputError: no such file, a kind that is not known, a damaged file, a column without name or two of one name,
            or a row of another length than the header.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path}: not a table that can be read; accepted endings: {', '.join(ENDINGS)}")
    if sheet is not None and ending != ".xlsx":
        raise InputError(f"{path}: only .xlsx files have sheets; leave the sheet {sheet!r} out")
    if not path.is_file():
        raise InputError(f"{path}: no such table; give the path of an existing file")
    try:
        if ending == ".xlsx":
            lines = list(_excel(path, sheet))
        elif ending == ".parquet":
            lines = list(_parquet(path))
        else:
            lines = list(_delimited(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    return _table(path, lines)


def _table(path: Path, lines: Sequence[tuple[int, list[str]]]) -> Table:
    """Header and rows from numbered lines; empty ones are left out."""
    if not lines:
        raise InputError(f"{path}: is empty; the first row must name the columns")
    columns = lines[0][1]
    while columns and not columns[-1] and all(len(cells) < len(columns) or not cells[-1] for _, cells in lines[1:]):
        # an empty column at the end, as spreadsheets leave them
        lines = [(number, cells[: len(columns) - 1]) for number, cells in lines]
        columns = lines[0][1]
    for place, name in enumerate(columns, 1):
        if not name:
            raise InputError(f"{path}: column {place} has no name in the first row; name it or take it out")
    twice = [name for name, times in Counter(columns).items() if times > 1]
    if twice:
        raise InputError(f"{path}: {twice[0]!r} names {columns.count(twice[0])} columns; rename all but one")
    rows = []
    for number, cells in lines[1:]:
        if not any(cells):
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, row {number}: has {len(cells)} cells, the first row {len(columns)}; mend the row (a cell "
                "that holds the separator needs quotes)"
            )
        rows.append(Row(number, dict(zip(columns, cells, strict=True))))
    if not rows:
        raise InputError(f"{path}: has no row below the names of its columns; give one row a case")
    return Table(path, tuple(columns), tuple(rows))


def _delimited(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: holds zero bytes, so it is no text; save it as CSV UTF-8")
    header = next((line for line in text.splitlines() if line.strip()), "")
    separators = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    separator = max(separators, key=header.count)
    try:
        # read_text has made all line ends alike
        for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=separator, strict=True), 1):
            if cells:
                yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(f"{path}: is damaged ({error}); look for a quotation mark that is not closed") from None


def _excel(path: Path, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    import openpyxl  # an import of half a second

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except OSError:
        raise
    except Exception as error:  # zip, XML and openpyxl's own errors
        raise InputError(f"{path}: no readable Excel file ({type(error).__name__}); save it anew") from None
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise InputError(f"{path}: no sheet {sheet!r}; it has {', '.join(book.sheetnames)}")
        page = book[sheet] if sheet is not None else book.worksheets[0]
        yield from _cells(page.iter_rows(values_only=True))
    finally:
        book.close()


def _parquet(path: Path) -> Iterator[tuple[int, list[str]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns = [column.to_pylist() for column in table.columns]
    except (pyarrow.ArrowException, ValueError) as error:
        raise InputError(f"{path}: no readable Parquet file ({type(error).__name__}); write it anew") from None
    yield from _cells([table.column_names, *zip(*columns, strict=True)])


def _cells(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[int, list[str]]]:
    """Values as text, short rows filled up to the first."""
    width: int | None = None
    for number, row in enumerate(rows, 1):
        cells = [_text(value) for value in row]
        if width is None:
            if not any(cells):
                continue
            width = len(cells)
        yield number, cells + [""] * (width - len(cells))


def _text(value: Any) -> str:
    """A typed cell as its shortest text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return (value.date() if midnight else value).isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(value).strip()
