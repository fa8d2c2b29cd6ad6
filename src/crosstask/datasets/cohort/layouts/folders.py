"""Data sets without a table: the names of folders and files say what a case is, its class and its split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from crosstask.datasets.cohort.layouts.base import SPLIT_WORDS, Layout, made_table
from crosstask.datasets.cohort.patterns import IMAGE_WORDS, MASK_WORDS, Pattern, find_patterns
from crosstask.datasets.cohort.profile import Column, words_of
from crosstask.datasets.cohort.proposal import Ask
from crosstask.datasets.cohort.spec import stem
from crosstask.errors import InputError

_MOST_CLASSES = 30
_LEAST_IN_CLASS = 2
_GRADES = {"class", "grade", "level", "score", "stage", "type", "birads", "bi", "rads", "category", "label"}
_TOLD = "\x01"
"""Stands around the role of a part of a path until its pattern is known: no file is called so."""
_ENOUGH = 0.6
"""Share of the files that a choice of ids must name."""


@dataclass(frozen=True)
class _File:
    """A file: its path with the parts that are told replaced, and these."""

    place: str
    template: str
    cells: tuple[tuple[str, str], ...]


def folder_layout(folder: Path, output: Path, files: Sequence[str], ask: Ask) -> Layout:
    """A layout of a folder of images, from their names alone.

    Args:
        folder: the folder.
        output: the cohort file to be written; the table will stand beside it.
        files: images below the folder, relative; a folder of DICOM files is one.
        ask: asked where names can be read in two ways.

    Raises:
        InputError: there is no image, or nothing says what to learn from.
    """
    if not files:
        raise InputError(f"{folder}: no table, no dataset.json, no COCO file and no image below it; name a table")
    notes: list[str] = []
    told = _told(files, ask, notes)
    rows, patterns = _rows(told)
    columns = ["case", *(name for name in ("name", "class", "split", "folder", "image") if name in rows[0])]
    masks = [pattern for pattern in patterns if pattern.is_mask]
    if not masks and len(patterns) < 2 and "class" not in columns:
        raise InputError(
            f"{folder}: {len(files)} images, and no table, no masks and no folders of classes that say what to learn; "
            "give a table with one row a case: crosstask cohort init TABLE"
        )
    notes.append(f"no table was given: the one that is written is made of the names of {len(files)} files")
    if "folder" not in columns:
        notes.append(
            "group: the names say nothing of patients. If one has several cases, add a column to the table and name it "
            "as group: else cases of one patient are in training and test"
        )
    return Layout(
        made_table(output, columns, rows),
        folder,
        f"the folder {folder.name or folder.resolve().name}",
        made=True,
        case="case",
        group="folder" if "folder" in columns else None,
        found=tuple(patterns),
        spare=frozenset({"name", "image", "folder"}),
        notes=notes,
    )


def _told(files: Sequence[str], ask: Ask, notes: list[str]) -> list[_File]:
    """The files, with folders that name splits and classes replaced."""
    parts = [PurePosixPath(file).parts for file in files]
    depth = max(len(part) for part in parts) - 1
    roles: dict[int, str] = {}
    for level in range(depth):
        names = Counter(part[level] for part in parts if len(part) - 1 > level)
        if sum(names.values()) < len(files):
            break
        role = _role(names, [part[level:] for part in parts], roles, ask, notes)
        if role:
            roles[level] = role
    found = []
    for file, part in zip(files, parts, strict=True):
        cells = {role: part[level] for level, role in roles.items()}
        template = "/".join(
            f"{_TOLD}{roles[level]}{_TOLD}" if level in roles else name for level, name in enumerate(part)
        )
        found.append(_File(file, template, tuple(sorted(cells.items()))))
    return found


def _role(
    names: Counter[str], below: Sequence[tuple[str, ...]], roles: Mapping[int, str], ask: Ask, notes: list[str]
) -> str:
    """What the folders of one level are: split, class, or nothing that is told by them alone."""
    if len(names) > 1 and "split" not in roles.values() and all(name.lower() in SPLIT_WORDS for name in names):
        return "split"
    if "class" in roles.values() or not 2 <= len(names) <= _MOST_CLASSES or min(names.values()) < _LEAST_IN_CLASS:
        return ""
    if any(words_of(name) & (MASK_WORDS | IMAGE_WORDS) for name in names):
        return ""
    inside: dict[str, set[str]] = {}
    for first, *rest in below:
        inside.setdefault(first, set()).add(re.sub(re.escape(first), "\x02", "/".join(rest)))
    if len(names) > 2 and set.intersection(*inside.values()):
        return ""  # the same names in each: a folder a case
    if _numbered(names):
        shown = ", ".join(sorted(names)[:3])
        answer = ask(
            f"Are the folders {shown} ... patients (or cases), or classes?", ("patients", "classes"), "patients"
        )
        notes.append(
            f"the folders {shown} ... are taken as {answer}, not as {'classes' if answer == 'patients' else 'patients'}"
        )
        return "class" if answer == "classes" else ""
    return "class"


def _numbered(names: Counter[str]) -> bool:
    """Whether the names of folders are one with numbers, as of patients, and not of grades."""
    bare = {re.sub(r"\d+", "", name) for name in names}
    words = set().union(*map(words_of, names))
    return len(bare) == 1 and bare != {""} and not words & _GRADES


def _rows(files: Sequence[_File]) -> tuple[list[dict[str, str]], list[Pattern]]:
    """A row a case, and patterns that name files by it."""
    best: tuple[tuple[float, int], list[str], list[Pattern]] = ((0.0, 0), [], [])
    templates = [file.template for file in files]
    for ids in _ids(templates):
        patterns = find_patterns({"case": Column("case", tuple(ids), ("",))}, templates)
        named = {pattern.text.replace("{case}", one) for pattern in patterns for one in ids} & set(templates)
        score = (round(len(named) / len(set(templates)), 2), -len(patterns))
        if score > best[0]:
            best = (score, ids, patterns)
    (share, _), ids, patterns = best
    if share < _ENOUGH or not any(not pattern.is_mask for pattern in patterns):
        return _row_a_file(files)
    cells: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, str]] = {}
    for pattern in patterns:
        of = {pattern.text.replace("{case}", one): one for one in ids}
        for file in files:
            if file.template in of and not pattern.is_mask:
                case = of[file.template]
                cells.setdefault((case, file.cells), {"case": case, **dict(file.cells)})
    rows = list(cells.values())
    column = "case"
    if len({row["case"] for row in rows}) < len(rows):  # the same name in two classes or splits
        column = "name"
        rows = [{**row, "name": row["case"], "case": "_".join(row.values())} for row in rows]
    return rows, [replace(pattern, text=_written(pattern.text, column)) for pattern in patterns]


def _written(text: str, column: str) -> str:
    """A pattern of columns, with what stood for their values."""
    return re.sub(f"{_TOLD}([a-z]+){_TOLD}", r"{\1}", text.replace("{case}", f"{{{column}}}"))


def _row_a_file(files: Sequence[_File]) -> tuple[list[dict[str, str]], list[Pattern]]:
    """A row a picture that is no mask, with its path; pictures of one folder are of one group if it is no class."""
    rows = []
    own = [file for file in files if not words_of(file.template) & MASK_WORDS]
    stems = Counter(stem(file.place) for file in own)
    folders = Counter(str(PurePosixPath(file.template).parent) for file in own)
    last = {PurePosixPath(file.template).parent.name for file in own}
    grouped = len(folders) > 1 and len(last) > 1 and max(folders.values()) > 1
    for file in own:
        name = stem(file.place)
        case = name if stems[name] == 1 else re.sub(r"\.[A-Za-z0-9]+$", "", file.place).replace("/", "_")
        row = {"case": case, **dict(file.cells), "image": file.place}
        if grouped:
            row["folder"] = str(PurePosixPath(file.place).parent)
        rows.append(row)
    return rows, [Pattern("{image}", len(rows), len(rows), rows[0]["image"])] if rows else []


def _ids(templates: Sequence[str]) -> list[list[str]]:
    """Choices of what the ids may be: folders of one level, and stems of pictures."""
    parts = [PurePosixPath(template).parts for template in templates]
    depth = max(map(len, parts)) - 1
    choices: list[list[str]] = []
    for level in range(depth):
        names = sorted({part[level] for part in parts if len(part) - 1 > level and _TOLD not in part[level]})
        if not any(words_of(name) & (MASK_WORDS | IMAGE_WORDS) for name in names):
            choices.append(names)
    # a folder of DICOM files is its own last part
    stems = sorted({stem(part[-1]) for part in parts if not words_of(stem(part[-1])) & MASK_WORDS})
    choices.append(stems)
    for cut in (_common_end(stems), "_0000"):
        if cut and any(name.endswith(cut) for name in stems):
            choices.append(sorted({name.removesuffix(cut) for name in stems}))
    return [names for names in choices if len(names) > 1]


def _common_end(names: Sequence[str]) -> str:
    """What all names end in, from a mark that sets it apart on."""
    turned = [name[::-1] for name in names]
    same = 0
    while turned and all(len(name) > same for name in turned) and len({name[same] for name in turned}) == 1:
        same += 1
    end = names[0][len(names[0]) - same :] if names and same else ""
    begin = re.search(r"[_\-. ]", end)
    return end[begin.start() :] if begin else ""
