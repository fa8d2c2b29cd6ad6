"""The encoder against an independent ResNet forward pass, and its sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.nn.encoder import RESNETS, STAGES, Encoder, build_encoder

# Parameters of torchvision's networks less their classifiers (512 or 2048 features, 1000 classes).
PARAMETERS = {
    "resnet18-narrow": 702_096,  # stem of 16 channels, blocks of 16, 32, 64 and 128
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
}


def reference(state: dict[str, Tensor], image: Tensor) -> list[Tensor]:
    """A ResNet written from the names of its weights alone, in evaluation mode (2-D)."""

    def norm(name: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{part}"] for part in names))

    def block(name: str, x: Tensor, stride: int) -> Tensor:
        bottleneck = f"{name}.conv3.weight" in state
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        y = x
        for number, step in enumerate(strides, start=1):
            weight = state[f"{name}.conv{number}.weight"]
            y = norm(f"{name}.bn{number}", F.conv2d(y, weight, stride=step, padding=weight.shape[-1] // 2))
            y = y.relu() if number < len(strides) else y
        if f"{name}.downsample.0.weight" in state:
            x = norm(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride))
        return (x + y).relu()

    features = [norm("bn1", F.conv2d(image, state["conv1.weight"], stride=2, padding=3)).relu()]
    x = F.max_pool2d(features[0], 3, stride=2, padding=1)
    for stage in STAGES:
        number = 0
        while f"layer{stage}.{number}.conv1.weight" in state:
            x = block(f"layer{stage}.{number}", x, stride=2 if stage > 1 and number == 0 else 1)
            number += 1
        features.append(x)
    return features


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_features_equal_a_plain_resnet(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name, in_channels=2)
    image = torch.randn(1, 2, 50, 64)
    with torch.no_grad():
        encoder(image.repeat(2, 1, 1, 1) * torch.randn(2, 1, 1, 1))  # moves the running statistics
        encoder.eval()
        for actual, expected in zip(encoder(image), reference(encoder.state_dict(), image), strict=True):
            torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", list(RESNETS))
def test_number_of_parameters_and_channels(name: str) -> None:
    with torch.device("meta"):
        encoder = Encoder(name, in_channels=3)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == PARAMETERS[name]
    assert encoder.channels[-1] == encoder.layer4[-1].conv2.out_channels * RESNETS[name].expansion


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, 32), (2, 50), (2, 66), (2, 45), (3, 32), (3, 34)])
def test_every_stage_halves_rounding_up(spatial_dims: int, size: int) -> None:
    encoder = build_encoder("resnet18", spatial_dims=spatial_dims).eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, *(size,) * spatial_dims))
    for step, (feature, channels) in enumerate(zip(features, encoder.channels, strict=True), start=1):
        size = math.ceil(size / 2)
        assert feature.shape == (1, channels, *(size,) * spatial_dims), step


def test_stages_are_all_blocks_but_the_last_and_then_the_last() -> None:
    encoder = build_encoder("resnet34").eval()
    state = torch.randn(1, 128, 8, 8)
    with torch.no_grad():
        shared = encoder.shared(3, state)
        torch.testing.assert_close(shared, encoder.layer3[:-1](state))
        torch.testing.assert_close(encoder.last(3, shared), encoder.layer3(state))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_convolutions_start_gaussian(spatial_dims: int) -> None:
    torch.manual_seed(0)
    weight = Encoder("resnet18", spatial_dims=spatial_dims).layer3[1].conv1.weight.detach()
    z = weight.flatten() / (2 / (256 * 3**spatial_dims)) ** 0.5
    assert z.square().mean().item() == pytest.approx(1, abs=0.02)
    assert z.pow(4).mean().item() == pytest.approx(3, abs=0.1)  # a uniform distribution has 1.8


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="resnet18-narrow, resnet18, resnet34, resnet50, resnet101"):
        build_encoder("resnet51")
    with pytest.raises(InputError, match="choose 2"):
        build_encoder("resnet18", spatial_dims=4)
