"""Cross-stitch networks (Misra et al., CVPR 2016): a network a task, joined by learned linear combinations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.encoder_base import STAGES
from crosstask.nn.joining import CrossStitch, joined_features
from crosstask.nn.parts import Parts
from crosstask.readings import Reading
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
    part_names: ClassVar[Mapping[str, str]] = {"units": "unit"}

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

    def readings(self) -> list[Reading]:
        """Weights of the units by direction and level, each a mean over the channels."""
        levels = ["stem", *(f"stage {stage}" for stage in STAGES)]
        means = [unit.get_parameter("alpha").flatten(2).mean(dim=2).tolist() for unit in self.units]
        rows = {
            f"{task} takes of {source}": {level: mean[to][of] for level, mean in zip(levels, means, strict=True)}
            for to, task in enumerate(self.heads)
            for of, source in enumerate(self.heads)
        }
        note = "Weight of each task's features in those that a task goes on with, mean over the channels."
        return [Reading("Cross-stitch units", note, rows)]
