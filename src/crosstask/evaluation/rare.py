"""Classes of which the test cases hold few: whether they count, and what is said of them. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    sides = sides_of(metric, exclusive=cohort.exclusive)
    cases = "groups of test cases" if grouped else "test cases"
    words = ("", "") if cohort.exclusive and sides == (0,) else _WORDS  # a case of a class is all that it can be
    few, enough = (f"{word.join(words[side] for side in sides)} {cases}".strip() for word in (" or ", " and "))
    counted, every, usual = (comparable(metric, cohort, number, counts) for number in (least, 1, LEAST_POSITIVES))
    several = cohort.exclusive and len(sides) == 1 and metric not in ("sensitivity", "specificity")

    def listed(low: int, high: int) -> str:
        there = [at for at in range(len(names)) if (counts[list(sides), at] > 0).all()]
        found = [(names[at], int(counts[side, at]), words[side]) for at in there for side in sides]
        return ", ".join(f"{name} ({f'{count} {word}'.strip()})" for name, count, word in found if low <= count < high)

    if not every.any():
        alone = not any(comparable(metric, own).any() for own in cohorts)
        what = "no two classes are" if several else "no class is"
        return [] if alone else [f"{task}: {metric} is not defined, since {what} in the test cases of every seed."]
    if not counted.any():
        lack = "fewer than two classes have" if several else "no class has"
        return [
            f"{task}: {metric} is not defined, since {lack} at least {least} {enough} ({listed(1, least)}); "
            f"{_KEY}=1 counts them all."
        ]
    whole = cohort.exclusive and metric == "accuracy"  # of all cases, whatever they are
    remarks = []
    if not whole and listed(1, least):
        remarks.append(
            f"{task}: {metric} leaves out classes with fewer than {least} {few}: {listed(1, least)}; "
            f"{_KEY}=1 counts them too."
        )
    if listed(least, LEAST_POSITIVES) and not (whole and usual.all()):
        remarks.append(
            f"{task}: {metric} counts classes with fewer than {LEAST_POSITIVES} {few}, as asked "
            f"({_KEY}={least}): {listed(least, LEAST_POSITIVES)}."
        )
    return remarks
