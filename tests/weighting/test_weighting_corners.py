"""Gradients that are alike, opposite, tiny, zero or far apart: weights stay finite and mean what they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.functional.fair_weights import fair_weights
from crosstask.registry import WEIGHTINGS
from crosstask.weighting import GradientWeighting, Step, build_weighting, check_installed

NAMES = sorted(n for n in WEIGHTINGS if WEIGHTINGS.is_built_in(n) and issubclass(WEIGHTINGS[n], GradientWeighting))
INVARIANT = sorted({*NAMES} - {"fairgrad", "nash_mtl"})
ROWS = torch.tensor([[3.0, 1.0, 0.0], [-1.0, 2.0, 1.0], [0.5, -0.5, 2.0]], dtype=torch.float64)


def aggregate(name: str, rows: Tensor, **options: float) -> Tensor:
    """The gradient that a weighting makes of losses whose gradients are the rows."""
    parameter = torch.nn.Parameter(torch.zeros(rows.shape[1], dtype=torch.float64))
    losses = {str(index): row @ parameter for index, row in enumerate(rows)}
    torch.manual_seed(0)
    build_weighting(name, tuple(losses), **options).backward(losses, Step(torch.tensor(1.0), [parameter], {}))
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("name", INVARIANT)
@pytest.mark.parametrize("factor", [1e-5, 1e4])
def test_the_length_of_gradients_does_not_change_their_weights(name: str, factor: float) -> None:
    torch.testing.assert_close(aggregate(name, factor * ROWS), factor * aggregate(name, ROWS), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [2, 3])
def test_gradients_that_are_alike_go_their_common_way(name: str, count: int) -> None:
    found = aggregate(name, ROWS[:1].expand(count, 3))
    assert torch.nn.functional.cosine_similarity(found, ROWS[0], dim=0) > 1 - 1e-6


@pytest.mark.parametrize("name", sorted({*NAMES} - {"imtl_g"}))  # two opposite ones have no point of equal projections
def test_opposite_gradients_of_one_length_cancel_out(name: str) -> None:
    found = aggregate(name, torch.stack([ROWS[0], -ROWS[0]]))
    assert found.norm() < 2e-3 * ROWS[0].norm()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gap", [1e-3, 1e3])
def test_gradients_of_unlike_lengths_give_a_finite_one(name: str, gap: float) -> None:
    rows = ROWS.clone()
    rows[1] *= gap
    assert torch.isfinite(aggregate(name, rows)).all()
    assert torch.isfinite(aggregate(name, torch.stack([rows[0], -gap * rows[0]]))).all()


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-5])
def test_cagrad_goes_on_where_one_gradient_is_much_shorter(gap: float) -> None:
    """All weight of the dual is on the short row there: the mean, and c times its length along that row."""
    rows = ROWS[:2].clone()
    rows[1] *= gap
    mean, short = rows.mean(0), rows[1] / rows[1].norm()
    torch.testing.assert_close(aggregate("cagrad", rows), mean + 0.4 * mean.norm() * short, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_of_zero_leaves_the_others_as_they_are(name: str) -> None:
    with_zero = torch.stack([ROWS[0], torch.zeros(3, dtype=torch.float64), ROWS[1]])
    torch.testing.assert_close(aggregate(name, with_zero), aggregate(name, ROWS[:2]))
    assert not aggregate(name, torch.zeros_like(ROWS)).any()


@pytest.mark.parametrize("name", ["pcgrad", "mgda", "upgrad", "aligned_mtl"])
def test_no_loss_rises_where_two_are_in_conflict(name: str) -> None:
    rows = torch.tensor([[1.0, 0.0], [-0.9, 0.5]], dtype=torch.float64)
    assert (rows @ aggregate(name, rows) >= -1e-3).all()


def test_gradients_lie_in_memory_as_their_parameters_do() -> None:
    """Or a fused optimiser adds each to another's weight."""
    shared, own = (nn.Conv2d(2, 3, 3, padding=1).to(memory_format=torch.channels_last) for _ in range(2))
    image = torch.randn(2, 2, 8, 8)
    features = shared(image)[:, :2]
    losses = {"a": own(features).square().mean(), "b": features.sin().mean()}
    step = Step(torch.tensor(1.0), list(shared.parameters()), {"a": list(own.parameters())})
    build_weighting("pcgrad", ("a", "b")).backward(losses, step)
    for layer in (shared, own):
        assert layer.weight.grad is not None and layer.weight.grad.stride() == layer.weight.stride()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_fair_weights_solve_their_equation(alpha: float, count: int) -> None:
    generator = np.random.default_rng(count)
    for _ in range(20):
        J = generator.normal(size=(count, 8)) * 10.0 ** generator.uniform(-1, 1, size=(count, 1))
        w = fair_weights(J @ J.T, alpha)
        assert (w > 0).all()
        np.testing.assert_allclose(J @ J.T @ w, w ** (-1 / alpha), rtol=1e-3)


@pytest.mark.parametrize("name", ["fairgrad", "nash_mtl"])
def test_bargains_agree_with_torchjd(name: str) -> None:
    from torchjd.aggregation import FairGrad

    found, oracle = aggregate(name, ROWS), FairGrad(alpha=1.0)(ROWS)
    if name == "nash_mtl":
        oracle = oracle / max(1.0, float(oracle.norm()))
    torch.testing.assert_close(found, oracle, rtol=1e-4, atol=1e-5)


def test_nash_is_as_long_as_asked() -> None:
    assert aggregate("nash_mtl", 1e-3 * ROWS).norm() == pytest.approx(1.0, rel=1e-5)
    assert aggregate("nash_mtl", ROWS, max_norm=0.0).norm() == pytest.approx(3**0.5, rel=1e-5)
    assert aggregate("nash_mtl", ROWS, max_norm=0.2).norm() == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("upgrad", ("quadprog", "qpsolvers"), "'upgrad' needs quadprog and qpsolvers"),
        ("cagrad", ("clarabel",), "'cagrad' needs clarabel"),
    ],
)
def test_a_solver_that_is_missing_is_named_with_its_remedy(monkeypatch, name, missing, message) -> None:
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package in missing else there(package))
    with pytest.raises(InputError, match=message) as error:
        check_installed(name)
    assert str(error.value).endswith("pip install 'crosstask[gradients]'")
    check_installed("pcgrad")
