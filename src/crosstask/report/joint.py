"""One table over several data sets, with the average of their improvements: the whole of the papers' Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstask.evaluation.average import average
from crosstask.evaluation.comparison import Cell, Comparison
from crosstask.report.forms import write_forms


def write_joint_table(comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]], folder: Path) -> Path:
    """Write ``table.txt``, ``table.md``, ``table.csv``, ``table.tex`` and ``verdict.csv``; return the first.

    Data sets with the same number of tasks are averaged too; the average goes by the position of tasks.

    Args:
        comparisons: of the data sets, with the same methods.
        floors: M of the constant predictor of each, empty where there is none.
        folder: where to write.
    """
    key = "M of " + "; ".join(
        f"{comparison.dataset}: "
        + ", ".join(f"{m.task} by {m.metric}, {m.unit}".rstrip(", ") for m in comparison.measures)
        for comparison in comparisons
    )
    numbers = [len(comparison.measures) for comparison in comparisons]
    if len(set(numbers)) == 1:
        comparisons, floors = [*comparisons, average(comparisons)], [*floors, {}]
    else:
        counts = ", ".join(
            f"{comparison.dataset} has {number}" for comparison, number in zip(comparisons, numbers, strict=True)
        )
        key += f". No average: it goes by the position of tasks, and their number differs ({counts})"
    return write_forms(comparisons, floors, folder, key=f"{key}.")
