"""The rows of CSV, TSV, Excel and Parquet files as text, each with its number as a spreadsheet counts."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.errors import InputError

Lines = Iterator[tuple[int, list[str]]]
MOST_UNPACKED = 2 * 10**9
"""Bytes that an Excel file may unpack to."""
_SEPARATORS = (",", ";", "\t", "|")
_BARS = "||"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LOOKED_AT = 200
_BATCH = 256
"""Rows of a Parquet file at a time: a page may repeat one long text for each."""
_RULE = re.compile(r":?-{2,}:?")


@dataclass
class Choices:
    """What a reader chose.

    Attributes:
        sheet: the sheet, where an Excel file has several.
        whole: rows of text must have a cell for every column; spreadsheets leave the last out where they are empty.
        notes: what was chosen or is doubtful, for the user.
    """

    sheet: str | None = None
    whole: bool = False
    notes: list[str] = field(default_factory=list)


def read_delimited(path: Path, choices: Choices) -> Lines:
    """Rows of a text file, divided by what divides most of them alike."""
    text = _decoded(path)
    if "\0" in text:
        raise InputError(f"{path}: holds zero bytes, so it is no text; save it as CSV UTF-8")
    choices.whole = True
    separator = "\t" if path.suffix.lower() == ".tsv" else _separator(text)
    if separator in (_BARS, "|"):
        yield from _between_bars(text, separator, choices)
        return
    try:
        # all line ends are alike by now
        for number, cells in enumerate(csv.reader(io.StringIO(text), delimiter=separator, strict=True), 1):
            if cells:
                yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InputError(f"{path}: is damaged ({error}); look for a quotation mark that is not closed") from None


def _decoded(path: Path) -> str:
    """Text of a file: UTF-16 where its byte order mark says so, else UTF-8; line ends alike."""
    raw = path.read_bytes()
    encoding, name = ("utf-16", "UTF-16") if raw[:2] in _UTF16 else ("utf-8-sig", "UTF-8")
    try:
        return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not {name} text (byte {error.start}); save it as CSV UTF-8") from None


def _separator(text: str) -> str:
    """What divides most of the first rows into the same number of cells, the first row too if it can be."""
    lines = [line for line in text.splitlines() if line.strip()][:_LOOKED_AT]
    if sum(_BARS in line for line in lines) > len(lines) / 2:
        return _BARS

    def score(separator: str) -> tuple[float, bool, int]:
        try:
            lengths = [len(cells) for cells in csv.reader(lines, delimiter=separator) if cells]
        except csv.Error:
            return 0.0, False, 0
        usual, times = (
            Counter(length for length in lengths if length > 1).most_common(1)[0] if max(lengths) > 1 else (1, 0)
        )
        return min(times / len(lengths), 0.9), lengths[0] == usual, usual

    return max(_SEPARATORS, key=score) if lines else ","


def _between_bars(text: str, bar: str, choices: Choices) -> Lines:
    """Rows between bars, as ``|| a || b ||``; lines without any, below the rows, are a legend."""
    rows = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    last = max(place for place, (_, line) in enumerate(rows) if bar in line)
    if last + 1 < len(rows):
        choices.notes.append(f"the lines from {rows[last + 1][0]} on have no {bar!r}: a legend, left out")
    for number, line in rows[: last + 1]:
        cells = [cell.strip() for cell in line.removeprefix(bar).removesuffix(bar).split(bar)]
        if not all(_RULE.fullmatch(cell) for cell in cells):
            yield number, cells


def read_excel(path: Path, sheet: str | None, choices: Choices) -> Lines:
    """Rows of a sheet: the one that is named, or the first that is neither hidden nor empty."""
    import openpyxl  # an import of half a second

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > MOST_UNPACKED:
            raise InputError(f"{path}: unpacks to {unpacked / 1e9:.1f} GB; keep the rows and columns that are needed")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, InputError):
        raise
    except Exception as error:  # zip, XML and openpyxl's own errors
        raise _no_excel(path, error) from None
    try:
        page = _page(path, book, sheet, choices)
        yield from _cells(page.iter_rows(values_only=True))
    except (OSError, InputError):
        raise
    except Exception as error:  # as above: a sheet is unpacked while it is read
        raise _no_excel(path, error) from None
    finally:
        book.close()
    choices.notes += _never_computed(path, page.title)


def _no_excel(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: no readable Excel file ({type(error).__name__}); copy it again, or save it anew")


def _page(path: Path, book: Any, sheet: str | None, choices: Choices) -> Any:
    """The sheet to read. What a file states of a sheet's size is not trusted: rows beyond it would be lost."""
    pages = book.worksheets
    for page in pages:
        page.reset_dimensions()
    names = [page.title for page in pages]
    if sheet is not None:
        if sheet not in names:
            raise InputError(f"{path}: no sheet {sheet!r}; it has {', '.join(names)}")
        return pages[names.index(sheet)]
    shown = [page for page in pages if page.sheet_state == "visible"] or pages
    if not shown:
        raise InputError(f"{path}: has no sheet with cells; put the table on one")
    filled = (page for page in shown if any(any(map(_text, row)) for row in page.iter_rows(values_only=True)))
    page = next(filled, shown[0])
    if len(pages) > 1:
        choices.sheet = page.title
        others = [name + ("" if other in shown else " (hidden)") for name, other in zip(names, pages, strict=True)]
        others = [other for name, other in zip(names, others, strict=True) if name != page.title]
        choices.notes.append(f"sheet {page.title!r} is read; there are also: {', '.join(others)}")
    return page


