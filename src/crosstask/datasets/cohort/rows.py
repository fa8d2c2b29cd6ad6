"""The rows of a cohort's table, seen through its cohort file: ids, groups, splits, files and labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path

from crosstask.datasets.base import Case, Split
from crosstask.datasets.cohort.labels import LabelError, is_missing
from crosstask.datasets.cohort.spec import CohortFile, CohortSpec, fill, pattern_columns
from crosstask.datasets.names import natural, unknown_name
from crosstask.errors import InputError
from crosstask.io.tables import Row, Table, read_table


class CohortRows:
    """A cohort's table, read once.

    Args:
        file: the cohort file.
        folder: where relative paths begin.

    Raises:
        InputError: the table cannot be read, or lacks a column that the cohort file names.
    """

    def __init__(self, file: CohortFile, folder: Path) -> None:
        self.file, self.folder = file, folder
        self.table: Table = read_table(folder / file.spec.table, sheet=file.spec.sheet)
        for key, column in self.spec.columns_used():
            if column not in self.table.columns:
                name = self.table.path.name
                raise file.fault(key, str(unknown_name(f"column in {name}", column, self.table.columns)))

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
                    f"{self.table.path}, row {row.number}: a column of the image pattern {pattern!r} is empty; fill it "
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
                faults.append(f"{self.table.path}, row {row.number}: {error} (labels.{name})")
        return labels, faults

    def resolved(self, pattern: str, row: Row) -> Path | None:
        """The file that a pattern names for a row, whether it exists or not; None where a cell is missing."""
        filled = fill(pattern, row.cells, self.spec.missing)
        return None if filled is None else self.folder / filled.replace("\\", "/")

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
            names = f"row {row.number} names {paths[0]}" if paths else f"the cells of row {row.number} are empty"
            raise self.file.fault(("image",), f"no image exists ({names}); fix the pattern, or the folder")
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
                        found[case_id] = f"{missing}: no such image; add it, or take row {row.number} out of the table"
        return found

    def _value(self, text: str, row: Row) -> str | None:
        """Of a column or a pattern of columns; None where it is missing."""
        if pattern_columns(text):
            return fill(text, row.cells, self.spec.missing)
        return None if is_missing(row[text], self.spec.missing) else row[text]


def same_id(case_id: str, rows: Sequence[Row]) -> str:
    """The message for rows of one id."""
    numbers = [str(row.number) for row in rows]
    if len(numbers) > 5:
        numbers = [*numbers[:4], f"{len(numbers) - 4} more"]
    return (
        f"rows {', '.join(numbers[:-1])} and {numbers[-1]} have the same id {case_id!r}; name a column of unique "
        "values (or a pattern of several columns) as case, or remove rows"
    )
