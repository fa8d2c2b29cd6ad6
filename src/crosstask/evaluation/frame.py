"""The columns in which a comparison is given to others: one row per method and task. No torch here."""

from __future__ import annotations

from crosstask.evaluation.gains import Gain
from crosstask.evaluation.verdict import Rank

COLUMNS = (
    "method",
    "task",
    "improvement",
    "low",
    "high",
    "p",
    "p_adjusted",
    "verdict",
    "seeds",
    "groups",
    "p_equivalent_adjusted",
    "difference",
    "difference_low",
    "difference_high",
    "unit",
    "log_ratio",
    "log_ratio_low",
    "log_ratio_high",
    "share_of_seeds",
    "runs_won",
    "cases_won",
    "rank_low",
    "rank_high",
    "low_nadeau_bengio",
    "high_nadeau_bengio",
)
"""The first ten, to ``groups``, stay as they are named."""


def line_of(
    method: str, task: str, gain: Gain, *, runs: int, groups: int, unit: str, rank: Rank | None
) -> tuple[object, ...]:
    """A row, in the order of :data:`COLUMNS`.

    Args:
        method: the method.
        task: the task, or what stands for the mean of all.
        gain: its improvement.
        runs: number of runs behind it.
        groups: number of groups of cases behind it.
        unit: of the metric.
        rank: the ranks that the method may have, None where that is not of this row.
    """
    improvement = [gain.improvement, gain.low, gain.high, gain.p, gain.p_adjusted]
    difference = [gain.difference.value, gain.difference.low, gain.difference.high]
    ratio = [gain.log_ratio.value, gain.log_ratio.low, gain.log_ratio.high]
    won = [gain.spread.share_of_runs, gain.runs_won, gain.cases_won]
    corrected = [gain.corrected.low, gain.corrected.high]
    head = [method, task, *improvement, gain.verdict, runs, groups, gain.p_equivalent_adjusted]
    return (*head, *difference, unit, *ratio, *won, *(rank or (None, None)), *corrected)
