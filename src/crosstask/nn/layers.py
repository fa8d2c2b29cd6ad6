"""The few layers that everything else is made of, for 2-D and 3-D alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import conv2d, conv3d, pad

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def convolution(
    in_channels: int, out_channels: int, kernel: int, *, spatial_dims: int, bias: bool = True
) -> nn.Conv2d | nn.Conv3d:
    """A convolution that keeps the size: ``b in *s`` to ``b out *s`` (odd kernels)."""
    return CONVOLUTION[spatial_dims](in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, *, spatial_dims: int, bias: bool = False
) -> nn.Sequential:
    """Convolution and batch normalisation: ``b in *s`` to ``b out *s``."""
    return nn.Sequential(
        convolution(in_channels, out_channels, kernel, spatial_dims=spatial_dims, bias=bias),
        BATCH_NORM[spatial_dims](out_channels),
    )


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, *, spatial_dims: int, bias: bool = False
) -> nn.Sequential:
    """Convolution, batch normalisation and ReLU: ``b in *s`` to ``b out *s``."""
    layers = conv_norm(in_channels, out_channels, kernel, spatial_dims=spatial_dims, bias=bias)
    return layers.append(nn.ReLU(inplace=True))


def convolved(convolution: nn.Module, parts: Sequence[Tensor]) -> Tensor:
    """A convolution of features as if they were appended to each other, channels behind channels, without doing so.

    It is the sum of what its filters give of each part: the same numbers but for the order of the sum, and no copy of
    the features that would have to be kept for the gradient.

    Args:
        convolution: of ``sum(c)`` channels.
        parts: ``b c *s`` each.

    Shapes:
        returns: ``b out *r``.
    """
    assert isinstance(convolution, nn.Conv2d | nn.Conv3d)
    if len(parts) == 1:
        output: Tensor = convolution(parts[0])
        return output
    assert not isinstance(convolution.padding, str) and convolution.groups == 1
    filters = convolution.weight.split([part.shape[1] for part in parts], dim=1)
    apply = conv2d if isinstance(convolution, nn.Conv2d) else conv3d
    where = (convolution.stride, convolution.padding, convolution.dilation)
    output = apply(parts[0], filters[0], convolution.bias, *where)
    for part, own in zip(parts[1:], filters[1:], strict=True):
        output = output + apply(part, own, None, *where)
    return output


def halve(spatial_dims: int) -> nn.MaxPool2d | nn.MaxPool3d:
    """Max pooling by two that keeps the last odd row: ``s`` to ``ceil(s / 2)``, the size of a ResNet's next stage."""
    return MAX_POOL[spatial_dims](2, ceil_mode=True)


def same_padding(features: Tensor, kernel: int) -> Tensor:
    """Zeros around ``b c *s`` as in TensorFlow's SAME, for an odd kernel of stride 2: s then becomes ceil(s / 2).

    Behind the image there is half a kernel, before it as much, or one less where the side is even.
    """
    half = kernel // 2
    sides = reversed(features.shape[2:])
    return pad(features, [amount for side in sides for amount in (half - 1 + side % 2, half)])


class Bottleneck(nn.Module):
    """Residual bottleneck block (1x1, 3x3, 1x1; He et al., 2016) at unchanged size, with a projected shortcut.

    Shapes:
        features: ``b in *s``.  returns: ``b out *s``.
    """

    def __init__(self, in_channels: int, out_channels: int, *, spatial_dims: int) -> None:
        super().__init__()
        middle = out_channels // 4
        self.residual = nn.Sequential(
            conv_norm_relu(in_channels, middle, 1, spatial_dims=spatial_dims),
            conv_norm_relu(middle, middle, 3, spatial_dims=spatial_dims),
            conv_norm(middle, out_channels, 1, spatial_dims=spatial_dims),
        )
        self.shortcut = conv_norm(in_channels, out_channels, 1, spatial_dims=spatial_dims)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.residual(features) + self.shortcut(features)
        return output.relu()
