"""Names of the values of label maps, as people keep them: a small table, a JSON file, a description of ITK-SNAP."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from crosstask.datasets.cohort.profile import words_of
from crosstask.errors import InputError
from crosstask.io.tables import ENDINGS, Table, read_table

_VALUES = {"value", "values", "label", "labels", "id", "index", "number", "intensity", "code", "class", "idx", "no"}
_NAMES = {"name", "names", "label", "class", "structure", "organ", "description", "roi", "region", "title", "meaning"}
_FILES = {"label", "labels", "class", "classes", "names", "name", "legend", "dataset", "colors", "structures", "lut"}
_SNAP = re.compile(r'\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+\d\s+\d\s+"(.*)"\s*')
_SLICER = re.compile(r"\s*(\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s*")
_MOST_BYTES = 100_000
_MOST_LABELS = 300


def label_names(path: Path) -> dict[int, str]:
    """``{value: name}`` of a file that is nothing but such a list; empty where it is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return {}
        if path.suffix.lower() == ".json":
            return _of_json(json.loads(path.read_text(encoding="utf-8-sig")))
        if path.suffix.lower() in (".txt", ".ctbl", ".label", ".lut"):
            names = _of_lines(path.read_text(encoding="utf-8-sig").splitlines())
            if names:
                return names
        return _of_table(read_table(path)) if path.suffix.lower() in ENDINGS else {}
    except (InputError, OSError, ValueError, RecursionError):
        return {}


def find_names(folder: Path, values: Sequence[int]) -> tuple[dict[int, str], str]:
    """Names of the values of label maps from a file near them, and that file's name; empty where there is none.

    Args:
        folder: of the data set; files in it and the folders in it are looked at.
        values: all must be named.
    """
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")], key=lambda path: (len(path.parts), path.name)):
        if path.suffix.lower() not in (".json", ".ctbl", ".label", ".lut", *ENDINGS) or path.name.startswith("."):
            continue
        if not words_of(path.stem) & _FILES and path.suffix.lower() not in (".ctbl", ".label", ".lut"):
            continue
        names = label_names(path)
        if names and all(names.get(value) for value in values):
            return names, path.name
    return {}, ""


def _of_json(content: object) -> dict[int, str]:
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        content = content["labels"]
    if not isinstance(content, dict) or not 0 < len(content) <= _MOST_LABELS:
        return {}
    if all(str(key).isdigit() and isinstance(value, str) for key, value in content.items()):
        return {int(key): value for key, value in content.items()}
    if all(isinstance(value, int) and not isinstance(value, bool) for value in content.values()):
        return {value: str(key) for key, value in content.items()}
    return {}


def _of_lines(lines: Sequence[str]) -> dict[int, str]:
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for form in (_SNAP, _SLICER):
        matches = [form.fullmatch(line) for line in kept]
        if kept and all(matches):
            return {int(match[1]): match[2] for match in matches if match is not None}
    return {}


def _of_table(table: Table) -> dict[int, str]:
    """Two columns, of whole numbers that are all different and of names; both are called so."""
    if len(table.rows) > _MOST_LABELS or len(table.columns) > 8:
        return {}
    numbers = [
        column
        for column in table.columns
        if words_of(column) & _VALUES and all(cell.isdigit() for cell in table.column(column))
    ]
    texts = [
        column
        for column in table.columns
        if words_of(column) & _NAMES and column not in numbers and len(set(table.column(column))) == len(table.rows)
    ]
    if not numbers or not texts or len(set(table.column(numbers[0]))) < len(table.rows):
        return {}
    return {int(row[numbers[0]]): row[texts[0]] for row in table.rows}
