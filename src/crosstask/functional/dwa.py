"""Dynamic weight averaging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def dwa_weights(last: Sequence[float], before_last: Sequence[float], *, temperature: float = 2.0) -> Any:
    r"""Weights of dynamic weight averaging, Liu et al. (2019), section 3.3.

    .. math:: \lambda_k = K \frac{e^{w_k / T}}{\sum_i e^{w_i / T}}, \quad w_k = \frac{L_k(t-1)}{L_k(t-2)}

    A task whose loss falls slowly gets more weight; the weights sum to K. A task without a finite rate (no label in
    one of the two epochs, or a loss of zero) counts as one that stands still, w_k = 1, and leaves the others as they
    would be beside such a task.

    Args:
        last: unweighted training loss of each task, mean over the last epoch.
        before_last: the same for the epoch before it.
        temperature: T; larger is more even.

    Returns:
        The K weights: a tensor where ``last`` is one, else a numpy array.

    Raises:
        ValueError: lengths differ or the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    newer, older = np.asarray(last, dtype=np.float64), np.asarray(before_last, dtype=np.float64)
    if newer.shape != older.shape or newer.ndim != 1:
        raise ValueError(f"one loss per task and epoch is needed, not shapes {newer.shape} and {older.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = newer / older
    rate = np.where(np.isfinite(rate), rate, 1.0)
    exponential = np.exp((rate - rate.max()) / temperature)
    weights = len(rate) * exponential / exponential.sum()
    # duck-typed, so that numpy users do not pay for the import of torch
    return last.new_tensor(weights) if hasattr(last, "new_tensor") else weights
