"""Cross-stitch networks (Misra et al., CVPR 2016): a network a task, joined by learned linear combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.joining import CrossStitch, joined_features
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class CrossStitchNetwork(Architecture):
    """An encoder and a decoder per task; after the stem and each stage a cross-stitch unit mixes the tasks' features.

    ::

        image -> stem_t -> stitch -> stage 1_t -> stitch -> ... -> stage 4_t -> stitch -> decoder_t -> output_t

    The paper begins with networks that were trained for one task each; here they begin at random, or with the weights
    that all encoders are given. Its units come after poolings, which in a ResNet are the stages.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
        units: one weight a ``channel``, as in the paper's experiments, or a single one a ``layer``.
    """

    name = "cross_stitch"

    def __init__(
        self, tasks: Mapping[str, Head], parts: Parts, *, units: Literal["channel", "layer"] = "channel"
    ) -> None:
        super().__init__(tasks, parts)
        self.encoders = nn.ModuleDict({task: parts.encoder() for task in tasks})
        channels = parts.made[-1].channels
        self.units = nn.ModuleList(CrossStitch(tasks, width, by_channel=units == "channel") for width in channels)
        self.add_decoders(channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = joined_features(self.encoders, image, list(self.units))
        return {task: self.decode(task, features[task], image) for task in self.heads}
