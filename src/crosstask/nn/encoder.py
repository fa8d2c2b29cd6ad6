"""The shared encoder: a ResNet whose stages can be entered halfway, as MTAN and CTAN need it; and encoders by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.alexnet import AlexNet
from crosstask.nn.normalisation import InputNormalisation
from crosstask.nn.pretrained import load_weights

STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Layout:
    """Kind of residual block, its expansion, the number of blocks of each of the four stages, and channels of the stem.

    Each stage after the first has twice the channels of the one before, the first those of the stem (times expansion).
    """

    block: Literal["basic", "bottleneck"]
    expansion: int
    blocks: tuple[int, int, int, int]
    width: int = 64


RESNETS: dict[str, Layout] = {
    "resnet18-narrow": Layout("basic", 1, (2, 2, 2, 2), width=16),
    "resnet18": Layout("basic", 1, (2, 2, 2, 2)),
    "resnet34": Layout("basic", 1, (3, 4, 6, 3)),
    "resnet50": Layout("bottleneck", 4, (3, 4, 6, 3)),
    "resnet101": Layout("bottleneck", 4, (3, 4, 23, 3)),
}
ENCODERS = (*RESNETS, AlexNet.name)


class Encoder(nn.Module):
    """ResNet (He et al., 2016) with the stem of the paper, in 2-D or 3-D.

    Every stage halves the image, rounding up: the stem to 1/2, stages 1 to 4 to 1/4, 1/8, 1/16 and 1/32. Stage 1
    begins with the stem's max pooling. Names of parameters are torchvision's, so its ImageNet files load as they are.

    Stage j is split as in MTAN's own ResNet: :meth:`shared` is every block but the last and gives U^j, :meth:`last`
    is the last block and gives P^j, which is also S^j, the input of stage j + 1.

    Convolutions start with Gaussian weights (He et al., 2015).

    Args:
        name: a name of :data:`RESNETS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.

    Attributes:
        channels: of the stem and of the four stages.

    Raises:
        InputError: unknown name, or spatial_dims is neither 2 nor 3.
    """

    first_convolution: ClassVar[str] = "conv1.weight"
    # A constant of the first convolution's output is one less in the running mean behind it, and nothing in training.
    first_constant: ClassVar[tuple[str, int]] = ("bn1.running_mean", -1)
    classifier: ClassVar[str] = "fc."

    def __init__(self, name: str, *, spatial_dims: int = 2, in_channels: int = 1) -> None:
        super().__init__()
        if name not in RESNETS:
            raise InputError(f"encoder: there is no {name!r}; choose one of {', '.join(RESNETS)}")
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims: {spatial_dims!r} is not possible; choose 2 (slices) or 3 (volumes)")
        # MONAI takes seconds to import, and whoever only lists the names should not wait for it.
        from monai.networks.nets.resnet import ResNet

        layout = RESNETS[name]
        widths = [layout.width * 2**stage for stage in range(len(STAGES))]
        resnet = ResNet(
            layout.block,
            list(layout.blocks),
            widths,
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=False,
            feed_forward=False,
        )
        self.name = name
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.channels = (layout.width, *(width * layout.expansion for width in widths))
        self.normalisation = InputNormalisation(in_channels)
        self.conv1, self.bn1, self.act, self.maxpool = resnet.conv1, resnet.bn1, resnet.act, resnet.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4

    def stem(self, image: Tensor) -> Tensor:
        """First convolution, normalisation and ReLU, before the max pooling: ``b c *s`` to ``b c0 *ceil(s/2)``."""
        features: Tensor = self.act(self.bn1(self.conv1(self.normalisation(image))))
        return features

    def shared(self, stage: int, features: Tensor) -> Tensor:
        """U^j: all blocks of a stage but the last, on the previous stage's output (the stem's for stage 1)."""
        if stage == 1:
            features = self.maxpool(features)
        output: Tensor = self._blocks(stage)[:-1](features)
        return output

    def last(self, stage: int, features: Tensor) -> Tensor:
        """P^j: the last block of a stage, on U^j; same shape."""
        output: Tensor = self._blocks(stage)[-1](features)
        return output

    def forward(self, image: Tensor) -> list[Tensor]:
        """Stem and P^1 to P^4: ``b c *s`` at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, rounded up."""
        features = [self.stem(image)]
        for stage in STAGES:
            features.append(self.last(stage, self.shared(stage, features[-1])))
        return features

    def _blocks(self, stage: int) -> nn.Sequential:
        layers: tuple[nn.Sequential, ...] = (self.layer1, self.layer2, self.layer3, self.layer4)
        return layers[stage - 1]


def build_encoder(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, weights: str | Path | None = None
) -> Encoder:
    """Encoder by name whose stages can be had one by one, with weights if wanted.

    Args:
        name: a name of :data:`RESNETS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        weights: None (random), ``"imagenet"``, or a file; see :func:`crosstask.nn.pretrained.load_weights`.

    Raises:
        InputError: unknown name, an encoder without stages, or weights that cannot be had or do not fit.
    """
    if name == AlexNet.name:
        raise InputError(
            f"encoder: {name} has no stages for decoders and attention to take up; "
            f"choose {', '.join(RESNETS)}, or the architecture auxiliary"
        )
    encoder = Encoder(name, spatial_dims=spatial_dims, in_channels=in_channels)
    load_weights(encoder, weights)
    return encoder


def build_extractor(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, weights: str | Path | None = None
) -> Encoder | AlexNet:
    """Encoder by name for whoever takes its last feature alone, with weights if wanted.

    Args:
        name: a name of :data:`ENCODERS`.
        spatial_dims: 2 or 3; ``alexnet`` has 2 alone.
        in_channels: channels of the image.
        weights: as of :func:`build_encoder`.

    Raises:
        InputError: unknown name, or weights that cannot be had or do not fit.
    """
    if name not in ENCODERS:
        raise InputError(f"encoder: there is no {name!r}; choose one of {', '.join(ENCODERS)}")
    if name != AlexNet.name:
        return build_encoder(name, spatial_dims=spatial_dims, in_channels=in_channels, weights=weights)
    encoder = AlexNet(spatial_dims=spatial_dims, in_channels=in_channels)
    load_weights(encoder, weights)
    return encoder
