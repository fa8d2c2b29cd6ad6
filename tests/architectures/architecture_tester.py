"""What every architecture must do. A new one inherits :class:`ArchitectureTester` and gives its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from crosstask.architectures import Architecture, build
from crosstask.nn.encoder import Encoder
from crosstask.tasks.base import Head

HEADS = {
    "organs": Head("pixel", 3, bias=(-3.0, 0.0, 2.0)),
    "dose": Head("pixel", 1, bias=(5.0,)),
    "edges": Head("pixel", 2),
}


def tasks(number: int) -> dict[str, Head]:
    return dict(list(HEADS.items())[:number])


def loss(outputs: dict[str, Tensor]) -> Tensor:
    return torch.stack([output.square().mean() for output in outputs.values()]).sum()


class ArchitectureTester:
    """Properties of all architectures, in 2-D and 3-D, for one to three tasks.

    Attributes:
        name: name in the table.
    """

    name: str

    def network(self, number: int = 2, **options: int | Path) -> Architecture:
        torch.manual_seed(0)
        return build(self.name, encoder="resnet18", tasks=tasks(number), **options)

    @pytest.mark.parametrize(
        ("number", "size"), [(1, (32, 32)), (2, (50, 66)), (3, (64, 64)), (2, (33, 47)), (2, (32, 34, 50))]
    )
    def test_shapes(self, number: int, size: tuple[int, ...]) -> None:
        network = self.network(number, spatial_dims=len(size), in_channels=2).eval()
        with torch.no_grad():
            outputs = network(torch.randn(1, 2, *size))
        assert {task: output.shape for task, output in outputs.items()} == {
            task: (1, head.channels, *size) for task, head in tasks(number).items()
        }
        assert all(output.isfinite().all() for output in outputs.values())

    @pytest.mark.parametrize(("number", "blocks"), [(1, 3), (2, 3), (2, 4), (3, 5)])
    def test_every_parameter_gets_a_gradient(self, number: int, blocks: int) -> None:
        network = self.network(number, upsampling_blocks=blocks).train()
        loss(network(torch.randn(2, 1, 64, 64))).backward()
        assert self.without_gradient(network) == []

    def test_every_parameter_gets_a_gradient_in_volumes(self) -> None:
        network = self.network(spatial_dims=3).train()
        loss(network(torch.randn(2, 1, 50, 32, 32))).backward()
        assert self.without_gradient(network) == []

    @staticmethod
    def without_gradient(network: Architecture) -> list[str]:
        return [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]

    def test_own_parameters_hear_their_own_task_alone_and_shared_ones_several(self) -> None:
        network = self.network(3).train()
        heard: dict[int, set[str]] = {id(parameter): set() for parameter in network.parameters()}
        outputs = network(torch.randn(2, 1, 64, 64))
        parameters = list(network.parameters())
        for task, output in outputs.items():
            gradients = torch.autograd.grad(output.square().mean(), parameters, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    heard[id(parameter)].add(task)
        for task in network.heads:
            assert network.task_parameters(task)
            assert all(heard.pop(id(parameter)) == {task} for parameter in network.task_parameters(task))
        shared = network.shared_parameters()
        assert {id(parameter) for parameter in shared} == set(heard)
        assert all(len(heard[id(parameter)]) > 1 for parameter in shared)

    def test_save_and_load(self) -> None:
        network = self.network()
        network(torch.randn(2, 1, 64, 64))  # moves the running statistics
        other = self.network()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        other.load_state_dict(network.state_dict())
        self.assert_same(network.eval(), other.eval())

    def test_one_seed_gives_one_network(self) -> None:
        self.assert_same(self.network().train(), self.network().train())

    @staticmethod
    def assert_same(one: Architecture, other: Architecture) -> None:
        image = torch.randn(2, 1, 50, 64)
        with torch.no_grad():
            expected, actual = one(image), other(image)
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[task], actual[task]) for task in expected)

    def test_outputs_start_near_their_bias(self) -> None:
        with torch.no_grad():
            outputs = self.network(3).train()(torch.randn(4, 1, 64, 64))
        for task, output in outputs.items():
            bias = torch.tensor(HEADS[task].bias or (0.0,) * HEADS[task].channels)
            torch.testing.assert_close(output.mean(dim=(0, 2, 3)), bias, rtol=0, atol=0.2)

    def test_an_image_in_evaluation_does_not_depend_on_its_batch(self) -> None:
        network = self.network().eval()
        images = torch.randn(3, 1, 50, 64)
        with torch.no_grad():
            together, alone = network(images), network(images[1:2])
        for task, output in alone.items():
            torch.testing.assert_close(together[task][1:2], output, rtol=1e-4, atol=1e-5)

    def test_a_few_steps_lower_the_loss(self) -> None:
        network = self.network().train()
        image = torch.randn(2, 1, 32, 48)
        targets = {"organs": (image > 0).float().expand(-1, 3, -1, -1), "dose": image}
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        losses = []
        for _ in range(4):
            outputs = network(image)
            error = torch.stack([(outputs[task] - target).square().mean() for task, target in targets.items()]).sum()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
            losses.append(error.item())
        assert losses[-1] < losses[0]

    def test_encoder_weights_are_loaded(self, tmp_path: Path) -> None:
        weights = tmp_path / "weights.pth"
        state = Encoder("resnet18").state_dict()
        torch.save(state, weights)
        network = self.network(weights=weights)
        encoders = [module for module in network.modules() if isinstance(module, Encoder)]
        assert encoders
        for encoder in encoders:
            assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
