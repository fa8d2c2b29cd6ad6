"""Improvement over single-task learning."""

from __future__ import annotations

import math


def relative_improvement(baseline: float, value: float, *, higher_is_better: bool) -> float:
    r"""Relative improvement of a method over the single-task baseline, eq. (3) of Kim et al. (2023).

    .. math:: \Delta = 100 \cdot \frac{(-1)^l (M_b - M_m)}{M_b}, \quad l = 1 \text{ where higher is better}

    Positive means better than the baseline. CAGrad and Nash-MTL print the opposite sign.

    Args:
        baseline: M_b, the metric of single-task learning.
        value: M_m, the metric of the method.
        higher_is_better: direction of the metric.

    Returns:
        The improvement in percent.

    Raises:
        ValueError: the baseline is zero or not finite, so that there is nothing to compare with.
    """
    if not math.isfinite(baseline) or baseline == 0:
        raise ValueError(f"the single-task baseline is {baseline}: an improvement over it is not defined")
    gain = value - baseline if higher_is_better else baseline - value
    return 100.0 * gain / abs(baseline)
