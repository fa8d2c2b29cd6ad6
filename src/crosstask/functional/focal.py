"""Focal loss: cross-entropy in which what is already right weighs little."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# MONAI's FocalLoss is the oracle of the tests and not the code: its weights are those of a class, not of the positive
# side of a sigmoid, and of a softmax it takes the gradient of (1 - p)^gamma through 1 - p, which is lost where p rounds
# to 1.


def focal_cross_entropy(
    logits: Tensor, target: Tensor, gamma: float = 0.0, positive_weight: Tensor | None = None
) -> Tensor:
    r"""Binary focal loss of each element, Lin et al. (2017), eq. (4): one sigmoid a class.

    .. math:: FL(p_t) = -w_t (1 - p_t)^\gamma \log p_t

    with p_t the probability of what is true, and w_t the weight of the positive side (of the negative it is 1).

    Args:
        logits: raw output.
        target: 0 or 1.
        gamma: how little the easy ones weigh; 0 is binary cross-entropy.
        positive_weight: w of the positives, broadcast against the logits.

    Shapes:
        logits, target: any, alike.  returns: the same.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weight, reduction="none")
    if gamma == 0:
        return entropy
    return entropy * (gamma * F.logsigmoid(logits * (1 - 2 * target))).exp()


def focal_softmax_cross_entropy(logits: Tensor, one_hot: Tensor, gamma: float = 0.0) -> Tensor:
    r"""Focal loss of each element, Lin et al. (2017), eq. (4): classes that exclude each other, one softmax.

    .. math:: FL(p_t) = -(1 - p_t)^\gamma \log p_t

    Args:
        logits: raw output.
        one_hot: 1 at the true class; zero for every class where none is known, which costs nothing.
        gamma: how little the easy ones weigh; 0 is cross-entropy.

    Shapes:
        logits, one_hot: ``b c *s``.  returns: ``b *s``.
    """
    entropy = -(logits.log_softmax(1) * one_hot).sum(1)
    if gamma == 0:
        return entropy
    wrong = logits.masked_fill(one_hot > 0.5, -torch.inf).logsumexp(1) - logits.logsumexp(1)  # log(1 - p_t)
    return entropy * (gamma * wrong.clamp(max=0)).exp()
