"""``crosstask cohort init``: a cohort file, proposed from a table and the files near it, with comments."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.datasets.cohort.init_columns import case_of, group_of
from crosstask.datasets.cohort.init_files import Looks, are_masks, look_at_images, mask_lines
from crosstask.datasets.cohort.init_labels import propose_labels, warn_of_copies
from crosstask.datasets.cohort.init_split import ProposedSplit, propose_split
from crosstask.datasets.cohort.labels import MISSING
from crosstask.datasets.cohort.patterns import Pattern, find_pair_patterns, find_patterns, image_files
from crosstask.datasets.cohort.profile import Column, columns_of, missing_in
from crosstask.datasets.cohort.proposal import Label, Proposal
from crosstask.datasets.cohort.rows import CohortRows
from crosstask.datasets.cohort.spec import CohortFile, fill, parse_cohort, pattern_columns
from crosstask.datasets.cohort.text import flow_of, text_of
from crosstask.errors import InputError
from crosstask.io.tables import Table, read_table

_OWN_FILES = 0.8
"""Where fewer files than this share of the rows are named, a column is missing in the pattern."""


def propose_cohort(path: Path | str, output: Path | str, *, sheet: str | None = None) -> Proposal:
    """Look at a table and the files near it, and propose a cohort file.

    Args:
        path: the table; images are looked for below its folder.
        output: where the cohort file shall stand: its relative paths begin there.
        sheet: of an Excel table.

    Raises:
        InputError: the table cannot be read, or no image file fits any of its columns.
    """
    table = read_table(path, sheet=sheet)
    braced = next((name for name in table.columns if set(name) & set("{}|")), None)
    if braced is not None:
        raise InputError(f"{table.path}: rename the column {braced!r}: braces and bars have a meaning in patterns")
    proposal = Proposal(table, notes=[f"table: {note}" for note in table.notes])
    parts = _parts(table, proposal)
    lines = [*_head_lines(parts, Path(output), sheet or table.sheet), *_case_lines(parts, proposal)]
    lines += ["licence: not stated", "source: not stated", "citation: not stated"]
    if not parts.masks and not parts.labels:
        proposal.notes.append("no mask and no label was found: name columns under labels, or nothing can be learned")
    if proposal.notes:
        lines += ["", "# To decide or to look at:", *(line for note in proposal.notes for line in _comment(note))]
    proposal.text = "\n".join(lines) + "\n"
    proposal.labels = [label.name for label in sorted(parts.labels, key=lambda label: label.kind == "number")]
    proposal.stratify = next((label.name for label in parts.labels if label.kind != "number"), "")
    proposal.found += _overview(parts, proposal, parse_cohort(proposal.text, Path(output)))
    return proposal


@dataclass(frozen=True)
class _Parts:
    """What a cohort file is made of.

    Attributes:
        table: the table.
        files: images near it.
        columns: of the table, by name.
        case: column of the ids, or a pattern of several.
        group: column of the patients, if there is one.
        split: column of the splits, likewise.
        images: patterns of images, the likeliest first.
        looks: what the first images are.
        masks: lines of the section.
        labels: proposed ones.
    """

    table: Table
    files: Sequence[str]
    columns: dict[str, Column]
    case: str
    group: str | None
    split: ProposedSplit | None
    images: Sequence[Pattern]
    looks: Looks
    masks: Sequence[str]
    labels: Sequence[Label]

    @property
    def folder(self) -> Path:
        """Of the table and its images."""
        return self.table.path.parent


def _parts(table: Table, proposal: Proposal) -> _Parts:
    """Everything that is found, told as notes where it is doubtful."""
    folder = table.path.parent
    columns, files = columns_of(table), image_files(folder)
    patterns = _patterns(columns, files)
    images, outlines = _told_apart(folder, table, patterns)
    if not images:
        raise InputError(
            f"{folder}: {len(files)} images, and no column of {table.path.name} names one in two rows; put the images "
            "near the table, named like the values of a column to the letter (7 is not 007, a is not A)"
        )
    case = case_of(table, columns, images[0], proposal)
    group = group_of(columns, case, proposal)
    split = propose_split(columns, group, proposal)
    _note_others(table, patterns, files, proposal)
    looks = look_at_images(folder, table, images[0])
    proposal.dimensions, proposal.window, proposal.edge = looks.dimensions, looks.window, looks.edge
    proposal.notes += looks.notes
    taken = {*(pattern_columns(case) or [case]), *([group] if group else []), *([split.column] if split else [])}
    taken |= {column for pattern in patterns for column in pattern_columns(pattern.text)}
    masks = mask_lines(folder, outlines, proposal)
    labels = propose_labels([column for name, column in columns.items() if name not in taken], proposal)
    warn_of_copies(columns, labels, proposal)
    return _Parts(table, files, columns, case, group, split, images, looks, masks, labels)


def _patterns(columns: dict[str, Column], files: Sequence[str]) -> list[Pattern]:
    """Patterns of files, of one column; or of two, where none of one column gives every row an image of its own."""
    patterns = find_patterns(columns, files)
    if any(pattern.files == pattern.found for pattern in patterns if not pattern.is_mask):
        return patterns
    pairs = find_pair_patterns(columns, files)
    return [*pairs, *(pattern for pattern in patterns if not pairs or pattern.files == pattern.found)]


def _told_apart(folder: Path, table: Table, patterns: Sequence[Pattern]) -> tuple[list[Pattern], list[Pattern]]:
    """Patterns of images and of masks: by their words, and where several could be images, by what the files hold."""
    images = [pattern for pattern in patterns if not pattern.is_mask]
    masks = [pattern for pattern in images if are_masks(folder, table, pattern)] if len(images) > 1 else []
    if len(masks) == len(images):
        masks = masks[1:]
    images = [pattern for pattern in images if pattern not in masks]
    return images, [pattern for pattern in patterns if pattern not in images]


def _note_others(table: Table, patterns: Sequence[Pattern], files: Sequence[str], proposal: Proposal) -> None:
    """A note on image files that no pattern names."""
    named = {
        os.path.normpath(filled.replace("\\", "/")).replace("\\", "/")
        for pattern in patterns
        for row in table.rows
        if (filled := fill(pattern.text, row.cells, MISSING)) is not None
    }
    others = [file for file in files if file not in named]
    if others:
        proposal.notes.append(f"image: {len(others)} of {len(files)} image files are named by no row, e.g. {others[0]}")


def _head_lines(parts: _Parts, output: Path, sheet: str | None) -> list[str]:
    """What the file is of, and how its table is read."""
    table = parts.table
    place = os.path.relpath(parts.folder.absolute(), output.absolute().parent).replace("\\", "/")
    missing = missing_in(table)
    return [
        f"# A cohort, proposed by `crosstask cohort init {table.path.name}` from {len(table.rows)} rows and "
        f"{len(parts.files)} image files.",
        "# Read it line by line; every key is explained in docs/your-own-data.md.",
        *([] if place == "." else [f"folder: {text_of(place)}    # where the paths below begin"]),
        f"table: {text_of(table.path.name)}",
        *([] if sheet is None else [f"sheet: {text_of(sheet)}"]),
        *([f"missing: {flow_of(missing)}    # texts that mean a missing value"] if len(missing) > len(MISSING) else []),
    ]


def _case_lines(parts: _Parts, proposal: Proposal) -> list[str]:
    """What a case is: its id, group and split, its image, masks and labels."""
    looks, case = parts.looks, parts.case
    unique = case not in parts.columns or parts.columns[case].unique
    lines = [f"case: {text_of(case)}    # {'unique in every row' if unique else 'must be unique: see below'}"]
    lines += _group_lines(parts.columns, parts.group)
    lines += parts.split.lines() if parts.split else []
    lines += _image_lines(parts.images, len(parts.table.rows), proposal)
    lines.append(f"channels: {looks.channels}")
    lines.append(f"dimensions: {looks.dimensions}    # {'pictures' if looks.dimensions == 2 else 'volumes'}")
    if looks.spacing:
        lines.append(looks.spacing)
    lines += parts.masks
    if parts.labels:
        lines.append("labels:")
    for label in parts.labels:
        lines.append(f"  # {label.comment}")
        lines += [f"  {line}" for line in label.lines]
    return lines


def _group_lines(columns: dict[str, Column], group: str | None) -> list[str]:
    if group is None:
        return ["# group: ...    # the column of the patient, which no split divides; without it every case is its own"]
    count, rows = len(set(columns[group].known)), len(columns[group].cells)
    return [f"group: {text_of(group)}    # no split divides one; {count} in {rows} rows"]


def _image_lines(images: Sequence[Pattern], rows: int, proposal: Proposal) -> list[str]:
    first, *others = images
    lines = [f"image: {text_of(first.text)}    # {first.found} of {rows} rows have it"]
    if first.found < rows:
        proposal.notes.append(f"image: {rows - first.found} rows have no image by {first.text}; they are left out")
    if first.files < _OWN_FILES * first.found:
        proposal.notes.append(
            f"image: {first.found} rows share {first.files} files by {first.text}; if each has a picture of its own, a "
            "column is missing in the pattern"
        )
    for other in others[:4]:
        lines.append(f"# also there: {other.text} ({other.found} rows); channels of one image: image: [..., ...]")
    if others:
        proposal.notes.append(f"image: {len(others)} other patterns find files too; is {first.text} the right one?")
    return lines


def _overview(parts: _Parts, proposal: Proposal, file: CohortFile) -> list[tuple[str, str]]:
    """What the short table on the terminal shows."""
    try:
        usable = len(CohortRows(file, parts.folder).cases())
    except InputError:
        usable = 0
    drawn = parts.split is None or proposal.rule == "drawn"
    pictures = "pictures" if proposal.dimensions == 2 else "volumes"
    return [
        ("cases", f"{usable} of {len(parts.table.rows)} rows, by {parts.case}"),
        ("groups", parts.group or "none found"),
        ("split", "drawn by group" if drawn or parts.split is None else parts.split.column),
        ("images", f"{parts.images[0].text} ({pictures})"),
        ("masks", ", ".join(file.spec.masks["segmentation"].classes) if proposal.masks else "none found"),
        *((f"label {label.name}", f"{label.kind}: {_short(label)}") for label in parts.labels),
    ]


def _short(label: Label) -> str:
    return ", ".join(label.columns) if label.kind == "findings" else label.comment.partition("; ")[0]


def _comment(text: str) -> list[str]:
    """A note as lines of a comment."""
    return textwrap.wrap(text, 116, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
