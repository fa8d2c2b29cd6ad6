"""``crosstask cohort init``: a cohort file, proposed from a table and the files near it, with comments."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import yaml

from crosstask.datasets.cohort_labels import MISSING, NEGATIVE, POSITIVE, as_number
from crosstask.datasets.cohort_profile import (
    Column,
    Pattern,
    columns_of,
    correlation,
    determines,
    find_patterns,
    image_files,
    implied_by_all,
    missing_in,
    words_of,
)
from crosstask.datasets.cohort_rows import CohortRows
from crosstask.datasets.cohort_spec import IMAGE, CohortFile, fill, parse_cohort, pattern_columns
from crosstask.errors import InputError
from crosstask.io.images import read_image
from crosstask.io.tables import Table, read_table

_ID_WORDS = {"accession", "case", "exam", "id", "image", "img", "key", "scan", "uid"}
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
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SENTINELS = ("-1", "-9", "-99", "-999", "99", "999", "9999")
_UNITS = {"age": "years", "weight": "kg", "height": "cm", "days": "days", "months": "months", "years": "years"}
_RARE = 10
_LOOKED_AT = 5
_ACTIVE_LABELS = 2


@dataclass
class Label:
    """A label that is proposed: its name, the lines of its section, and a comment."""

    name: str
    kind: str
    lines: list[str]
    comment: str
    columns: list[str]


@dataclass
class Proposal:
    """What was found, and the cohort file that follows from it.

    Attributes:
        table: the table.
        text: the proposed YAML, with comments.
        found: (what, what was found) for a short overview.
        notes: what could not be decided, or must be looked at.
        masks, labels: names of the proposed tasks, likeliest first; labels that can stratify a split first.
        stratify: a label to stratify by, or "".
        rule: how an experiment should split.
        dimensions: 2 or 3.
        window: range of the image values.
        edge: shortest edge of the first images, in pixels or voxels.
    """

    table: Table
    text: str = ""
    found: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    stratify: str = ""
    rule: str = "drawn"
    dimensions: int = 2
    window: tuple[float, float] = (0.0, 255.0)
    edge: int = 64


@dataclass(frozen=True)
class _Looks:
    """What the first images are."""

    dimensions: int
    channels: str
    window: tuple[float, float]
    edge: int
    notes: tuple[str, ...]
    spacing: str


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
    images = [pattern for pattern in patterns if not pattern.is_mask]
    if not images:
        raise InputError(
            f"{folder}: {len(files)} images, and no column of {table.path.name} names one in two rows; put the images "
            "near the table, named like the values of a column"
        )
    proposal = Proposal(table)
    case = _case(table, columns, images[0], proposal)
    group = _group(columns, case, proposal)
    split = _split(columns, case, group, proposal)
    looks = _look_at_images(folder, table, images[0])
    proposal.dimensions, proposal.window, proposal.edge = looks.dimensions, looks.window, looks.edge
    proposal.notes += looks.notes
    taken = {*(pattern_columns(case) or [case]), *([group] if group else [])} | ({split} if split else set())
    taken |= {column for pattern in patterns for column in pattern_columns(pattern.text)}
    masks = _mask_lines(folder, [pattern for pattern in patterns if pattern.is_mask], proposal)
    labels = _labels([column for name, column in columns.items() if name not in taken], proposal)
    _warn_of_copies(columns, labels, proposal)

    place = os.path.relpath(folder.absolute(), Path(output).absolute().parent).replace("\\", "/")
    lines = [
        f"# A cohort, proposed by `crosstask cohort init {table.path.name}` from {len(table.rows)} rows and "
        f"{len(files)} image files.",
        "# Read it line by line; every key is explained in docs/your-own-data.md.",
        *([] if place == "." else [f"folder: {_text(place)}    # where the paths below begin"]),
        f"table: {_text(table.path.name)}",
        *([] if sheet is None else [f"sheet: {_text(sheet)}"]),
    ]
    missing = missing_in(table)
    if len(missing) > len(MISSING):
        lines.append(f"missing: {_flow(missing)}    # texts that mean a missing value")
    lines.append(f"case: {_text(case)}    # unique in every row")
    lines += _group_lines(columns, case, group)
    lines += _split_lines(columns, split, proposal)
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
    _overview(proposal, case, group, split, images[0], labels, parse_cohort(proposal.text, Path(output)), folder)
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
            "{rule: drawn, fractions: [0.7, 0.1, 0.2]" + (f", stratify: {_plain(stratify)}" if stratify else "") + "}"
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
        f"name: {_plain(_name(name))}",
        "dataset:",
        "  name: cohort",
        f"  root: {_plain(str(cohort))}",
        "  tasks:",
        *(f"    {_plain(task)}: {{}}" for task in tasks),
        *(f"    # {_plain(task)}: {{}}" for task in proposal.labels[_ACTIVE_LABELS:]),
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


def _case(table: Table, columns: dict[str, Column], image: Pattern, proposal: Proposal) -> str:
    """The column of the ids: unique, and if there are several the one that names images or is called so."""

    def score(column: Column) -> tuple[int, int]:
        named = column.name in pattern_columns(image.text)
        called = bool(column.words & _ID_WORDS) - bool(column.words & set(_GROUP_WORDS))
        whole = all("." not in cell for cell in column.known) or not all(map(_is_number, column.known))
        return 2 * named + called + whole, -table.columns.index(column.name)

    unique = [column for column in columns.values() if column.unique]
    if unique:
        return max(unique, key=score).name
    for first, second in permutations(columns.values(), 2):
        joined = [f"{a}_{b}" for a, b in zip(first.cells, second.cells, strict=True)]
        grouped = bool(first.words & set(_GROUP_WORDS)) or bool(first.words & _ID_WORDS)
        if grouped and len(first.known) == len(second.known) == len(joined) == len(set(joined)):
            return f"{{{first.name}}}_{{{second.name}}}"
    best = max(columns.values(), key=lambda column: len(column.counts))
    proposal.notes.append(f"case: no column is unique in every row; {best.name!r} is nearest, so mend the table first")
    return best.name


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
        text = not all(map(_is_number, column.counts)) and all(" " not in value for value in column.counts)
        if column.look == "text" and text and rows / 5 < len(column.counts) < rows * 0.95:
            proposal.notes.append(f"group: {column.name!r} is a guess, since its values repeat; is it the patient?")
            return column.name
    proposal.notes.append(
        "group: no column looks like the patient. If a patient has several cases, name the column: else cases of one "
        "patient are in training and test"
    )
    return None


def _split(columns: dict[str, Column], case: str, group: str | None, proposal: Proposal) -> str | None:
    """The column whose values are names of splits; the rule that an experiment should take is noted."""
    meaning = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
    for column in columns.values():
        values = {value.casefold() for value in column.counts}
        if not values or not values <= set(meaning) or not {"train", "training"} & values:
            continue
        there = {meaning[value] for value in values}
        if len(column.known) == len(column.cells) and group is not None:
            parts: dict[str, set[str]] = {}
            for name, value in zip(columns[group].cells, column.cells, strict=True):
                parts.setdefault(name, set()).add(meaning[value.casefold()])
            torn = sorted(name for name, splits in parts.items() if len(splits) > 1)
            if torn:
                proposal.notes.append(
                    f"split: the column {column.name!r} is not used: {len(torn)} of its groups are in two splits, e.g. "
                    f"{torn[0]}; experiments draw splits by group instead"
                )
                return column.name
        if len(column.known) == len(column.cells) and there == set(_SPLIT_WORDS):
            proposal.rule = "original"
        elif len(column.known) == len(column.cells) and there == {"train", "validation"}:
            proposal.rule = "validation_as_test"
        else:
            proposal.notes.append(f"split: {column.name!r} does not give all cases a split; experiments draw their own")
        return column.name
    return None


def _labels(columns: Sequence[Column], proposal: Proposal) -> list[Label]:
    """Labels of the columns that are left over, and notes on those that cannot be any."""
    yes_no = [column for column in columns if column.look == "yes or no"]
    parent = next(
        (one for one in yes_no if len(yes_no) > 2 and implied_by_all(one, [c for c in yes_no if c is not one])), None
    )
    findings = [column for column in yes_no if column is not parent] if len(yes_no) > 2 else []
    if parent is not None:
        proposal.notes.append(
            f"labels: {parent.name!r} is positive wherever a finding is, so the findings are part of it; judge what "
            "learning them together means"
        )
    labels: list[Label] = []
    for column in columns:
        if column in findings:
            if column is findings[0]:
                labels.append(_findings(findings, proposal))
        elif column.look == "yes or no":
            labels.append(_binary(column, proposal))
            if len(yes_no) == 2 and column is yes_no[1]:
                labels[-1].comment += f"; with {yes_no[0].name!r} it could be one label of kind findings"
        elif column.look == "classes":
            labels.append(_classes(column, proposal))
        elif column.look in ("number", "rating"):
            labels.append(_number(column, proposal))
        elif column.look == "empty":
            proposal.notes.append(f"column {column.name!r} is empty: not used")
        elif column.look == "constant":
            value = next(iter(column.counts))
            proposal.notes.append(f"column {column.name!r} holds only {value!r}: nothing to learn, not used")
        elif len(column.counts) > len(column.known) / 2:
            proposal.notes.append(
                f"column {column.name!r} is nearly unique text ({len(column.counts)} values): an id or a report, which "
                "may give the answer away; not used"
            )
        else:
            proposal.notes.append(
                f"column {column.name!r} has {len(column.counts)} different texts, too many for classes: not used; "
                "join them by classes: {name: [values]} if it is a label"
            )
    names: set[str] = set(proposal.masks)
    for label in labels:
        _rename(label, names)
    return labels


def _rename(label: Label, names: set[str]) -> None:
    """Give a label a name that no other has."""
    plain = label.name
    while label.name in names or label.name == IMAGE:
        label.name += "_label" if label.name == plain else "_"
    names.add(label.name)
    label.lines[0] = label.lines[0].replace("@", _text(label.name), 1)


def _binary(column: Column, proposal: Proposal) -> Label:
    positive = [value for value in column.counts if value.casefold() in POSITIVE]
    negative = [value for value in column.counts if value.casefold() in NEGATIVE]
    yes = sum(column.counts[value] for value in positive)
    if min(yes, len(column.known) - yes) < _RARE:
        proposal.notes.append(
            f"labels: {column.name!r} has few cases of one kind ({yes} positive); scores will scatter"
        )
    line = (
        f"@: {{kind: binary, column: {_item(column.name)}, positive: {_flow(positive)}, negative: {_flow(negative)}}}"
    )
    return Label(
        _name(column.name), "binary", [line], f"{yes} of {len(column.known)} positive{_gaps(column)}", [column.name]
    )


def _findings(columns: Sequence[Column], proposal: Proposal) -> Label:
    positive = sorted({value for column in columns for value in column.counts if value.casefold() in POSITIVE})
    negative = sorted({value for column in columns for value in column.counts if value.casefold() in NEGATIVE})
    lines = [
        "@:",
        "  kind: findings    # several may be positive in one case; each is a yes or no of its own",
        "  columns:",
    ]
    for column in columns:
        yes = sum(column.counts[value] for value in positive)
        lines.append(f"    - {_text(column.name)}    # {yes} of {len(column.known)} positive{_gaps(column)}")
        if min(yes, len(column.known) - yes) < _RARE:
            proposal.notes.append(
                f"labels: {column.name!r} has few cases of one kind ({yes} positive); its scores will scatter"
            )
    lines += [f"  positive: {_flow(positive)}", f"  negative: {_flow(negative)}"]
    comment = "one task of several labels; a column that is a question of its own is better a binary label"
    return Label("findings", "findings", lines, comment, [column.name for column in columns])


def _classes(column: Column, proposal: Proposal) -> Label:
    counts = ", ".join(f"{count} {value}" for value, count in column.counts.most_common())
    rare = [value for value, count in column.counts.items() if count < _RARE]
    if rare:
        proposal.notes.append(
            f"labels: {column.name!r} has classes of fewer than {_RARE} cases ({', '.join(rare)}); join or drop them"
        )
    line = f"@: {{kind: classes, column: {_item(column.name)}, classes: {_flow(sorted(column.counts))}}}"
    return Label(_name(column.name), "classes", [line], f"{counts}{_gaps(column)}", [column.name])


def _number(column: Column, proposal: Proposal) -> Label:
    numbers = [number for value in column.known if (number := as_number(value)) is not None]
    unit = next((unit for word, unit in _UNITS.items() if word in column.words), "")
    comment = f"{min(numbers):g} to {max(numbers):g}{_gaps(column)}"
    others = [number for number in numbers if f"{number:g}" not in _SENTINELS]
    odd = [
        value
        for value in _SENTINELS
        if value in column.counts and others and (float(value) > 2 * max(others) or (float(value) < 0 <= min(others)))
    ]
    if odd:
        proposal.notes.append(
            f"labels: {column.name!r} holds {', '.join(odd)}; if that means missing, add missing: {_flow(['', *odd])}"
        )
    if column.look == "rating":
        middle = sorted(set(numbers))[len(set(numbers)) // 2]
        comment += f"; whole numbers: or kind: binary with at_least: {middle:g}, or kind: classes"
    parts = [f"kind: number, column: {_item(column.name)}"]
    if unit:
        parts.append(f"unit: {unit}")
    if min(numbers) >= 0:
        parts.append("minimum: 0")
    return Label(_name(column.name), "number", [f"@: {{{', '.join(parts)}}}"], comment, [column.name])


def _warn_of_copies(columns: dict[str, Column], labels: Sequence[Label], proposal: Proposal) -> None:
    """Pairs of labels of which one nearly gives the other."""
    of = {name: label for label in labels for name in label.columns}
    for first, second in combinations(of, 2):
        if of[first] is of[second]:
            continue
        a, b = columns[first], columns[second]
        if all(column.look in ("number", "rating", "yes or no") for column in (a, b)):
            strength = correlation(a, b)
            if abs(strength) > 0.97:
                proposal.notes.append(
                    f"labels: {first!r} and {second!r} are nearly copies (correlation {strength:.2f}); keep one"
                )
                continue
        if "number" in (a.look, b.look):
            continue
        for giver, given in ((a, b), (b, a)):
            if determines(giver, given):
                proposal.notes.append(
                    f"labels: {giver.name!r} nearly always tells {given.name!r}: a copy, or known only with it; keep "
                    "one"
                )
                break


# --- files ---


def _look_at_images(folder: Path, table: Table, image: Pattern) -> _Looks:
    """Read the first images."""
    (column,) = pattern_columns(image.text)
    read: list[tuple[np.ndarray, tuple[int, ...], tuple[float, ...]]] = []
    notes: list[str] = []
    for path in _first(folder, table, image.text, column):
        try:
            values, grid = read_image(path)
        except InputError as error:
            notes.append(f"image: {error}")
            continue
        read.append((values, grid.shape, grid.spacing))
    if not read:
        raise InputError(f"{folder}: none of the first images can be read: {notes[0].removeprefix('image: ')}")
    dimensions = len(read[0][1])
    if len({len(shape) for _, shape, _ in read}) > 1:
        notes.append("image: pictures and volumes are mixed; give each kind a cohort file of its own")
    coloured = any(len(values) == 3 and not (values == values[:1]).all() for values, _, _ in read)
    if coloured and not all(len(values) == 3 for values, _, _ in read):
        notes.append("channels: some of the first pictures are grey and some in colour; all are made colour")
    if len({shape for _, shape, _ in read}) > 1:
        shapes = ", ".join(sorted({" x ".join(map(str, shape)) for _, shape, _ in read}))
        notes.append(f"image: sizes differ ({shapes}); samples are resized to one size")
    spacing = ""
    steps = [step for _, _, step in read]
    if dimensions == 3:
        middle = [float(f"{value:.2g}") for value in np.median(steps, axis=0)]
        differ = not np.allclose(steps, steps[0], rtol=0.01)
        text = ", ".join(f"{value:g}" for value in middle)
        spacing = f"# spacing: [{text}]    # z y x in mm; resamples all volumes" + (": theirs differ" if differ else "")
        if differ:
            notes.append("spacing: the voxels of the first volumes differ in size; resample them by the key spacing")
    window = (0.0, 255.0)
    if any(values.dtype != np.uint8 for values, _, _ in read):
        values = np.concatenate([values.reshape(-1)[:: max(1, values.size // 100_000)] for values, _, _ in read])
        low, high = (float(f"{edge:.3g}") for edge in np.percentile(values.astype(np.float64), (0.5, 99.5)))
        window = (low, high if high > low else low + 1)
    edge = min(min(shape) for _, shape, _ in read)
    return _Looks(dimensions, "colour" if coloured else "grey", window, edge, tuple(notes), spacing)


def _first(folder: Path, table: Table, text: str, column: str) -> Iterable[Path]:
    """The first existing files of a pattern."""
    count = 0
    for row in table.rows:
        filled = fill(text, {column: row[column]}, MISSING)
        if filled is not None and (path := folder / filled.replace("\\", "/")).exists():
            yield path
            count += 1
            if count == _LOOKED_AT:
                return


def _mask_lines(folder: Path, masks: Sequence[Pattern], proposal: Proposal) -> list[str]:
    """The masks section: a class a pattern, or one a value where a file is a map of several labels."""
    if not masks:
        return []
    proposal.masks.append("segmentation")
    lines = ["masks:", "  segmentation:", "    classes:    # give the classes their names"]
    names: set[str] = set()
    for pattern in masks:
        values = _mask_values(folder, proposal.table, pattern)
        name = pattern.class_name
        while name in names:
            name += " 2"
        names.add(name)
        comment = f"# {pattern.found} of {len(proposal.table.rows)} rows have it"
        if values is None or len(values) == 1:
            lines.append(f"      {_text(name)}: {{path: {_item(pattern.text)}, values: '>0'}}    {comment}")
            continue
        proposal.notes.append(f"masks: {pattern.text} holds the values {values}; name the class of each")
        lines.append(f"      {comment}")
        for value in values:
            lines.append(f"      {_text(f'{name} {value}')}: {{path: {_item(pattern.text)}, values: [{value}]}}")
    return lines


def _mask_values(folder: Path, table: Table, pattern: Pattern) -> list[int] | None:
    """The few whole values but zero that the first masks hold; None where there are many, or none can be read."""
    (column,) = pattern_columns(pattern.text)
    found: set[float] = set()
    for path in _first(folder, table, pattern.text, column):
        try:
            values, _ = read_image(path)
        except InputError:
            return None
        if len(values) > 1:
            return None
        found |= set(np.unique(values).tolist())
    found -= {0}
    whole = all(float(value).is_integer() for value in found)
    return sorted(int(value) for value in found) if found and whole and len(found) <= 20 else None


# --- text ---


def _group_lines(columns: dict[str, Column], case: str, group: str | None) -> list[str]:
    if group is None:
        return ["# group: ...    # the column of the patient, which no split divides; without it every case is its own"]
    count, rows = len(set(columns[group].known)), len(columns[group].cells)
    return [f"group: {_text(group)}    # no split divides one; {count} in {rows} rows"]


def _split_lines(columns: dict[str, Column], split: str | None, proposal: Proposal) -> list[str]:
    if split is None:
        return []
    counts = columns[split].counts
    says = ", ".join(f"{count} {value}" for value, count in counts.items())
    torn = any(note.startswith(f"split: the column {split!r} is not used") for note in proposal.notes)
    if torn:
        return [f"# split: {_text(split)}    # not used: it divides groups (see below); {says}"]
    lines = ["split:", f"  column: {_text(split)}    # {says}"]
    for name, words in _SPLIT_WORDS.items():
        values = [value for value in counts if value.casefold() in words]
        if values:
            lines.append(f"  {name}: {_flow(values)}")
    return lines


def _image_lines(images: Sequence[Pattern], rows: int, proposal: Proposal) -> list[str]:
    first, *others = images
    lines = [f"image: {_text(first.text)}    # {first.found} of {rows} rows have it"]
    if first.found < rows:
        proposal.notes.append(f"image: {rows - first.found} rows have no image by {first.text}; they are left out")
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


def _gaps(column: Column) -> str:
    missing = len(column.cells) - len(column.known)
    return f", {missing} missing" if missing else ""


def _is_number(text: str) -> bool:
    return as_number(text) is not None


def _name(column: str) -> str:
    """A column's name as that of a task."""
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in column)
    return name.strip("._-") or "_".join(sorted(words_of(column))) or "label"


def _comment(text: str) -> list[str]:
    """A note as lines of a comment."""
    return textwrap.wrap(text, 116, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)


class _Dumper(yaml.SafeDumper):
    """Writes what a cohort file reads as text (1, yes, 007) without quotes."""


_Dumper.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":merge"))]
    for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def _text(value: str) -> str:
    """A scalar of a cohort file."""
    return _dump(value, _Dumper)


def _flow(values: Sequence[str]) -> str:
    """A list of a cohort file on one line."""
    return _dump(list(values), _Dumper)


def _item(value: str) -> str:
    """A scalar of a cohort file that may stand in a list or mapping on one line."""
    return _flow([value])[1:-1]


def _plain(value: str) -> str:
    """A scalar of an experiment file."""
    return _dump(value, yaml.SafeDumper)


def _dump(value: object, dumper: type[yaml.SafeDumper]) -> str:
    text = yaml.dump(value, Dumper=dumper, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