def sheets_of(path: Path) -> list[str]:
    """Names of the sheets of an Excel file that are neither hidden nor empty."""
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # as in read_excel
        raise _no_excel(path, error) from None
    try:
        for page in book.worksheets:
            page.reset_dimensions()
        return [
            page.title
            for page in book.worksheets
            if page.sheet_state == "visible" and any(any(map(_text, row)) for row in page.iter_rows(values_only=True))
        ]
    except Exception as error:  # as above
        raise _no_excel(path, error) from None
    finally:
        book.close()


def _never_computed(path: Path, sheet: str) -> list[str]:
    """A note if formulas are there whose values no program has written into the file: they are read as empty."""
    import openpyxl

    books = [openpyxl.load_workbook(path, read_only=True, data_only=values) for values in (False, True)]
    try:
        pages = [book[sheet] for book in books]
        for page in pages:
            page.reset_dimensions()
        rows = zip(*(page.iter_rows(values_only=True, max_row=_LOOKED_AT) for page in pages), strict=True)
        for number, (formulas, values) in enumerate(rows, 1):
            for formula, value in zip(formulas, values, strict=True):
                if value is None and str(formula).startswith("="):
                    return [f"row {number}: a formula whose value was never saved is read as empty; open and save it"]
    finally:
        for book in books:
            book.close()
    return []


def too_large(path: Path, most_rows: int, most_cells: int) -> InputError:
    """The error for a table that is no list of cases."""
    return InputError(
        f"{path}: more than {most_rows} rows or {most_cells} cells, or texts too long for memory; keep the rows of "
        "cases and the columns that are needed"
    )


def read_parquet(path: Path, most_rows: int, most_cells: int) -> Lines:
    """Rows of a Parquet file, a batch at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, len(file.schema_arrow.names)
            if rows > most_rows or rows * columns > most_cells:
                raise too_large(path, most_rows, most_cells)
            yield 1, [name.strip() for name in file.schema_arrow.names]
            number = 1
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, [_text(value) for value in row]
    except InputError:
        raise
    except (pyarrow.ArrowException, ValueError, OSError, MemoryError) as error:
        raise InputError(f"{path}: no readable Parquet file ({type(error).__name__}); write it anew") from None


def _cells(rows: Iterable[Sequence[Any]]) -> Lines:
    for number, row in enumerate(rows, 1):
        if any(value is not None for value in row):
            yield number, [_text(value) for value in row]


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
