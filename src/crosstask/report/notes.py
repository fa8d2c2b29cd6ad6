"""What a reader of the comparison must know, beside every form of the table. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from crosstask.evaluation.comparison import Cell, Comparison
from crosstask.evaluation.unpredicted import Unpredicted
from crosstask.evaluation.verdict import UNDECIDED
from crosstask.methods import BASELINE, label_of
from crosstask.report.verdicts import asked, within_margin
from crosstask.report.words import (
    CASES_ONLY,
    NOTHING_TO_SAY,
    RUNS_AND_CASES,
    covered,
    covers_of,
    has_interval,
    is_average,
    level_text,
    trained_once,
)


def never_predicted(found: Sequence[Unpredicted], label: Callable[[str], str] = label_of) -> str:
    """Classes that runs of each method never predict, and with which seeds; empty where there are none."""
    seeds: dict[str, dict[str, list[int]]] = {}
    for one in found:
        name = one.task if one.name in ("", one.task) else f"{one.task} {one.name}"
        seeds.setdefault(one.method, {}).setdefault(name, []).append(one.seed)
    return "; ".join(
        f"{label(method)}: " + ", ".join(f"{name} ({_seeds_text(own)})" for name, own in classes.items())
        for method, classes in seeds.items()
    )


def _seeds_text(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"


def table_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences to stand under a table of one or several data sets."""
    notes = [*_of_intervals(comparisons), *_of_verdicts(comparisons), *_of_near_zero(comparisons)]
    for comparison in comparisons:
        where = f"{comparison.dataset}: " if len(comparisons) > 1 else ""
        notes += [f"{where}{remark}" for remark in (*_without(comparison), *comparison.remarks)]
        if comparison.unpredicted:
            notes.append(
                f"Warning: {where}never predicted where it is: "
                f"{never_predicted(comparison.unpredicted, comparison.label)}. Such a figure tells of a training that "
                "failed rather than of the method: train longer, or with other seeds."
            )
    return notes


def _of_intervals(comparisons: Sequence[Comparison]) -> list[str]:
    """What the intervals cover, and what stands beside them."""
    found = [
        (comparison, covers_of(row, cell, comparison))
        for comparison in comparisons
        for row in comparison.rows
        for cell in (*row.cells.values(), row.mean)
        if has_interval(cell)
    ]
    if not found:
        return []
    kinds = [covers for _, covers in found]
    averages = dict.fromkeys(
        covers.removesuffix(f": {NOTHING_TO_SAY}") for comparison, covers in found if is_average(comparison)
    )
    return [
        *_of_both_chances(comparisons, kinds),
        *_of_single_runs(comparisons, kinds),
        _of_figures_beside(comparisons),
        *(f"Average: its intervals cover {covers}." for covers in averages),
        *_of_splits(comparisons),
    ]


def _of_both_chances(comparisons: Sequence[Comparison], kinds: Sequence[str]) -> list[str]:
    """What an interval says that covers runs and cases; ``kinds`` is what each covers, in words."""
    if not any(RUNS_AND_CASES in covers for covers in kinds):
        return []
    return [
        f"Intervals [{covered(comparisons)}]: where the improvement may lie when both methods are trained anew and the "
        "test cases are drawn anew. Each stands for itself, so one may leave out zero where the verdict, adjusted for "
        "the number of methods, is not certain."
    ]


def _of_single_runs(comparisons: Sequence[Comparison], kinds: Sequence[str]) -> list[str]:
    """Which methods were trained once, so that no interval of theirs covers the training; ``kinds`` as above."""
    if all(map(trained_once, comparisons)):
        return [
            f"Intervals [{level_text(comparisons[0].level)}]: {CASES_ONLY}: {NOTHING_TO_SAY}. Another training of the "
            "same method may differ by more than the methods do; train each with several seeds."
        ]
    if not any(NOTHING_TO_SAY in covers for covers in kinds):
        return []
    names = dict.fromkeys(
        comparison.label(row.method) + f" ({comparison.dataset})" * (len(comparisons) > 1)
        for comparison in comparisons
        if not is_average(comparison)
        for row in comparison.rows
        if row.mean.runs == 1
    )
    return [
        f"One run alone: {', '.join(names)}. Intervals of it, and of what is compared with it, do not cover its "
        f"training: {NOTHING_TO_SAY}."
    ]


