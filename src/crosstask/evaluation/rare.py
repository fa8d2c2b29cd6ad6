"""Classes of which the test cases hold few: whether they count, and what is said of them. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from crosstask.functional.cohort import LEAST_POSITIVES, Cohort, class_counts, comparable, sides_of

_KEY = "evaluation.least_positives"
_WORDS = ("positive", "negative")


def fewest(cohorts: Iterable[Cohort], group: Sequence[str]) -> np.ndarray:
    """The fewest positive and negative groups of cases that a class has with any seed: ``2 c``.

    So that a class counts with every seed, or with none.

    Args:
        cohorts: of each seed, the same cases and classes.
        group: of each case.
    """
    return np.min([class_counts(cohort, group) for cohort in cohorts], axis=0)


def left_out(metric: str, cohort: Cohort, names: Sequence[str], counts: np.ndarray, least: int) -> list[str]:
    """The classes that a metric leaves out for want of cases.

    Args:
        metric: its name.
        cohort: the cases, of any seed.
        names: of the classes.
        counts: by :func:`fewest`.
        least: positives that a class must have to count.
    """
    sides = list(sides_of(metric, exclusive=cohort.exclusive))
    return [name for name, fewest_of in zip(names, counts[sides].T, strict=True) if (fewest_of < least).any()]


@dataclass(frozen=True)
class _Sides:
    """The sides of each class that a metric is made of (positives, negatives or both), and their cases, in words.

    Attributes:
        metric: its name.
        exclusive: whether the classes exclude each other.
        names: of the classes.
        counts: by :func:`fewest`.
        cases: what is counted: test cases, or groups of them.
    """

    metric: str
    exclusive: bool
    names: Sequence[str]
    counts: np.ndarray
    cases: str

    @property
    def made_of(self) -> tuple[int, ...]:
        """Which rows of the counts; see :func:`crosstask.functional.cohort.sides_of`."""
        return sides_of(self.metric, exclusive=self.exclusive)

    @property
    def words(self) -> tuple[str, str]:
        """What the sides are called; nothing where a case of a class is all that it can be."""
        return ("", "") if self.exclusive and self.made_of == (0,) else _WORDS

    @property
    def several(self) -> bool:
        """Whether the metric takes two classes to say anything."""
        return self.exclusive and len(self.made_of) == 1 and self.metric not in ("sensitivity", "specificity")

    @property
    def whole(self) -> bool:
        """Whether the metric is of all cases, whatever they are."""
        return self.exclusive and self.metric == "accuracy"

    def called(self, joint: str) -> str:
        """The cases of the sides, with a word between these."""
        return f"{joint.join(self.words[side] for side in self.made_of)} {self.cases}".strip()

    def listed(self, low: int, high: int) -> str:
        """The classes that occur and have at least ``low`` and fewer than ``high`` cases on a side, with these."""
        there = [at for at in range(len(self.names)) if (self.counts[list(self.made_of), at] > 0).all()]
        found = [
            (self.names[at], int(self.counts[side, at]), self.words[side]) for at in there for side in self.made_of
        ]
        return ", ".join(f"{name} ({f'{count} {word}'.strip()})" for name, count, word in found if low <= count < high)


def rare_remarks(
    task: str,
    metric: str,
    cohorts: Sequence[Cohort],
    names: Sequence[str],
    counts: np.ndarray,
    least: int,
    *,
    grouped: bool,
) -> list[str]:
    """What to say of rare classes: that they are left out of a metric, leave it undefined, or count because asked.

    Args:
        task: its name.
        metric: its name.
        cohorts: the cases of each seed.
        names: of the classes.
        counts: by :func:`fewest`.
        least: positives that a class must have to count.
        grouped: several cases belong together somewhere, so that groups of them are counted.
    """
    cohort = cohorts[0]
    cases = "groups of test cases" if grouped else "test cases"
    sides = _Sides(metric, cohort.exclusive, names, counts, cases)
    counted, every, usual = (comparable(metric, cohort, number, counts) for number in (least, 1, LEAST_POSITIVES))
    if not every.any():
        alone = not any(comparable(metric, own).any() for own in cohorts)
        said = [] if alone else [_never_defined(sides)]
    elif not counted.any():
        said = [_not_defined(sides, least)]
    else:
        said = [*_leaving_out(sides, least), *_as_asked(sides, least, all_usual=bool(usual.all()))]
    return [f"{task}: {metric} {words}." for words in said]


def _never_defined(sides: _Sides) -> str:
    """That no class can be told from others, however few cases it may have."""
    what = "no two classes are" if sides.several else "no class is"
    return f"is not defined, since {what} in the test cases of every seed"


def _not_defined(sides: _Sides, least: int) -> str:
    """That every class has too few cases."""
    lack = "fewer than two classes have" if sides.several else "no class has"
    few = sides.listed(1, least)
    return f"is not defined, since {lack} at least {least} {sides.called(' and ')} ({few}); {_KEY}=1 counts them all"


def _leaving_out(sides: _Sides, least: int) -> list[str]:
    """Which classes have too few cases to count, if any."""
    few = sides.listed(1, least)
    if sides.whole or not few:
        return []
    return [f"leaves out classes with fewer than {least} {sides.called(' or ')}: {few}; {_KEY}=1 counts them too"]


def _as_asked(sides: _Sides, least: int, *, all_usual: bool) -> list[str]:
    """Which classes count though they have few cases, if any; ``all_usual`` where every class counts by default."""
    few = sides.listed(least, LEAST_POSITIVES)
    if not few or (sides.whole and all_usual):
        return []
    words = f"classes with fewer than {LEAST_POSITIVES} {sides.called(' or ')}"
    return [f"counts {words}, as asked ({_KEY}={least}): {few}"]


def by_option(remark: str) -> str:
    """A remark where the rule is an option of ``crosstask compare``, and no key of an experiment."""
    return remark.replace(f"{_KEY}=", "--least-positives ")
