"""Combo losses against a plain reference in loops, and against MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss
from torch import Tensor
from torch.nn import functional as F

from crosstask.functional import combo_loss, softmax_combo_loss
from crosstask.functional.combo import SMOOTH, ComboForm

SIZES = [(7, 5), (4, 3, 5)]


def masks(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.7).float()


def logits_of(*shape: int, seed: int = 1) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exclusive_masks(batch: int, classes: int, *size: int) -> Tensor:
    """Masks of which no two cover a voxel, with background left."""
    label = torch.randint(0, classes + 1, (batch, *size), generator=torch.Generator().manual_seed(2))
    return torch.stack([(label == index + 1).float() for index in range(classes)], dim=1)


def dice_term(probability: np.ndarray, target: np.ndarray, present: np.ndarray) -> float:
    """Soft Dice loss by its definition: per class over all voxels of the samples that carry it."""
    losses = []
    for index in range(target.shape[1]):
        rows = [sample for sample in range(target.shape[0]) if present[sample, index]]
        if not rows:
            continue
        overlap = sum(float((probability[row, index] * target[row, index]).sum()) for row in rows)
        total = sum(float(probability[row, index].sum() + target[row, index].sum()) for row in rows)
        losses.append(1 - (2 * overlap + SMOOTH) / (total + SMOOTH))
    return sum(losses) / len(losses)


def plain_combo(logits: Tensor, target: Tensor, present: Tensor, alpha: float, beta: float) -> float:
    z, y, there = (value.double().numpy() for value in (logits, target, present))
    there = there.astype(bool)
    entropies = [
        float(np.mean(np.logaddexp(0, z[b, c]) - z[b, c] * y[b, c])) for b, c in zip(*np.nonzero(there), strict=True)
    ]
    return alpha * dice_term(1 / (1 + np.exp(-z)), y, there) + beta * sum(entropies) / len(entropies)


def plain_softmax_combo(logits: Tensor, target: Tensor, present: Tensor, alpha: float, beta: float) -> float:
    z, y = logits.double().numpy(), target.double().numpy()
    there = present.numpy()
    probability = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = np.where(y.any(axis=1), y.argmax(axis=1) + 1, 0)
    entropies = []
    for sample in np.flatnonzero(there):
        places = np.ndindex(labels.shape[1:])
        entropies.append(np.mean([-math.log(probability[(sample, labels[(sample, *at)], *at)]) for at in places]))
    dice = dice_term(probability[:, 1:], y, np.repeat(there[:, None], y.shape[1], axis=1))
    return alpha * dice + beta * sum(entropies) / len(entropies)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.0), (0.0, 1.0), (2.0, 0.5)])
def test_equals_a_plain_reference(size: tuple[int, ...], weights: tuple[float, float]):
    logits, target = logits_of(4, 3, *size), masks(4, 3, *size)
    present = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.bool)
    alpha, beta = weights
    for mask in (present, torch.ones(4, 3, dtype=torch.bool)):
        value = combo_loss(logits, target, dice_weight=alpha, cross_entropy_weight=beta, present=mask)
        assert value.shape == ()
        assert float(value) == pytest.approx(plain_combo(logits, target, mask, alpha, beta), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.0), (0.0, 1.0)])
def test_softmax_equals_a_plain_reference(size: tuple[int, ...], weights: tuple[float, float]):
    logits, target = logits_of(4, 3, *size), exclusive_masks(4, 2, *size)
    alpha, beta = weights
    for present in (torch.tensor([True, False, True, True]), torch.ones(4, dtype=torch.bool)):
        value = softmax_combo_loss(logits, target, dice_weight=alpha, cross_entropy_weight=beta, present=present)
        assert value.shape == ()
        assert float(value) == pytest.approx(plain_softmax_combo(logits, target, present, alpha, beta), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_equals_monai_with_dice_over_the_batch(size: tuple[int, ...]):
    logits, target = logits_of(3, 2, *size), masks(3, 2, *size)
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(combo_loss(logits, target), 0.3 * dice + 0.7 * entropy)

    logits, target = logits_of(3, 3, *size), exclusive_masks(3, 2, *size)
    whole = torch.cat([1 - target.sum(1, keepdim=True), target], dim=1)
    dice = DiceLoss(softmax=True, include_background=False, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    entropy = F.cross_entropy(logits, whole.argmax(1))
    torch.testing.assert_close(softmax_combo_loss(logits, target), 0.3 * dice(logits, whole) + 0.7 * entropy)


def test_default_weights_are_the_papers():
    logits, target = logits_of(2, 2, 6, 6), masks(2, 2, 6, 6)
    torch.testing.assert_close(
        combo_loss(logits, target),
        0.3 * combo_loss(logits, target, dice_weight=1, cross_entropy_weight=0)
        + 0.7 * combo_loss(logits, target, dice_weight=0, cross_entropy_weight=1),
    )


def test_what_is_missing_is_left_out_exactly():
    logits = logits_of(4, 3, 6, 5).requires_grad_()
    target = masks(4, 3, 6, 5)
    present = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    value = combo_loss(logits, target, present=present)
    value.backward()
    gradient = logits.grad
    assert not gradient[~present].any()
    assert all(gradient[sample, index].any() for sample, index in present.nonzero())

    missing = ~present[:, :, None, None]
    other_logits = torch.where(missing, 30 * logits_of(4, 3, 6, 5, seed=8), logits.detach())
    other_target = torch.where(missing, 1 - target, target)
    assert torch.equal(combo_loss(other_logits, other_target, present=present), value.detach())


def test_softmax_leaves_missing_samples_out_exactly():
    logits = logits_of(3, 3, 6, 5).requires_grad_()
    target = exclusive_masks(3, 2, 6, 5)
    present = torch.tensor([True, False, True])
    value = softmax_combo_loss(logits, target, present=present)
    value.backward()
    assert not logits.grad[1].any()
    assert all(logits.grad[sample].any() for sample in (0, 2))
    torch.testing.assert_close(value, softmax_combo_loss(logits[[0, 2]], target[[0, 2]]))


@pytest.mark.parametrize("loss", [combo_loss, softmax_combo_loss])
def test_no_label_at_all_is_exactly_zero_without_gradient(loss):
    softmax = loss is softmax_combo_loss
    logits = logits_of(2, 3, 5, 5).requires_grad_()
    target = torch.zeros(2, 2 if softmax else 3, 5, 5)
    present = torch.zeros(2, dtype=torch.bool) if softmax else torch.zeros(2, 3, dtype=torch.bool)
    value = loss(logits, target, present=present)
    value.backward()
    assert value.item() == 0
    assert not logits.grad.any()


def test_a_class_without_labels_does_not_dilute_the_others():
    logits, target = logits_of(2, 2, 6, 6), masks(2, 2, 6, 6)
    present = torch.tensor([[True, False], [True, False]])
    torch.testing.assert_close(combo_loss(logits, target, present=present), combo_loss(logits[:, :1], target[:, :1]))


def test_a_perfect_prediction_costs_nothing_even_of_an_empty_mask():
    target = torch.zeros(2, 2, 6, 6)
    target[0, 0, 2:4, 2:4] = 1
    assert combo_loss(200 * target - 100, target).item() == pytest.approx(0, abs=1e-6)
    assert combo_loss(100 - 200 * target, target).item() > 10


def test_dice_runs_over_the_batch_so_that_empty_slices_weigh_little():
    # the second sample is empty: taken alone it would have a Dice loss near one
    logits, target = torch.full((2, 1, 8, 8), -6.0), torch.zeros(2, 1, 8, 8)
    target[0, 0, 2:6, 2:6] = 1
    logits[0, 0, 2:6, 2:6] = 6.0
    only_dice = combo_loss(logits, target, dice_weight=1, cross_entropy_weight=0)
    each = [combo_loss(logits[i : i + 1], target[i : i + 1], dice_weight=1, cross_entropy_weight=0) for i in (0, 1)]
    assert only_dice < 0.02
    assert sum(each) / 2 > 0.4


def test_half_precision_and_integer_targets_are_computed_in_single():
    logits, target = logits_of(2, 2, 6, 6), masks(2, 2, 6, 6)
    value = combo_loss(logits.bfloat16(), target.to(torch.uint8))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, combo_loss(logits.bfloat16().float(), target))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[[[1e4, -1e4]]]], requires_grad=True)
    value = combo_loss(logits, torch.tensor([[[[0.0, 1.0]]]]))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


SAMPLE = ComboForm(dice="sample")


def overlap_of_samples(probability: np.ndarray, target: np.ndarray, present: np.ndarray, a: float, b: float) -> float:
    """1 - Tversky's index by its definition: of each sample and class that has a label, and then their mean."""
    losses = []
    for p, t in zip(probability[present], target[present], strict=True):
        true, excess, missed = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
        losses.append(1 - (true + SMOOTH) / (true + a * excess + b * missed + SMOOTH))
    return float(np.mean(losses))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("a", "b"), [(0.3, 0.7), (1.0, 1.0)])
