"""What ``crosstask check cohort`` finds: in the table, in the files, and between the cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations

import numpy as np

from crosstask.datasets.base import SPLITS, Case, CaseData, Issue
from crosstask.datasets.cohort.labels import ClassesLabel, NumberLabel, OneHotLabel, is_missing
from crosstask.datasets.cohort.rows import CohortRows, same_id
from crosstask.datasets.cohort.spec import IMAGE
from crosstask.datasets.cohort.spelling import is_typo
from crosstask.errors import InputError
from crosstask.io.tables import Row


def check_cohort(rows: CohortRows, read: Callable[[Case], CaseData]) -> Iterator[Issue]:
    """Everything that is wrong with a cohort; reads every image.

    Args:
        rows: its table.
        read: reads a case.
    """
    yield from _check_table(rows)
    digests: dict[str, list[str]] = {}
    masks: Counter[tuple[str, str]] = Counter()
    empty: Counter[tuple[str, str]] = Counter()
    soft: dict[str, list[tuple[str, float]]] = {}
    labels: dict[str, dict[str, dict[str, float]]] = {name: {} for name in rows.spec.labels}
    for case_id, (row, *_) in rows.by_id.items():
        data = yield from _check_case(rows, case_id, row, read)
        if data is None:
            continue
        image = np.ascontiguousarray(data.arrays[IMAGE])
        content = blake2b(repr((image.shape, image.dtype.str)).encode(), digest_size=16)
        content.update(image.data.cast("B"))
        digests.setdefault(content.hexdigest(), []).append(case_id)
        masks.update((task, name) for task in rows.spec.masks for name in data.channels[task])
        for place, threshold in data.information.get("soft", {}).items():
            soft.setdefault(place, []).append((case_id, threshold))
        blank = _empty_masks(rows, data)
        empty.update(blank)
        if blank:
            names = ", ".join(name for _, name in blank)
            yield Issue(case_id, "note", f"empty masks: {names}; nothing is outlined ({row.place})")
        for name, known in rows.labels_of(row)[0].items():
            labels[name][case_id] = known
    yield from _check_pixels(rows, digests)
    yield from _check_masks(rows, masks, empty, sum(map(len, digests.values())))
    yield from _check_softness(rows, soft)
    yield from _check_labels(rows, labels)


def _check_table(rows: CohortRows) -> Iterator[Issue]:
    """Ids, groups and splits."""
    table, spec = rows.table, rows.spec
    for note in table.notes:
        yield Issue("table", "warning", f"{table.path}: {note}")
    for row in table.rows:
        if rows.id_of(row) is None:
            message = f"{table.path}, {row.place}: no id ({spec.case}), the row is skipped; fill it in"
            yield Issue(f"{row.place}", "error", message)
    for case_id, same in rows.by_id.items():
        if len(same) > 1:
            yield Issue(case_id, "error", f"{table.path}: {same_id(case_id, same)}")
    if spec.group is None:
        message = "no group is given, so each case is its own: name the patient's column if one has several cases"
        yield Issue("group", "note", message)
    if spec.split is None:
        return
    splits: dict[str, dict[str, list[str]]] = {}
    counts: Counter[str] = Counter()
    for case_id, (row, *_) in rows.by_id.items():
        split, value = rows.split_of(row), row[spec.split.column]
        counts[split or "no split"] += 1
        if split is not None:
            splits.setdefault(rows.group_of(row) or case_id, {}).setdefault(split, []).append(case_id)
        elif not is_missing(value, spec.missing):
            message = (
                f"{table.path}, {row.place}: column {spec.split.column!r} holds {value!r}, which is no split; add "
                "it to split.train, split.validation or split.test"
            )
            yield Issue(case_id, "error", message)
    for group, parts in splits.items():
        if len(parts) > 1:
            where = " and ".join(f"{split} ({_some(ids)})" for split, ids in parts.items())
            message = f"the group is in {where}; fix the column, or leave split out and draw splits by group"
            yield Issue(group, "error", message)
    shares = ", ".join(f"{counts[split]} {split}" for split in (*SPLITS, "no split") if counts[split])
    yield Issue("split", "note", f"of {sum(counts.values())} cases: {shares}")


def _check_case(
    rows: CohortRows, case_id: str, row: Row, read: Callable[[Case], CaseData]
) -> Generator[Issue, None, CaseData | None]:
    """One case; gives what was read of it, or None."""
    try:
        missing = [path for path in rows.images_of(row) if not path.exists()]
        if missing:
            raise InputError(
                f"{rows.no_image(missing[0])} ({row.place}), the case is skipped; add it or remove the row"
            )
        known, faults = rows.labels_of(row)
        for fault in faults:
            yield Issue(case_id, "error", fault)
        case = rows.case(case_id, row)
        if faults or case is None:
            return None
        data = read(case)
    except InputError as error:
        yield Issue(case_id, "error", str(error))
        return None
    except OSError as error:
        message = f"{error.filename or case_id}: {error.strerror or error}; make the file readable"
        yield Issue(case_id, "error", message)
        return None
    yield from _check_read(rows, case_id, row, data)
    if lacking := _lacking(rows, known, data):
        yield Issue(case_id, "note", f"missing labels: {', '.join(lacking)}")
    return data


def _check_read(rows: CohortRows, case_id: str, row: Row, data: CaseData) -> Iterator[Issue]:
    """What is to be said of a case that could be read."""
    if "converted" in data.information:
        yield Issue(case_id, "note", f"{rows.images_of(row)[0]}: converted, {data.information['converted']}")
    for path in data.information.get("displaced", ()):
        message = f"{path}: lies elsewhere in space than its image, by half a voxel or more; make sure that they fit"
        yield Issue(case_id, "warning", message)
    yield from data.issues
    if rows.spec.group is not None and rows.group_of(row) is None:
        message = f"{rows.table.path}, {row.place}: no group ({rows.spec.group}); taken as a group of its own"
        yield Issue(case_id, "warning", message)


def _lacking(rows: CohortRows, known: Mapping[str, Mapping[str, float]], data: CaseData) -> list[str]:
    """Masks and labels that a case does not have."""
    lacking = [
        f"mask {name}"
        for task, section in rows.spec.masks.items()
        for name in section.classes
        if name not in data.channels[task]
    ]
    for name, label in rows.spec.labels.items():
        channels = label.channels(name)
        lacking += [channel for channel in channels if channel not in known[name]] if known[name] else [name]
    return lacking


def _check_pixels(rows: CohortRows, digests: Mapping[str, Sequence[str]]) -> Iterator[Issue]:
    """The same picture under two ids."""
    for ids in digests.values():
        if len(ids) < 2:
            continue
        of = {case_id: rows.by_id[case_id][0] for case_id in ids}
        splits = {split for row in of.values() if (split := rows.split_of(row)) is not None}
        others = _some(ids[1:])
        if len(splits) > 1:
            message = f"the same pixels as {others}, in another split ({', '.join(sorted(splits))}); remove one of them"
            yield Issue(ids[0], "error", message)
        else:
            groups = {rows.group_of(row) or case_id for case_id, row in of.items()}
            hint = "splits keep them together" if len(groups) > 1 else "they are of one group"
            yield Issue(ids[0], "warning", f"the same pixels as {others}; {hint}, but remove one of them if you can")


def _empty_masks(rows: CohortRows, data: CaseData) -> list[tuple[str, str]]:
    """(task, class) of the masks that are there and have nothing in them."""
    return [
        (task, name)
        for task in rows.spec.masks
        for name, mask in zip(data.channels[task], data.arrays[task], strict=True)
        if not mask.any()
    ]


def _check_masks(
    rows: CohortRows, masks: Mapping[tuple[str, str], int], empty: Mapping[tuple[str, str], int], cases: int
) -> Iterator[Issue]:
    for task, section in rows.spec.masks.items():
        for name, source in section.classes.items():
            count = masks.get((task, name), 0)
            if count:
                blank = f", {empty[task, name]} of them an empty one" if empty.get((task, name)) else ""
                yield Issue(f"masks.{task}", "note", f"{name}: {count} of {cases} cases have a mask{blank}")
            elif cases:
                first = rows.resolved(source.path, rows.table.rows[0])
                message = f"{name}: no case has a mask; {rows.table.rows[0].place} would have {first}"
                yield Issue(f"masks.{task}", "error", f"{message}; fix the path {source.path!r}")


def _check_softness(rows: CohortRows, soft: Mapping[str, Sequence[tuple[str, float]]]) -> Iterator[Issue]:
    """Masks with soft edges or artefacts, of which the class takes all, or nothing but the exact values."""
    for task, section in rows.spec.masks.items():
        for name, source in section.classes.items():
            cases = soft.get(f"{task}.{name}", ())
            if not cases:
                continue
            does = "all but zero belongs" if source.values == ">0" else "only the exact values belong"
            message = (
                f"{name}: the masks of {_some([case for case, _ in cases])} have soft edges or artefacts of "
                f"compression (JPEG), and {does} to the class; give it values: '>{min(value for _, value in cases):g}'"
            )
            yield Issue(f"masks.{task}", "warning", message)


def _check_labels(rows: CohortRows, labels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[Issue]:
    """How each label is distributed, and whether there is anything to learn."""
    for name, cases in labels.items():
        label = rows.spec.labels[name]
        channels = label.channels(name)
        values = {own: np.array([known[own] for known in cases.values() if own in known]) for own in channels}
        labelled = sum(bool(known) for known in cases.values())
        where = f"labels.{name}"
        if not cases:
            continue
        if isinstance(label, ClassesLabel):
            for first, second in combinations(label.classes, 2):
                if is_typo(first, second):
                    message = f"classes {first!r} and {second!r} differ by one letter; if they are one, join them by "
                    yield Issue(where, "warning", f"{message}synonyms: {{{label.column}: {{{first}: [{second}]}}}}")
        if not labelled:
            yield Issue(where, "warning", "every case lacks it; fix the column, or leave the label out")
            continue
        for own, numbers in values.items():
            of = "" if own == name else f"{own}: "
            if not len(numbers):
                yield Issue(where, "warning", f"{of}every case lacks it; fix the column, or leave it out")
            elif (numbers == numbers[0]).all():
                what = f"has the value {numbers[0]:g}" if isinstance(label, NumberLabel) else _says(numbers[0])
                yield Issue(where, "warning", f"{of}every labelled case {what}; there is nothing to learn")
        yield Issue(where, "note", f"{labelled} of {len(cases)} cases labelled; {_distribution(label, values)}")


def _says(value: float) -> str:
    return "is positive" if value else "is negative"


def _distribution(label: object, values: Mapping[str, np.ndarray]) -> str:
    if isinstance(label, NumberLabel):
        numbers = next(iter(values.values()))
        unit = f" {label.unit}" if label.unit else ""
        return f"{numbers.min():g} to {numbers.max():g}, median {np.median(numbers):g}{unit}"
    if isinstance(label, (ClassesLabel, OneHotLabel)):
        return ", ".join(f"{int(numbers.sum())} {own}" for own, numbers in values.items())
    if len(values) == 1:
        numbers = next(iter(values.values()))
        return f"{int(numbers.sum())} positive, {int((1 - numbers).sum())} negative"
    return ", ".join(f"{int(numbers.sum())} of {len(numbers)} {own}" for own, numbers in values.items())


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids) if len(ids) <= 4 else f"{', '.join(ids[:3])} and {len(ids) - 3} more"
