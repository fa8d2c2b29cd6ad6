"""What results are as JSON documents; docs/cli.md names their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstask.cli.answering import plain, rows_of

if TYPE_CHECKING:
    from crosstask.pipeline.results import Comparison
    from crosstask.pipeline.scoring import Scoring


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """A benchmark: verdicts, M of every method and task, remarks, and where things are."""
    inner = comparison.inner
    measures = [
        {"task": one.task, "metric": one.metric, "unit": one.unit, "higher_is_better": one.higher_is_better}
        for one in inner.measures
    ]
    values = [
        {"method": row.method, "task": task, "value": cell.value, "deviation": cell.deviation, "seeds": cell.runs}
        for row in inner.rows
        for task, cell in row.cells.items()
    ]
    return plain(
        {
            "name": comparison.experiment.name,
            "margin": inner.margin,
            "level": inner.level,
            "measures": measures,
            "values": values,
            "rows": rows_of(comparison.to_frame()),
            "remarks": list(comparison.remarks),
            "page": comparison.page.resolve(),
            "runs": dict(comparison.runs),
            "external": {name: comparison_document(other) for name, other in comparison.external.items()},
        }
    )


def scoring_document(scoring: Scoring, split: str) -> dict[str, Any]:
    """The scores of a run: a row for each task, metric and class, and where the tables are."""
    evaluation = scoring.evaluation
    rows = [
        {
            "task": keys[0],
            "metric": keys[1],
            "class": keys[2],
            "mean": part["value"].mean(),
            "sd": part["value"].std() if len(part) > 1 else None,
            "rows": len(part),
            "unit": part["unit"].iloc[0],
            "higher_is_better": bool(part["higher_is_better"].iloc[0]),
        }
        for keys, part in evaluation.scores.groupby(["task", "metric", "class"], sort=False)
    ]
    return plain(
        {
            "split": split,
            "weights": evaluation.weights,
            "scores": rows,
            "left_out": list(evaluation.left_out),
            "table": scoring.output,
            "predictions": scoring.predictions,
        }
    )


def run_document(folder: Path) -> dict[str, Any]:
    """A trained run: what it is, and how its training ended."""
    from crosstask.runs import trained_record

    record = trained_record(folder)
    keys = ("method", "variant", "seed", "tasks", "parameters", "training")
    return plain({"folder": folder, **{key: record.get(key) for key in keys}})
