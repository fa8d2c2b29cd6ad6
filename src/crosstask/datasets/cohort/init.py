"""``crosstask cohort init``: a cohort file, proposed from a table or description and the files near it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.datasets.cohort.init_columns import case_of, group_of
from crosstask.datasets.cohort.init_files import Looks, are_masks, look_at_images, mask_lines
from crosstask.datasets.cohort.init_labels import propose_labels, warn_of_copies
from crosstask.datasets.cohort.init_none import why_none
from crosstask.datasets.cohort.init_patterns import patterns_of
from crosstask.datasets.cohort.init_split import ProposedSplit, propose_split
from crosstask.datasets.cohort.init_synonyms import settle_synonyms, synonym_lines
from crosstask.datasets.cohort.labels import MISSING
from crosstask.datasets.cohort.layouts import Layout, find_layout
from crosstask.datasets.cohort.layouts.base import csv_of
from crosstask.datasets.cohort.patterns import Pattern, image_files
from crosstask.datasets.cohort.profile import Column, columns_of, missing_in
from crosstask.datasets.cohort.proposal import Ask, Label, Proposal, assume
from crosstask.datasets.cohort.rows import CohortRows
from crosstask.datasets.cohort.spec import CohortFile, fill, parse_cohort, pattern_columns
from crosstask.datasets.cohort.survey import survey
from crosstask.datasets.cohort.text import flow_of, text_of
from crosstask.errors import InputError
from crosstask.io.tables import Row

_DRAWN, _KEPT = 0.7, 0.85
"""Shares of cases that train: of all, and of those that are left when others are taken from them to choose on."""
_OWN_FILES = 0.8
"""Where fewer files than this share of the rows are named, a column is missing in the pattern."""


def propose_cohort(path: Path | str, output: Path | str, *, sheet: str | None = None, ask: Ask = assume) -> Proposal:
    """Look at a table, a description or a folder and the files near it, and propose a cohort file.

    Args:
        path: the table, a dataset.json of nnU-Net or the Decathlon, a COCO file, or a folder; images are looked for
            below its folder.
        output: where the cohort file shall stand: its relative paths begin there.
        sheet: of an Excel table.
        ask: asked where something cannot be decided.

    Raises:
        InputError: the table cannot be read, or no image file fits any of its columns.
    """
    layout = find_layout(Path(path), Path(output), sheet, ask)
    table = layout.table
    braced = next((name for name in table.columns if set(name) & set("{}|")), None)
    if braced is not None:
        raise InputError(f"{table.path}: rename the column {braced!r}: braces and bars have a meaning in patterns")
    proposal = Proposal(table, ask, notes=list(layout.notes))
    parts = _parts(layout, proposal)
    lines = [*_head_lines(parts, Path(output), proposal), *_case_lines(parts, proposal)]
    lines += [f"{key}: {text_of(getattr(layout, key))}" for key in ("licence", "source", "citation")]
    if not parts.masks and not parts.labels:
        proposal.notes.append("no mask and no label was found: name columns under labels, or nothing can be learned")
    if proposal.notes:
        lines += ["", "# To decide or to look at:", *(line for note in proposal.notes for line in _comment(note))]
    proposal.text = "\n".join(lines) + "\n"
    proposal.labels = [label.name for label in sorted(parts.labels, key=lambda label: label.kind == "number")]
    proposal.stratify = next((label.name for label in parts.labels if label.kind != "number"), "")
    if layout.made:
        proposal.files[table.path] = csv_of(table)
    file = parse_cohort(proposal.text, Path(output))
    _look_at_all(parts, proposal, file)
    proposal.found += _overview(parts, proposal, file)
    return proposal


@dataclass(frozen=True)
class _Parts:
    """What a cohort file is made of.

    Attributes:
        layout: what was known of the data set.
        files: images near it.
        columns: of the table, by name.
        case: column of the ids, or a pattern of several.
        group: column of the patients, if there is one.
        split: column of the splits, likewise.
        images: patterns of images, the likeliest first; those of one image, where the layout gives them.
        looks: what the first images are.
        masks: lines of the section.
        labels: proposed ones.
        synonyms: ``{column: {usual: [others]}}``.
        ignore_case: names of files differ from the table in capital letters.
    """

    layout: Layout
    files: Sequence[str]
    columns: dict[str, Column]
    case: str
    group: str | None
    split: ProposedSplit | None
    images: Sequence[Pattern]
    looks: Looks
    masks: Sequence[str]
    labels: Sequence[Label]
    synonyms: dict[str, dict[str, list[str]]]
    ignore_case: bool


def _parts(layout: Layout, proposal: Proposal) -> _Parts:
    """Everything that is found, told as notes where it is doubtful."""
    folder, table = layout.folder, layout.table
    columns, files = columns_of(table), image_files(folder)
    patterns, ignore_case = patterns_of(layout, columns, files, proposal)
    images, outlines = (patterns, []) if layout.images else _told_apart(folder, proposal, patterns)
    if not images:
        raise InputError(why_none(layout, columns, files))
    case = layout.case or case_of(table, columns, images[0], proposal)
    taken = _taken(layout, case, patterns)
    synonyms = settle_synonyms(columns, taken, proposal)
    group = layout.group or (None if layout.made else group_of(columns, case, proposal))
    left = {name: one for name, one in columns.items() if name not in taken and name != group}
    split = propose_split(left, columns.get(group or ""), proposal)
    if not layout.images:
        _note_others(table.rows, patterns, files, proposal)
    shown = [one.text for one in (images if layout.images else images[:1])]
    looks = look_at_images(folder, proposal, shown, layout.stacked)
    proposal.dimensions, proposal.window, proposal.exclusive = looks.dimensions, looks.window, layout.exclusive
    proposal.notes += looks.notes
    masks = layout.masks or mask_lines(folder, outlines, proposal)
    if masks and not proposal.masks:
        proposal.masks.append("segmentation")
    labels = propose_labels([one for name, one in left.items() if split is None or name != split.column], proposal)
    warn_of_copies(columns, labels, proposal)
    return _Parts(layout, files, columns, case, group, split, images, looks, masks, labels, synonyms, ignore_case)


def _taken(layout: Layout, case: str, patterns: Sequence[Pattern]) -> set[str]:
    """Columns that name cases and files, and so are no labels; of a table of ours, those that it was made with."""
    taken = {*(pattern_columns(case) or [case]), *layout.spare}
    if layout.made:
        return taken | ({layout.group} if layout.group else set())
    return taken | {column for pattern in patterns for column in pattern_columns(pattern.text)}


def _told_apart(folder: Path, proposal: Proposal, patterns: Sequence[Pattern]) -> tuple[list[Pattern], list[Pattern]]:
    """Patterns of images and of masks: by their words, and where several could be images, by what the files hold."""
    images = [pattern for pattern in patterns if not pattern.is_mask]
    masks = [pattern for pattern in images if are_masks(folder, proposal, pattern)] if len(images) > 1 else []
    if len(masks) == len(images):
        masks = masks[1:]
    images = [pattern for pattern in images if pattern not in masks]
    outlines = [pattern for pattern in patterns if pattern not in images]
    if len(images) > 1:
        first = images[0].text
        answer = proposal.decide(
            "Several patterns find images. Which one is the image of a case?",
            [pattern.text for pattern in images[:6]],
            first,
            f"image: {len(images) - 1} other patterns find files too; is {first} the right one?",
        )
        images.sort(key=lambda pattern: pattern.text != answer)
    return images, outlines


def _note_others(rows: Sequence[Row], patterns: Sequence[Pattern], files: Sequence[str], proposal: Proposal) -> None:
    """A note on image files that no pattern names."""
    named = {
        os.path.normpath(filled.replace("\\", "/")).replace("\\", "/").casefold()
        for pattern in patterns
        for row in rows
        if (filled := fill(pattern.text, row.cells, MISSING)) is not None
    }
    named |= {proposal.lowered[name].casefold() for name in named if name in proposal.lowered}
    others = [file for file in files if file.casefold() not in named]
    if others:
        proposal.notes.append(f"image: {len(others)} of {len(files)} image files are named by no row, e.g. {others[0]}")


def _head_lines(parts: _Parts, output: Path, proposal: Proposal) -> list[str]:
    """What the file is of, and how its table is read."""
    layout = parts.layout
    table = layout.table
    place = os.path.relpath(layout.folder.absolute(), output.absolute().parent).replace("\\", "/")
    inside = os.path.relpath(table.path.absolute(), layout.folder.absolute()).replace("\\", "/")
    name = table.path.name if layout.made else inside
    missing = missing_in(table)
    sheets = layout.sheets
    return [
        f"# A cohort, proposed by `crosstask cohort init` of {layout.origin} from {len(table.rows)} rows and "
        f"{len(parts.files)} image files."
        if layout.made
        else f"# A cohort, proposed by `crosstask cohort init {table.path.name}` from {len(table.rows)} rows and "
        f"{len(parts.files)} image files.",
        "# Read it line by line; every key is explained in docs/your-own-data.md.",
        *([] if place == "." else [f"folder: {text_of(place)}    # where the paths below begin"]),
        f"table: {text_of(name)}"
        + ("    # written by cohort init, beside this file; add columns as you like" * layout.made),
        *([f"sheet: {text_of(sheets[0])}"] if len(sheets) == 1 else []),
        *([f"sheet: {flow_of(sheets)}    # the first gives the rows; see docs/your-own-data.md"] * (len(sheets) > 1)),
        *([f"missing: {flow_of(missing)}    # texts that mean a missing value"] if len(missing) > len(MISSING) else []),
        *synonym_lines(parts.synonyms),
    ]


def _case_lines(parts: _Parts, proposal: Proposal) -> list[str]:
    """What a case is: its id, group and split, its image, masks and labels."""
    looks, case = parts.looks, parts.case
    unique = case not in parts.columns or parts.columns[case].unique
    lines = [f"case: {text_of(case)}    # {'unique in every row' if unique else 'must be unique: see below'}"]
    lines += _group_lines(parts.columns, parts.group)
    lines += parts.split.lines() if parts.split else []
    lines += _image_lines(parts, proposal)
    lines += ["ignore_case: true    # names of files differ from the table in capital letters"] * parts.ignore_case
    lines.append(f"channels: {looks.channels}" + ("    # volumes in each file" * looks.channels.isdigit()))
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


def _image_lines(parts: _Parts, proposal: Proposal) -> list[str]:
    rows = len(parts.layout.table.rows)
    first, *others = parts.images
    if first.found < rows:
        proposal.notes.append(f"image: {rows - first.found} rows have no image by {first.text}; they are left out")
    if parts.layout.images and others:
        names = parts.layout.channels or [""] * len(parts.images)
        return [
            "image:    # one channel each",
            *(
                f"  - {text_of(one.text)}    # {name or 'channel'}: {one.found} of {rows} rows have it"
                for one, name in zip(parts.images, names, strict=False)
            ),
        ]
    lines = [f"image: {text_of(first.text)}    # {first.found} of {rows} rows have it"]
    if first.files < _OWN_FILES * first.found:
        proposal.notes.append(
            f"image: {first.found} rows share {first.files} files by {first.text}; if each has a picture of its own, a "
            "column is missing in the pattern"
        )
    for other in others[:4]:
        lines.append(f"# also there: {other.text} ({other.found} rows); channels of one image: image: [..., ...]")
    return lines


def _look_at_all(parts: _Parts, proposal: Proposal, file: CohortFile) -> None:
    """How many cases there are, and how large their images."""
    rows = CohortRows(file, parts.layout.folder, parts.layout.table)
    try:
        cases = rows.cases()
    except InputError:
        return
    proposal.cases = len(cases)
    if proposal.rule != "drawn":
        given = [case.split for case in cases]
        whole = (
            sum(split in ("train", "validation") for split in given)
            if "from_train" in proposal.rule
            else given.count("train")
        )
        proposal.trained = whole if proposal.rule == "original" else round(_KEPT * whole)
    else:
        proposal.trained = round(_DRAWN * len(cases))
    proposal.survey = survey((rows.images_of(rows.row(case.id))[0] for case in cases), proposal.dimensions)


def _overview(parts: _Parts, proposal: Proposal, file: CohortFile) -> list[tuple[str, str]]:
    """What the short table on the terminal shows."""
    drawn = parts.split is None or proposal.rule == "drawn"
    pictures = "pictures" if proposal.dimensions == 2 else "volumes"
    images = ", ".join(one.text for one in (parts.images if parts.layout.images else parts.images[:1]))
    return [
        ("cases", f"{proposal.cases} of {len(parts.layout.table.rows)} rows, by {parts.case}"),
        ("groups", parts.group or "none found"),
        ("split", "drawn by group" if drawn or parts.split is None else parts.split.column),
        ("images", f"{images} ({pictures})"),
        ("masks", ", ".join(file.spec.masks["segmentation"].classes) if proposal.masks else "none found"),
        *((f"label {label.name}", f"{label.kind}: {_short(label)}") for label in parts.labels),
    ]


def _short(label: Label) -> str:
    return ", ".join(label.columns) if label.kind == "findings" else label.comment.partition("; ")[0]


def _comment(text: str) -> list[str]:
    """A note as lines of a comment."""
    return textwrap.wrap(text, 116, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
