"""Units that join the features of several networks: cross-stitch (Misra et al., 2016), NDDR (Gao et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from crosstask.nn.encoder_base import STAGES
from crosstask.nn.layers import BATCH_NORM, convolution

OTHERS = 0.1
"""What all other tasks together weigh at the start, in both papers; a task's own features weigh the rest."""


def first_weights(count: int) -> Tensor:
    """Weights ``t t`` of the features of all tasks (columns) for each task (rows); each row adds up to one."""
    if count == 1:
        return torch.ones(1, 1)
    weights = torch.full((count, count), OTHERS / (count - 1))
    return weights.fill_diagonal_(1 - OTHERS)


class CrossStitch(nn.Module):
    r"""Cross-stitch unit: a linear combination of the tasks' features; eq. (1) of Misra et al. (2016).

    .. math:: \tilde x_t = \sum_s \alpha_{ts} x_s

    Args:
        tasks: their names.
        channels: of the features.
        by_channel: one :math:`\alpha` a channel, or a single one for all.

    Shapes:
        features: ``{task: b c *s}``.  returns: the same.
    """

    def __init__(self, tasks: Iterable[str], channels: int, *, by_channel: bool) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        first = first_weights(len(self.tasks))[:, :, None].repeat(1, 1, channels if by_channel else 1)
        self.alpha = nn.Parameter(first)  # t t c: with axes of space PyTorch would take it for an image

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        together = torch.stack([features[task] for task in self.tasks], dim=1)  # b t c *s
        weights = self.alpha.reshape(*self.alpha.shape, *(1,) * (together.dim() - 3))
        return {task: (alpha * together).sum(1) for task, alpha in zip(self.tasks, weights, strict=True)}


class NDDR(nn.Module):
    r"""Neural discriminative dimensionality reduction of one task's features; section 3 of Gao et al. (2019).

    .. math:: \tilde x_t = \mathrm{ReLU}(\mathrm{BN}(W_t [x_1, \dots, x_T]))

    A 1 x 1 convolution of all tasks' features, one behind the other, back to the channels of one. It starts diagonal:
    each channel is the same channel of the own task, and a little of that of the others.

    Args:
        tasks: names of all tasks.
        task: whose features it gives.
        channels: of the features.
        spatial_dims: 2 or 3.

    Shapes:
        features: ``{task: b c *s}``.  returns: ``b c *s``.
    """

    def __init__(self, tasks: Iterable[str], task: str, channels: int, *, spatial_dims: int) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.reduce = convolution(len(self.tasks) * channels, channels, 1, spatial_dims=spatial_dims, bias=False)
        self.normalise = BATCH_NORM[spatial_dims](channels)
        own = first_weights(len(self.tasks))[self.tasks.index(task)]
        diagonal = torch.cat([weight * torch.eye(channels) for weight in own], dim=1)
        with torch.no_grad():
            self.reduce.weight.copy_(diagonal.reshape(self.reduce.weight.shape))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        together = torch.cat([features[task] for task in self.tasks], dim=1)
        output: Tensor = self.normalise(self.reduce(together)).relu()
        return output


Joint = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""``{task: b c *s}`` to the same."""


def joined_features(encoders: nn.ModuleDict, image: Tensor, units: Sequence[Joint]) -> dict[str, list[Tensor]]:
    """Five features of each task: stem and stages of its own encoder, joined with the others' after each.

    Args:
        encoders: ``{task: a staged encoder}``.
        image: ``b c *s``.
        units: of the stem and of the four stages.
    """
    found: dict[str, list[Tensor]] = {task: [] for task in encoders}
    states = {task: encoder.stem(image) for task, encoder in encoders.items()}  # type: ignore[operator]
    for stage, unit in zip((0, *STAGES), units, strict=True):
        if stage:
            states = {
                task: encoder.last(stage, encoder.shared(stage, states[task]))  # type: ignore[operator]
                for task, encoder in encoders.items()
            }
        states = unit(states)
        for task, state in states.items():
            found[task].append(state)
    return found
