"""Networks made ready to predict: the same values, and never those of weights that were there before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crosstask.architectures import build
from crosstask.prediction.ready import Ready


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build("ctan", encoder="resnet18-narrow", tasks={"masks": ("pixel", 2), "kind": ("image", 3)})
    network.train()(torch.randn(4, 1, 32, 32) + 1)  # statistics that are not the first ones
    return network.eval()


def alike(ready: Ready, network: nn.Module, image: torch.Tensor) -> bool:
    with torch.inference_mode():
        found = ready(network, image)
        expected = network(image)
    return all(torch.allclose(found[task], values, rtol=1e-4, atol=1e-4) for task, values in expected.items())


def test_values_are_the_network_s(network: nn.Module) -> None:
    ready = Ready()
    for size in ((40, 72), (128, 96)):
        assert alike(ready, network, torch.randn(3, 1, *size))
    assert ready._ready is not network and not any(isinstance(m, nn.BatchNorm2d) for m in ready._ready.modules())


def test_weights_that_change_are_seen(network: nn.Module) -> None:
    ready, image = Ready(), torch.randn(1, 1, 32, 32)
    assert alike(ready, network, image)
    with torch.no_grad():
        network.get_parameter("encoder.layer1.0.conv1.weight").mul_(3)
    assert alike(ready, network, image)
    network.get_buffer("encoder.bn1.running_mean").add_(1)
    assert alike(ready, network, image)
    other = build("hps", encoder="resnet18-narrow", tasks={"masks": ("pixel", 2)}).eval()
    assert alike(ready, other, image)


def test_a_network_can_be_trained_after_it_has_predicted(network: nn.Module) -> None:
    image = torch.randn(2, 1, 32, 32)
    layouts = {name: parameter.stride() for name, parameter in network.named_parameters()}
    assert alike(Ready(), network, image)
    assert {name: parameter.stride() for name, parameter in network.named_parameters()} == layouts
    assert not any(parameter.is_inference() for parameter in network.parameters())
    network.train()(image)["masks"].sum().backward()
    assert network.get_parameter("encoder.conv1.weight").grad is not None


def test_a_network_in_training_is_asked_itself(network: nn.Module) -> None:
    image = torch.randn(2, 1, 32, 32)
    before = int(network.get_buffer("encoder.bn1.num_batches_tracked"))
    Ready()(network.train(), image)
    assert int(network.get_buffer("encoder.bn1.num_batches_tracked")) == before + 1


def test_volumes_and_networks_without_normalisation() -> None:
    volumes = build("hps", encoder="resnet18-narrow", tasks={"kind": ("image", 2)}, spatial_dims=3).eval()
    assert alike(Ready(), volumes, torch.randn(1, 1, 32, 40, 32))

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": self.conv(image)}

    assert alike(Ready(), Bare().eval(), torch.randn(2, 1, 16, 16))