def _of_figures_beside(comparisons: Sequence[Comparison]) -> str:
    """What the figures beside the improvement are."""
    return (
        "Difference: M less that of the baseline, in its own unit (points: percentage points). Runs won: share of the "
        "pairs of a run and one of the baseline in which it is better, ties counting one half; cases won: share of the "
        "cases, mean over runs. Seeds' share: of the variance of the improvement, what more seeds would make smaller; "
        "the rest is the cases'"
        + ", where seeds with splits of their own differ by their cases, too" * any(one.by_seed for one in comparisons)
        + "."
    )


def _of_splits(comparisons: Sequence[Comparison]) -> list[str]:
    """What seeds with splits of their own mean for the intervals; nothing where there are none, or one run each."""
    if not any(comparison.by_seed for comparison in comparisons) or all(map(trained_once, comparisons)):
        return []
    cells = [cell for comparison in comparisons for row in comparison.rows for cell in (*row.cells.values(), row.mean)]
    told = any(math.isfinite(cell.gain.corrected.low) for cell in cells)
    beside = (
        "the interval of Nadeau and Bengio (2003) stands beside, which corrects for that"
        if told
        else "an interval corrected for that (Nadeau and Bengio 2003) cannot be given here"
    )
    return [
        "Every seed has a split of its own: methods are compared seed by seed. Training sets of the seeds overlap, of "
        f"which the interval knows nothing; {beside}."
    ]


def _of_verdicts(comparisons: Sequence[Comparison]) -> list[str]:
    """How the verdicts were made, and what they are worth."""
    rows = [asked(comparison) for comparison in comparisons]
    methods = max((_judged(row.mean for row in own) for own in rows), default=0)
    pairs = max((_judged(cell for row in own for cell in row.cells.values()) for own in rows), default=0)
    if not methods and not pairs:
        return []
    first = comparisons[0]
    tasks = f" The mean decides; single tasks are secondary, adjusted for {_count(pairs, 'comparison')}."
    return [
        f"Verdict at level {level_text(first.level)} with a margin of {first.margin:g} %: better or worse where p is "
        f"at most {1 - first.level:.3g}; equivalent where two one-sided tests find the difference within the margin (p "
        f"within margin); else {UNDECIDED}."
        + f" p is adjusted by Holm for {_count(methods, 'method')}." * bool(methods)
        + tasks * any(len(row.cells) > 1 for own in rows for row in own)
        + " Rank 1-3 means that these ranks cannot be told apart." * any(map(_tied, comparisons)),
        *_too_small_to_matter(comparisons),
    ]


def _judged(cells: Iterable[Cell]) -> int:
    """How many of them have a probability, for which it was adjusted."""
    return sum(math.isfinite(cell.gain.p) for cell in cells)


def _too_small_to_matter(comparisons: Sequence[Comparison]) -> list[str]:
    """What it means where a difference is certain, and certain to be within the margin; nothing where none is."""
    cells = [(one, cell) for one in comparisons for row in asked(one) for cell in (*row.cells.values(), row.mean)]
    if not any(within_margin(cell, one) for one, cell in cells):
        return []
    return [
        "Better or worse with p within margin below the same bound: there is a difference, and it is too small to "
        f"matter by the margin of {comparisons[0].margin:g} %."
    ]


def _tied(comparison: Comparison) -> bool:
    return any(row.rank is not None and row.rank[0] < row.rank[1] for row in comparison.rows)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _of_near_zero(comparisons: Sequence[Comparison]) -> list[str]:
    """Why there is no ratio to a baseline."""
    names = dict.fromkeys(
        comparison.label(comparison.baseline or BASELINE)
        for comparison in comparisons
        for row in comparison.rows
        for cell in row.cells.values()
        if " near 0" in cell.undefined or " is 0" in cell.undefined
    )
    return [
        f"{name} near 0: M of {name} is within four standard errors (over runs and cases) of zero, or below 5 % of "
        "the highest value (of an error: 1 % of the constant predictor's), so that a ratio to it says nothing; in its "
        "place stands the difference in the metric's own unit, and there is no mean and no rank."
        for name in names
    ]


def _without(comparison: Comparison) -> list[str]:
    """The mean with each task left out, where that is more than another task's own figure."""
    if len(comparison.measures) < 3:
        return []
    notes = []
    for row in asked(comparison):
        parts = [f"{gain:+.2f} % without {task}" for task, gain in row.mean.gain.without.items()]
        if parts:
            notes.append(f"Mean of {comparison.label(row.method)}: {', '.join(parts)}.")
    return notes
