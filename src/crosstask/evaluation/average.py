"""Several data sets in one: the mean of their improvements, with interval, verdict and ranks. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Cell, Comparison, Measure, Row, ranks_by_baseline
from crosstask.evaluation.contrast import mean_of
from crosstask.evaluation.gains import Gain, gain_of, judged
from crosstask.evaluation.verdict import Pair


def average(comparisons: Sequence[Comparison]) -> Comparison:
    """Average improvement per task position over several data sets, as the last block of the papers' Table 2.

    Raises:
        InputError: the data sets differ in methods or number of tasks.
    """
    first = comparisons[0]
    methods = [row.method for row in first.rows]
    for other in comparisons[1:]:
        if [row.method for row in other.rows] != methods:
            raise InputError(f"{other.dataset} and {first.dataset} differ in methods: no average; set methods=[...]")
        if len(other.measures) != len(first.measures):
            raise InputError(
                f"{first.dataset} has {len(first.measures)} tasks and {other.dataset} {len(other.measures)}: no "
                "average, which goes by the position of tasks; compare them one by one, or set dataset.tasks"
            )
    positions = [f"task {index + 1}" for index in range(len(first.measures))]
    level, margin = first.level, first.margin
    rows = []
    for index, method in enumerate(methods):
        cells = {
            position: _average([one.rows[index].cells[one.measures[place].task] for one in comparisons], level, margin)
            for place, position in enumerate(positions)
        }
        rows.append(Row(method, cells, _average([one.rows[index].mean for one in comparisons], level, margin), None))
    pairs = {
        names: Pair(
            float(np.mean([one.pairs[names].gain for one in comparisons])),
            mean_of([one.pairs[names].spread for one in comparisons]),
        )
        for names in first.pairs
        if all(names in one.pairs for one in comparisons)
    }
    ranks = ranks_by_baseline(pairs, {method: first.baseline_of(method) for method in methods}, level)
    rows = [replace(row, rank=ranks.get(row.method)) for row in _adjusted(rows, level)]
    return Comparison(
        dataset="Average",
        measures=tuple(Measure(name, "", "", higher_is_better=True) for name in positions),
        rows=tuple(rows),
        cases={},
        groups=0,
        seeds=min(comparison.seeds for comparison in comparisons),
        by_seed=first.by_seed,
        margin=margin,
        level=level,
        baseline=first.baseline,
        pairs=pairs,
    )


def _average(cells: Sequence[Cell], level: float, margin: float) -> Cell:
    """The mean of improvements on different data sets, which have neither runs nor cases in common."""
    improvements = [cell.improvement for cell in cells]
    if any(math.isnan(one) for one in improvements):
        lacking = next((cell.undefined for cell in cells if cell.undefined), "")
        return Cell(math.nan, math.nan, gain=Gain(undefined=lacking), runs=min(cell.runs for cell in cells))
    gain = gain_of(
        float(np.mean(improvements)), mean_of([cell.gain.spread for cell in cells]), level=level, margin=margin
    )
    return Cell(
        math.nan, math.nan, gain=gain, runs=min(cell.runs for cell in cells), groups=sum(cell.groups for cell in cells)
    )


def _adjusted(rows: Sequence[Row], level: float) -> list[Row]:
    """The same rows with verdicts, adjusted as in a comparison of one data set."""
    asked = [row for row in rows if math.isfinite(row.mean.improvement) or row.mean.undefined]
    means = iter(judged([row.mean.gain for row in asked], level=level))
    cells = iter(judged([cell.gain for row in asked for cell in row.cells.values()], level=level))
    names = {row.method for row in asked}
    return [
        row
        if row.method not in names
        else replace(
            row,
            mean=replace(row.mean, gain=next(means)),
            cells={task: replace(cell, gain=next(cells)) for task, cell in row.cells.items()},
        )
        for row in rows
    ]
