"""The readings of all runs of a benchmark in one table. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from crosstask.evaluation.kept import readings_of
from crosstask.runs import RunSpec

COLUMNS = ("reading", "method", "seed", "task", "row", "column", "value", "note")


def collect_readings(specs: Sequence[RunSpec]) -> pd.DataFrame:
    """A row a figure of each run's network, in the order of the runs; empty where no network gives any.

    ``method`` is its key; ``task`` is empty but for runs of one task alone.
    """
    rows = [
        (
            one.title,
            spec.key,
            spec.seed,
            spec.tasks[0] if spec.method.run_per_task else "",
            row,
            column,
            value,
            one.note,
        )
        for spec in specs
        for one in readings_of(spec.folder) or ()
        for row, cells in one.values.items()
        for column, value in cells.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
