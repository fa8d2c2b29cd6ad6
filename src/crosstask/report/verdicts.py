"""The verdict on every method: a sentence each, a table by task, and what more runs or cases would bring.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from crosstask.evaluation.comparison import MEAN, Cell, Comparison, Row
from crosstask.evaluation.verdict import BETTER, EQUIVALENT, NO_RATIO, NO_VERDICT, UNDECIDED, WORSE, outlook
from crosstask.report.words import (
    NOTHING_TO_SAY,
    covered,
    covers_of,
    difference_text,
    interval_text,
    p_text,
    percent,
    short_of_runs,
    verdict_text,
    with_interval,
)

_MORE_RUNS = 5
_MORE_CASES = 4


def asked(comparison: Comparison) -> list[Row]:
    """The methods that something is said of: those with a baseline that is another."""
    return [row for row in comparison.rows if row.mean.verdict]


def verdict_sentences(comparison: Comparison) -> list[str]:
    """What may be said of each method, the mean of the tasks first: a sentence each."""
    return [_sentence(comparison, row) for row in asked(comparison)]


def _sentence(comparison: Comparison, row: Row) -> str:
    name, baseline = comparison.label(row.method), comparison.label(comparison.baseline_of(row.method))
    cell, several = row.mean, len(row.cells) > 1
    average = " on average" * several
    words = {
        BETTER: f"better than {baseline} by {_size(cell)}{average}",
        WORSE: f"worse than {baseline} by {_size(cell)}{average}",
        EQUIVALENT: f"equivalent to {baseline} within {comparison.margin:g} %: {_gain(cell)}{average}",
        UNDECIDED: f"not distinguishable from {baseline}: {_gain(cell)}{average}",
        NO_RATIO: f"no ratio to {baseline}",
        NO_VERDICT: f"no verdict: {_gain(cell)} over {baseline}{average}",
    }[cell.verdict]
    if within_margin(cell, comparison):
        words += f", which is within the margin of {comparison.margin:g} %"
    beside = list(filter(None, [covers_of(row, cell, comparison).removesuffix(f": {NOTHING_TO_SAY}")]))
    if (several and cell.verdict != NO_VERDICT) or cell.verdict == NO_RATIO:
        beside += [f"{task}: {_of_task(own, _unit(comparison, task))}" for task, own in row.cells.items()]
    words += f" ({'; '.join(beside)})" * bool(beside)
    if cell.verdict == UNDECIDED:
        more = outlook(cell.improvement, cell.gain.spread, margin=comparison.margin, level=comparison.level)
        words += f"; {more}" * bool(more)
    return f"{name}: {words}."


def _size(cell: Cell) -> str:
    """By how much a method is better, or worse, with the interval of that."""
    low, high = (cell.low, cell.high) if cell.improvement >= 0 else (-cell.high, -cell.low)
    return f"{abs(cell.improvement):.2f} % [{low:.2f}, {high:.2f}]"


def _gain(cell: Cell) -> str:
    return with_interval(cell.improvement, cell.low, cell.high)


def _of_task(cell: Cell, unit: str) -> str:
    difference = difference_text(cell.gain.difference, unit) if cell.undefined else ""
    return ", ".join(filter(None, [verdict_text(cell), difference]))


def _unit(comparison: Comparison, task: str) -> str:
    return next((measure.unit for measure in comparison.measures if measure.task == task), "")


def within_margin(cell: Cell, comparison: Comparison) -> bool:
    """Whether a difference is certain, and certain to be too small to matter."""
    small = cell.gain.p_equivalent_adjusted <= 1 - comparison.level
    return cell.verdict in (BETTER, WORSE) and bool(small)


def verdict_table(comparisons: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: a row a method and task, and one for the mean where there are several tasks."""
    covers = covered(comparisons)
    several = len(comparisons) > 1
    cells = [cell for one in comparisons for row in one.rows for cell in (*row.cells.values(), row.mean)]
    corrected = any(math.isfinite(cell.gain.corrected.low) for cell in cells)
    titles = ["Data set"] * several + [
        "Method",
        "Task",
        f"Difference [{covers}]",
        f"Δ [{covers}]",
        *["Δ [Nadeau-Bengio]"] * corrected,
        "p",
        "p within margin",
        "Verdict",
        "Runs won",
        "Cases won",
        "Seeds' share",
    ]
    rows = []
    for comparison in comparisons:
        for row in asked(comparison):
            means = [(MEAN, row.mean)] if len(row.cells) > 1 else []
            for task, cell in [*row.cells.items(), *means]:
                gain = cell.gain
                short = short_of_runs(row, cell, comparison, covers)
                known = gain.spread.covers_runs
                line = [
                    comparison.label(row.method),
                    task,
                    difference_text(gain.difference, _unit(comparison, task)),
                    " ".join(filter(None, [_gain(cell), short])),
                    *[interval_text(gain.corrected.low, gain.corrected.high)] * corrected,
                    p_text(gain.p_adjusted),
                    p_text(gain.p_equivalent_adjusted),
                    verdict_text(cell),
                    percent(gain.runs_won) if known or cell.undefined else "",
                    percent(gain.cases_won),
                    percent(gain.spread.share_of_runs),
                ]
                rows.append([comparison.dataset] * several + line)
    shown = [at for at, title in enumerate(titles) if title == "Task" or any(row[at] for row in rows)]
    return [titles[at] for at in shown], [[row[at] for at in shown] for row in rows]


def verdict_frame(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The frames (:meth:`Comparison.to_frame`) of all, and behind their columns what they are of.

    That is ``dataset``, ``level``, ``margin``, ``baseline`` and ``interval_covers``.
    """
    frames = []
    for comparison in comparisons:
        covers = {
            (row.method, task): covers_of(row, cell, comparison)
            for row in comparison.rows
            for task, cell in [*row.cells.items(), (MEAN, row.mean)]
        }
        frame = comparison.to_frame()
        keys = list(zip(frame["method"], frame["task"], strict=True))
        frames.append(
            frame.assign(
                dataset=comparison.dataset,
                level=comparison.level,
                margin=comparison.margin,
                baseline=[comparison.baseline_of(method) for method, _ in keys],
                interval_covers=[covers[key] for key in keys],
            ).astype(object)
        )
    return pd.concat(frames, ignore_index=True)


def prospects(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: how wide the interval of the mean is, where that comes from, and what more would make of it.

    What run and case have together (a run that is lucky with these cases) is less with more of either.

    No rows where nothing is known of the chance of training.
    """
    half = f"Half-width [{covered([comparison])}]"
    titles = [
        "Method",
        "Variance from seeds",
        "from both",
        "from cases",
        half,
        f"with {_MORE_RUNS} more seeds",
        f"with {_MORE_CASES} times the cases",
        "with both",
    ]
    rows = []
    for row in asked(comparison):
        spread = row.mean.gain.spread
        if not spread.covers_runs or math.isnan(row.mean.low):
            continue
        share, both = spread.share_of_runs, spread.share_of_both
        ways = [(0, 1.0), (_MORE_RUNS, 1.0), (0, float(_MORE_CASES)), (_MORE_RUNS, float(_MORE_CASES))]
        widths = [spread.with_numbers(more_runs=runs, cases=cases).half_width(comparison.level) for runs, cases in ways]
        widths = [min(width, widths[0]) for width in widths]  # fewer degrees of freedom are no loss of knowledge
        rows.append(
            [
                comparison.label(row.method),
                percent(share - both),
                percent(both),
                percent(1 - share),
                *(f"± {width:.2f} %" if math.isfinite(width) else "" for width in widths),
            ]
        )
    return titles, rows
