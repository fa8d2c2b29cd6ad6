"""Names of the files in a run folder."""

from __future__ import annotations

EXPERIMENT = "experiment.yaml"
RECORD = "run.json"
HISTORY = "history.csv"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
BEST = "best.safetensors"
FINAL = "final.safetensors"
AVERAGE = "average.safetensors"
CANDIDATES = "candidates"
SNAPSHOTS = "snapshots"
SCORES = "scores.csv"
PREDICTIONS = "predictions.csv"
THRESHOLDS = "thresholds.json"
EXAMPLES = "examples.npz"
HISTOGRAMS = "histograms.npz"
CHARACTERISTICS = "characteristics.csv"
EPOCHS = "epochs.json"
IMAGES = "images.json"
READINGS = "readings.json"
TRANSFER = "transfer.csv"
LOGGERS = "loggers.json"
"""Which runs of loggers are of this one, and how far they are; a benchmark's output has one of its own."""
LOCK = "train.lock"
"""Held while the run is trained."""


def scores_under(rule: str) -> str:
    """Name of the scores under another rule for the epoch than that by which the run is judged; empty for that one."""
    return f"scores-{rule}.csv" if rule else SCORES


def predictions_under(rule: str) -> str:
    """Name of the image-level predictions that go with :func:`scores_under`."""
    return f"predictions-{rule}.csv" if rule else PREDICTIONS
