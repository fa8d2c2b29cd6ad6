"""What a table's columns and the files near it look like: the evidence from which a cohort file is proposed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
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
from crosstask.datasets.cohort.spec import pattern_columns, stem
from crosstask.io.image_files import PICTURE_ENDINGS, VOLUME_ENDINGS, ending
from crosstask.io.tables import Table

Look = Literal["empty", "constant", "marks", "yes or no", "classes", "rating", "number", "text"]

MORE_MISSING = ("#n/a", "-", ".", "?", "missing", "n.a.", "n/a", "na", "nan", "not available", "null", "unknown")
"""Texts that a proposal takes as missing too, in upper or lower case, where a table has them."""
_MARKS = ("x", "xx", "✓", "✔", "✕", "*", "+", "•")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_DEPTH = 5
_MOST_FILES = 200_000
_SAMPLE = 24
_FEW = 8
_MASK_WORDS = {"annotation", "annotations", "contour", "contours", "gt", "label", "labels", "mask", "masks", "roi"} | {
    "outline", "outlines", "seg", "segmentation", "segmentations", "segs"
}  # fmt: skip
_IMAGE_WORDS = {"ct", "image", "images", "img", "imgs", "mr", "mri", "picture", "scan", "scans", "volume", "volumes"}
_NO_CLASS = {"case", "data", "dataset", "file", "filename", "id", "key", "name", "path", "patient", "subject", "visit"}
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


@dataclass(frozen=True)
class Pattern:
    """A pattern of file names that fits a table.

    Attributes:
        text: e.g. ``images/{id}.png``.
        found: rows whose file exists.
        files: how many different files these are.
        example: one of these files, relative to the folder.
    """

    text: str
    found: int
    files: int
    example: str

    @property
    def words(self) -> set[str]:
        """Words of the parts that are the same for all rows."""
        return words_of(re.sub(r"\{[^{}]*\}", " ", self.text)) - words_of(self._ending)

    @property
    def is_mask(self) -> bool:
        """Its words, or its column's, speak of masks."""
        return bool((self.words | self._column_words) & _MASK_WORDS)

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Key by which the likeliest image comes first."""
        imagelike = bool((self.words | self._column_words) & _IMAGE_WORDS)
        return (-self.found, -int(imagelike), len(self.text), self.text)

    @property
    def class_name(self) -> str:
        """What the words say of the class of a mask: ``Liver`` for ``masks/{id}_liver.png``; the file's own first."""
        own = words_of(re.sub(r"\{[^{}]*\}", " ", self.text.rpartition("/")[2])) - words_of(self._ending)
        for words in (own, self.words | (self._column_words if self.text.startswith("{") else set())):
            left = sorted(words - _MASK_WORDS - _IMAGE_WORDS - _NO_CLASS)
            if 0 < len(left) <= 2:
                return " ".join(left).capitalize()
        return "Structure"

    @property
    def _ending(self) -> str:
        return ending(Path(self.example))

    @property
    def _column_words(self) -> set[str]:
        return set().union(*map(words_of, pattern_columns(self.text)))


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


