"""STL, single-task learning: the baseline that every comparison is against."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class STL(Architecture):
    """One complete network per task, with nothing in common but the image.

    ::

        image -> encoder_t -> decoder_t -> output_t

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
    """

    name = "stl"
    task_modules = ("encoders", "decoders")

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
    ) -> None:
        super().__init__(tasks, parts)
        self.encoders = nn.ModuleDict()
        for task in tasks:
            own = parts.encoder()
            self.encoders[task] = own
        self.add_decoders(own.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {task: self.decode(task, self.encoders[task](image), image) for task in self.heads}
