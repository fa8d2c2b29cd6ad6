"""What every weighting must do, on a network small enough to work out by hand; inherit it to test your own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from crosstask.registry import WEIGHTINGS
from crosstask.weighting import Step, Weighting, build_weighting

TASKS = ("a", "b", "c")


class SmallNetwork(nn.Module):
    """A shared trunk, and of each task a layer of its own; float64, with gradients that are in conflict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.trunk = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
        self.unused = nn.Linear(2, 2)
        self.own = nn.ModuleDict({task: nn.Linear(4, 2) for task in TASKS})
        self.double()
        self.image = torch.randn(8, 5, dtype=torch.float64)
        self.targets = {task: torch.randn(8, 2, dtype=torch.float64) * 3 for task in TASKS}

    @property
    def shared(self) -> list[nn.Parameter]:
        return [*self.trunk.parameters(), *self.unused.parameters()]

    def losses(self, tasks: tuple[str, ...] = TASKS, rows: slice = slice(None)) -> dict[str, Tensor]:
        features = self.trunk(self.image[rows])
        return {task: (self.own[task](features) - self.targets[task][rows]).square().mean() for task in tasks}

    def step(self, scale: float = 1.0, share: float = 1.0, ends: bool = True) -> Step:
        own = {task: list(layer.parameters()) for task, layer in self.own.items()}
        factor = torch.tensor(scale * share)
        return Step(factor, self.shared, own, self.trunk[2].weight, share=share, ends=ends)

    def gradients(self) -> dict[str, Tensor | None]:
        found = {name: None if p.grad is None else p.grad.clone() for name, p in self.named_parameters()}
        self.zero_grad()
        return found


def assert_same(first: Mapping[str, Any], second: Mapping[str, Any], **tolerance: float) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        other = second[name]
        if value is None or other is None:
            assert value is None and other is None, name
        else:
            torch.testing.assert_close(value, other, **(tolerance or {"rtol": 0.0, "atol": 0.0}))


