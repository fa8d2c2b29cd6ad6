"""HPS, hard parameter sharing (Caruana, 1997): one encoder for all tasks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crosstask.architectures.base import Architecture
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class HPS(Architecture):
    """A shared encoder and a decoder per task.

    ::

        image -> encoder -> decoder_t -> output_t

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
    """

    name = "hps"

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
    ) -> None:
        super().__init__(tasks, parts)
        self.encoder = parts.encoder()
        self.add_decoders(self.encoder.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image)
        return {task: self.decode(task, features, image) for task in self.heads}
