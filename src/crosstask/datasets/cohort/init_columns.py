"""The columns of a table that tell one case from another, and one patient from another."""

from __future__ import annotations

from itertools import permutations

from crosstask.datasets.cohort.labels import as_number
from crosstask.datasets.cohort.patterns import Pattern
from crosstask.datasets.cohort.profile import Column
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.spec import pattern_columns
from crosstask.io.tables import Table

_ID_WORDS = {"accession", "case", "exam", "id", "image", "img", "key", "scan", "uid"}
_VISIT_WORDS = {"date", "exam", "eye", "image", "no", "nr", "number", "scan", "series", "session", "side", "slice"} | {
    "time", "timepoint", "visit", "week", "year"
}  # fmt: skip
GROUP_WORDS = (
    "patient",
    "subject",
    "person",
    "participant",
    "pid",
    "mrn",
    "lesion",
    "source",
    "family",
    "study",
    "exam",
)
_NEARLY = 0.8
"""A column with so large a share of different values is one of ids, with some that are missing or there twice."""


def case_of(table: Table, columns: dict[str, Column], image: Pattern, proposal: Proposal) -> str:
    """The column of the ids, or a pattern of two: one that names images or is called so, and is (nearly) unique."""
    rows = len(table.rows)
    near = [column for column in columns.values() if column.unique or len(set(column.known)) >= _NEARLY * rows]
    speaking = [column for column in near if column.words & _ID_WORDS or column.name in pattern_columns(image.text)]
    best = max(speaking or near, key=lambda column: _like_an_id(column, table, image), default=None)
    if best is not None and best.unique:
        if not speaking:
            proposal.notes.append(f"case: {best.name!r} is a guess, since its values are unique; is it the id?")
        return best.name
    if pair := _pair(columns, whole=best is None):
        return pair
    if best is None:
        best = max(columns.values(), key=lambda column: len(column.counts))
    proposal.notes.append(f"case: {best.name!r} is taken as the id, but {_not_unique(table, best)}; fix the table")
    return best.name


def _like_an_id(column: Column, table: Table, image: Pattern) -> tuple[int, int]:
    """How much a column looks like that of the ids; of equal ones the first."""
    named = column.name in pattern_columns(image.text)
    called = bool(column.words & _ID_WORDS) - bool(column.words & set(GROUP_WORDS))
    whole = all("." not in cell for cell in column.known) or any(as_number(cell) is None for cell in column.known)
    return 3 * named + 2 * called + 2 * column.unique + whole, -table.columns.index(column.name)


def _pair(columns: dict[str, Column], *, whole: bool) -> str:
    """A pattern of two columns that tell the rows apart together: a patient or an id, and a visit; "" if there is none.

    Args:
        columns: of the table.
        whole: any second column will do, since no single one comes near to being the id.
    """
    for first, second in permutations(columns.values(), 2):
        joined = [f"{a}_{b}" for a, b in zip(first.cells, second.cells, strict=True)]
        grouped = bool(first.words & set(GROUP_WORDS)) or bool(first.words & _ID_WORDS)
        told = whole or bool(second.words & _VISIT_WORDS)
        if grouped and told and len(first.known) == len(second.known) == len(joined) == len(set(joined)):
            return f"{{{first.name}}}_{{{second.name}}}"
    return ""


def _not_unique(table: Table, column: Column) -> str:
    """Which rows share an id or have none, as the check would say it."""
    by_id: dict[str, list[int]] = {}
    empty = []
    for row, cell in zip(table.rows, column.cells, strict=True):
        if cell in column.missing:
            empty.append(row.number)
        else:
            by_id.setdefault(cell, []).append(row.number)
    same = [rows for rows in by_id.values() if len(rows) > 1]
    parts = []
    if same:
        others = f" and {len(same) - 1} more such" if len(same) > 1 else ""
        parts.append(f"rows {', '.join(map(str, same[0][:4]))} have the same{others}")
    if empty:
        parts.append(
            f"row{'s' * (len(empty) > 1)} {', '.join(map(str, empty[:4]))} {'have' if len(empty) > 1 else 'has'} none"
        )
    return ", and ".join(parts)


def group_of(columns: dict[str, Column], case: str, proposal: Proposal) -> str | None:
    """The column of the patients: by its name, or by values that repeat."""
    rows = len(next(iter(columns.values())).cells)
    others = [column for column in columns.values() if column.name != case and len(column.counts) > 1]
    for word in GROUP_WORDS:
        for column in others:
            many = len(column.counts) > max(2, rows / 20) or word in ("patient", "subject")
            if word in column.words and many and column.look not in ("yes or no", "rating"):
                return column.name
    for column in others:
        if column.look == "text" and _names(column) and rows / 5 < len(column.counts) < rows * 0.95:
            answer = proposal.decide(
                f"Does {column.name!r} name the patient (whose cases no split may divide)?",
                ("yes", "no"),
                "yes",
                f"group: {column.name!r} is a guess, since its values repeat; is it the patient?",
            )
            if answer == "yes":
                return column.name
    proposal.notes.append(
        "group: no column looks like the patient. If a patient has several cases, name the column: else cases of one "
        "patient are in training and test"
    )
    return None


def _names(column: Column) -> bool:
    """Whether the values can be names of someone: single words, not all of them numbers."""
    return any(as_number(value) is None for value in column.counts) and all(" " not in one for one in column.counts)
