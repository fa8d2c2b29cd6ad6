"""Rows of scores as they were given, each with the file and row that messages name. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crosstask.evaluation import compact
from crosstask.evaluation.scores import COLUMNS as SCORE_COLUMNS

COLUMNS = (*SCORE_COLUMNS, "group")
"""Columns of a table of scores and the group of each row's case."""
REQUIRED = ("method", "seed", "case", "task", "metric", "value", "higher_is_better")


@dataclass(frozen=True)
class Given:
    """Rows of one or several tables.

    Attributes:
        frame: the cells, as text or as numbers, with row labels from 0 on.
        tables: names of the tables, for messages; empty for a frame from Python.
        table: place of each row's table in ``tables``.
        number: number, or label, of each row in its table.
        remarks: what was chosen, renamed or left out on the way here, a sentence each.
        unused: columns that were given and are not used.
    """

    frame: pd.DataFrame
    tables: tuple[str, ...]
    table: np.ndarray
    number: np.ndarray
    remarks: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def where(self, place: int) -> str:
        """The row in words: ``scores.csv, row 7``."""
        name = self.tables[self.table[place]]
        return f"{name}, row {self.number[place]}" if name else f"row {self.number[place]}"

    def place(self, rows: pd.DataFrame) -> int:
        """Place of the first of some of the frame's rows."""
        return int(rows.index.to_numpy()[0])

    def both(self, one: int, other: int) -> str:
        """Two rows in words, their table once if it is the same."""
        if self.table[one] == self.table[other]:
            name = self.tables[self.table[one]]
            return f"{name + ', ' if name else ''}rows {self.number[one]} and {self.number[other]}"
        return f"{self.where(one)} and {self.where(other)}"

    def kept(self, rows: np.ndarray, frame: pd.DataFrame | None = None, remarks: Sequence[str] = ()) -> Given:
        """Some of the rows, given as a mask, in order."""
        whole = self.frame if frame is None else frame
        if rows.all():
            return replace(self, frame=whole, remarks=(*self.remarks, *remarks))
        return Given(
            whole[rows].reset_index(drop=True),
            self.tables,
            self.table[rows],
            self.number[rows],
            (*self.remarks, *remarks),
            self.unused,
        )


def given_of(frame: pd.DataFrame, name: str = "", numbers: Sequence[object] | None = None) -> Given:
    """One table of that name; rows are numbered by the frame's index, unless numbers are given."""
    number: np.ndarray
    if isinstance(numbers, range):
        number = np.arange(numbers.start, numbers.stop, dtype=np.int32)
    else:
        number = np.asarray(list(frame.index) if numbers is None else list(numbers), dtype=object)
    return Given(compact.numbered(frame), (name,), np.zeros(len(frame), dtype=np.int16), number)


def joined(parts: Sequence[Given]) -> Given:
    """The rows of several tables below each other."""
    if len(parts) == 1:
        return parts[0]
    shift = np.cumsum([0, *(len(part.tables) for part in parts)])
    return Given(
        compact.joined([part.frame for part in parts]),
        tuple(name for part in parts for name in part.tables),
        np.concatenate([(part.table + by).astype(np.int16) for part, by in zip(parts, shift, strict=False)]),
        np.concatenate([part.number for part in parts]),
        tuple(dict.fromkeys(remark for part in parts for remark in part.remarks)),
        tuple(dict.fromkeys(name for part in parts for name in part.unused)),
    )
