"""What a table's columns look like: the evidence from which a cohort file is proposed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from crosstask.datasets.cohort.labels import (
    MISSING,
    NEGATIVE,
    POSITIVE,
    Decimal,
    is_missing,
    plain,
    with_decimals,
)
from crosstask.io.tables import Table

Look = Literal["empty", "constant", "marks", "yes or no", "classes", "rating", "number", "text"]
MORE_MISSING = ("#n/a", "-", ".", "?", "missing", "n.a.", "n/a", "na", "nan", "not available", "null", "unknown")
"""Texts that a proposal takes as missing too, in upper or lower case, where a table has them."""
_MARKS = ("x", "xx", "✓", "✔", "✕", "*", "+", "•")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_RATING = 11
"""Whole numbers of fewer different values than this look like a rating."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: of the column.
        cells: all of them.
        missing: texts that mean a missing value.
    """

    name: str
    cells: tuple[str, ...]
    missing: tuple[str, ...]

    @cached_property
    def known(self) -> list[str]:
        """The cells that are not missing."""
        return [cell for cell in self.cells if not is_missing(cell, self.missing)]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each known value occurs, ``1.0`` and ``1`` being one."""
        return Counter(map(plain, self.known))

    @cached_property
    def unique(self) -> bool:
        """Every cell is known, and no two are alike."""
        return len(self.known) == len(self.cells) == len(set(self.known))

    @cached_property
    def words(self) -> set[str]:
        """Words of the name, in lower case: ``PatientID`` has patient and id."""
        return words_of(self.name)

    @cached_property
    def is_marks(self) -> bool:
        """One kind of mark or yes, and empty cells, which then mean no."""
        marks = {value.casefold() for value in self.known}
        return len(marks) == 1 and marks <= {*_MARKS, *POSITIVE} and len(self.known) < len(self.cells)

    @cached_property
    def decimal(self) -> Decimal:
        """A comma where all values are numbers with it, and one at least cannot be thousands (``1,234``)."""
        commas = [value for value in self.known if "," in value]
        numbers = all(with_decimals(value, ",") is not None for value in self.known)
        return "," if commas and numbers and not all(map(_THOUSANDS.fullmatch, commas)) else "."

    @cached_property
    def maybe_thousands(self) -> bool:
        """Numbers such as ``1,234``, of which nobody can tell whether they are thousands or decimals."""
        commas = [value for value in self.known if "," in value]
        numbers = all(with_decimals(value, ",") is not None for value in self.known)
        return bool(commas) and numbers and self.decimal == "."

    def number(self, cell: str) -> float | None:
        """A cell as a number, or None."""
        return with_decimals(cell, self.decimal)

    @cached_property
    def signs(self) -> list[bool | None]:
        """Of a column of marks or of yes and no: what each row says; None where it says nothing."""
        if self.look == "marks":
            return [not is_missing(cell, self.missing) for cell in self.cells]
        known = [None if is_missing(cell, self.missing) else plain(cell).casefold() for cell in self.cells]
        return [None if cell is None else cell in POSITIVE for cell in known]

    @cached_property
    def look(self) -> Look:
        """What the values could be as a label."""
        different = len(self.counts)
        if different < 2:
            return ("marks" if self.is_marks else "constant") if different else "empty"
        if {value.casefold() for value in self.counts} <= {*POSITIVE, *NEGATIVE} and different == 2:
            return "yes or no"
        numbers = [self.number(value) for value in self.counts]
        if all(number is not None for number in numbers):
            whole = all(number is not None and number.is_integer() for number in numbers)
            return "rating" if whole and different < min(_RATING, len(self.known) / 4) else "number"
        return "classes" if different <= max(2, min(20, len(self.known) // 4)) else "text"


def words_of(text: str) -> set[str]:
    """Words of a name, in lower case."""
    apart = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return {word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=\D)(?=\d)", apart) if word}


def columns_of(table: Table) -> dict[str, Column]:
    """The columns of a table by name; texts that usually mean missing are taken so."""
    missing = tuple(missing_in(table))
    return {name: Column(name, tuple(table.column(name)), missing) for name in table.columns}


def missing_in(table: Table) -> list[str]:
    """The texts that mean missing: the usual ones, and those of :data:`MORE_MISSING` that the table has."""
    there = {cell for row in table.rows for cell in row.cells.values()}
    return [*MISSING, *sorted(cell for cell in there - set(MISSING) if cell.casefold() in MORE_MISSING)]


def determines(first: Column, second: Column) -> bool:
    """Whether a column says nearly all about another: few values, and for each nearly always the same other value."""
    pairs = [
        (plain(a), plain(b))
        for a, b in zip(first.cells, second.cells, strict=True)
        if not is_missing(a, first.missing) and not is_missing(b, second.missing)
    ]
    if len(pairs) < 8 or len({b for _, b in pairs}) < 2 or len({a for a, _ in pairs}) > max(2, len(pairs) // 5):
        return False
    table: dict[str, Counter[str]] = {}
    for a, b in pairs:
        table.setdefault(a, Counter())[b] += 1
    right = sum(max(counts.values()) for counts in table.values())
    usual = max(Counter(b for _, b in pairs).values())
    return right >= 0.97 * len(pairs) and len(pairs) - right <= 0.2 * (len(pairs) - usual)


def correlation(first: Column, second: Column) -> float:
    """Pearson's correlation of the cells that are numbers in both columns; 0 where there are too few."""
    pairs = [(first.number(a), second.number(b)) for a, b in zip(first.cells, second.cells, strict=True)]
    numbers = np.array([(a, b) for a, b in pairs if a is not None and b is not None], np.float64).reshape(-1, 2)
    if len(numbers) < 8 or not (numbers.std(0) > 0).all():
        return 0.0
    return float(np.corrcoef(numbers.T)[0, 1])


def one_hot(columns: Sequence[Column]) -> list[list[Column]]:
    """Runs of neighbouring yes-or-no columns of which exactly one is yes in every row."""
    runs: list[list[Column]] = []
    begin = 0
    while begin < len(columns):
        for end in range(len(columns), begin + 1, -1):
            run = columns[begin:end]
            rows = list(zip(*(column.signs for column in run), strict=True))
            if all(None not in row and sum(map(bool, row)) == 1 for row in rows):
                runs.append(list(run))
                begin = end
                break
        else:
            begin += 1
    return runs


def implied_by_all(column: Column, others: Sequence[Column]) -> bool:
    """Whether a yes-or-no column is yes wherever any of the others is, and more often than each."""
    yes = _yes(column)
    any_other: set[int] = set().union(*(_yes(other) for other in others))
    return bool(any_other) and any_other <= yes and all(_yes(other) < yes for other in others)


def _yes(column: Column) -> set[int]:
    return {row for row, sign in enumerate(column.signs) if sign}
