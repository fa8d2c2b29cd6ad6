"""Tables of scores as other programs and people make them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS = ["method", "seed", "case", "task", "metric", "value", "higher_is_better"]
TASKS = (("organs", "dice", True), ("dose", "mae", False))


def long_table(
    methods: Sequence[str] = ("stl", "mtl"), seeds: Sequence[object] = (0, 1, 2), cases: int = 6, gain: float = 0.03
) -> pd.DataFrame:
    """Two tasks; every method but the first is better by ``gain``. Row ``i`` of it is row ``i + 2`` of a file."""
    random = np.random.default_rng(0)
    level = {(case, task): random.uniform(0.5, 0.8) for case in range(cases) for task, _, _ in TASKS}
    return pd.DataFrame(
        [
            (method, seed, f"case{case}", task, metric, round(level[case, task] + noise + shift, 4), higher)
            for method in methods
            for seed in seeds
            for case in range(cases)
            for task, metric, higher in TASKS
            for noise in [random.normal(0, 0.01)]
            for shift in [gain * (method != methods[0]) * (1 if higher else -1)]
        ],
        columns=COLUMNS,
    )


def nnunet_summary(path: Path, scores: dict[str, dict[str, float | None]], *, without: Collection[str] = ()) -> Path:
    """``summary.json`` of nnU-Net v2; ``scores`` is ``{case: {label: Dice}}``, ``without`` labels no reference has."""
    entries = []
    for case, labels in scores.items():
        metrics = {}
        for label, dice in labels.items():
            counts = {"FN": 0, "FP": 3, "TN": 900, "TP": 0, "n_pred": 3, "n_ref": 0 if label in without else 40}
            metrics[label] = {"Dice": dice, "IoU": None if dice is None else dice / (2 - dice), **counts}
        files = {"prediction_file": f"/out/{case}.nii.gz", "reference_file": f"C:\\raw\\labelsTr\\{case}.nii.gz"}
        entries.append({"metrics": metrics, **files})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"foreground_mean": {}, "mean": {}, "metric_per_case": entries}))
    return path


def nnunet_folds(folder: Path, shift: float = 0.0, folds: int = 3, cases: int = 4) -> Path:
    """A folder of trained folds, each validated on cases of its own."""
    random = np.random.default_rng(folds)
    for fold in range(folds):
        scores = {
            f"liver_{fold * cases + case:03d}": {label: 0.8 + shift + float(random.normal(0, 0.01)) for label in "12"}
            for case in range(cases)
        }
        nnunet_summary(folder / f"fold_{fold}" / "validation" / "summary.json", scores)
    return folder
