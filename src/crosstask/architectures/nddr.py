"""NDDR-CNN (Gao et al., CVPR 2019): a network a task, joined by convolutions of all tasks' features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.joining import NDDR, joined_features
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class NDDRNetwork(Architecture):
    """An encoder and a decoder per task; after the stem and each stage every task reduces the features of all tasks.

    ::

        image -> stem_t -> NDDR_t -> stage 1_t -> NDDR_t -> ... -> stage 4_t -> NDDR_t -> decoder_t -> output_t

    The paper's form without shortcuts. What it does after each of its five levels is done after the stem and the four
    stages. It begins with networks that were trained for one task each; here they begin at random, or with the weights
    that all encoders are given. The reduction behind the last stage serves one task alone.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
    """

    name = "nddr"
    part_names: ClassVar[Mapping[str, str]] = {"reductions": "reduction"}
    task_modules = ("last", "decoders")

    def __init__(self, tasks: Mapping[str, Head], parts: Parts) -> None:
        super().__init__(tasks, parts)
        self.encoders = nn.ModuleDict({task: parts.encoder() for task in tasks})
        *earlier, bottleneck = channels = parts.made[-1].channels
        self.reductions = nn.ModuleList(self._of_all(width) for width in earlier)
        self.last = self._of_all(bottleneck)
        self.add_decoders(channels)

    def _of_all(self, channels: int) -> nn.ModuleDict:
        dims = self.parts.spatial_dims
        return nn.ModuleDict({task: NDDR(self.heads, task, channels, spatial_dims=dims) for task in self.heads})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        levels = [partial(_reduced, level) for level in (*self.reductions, self.last)]
        features = joined_features(self.encoders, image, levels)
        return {task: self.decode(task, features[task], image) for task in self.heads}


def _reduced(reductions: nn.ModuleDict, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {task: reduction(features) for task, reduction in reductions.items()}
