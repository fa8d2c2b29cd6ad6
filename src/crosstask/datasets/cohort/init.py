"""``crosstask cohort init``: a cohort file, proposed from a table and the files near it, with comments."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from crosstask.datasets.cohort.init_files import are_masks, look_at_images, mask_lines
from crosstask.datasets.cohort.init_labels import propose_labels, warn_of_copies
from crosstask.datasets.cohort.init_split import propose_split
from crosstask.datasets.cohort.labels import MISSING, as_number
from crosstask.datasets.cohort.profile import (
    Column,
    Pattern,
    columns_of,
    find_pair_patterns,
    find_patterns,
    image_files,
    missing_in,
)
from crosstask.datasets.cohort.proposal import Label, Proposal
from crosstask.datasets.cohort.rows import CohortRows
from crosstask.datasets.cohort.spec import CohortFile, fill, parse_cohort, pattern_columns
from crosstask.datasets.cohort.text import flow_of, name_of, plain_of, text_of
from crosstask.errors import InputError
from crosstask.io.tables import Table, read_table

_ID_WORDS = {"accession", "case", "exam", "id", "image", "img", "key", "scan", "uid"}
_VISIT_WORDS = {"date", "exam", "eye", "image", "no", "nr", "number", "scan", "series", "session", "side", "slice"} | {
    "time", "timepoint", "visit", "week", "year"
}  # fmt: skip
_GROUP_WORDS = (
    "patient",
    "subject",
    "person",
    "participant",
    "pid",
    "mrn",
    "lesion",
    "source",
    "family",
    "study",
    "exam",
)
_ACTIVE_LABELS = 2
_NEARLY = 0.8
"""A column with so large a share of different values is one of ids, with some that are missing or there twice."""


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
    folder = table.path.parent
    braced = next((name for name in table.columns if set(name) & set("{}|")), None)
    if braced is not None:
        raise InputError(f"{table.path}: rename the column {braced!r}: braces and bars have a meaning in patterns")
    columns = columns_of(table)
    files = image_files(folder)
    patterns = find_patterns(columns, files)
    if not any(pattern.files == pattern.found for pattern in patterns if not pattern.is_mask):
        pairs = find_pair_patterns(columns, files)
        patterns = [*pairs, *(pattern for pattern in patterns if not pairs or pattern.files == pattern.found)]
    images, outlines = _told_apart(folder, table, patterns)
    if not images:
        raise InputError(
            f"{folder}: {len(files)} images, and no column of {table.path.name} names one in two rows; put the images "
            "near the table, named like the values of a column to the letter (7 is not 007, a is not A)"
        )
    proposal = Proposal(table, notes=[f"table: {note}" for note in table.notes])
    sheet = sheet or table.sheet
    case = _case(table, columns, images[0], proposal)
    group = _group(columns, case, proposal)
    split = propose_split(columns, group, proposal)
    _note_others(table, patterns, files, proposal)
    looks = look_at_images(folder, table, images[0])
    proposal.dimensions, proposal.window, proposal.edge = looks.dimensions, looks.window, looks.edge
    proposal.notes += looks.notes
    taken = {*(pattern_columns(case) or [case]), *([group] if group else [])} | ({split.column} if split else set())
    taken |= {column for pattern in patterns for column in pattern_columns(pattern.text)}
    masks = mask_lines(folder, outlines, proposal)
    labels = propose_labels([column for name, column in columns.items() if name not in taken], proposal)
    warn_of_copies(columns, labels, proposal)

    place = os.path.relpath(folder.absolute(), Path(output).absolute().parent).replace("\\", "/")
    lines = [
        f"# A cohort, proposed by `crosstask cohort init {table.path.name}` from {len(table.rows)} rows and "
        f"{len(files)} image files.",
        "# Read it line by line; every key is explained in docs/your-own-data.md.",
        *([] if place == "." else [f"folder: {text_of(place)}    # where the paths below begin"]),
        f"table: {text_of(table.path.name)}",
        *([] if sheet is None else [f"sheet: {text_of(sheet)}"]),
    ]
    missing = missing_in(table)
    if len(missing) > len(MISSING):
        lines.append(f"missing: {flow_of(missing)}    # texts that mean a missing value")
    unique = case not in columns or columns[case].unique
    lines.append(f"case: {text_of(case)}    # {'unique in every row' if unique else 'must be unique: see below'}")
    lines += _group_lines(columns, case, group)
    lines += split.lines() if split else []
    lines += _image_lines(images, len(table.rows), proposal)
    lines.append(f"channels: {looks.channels}")
    lines.append(f"dimensions: {looks.dimensions}    # {'pictures' if looks.dimensions == 2 else 'volumes'}")
    if looks.spacing:
        lines.append(looks.spacing)
    lines += masks
    if labels:
        lines.append("labels:")
        for label in labels:
            lines.append(f"  # {label.comment}")
            lines += [f"  {line}" for line in label.lines]
    lines += ["licence: not stated", "source: not stated", "citation: not stated"]
    if not masks and not labels:
        proposal.notes.append("no mask and no label was found: name columns under labels, or nothing can be learned")
    if proposal.notes:
        lines += ["", "# To decide or to look at:", *(line for note in proposal.notes for line in _comment(note))]
    proposal.text = "\n".join(lines) + "\n"
    proposal.labels = [label.name for label in sorted(labels, key=lambda label: label.kind == "number")]
    proposal.stratify = next((label.name for label in labels if label.kind != "number"), "")
    _overview(
        proposal,
        case,
        group,
        split.column if split else None,
        images[0],
        labels,
        parse_cohort(proposal.text, Path(output)),
        folder,
    )
    return proposal


def starter_experiment(proposal: Proposal, name: str, cohort: Path | str) -> str:
    """A small experiment on a proposed cohort, as YAML: every method, ResNet-18, minutes on two CPU cores.

    Args:
        proposal: the proposal.
        name: of the experiment.
        cohort: the cohort file.
    """
    tasks = [*proposal.masks, *proposal.labels[:_ACTIVE_LABELS]]
    stratify = proposal.stratify if proposal.stratify in tasks else ""
    flow = f"{{rule: {proposal.rule}}}"
    if proposal.rule == "drawn":
        flow = (
            "{rule: drawn, fractions: [0.7, 0.1, 0.2]" + (f", stratify: {plain_of(stratify)}" if stratify else "") + "}"
        )
    small = proposal.edge <= 96
    edge = max(16, min(64, proposal.edge // 16 * 16))
    if proposal.dimensions == 2:
        sample = "{kind: image, size: [64, 64]}"
    elif small:
        sample = f"{{kind: volume, size: [{edge}, {edge}, {edge}]}}"
    else:
        sample = "{kind: slice, size: [64, 64]}    # or patch, or volume"
    low, high = proposal.window
    lines = [
        f"# A first experiment on {cohort}: small and quick. See docs/your-own-data.md.",
        f"name: {plain_of(name_of(name))}",
        "dataset:",
        "  name: cohort",
        f"  root: {plain_of(str(cohort))}",
        "  tasks:",
        *(f"    {plain_of(task)}: {{}}" for task in tasks),
        *(f"    # {plain_of(task)}: {{}}" for task in proposal.labels[_ACTIVE_LABELS:]),
        f"  windows: [[{low:g}, {high:g}]]    # image values below and above are cut",
        f"  splits: {flow}",
        f"sample: {sample}",
        "encoder: {name: resnet18}",
        *(["architecture: {upsampling_blocks: 5}    # masks at full resolution"] if proposal.masks else []),
        "training:",
        "  epochs: 12",
        f"  batch_size: {8 if len(proposal.table.rows) < 500 else 16}",
        "  learning_rate: 1.0e-3",
        "  schedule: cosine",
        "  cache: true",
        "  threads: 1",
        "methods: [stl, hps, mtan, ctan]",
        "seeds: [0]",
    ]
    return "\n".join(lines) + "\n"


# --- columns ---


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


def _case(table: Table, columns: dict[str, Column], image: Pattern, proposal: Proposal) -> str:
    """The column of the ids: one that names images or is called so, and is unique or nearly so."""

    def score(column: Column) -> tuple[int, int]:
        named = column.name in pattern_columns(image.text)
        called = bool(column.words & _ID_WORDS) - bool(column.words & set(_GROUP_WORDS))
        whole = all("." not in cell for cell in column.known) or any(as_number(cell) is None for cell in column.known)
        return 3 * named + 2 * called + 2 * column.unique + whole, -table.columns.index(column.name)

    rows = len(table.rows)
    near = [column for column in columns.values() if column.unique or len(set(column.known)) >= _NEARLY * rows]
    speaking = [column for column in near if column.words & _ID_WORDS or column.name in pattern_columns(image.text)]
    best = max((column for column in speaking or near), key=score, default=None)
    if best is not None and best.unique:
        if not speaking:
            proposal.notes.append(f"case: {best.name!r} is a guess, since its values are unique; is it the id?")
        return best.name
    for first, second in permutations(columns.values(), 2):
        joined = [f"{a}_{b}" for a, b in zip(first.cells, second.cells, strict=True)]
        grouped = bool(first.words & set(_GROUP_WORDS)) or bool(first.words & _ID_WORDS)
        told = best is None or bool(second.words & _VISIT_WORDS)
        if grouped and told and len(first.known) == len(second.known) == len(joined) == len(set(joined)):
            return f"{{{first.name}}}_{{{second.name}}}"
    if best is None:
        best = max(columns.values(), key=lambda column: len(column.counts))
    proposal.notes.append(f"case: {best.name!r} is taken as the id, but {_not_unique(table, best)}; mend the table")
    return best.name


def _not_unique(table: Table, column: Column) -> str:
    """Which rows share an id or have none, as the check would say it."""
    by_id: dict[str, list[int]] = {}
    empty = []
    for row, cell in zip(table.rows, column.cells, strict=True):
        if cell in column.missing:
            empty.append(row.number)
        else:
            by_id.setdefault(cell, []).append(row.number)
    same = [rows for rows in by_id.values() if len(rows) > 1]
    parts = []
    if same:
        others = f" and {len(same) - 1} more such" if len(same) > 1 else ""
        parts.append(f"rows {', '.join(map(str, same[0][:4]))} have the same{others}")
    if empty:
        parts.append(
            f"row{'s' * (len(empty) > 1)} {', '.join(map(str, empty[:4]))} {'have' if len(empty) > 1 else 'has'} none"
        )
    return ", and ".join(parts)


def _group(columns: dict[str, Column], case: str, proposal: Proposal) -> str | None:
    """The column of the patients: by its name, or by values that repeat."""
    rows = len(next(iter(columns.values())).cells)
    others = [column for column in columns.values() if column.name != case and len(column.counts) > 1]
    for word in _GROUP_WORDS:
        for column in others:
            many = len(column.counts) > max(2, rows / 20) or word in ("patient", "subject")
            if word in column.words and many and column.look not in ("yes or no", "rating"):
                return column.name
    for column in others:
        text = any(as_number(value) is None for value in column.counts) and all(
            " " not in value for value in column.counts
        )
        if column.look == "text" and text and rows / 5 < len(column.counts) < rows * 0.95:
            proposal.notes.append(f"group: {column.name!r} is a guess, since its values repeat; is it the patient?")
            return column.name
    proposal.notes.append(
        "group: no column looks like the patient. If a patient has several cases, name the column: else cases of one "
        "patient are in training and test"
    )
    return None


# --- text ---


def _group_lines(columns: dict[str, Column], case: str, group: str | None) -> list[str]:
    if group is None:
        return ["# group: ...    # the column of the patient, which no split divides; without it every case is its own"]
    count, rows = len(set(columns[group].known)), len(columns[group].cells)
    return [f"group: {text_of(group)}    # no split divides one; {count} in {rows} rows"]


def _image_lines(images: Sequence[Pattern], rows: int, proposal: Proposal) -> list[str]:
    first, *others = images
    lines = [f"image: {text_of(first.text)}    # {first.found} of {rows} rows have it"]
    if first.found < rows:
        proposal.notes.append(f"image: {rows - first.found} rows have no image by {first.text}; they are left out")
    if first.files < _NEARLY * first.found:
        proposal.notes.append(
            f"image: {first.found} rows share {first.files} files by {first.text}; if each has a picture of its own, a "
            "column is missing in the pattern"
        )
    for other in others[:4]:
        lines.append(f"# also there: {other.text} ({other.found} rows); channels of one image: image: [..., ...]")
    if others:
        proposal.notes.append(f"image: {len(others)} other patterns find files too; is {first.text} the right one?")
    return lines


def _overview(
    proposal: Proposal,
    case: str,
    group: str | None,
    split: str | None,
    image: Pattern,
    labels: Sequence[Label],
    file: CohortFile,
    folder: Path,
) -> None:
    """What the short table on the terminal shows."""
    try:
        usable = len(CohortRows(file, folder).cases())
    except InputError:
        usable = 0
    rows = len(proposal.table.rows)
    proposal.found += [
        ("cases", f"{usable} of {rows} rows, by {case}"),
        ("groups", group or "none found"),
        ("split", "drawn by group" if split is None or proposal.rule == "drawn" else split),
        ("images", f"{image.text} ({'pictures' if proposal.dimensions == 2 else 'volumes'})"),
        ("masks", ", ".join(file.spec.masks["segmentation"].classes) if proposal.masks else "none found"),
        *((f"label {label.name}", f"{label.kind}: {_short(label)}") for label in labels),
    ]


def _short(label: Label) -> str:
    return ", ".join(label.columns) if label.kind == "findings" else label.comment.partition("; ")[0]


def _comment(text: str) -> list[str]:
    """A note as lines of a comment."""
    return textwrap.wrap(text, 116, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
