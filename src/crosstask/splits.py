"""Which cases train, choose the best epoch, and test."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

from crosstask.csv_cells import csv_text, read_cell
from crosstask.datasets.base import SPLITS, Split
from crosstask.errors import InputError
from crosstask.experiment import DatasetSection, SplitSection
from crosstask.files import write_atomically, writing
from crosstask.store import Store
from crosstask.store.statistics import digests_of, labels_of

SPLIT_FILE = "splits.csv"
SPLIT_FOLDER = "splits"
"""Of splits by seed, a file ``seedN.csv`` each."""
_NOTHING = 1e-9  # shares of cases are real numbers, and their sums not exact
PartT = TypeVar("PartT")


class Grouped(Protocol):
    """A case, raw or prepared."""

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def split(self) -> str: ...


def splits_of(
    store: Store, section: DatasetSection, image_array: str, *, needed: Sequence[Split] = SPLITS
) -> dict[Split, list[str]]:
    """Case ids of each split of a store: :func:`split_cases` with the labels and the pixels of its cases.

    Raises:
        InputError: as there; or no case has the labels to stratify by, or they are no classes.
    """
    ids = [case.id for case in store.cases]
    strata: dict[str, str] = {}
    if section.splits.stratify is not None and section.splits.rule in ("drawn", "folds"):
        labels = labels_of(store, ids, section.splits.stratify)
        if not any(labels.values()):
            raise InputError(
                f"dataset.splits.stratify: no case of {section.name} has labels {section.splits.stratify!r}; name "
                "labels of whole cases that the data set has"
            )
        if any(value not in (0, 1) for values in labels.values() for value in values.values()):
            raise InputError(
                f"dataset.splits.stratify: {section.splits.stratify!r} of {section.name} is a quantity; name an "
                "image-level task that has classes"
            )
        strata = {case: _stratum(values) for case, values in labels.items()}
    return split_cases(store.cases, section, needed=needed, strata=strata, digests=digests_of(store, ids, image_array))


def split_cases(
    cases: Sequence[Grouped],
    section: DatasetSection,
    *,
    needed: Sequence[Split] = SPLITS,
    strata: Mapping[str, str] | None = None,
    digests: Mapping[str, str] | None = None,
) -> dict[Split, list[str]]:
    """Case ids of each split, by the experiment's rule; no group is in two, and no picture.

    What is drawn is drawn by a hash of the groups' names, so that the choice depends neither on the order nor on the
    number of other cases by more than the cut-offs. Groups that share a picture are drawn as one. A split, and each
    label in it, gets its share of the cases, give or take less than one group.

    Args:
        cases: the cases.
        section: the data set and its rule.
        needed: splits that must not be empty.
        strata: ``{case: label}``; a drawn split gets every label in equal shares.
        digests: ``{case: digest of the image's pixels}``.

    Raises:
        InputError: a split is empty; a group, or the same pixels under two ids, is in two; or a case has no split.
    """
    rule = section.splits
    groups = _joined({case.id: case.group for case in cases}, digests or {})
    split_by_case = _by_rule(cases, section, groups, strata or {})
    _refuse_leaks(cases, section, groups, split_by_case, digests or {})
    chosen: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for case in cases:
        if case.id in split_by_case:
            chosen[split_by_case[case.id]].append(case.id)
    if section.limit is not None:
        chosen = {split: ids[: section.limit] for split, ids in chosen.items()}
    for split in needed:
        if not chosen[split]:
            raise InputError(f"{section.root}: the {split} split of {section.name} is empty; {_remedy(split, rule)}")
    return chosen


def _remedy(split: Split, rule: SplitSection) -> str:
    """What fills an empty split."""
    if split == "test" and rule.rule == "original":
        return "add its folder, or set dataset.splits=validation_as_test to test on the validation cases"
    if split == "validation" and rule.rule == "original":
        return "set dataset.splits=validation_from_train to draw it from the training cases"
    return {
        "drawn": "raise its share in dataset.splits.fractions, or add cases",
        "folds": "set fewer dataset.splits.folds, or another validation_fraction, or add cases",
        "file": f"add lines to {rule.file}",
    }.get(rule.rule, "add cases to it")


def _by_rule(
    cases: Sequence[Grouped], section: DatasetSection, groups: Mapping[str, str], strata: Mapping[str, str]
) -> dict[str, Split]:
    """``{case: split}``; cases that take part in none are left out."""
    rule = section.splits
    if rule.rule == "file":
        return _from_file(rule, groups)
    if rule.rule == "drawn":
        return dict(_drawn(groups, strata, dict(zip(SPLITS, rule.fractions, strict=True)), rule.seed))
    if rule.rule == "folds":
        fold = _drawn(groups, strata, {index: 1 / rule.folds for index in range(rule.folds)}, rule.seed)
        rest = {case: groups[case] for case in groups if fold[case] != rule.fold}
        shares: dict[Split, float] = {"train": 1 - rule.validation_fraction, "validation": rule.validation_fraction}
        # by another hash, or most folds would choose by the same cases
        return {**dict.fromkeys(groups, "test"), **_drawn(rest, strata, shares, f"{rule.seed}/{rule.fold}")}
    return _as_given(cases, section, groups)


def _as_given(cases: Sequence[Grouped], section: DatasetSection, groups: Mapping[str, str]) -> dict[str, Split]:
    """The data set's own split; by the rules ``validation_*`` with validation cases drawn from the training cases."""
    rule = section.splits
    given = {case.id: case.split for case in cases}
    without = next((case for case, split in given.items() if split not in SPLITS), None)
    if without is not None:
        raise InputError(
            f"dataset.splits: {section.name} gives case {without} no split; set dataset.splits.rule=drawn (or folds)"
        )
    if rule.rule == "original":
        return {case: cast("Split", split) for case, split in given.items()}
    if rule.rule == "validation_from_train":
        given = {case: "test" if split == "test" else "train" for case, split in given.items()}
    training = sorted({groups[case] for case, split in given.items() if split == "train"}, key=_rank(rule.seed))
    # at least one group on each side, where there are two
    held_out = set(training[: min(max(1, round(rule.validation_fraction * len(training))), len(training) - 1)])
    chosen: dict[str, Split] = {}
    for case, split in given.items():
        if split == "test" and rule.rule == "validation_from_train":
            chosen[case] = "test"
        elif split != "test":
            held: Split = "validation" if groups[case] in held_out else "train"
            chosen[case] = "test" if split == "validation" else held
    return chosen


def _drawn(
    groups: Mapping[str, str], strata: Mapping[str, str], shares: Mapping[PartT, float], seed: int | str
) -> dict[str, PartT]:
    """Each case's part, stratum by stratum: each part gets its share of each stratum, give or take less than a group.

    In the order of their hash, groups fill one part after the other up to its share. Those that would overfill every
    part go to one that is not full, and there to the one that is furthest behind over all strata: so many small strata
    do not all favour the same part. A group belongs to the stratum of most of its cases.
    """
    members: dict[str, list[str]] = {}
    for case, group in groups.items():
        members.setdefault(group, []).append(case)
    by_stratum: dict[str, list[str]] = {}
    for group in sorted(members, key=_rank(seed)):
        counts = Counter(strata.get(case, "") for case in members[group])
        by_stratum.setdefault(min(counts, key=lambda label: (-counts[label], label)), []).append(group)
    parts: dict[str, PartT] = {}
    behind = dict.fromkeys(shares, 0.0)
    for stratum in sorted(by_stratum):
        total = sum(len(members[group]) for group in by_stratum[stratum])
        room = {part: share * total for part, share in shares.items()}
        for part in shares:
            behind[part] += room[part]
        for group in by_stratum[stratum]:
            size = len(members[group])
            fitting = [part for part in shares if room[part] > size - _NOTHING]
            # of equals the smallest, which is the first to stay empty
            part = (
                fitting[0]
                if fitting
                else max(
                    (part for part in shares if room[part] > _NOTHING),
                    key=lambda name: (round(behind[name], 6), -shares[name]),
                )
            )
            room[part] -= size
            behind[part] -= size
            parts.update(dict.fromkeys(members[group], part))
    return parts


def _joined(groups: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    """Groups that share a picture made one, under the name that comes first."""
    parent = {group: group for group in groups.values()}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for case, group in groups.items():
        if case in digests:
            low, high = sorted((root(group), root(first.setdefault(digests[case], group))))
            parent[high] = low
    return {case: root(group) for case, group in groups.items()}


def _refuse_leaks(
    cases: Sequence[Grouped],
    section: DatasetSection,
    groups: Mapping[str, str],
    splits: Mapping[str, Split],
    digests: Mapping[str, str],
) -> None:
    """One group, or the same pixels under two ids, in two splits: the test would not be one.

    Args:
        cases: the cases.
        section: the data set and its rule.
        groups: ``{case: group}``, groups that share a picture joined.
        splits: ``{case: split}``.
        digests: ``{case: digest of the image's pixels}``.
    """
    where = section.splits.file or section.root
    chosen = [case for case in cases if case.id in splits]
    pair = _divided(chosen, {case.id: case.group for case in chosen}, splits)
    if pair is not None:
        raise InputError(
            f"{where}: group {pair[0].group!r} is in {_both(pair, splits)}; fix the split, or set "
            "dataset.splits.rule=drawn"
        )
    pair = _divided(chosen, digests, splits)
    if pair is not None:
        raise InputError(
            f"{where}: the same pixels are in {_both(pair, splits)}; remove one, or set dataset.splits.rule=drawn, "
            "which keeps them together"
        )
    pair = _divided(chosen, groups, splits)
    if pair is not None:
        raise InputError(
            f"{where}: groups {pair[0].group!r} and {pair[1].group!r} share pictures with cases that are left out, and "
            f"are in {_both(pair, splits)}; fix the groups, or set dataset.splits.rule=drawn"
        )


def _divided(
    cases: Sequence[Grouped], keys: Mapping[str, str], splits: Mapping[str, Split]
) -> tuple[Grouped, Grouped] | None:
    """The first two cases of the same key that are in different splits."""
    first: dict[str, Grouped] = {}
    for case in cases:
        if case.id in keys:
            other = first.setdefault(keys[case.id], case)
            if splits[other.id] != splits[case.id]:
                return other, case
    return None


def _both(pair: tuple[Grouped, Grouped], splits: Mapping[str, Split]) -> str:
    return " and ".join(f"{splits[case.id]} ({case.id})" for case in pair)


def _from_file(rule: SplitSection, groups: Mapping[str, str]) -> dict[str, Split]:
    assert rule.file is not None  # by the section's own check
    try:
        reader = csv.DictReader(io.StringIO(rule.file.read_bytes().decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{rule.file}: cannot be read as a table of splits ({error}); fix dataset.splits.file"
        ) from None
    chosen: dict[str, Split] = {}
    for number, row in rows:
        case, split = row.get("case"), row.get("split")
        if case is None or split not in SPLITS:
            raise InputError(
                f"{rule.file}, line {number}: needs a case, and a split of {', '.join(SPLITS)}; not {split!r}"
            )
        case = written if (written := read_cell(case)) in groups else case  # as write_splits wrote it, or another
        if case not in groups:
            raise InputError(
                f"{rule.file}, line {number}: there is no case {case!r} among the prepared ones; take the line out, or "
                "see crosstask check"
            )
        if chosen.setdefault(case, cast("Split", split)) != split:
            raise InputError(f"{rule.file}, line {number}: case {case!r} is in {chosen[case]} too; take one line out")
    return chosen


def write_splits(path: Path, cases: Sequence[Grouped], splits: Mapping[Split, Sequence[str]]) -> None:
    """The splits as a CSV with the columns case, group and split, which ``dataset.splits.rule=file`` reads."""
    groups = {case.id: case.group for case in cases}
    rows = [[case, groups[case], split] for split in SPLITS for case in splits[split]]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, csv_text([["case", "group", "split"], *rows]))


def _stratum(values: Mapping[str, float]) -> str:
    """A case's labels as one: the names of those that are positive; all negative is not the same as no label."""
    return ("+".join(sorted(name for name, value in values.items() if value > 0)) or "+") if values else ""


def _rank(seed: int | str) -> Callable[[str], tuple[str, str]]:
    """Key that orders groups by a hash of their names."""

    def rank(group: str) -> tuple[str, str]:
        name = group if seed == 0 else f"{seed}/{group}"
        return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(), group

    return rank
