"""Patterns of file names, found by holding the values of a table's columns against the files near it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.datasets.cohort.labels import (
    is_missing,
)
from crosstask.datasets.cohort.profile import Column, words_of
from crosstask.datasets.cohort.spec import pattern_columns, stem
from crosstask.io.image_files import IMAGE_ENDINGS, ending

_DEPTH = 5
_MOST_FILES = 200_000
_SAMPLE = 24
_FEW = 8
MASK_WORDS = {"annotation", "annotations", "contour", "contours", "gt", "label", "labels", "mask", "masks", "roi"} | {
    "outline", "outlines", "seg", "segmentation", "segmentations", "segs"
}  # fmt: skip
IMAGE_WORDS = {"ct", "image", "images", "img", "imgs", "mr", "mri", "picture", "scan", "scans", "volume", "volumes"}
UNNAMED = "Structure"
"""Class of a mask of which no word says what it outlines."""
_NO_CLASS = {"case", "data", "dataset", "file", "filename", "id", "key", "name", "path", "patient", "subject", "visit"}


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
        return bool((self.words | self._column_words) & MASK_WORDS)

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Key by which the likeliest image comes first."""
        imagelike = bool((self.words | self._column_words) & IMAGE_WORDS)
        return (-self.found, -int(imagelike), len(self.text), self.text)

    @property
    def class_name(self) -> str:
        """What the words say of the class of a mask: ``Liver`` for ``masks/{id}_liver.png``; the file's own first."""
        own = words_of(re.sub(r"\{[^{}]*\}", " ", self.text.rpartition("/")[2])) - words_of(self._ending)
        for words in (own, self.words | (self._column_words if self.text.startswith("{") else set())):
            left = sorted(words - MASK_WORDS - IMAGE_WORDS - _NO_CLASS)
            if 0 < len(left) <= 2:
                return " ".join(left).capitalize()
        return UNNAMED

    @property
    def _ending(self) -> str:
        return ending(Path(self.example))

    @property
    def _column_words(self) -> set[str]:
        return set().union(*map(words_of, pattern_columns(self.text)))


def image_files(folder: Path) -> list[str]:
    """Images below a folder, relative and with ``/``: files of the known endings, and folders of DICOM files."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if len(relative.parts) >= _DEPTH:
            folders.clear()
        if any(name.lower().endswith(".dcm") for name in files) or _is_series(Path(parent), files):
            found.append(relative.as_posix())
        images = (name for name in sorted(files) if ending(Path(name)) in IMAGE_ENDINGS)
        found += [(relative / name).as_posix() for name in images]
        if len(found) > _MOST_FILES:
            break
    return found


def _is_series(folder: Path, files: Sequence[str]) -> bool:
    """Whether the files of a folder are DICOM slices without an ending, as scanners name them: I10, IM-0001-0007."""
    bare = [name for name in files if not Path(name).suffix or Path(name).suffix[1:].isdigit()]
    if not bare or len(bare) < len(files) / 2:
        return False
    try:
        with (folder / bare[0]).open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


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
