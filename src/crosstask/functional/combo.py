"""Combo loss: Dice and cross-entropy together, and what others have put in the place of either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from crosstask.functional.batch_sums import batch_mean, over_batch
from crosstask.functional.focal import focal_cross_entropy, focal_softmax_cross_entropy

SMOOTH = 1e-5

# MONAI's DiceLoss, TverskyLoss and FocalLoss are the oracles of the tests and not the code: they know no missing label,
# which must leave the sums of its class before these are divided, and the mean over samples or classes after it.


@dataclass(frozen=True)
class ComboForm:
    """Which overlap and which entropy a combo loss is made of; by default Dice of the batch and cross-entropy.

    Attributes:
        dice: ``batch``: sums of overlap and size run over all labelled samples of a batch, class by class; ``sample``:
            every sample has a Dice of its own, and their mean is taken.
        tversky: (a, b): Tversky's index in the place of Dice, TP / (TP + a FP + b FN), see Salehi et al. (2017); None
            is Dice, which (0.5, 0.5) is, too.
        gamma: focal loss in the place of cross-entropy, see :func:`~crosstask.functional.focal.focal_cross_entropy`;
            0 is cross-entropy.
        class_weights: in the entropy, what a voxel of each class weighs, where one of none weighs 1; None is 1 each.
    """

    dice: Literal["batch", "sample"] = "batch"
    tversky: tuple[float, float] | None = None
    gamma: float = 0.0
    class_weights: tuple[float, ...] | None = None


def _at_least_single(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _soft_dice_loss(probability: Tensor, target: Tensor, present: Tensor, form: ComboForm) -> Tensor:
    """1 - soft Dice (or Tversky's index) per class; mean over the classes, or samples and classes, that have labels.

    By default the sums run over the whole batch and not sample by sample: most slices hold no voxel of a thin organ,
    and a Dice term of an empty slice says nothing.
    """
    labelled = present.to(probability.dtype)
    space = tuple(range(2, probability.ndim))
    parts = [(probability * target).sum(space)]
    if form.tversky is None:
        parts.append(probability.sum(space) + target.sum(space))
    else:
        parts += [(probability * (1 - target)).sum(space), ((1 - probability) * target).sum(space)]
    if form.dice == "sample":
        return batch_mean(_overlap_loss([part * labelled for part in parts], form), present)
    summed = [(part * labelled).sum(0) for part in parts]
    *summed, number = over_batch(torch.stack([*summed, labelled.sum(0)]))
    counted = (number > 0).to(number.dtype)
    return (_overlap_loss(summed, form) * counted).sum() / counted.sum().clamp(min=1)


def _overlap_loss(sums: Sequence[Tensor], form: ComboForm) -> Tensor:
    """1 - Dice or Tversky's index of each, by the sums that it is made of."""
    intersection, *others = sums
    if form.tversky is None:
        return 1 - (2 * intersection + SMOOTH) / (others[0] + SMOOTH)
    false_positive, false_negative = form.tversky
    total = intersection + false_positive * others[0] + false_negative * others[1]
    return 1 - (intersection + SMOOTH) / (total + SMOOTH)


def combo_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 0.3,
    cross_entropy_weight: float = 0.7,
    present: Tensor | None = None,
    form: ComboForm = ComboForm(),
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
        form: what stands in the place of Dice and cross-entropy.

    Shapes:
        logits, target: ``b c *s``.  present: ``b c``, bool.  returns: scalar.
    """
    if present is None:
        present = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    logits, target = _at_least_single(logits), _at_least_single(target)
    weight = None
    if form.class_weights is not None:
        weight = logits.new_tensor(form.class_weights).view(-1, *(1,) * (logits.ndim - 2))
    entropy = focal_cross_entropy(logits, target, form.gamma, weight).flatten(2).mean(2)
    soft_dice = _soft_dice_loss(logits.sigmoid(), target, present, form)
    return dice_weight * soft_dice + cross_entropy_weight * batch_mean(entropy, present)


def softmax_combo_loss(
    logits: Tensor,
    target: Tensor,
    *,
    dice_weight: float = 0.3,
    cross_entropy_weight: float = 0.7,
    present: Tensor | None = None,
    form: ComboForm = ComboForm(),
) -> Tensor:
    """:func:`combo_loss` for classes that exclude each other: softmax, channel 0 is the background.

    Args:
        logits: raw output.
        target: 0 or 1 per class, without the background, which is what no class covers.
        dice_weight: weight of the Dice loss, background left out.
        cross_entropy_weight: weight of the cross-entropy.
        present: which samples carry labels; None where all do.
        form: what stands in the place of Dice and cross-entropy.

    Shapes:
        logits: ``b 1+c *s``.  target: ``b c *s``.  present: ``b``, bool.  returns: scalar.
    """
    if present is None:
        present = torch.ones(logits.shape[0], dtype=torch.bool, device=logits.device)
    logits, target = _at_least_single(logits), _at_least_single(target)
    one_hot = torch.cat([1 - target.amax(1, keepdim=True), target], dim=1)
    if form.gamma:
        entropy = focal_softmax_cross_entropy(logits, one_hot, form.gamma)
    else:
        entropy = F.cross_entropy(logits, one_hot, reduction="none")
    if form.class_weights is not None:
        weights = logits.new_tensor((1.0, *form.class_weights)).view(-1, *(1,) * (logits.ndim - 2))
        entropy = entropy * (one_hot * weights).sum(1)
    entropy = entropy.flatten(1).mean(1)
    labelled = present[:, None].expand(-1, target.shape[1])
    soft_dice = _soft_dice_loss(logits.softmax(1)[:, 1:], target, labelled, form)
    return dice_weight * soft_dice + cross_entropy_weight * batch_mean(entropy, present)
