"""The split that a table gives: which column, what its values mean, and how experiments should take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crosstask.datasets.cohort.labels import POSITIVE
from crosstask.datasets.cohort.profile import Column, words_of
from crosstask.datasets.cohort.proposal import Proposal
from crosstask.datasets.cohort.text import flow_of, text_of

_WORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev", "tune", "tuning"},
    "test": {"test", "testing", "holdout"},
}
_FILLING = {"set", "data", "dataset", "split", "cohort", "subset", "is", "in"}
_NAMES = {"split", "fold", "partition", "subset", "set"}
"""A column called so and no more than these is no label."""


@dataclass(frozen=True)
class ProposedSplit:
    """A column of splits.

    Attributes:
        column: its name.
        says: how many cases have each value.
        values: the values that mean each split; empty where the column is not used.
        why: why it is not used, for the comment.
    """

    column: str
    says: str
    values: Mapping[str, list[str]]
    why: str = ""

    def lines(self) -> list[str]:
        """Of the cohort file."""
        if not self.values:
            return [f"# split: {text_of(self.column)}    # not used: {self.why} (see below); {self.says}"]
        lines = ["split:", f"  column: {text_of(self.column)}    # {self.says}"]
        return lines + [f"  {name}: {flow_of(values)}" for name, values in self.values.items()]


def propose_split(columns: Mapping[str, Column], group: Column | None, proposal: Proposal) -> ProposedSplit | None:
    """The column whose values are names of splits; the rule that an experiment should take is noted."""
    for column in columns.values():
        values = _values(column)
        if values is not None:
            return _used(column, values, group, proposal)
    for column in columns.values():
        if (
            words_of(column.name)
            and words_of(column.name) <= _NAMES
            and column.look in ("rating", "classes", "yes or no")
        ):
            proposal.notes.append(
                f"split: {column.name!r} looks like a split, and which of its values mean training and test is not "
                "known: not used; if it is one, write split: {column: ..., train: [...], test: [...]}"
            )
            return ProposedSplit(column.name, _says(column), {}, "its values are not known")
    return None


def _used(column: Column, values: dict[str, list[str]], group: Column | None, proposal: Proposal) -> ProposedSplit:
    """The column as it is used, and what that means for an experiment."""
    of = {value: name for name, texts in values.items() for value in texts}
    complete = len(column.known) == len(column.cells)
    if complete and group is not None:
        parts: dict[str, set[str]] = {}
        for name, cell in zip(group.cells, column.cells, strict=True):
            parts.setdefault(name, set()).add(of[cell])
        torn = sum(len(splits) > 1 for splits in parts.values())
        if torn:
            proposal.notes.append(
                f"split: the column {column.name!r} is not used: {torn} of its groups are in two splits; experiments "
                "draw splits by group instead"
            )
            return ProposedSplit(column.name, _says(column), {}, "it divides groups")
    if complete and set(values) == set(_WORDS):
        proposal.rule = "original"
    elif complete and set(values) == {"train", "validation"}:
        proposal.rule = "validation_as_test"
        proposal.notes.append(
            f"split: {column.name!r} names no test cases; experiments test on its validation cases, and draw "
            "others for validation from the training cases"
        )
    elif complete and set(values) == {"train", "test"}:
        proposal.rule = "validation_from_train"
        proposal.notes.append(
            f"split: {column.name!r} names no validation cases; experiments draw them from the training cases and keep "
            "the test set"
        )
    else:
        without = len(column.cells) - len(column.known)
        why = f"leaves {without} cases without a split" if without else "names no validation and no test cases"
        lost = ", and its test set is not kept" if "test" in values else ""
        proposal.notes.append(f"split: {column.name!r} {why}; experiments draw their own, by group{lost}")
    return ProposedSplit(column.name, _says(column), values)


def _values(column: Column) -> dict[str, list[str]] | None:
    """The values of each split, or None if the column's are no splits."""
    if column.look == "yes or no":
        (name, *more) = _meant(column.name) or [""]
        if more or name not in ("train", "test"):
            return None
        yes = [value for value in column.counts if value.casefold() in POSITIVE]
        no = [value for value in column.counts if value not in yes]
        return {"train": yes, "test": no} if name == "train" else {"train": no, "test": yes}
    found: dict[str, list[str]] = {}
    for value in column.counts:
        meant = _meant(value)
        if len(meant) != 1:
            return None
        found.setdefault(meant[0], []).append(value)
    return {name: found[name] for name in _WORDS if name in found} if "train" in found else None


def _meant(text: str) -> list[str]:
    """The splits that a text names, if it names nothing else."""
    words = words_of(text) - _FILLING
    meant = [name for name, own in _WORDS.items() if words & own]
    return meant if words <= set().union(*_WORDS.values()) else []


def _says(column: Column) -> str:
    return ", ".join(f"{count} {value}" for value, count in column.counts.items())
