"""The pixel and the image decoder: sizes, skips, and where their outputs start."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from crosstask.errors import InputError
from crosstask.nn.decoder import ImageDecoder, PixelDecoder
from crosstask.nn.encoder import Encoder

CHANNELS = (8, 12, 16, 20, 24)


def features(size: int, spatial_dims: int = 2, rounding: Callable[[float], int] = math.ceil) -> list[Tensor]:
    pyramid = []
    for channels in CHANNELS:
        size = rounding(size / 2)
        pyramid.append(torch.randn(2, channels, *(size,) * spatial_dims, requires_grad=True))
    return pyramid


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("blocks", [3, 4, 5])
@pytest.mark.parametrize("size", [32, 50, 33])
def test_output_has_the_size_of_the_image(spatial_dims: int, blocks: int, size: int) -> None:
    decoder = PixelDecoder(CHANNELS, 3, spatial_dims=spatial_dims, upsampling_blocks=blocks, widths=(8, 8, 8, 4, 2))
    pyramid = features(size, spatial_dims)
    output = decoder(pyramid, (size,) * spatial_dims)
    assert output.shape == (2, 3, *(size,) * spatial_dims)
    output.square().sum().backward()
    used = [feature.grad is not None for feature in pyramid]
    assert used == [blocks >= 4, True, True, True, True]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())


def test_three_blocks_are_a_plain_u_net() -> None:
    decoder = PixelDecoder(CHANNELS, 2).double().eval()
    pyramid = [feature.detach().double() for feature in features(50)]
    state = decoder.state_dict()
    x = pyramid[4]
    for number, skip in enumerate((pyramid[3], pyramid[2], pyramid[1])):
        x = torch.cat([F.interpolate(x, skip.shape[2:], mode="bilinear"), skip], dim=1)
        for layer in (0, 1):
            name = f"blocks.{number}.convolutions.{layer}"
            x = F.conv2d(x, state[f"{name}.0.weight"], padding=1)
            norm = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
            x = F.batch_norm(x, *norm).relu()
    x = F.conv2d(10 * x, state["output.weight"], state["output.bias"])
    torch.testing.assert_close(decoder(pyramid, (50, 50)), F.interpolate(x, (50, 50), mode="bilinear"))


def test_output_starts_near_its_bias() -> None:
    torch.manual_seed(0)
    decoder = PixelDecoder(CHANNELS, 3, bias=(-4.0, 0.0, 7.0))
    output = decoder(features(64), (64, 64)).mean(dim=(0, 2, 3))
    torch.testing.assert_close(output, torch.tensor([-4.0, 0.0, 7.0]), rtol=0, atol=0.2)


@pytest.mark.parametrize("blocks", [0, 2, 6])
def test_other_numbers_of_blocks_are_refused(blocks: int) -> None:
    with pytest.raises(InputError, match="3, 4 or 5"):
        PixelDecoder(CHANNELS, 1, upsampling_blocks=blocks)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("rounding", [math.ceil, math.floor])
@pytest.mark.parametrize("size", [64, 50, 47])
def test_image_decoder_gives_one_vector_an_image_and_hears_every_stage(
    spatial_dims: int, rounding: Callable[[float], int], size: int
) -> None:
    decoder = ImageDecoder(CHANNELS, 7, spatial_dims=spatial_dims)
    pyramid = features(size, spatial_dims, rounding)
    output = decoder(pyramid)
    assert output.shape == (2, 7)
    output.square().sum().backward()
    assert all(feature.grad is not None and feature.grad.any() for feature in pyramid)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())


@pytest.mark.parametrize("size", [64, 50, 33])
def test_image_decoder_equals_a_plain_reference(size: int) -> None:
    decoder = ImageDecoder(CHANNELS, 7, widths=(3, 5, 7, 100)).double()
    decoder([feature.detach().double() for feature in features(64)])  # running statistics off their neutral values
    decoder.eval()
    x, *skips = pyramid = [feature.detach().double() for feature in features(size)]
    state = decoder.state_dict()
    assert [state[f"blocks.{number}.convolution.0.weight"].shape[0] for number in range(4)] == [3, 5, 7, 24]
    for number, skip in enumerate(skips):
        name = f"blocks.{number}.convolution"
        x = F.conv2d(x, state[f"{name}.0.weight"], stride=2, padding=1)
        norm = [state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = torch.cat([F.batch_norm(x, *norm).relu(), skip], dim=1)
    x = F.linear(F.adaptive_avg_pool2d(x, 1)[:, :, 0, 0], state["output.weight"], state["output.bias"])
    torch.testing.assert_close(decoder(pyramid), x)


def test_image_decoder_does_not_change_with_the_features_of_other_images() -> None:
    decoder = ImageDecoder(CHANNELS, 2).eval()
    pyramid = features(64)
    torch.testing.assert_close(decoder([feature[:1] for feature in pyramid]), decoder(pyramid)[:1])


def test_image_decoder_starts_near_its_bias() -> None:
    torch.manual_seed(0)
    decoder = ImageDecoder((64, 256, 512, 1024, 2048), 3, bias=(-4.0, 0.0, 50.0))
    pyramid = [torch.rand(2, channels, 8, 8) for channels in (64, 256, 512, 1024, 2048)]
    torch.testing.assert_close(decoder(pyramid), torch.tensor([[-4.0, 0.0, 50.0]] * 2), rtol=0, atol=0.2)


@pytest.mark.parametrize("encoder", ["resnet18", "resnet50"])
def test_image_decoder_costs_far_less_than_the_encoder(encoder: str) -> None:
    network = Encoder(encoder).eval()
    decoder = ImageDecoder(network.channels, 7).eval()
    flops = []
    with torch.no_grad():
        pyramid = network(image := torch.randn(1, 1, 64, 64))
        for module, given in ((network, image), (decoder, pyramid)):
            with FlopCounterMode(display=False) as counter:
                module(given)
            flops.append(counter.get_total_flops())
    assert flops[1] < flops[0] / 5
