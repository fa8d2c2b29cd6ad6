"""Classes that a run never predicts: a figure of 0 that says the training failed, not the method. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.evaluation.compact import occurring_in, places
from crosstask.evaluation.predictions import COHORT_CASE

_RUN_CLASS = ["method", "seed", "task", "class"]
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
    masks = ((scores["metric"] == OVERLAP) & (scores["case"] != COHORT_CASE)).to_numpy()
    if constant is not None:
        nothing = constant[(constant["metric"] == OVERLAP) & (constant["value"] > 0)]
        masks[masks] = ~_are_among(scores.loc[masks, ["case", "task", "class"]], nothing)
    value, there = scores["value"].to_numpy(np.float64), occurring_in(scores, _RUN_CLASS)
    found |= there(masks & ~np.isnan(value)) - there(masks & (value > 0))
    if predictions is not None and len(predictions):
        there = occurring_in(predictions, _RUN_CLASS)
        are = (predictions["values"] != "quantity") & (predictions["target"] > 0.5)
        found |= there(are.to_numpy()) - there((predictions["decision"] > 0.5).to_numpy())
    order = {method: index for index, method in enumerate(methods)}
    chosen = sorted((key for key in found if key[0] in order), key=lambda key: (order[key[0]], *key[1:]))
    return tuple(Unpredicted(str(method), int(seed), str(task), str(name)) for method, seed, task, name in chosen)


def _are_among(rows: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which rows have case, task and class of one of some other rows."""
    number, found = np.zeros(len(rows), dtype=np.int64), np.asarray(np.ones(len(others), dtype=bool))
    other = np.zeros(len(others), dtype=np.int64)
    for key in ("case", "task", "class"):
        names = list(rows[key].unique())
        number = number * len(names) + places(rows[key], names)
        at = places(others[key], names)
        found, other = found & (at >= 0), other * len(names) + at
    return np.isin(number, other[found])
