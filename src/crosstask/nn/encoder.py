"""The shared encoder: a ResNet whose stages can be entered halfway, as MTAN and CTAN need it; and encoders by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.encoder_base import STAGES, EncoderBase, Staged
from crosstask.nn.pretrained import load_weights
from crosstask.registry import ENCODERS, Registry

__all__ = ["RESNETS", "STAGES", "Encoder", "EncoderBase", "ResNetEntry", "Staged", "build_encoder", "build_extractor"]


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


class Encoder(Staged):
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
        super().__init__(spatial_dims=spatial_dims, in_channels=in_channels)
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
        self.channels = (layout.width, *(width * layout.expansion for width in widths))
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

    def divided(self) -> dict[str, list[nn.Module]]:
        """The stem, and the four stages."""
        return {"stem": [self.conv1, self.bn1], **{f"stage {stage}": [self._blocks(stage)] for stage in STAGES}}

    def _blocks(self, stage: int) -> nn.Sequential:
        layers: tuple[nn.Sequential, ...] = (self.layer1, self.layer2, self.layer3, self.layer4)
        return layers[stage - 1]


@dataclass(frozen=True)
class ResNetEntry:
    """A ResNet in the table of encoders: made by a call, with what is to be known of it before.

    Attributes:
        name: name in :data:`RESNETS`.
    """

    registry: ClassVar[Registry[Any]] = ENCODERS
    has_stages: ClassVar[bool] = Encoder.has_stages
    smallest: ClassVar[int] = Encoder.smallest
    positions: ClassVar[int | None] = Encoder.positions

    name: str

    @property
    def description(self) -> str:
        """Its layout, in words."""
        layout = RESNETS[self.name]
        blocks = ", ".join(map(str, layout.blocks))
        return f"ResNet of {blocks} {layout.block} blocks, {layout.width} channels in the stem; 2-D and 3-D"

    def __call__(self, *, spatial_dims: int, in_channels: int) -> Encoder:
        """The encoder, at random."""
        return Encoder(self.name, spatial_dims=spatial_dims, in_channels=in_channels)


RESNET18_NARROW, RESNET18, RESNET34, RESNET50, RESNET101 = map(ResNetEntry, RESNETS)


def build_encoder(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, weights: str | Path | None = None
) -> Staged:
    """Encoder by name whose stages can be had one by one, with weights if wanted.

    Args:
        name: name in :data:`crosstask.registry.ENCODERS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        weights: None (random), ``"imagenet"``, or a file; see :func:`crosstask.nn.pretrained.load_weights`.

    Raises:
        InputError: unknown name, an encoder without stages, or weights that cannot be had or do not fit.
    """
    if name in ENCODERS and not ENCODERS[name].has_stages:
        staged = ", ".join(other for other in ENCODERS if ENCODERS[other].has_stages)
        raise InputError(
            f"encoder: {name} has no stages for decoders and attention to take up; choose {staged}, or the "
            "architecture auxiliary"
        )
    encoder = build_extractor(name, spatial_dims=spatial_dims, in_channels=in_channels, weights=weights)
    assert isinstance(encoder, Staged)
    return encoder


def build_extractor(
    name: str, *, spatial_dims: int = 2, in_channels: int = 1, weights: str | Path | None = None
) -> EncoderBase:
    """Encoder by name for whoever takes its last feature alone, with weights if wanted.

    Args:
        name: name in :data:`crosstask.registry.ENCODERS`.
        spatial_dims: 2 or 3, as far as the encoder can.
        in_channels: channels of the image.
        weights: as of :func:`build_encoder`.

    Raises:
        InputError: unknown name, or weights that cannot be had or do not fit.
    """
    encoder: EncoderBase = ENCODERS.find(name)(spatial_dims=spatial_dims, in_channels=in_channels)
    load_weights(encoder, weights)
    return encoder