def image_files(folder: Path) -> list[str]:
    """Images below a folder, relative and with ``/``: files of the known endings, and folders of DICOM files."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(relative.parts) >= _DEPTH:
            folders.clear()
        if any(name.lower().endswith(".dcm") for name in files):
            found.append(relative.as_posix())
        images = (name for name in sorted(files) if ending(Path(name)) in (*PICTURE_ENDINGS, *VOLUME_ENDINGS))
        found += [(relative / name).as_posix() for name in images]
        if len(found) > _MOST_FILES:
            break
    return found


def find_patterns(columns: Mapping[str, Column], files: Sequence[str]) -> list[Pattern]:
    """Patterns of one column that name existing files, the likeliest image first.

    In the paths that contain a row's value, the value is replaced by the column. What comes out for several rows is
    held against all of them. A value is looked for as it is, and without its folders and ending.
    """
    there = set(files)
    patterns: dict[frozenset[str], Pattern] = {}
    for name, column in columns.items():
        if len(set(column.known)) < max(2, len(column.known) // 2):
            continue
        rows = [(row, cell) for row, cell in enumerate(column.cells) if not is_missing(cell, column.missing)]
        step = max(1, len(rows) // _SAMPLE)
        candidates: Counter[str] = Counter()
        for _, cell in rows[::step]:
            candidates.update(set(_candidates(name, cell, files)))
        for text, _ in candidates.most_common(30):
            hits = {(row, path) for row, cell in rows if (path := _filled(text, name, cell)) in there}
            # fewer files than rows by far, or one file for many rows, is an accident
            if len(hits) * 2 < len(rows) or len({path for _, path in hits}) * 2 < len(hits):
                continue
            pattern = Pattern(text, len(hits), len({path for _, path in hits}), min(hits)[1])
            found = frozenset(path for _, path in hits)
            same = patterns.get(found)
            if same is None or (-pattern.found, len(text)) < (-same.found, len(same.text)):
                patterns[found] = pattern
    return _widest(patterns)


def find_pair_patterns(columns: Mapping[str, Column], files: Sequence[str]) -> list[Pattern]:
    """Patterns of two columns, such as ``{patient}_{visit}.png``, neither of which tells rows apart alone.

    Each must name a file of its own for half of the rows at least.
    """
    there = set(files)
    whole = [column for column in columns.values() if len(column.known) == len(column.cells) and not column.unique]
    patterns: dict[frozenset[str], Pattern] = {}
    for first in whole:
        rows = range(0, len(first.cells), max(1, len(first.cells) // _FEW))
        texts = {row: list(_candidates(first.name, first.cells[row], files)) for row in rows}
        for second in whole:
            if second is first or len(set(zip(first.cells, second.cells, strict=True))) < 0.9 * len(first.cells):
                continue
            for text in _with_second(texts, second):
                paths = [
                    path
                    for a, b in zip(first.cells, second.cells, strict=True)
                    if (path := _filled(_filled(text, second.name, b), first.name, a)) in there
                ]
                if len(paths) * 2 >= len(first.cells) and len(set(paths)) == len(paths):
                    patterns.setdefault(frozenset(paths), Pattern(text, len(paths), len(paths), min(paths)))
    return _widest(patterns)


def _widest(patterns: Mapping[frozenset[str], Pattern]) -> list[Pattern]:
    """In their order, without those all of whose files another one finds too, and more: the same by accident."""
    kept = [pattern for found, pattern in patterns.items() if not any(found < others for others in patterns)]
    return sorted(kept, key=lambda pattern: pattern.rank)


def _with_second(texts: Mapping[int, Sequence[str]], second: Column) -> list[str]:
    """The likeliest of ``{row: patterns of a first column}``, with the value of a second column replaced too."""
    part = f"{{{second.name}}}"
    candidates: Counter[str] = Counter()
    for row, ones in texts.items():
        value = re.escape(second.cells[row])
        word = rf"(?<!\d){value}(?!\d)" if value.isdigit() else rf"(?<![A-Za-z0-9]){value}(?![A-Za-z0-9])"
        joined = {_outside(word, part, one) for one in ones}
        candidates.update(text for text in joined if part in text)
    return [text for text, _ in candidates.most_common(30)]


def _outside(word: str, part: str, text: str) -> str:
    """A text with a word replaced wherever it does not stand in braces."""
    parts = re.split(r"(\{[^{}]*\})", text)
    return "".join(one if one.startswith("{") else re.sub(word, lambda _: part, one) for one in parts)


def _candidates(name: str, cell: str, files: Sequence[str]) -> Iterator[str]:
    value = cell.replace("\\", "/").lstrip("./")
    short = stem(cell)
    for path in files:
        if value and value in path:
            yield from _templates(path, value, f"{{{name}}}")
        elif short and short in path:
            yield from _templates(path, short, f"{{{name}|stem}}")


def _templates(path: str, value: str, part: str) -> Iterator[str]:
    """The path with a value replaced wherever it is a word of its own."""
    text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", lambda _: part, path)
    if text != path and not re.search(r"[{}]", text.replace(part, "")):
        yield text


def _filled(text: str, name: str, cell: str) -> str:
    filled = text.replace(f"{{{name}|stem}}", stem(cell)).replace(f"{{{name}}}", cell)
    return os.path.normpath(filled.replace("\\", "/")).replace("\\", "/")


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
