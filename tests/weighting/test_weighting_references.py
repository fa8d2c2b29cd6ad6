"""Each weighting against its paper's equations, written out here, on the brute-force Jacobian of real networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls
from torch import Tensor, nn

from crosstask.architectures import Architecture, build
from crosstask.registry import WEIGHTINGS
from crosstask.tasks.base import Head
from crosstask.weighting import EpochWeighting, GradientWeighting, Step, build_weighting

PIXEL, VECTOR = Head("pixel", 1), Head("image", 2)
HEADS = {"seg": PIXEL, "dose": PIXEL, "grade": VECTOR}
NAMES = ("hps", "mtan", "ctan")


@pytest.fixture(scope="module")
def networks() -> dict[str, Architecture]:
    found = {}
    for name in (*NAMES, "ctan-gated"):
        torch.manual_seed(3)
        found[name] = build(name, encoder="resnet18-narrow", tasks=HEADS).double().eval()
    return found


@pytest.fixture(scope="module")
def losses_of(networks: dict[str, Architecture]) -> Callable[..., dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    image = torch.randn(4, 1, 32, 32, generator=generator, dtype=torch.float64)
    targets = {
        task: torch.randn(4, 1, 32, 32, generator=generator, dtype=torch.float64) + shift
        for task, shift in (("seg", 1.0), ("dose", -2.0))
    }
    targets["grade"] = torch.randn(4, 2, generator=generator, dtype=torch.float64) * 4

    def losses(name: str, tasks: tuple[str, ...], rows: slice = slice(None)) -> dict[str, Tensor]:
        outputs = networks[name](image[rows])
        return {task: (outputs[task] - targets[task][rows]).square().mean() for task in tasks}

    return losses


def step_of(network: Architecture, **options: float) -> Step:
    shared = network.shared_parameters()
    last = [p for p in network.encoder_parameters() if p.ndim > 1][-1]
    own = {task: network.task_parameters(task) for task in HEADS}
    return Step(torch.tensor(1.0, dtype=torch.float64), shared, own, last, **options)


def of_all(network: nn.Module) -> dict[str, np.ndarray | None]:
    found = {n: None if p.grad is None else p.grad.numpy().copy() for n, p in network.named_parameters()}
    network.zero_grad()
    return found


def brute_force(network: Architecture, losses: dict[str, Tensor]) -> dict[str, dict[str, np.ndarray | None]]:
    """Gradient of each loss on its own, by plain backward passes."""
    rows = {}
    for task, loss in losses.items():
        loss.backward(retain_graph=True)
        rows[task] = of_all(network)
    return rows


def jacobian(network: Architecture, rows: dict[str, dict[str, np.ndarray | None]]) -> np.ndarray:
    shared = {id(p) for p in network.shared_parameters()}
    names = [(n, p) for n, p in network.named_parameters() if id(p) in shared]
    flat = [
        np.concatenate([(np.zeros(p.shape) if row[n] is None else row[n]).ravel() for n, p in names])
        for row in rows.values()
    ]
    return np.stack(flat)


def pcgrad(J: np.ndarray) -> np.ndarray:
    """Algorithm 1 on the vectors themselves."""
    total = np.zeros(J.shape[1])
    for i, g in enumerate(J):
        projected = g.copy()
        for j in torch.randperm(len(J)).tolist():
            if j != i and projected @ J[j] < 0:
                projected = projected - (projected @ J[j]) / (J[j] @ J[j]) * J[j]
        total += projected
    return total


def mgda(J: np.ndarray) -> np.ndarray:
    """The shortest convex combination of the rows."""
    w = _on_the_simplex(lambda w: float(w @ (J @ J.T) @ w), len(J))
    return w @ J


def imtl_g(J: np.ndarray) -> np.ndarray:
    """Eq. (6): equal projections on all unit gradients, weights that sum to one."""
    U = J / np.linalg.norm(J, axis=1, keepdims=True)
    D, V = J[:1] - J[1:], U[:1] - U[1:]
    rest = J[0] @ V.T @ np.linalg.inv(D @ V.T)
    return np.array([1 - rest.sum(), *rest]) @ J


def aligned_mtl(J: np.ndarray) -> np.ndarray:
    """The nearest matrix with all singular values alike, scaled to the smallest; the mean of its rows."""
    left, values, right = np.linalg.svd(J, full_matrices=False)
    return (values.min() * left @ right).mean(0)


def cagrad(J: np.ndarray, c: float = 0.4) -> np.ndarray:
    """The dual of the paper, eq. (4), on the simplex."""
    g0 = J.mean(0)
    radius = c * np.linalg.norm(g0)
    w = _on_the_simplex(lambda w: float((w @ J) @ g0 + radius * np.linalg.norm(w @ J)), len(J))
    gw = w @ J
    return g0 + radius * gw / np.linalg.norm(gw)


def upgrad(J: np.ndarray) -> np.ndarray:
    """Each row projected on the cone where no loss rises: g + J^T v with the v >= 0 that makes it shortest."""
    return np.mean([g + nnls(J.T, -g)[0] @ J for g in J], axis=0)


def fair(J: np.ndarray) -> np.ndarray:
    """G w = 1 / w, which is where w G w / 2 - sum log w has no slope: a general minimiser in log w."""
    lengths = np.linalg.norm(J, axis=1)
    C = (J / lengths[:, None]) @ (J / lengths[:, None]).T

    def value(u: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.exp(u)
        return float(w @ C @ w / 2 - u.sum()), w * (C @ w) - 1

    w = np.exp(minimize(value, np.zeros(len(J)), jac=True, method="BFGS", options={"gtol": 1e-9}).x)
    np.testing.assert_allclose(C @ w * w, 1, rtol=1e-6)
    return (w / lengths) @ J


def nash(J: np.ndarray) -> np.ndarray:
    found = fair(J)
    return found / max(1.0, float(np.linalg.norm(found)))


def _on_the_simplex(value: Callable[[np.ndarray], float], count: int) -> np.ndarray:
    ends = [
        minimize(
            value,
            start,
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-15, "maxiter": 500},
        )
        for start in (np.full(count, 1 / count), *(0.9 * np.eye(count) + 0.1 / count))
    ]
    return min(ends, key=lambda end: end.fun).x


REFERENCES = {
    "pcgrad": pcgrad,
    "cagrad": cagrad,
    "mgda": mgda,
    "imtl_g": imtl_g,
    "aligned_mtl": aligned_mtl,
    "nash_mtl": nash,
    "upgrad": upgrad,
    "fairgrad": fair,
}


def test_every_gradient_method_has_a_reference() -> None:
    built_in = [name for name in WEIGHTINGS if WEIGHTINGS.is_built_in(name)]
    assert {name for name in built_in if issubclass(WEIGHTINGS[name], GradientWeighting)} == set(REFERENCES)


@pytest.mark.parametrize("tasks", [("seg", "dose"), ("seg", "dose", "grade")], ids=["a label missing", "all labels"])
@pytest.mark.parametrize("architecture", ["hps", "ctan", pytest.param("mtan", marks=pytest.mark.long)])
def test_gradient_methods_equal_their_papers(networks, losses_of, architecture: str, tasks: tuple[str, ...]) -> None:
    network = networks[architecture]
    rows = brute_force(network, losses_of(architecture, tasks))
    J = jacobian(network, rows)
    shared = {id(p) for p in network.shared_parameters()}
    for name, reference in REFERENCES.items():
        weighting = build_weighting(name, tuple(HEADS))
        torch.manual_seed(11)
        weighting.backward(losses_of(architecture, tasks), step_of(network))
        found = of_all(network)
        torch.manual_seed(11)
        expected, at = reference(J), 0
        tolerance = {"mgda": 1e-2, "upgrad": 2e-3, "cagrad": 2e-3}.get(name, 1e-5)  # those of their solvers
        for key, parameter in network.named_parameters():
            if id(parameter) in shared:
                piece = expected[at : at + parameter.numel()].reshape(parameter.shape)
                at += parameter.numel()
                if all(row[key] is None for row in rows.values()):
                    assert found[key] is None, f"{name}: no loss reaches {key}"
                else:
                    limit = tolerance * np.linalg.norm(expected)
                    assert np.linalg.norm(found[key] - piece) <= limit, f"{name}: {key}"
            else:
                own = [row[key] for row in rows.values() if row[key] is not None]
                assert len(own) <= 1
                if own:
                    np.testing.assert_allclose(found[key], own[0], rtol=1e-9, atol=1e-12)
                else:
                    assert found[key] is None


@pytest.mark.parametrize("architecture", ["mtan", "ctan"])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_every_part_of_the_attention_learns(networks, losses_of, architecture: str, name: str) -> None:
    network = networks[architecture]
    build_weighting(name, tuple(HEADS)).backward(losses_of(architecture, tuple(HEADS)), step_of(network))
    found = of_all(network)
    attention = [key for key in found if not key.startswith(("encoder.", "decoders."))]
    assert attention
    for key in attention:
        assert found[key] is not None and found[key].any(), key


def scalar_reference(name: str, losses: dict[str, float], drawn: Tensor) -> dict[str, float]:
    """Weight of each loss by the equations, in the first step."""
    values, count = list(losses.values()), len(losses)
    known = [list(HEADS).index(task) for task in losses]
    if name == "uncertainty":
        weights = [0.5] * count
    elif name == "gradnorm":
        weights = [1.0] * count
    elif name == "rlw":
        powers = [math.exp(float(drawn[i])) for i in known]
        weights = [power / sum(powers) for power in powers]
    elif name == "famo":
        c = 1 / sum(1 / count / value for value in values)
        weights = [c / count / value for value in values]
    else:
        powers = [math.exp((value - max(values)) / count / 0.1) for value in values]
        weights = [power / sum(powers) / count for power in powers]
    return dict(zip(losses, weights, strict=True))


@pytest.mark.parametrize("tasks", [("seg", "dose"), ("seg", "dose", "grade")], ids=["a label missing", "all labels"])
@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("name", ["uncertainty", "gradnorm", "rlw", "famo", "stch"])
def test_scalar_weightings_equal_their_papers(networks, losses_of, name, architecture, tasks) -> None:
    network = networks[architecture]
    rows = brute_force(network, losses_of(architecture, tasks))
    losses = {task: loss.item() for task, loss in losses_of(architecture, tasks).items()}
    torch.manual_seed(11)
    expected = scalar_reference(name, losses, torch.randn(3))
    torch.manual_seed(11)
    told = build_weighting(name, tuple(HEADS)).backward(losses_of(architecture, tasks), step_of(network))
    assert {task: float(weight) for task, weight in told.items()} == pytest.approx(expected, rel=1e-5)
    for key, gradient in of_all(network).items():
        parts = [expected[task] * row[key] for task, row in rows.items() if row[key] is not None]
        if parts:
            np.testing.assert_allclose(gradient, sum(parts), rtol=1e-4, atol=1e-8)
        else:
            assert gradient is None


@pytest.mark.parametrize("name", ["equal", "fixed", "dwa"])
@pytest.mark.parametrize("architecture", ["hps", "ctan", "ctan-gated"])
def test_weights_of_an_epoch_are_a_weighted_sum_bit_by_bit(networks, losses_of, name: str, architecture: str) -> None:
    network = networks[architecture]
    options = {"weights": {"seg": 0.3, "dose": 1.7, "grade": 1.1}} if name == "fixed" else {}
    weighting = build_weighting(name, tuple(HEADS), **options)
    assert isinstance(weighting, EpochWeighting)
    for losses in ({"seg": 1.0, "dose": 2.0, "grade": 3.0}, {"seg": 0.7, "dose": 1.9, "grade": 1.0}):
        weighting.end_epoch(losses)
    w = weighting.weights()
    weighting.start_epoch()
    l1, l2, l3 = losses_of(architecture, tuple(HEADS)).values()
    (w["seg"] * l1 + w["dose"] * l2 + w["grade"] * l3).backward()
    expected = of_all(network)
    weighting.backward(losses_of(architecture, tuple(HEADS)), step_of(network))
    for key, gradient in of_all(network).items():
        assert (gradient is None) == (expected[key] is None)
        assert gradient is None or np.array_equal(gradient, expected[key]), key
    assert weighting.epoch_weights() == w


def test_uncertainty_learns_where_its_own_loss_has_no_slope(networks, losses_of) -> None:
    """d/ds of exp(-s) L / 2 + s / 2 is (1 - L) / 2 at s = 0."""
    weighting = build_weighting("uncertainty", tuple(HEADS))
    losses = losses_of("hps", ("seg", "grade"))
    weighting.backward(losses, step_of(networks["hps"]))
    of_all(networks["hps"])
    expected = [(1 - losses["seg"].item()) / 2, 0.0, (1 - losses["grade"].item()) / 2]
    np.testing.assert_allclose(weighting.parameters()[0].grad.numpy(), expected, rtol=1e-5)


def test_gradnorm_pulls_as_its_equation_says(networks, losses_of) -> None:
    network = networks["hps"]
    weighting = build_weighting("gradnorm", tuple(HEADS), alpha=0.5)
    first = {task: loss.item() for task, loss in losses_of("hps", tuple(HEADS)).items()}
    weighting.backward(losses_of("hps", tuple(HEADS)), step_of(network))
    of_all(network)
    w = copy.deepcopy(weighting.parameters()[0])
    with torch.no_grad():
        w.copy_(torch.tensor([0.5, 1.5, 1.0]))
        weighting.parameters()[0].copy_(w)
    weighting.parameters()[0].grad = None
    losses = {
        task: loss * factor
        for (task, loss), factor in zip(losses_of("hps", tuple(HEADS)).items(), (0.5, 0.9, 1), strict=True)
    }
    last = step_of(network).last
    lengths = np.array(
        [torch.autograd.grad(loss, last, retain_graph=True)[0].norm().item() for loss in losses.values()]
    )
    G = w.detach().numpy() * lengths
    r = np.array([loss.item() / first[task] for task, loss in losses.items()])
    target = G.mean() * (r / r.mean()) ** 0.5
    weighting.backward(losses, step_of(network))
    of_all(network)
    np.testing.assert_allclose(weighting.parameters()[0].grad.numpy(), np.sign(G - target) * lengths, rtol=1e-4)


def test_famo_moves_its_logits_by_what_losses_fell(networks, losses_of) -> None:
    """The first step of Adam is its learning rate, against the sign of the gradient of sum z_t fallen_t."""
    weighting = build_weighting("famo", tuple(HEADS), decay=0.0)
    losses = losses_of("hps", tuple(HEADS))
    weighting.backward(losses, step_of(networks["hps"]))
    of_all(networks["hps"])
    after = {
        task: loss.detach() * factor for (task, loss), factor in zip(losses.items(), (0.5, 0.9, 0.99), strict=True)
    }
    weighting.after_step(lambda: after)
    fallen = -np.log([0.5, 0.9, 0.99])
    slope = (fallen - fallen.mean()) / 3
    np.testing.assert_allclose(weighting.logits.detach().numpy(), -0.025 * np.sign(slope), rtol=1e-3)
