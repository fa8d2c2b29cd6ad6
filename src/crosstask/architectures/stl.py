"""STL, single-task learning: the baseline that every comparison is against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.encoder import build_encoder
from crosstask.tasks.base import Head


class STL(Architecture):
    """One complete network per task, with nothing in common but the image.

    ::

        image -> encoder_t -> decoder_t -> output_t

    Args:
        tasks: ``{name: Head}``.
        encoder, spatial_dims, in_channels, weights: see :func:`crosstask.nn.encoder.build_encoder`.
        upsampling_blocks: see :class:`crosstask.nn.decoder.PixelDecoder`.
    """

    name = "stl"
    encoder_modules = ("encoders",)
    task_modules = ("encoders", "decoders")

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
        self.encoders = nn.ModuleDict()
        for task in tasks:
            own = build_encoder(encoder, spatial_dims=spatial_dims, in_channels=in_channels, weights=weights)
            self.encoders[task] = own
        self.add_decoders(own.channels, spatial_dims=spatial_dims, upsampling_blocks=upsampling_blocks)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {task: self.decode(task, self.encoders[task](image), image) for task in self.heads}