class WeightingTester:
    """Inherit, and name the weighting; ``options`` are those that it cannot do without."""

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    accumulates: ClassVar[bool] = False  # two halves of a batch are as the whole

    def build(self, tasks: tuple[str, ...] = TASKS) -> Weighting:
        weighting = build_weighting(self.name, tasks, **self.options)
        weighting.start_epoch()
        return weighting

    @pytest.fixture
    def network(self) -> SmallNetwork:
        return SmallNetwork()

    def run(self, weighting: Weighting, network: SmallNetwork, steps: int = 3) -> list[dict[str, Tensor | None]]:
        """Steps of gradient descent, with all that an epoch calls; the gradients of each."""
        learned = list(weighting.parameters())
        optimiser = torch.optim.SGD([*network.parameters(), *learned], lr=0.05)
        seen = []
        for number in range(steps):
            optimiser.zero_grad()
            tasks = TASKS if number != 1 else TASKS[:2]
            weights = weighting.backward(network.losses(tasks), network.step())
            assert set(weights) <= set(tasks)
            seen.append({name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()})
            optimiser.step()
            if weighting.looks_back:
                with torch.no_grad():
                    weighting.after_step(lambda tasks=tasks: network.losses(tasks))
            else:
                weighting.after_step(dict)
        weighting.end_epoch({task: float(loss.detach()) for task, loss in network.losses().items()})
        return seen

    def test_it_is_in_the_table_and_built_by_name(self) -> None:
        assert self.name in WEIGHTINGS
        assert type(self.build()) is WEIGHTINGS[self.name]
        assert self.build().tasks == TASKS

    def test_all_that_losses_reach_has_a_finite_gradient(self, network: SmallNetwork) -> None:
        self.build().backward(network.losses(), network.step())
        for name, gradient in network.gradients().items():
            if name.startswith("unused"):
                assert gradient is None, f"{name}: no loss reaches it"
            else:
                assert gradient is not None and torch.isfinite(gradient).all() and gradient.any(), name

    def test_one_task_alone_is_gradient_descent_up_to_a_factor(self, network: SmallNetwork) -> None:
        torch.manual_seed(0)
        weighting = self.build(("a",))
        weighting.backward(network.losses(("a",)), network.step())
        found = network.gradients()
        network.losses(("a",))["a"].backward()
        plain = network.gradients()
        factor = found["trunk.0.weight"].norm() / plain["trunk.0.weight"].norm()
        assert factor > 0
        assert_same(found, {k: None if g is None else factor * g for k, g in plain.items()}, rtol=1e-6, atol=1e-9)

    def test_a_task_without_a_label_has_no_part(self, network: SmallNetwork) -> None:
        weighting = self.build()
        torch.manual_seed(0)
        weighting.backward(network.losses(("a", "c")), network.step())
        first = network.gradients()
        assert first["own.b.weight"] is None
        other = self.build()
        with torch.no_grad():
            network.targets["b"] += 5
        torch.manual_seed(0)
        other.backward(network.losses(("a", "c")), network.step())
        assert_same(first, network.gradients())

    def test_without_any_label_there_is_no_gradient(self, network: SmallNetwork) -> None:
        weighting = self.build()
        assert dict(weighting.backward({}, network.step())) == {}
        assert all(gradient is None for gradient in network.gradients().values())
        weighting.after_step(dict)

    def test_a_scale_scales_all_gradients(self, network: SmallNetwork) -> None:
        found = []
        for scale in (1.0, 2.0**10):
            torch.manual_seed(0)
            weighting = self.build()
            weighting.backward(network.losses(), network.step(scale))
            learned = {str(i): p.grad for i, p in enumerate(weighting.parameters())}
            found.append({**network.gradients(), **learned})
        assert_same({k: None if g is None else g * 2**10 for k, g in found[0].items()}, found[1], rtol=1e-6, atol=1e-9)

    def test_a_gradient_that_is_not_finite_stays_so(self, network: SmallNetwork) -> None:
        weighting = self.build()
        losses = network.losses()
        weighting.backward({**losses, "b": losses["b"] * torch.inf}, network.step())
        assert not torch.isfinite(network.gradients()["trunk.0.weight"]).all()

    def test_two_halves_are_a_whole(self, network: SmallNetwork) -> None:
        if not self.accumulates:
            pytest.skip("its weights follow from the losses of each accumulated batch")
        torch.manual_seed(0)
        self.build().backward(network.losses(), network.step())
        whole = network.gradients()
        torch.manual_seed(0)
        weighting = self.build()
        weighting.backward(network.losses(rows=slice(0, 4)), network.step(share=0.5, ends=False))
        weighting.backward(network.losses(rows=slice(4, 8)), network.step(share=0.5))
        assert_same(whole, network.gradients(), rtol=1e-5, atol=1e-7)

    def test_a_step_that_ends_without_a_label_ends_the_step(self, network: SmallNetwork) -> None:
        torch.manual_seed(0)
        weighting = self.build()
        weighting.backward(network.losses(), network.step(share=0.5, ends=False))
        weighting.backward({}, network.step(share=0.5))
        first = network.gradients()
        assert first["trunk.0.weight"].any()
        torch.manual_seed(0)
        self.build().backward(network.losses(), network.step(share=0.5))
        assert_same(first, network.gradients(), rtol=1e-9, atol=1e-12)

    def test_it_repeats_and_goes_on_from_its_state(self, network: SmallNetwork, tmp_path: Any) -> None:
        unbroken, other = self.build(), self.build()
        twin = copy.deepcopy(network)
        torch.manual_seed(1)
        first = self.run(unbroken, network)
        torch.manual_seed(1)
        for one, two in zip(first, self.run(other, twin), strict=True):
            assert_same(one, two)
        torch.save(other.state_dict(), tmp_path / "state.pt")
        resumed = self.build()
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        unbroken.start_epoch()
        resumed.start_epoch()
        torch.manual_seed(2)
        first = self.run(unbroken, network)
        torch.manual_seed(2)
        for one, two in zip(first, self.run(resumed, twin), strict=True):
            assert_same(one, two)
        for one, two in zip(unbroken.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, two)
