"""What an encoder is: an image in, features out."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from crosstask.nn.normalisation import IMAGENET_DEVIATION, IMAGENET_MEAN, InputNormalisation
from crosstask.registry import ENCODERS, Registry

STAGES = (1, 2, 3, 4)


class EncoderBase(nn.Module):
    """Base of all encoders. The table :data:`crosstask.registry.ENCODERS` has its name.

    A subclass takes ``spatial_dims`` and ``in_channels``, calls this constructor with them, sets :attr:`channels`, and
    normalises its input first (``self.normalisation(image)``).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.

    Attributes:
        name: name in the table.
        channels: of each feature that :meth:`forward` gives.
        has_stages: it is a :class:`Staged` encoder, as decoders with skips and attention need it.
        smallest: pixels that each side of an image must have at least.
        positions: sides of the last feature that its fully connected layers take, where the original has such.
        first_convolution: key of the weights of the first convolution, which are adapted to the number of channels when
            others' weights are loaded; empty: they are not.
        first_constant: key of what absorbs a constant of the first convolution's output, and its sign there.
        classifier: what keys of the original's classifier begin with; they are left out.
        imagenet: mean and deviation of red, green and blue in [0, 1] on which its ImageNet weights were learned.

    Shapes:
        forward: ``b c *s`` to a list of features ``b channels *r``, from fine to coarse.
    """

    registry: ClassVar[Registry[Any]] = ENCODERS
    has_stages: ClassVar[bool] = False
    smallest: ClassVar[int] = 1
    positions: ClassVar[int | None] = None
    first_convolution: ClassVar[str] = ""
    first_constant: ClassVar[tuple[str, int]] = ("", 1)
    classifier: ClassVar[str] = "classifier."
    imagenet: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = (IMAGENET_MEAN, IMAGENET_DEVIATION)

    name: str
    channels: tuple[int, ...]

    def __init__(self, *, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.normalisation = InputNormalisation(in_channels)

    def divided(self) -> dict[str, list[nn.Module]]:
        """Its modules by part, from fine to coarse, for figures part by part; by default it is not divided.

        The names are ``stem`` and ``stage 1`` to ``stage 4`` where it has stages.
        """
        return {}


class Staged(EncoderBase):
    """An encoder that can be entered halfway through each of its four stages, as MTAN and CTAN need it.

    Every stage halves the image, rounding up: the stem to 1/2, stages 1 to 4 to 1/4, 1/8, 1/16 and 1/32.
    ``channels`` are those of the stem and of the four stages.

    Attributes:
        shared_channels: of U^1 to U^4; by default those of P^1 to P^4.
    """

    has_stages = True
    _shared_channels: tuple[int, ...] | None = None

    @property
    def shared_channels(self) -> tuple[int, ...]:
        return self.channels[1:] if self._shared_channels is None else self._shared_channels

    @shared_channels.setter
    def shared_channels(self, channels: tuple[int, ...]) -> None:
        self._shared_channels = channels

    def stem(self, image: Tensor) -> Tensor:
        """What comes before the first stage, on the normalised image: ``b c *s`` to ``b c0 *ceil(s/2)``."""
        raise NotImplementedError

    def shared(self, stage: int, features: Tensor) -> Tensor:
        """U^j: a stage but for its last block, on the previous stage's output (the stem's for stage 1)."""
        raise NotImplementedError

    def last(self, stage: int, features: Tensor) -> Tensor:
        """P^j: the last block of a stage, on U^j; same size."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> list[Tensor]:
        """Stem and P^1 to P^4: ``b c *s`` at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, rounded up."""
        features = [self.stem(image)]
        for stage in STAGES:
            features.append(self.last(stage, self.shared(stage, features[-1])))
        return features
