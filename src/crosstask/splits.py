"""Which cases train, choose the best epoch, and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, cast

from crosstask.datasets.base import SPLITS, Split
from crosstask.errors import InputError
from crosstask.experiment import DatasetSection


class Grouped(Protocol):
    """A case, raw or prepared."""

    @property
    def id(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def split(self) -> str: ...


def split_cases(
    cases: Sequence[Grouped], section: DatasetSection, *, needed: Sequence[Split] = SPLITS
) -> dict[Split, list[str]]:
    """Case ids of each split, by the experiment's rule; no group is in two.

    With ``validation_as_test`` the validation groups are drawn from the training groups by a hash of their names, so
    that the choice depends neither on the order nor on the number of other cases by more than the cut-off.

    Raises:
        InputError: a split is empty, or a group is in two.
    """
    chosen: dict[Split, list[str]] = {split: [] for split in SPLITS}
    held_out: set[str] = set()
    if section.splits == "validation_as_test":
        groups = sorted({case.group for case in cases if case.split == "train"}, key=_rank)
        # at least one group on each side, where there are two
        held_out = set(groups[: min(max(1, round(section.validation_fraction * len(groups))), len(groups) - 1)])
    where: dict[str, Split] = {}
    for case in cases:
        split = cast("Split", case.split)
        if section.splits == "validation_as_test":
            if split == "test":
                continue
            split = "test" if split == "validation" else "validation" if case.group in held_out else "train"
        if where.setdefault(case.group, split) != split:
            raise InputError(
                f"{section.root}: group {case.group!r} is in {where[case.group]} and {split}; mend the split"
            )
        chosen[split].append(case.id)
    if section.limit is not None:
        chosen = {split: ids[: section.limit] for split, ids in chosen.items()}
    for split in needed:
        if not chosen[split]:
            hint = (
                "add its folder, or set dataset.splits=validation_as_test to test on the validation cases"
                if split == "test" and section.splits == "original"
                else "add cases to it"
            )
            raise InputError(f"{section.root}: the {split} split of {section.name} is empty; {hint}")
    return chosen


def _rank(group: str) -> str:
    return hashlib.blake2b(group.encode(), digest_size=8).hexdigest()
