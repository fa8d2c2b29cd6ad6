"""Improvement over single-task learning."""

from __future__ import annotations

import math

MARGIN = 1.0
"""A difference below so many percent is equivalence, unless told otherwise."""
LEVEL = 0.95
"""Confidence of intervals and verdicts, unless told otherwise."""
_ERRORS = 4.0
_LEAST_OF_HIGHEST = 0.05
_LEAST_OF_CONSTANT = 0.01


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


def near_zero(baseline: float, *, error: float, higher_is_better: bool, scale: float) -> bool:
    """Whether a baseline is too near zero to be divided by.

    A ratio to a figure that may as well be zero can be anything: its confidence set is unbounded as soon as the
    baseline's own interval holds zero (Fieller 1954), whatever the unit, and the interval of the ratio fails before
    that. Here the baseline must be four standard errors away from zero: at four the interval still covers the truth in
    93 to 97 of 100 cases, at two in 90. And where a network has learned next to nothing, or errs next to nothing, the
    next half point is +50 % and means as little: here below 5 % of the highest value where higher is better, below 1 %
    of the error of the constant predictor where lower is.

    Args:
        baseline: M of single-task learning.
        error: its standard error over runs and cases, in the same unit; NaN where it is not known.
        higher_is_better: direction of the metric.
        scale: the highest value, or the error of the constant predictor; NaN where it is not known.
    """
    least = _LEAST_OF_HIGHEST if higher_is_better else _LEAST_OF_CONSTANT
    return abs(baseline) < _ERRORS * error or abs(baseline) < least * scale
