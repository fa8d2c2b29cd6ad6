"""What a reader of the comparison must know, beside every form of the table. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.unpredicted import Unpredicted
from crosstask.methods import label_of

COVERS = "cases only, not training"
"""What the interval covers."""
ONE_RUN = "one run each"
"""What a difference is worth where every method was trained once."""


def covers(comparison: Comparison) -> str:
    """What the intervals of a comparison cover, in a few words."""
    return f"{COVERS}; {ONE_RUN}" if comparison.seeds == 1 else COVERS


def never_predicted(found: Sequence[Unpredicted]) -> str:
    """Classes that a run never predicts, with method, seed and task; empty where there are none."""
    return "; ".join(f"{label_of(one.method)}, seed {one.seed}: {one.name or one.task} ({one.task})" for one in found)


def table_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences to stand under a table of one or several data sets."""
    cells = [cell for comparison in comparisons for row in comparison.rows for cell in row.cells.values()]
    notes = [f"Intervals [95 %]: {COVERS}: which test cases were drawn, not how another training would end."]
    if any(comparison.seeds == 1 for comparison in comparisons):
        notes.append(
            f"Single seed, {ONE_RUN}: another training of the same method may differ by more than the methods do, so "
            "there is no rank."
        )
    if any("near 0" in cell.undefined for cell in cells):
        notes.append(
            "STL near 0: M of STL is within two standard errors (over cases) of zero, or below 5 % of the highest "
            "value (of an error: 1 % of the constant predictor's), so that a ratio to it says nothing; nor do mean "
            "and rank."
        )
    for comparison in comparisons:
        where = f"{comparison.dataset}: " if len(comparisons) > 1 else ""
        notes += [f"{where}{remark}" for remark in comparison.remarks]
        if comparison.unpredicted:
            notes.append(
                f"Warning: {where}never predicted where it is: {never_predicted(comparison.unpredicted)}. Such a "
                "figure tells of a training that failed rather than of the method: train longer, or with other seeds."
            )
    return notes
