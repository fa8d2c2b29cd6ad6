"""What is known of a data set from its table or description alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.datasets.cohort.patterns import Pattern
from crosstask.datasets.cohort.spec import NOT_STATED
from crosstask.errors import InputError
from crosstask.io.tables import Row, Table

SPLIT_WORDS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLIT_WORDS |= {"validation": "validation", "test": "test", "testing": "test"}
"""Names of folders and files that say of which split they are."""


@dataclass
class Layout:
    """A data set, as its table or description says.

    Attributes:
        table: one row a case; of a data set without a table, what shall be written.
        folder: where its files are.
        origin: what it was read from, for the first line of the cohort file.
        made: the table is none of the user's, and shall be written beside the cohort file.
        sheets: of an Excel file, where they must be named.
        case: column of the ids; "" where it must be found.
        group: column of what no split may divide, where it is known.
        images: patterns of the images, one a channel; none where they must be found.
        found: patterns of images and masks that its names gave; none where they must be found in the table.
        channels: what the channels are called.
        stacked: volumes in one file of an image, where there are several.
        masks: lines of the section ``masks``; none where they must be found.
        exclusive: its classes never overlap.
        spare: columns that are no labels.
        notes: what the user should know.
        licence, source, citation: as the description has them.
    """

    table: Table
    folder: Path
    origin: str
    made: bool = False
    sheets: tuple[str, ...] = ()
    case: str = ""
    group: str | None = None
    images: tuple[str, ...] = ()
    found: tuple[Pattern, ...] = ()
    channels: tuple[str, ...] = ()
    stacked: int = 0
    masks: tuple[str, ...] = ()
    exclusive: bool = False
    spare: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    licence: str = NOT_STATED
    source: str = NOT_STATED
    citation: str = NOT_STATED


def made_table(output: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Table:
    """A table that shall stand beside a cohort file, under its name."""
    held = tuple(
        Row(number, {column: cells.get(column, "") for column in columns}) for number, cells in enumerate(rows, 2)
    )
    return Table(output.with_suffix(".csv"), tuple(columns), held)


def csv_of(table: Table) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([row[column] for column in table.columns] for row in table.rows)
    return text.getvalue()


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); export it again") from None


def one_line_of(value: Any) -> str:
    """A text of a description for one line of a cohort file; what is none, or empty, is not stated."""
    text = " ".join(str(value).split()) if isinstance(value, str | int | float) else ""
    return text[:300] or NOT_STATED
