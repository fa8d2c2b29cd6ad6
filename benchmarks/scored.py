"""Runs that benchmarks train and score, each once."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from crosstask.evaluation.evaluate import evaluate_run
from crosstask.evaluation.scores import read_scores, write_scores
from crosstask.runs import RunSpec
from crosstask.store import Store
from crosstask.training.run import train


def scored(spec: RunSpec, split: Literal["validation", "test"]) -> pd.DataFrame:
    """Train a run and score it on a split of its store; scores that are there are read."""
    scores = spec.folder / f"scores-{split}.csv"
    if not scores.exists():
        store = Store(spec.experiment.store_folder)
        train(spec, store)
        write_scores(evaluate_run(spec.folder, store, split=split).scores, scores)
    return read_scores(scores)
