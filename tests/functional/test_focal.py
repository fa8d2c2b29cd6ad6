"""Focal loss and weights by effective numbers of cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss
from torch.nn import functional as F

from crosstask.functional import effective_number_weights, focal_cross_entropy, focal_softmax_cross_entropy
from crosstask.functional.class_balance import effective_number, effective_positive_weight


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_hot_of(batch: int, classes: int, *size: int) -> torch.Tensor:
    label = torch.randint(0, classes, (batch, *size), generator=torch.Generator().manual_seed(3))
    return F.one_hot(label, classes).movedim(-1, 1).double()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_sigmoids_follow_the_equation(gamma: float):
    x, y = drawn(7, 3), (drawn(7, 3, seed=1) > 0).double()
    weight = torch.tensor([1.0, 4.0, 0.25], dtype=torch.float64)
    p = 1 / (1 + np.exp(-x.numpy()))
    t, w = y.numpy(), weight.numpy()
    expected = -w * t * (1 - p) ** gamma * np.log(p) - (1 - t) * p**gamma * np.log(1 - p)
    np.testing.assert_allclose(focal_cross_entropy(x, y, gamma, weight), expected, rtol=1e-10)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("size", [(), (4, 3)])
def test_a_softmax_follows_the_equation(gamma: float, size: tuple[int, ...]):
    x, y = drawn(5, 4, *size), one_hot_of(5, 4, *size)
    p = np.exp(x.numpy()) / np.exp(x.numpy()).sum(1, keepdims=True)
    true = (p * y.numpy()).sum(1)
    np.testing.assert_allclose(
        focal_softmax_cross_entropy(x, y, gamma), -((1 - true) ** gamma) * np.log(true), rtol=1e-10
    )


def test_equals_monai():
    x, y = drawn(3, 4, 6, 5).float(), one_hot_of(3, 4, 6, 5).float()
    softmax = FocalLoss(gamma=2.0, use_softmax=True, include_background=True, reduction="none")(x, y).sum(1)
    torch.testing.assert_close(focal_softmax_cross_entropy(x, y, 2.0), softmax)
    torch.testing.assert_close(focal_cross_entropy(x, y, 2.0), FocalLoss(gamma=2.0, reduction="none")(x, y))


def test_gamma_zero_is_cross_entropy():
    x, y = drawn(5, 4), one_hot_of(5, 4)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(x, y, pos_weight=weight, reduction="none")
    assert torch.equal(focal_cross_entropy(x, y, 0.0, weight), expected)
    torch.testing.assert_close(
        focal_softmax_cross_entropy(x, y, 0.0), F.cross_entropy(x, y.argmax(1), reduction="none")
    )
    torch.testing.assert_close(focal_softmax_cross_entropy(x, y, 1e-12), focal_softmax_cross_entropy(x, y, 0.0))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients(gamma: float):
    x, y = drawn(3, 4).requires_grad_(), one_hot_of(3, 4)
    assert torch.autograd.gradcheck(lambda x: focal_cross_entropy(x, y, gamma), (x,))
    assert torch.autograd.gradcheck(lambda x: focal_softmax_cross_entropy(x, y, gamma), (x,))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("loss", [focal_cross_entropy, focal_softmax_cross_entropy])
def test_certain_outputs_stay_finite(gamma: float, loss):
    x = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [300.0, 300.0, 300.0]], requires_grad=True)
    y = torch.tensor([[1.0, 0, 0]] * 3)
    value = loss(x, y, gamma)
    value.sum().backward()
    assert value.isfinite().all() and x.grad.isfinite().all()


def test_a_sample_of_no_known_class_costs_nothing():
    x = drawn(2, 3).requires_grad_()
    value = focal_softmax_cross_entropy(x, torch.zeros(2, 3, dtype=torch.float64), 2.0)
    value.sum().backward()
    assert not value.any() and not x.grad.any()


def test_an_empty_batch_has_no_loss_and_a_gradient_of_its_shape():
    x = drawn(0, 3).requires_grad_()
    for loss in (focal_cross_entropy, focal_softmax_cross_entropy):
        loss(x, torch.zeros(0, 3, dtype=torch.float64), 2.0).sum().backward()
    assert x.grad.shape == (0, 3)


def test_effective_numbers_follow_the_equation():
    for beta in (0.9, 0.99, 0.9999):
        for count in (1, 7, 300):
            assert effective_number(count, beta) == pytest.approx(sum(beta**k for k in range(count)), rel=1e-9)
    assert effective_number(500, 0) == 1
    assert effective_number(500, 1 - 1e-12) == pytest.approx(500, rel=1e-6)


def test_weights_of_exclusive_classes():
    counts = [500, 50, 5]
    assert effective_number_weights(counts, 0.0) == (1.0, 1.0, 1.0)
    inverse = np.array([(1 - 0.99) / (1 - 0.99**count) for count in counts])
    np.testing.assert_allclose(effective_number_weights(counts, 0.99), 3 * inverse / inverse.sum(), rtol=1e-9)
    shares = 1 / np.array(counts)
    np.testing.assert_allclose(effective_number_weights(counts, 1 - 1e-12), 3 * shares / shares.sum(), rtol=1e-6)
    assert effective_number_weights([500, 0], 0.9) == effective_number_weights([500, 1], 0.9)


def test_weight_of_the_positives():
    assert effective_positive_weight(10, 990, 0.0) == 1
    assert effective_positive_weight(10, 990, 0.99) == pytest.approx((1 - 0.99**990) / (1 - 0.99**10))
    assert effective_positive_weight(10, 990, 1 - 1e-12) == pytest.approx(99, rel=1e-6)
