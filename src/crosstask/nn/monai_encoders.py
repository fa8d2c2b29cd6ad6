"""CNNs of MONAI whose blocks can be had one by one: DenseNets, EfficientNets, SE-ResNets; in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.blocks import BlockEncoder
from crosstask.nn.layers import MAX_POOL, same_padding
from crosstask.registry import ENCODERS, Registry

DENSENETS = ("densenet121", "densenet169", "densenet201", "densenet264")
EFFICIENTNETS = tuple(f"efficientnet-b{number}" for number in range(8))
SE_RESNETS = ("seresnet50", "seresnet101", "seresnet152")


class MonaiEncoder(BlockEncoder):
    """A network of MONAI without its classifier, divided into stages by the size of what its blocks give.

    Weights start at random, as MONAI has it, and names of parameters are MONAI's, so a file of its network loads.

    Args:
        name: name in the table, ``monai/`` and MONAI's own.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.

    Raises:
        InputError: spatial_dims is neither 2 nor 3.
    """

    def __init__(self, name: str, *, spatial_dims: int = 2, in_channels: int = 1) -> None:
        super().__init__(spatial_dims=spatial_dims, in_channels=in_channels)
        if spatial_dims not in (2, 3):
            raise InputError(f"spatial_dims: {spatial_dims!r} is not possible; choose 2 (slices) or 3 (volumes)")
        self.name = name
        self.divide(self._take(name.removeprefix("monai/")))

    def _take(self, name: str) -> list[nn.Module]:
        """Take over the layers of the network of that name; gives its blocks in order."""
        raise NotImplementedError


class MonaiDenseNet(MonaiEncoder):
    """DenseNet (Huang et al., 2017): a block is a dense layer, with the transition as a block of its own.

    A transition's pooling keeps the last odd row here, so that sizes are those of the other encoders.
    """

    first_convolution: ClassVar[str] = "features.conv0.weight"
    first_constant: ClassVar[tuple[str, int]] = ("features.norm0.running_mean", -1)
    classifier: ClassVar[str] = "class_layers."

    def _take(self, name: str) -> list[nn.Module]:
        from monai.networks import nets

        network = getattr(nets, name.replace("densenet", "DenseNet"))
        self.features = network(spatial_dims=self.spatial_dims, in_channels=self.in_channels, out_channels=1).features
        stem, blocks = nn.Sequential(), list[nn.Module]()
        for part, module in self.features.named_children():
            if part in ("conv0", "norm0", "relu0"):
                stem.append(module)
            elif part.startswith("denseblock"):
                blocks.extend(module)
            elif part == "norm5":
                blocks[-1] = nn.Sequential(blocks[-1], module, nn.ReLU())
            else:
                if part.startswith("transition"):
                    module.pool.ceil_mode = True
                blocks.append(module)
        return [stem, *blocks]


class SamePadding(nn.Module):
    """Zeros around, for the convolution of stride 2 that follows; see :func:`crosstask.nn.layers.same_padding`."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, features: Tensor) -> Tensor:
        return same_padding(features, self.kernel)


class MonaiEfficientNet(MonaiEncoder):
    """EfficientNet (Tan and Le, 2019), with the head's 1x1 convolution behind the last block.

    Convolutions of stride 2 are padded for the size that the image has; MONAI pads them for the size of the training
    images. In training blocks are dropped at random (stochastic depth).
    """

    first_convolution: ClassVar[str] = "_conv_stem.weight"
    first_constant: ClassVar[tuple[str, int]] = ("_bn0.running_mean", -1)
    classifier: ClassVar[str] = "_fc."

    def _take(self, name: str) -> list[nn.Module]:
        from monai.networks.nets import EfficientNetBN

        network = EfficientNetBN(
            name, pretrained=False, spatial_dims=self.spatial_dims, in_channels=self.in_channels, num_classes=1
        )
        network.set_swish(memory_efficient=False)  # whose own gradient no exporter knows
        self._conv_stem, self._bn0, self._blocks = network._conv_stem, network._bn0, network._blocks
        self._conv_head, self._bn1, self._swish = network._conv_head, network._bn1, network._swish
        blocks = [block for row in self._blocks for block in row]
        for block in blocks:
            if block.stride == 2:
                block._depthwise_conv_padding = SamePadding(block._depthwise_conv.kernel_size[0])
        stem = nn.Sequential(SamePadding(3), self._conv_stem, self._bn0, self._swish)
        return [stem, *blocks[:-1], nn.Sequential(blocks[-1], self._conv_head, self._bn1, self._swish)]


class MonaiSEResNet(MonaiEncoder):
    """SE-ResNet (Hu et al., 2018), with the max pooling of a ResNet, which rounds up.

    MONAI's own pooling has no padding before the first row.
    """

    first_convolution: ClassVar[str] = "layer0.conv1.weight"
    first_constant: ClassVar[tuple[str, int]] = ("layer0.bn1.running_mean", -1)
    classifier: ClassVar[str] = "last_linear."

    def _take(self, name: str) -> list[nn.Module]:
        from monai.networks import nets

        network = getattr(nets, name.replace("seresnet", "SEResNet"))
        network = network(spatial_dims=self.spatial_dims, in_channels=self.in_channels, num_classes=1)
        self.layer0, self.layer1, self.layer2 = network.layer0, network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.layer0.pool = MAX_POOL[self.spatial_dims](3, stride=2, padding=1)
        blocks = [*self.layer1, *self.layer2, *self.layer3, *self.layer4]
        return [self.layer0[:-1], self.layer0.pool, *blocks]


@dataclass(frozen=True)
class MonaiEntry:
    """A network of MONAI in the table of encoders: made by a call, with what is to be known of it before.

    Attributes:
        network: MONAI's name.
        encoder: the class that takes it over.
        kind: what it is, in words.
    """

    registry: ClassVar[Registry[Any]] = ENCODERS
    has_stages: ClassVar[bool] = MonaiEncoder.has_stages
    smallest: ClassVar[int] = MonaiEncoder.smallest
    positions: ClassVar[int | None] = MonaiEncoder.positions

    network: str
    encoder: Callable[..., MonaiEncoder]
    kind: str

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"monai/{self.network}"

    @property
    def description(self) -> str:
        """What it is, in words."""
        return f"MONAI's {self.kind}; 2-D and 3-D; random weights"

    def __call__(self, *, spatial_dims: int, in_channels: int) -> MonaiEncoder:
        """The encoder, at random."""
        return self.encoder(self.name, spatial_dims=spatial_dims, in_channels=in_channels)


DENSENET121, DENSENET169, DENSENET201, DENSENET264 = (
    MonaiEntry(name, MonaiDenseNet, f"DenseNet-{name.removeprefix('densenet')}") for name in DENSENETS
)
B0, B1, B2, B3, B4, B5, B6, B7 = (
    MonaiEntry(name, MonaiEfficientNet, f"EfficientNet-{name[-2:].upper()}") for name in EFFICIENTNETS
)
SERESNET50, SERESNET101, SERESNET152 = (
    MonaiEntry(name, MonaiSEResNet, f"SE-ResNet-{name.removeprefix('seresnet')}") for name in SE_RESNETS
)
