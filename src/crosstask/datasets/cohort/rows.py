"""The rows of a cohort's table, seen through its cohort file: ids, groups, splits, files and labels."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from crosstask.datasets.base import Case, Split
from crosstask.datasets.cohort.labels import LabelError, is_missing
from crosstask.datasets.cohort.spec import CohortFile, CohortSpec, fill, pattern_columns
from crosstask.datasets.names import natural, unknown_name
from crosstask.errors import InputError, InputErrors
from crosstask.io.image_files import OTHER_ENDINGS
from crosstask.io.sheets import read_sheets
from crosstask.io.table_formats import sheets_of
from crosstask.io.tables import Row, Table, read_table
from crosstask.io.yaml_lines import Key


class CohortRows:
    """A cohort's table, read once.

    Args:
        file: the cohort file.
        folder: where relative paths begin.
        table: what stands in the file's table, if it is known already.

    Raises:
        InputError: the table cannot be read, or lacks a column that the cohort file names.
    """

    def __init__(self, file: CohortFile, folder: Path, table: Table | None = None) -> None:
        self.file, self.folder = file, folder
        self._folders: dict[Path, dict[str, list[str]]] = {}
        self.table: Table = table or _read(file, folder)
        unknown = {
            key: column for key, column in dict(self.spec.columns_used()).items() if column not in self.table.columns
        }
        if unknown:
            raise InputErrors([str(self._no_column(key, column)) for key, column in unknown.items()])
        if self.spec.synonyms:
            self.table = replace(self.table, rows=tuple(map(self._settled, self.table.rows)))

    @property
    def spec(self) -> CohortSpec:
        """What the cohort file says."""
        return self.file.spec

    @cached_property
    def by_id(self) -> dict[str, list[Row]]:
        """Rows by id, more than one where an id is not unique; rows without id are left out."""
        rows: dict[str, list[Row]] = {}
        for row in self.table.rows:
            case_id = self.id_of(row)
            if case_id is not None:
                rows.setdefault(case_id, []).append(row)
        return rows

    def row(self, case_id: str) -> Row:
        """The row of a case.

        Raises:
            InputError: there is none.
        """
        if case_id not in self.by_id:
            raise InputError(f"{self.table.path}: no row has the id {case_id!r}; prepare the cohort again")
        return self.by_id[case_id][0]

    def id_of(self, row: Row) -> str | None:
        """Its case's id; None where it is missing."""
        return self._value(self.spec.case, row)

    def group_of(self, row: Row) -> str | None:
        """Its case's group; None where it is missing, or where the cohort has no groups."""
        return None if self.spec.group is None else self._value(self.spec.group, row)

    def split_of(self, row: Row) -> Split | None:
        """The split that the table gives; None where it gives none, or one that is not known."""
        return None if self.spec.split is None else self.spec.split.of(row[self.spec.split.column])

    def images_of(self, row: Row) -> list[Path]:
        """Its image files, whether they exist or not.

        Raises:
            InputError: a cell that names one is missing.
        """
        paths = []
        for pattern in self.spec.image:
            path = self.resolved(pattern, row)
            if path is None:
                raise InputError(
                    f"{self.table.path}, {row.place}: a column of the image pattern {pattern!r} is empty; fill it "
                    "in or take the row out"
                )
            paths.append(path)
        return paths

    def masks_of(self, row: Row) -> list[Path]:
        """Its mask files, whether they exist or not."""
        sources = [mask for section in self.spec.masks.values() for mask in section.classes.values()]
        return [path for mask in sources if (path := self.resolved(mask.path, row)) is not None]

    def labels_of(self, row: Row) -> tuple[dict[str, dict[str, float]], list[str]]:
        """Its labels, ``{label: {channel: value}}`` without what is missing, and a message for each bad cell."""
        labels: dict[str, dict[str, float]] = {}
        faults: list[str] = []
        for name, label in self.spec.labels.items():
            try:
                labels[name] = label.values(name, row.cells, self.spec.missing)
            except LabelError as error:
                faults.append(f"{self.table.path}, {row.place}: {error} (labels.{name})")
        return labels, faults

    def resolved(self, pattern: str, row: Row) -> Path | None:
        """The file that a pattern names for a row, whether it exists or not; None where a cell is missing."""
        filled = fill(pattern, row.cells, self.spec.missing)
        if filled is None:
            return None
        if "*" in pattern:
            return self._one_of(pattern, row)
        path = self.folder / filled.replace("\\", "/")
        if self.spec.ignore_case and not path.exists():
            near = self.in_other_case(path)
            if len(near) > 1:
                raise InputError(
                    f"{path}: {near[0].name} and {near[1].name} differ only in capital letters; rename one of them"
                )
            return near[0] if near else path
        return path

    def _one_of(self, pattern: str, row: Row) -> Path:
        """The file that a pattern with stars names: there may be but one."""
        literal = {column: glob.escape(row[column]) for column in pattern_columns(pattern)}
        wanted = (fill(pattern, literal, ()) or "").replace("\\", "/")
        found = sorted(self.folder.glob(wanted))
        if len(found) > 1:
            raise InputError(
                f"{self.table.path}, {row.place}: {found[0]} and {found[1]} both fit the pattern {pattern!r}; remove "
                "one, or write a narrower pattern"
            )
        return found[0] if found else self.folder / wanted

    def in_other_case(self, path: Path) -> list[Path]:
        """Files and folders whose path differs in upper and lower case alone."""
        near = [self.folder]
        try:
            parts = path.relative_to(self.folder).parts
        except ValueError:
            return []
        for part in parts:
            near = [found / name for found in near for name in self._names_in(found).get(part.casefold(), ())]
        return near

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by what they are without capital letters, read once."""
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                names.setdefault(path.name.casefold(), []).append(path.name)
            self._folders[folder] = names
        return self._folders[folder]

    def no_image(self, path: Path) -> str:
        """That an image does not exist, with the reason where it can be seen, and what to do but for its row."""
        near = self.in_other_case(path)
        if near:
            there = os.path.relpath(near[0], self.folder).replace("\\", "/")
            return (
                f"{path}: no such image, but {there}, which differs in upper and lower case; rename it, or set "
                "ignore_case: true in the cohort file"
            )
        other = [ending for ending in OTHER_ENDINGS if path.with_suffix(ending).exists()]
        if other:
            return f"{path}: no such image, but one that ends in {other[0]}: {OTHER_ENDINGS[other[0]]}"
        return f"{path}: no such image"

    def _settled(self, row: Row) -> Row:
        """A row with the synonyms of its cells put right."""
        cells = dict(row.cells)
        for column, own in self.spec.synonyms.items():
            cells[column] = next((name for name, texts in own.items() if cells[column] in texts), cells[column])
        return replace(row, cells=cells)

    def _no_column(self, key: Key, column: str) -> InputError:
        """The error for a column that the table lacks; another sheet may have it."""
        name = self.table.path.name
        if self.table.path.suffix.lower() == ".xlsx":
            read = self.spec.sheet or [self.table.sheet or ""]
            for sheet in sheets_of(self.table.path):
                if sheet not in read and column in read_table(self.table.path, sheet=sheet).columns:
                    said = f"sheet {read[0]!r} of {name}" if read[0] else name
                    return self.file.fault(
                        key, f"no column {column!r} in {said}, but in sheet {sheet!r}; write sheet: {sheet}"
                    )
        return self.file.fault(key, str(unknown_name(f"column in {name}", column, self.table.columns)))

    def case(self, case_id: str, row: Row) -> Case | None:
        """The case of a row, or None if an image is missing. What is read of the row itself are its facts."""
        try:
            images = self.images_of(row)
        except InputError:
            return None
        if not all(path.exists() for path in images):
            return None
        files: list[Path] = []
        for path in (*images, *self.masks_of(row)):
            if path.is_dir():
                files += sorted(file for file in path.rglob("*") if file.is_file())
            elif path.exists():
                files.append(path)
        facts = {column: row[column] for key, column in self.spec.columns_used() if key[0] not in ("group", "split")}
        return Case(
            case_id, self.group_of(row) or case_id, self.split_of(row) or "", tuple(dict.fromkeys(files)), facts
        )

    def cases(self) -> list[Case]:
        """The cases of all rows with an id whose images exist, sorted naturally by id.

        Raises:
            InputError: two rows have one id, or there is no such row.
        """
        for case_id, rows in self.by_id.items():
            if len(rows) > 1:
                raise InputError(f"{self.table.path}: {same_id(case_id, rows)}")
        if not self.by_id:
            raise self.file.fault(("case",), f"no row of {self.table.path} has a value there; name another column")
        cases = [case for case_id, (row,) in self.by_id.items() if (case := self.case(case_id, row)) is not None]
        if not cases:
            row = self.table.rows[0]
            paths = [path for pattern in self.spec.image if (path := self.resolved(pattern, row)) is not None]
            names = f"{row.place} names {paths[0]}" if paths else f"the cells of {row.place} are empty"
            why = self.no_image(paths[0]).partition("no such image, ")[2] if paths else ""
            raise self.file.fault(
                ("image",),
                f"no image exists ({names}"
                + (f"; there is none{', ' + why})" if why else "); fix the pattern, or the folder"),
            )
        return sorted(cases, key=lambda case: natural(case.id))

    def without_image(self, case_ids: Collection[str]) -> dict[str, str]:
        """Which of these ids have a row, but not all of its image files, and what is missing."""
        found = {}
        for case_id in case_ids:
            for row in self.by_id.get(case_id, ()):
                try:
                    missing = next((path for path in self.images_of(row) if not path.exists()), None)
                except InputError as error:
                    found[case_id] = str(error)
                else:
                    if missing is not None:
                        found[case_id] = f"{self.no_image(missing)}; add it, or take {row.place} out of the table"
        return found

    def _value(self, text: str, row: Row) -> str | None:
        """Of a column or a pattern of columns; None where it is missing."""
        if pattern_columns(text):
            return fill(text, row.cells, self.spec.missing)
        return None if is_missing(row[text], self.spec.missing) else row[text]


def _read(file: CohortFile, folder: Path) -> Table:
    """The table: in the folder, or else beside the cohort file."""
    path = folder / file.spec.table
    beside = file.path.parent / file.spec.table
    if not path.exists() and beside.exists():
        path = beside
    sheets = file.spec.sheet or []
    return read_sheets(path, sheets) if len(sheets) > 1 else read_table(path, sheet=sheets[0] if sheets else None)


def same_id(case_id: str, rows: Sequence[Row]) -> str:
    """The message for rows of one id."""
    numbers = [str(row.number) + (f" ({row.sheet})" if row.sheet else "") for row in rows]
    if len(numbers) > 5:
        numbers = [*numbers[:4], f"{len(numbers) - 4} more"]
    return (
        f"rows {', '.join(numbers[:-1])} and {numbers[-1]} have the same id {case_id!r}; name a column of unique "
        "values (or a pattern of several columns) as case, or remove rows"
    )