def test_overlap_of_each_sample_equals_a_plain_reference(size: tuple[int, ...], a: float, b: float):
    logits, target = logits_of(4, 3, *size), masks(4, 3, *size)
    present = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.bool)
    z, y, there = logits.double().numpy(), target.double().numpy(), present.numpy()
    form = ComboForm(dice="sample", tversky=(a, b))
    found = combo_loss(logits, target, present=present, form=form, dice_weight=1, cross_entropy_weight=0)
    assert float(found) == pytest.approx(overlap_of_samples(1 / (1 + np.exp(-z)), y, there, a, b), rel=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dice", ["batch", "sample"])
def test_forms_equal_monai(size: tuple[int, ...], dice: str):
    logits, target = logits_of(3, 2, *size), masks(3, 2, *size)
    options = {"sigmoid": True, "batch": dice == "batch", "smooth_nr": SMOOTH, "smooth_dr": SMOOTH}
    overlap, tversky = DiceLoss(**options)(logits, target), TverskyLoss(alpha=0.2, beta=0.8, **options)(logits, target)
    focal = FocalLoss(gamma=2.0)(logits, target)

    def ours(**form: object) -> Tensor:
        return combo_loss(logits, target, form=ComboForm(dice=dice, **form))

    entropy = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(ours(), 0.3 * overlap + 0.7 * entropy)
    torch.testing.assert_close(ours(gamma=2.0), 0.3 * overlap + 0.7 * focal)
    torch.testing.assert_close(ours(tversky=(0.2, 0.8)), 0.3 * tversky + 0.7 * entropy)
    weight = torch.tensor([5.0, 0.5]).view(2, *(1,) * len(size))
    weighted = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
    torch.testing.assert_close(ours(class_weights=(5.0, 0.5)), 0.3 * overlap + 0.7 * weighted)


@pytest.mark.parametrize("dice", ["batch", "sample"])
def test_forms_of_exclusive_classes_equal_monai(dice: str):
    logits, target = logits_of(3, 3, 6, 5), exclusive_masks(3, 2, 6, 5)
    whole = torch.cat([1 - target.sum(1, keepdim=True), target], dim=1)
    options = {"softmax": True, "include_background": False, "batch": dice == "batch"}
    tversky = TverskyLoss(alpha=0.2, beta=0.8, smooth_nr=SMOOTH, smooth_dr=SMOOTH, **options)(logits, whole)
    focal = FocalLoss(gamma=2.0, use_softmax=True, include_background=True, reduction="none")(logits, whole)
    form = ComboForm(dice=dice, tversky=(0.2, 0.8), gamma=2.0)
    expected = 0.3 * tversky + 0.7 * focal.sum(1).mean()
    torch.testing.assert_close(softmax_combo_loss(logits, target, form=form), expected)
    overlap = DiceLoss(smooth_nr=SMOOTH, smooth_dr=SMOOTH, **options)(logits, whole)
    entropy = F.cross_entropy(logits, whole, weight=torch.tensor([1.0, 5.0, 0.5]), reduction="none").mean()
    weighted = softmax_combo_loss(logits, target, form=ComboForm(dice=dice, class_weights=(5.0, 0.5)))
    torch.testing.assert_close(weighted, 0.3 * overlap + 0.7 * entropy)


def test_forms_that_say_the_same():
    logits, target = logits_of(3, 2, 6, 5), masks(3, 2, 6, 5)
    target[1] = 0
    for dice in ("batch", "sample"):
        halves = combo_loss(logits, target, form=ComboForm(dice=dice, tversky=(0.5, 0.5)))
        torch.testing.assert_close(halves, combo_loss(logits, target, form=ComboForm(dice=dice)), atol=1e-6, rtol=1e-5)
    alone = [combo_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(combo_loss(logits, target, form=SAMPLE), torch.stack(alone).mean())


FORMS = [SAMPLE, ComboForm(tversky=(0.3, 0.7)), ComboForm(gamma=2.0), ComboForm("sample", (0.3, 0.7), 0.5)]
WEIGHTED = [ComboForm(gamma=gamma, class_weights=(3.0, 0.5)) for gamma in (0.0, 1.0)]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("loss", [combo_loss, softmax_combo_loss])
def test_forms_leave_out_what_is_missing(form: ComboForm, loss):
    softmax = loss is softmax_combo_loss
    logits = logits_of(3, 3, 5, 4).requires_grad_()
    target = exclusive_masks(3, 2, 5, 4) if softmax else masks(3, 3, 5, 4)
    present = torch.tensor([True, False, True]) if softmax else torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1]]) > 0
    value = loss(logits, target, present=present, form=form)
    value.backward()
    assert not logits.grad[~present].any() and logits.grad.isfinite().all()
    changed = logits.detach().clone()
    changed[~present] = 30.0
    assert torch.equal(loss(changed, target, present=present, form=form), value.detach())
    nothing = loss(logits, target, present=torch.zeros_like(present), form=form)
    assert nothing.item() == 0


@pytest.mark.parametrize("form", [*FORMS, *WEIGHTED], ids=str)
def test_gradients_of_forms(form: ComboForm):
    target = masks(2, 2, 3, 3).double()
    logits = logits_of(2, 2, 3, 3).double().requires_grad_()
    present = torch.tensor([[True, False], [True, True]])
    assert torch.autograd.gradcheck(lambda x: combo_loss(x, target, present=present, form=form), (logits,))
    exclusive, three = exclusive_masks(2, 2, 3, 3).double(), logits_of(2, 3, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: softmax_combo_loss(x, exclusive, form=form), (three,))
