"""Combo loss: Dice and cross-entropy together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1e-5


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the mask; exactly zero, without NaN, where the mask is empty."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _soft_dice_loss(probability: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """1 - soft Dice per class over all labelled samples of the batch; mean over the classes that have any.

    The sums run over the whole batch and not sample by sample: most slices hold no voxel of a thin organ, and a
    Dice term of an empty slice says nothing.
    """
    labelled = present.to(probability.dtype)
    space = tuple(range(2, probability.ndim))
    intersection = ((probability * target).sum(space) * labelled).sum(0)
    total = ((probability.sum(space) + target.sum(space)) * labelled).sum(0)
    return _masked_mean(1 - (2 * intersection + SMOOTH) / (total + SMOOTH), present.any(0))


def combo_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 0.3,
    cross_entropy_weight: float = 0.7,
    present: Tensor | None = None,
) -> Tensor:
    r"""Weighted sum of Dice loss and binary cross-entropy, one sigmoid per class, which may overlap.

    :math:`0.3 L_{Dice} + 0.7 L_{CE}` as in Table 1 of Kim et al. (2023); see Ma et al. (2021) for the family.

    Args:
        logits: raw output.
        target: 0 or 1.
        dice_weight: weight of the Dice loss (soft Dice of each class over the batch).
        cross_entropy_weight: weight of the cross-entropy, mean over voxels and classes.
        present: which sample carries a label for which class; None where all do. What is missing adds nothing to
            the loss and gets no gradient.

    Shapes:
        logits, target: ``b c *s``.  present: ``b c``, bool.  returns: scalar.
    """
    if present is None:
        present = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    logits, target = logits.float(), target.float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2).mean(2)
    return dice_weight * _soft_dice_loss(logits.sigmoid(), target, present) + cross_entropy_weight * _masked_mean(
        entropy, present
    )


def softmax_combo_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 0.3,
    cross_entropy_weight: float = 0.7,
    present: Tensor | None = None,
) -> Tensor:
    """:func:`combo_loss` for classes that exclude each other: softmax, channel 0 is the background.

    Args:
        logits: raw output.
        target: 0 or 1 per class, without the background, which is what no class covers.
        dice_weight: weight of the Dice loss, background left out.
        cross_entropy_weight: weight of the cross-entropy.
        present: which samples carry labels; None where all do.

    Shapes:
        logits: ``b 1+c *s``.  target: ``b c *s``.  present: ``b``, bool.  returns: scalar.
    """
    if present is None:
        present = torch.ones(logits.shape[0], dtype=torch.bool, device=logits.device)
    logits, target = logits.float(), target.float()
    one_hot = torch.cat([1 - target.amax(1, keepdim=True), target], dim=1)
    entropy = F.cross_entropy(logits, one_hot, reduction="none").flatten(1).mean(1)
    soft_dice = _soft_dice_loss(logits.softmax(1)[:, 1:], target, present[:, None].expand(-1, target.shape[1]))
    return dice_weight * soft_dice + cross_entropy_weight * _masked_mean(entropy, present)
