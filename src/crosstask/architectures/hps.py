"""HPS, hard parameter sharing (Caruana, 1997): one encoder for all tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from crosstask.architectures.base import Architecture
from crosstask.nn.encoder import build_encoder
from crosstask.tasks.base import Head


class HPS(Architecture):
    """A shared encoder and a decoder per task.

    ::

        image -> encoder -> decoder_t -> output_t

    Args:
        tasks: ``{name: Head}``.
        encoder, spatial_dims, in_channels, weights: see :func:`crosstask.nn.encoder.build_encoder`.
        upsampling_blocks: see :class:`crosstask.nn.decoder.PixelDecoder`.
    """

    name = "hps"
    encoder_modules = ("encoder",)

    def __init__(
        self,
        tasks: Mapping[str, Head],
        *,
        encoder: str = "resnet50",
        spatial_dims: int = 2,
        in_channels: int = 1,
        weights: str | Path | None = None,
        upsampling_blocks: int = 3,
    ) -> None:
        super().__init__(tasks)
        self.encoder = build_encoder(encoder, spatial_dims=spatial_dims, in_channels=in_channels, weights=weights)
        self.add_decoders(self.encoder.channels, spatial_dims=spatial_dims, upsampling_blocks=upsampling_blocks)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image)
        return {task: self.decode(task, features, image) for task in self.heads}
