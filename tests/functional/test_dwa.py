"""DWA weights against torchjd's, driven epoch by epoch, and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import DWA

from crosstask.functional import dwa_weights

losses = st.floats(1e-3, 1e3)
pairs = st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(losses, min_size=n, max_size=n)] * 2))


@pytest.mark.parametrize("temperature", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_equals_torchjd_over_epochs(tasks: int, temperature: float):
    generator = torch.Generator().manual_seed(tasks)
    oracle = DWA(temperature=temperature)
    means: list[torch.Tensor] = []
    for epoch in range(6):
        batches = torch.rand((4, tasks), generator=generator, dtype=torch.float64) / (epoch + 1) + 0.1
        for batch in batches:
            values = batch.clone().requires_grad_()
            (expected,) = torch.autograd.grad(oracle(values), values)  # torchjd's weights
            if epoch < 2:
                assert torch.equal(expected, torch.ones_like(expected))
            else:
                torch.testing.assert_close(dwa_weights(means[-1], means[-2], temperature=temperature), expected)
        oracle.step()
        means.append(batches.mean(0))


def test_values_by_hand():
    # rates 1/2 and 1: softmax(0.25, 0.5), twice
    first, second = math.exp(0.25), math.exp(0.5)
    expected = [2 * first / (first + second), 2 * second / (first + second)]
    np.testing.assert_allclose(dwa_weights([1.0, 3.0], [2.0, 3.0]), expected)


@settings(max_examples=80, deadline=None)
@given(pairs, st.floats(0.1, 100))
def test_properties(pair, temperature):
    last, before = pair
    weights = dwa_weights(last, before, temperature=temperature)
    assert isinstance(weights, np.ndarray)
    assert np.all(np.isfinite(weights)) and np.all(weights >= 0)
    assert weights.sum() == pytest.approx(len(last))
    rates = np.divide(last, before)
    order = np.argsort(rates)
    assert np.all(np.diff(weights[order]) >= -1e-12)  # the slower a loss falls, the more weight
    scaled = dwa_weights([7 * loss for loss in last], [7 * loss for loss in before], temperature=temperature)
    np.testing.assert_allclose(scaled, weights)


@settings(max_examples=40, deadline=None)
@given(pairs, st.sampled_from([math.nan, math.inf, 0.0]))
def test_a_task_without_a_rate_stands_still_and_leaves_the_others(pair, bad):
    last, before = pair
    expected = dwa_weights([*last, 1.0], [*before, 1.0])
    np.testing.assert_array_equal(dwa_weights([*last, math.nan], [*before, 1.0]), expected)
    np.testing.assert_array_equal(dwa_weights([*last, bad], [*before, bad]), expected)
    np.testing.assert_array_equal(dwa_weights([*last, 1.0], [*before, 0.0]), expected)


def test_no_history_at_all_is_even():
    nan = [math.nan] * 3
    np.testing.assert_array_equal(dwa_weights(nan, nan), np.ones(3))


def test_a_jump_of_the_loss_does_not_overflow():
    weights = dwa_weights([1e300, 1.0], [1e-5, 1.0])
    np.testing.assert_allclose(weights, [2.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(dwa_weights([1e6, 1.0], [1.0, 1.0]), [2.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_give_tensors_of_their_type(dtype):
    weights = dwa_weights(torch.tensor([1.0, 3.0], dtype=dtype), torch.tensor([2.0, 3.0], dtype=dtype))
    assert weights.dtype == dtype
    np.testing.assert_allclose(weights.numpy(), dwa_weights([1.0, 3.0], [2.0, 3.0]), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        dwa_weights([1.0], [1.0], temperature=temperature)


@pytest.mark.parametrize(("last", "before"), [([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])])
def test_one_loss_per_task_and_epoch(last, before):
    with pytest.raises(ValueError, match="one loss per task"):
        dwa_weights(last, before)
