"""From tables of scores of any origin to the comparison, its tables and its page. No torch here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crosstask.evaluation.comparison import LEVEL, MARGIN, Comparison
from crosstask.evaluation.foreign import Scores, read_tables
from crosstask.evaluation.scores_compare import NAME, compare_scores
from crosstask.methods import BASELINE
from crosstask.report.compared import must_be_own, write_compared
from crosstask.report.forms import as_text, remarks
from crosstask.report.tables import floor_of
from crosstask.report.verdicts import verdict_frame


@dataclass(frozen=True)
class Compared:
    """Methods compared by scores of any origin.

    Attributes:
        comparison: every figure, as plain values.
        scores: what it was made of, but for image-level predictions.
        page: the page, if an output was asked for.
    """

    comparison: Comparison
    scores: Scores
    page: Path | None = None

    def __str__(self) -> str:
        floor = {} if self.scores.constant is None else floor_of(self.scores.constant, self.comparison)
        return as_text([self.comparison], [floor])

    def to_json(self) -> str:
        """Verdicts, what they are of, and remarks; figures that are not there are null."""
        comparison = self.comparison
        whole = {
            "baseline": comparison.baseline,
            "margin": comparison.margin,
            "level": comparison.level,
            "by_seed": comparison.by_seed,
            "measures": [
                {
                    "task": measure.task,
                    "metric": measure.metric,
                    "unit": measure.unit,
                    "higher_is_better": measure.higher_is_better,
                }
                for measure in comparison.measures
            ],
            "rows": [_plain(row) for row in verdict_frame([comparison]).to_dict("records")],
            "remarks": remarks([comparison]),
        }
        return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)


def compare_tables(
    tables: Sequence[str | Path],
    *,
    baseline: str = BASELINE,
    margin: float = MARGIN,
    level: float = LEVEL,
    columns: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    better: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    least_positives: int | None = None,
    output: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Compare methods by tables of scores, and write the tables and the page if there is an output.

    Args:
        tables: files and folders; see :func:`crosstask.evaluation.foreign.read_tables`.
        baseline: the method that the others are compared with.
        margin: a difference below so many percent is equivalence.
        level: of confidence of intervals and verdicts.
        columns: ``{name: what the tables call it}``.
        metrics: ``{task: metric}`` by which a task is judged; by default its first in the tables.
        better: ``{metric: "higher" or "lower"}`` where the tables do not say.
        tasks: only these.
        methods: only these.
        least_positives: positive cases that a class must have to count in figures of all cases together; None for as
            many as the benchmark asks for that they come from.
        output: folder, new or of an earlier comparison.
        progress: told how many draws of how many have been looked at, or None.

    Raises:
        InputError: a table cannot be read or compared, or the folder holds something else.
    """
    if output is not None:
        must_be_own(output)
    scores = read_tables(
        tables,
        columns=columns,
        metrics=metrics,
        better=better,
        tasks=tasks,
        methods=methods,
        least_positives=least_positives,
    )
    comparison = compare_scores(
        scores, baseline=baseline, margin=margin, level=level, name=_name(tables), progress=progress
    )
    scores = replace(scores, predictions=None)  # a half of all the memory, and no part of what follows
    page = None if output is None else write_compared(comparison, scores, output)
    return Compared(comparison, scores, page)


def _name(tables: Sequence[str | Path]) -> str:
    """What the data set is called: as its one table."""
    return Path(str(tables[0]).rpartition("=")[2]).stem or NAME if len(tables) == 1 else NAME


def _plain(row: Mapping[Any, Any]) -> dict[str, object]:
    """Values that JSON has."""
    plain: dict[str, object] = {}
    for name, value in row.items():
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        elif str(name).startswith("rank_") and value is not None:
            value = int(value)  # pandas has no integer beside NaN
        plain[str(name)] = value
    return plain
