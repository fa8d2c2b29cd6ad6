"""Tables as CSV that a person may open: no text in one is taken for a formula, and what was written comes back.

A spreadsheet computes a cell that begins with ``=``, and may fetch from a server or start a program by it. Text that
begins so gets an apostrophe before it, which is taken away where the program reads the table again; numbers stay as
they are, whatever their sign.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_MARK = "'"
_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four are as wide as an ideograph
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def written_cell(text: str) -> str:
    """A text as the table holds it."""
    harmful = text[:1] and text[0] in _FORMULA + _MARK and not _NUMBER.fullmatch(text)
    return _MARK + text if harmful else text


def read_cell(cell: str) -> str:
    """The text that a table's cell stands for; any other, as in a table of other making, as it is."""
    if cell[:1] == _MARK and cell[1:2] and cell[1] in _FORMULA + _MARK:
        return cell[1:]
    return cell


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows, the names of the columns first, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([written_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def frame_text(table: pd.DataFrame) -> str:
    """A table with all its figures' digits as CSV, without the index."""
    return _mapped(table, written_cell).to_csv(index=False, lineterminator="\n")


def true_frame(table: pd.DataFrame) -> pd.DataFrame:
    """A table that was read from CSV, with the texts that its cells stand for."""
    return _mapped(table, read_cell)


def _mapped(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text changed, each of the few different ones once."""
    changed = {}
    for name in table.columns:
        own = table[name]
        if own.dtype.kind in "biuf":
            continue
        other = {text: new for text in own.unique() if isinstance(text, str) and (new := change(text)) != text}
        if other:
            categories = [other.get(text, text) for text in own.cat.categories] if own.dtype == "category" else []
            if categories and len(set(categories)) == len(categories):
                changed[name] = own.cat.rename_categories(categories)
            else:
                own = own.astype(object)
                changed[name] = own.map(other).where(own.isin(list(other)), own)
    return table.assign(**changed) if changed else table
