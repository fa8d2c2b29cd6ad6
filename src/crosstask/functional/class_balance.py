"""Weights of classes by how many cases they have."""

from __future__ import annotations

import math
from collections.abc import Sequence


def effective_number(count: float, beta: float) -> float:
    r"""Effective number of samples, Cui et al. (2019): :math:`(1 - \beta^n) / (1 - \beta)`.

    With n samples it is 1 for beta 0, and near n for beta near 1.
    """
    if beta == 0:
        return float(min(count, 1))
    return -math.expm1(count * math.log(beta)) / (1 - beta)


def effective_number_weights(counts: Sequence[float], beta: float) -> tuple[float, ...]:
    """Weights of classes that exclude each other: inverse to their effective numbers, with mean 1 (Cui et al., 2019).

    Args:
        counts: training cases of each class; a class of none counts as one of one case.
        beta: 0 weighs all classes alike, a value near 1 inversely to their number of cases.
    """
    inverse = [1 / effective_number(max(count, 1), beta) for count in counts]
    return tuple(weight * len(inverse) / sum(inverse) for weight in inverse)


def effective_positive_weight(positive: float, negative: float, beta: float) -> float:
    """The same of a class of its own: weight of its positive cases against its negative ones."""
    return effective_number(max(negative, 1), beta) / effective_number(max(positive, 1), beta)
