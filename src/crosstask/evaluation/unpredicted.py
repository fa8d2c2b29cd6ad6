"""Classes that a run never predicts: a figure of 0 that says the training failed, not the method. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from crosstask.evaluation.predictions import COHORT_CASE

OVERLAP = "dice"
"""The metric of masks: 0 where none of a structure is found, 100 % where there is none and none is drawn."""


@dataclass(frozen=True)
class Unpredicted:
    """A class that is there in test cases, and that one run predicts in none of these."""

    method: str
    seed: int
    task: str
    name: str


def unpredicted(
    scores: pd.DataFrame,
    predictions: pd.DataFrame | None,
    methods: Sequence[str],
    constant: pd.DataFrame | None = None,
) -> tuple[Unpredicted, ...]:
    """Classes that a run never predicts where they are, run by run.

    Of masks it goes by the overlap: 0 in every case that has the structure. Two empty masks agree, and these cases are
    known by the constant predictor, whose masks are empty: where it scores, there is nothing to find. Of labels of
    whole cases it goes by the decisions.

    Args:
        scores: long table of scores.
        predictions: table of image-level predictions.
        methods: which, in order.
        constant: scores of the constant predictor; without it every case counts as one that has the structure.
    """
    found: set[tuple[str, int, str, str]] = set()
    masks = scores[(scores["metric"] == OVERLAP) & (scores["case"] != COHORT_CASE)]
    if constant is not None:
        nothing = constant[(constant["metric"] == OVERLAP) & (constant["value"] > 0)]
        cells = pd.MultiIndex.from_frame(nothing[["case", "task", "class"]])
        masks = masks[~pd.MultiIndex.from_frame(masks[["case", "task", "class"]]).isin(cells)]
    best = masks.groupby(["method", "seed", "task", "class"], sort=False)["value"].max()
    found |= set(best.index[best <= 0])
    if predictions is not None and len(predictions):
        there = predictions[(predictions["values"] != "quantity") & (predictions["target"] > 0.5)]
        every = predictions.groupby(["method", "seed", "task", "class"], sort=False)["decision"].max()
        known = there.groupby(["method", "seed", "task", "class"], sort=False).size()
        found |= {key for key in known.index if not every[key] > 0.5}
    order = {method: index for index, method in enumerate(methods)}
    chosen = sorted((key for key in found if key[0] in order), key=lambda key: (order[key[0]], *key[1:]))
    return tuple(Unpredicted(str(method), int(seed), str(task), str(name)) for method, seed, task, name in chosen)
