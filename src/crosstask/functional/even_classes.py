"""Thresholds of classes that exclude each other, by which each counts alike in what is decided."""

from __future__ import annotations

import numpy as np

_LEAST = 1e-12  # probability, so that no class is out of reach
_ROUNDS = 10_000
_CLOSE = 1e-9


def even_class_thresholds(target: np.ndarray, probability: np.ndarray) -> tuple[float, ...]:
    r"""Thresholds t for the decision :math:`\arg\max_k p_k / t_k`, which add up to 1.

    Probabilities with :math:`p'_k \propto p_k / t_k` are, on average over cases in which every class counts alike,
    the same for every class:

    .. math:: \frac1K \sum_j \frac1{n_j} \sum_{i: y_i = j} p'_{ik} = \frac1K

    So where :math:`p` is right for a population of other shares of classes, :math:`p'` is right for one of even shares
    (how probabilities follow shares: Saerens et al., Neural Computation 14, 2002), and the most probable class by it
    is decided for, which is right most often on the mean over classes. Probabilities that are right for even shares
    already, as after training on classes drawn equally often, keep their decisions. The solution is that of matrix
    scaling (Sinkhorn and Knopp 1967), which is one but for the sum.

    Args:
        target: one-hot.
        probability: of each class, of a case one in sum.

    Shapes:
        target, probability: ``n c``.  returns: ``c``; that of a class which no case is of is the geometric mean of the
        others.
    """
    true = np.asarray(target) > 0.5
    number = true.sum(0)
    there = number > 0
    weights = np.ones(true.shape[1])
    if there.sum() > 1:
        case = (true[:, there] / number[there]).sum(1) / there.sum()
        seen = np.maximum(np.asarray(probability, dtype=np.float64), _LEAST)
        for _ in range(_ROUNDS):
            shares = weights * seen
            mean = case @ (shares / shares.sum(1, keepdims=True))
            wanted = (1 - mean[~there].sum()) / there.sum()
            step = wanted / mean[there]
            weights[there] *= step
            weights[there] /= np.exp(np.log(weights[there]).mean())
            if np.abs(step - 1).max() < _CLOSE:
                break
    thresholds = 1 / weights
    return tuple((thresholds / thresholds.sum()).tolist())
