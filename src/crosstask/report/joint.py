"""One table over several data sets, with the average of their improvements: the whole of the papers' Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstask.evaluation.comparison import Cell, Comparison, average
from crosstask.files import write_atomically
from crosstask.report.notes import table_notes
from crosstask.report.tables import (
    comparison_table,
    csv_table,
    latex_table,
    markdown_notes,
    markdown_table,
    remark_lines,
    text_table,
)


def write_joint_table(comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, Cell]], folder: Path) -> Path:
    """Write ``table.txt``, ``table.md``, ``table.csv`` and ``table.tex``; return the first.

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
    titles, rows = comparison_table(comparisons, floors)
    notes = [f"{key}.", *table_notes(comparisons)]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "table.txt", text_table(titles, rows) + remark_lines(notes))
    write_atomically(folder / "table.md", f"{markdown_table(titles, rows)}\n{markdown_notes(notes)}")
    write_atomically(folder / "table.csv", csv_table(comparisons, floors))
    write_atomically(folder / "table.tex", latex_table(titles, rows, notes))
    return folder / "table.txt"
