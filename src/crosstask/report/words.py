"""How figures, intervals, ranks and verdicts are written, the same in every table, page and picture. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from crosstask.evaluation.comparison import Cell, Comparison, Row
from crosstask.evaluation.gains import Estimate
from crosstask.evaluation.verdict import NO_RATIO, Rank

RUNS_AND_CASES = "runs and cases"
"""Both chances: of training each method anew and of drawing the test cases anew."""
ONE_RUN = "one run each"
"""What a difference is worth where every method was trained once."""
CASES_ONLY = f"cases only, {ONE_RUN}"
NOTHING_TO_SAY = "no verdict and no rank"
_PARTLY = "cases, and runs only of methods that have several"
_SHORT_OF_RUNS = "not the runs"
UNDEFINED = "undefined"


def percent(share: float) -> str:
    """A share as whole percent, or nothing."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else ""


def level_text(level: float) -> str:
    """A level of confidence."""
    return f"{100 * level:g} %"


def number(value: float) -> str:
    """A figure with as many digits as it deserves; nothing where there is none."""
    return f"{value:.{_digits(value)}f}" if math.isfinite(value) else ""


def _digits(value: float) -> int:
    return 2 if abs(value) >= 1 else 3


def mean_and_range(values: Iterable[float], style: str) -> str:
    """Mean of the figures that there are, of several with the lowest and the highest; nothing where there is none."""
    every = [float(value) for value in values]
    known = [value for value in every if math.isfinite(value)]
    if not known:
        return ""
    if len(every) == 1:
        return f"{known[0]:{style}}"
    return f"{math.fsum(known) / len(known):{style}} [{min(known):{style}}, {max(known):{style}}]"


def gain_text(value: float) -> str:
    """An improvement."""
    return f"{value:+.2f} %" if math.isfinite(value) else ""


def interval_text(low: float, high: float) -> str:
    """An interval of improvements."""
    return f"[{low:+.2f}, {high:+.2f}]" if math.isfinite(low) else ""


def with_interval(value: float, low: float, high: float) -> str:
    """An improvement with its interval."""
    return " ".join(filter(None, [gain_text(value), interval_text(low, high)]))


def unit_of_difference(unit: str) -> str:
    """The unit of a difference between two figures: of percentages percentage points."""
    return "points" if unit == "%" else unit


def difference_text(difference: Estimate, unit: str) -> str:
    """A difference in the metric's own unit, with its interval."""
    if not math.isfinite(difference.value):
        return ""
    form = f"+.{_digits(difference.value)}f"
    value = " ".join(filter(None, [f"{difference.value:{form}}", unit_of_difference(unit)]))
    return f"{value} [{difference.low:{form}}, {difference.high:{form}}]" if math.isfinite(difference.low) else value


def p_text(p: float) -> str:
    """A probability; nothing where there is none."""
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def rank_text(rank: Rank | None) -> str:
    """The rank, or the lowest and the highest that a method may have; nothing where there is none."""
    if rank is None:
        return ""
    lowest, highest = rank
    return str(lowest) if lowest == highest else f"{lowest}-{highest}"


def has_interval(cell: Cell) -> bool:
    """Whether anything stands in brackets for a cell: for its improvement, or for the difference in its place."""
    return math.isfinite(cell.low) or (bool(cell.undefined) and math.isfinite(cell.gain.difference.low))


def trained_once(comparison: Comparison) -> bool:
    """Whether no method has a second run, so that nothing is known of the chance of training."""
    return max((row.mean.runs for row in comparison.rows), default=0) <= 1


def is_average(comparison: Comparison) -> bool:
    """Whether it is the average of several data sets, which has no cases of its own."""
    return not comparison.cases


def _covered_by(row: Row, cell: Cell, comparison: Comparison) -> str:
    """Which chances the interval of a cell knows of."""
    if cell.undefined:  # the interval is that of the difference
        baseline = comparison.baseline_of(row.method)
        runs = [cell.runs, *(other.mean.runs for other in comparison.rows if other.method == baseline)]
        several, none = min(runs) > 1, max(runs) <= 1
    else:
        spread = cell.gain.spread
        several, none = spread.covers_runs, all(part.of != "runs" for part in spread.parts)
    return RUNS_AND_CASES if several else CASES_ONLY if none else _PARTLY


def covers_of(row: Row, cell: Cell, comparison: Comparison) -> str:
    """What the interval of a cell covers, in words; empty where it has none."""
    if not has_interval(cell):
        return ""
    chances = _covered_by(row, cell, comparison)
    words = f"{chances} of these data sets, not other data sets" if is_average(comparison) else chances
    if chances != RUNS_AND_CASES:
        return f"{words}: {NOTHING_TO_SAY}"
    return f"{words}; each seed has a split of its own" if comparison.by_seed else words


def covered(comparisons: Sequence[Comparison]) -> str:
    """What brackets hold, for the title of a column: level, and what the intervals cover."""
    level = level_text(comparisons[0].level)
    return f"{level}: {CASES_ONLY if all(map(trained_once, comparisons)) else RUNS_AND_CASES}"


def short_of_runs(row: Row, cell: Cell, comparison: Comparison, titled: str) -> str:
    """Words behind an interval that does not cover what the title of its column (:func:`covered`) says."""
    unlike = titled.endswith(RUNS_AND_CASES) and has_interval(cell)
    return _SHORT_OF_RUNS if unlike and _covered_by(row, cell, comparison) != RUNS_AND_CASES else ""


def verdict_text(cell: Cell) -> str:
    """The verdict; of a mean without a ratio the task that has none, and nothing where there is no figure at all."""
    if cell.verdict != NO_RATIO:
        return cell.verdict
    if math.isfinite(cell.gain.difference.value):
        return NO_RATIO
    return cell.undefined.removeprefix(f"{UNDEFINED}: ") or UNDEFINED
