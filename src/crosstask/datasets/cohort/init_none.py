"""Why no column of a table names an image, as far as it can be seen, and what to do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crosstask.datasets.cohort.layouts import Layout
from crosstask.datasets.cohort.patterns import find_patterns
from crosstask.datasets.cohort.profile import Column, columns_of
from crosstask.datasets.cohort.spec import stem
from crosstask.errors import InputError
from crosstask.io.image_files import OTHER_ENDINGS, ending
from crosstask.io.table_formats import sheets_of
from crosstask.io.tables import read_table

_DEPTH = 5


def why_none(layout: Layout, columns: dict[str, Column], files: Sequence[str]) -> str:
    """The message for a table of which no column names an image in two rows."""
    table, folder = layout.table, layout.folder
    if not files and (other := _other_formats(folder)):
        (name, count), *_ = other.most_common(1)
        return f"{folder}: no image that can be read, but {count} files {name}: {OTHER_ENDINGS[name]}"
    if not files:
        return (
            f"{folder}: no image below it; put the images near {table.path.name}, or the table into their folder "
            "(known are PNG, JPEG, TIFF, BMP, NIfTI, MetaImage, NRRD and folders of DICOM files)"
        )
    if sheet := _better_sheet(layout, files):
        read = layout.sheets[0] if layout.sheets else "the first"
        return f"{table.path}: no column of sheet {read!r} names an image, but sheet {sheet!r} does: --sheet {sheet!r}"
    zeros = _zeros(columns, files)
    if zeros:
        column, cell, file = zeros
        return (
            f"{table.path}: column {column!r} has {cell!r} where the file is {file}: the zeros in front are lost, as "
            "spreadsheets do with numbers; format the column as text and write them again, or rename the files"
        )
    shown = next(iter(columns.values())).cells[0]
    return (
        f"{folder}: {len(files)} images, and no column of {table.path.name} names one in two rows: the first row says "
        f"{shown!r}, the first image is {files[0]}; name the images like the values of a column to the letter (7 is "
        "not 007), or add a column with their paths"
    )


def _other_formats(folder: Path) -> Counter[str]:
    """How many files there are of formats that are not read."""
    found: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder):
        if len(Path(parent).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        found.update(kind for name in names if (kind := ending(Path(name))) in OTHER_ENDINGS)
    return found


def _better_sheet(layout: Layout, files: Sequence[str]) -> str:
    """Another sheet of the file that names images."""
    path = layout.table.path
    if path.suffix.lower() != ".xlsx" or layout.made:
        return ""
    for sheet in sheets_of(path):
        if sheet in layout.sheets:
            continue
        try:
            if find_patterns(columns_of(read_table(path, sheet=sheet)), files):
                return sheet
        except InputError:
            continue
    return ""


def _zeros(columns: dict[str, Column], files: Sequence[str]) -> tuple[str, str, str] | None:
    """(column, cell, file) where files are named by a column's numbers with zeros in front."""
    lengths = {len(number) for file in files for number in _numbers(stem(file)) if number.startswith("0")}
    for name, column in columns.items():
        whole = [cell for cell in column.known if cell.isdigit()]
        if len(whole) < len(column.known) or not whole:
            continue
        for length in sorted(lengths):
            padded = {name: replace(column, cells=tuple(cell.zfill(length) for cell in column.cells))}
            patterns = find_patterns(padded, files)
            if patterns:
                cell = min(whole, key=len)
                return name, cell, patterns[0].text.replace(f"{{{name}}}", cell.zfill(length))
    return None


def _numbers(text: str) -> list[str]:
    return "".join(letter if letter.isdigit() else " " for letter in text).split()
