"""From an encoder's features to a task's output: back to the pixels, or down to one vector an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from crosstask.errors import InputError
from crosstask.nn.layers import BATCH_NORM, CONVOLUTION, conv_norm_relu, convolution

# A plain U-Net's widths from 256 down: at these, one decoder takes about as long as a ResNet-50, nearly all of it in
# the first convolution of each block, where the encoder's wide features come in. Ours; the paper does not say.
WIDTHS = (256, 128, 64, 32, 16)
# The image decoder's: the same widths the other way, from 1/4 of the image's size down. Ours too. At these it costs a
# tenth of its encoder's multiplications (ResNet-18 and -50) and about 15 % of its time; at twice these, a quarter.
IMAGE_WIDTHS = (32, 64, 128, 256)
# Standard deviation of the output layer's first weights: small, so that the output starts near its bias.
OUTPUT_STD = 0.001
# Factor on the features before the output layer. Adam moves a weight by about the learning rate a step, however large
# its gradient, so log-odds that start at a rare class's prior (-7 for an organ of a few hundred voxels) would need
# thousands of steps to rise above zero: measured, three of four organs were never predicted after 1,500 steps at 1e-3;
# with the factor all four were after 100.
OUTPUT_GAIN = 10.0


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear or trilinear interpolation of ``b c *s`` to ``b c *size``."""
    mode = "bilinear" if features.dim() == 4 else "trilinear"
    return interpolate(features, size=tuple(size), mode=mode, align_corners=False)


class UpsamplingBlock(nn.Module):
    """Interpolate to the skip's size, append the skip, then two 3x3 convolutions with normalisation and ReLU.

    Shapes:
        features: ``b in *s``.  skip: ``b k *r``, or None.  size: r.  returns: ``b out *r``.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, *, spatial_dims: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            conv_norm_relu(in_channels + skip_channels, out_channels, 3, spatial_dims=spatial_dims),
            conv_norm_relu(out_channels, out_channels, 3, spatial_dims=spatial_dims),
        )

    def forward(self, features: Tensor, skip: Tensor | None, size: Sequence[int]) -> Tensor:
        features = resize(features, size)
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        output: Tensor = self.convolutions(features)
        return output


class PixelDecoder(nn.Module):
    """Decoder of a pixel-level task: up-sampling blocks with skips, 1x1 convolution (Kim et al., 2023, section 2.1).

    The paper's three blocks end at 1/4 of the image's size. A fourth takes the stem as its skip and ends at 1/2, a
    fifth has no skip and ends at full size: thin structures may want them. What is left is interpolated.

    Args:
        channels: of the five features, finest first: stem, stages 1 to 4.
        out_channels: channels of the output.
        spatial_dims: 2 or 3.
        upsampling_blocks: 3 to 5.
        bias: first value of each output channel; None for zero.
        widths: channels of each block's output; capped by its skip's channels.

    Attributes:
        stage_channels: of the output of each block, coarsest first.

    Shapes:
        features: ``b c *s`` at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, any rounding.
        size: the image's.  returns: ``b out_channels *size``, raw.

    Raises:
        InputError: upsampling_blocks is not 3, 4 or 5.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        spatial_dims: int = 2,
        upsampling_blocks: int = 3,
        bias: Sequence[float] | None = None,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        if upsampling_blocks not in (3, 4, 5):
            raise InputError(f"upsampling_blocks: {upsampling_blocks!r} is not possible; choose 3, 4 or 5")
        self.spatial_dims, self.out_channels = spatial_dims, out_channels
        skips = [*reversed(channels[:-1]), 0][:upsampling_blocks]
        self.blocks = nn.ModuleList()
        self.stage_channels: list[int] = []
        width = channels[-1]
        for skip, wanted in zip(skips, widths, strict=False):
            out = min(wanted, skip) if skip else wanted
            self.blocks.append(UpsamplingBlock(width, skip, out, spatial_dims=spatial_dims))
            self.stage_channels.append(out)
            width = out
        self.output = output_layer(width, out_channels, spatial_dims=spatial_dims, bias=bias)

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        *skips, decoded = features
        for block in self.blocks:
            skip = skips.pop() if skips else None
            decoded = block(decoded, skip, size if skip is None else skip.shape[2:])
        return resize(self.output(OUTPUT_GAIN * decoded), size)


class DownsamplingBlock(nn.Module):
    """3x3 convolution of stride 2 with normalisation and ReLU, then the skip of the new size is appended.

    Shapes:
        features: ``b in *s``.  skip: ``b k *r``, r about s / 2.  returns: ``b (out + k) *r``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial_dims: int) -> None:
        super().__init__()
        self.convolution = nn.Sequential(
            CONVOLUTION[spatial_dims](in_channels, out_channels, 3, stride=2, padding=1, bias=False),
            BATCH_NORM[spatial_dims](out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        features = self.convolution(features)
        if features.shape[2:] != skip.shape[2:]:  # never with our encoders, which round up as the convolution does
            features = resize(features, skip.shape[2:])
        return torch.cat([features, skip], dim=1)


class ImageDecoder(nn.Module):
    """Decoder of an image-level task: down-sampling layers with skips, pooling (Kim et al., 2023, section 2.1).

    Four down-sampling layers, global average pooling, and a fully connected layer. It mirrors the pixel decoder: it
    begins at the stem's features, and after each layer the encoder's features of that size are appended as a skip,
    the bottleneck's last. Ours, because the paper does not say: where the first layer begins, what is in a
    down-sampling layer, and the widths.

    Args:
        channels: of the five features, finest first: stem, stages 1 to 4.
        out_channels: channels of the output.
        spatial_dims: 2 or 3.
        bias: first value of each output channel; None for zero.
        widths: channels of each layer's output, before its skip; capped by its skip's channels.

    Shapes:
        features: ``b c *s`` at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, any rounding.
        returns: ``b out_channels``, raw.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        spatial_dims: int = 2,
        bias: Sequence[float] | None = None,
        widths: Sequence[int] = IMAGE_WIDTHS,
    ) -> None:
        super().__init__()
        width, *skips = channels
        self.blocks = nn.ModuleList()
        for skip, wanted in zip(skips, widths, strict=True):
            out = min(wanted, skip)
            self.blocks.append(DownsamplingBlock(width, out, spatial_dims=spatial_dims))
            width = out + skip
        self.output = nn.Linear(width, out_channels)
        nn.init.normal_(self.output.weight, std=OUTPUT_STD)
        self.output.bias = first_bias(out_channels, bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        decoded, *skips = features
        for block, skip in zip(self.blocks, skips, strict=True):
            decoded = block(decoded, skip)
        output: Tensor = self.output(decoded.flatten(2).mean(dim=2))
        return output


def output_layer(
    in_channels: int, out_channels: int, *, spatial_dims: int, bias: Sequence[float] | None = None
) -> nn.Module:
    """1x1 convolution that starts near its bias; what it is given is multiplied by :data:`OUTPUT_GAIN`."""
    layer = convolution(in_channels, out_channels, 1, spatial_dims=spatial_dims)
    nn.init.normal_(layer.weight, std=OUTPUT_STD)
    layer.bias = first_bias(out_channels, bias)
    return layer


def first_bias(channels: int, bias: Sequence[float] | None) -> nn.Parameter:
    """First bias of an output layer: the values given, or zeros."""
    return nn.Parameter(torch.tensor(bias if bias is not None else [0.0] * channels, dtype=torch.get_default_dtype()))
