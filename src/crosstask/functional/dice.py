"""Overlap of two masks."""

from __future__ import annotations

from typing import Any


def dice(prediction: Any, target: Any) -> float:
    r"""Dice similarity coefficient of two masks, :math:`2 |P \cap T| / (|P| + |T|)`.

    Two empty masks agree: 1. One empty mask and one that is not: 0, so that a missed structure stays in the mean.

    Args:
        prediction: mask of any shape, numpy or torch; what is not zero belongs to it.
        target: mask of the same shape.

    Returns:
        The coefficient in [0, 1].

    Raises:
        ValueError: the shapes differ.
    """
    if tuple(prediction.shape) != tuple(target.shape):
        raise ValueError(f"masks of different shape: {tuple(prediction.shape)} and {tuple(target.shape)}")
    predicted, wanted = prediction != 0, target != 0
    total = int(predicted.sum()) + int(wanted.sum())
    return 2.0 * int((predicted & wanted).sum()) / total if total else 1.0
