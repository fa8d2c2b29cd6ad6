"""One table over several data sets, with the average of their improvements: the whole of the papers' Table 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstask.benchmark.comparison import Comparison
from crosstask.report.tables import body, csv_table, latex_table, markdown_table, text_table
from crosstask.runs import write_atomically


def write_joint_table(comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, float]], folder: Path) -> Path:
    """Write ``table.txt``, ``table.md``, ``table.csv`` and ``table.tex``; return the first.

    Args:
        comparisons: of the data sets, and their average; all with the same number of tasks.
        floors: M of the constant predictor of each, empty where there is none.
        folder: where to write.
    """
    titles = ["Data set", "Method"]
    for number in range(1, len(comparisons[0].measures) + 1):
        titles += [f"M task {number}", f"Δ task {number} [95 %]"]
    titles += ["Δ mean [95 %]", "Rank"]
    rows = [row for comparison, floor in zip(comparisons, floors, strict=True) for row in body(comparison, floor)]
    folder.mkdir(parents=True, exist_ok=True)
    key = "; ".join(
        f"{comparison.dataset}: " + ", ".join(f"{m.task} by {m.metric}, {m.unit}" for m in comparison.measures)
        for comparison in comparisons
        if comparison.cases
    )
    write_atomically(folder / "table.txt", f"{text_table(titles, rows)}M of {key}\n")
    write_atomically(folder / "table.md", f"{markdown_table(titles, rows)}\nM of {key}\n")
    write_atomically(folder / "table.csv", csv_table(comparisons, floors))
    write_atomically(folder / "table.tex", latex_table(titles, rows))
    return folder / "table.txt"
