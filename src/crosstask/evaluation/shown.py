"""Which test cases a report shows: chosen by figures alone, after all runs are scored. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from crosstask.evaluation.comparison import Comparison, Measure
from crosstask.experiment import Experiment

WORST, MEDIAN, BEST, DIVIDED = "worst case", "median case", "best case", "where methods differ most"


def choose_examples(
    scores: pd.DataFrame, predictions: pd.DataFrame, measures: Sequence[Measure], *, seed: int | None = None
) -> dict[str, str]:
    """The cases to show, ``{case: why}``: that of the lowest, middle and highest rank, and where methods differ most.

    A case ranks by the mean over tasks of its rank in each, by what all methods make of it on average: M of the case,
    or where M is of all cases together how near their predictions are to what is true. So no method chooses the cases
    that it is shown with.

    Args:
        scores: the long table.
        predictions: the table of image-level predictions.
        measures: M of each task.
        seed: of which alone the cases are taken, where each seed has test cases of its own; by default of all.
    """
    ranks, spreads = [], []
    for measure in measures:
        table = _per_case(scores, predictions, measure, seed)
        if table.empty:
            continue
        ranks.append(table.mean(axis=1).rank(pct=True))
        spreads.append(table.rank(pct=True).std(axis=1) if table.shape[1] > 1 else 0 * table.iloc[:, 0])
    if not ranks:
        return {}
    order = pd.concat(ranks, axis=1).mean(axis=1).sort_index().sort_values(kind="stable").index
    spread = pd.concat(spreads, axis=1).mean(axis=1).sort_index()
    chosen = {str(order[0]): WORST}
    chosen.setdefault(str(order[-1]), BEST)
    chosen.setdefault(str(order[len(order) // 2]), MEDIAN)
    left = spread.drop(index=list(chosen), errors="ignore")
    if len(left) and left.max() > 0:
        chosen[str(left.idxmax())] = DIVIDED
    return dict(sorted(chosen.items(), key=lambda item: (WORST, MEDIAN, BEST, DIVIDED).index(item[1])))


def _per_case(scores: pd.DataFrame, predictions: pd.DataFrame, measure: Measure, seed: int | None) -> pd.DataFrame:
    """How good every method is on every case, mean over seeds, higher is better: ``case method``."""
    if measure.of == "case":
        rows = scores[(scores["task"] == measure.task) & (scores["metric"] == measure.metric)]
        values = rows["value"] if measure.higher_is_better else -rows["value"]
    else:
        rows = predictions[predictions["task"] == measure.task]
        values = -(rows["prediction"] - rows["target"]).abs()
    rows = rows.assign(good=values)
    if seed is not None:
        rows = rows[rows["seed"] == seed]
    return rows.dropna(subset=["good"]).groupby(["case", "method"])["good"].mean().unstack()


def chosen_examples(
    experiment: Experiment, scores: pd.DataFrame, predictions: pd.DataFrame, comparison: Comparison
) -> dict[str, str]:
    """The cases that a benchmark's report shows, see :func:`choose_examples`; all of them are of the first seed."""
    alone = experiment.seeds[0] if comparison.by_seed else None
    return choose_examples(scores, predictions, comparison.measures, seed=alone)
