"""The pixel decoder: sizes, skips, and where its output starts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.nn.decoder import PixelDecoder

CHANNELS = (8, 12, 16, 20, 24)


def features(size: int, spatial_dims: int = 2) -> list[Tensor]:
    pyramid = []
    for channels in CHANNELS:
        size = math.ceil(size / 2)
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
