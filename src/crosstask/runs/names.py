"""Names of the files in a run folder."""

from __future__ import annotations

EXPERIMENT = "experiment.yaml"
RECORD = "run.json"
HISTORY = "history.csv"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.safetensors"
FINAL = "final.safetensors"
CANDIDATES = "candidates"
SCORES = "scores.csv"
PREDICTIONS = "predictions.csv"
THRESHOLDS = "thresholds.json"
EXAMPLES = "examples.npz"
CHARACTERISTICS = "characteristics.csv"
