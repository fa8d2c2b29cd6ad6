"""Folded networks give what they were made of gives, and what cannot be folded stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from crosstask.architectures import build
from crosstask.nn.folding import folded

TASKS = {"masks": ("pixel", 2), "kind": ("image", 3)}
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def worn(network: nn.Module) -> nn.Module:
    """Statistics and gains as after a training, in evaluation."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, NORMS):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, NORMS) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "encoder", "dims", "left"),
    [
        ("ctan", "resnet18-narrow", 2, 0),
        ("mtan", "resnet18-narrow", 2, 0),
        ("ctan-gated", "resnet18-narrow", 3, 0),
        ("cross_stitch", "resnet18-narrow", 2, 0),
        ("hps", "efficientnet-lite0", 2, 0),
        ("hps", "monai/densenet121", 2, None),
    ],
)
def test_outputs_are_the_same(name: str, encoder: str, dims: int, left: int | None) -> None:
    torch.manual_seed(0)
    network = worn(build(name, encoder=encoder, tasks=TASKS, in_channels=2, spatial_dims=dims))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    image = torch.randn(2, 2, *(40, 64, 33)[:dims])
    with torch.no_grad():
        expected = network(image)
        ready = folded(network, torch.randn(1, 2, *(32,) * dims))
        for task, values in ready(image).items():
            torch.testing.assert_close(values, expected[task], rtol=1e-4, atol=1e-4 * float(expected[task].abs().max()))
        again = network(image)
    assert ready is not network and norms(ready) < norms(network)
    if left is not None:
        assert norms(ready) == left
    assert all(torch.equal(again[task], values) for task, values in expected.items())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


class Single(nn.Module):
    """One task's output of some layers."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


class NormFirst(Single):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"a": self.conv1(self.bn1(image))}


class Twice(Single):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"a": self.bn1(self.conv1(image)) + self.conv1(image.flip(-1))}


class Between(Single):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"a": self.bn1(self.conv1(image).relu())}


class Heard(Single):
    """What the convolution gives goes elsewhere, too, so that folding would change that."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raw = self.conv1(image)
        return {"a": self.bn1(raw), "b": raw}


@pytest.mark.parametrize("kind", [NormFirst, Twice, Between, Heard])
def test_what_cannot_be_folded_stays_as_it_is(kind: type[Single]) -> None:
    network = worn(kind(conv1=nn.Conv2d(3, 3, 3, padding=1), bn1=nn.BatchNorm2d(3)))
    assert folded(network, torch.randn(1, 3, 8, 8)) is network


def test_a_normalisation_by_the_batch_stays() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    holder = Holder(network).eval()
    image = torch.randn(2, 1, 4, 4)
    assert torch.equal(folded(holder, image)(image)["a"], holder(image)["a"])


class Holder(nn.Module):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"a": self.layers(image)}


def test_what_is_not_folded_is_shared() -> None:
    network = worn(build("hps", encoder="resnet18-narrow", tasks={"kind": ("image", 3)}))
    ready = folded(network, torch.randn(1, 1, 32, 32))
    assert ready.get_parameter("decoders.kind.output.weight") is network.get_parameter("decoders.kind.output.weight")
    assert ready.get_parameter("encoder.conv1.weight") is not network.get_parameter("encoder.conv1.weight")
