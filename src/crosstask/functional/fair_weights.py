r"""Weights of gradients by :math:`\alpha`-fairness: FairGrad, and Nash-MTL as its case :math:`\alpha = 1`."""

from __future__ import annotations

import numpy as np

_RIDGE = 1e-8
_STEPS = 100
_CLOSE = 1e-12


def fair_weights(gramian: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    r"""Positive weights with :math:`G w = w^{-1 / \alpha}`, eq. (4) of Ban and Ji (2024).

    At :math:`\alpha = 1` that is the bargaining solution of Navon et al. (2022), :math:`G w = 1 / w`. The equation says
    that a strictly convex function has no slope,

    .. math:: F(w) = \tfrac12 w^\top G w - \sum_t \int^{w_t} x^{-1 / \alpha} dx,

    so there is one solution, which Newton's method finds from anywhere. Gradients that cancel out to nothing have none;
    the lengths of all are taken a hundred-millionth longer, which then gives large weights and a sum near zero.

    Args:
        gramian: ``t t``, inner products of the gradients, none of which is zero.
        alpha: of the fairness, positive.

    Returns:
        ``t``, float64.
    """
    G = np.asarray(gramian, dtype=float)
    lengths = np.sqrt(np.diag(G))
    C = G / np.outer(lengths, lengths) + _RIDGE * np.eye(len(G))  # w = v / lengths, or sizes far apart cannot be solved
    power = 1.0 / alpha
    v = lengths * lengths ** (-2.0 * alpha / (1.0 + alpha))  # the solution where all gradients are orthogonal
    for _ in range(_STEPS):
        pull = (v / lengths) ** -power / lengths
        slope = C @ v - pull
        step = -np.linalg.solve(C + np.diag(power * pull / v), slope)
        v = v + _length(v, step, C, lengths, power) * step
        if float(np.abs(step / v).max()) < _CLOSE:
            break
    return v / lengths


def _length(v: np.ndarray, step: np.ndarray, C: np.ndarray, lengths: np.ndarray, power: float) -> float:
    """How much of a step to take: F is convex, so as long as it still falls at the end nothing was passed."""
    length = 1.0
    for _ in range(_STEPS):
        there = v + length * step
        if (there > 0).all():
            slope = C @ there - (there / lengths) ** -power / lengths
            if float(slope @ step) <= 0.1 * abs(float((C @ v - (v / lengths) ** -power / lengths) @ step)):
                return length
        length /= 2
    return length
