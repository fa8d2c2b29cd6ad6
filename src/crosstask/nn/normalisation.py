"""What an encoder does to its input first, so that the numbers are those on which its weights were learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["auto", "imagenet", "none"]

# Red, green and blue of values in [0, 1], on which torchvision's files were learned.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class InputNormalisation(nn.Module):
    """Subtract a mean and divide by a deviation, channel by channel; nothing at all until told otherwise.

    The figures go with the weights: a file of weights has them where there are any, and one that has none, as every
    file from before there was such a layer, gives back what it was learned on, the input as it is.

    Args:
        channels: of the input.

    Attributes:
        mean, deviation: ``c``, of values in [-1, 1].
        used: whether they change anything.

    Shapes:
        image: ``b c *s``.  returns: the same.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.used = False
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, image: Tensor) -> Tensor:
        if not self.used:
            return image
        shape = (1, -1) + (1,) * (image.dim() - 2)
        return (image - self.mean.view(shape)) / self.deviation.view(shape)

    def describe(self) -> dict[str, list[float]] | None:
        """Both figures of each channel, or None where the input stays as it is."""
        if not self.used:
            return None
        figures = {"mean": self.mean, "deviation": self.deviation}
        return {name: [round(value, 6) for value in figure.tolist()] for name, figure in figures.items()}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.used:
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.used = f"{prefix}mean" in state_dict
        if not self.used:
            state_dict[f"{prefix}mean"] = torch.zeros_like(self.mean)
            state_dict[f"{prefix}deviation"] = torch.ones_like(self.deviation)
        super()._load_from_state_dict(state_dict, prefix, *args)


def describe_normalisation(network: nn.Module) -> dict[str, list[float]] | None:
    """What a network's encoders do to their input (all the same), as :meth:`InputNormalisation.describe` says it."""
    layers = (module for module in network.modules() if isinstance(module, InputNormalisation))
    return next((found for layer in layers if (found := layer.describe()) is not None), None)


def signed(figures: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of values in [0, 1] as those of the same values in [-1, 1]: ``c`` each."""
    mean, deviation = figures
    return 2 * torch.tensor(mean) - 1, 2 * torch.tensor(deviation)


def fitted(
    weight: Tensor, figures: tuple[Tensor, Tensor], channels: int
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """A first convolution and the normalisation before it, for an image of another number of channels.

    Its own channels stay what they are where their number is right: red, green and blue, or three windows of one image
    in their place. Otherwise filters are averaged over the file's channels and repeated, and all channels share the
    mean of the figures. An image whose channels are all alike then gives the features that it gave before: what the
    colours' deviations differ by goes into the filters, and what their means differ by is a constant of each filter.

    Args:
        weight: ``f k *s``, learned on k channels.
        figures: mean and deviation of these, ``k`` each.
        channels: n, of the image.

    Returns:
        The filters, ``f n *s``; mean and deviation, ``n`` each; and the constant to add to the convolution's output,
        ``f`` (exact but at the image's border, where the padding is the mean).
    """
    mean, deviation = figures
    learned, *size = weight.shape[1:]
    offset = weight.new_zeros(weight.shape[0])
    if channels != learned:
        ratio = (deviation.mean() / deviation).reshape(1, -1, *(1,) * len(size))
        shift = ((mean.mean() - mean) / deviation).reshape(1, -1, *(1,) * len(size))
        offset = (weight * shift).flatten(1).sum(1)
        repeats = (1, channels) + (1,) * len(size)
        weight = (weight * ratio).mean(dim=1, keepdim=True).repeat(repeats) * (learned / channels)
        mean, deviation = mean.mean().repeat(channels), deviation.mean().repeat(channels)
    return weight, (mean, deviation), offset


def with_masks(weight: Tensor, figures: tuple[Tensor, Tensor], masks: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Filters of an image and figures of its channels, with masks behind it, which keep their 0 and 1.

    Args:
        weight: ``f n *s``.
        figures: mean and deviation, ``n`` each.
        masks: filters of the masks, ``f m *s``. Zero: whatever the masks are, the features are those of the image until
            something is learned of them.

    Returns:
        The filters, ``f n+m *s``; mean and deviation, ``n+m`` each.
    """
    mean, deviation = figures
    more = masks.shape[1]
    return torch.cat([weight, masks], 1), (
        torch.cat([mean, mean.new_zeros(more)]),
        torch.cat([deviation, deviation.new_ones(more)]),
    )


def figures_of(
    state: Mapping[str, Tensor], channels: int, *, imagenet: Sequence[Sequence[float]] | None
) -> tuple[Tensor, Tensor]:
    """Mean and deviation, ``c`` each, on which an encoder's weights were learned: the file's own, ImageNet's or none.

    Weights that were learned on another number of channels than three have the mean of ImageNet's three.

    Args:
        state: names and tensors of the encoder's weights.
        channels: c, that they were learned on.
        imagenet: mean and deviation of red, green and blue in [0, 1], if they are ImageNet's.
    """
    own = state.get("normalisation.mean"), state.get("normalisation.deviation")
    if own[0] is not None and own[1] is not None and own[0].shape == own[1].shape == (channels,):
        return own[0], own[1]
    if imagenet is None:
        return torch.zeros(channels), torch.ones(channels)
    mean, deviation = signed(imagenet)
    return (mean, deviation) if channels == 3 else (mean.mean().repeat(channels), deviation.mean().repeat(channels))


def changes(figures: Sequence[Tensor]) -> bool:
    """Whether a mean and a deviation change anything."""
    return bool((figures[0] != 0).any() or (figures[1] != 1).any())
