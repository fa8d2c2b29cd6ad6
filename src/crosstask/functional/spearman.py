"""Which characteristics go with a diagnosis, and what their losses weigh: eq. (1) to (3) of Fang et al. (2019)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Negative = Literal["absolute", "leave_out"]
_FEWEST = 3  # with two pairs every correlation is perfect, and has no p-value


@dataclass(frozen=True)
class Characteristic:
    r"""How a characteristic goes with the major label, and whether it is learned: a column of the paper's Table 1.

    Attributes:
        name: of its task.
        rho: Spearman's correlation with the major label, in [-1, 1]; NaN where there is none.
        p: two-sided p-value of no correlation; NaN where there is none.
        number: cases with both labels.
        weight: :math:`w_k` of eq. (3); 0 if it is left out.
        reason: why it is left out; empty if it is kept.
    """

    name: str
    rho: float
    p: float
    number: int
    weight: float
    reason: str = ""

    @property
    def kept(self) -> bool:
        """Whether it is learned."""
        return not self.reason


def spearman(first: np.ndarray, second: np.ndarray) -> tuple[float, float, int]:
    """Spearman's rank correlation of the cases that have both values; equal values share their mean rank.

    Args:
        first: ``n``, NaN where a case has no value.
        second: ``n``, likewise.

    Returns:
        Correlation, two-sided p-value (by Student's t) and number of cases. The first two are NaN with fewer than three
        cases, or where one side is the same in all of them.

    Raises:
        ValueError: the arrays are not both ``n``.
    """
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"two values a case are needed, not shapes {first.shape} and {second.shape}")
    both = ~(np.isnan(first) | np.isnan(second))
    number = int(both.sum())
    if number < _FEWEST:
        return math.nan, math.nan, number
    # SciPy's statistics cost most of a second to import, which commands that only look must not pay
    from scipy.stats import spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a side that is constant; NaN says so
        found = spearmanr(first[both], second[both])
    return float(found.statistic), float(found.pvalue), number


def characteristic(
    name: str,
    values: np.ndarray,
    major: np.ndarray,
    *,
    significance: float = 0.05,
    negative: Negative = "absolute",
) -> Characteristic:
    r"""A characteristic with its weight :math:`w_k`, or the reason why it is left out; section 2.1 of the paper.

    It is kept if :math:`p` is below the significance level. The paper's own correlations are all positive. The sign
    says in which direction a characteristic goes with the diagnosis, not how much it tells of it, and a cross-entropy
    with a negative weight would be maximised: :math:`w_k = |\rho_k|`, or negative ones are left out.

    Args:
        name: of its task.
        values: ``n``, its level in each training case, NaN where it is not known.
        major: ``n``, that of the major label.
        significance: p-value from which on it is left out.
        negative: what becomes of negative correlations.
    """
    rho, p, number = spearman(values, major)
    reason = ""
    if number < _FEWEST:
        reason = f"only {number} cases have both labels"
    elif math.isnan(rho):
        both = ~(np.isnan(values) | np.isnan(major))
        whose = "it" if np.ptp(values[both]) == 0 else "the major label"
        reason = f"{whose} is the same in all cases that have both labels"
    elif not p < significance:
        reason = f"p is not below {significance:g}"
    elif rho < 0 and negative == "leave_out":
        reason = "the correlation is negative"
    return Characteristic(name, rho, p, number, 0.0 if reason else abs(rho), reason)


def characteristic_weights(major: str, coefficients: Mapping[str, float], *, m: float = 0.7) -> dict[str, float]:
    r"""What each loss weighs in eq. (1) and (3) of Fang et al. (2019).

    .. math:: L = m L_{mt} + (1 - m) \sum_k w_k L_k

    A major task alone weighs 1: its loss is the plain cross-entropy of eq. (2), as in single-task learning.

    Args:
        major: name of the major task.
        coefficients: :math:`w_k` of each auxiliary task that is learned.
        m: the combining weight, 0.7 in the paper.

    Returns:
        ``{task: weight}``, the major first.
    """
    if not coefficients:
        return {major: 1.0}
    return {major: m} | {name: (1 - m) * weight for name, weight in coefficients.items()}
