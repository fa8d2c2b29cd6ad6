"""Several sheets of one Excel file as one table: alike ones below each other, others joined by a column they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crosstask.errors import InputError, listed
from crosstask.io.tables import Row, Table, read_table


def read_sheets(path: Path, sheets: Sequence[str]) -> Table:
    """One table of several sheets.

    Sheets with the columns of the first are put below it, and the column :data:`SHEET` says which one a row is of. The
    others are joined: each of their rows is that of one key, a column that both have, and its cells are added to all
    rows with that key.

    Args:
        path: the Excel file.
        sheets: names; the first gives the rows.

    Raises:
        InputError: as :func:`read_table`; or a sheet shares no column that tells its rows apart, or says otherwise
            than another what both hold.
    """
    tables = [replace(read_table(path, sheet=sheet), sheet=sheet) for sheet in sheets]
    first = tables[0]
    alike = [table for table in tables if set(table.columns) == set(first.columns)]
    whole = stacked(alike) if len(alike) > 1 else first
    for table in tables:
        if not any(table is one for one in alike):
            whole = joined(whole, table)
    notes = [f"sheet {name!r}: {note}" for name, table in zip(sheets, tables, strict=True) for note in table.notes]
    return replace(whole, sheet=None, notes=(*notes, *(note for note in whole.notes if note not in first.notes)))


SHEET = "sheet"
"""The column that says of which sheet a row is, unless there is one of that name."""


def stacked(tables: Sequence[Table]) -> Table:
    """Rows of tables of the same columns below each other."""
    first = tables[0]
    told = SHEET not in first.columns
    rows = tuple(
        Row(row.number, {**row.cells, **({SHEET: table.sheet or ""} if told else {})}, table.sheet or "")
        for table in tables
        for row in table.rows
    )
    return replace(first, columns=(*first.columns, *([SHEET] if told else [])), rows=rows)


def key_of(first: Table, second: Table) -> str | None:
    """The column by which a second table's rows belong to a first one's; None if there is none.

    No two of its rows are alike there, and at least half of its values are among the first one's.
    """
    shared = [name for name in first.columns if name in second.columns]
    best, most = None, 0.0
    for name in shared:
        values = [cell for cell in second.column(name) if cell]
        known = set(first.column(name))
        share = sum(value in known for value in values) / max(1, len(values))
        if values and len(set(values)) == len(values) and share > most and share >= 0.5:
            best, most = name, share
    return best


def joined(first: Table, second: Table) -> Table:
    """A table with the columns of another, by the rows' key."""
    key = key_of(first, second)
    if key is None:
        raise InputError(
            f"{first.path}: sheet {second.sheet!r} has no column in common with {first.sheet!r} that tells its rows "
            "apart; name the sheet with a row a case first, and give both a column of the ids"
        )
    of = {row[key]: row for row in second.rows if row[key]}
    added = [name for name in second.columns if name not in first.columns]
    rows, differ = [], []
    for row in first.rows:
        other = of.get(row[key])
        differ += (
            []
            if other is None
            else [
                f"{row.place} and {other.place} of sheet {second.sheet!r} ({name})"
                for name in set(first.columns) & set(second.columns)
                if row[name] and other[name] and row[name] != other[name]
            ]
        )
        rows.append(replace(row, cells={**row.cells, **{name: other[name] if other else "" for name in added}}))
    if differ:
        raise InputError(f"{first.path}: say different things: {listed(differ, 3)}; make them one, or rename a column")
    known = set(first.column(key))
    lost = [value for value in of if value not in known]
    note = f"sheet {second.sheet!r} is joined by {key!r}" + (
        f"; {len(lost)} of its rows belong to none and are left out: {listed(lost, 3)}" if lost else ""
    )
    return replace(first, columns=(*first.columns, *added), rows=tuple(rows), notes=(*first.notes, note))
