"""What a network sees once, and several of them together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

AXES = {"x": -1, "y": -2, "z": -3}
"""Axes of a sample ``... *s``, by their names in experiments."""

_WHOLE = 32767
"""What 1.0 is in a packed image."""


@dataclass
class Sample:
    """One slice, patch or volume with a target per task.

    Attributes:
        image: ``c *s``, float.
        targets: ``{task: c *s}``, or ``{task: c}`` at image level, in physical units; zero where the label is missing.
        present: ``{task: c}``, bool; False where the label is missing.
        region: ``1 *s``, bool, where regression targets are defined, or None.
        case: id of the case.
        position: index of the slice, or corner of the patch, in the case's grid.
        draw: number of the draw since the first epoch, where a random change follows from it.
    """

    image: Tensor
    targets: dict[str, Tensor]
    present: dict[str, Tensor]
    region: Tensor | None
    case: str
    position: tuple[int, ...]
    draw: int = 0


@dataclass
class Batch:
    """Collated samples: the same fields with a leading ``b``.

    Attributes:
        scale: of a packed image, ``b c 1...``: what its largest whole number is; else None.
    """

    image: Tensor
    targets: dict[str, Tensor]
    present: dict[str, Tensor]
    region: Tensor | None
    cases: list[str]
    positions: list[tuple[int, ...]]
    draws: list[int] = field(default_factory=list)
    scale: Tensor | None = None

    def to(self, device: Any, **options: Any) -> Batch:
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device, **options))

    def pin_memory(self) -> Batch:
        """The same batch in memory from which a GPU copies without waiting; a loader calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            image=move(self.image),
            targets={task: move(target) for task, target in self.targets.items()},
            present={task: move(present) for task, present in self.present.items()},
            region=None if self.region is None else move(self.region),
            scale=None if self.scale is None else move(self.scale),
        )

    def packed(self, masks: Collection[str]) -> Batch:
        """The same batch in fewer bytes: the image in whole numbers of 16 bits, exact to 1/65,534 of its range.

        The range of a sample's channel is [-1, 1], or as wide as it takes: predictions of an earlier run have no
        bounds. A channel with a value that is no number has none.

        Args:
            masks: tasks whose targets are 0 or 1, which become one byte, exactly.
        """
        scale = self.image.abs().amax(dim=tuple(range(2, self.image.ndim)), keepdim=True).clamp_(min=1)
        image = (self.image / scale * _WHOLE).round_().nan_to_num_(0).to(torch.int16)
        targets = {task: one.to(torch.uint8) if task in masks else one for task, one in self.targets.items()}
        return replace(self, image=image, targets=targets, scale=scale)

    def unpacked(self) -> Batch:
        """A packed batch in floating point again, wherever it lies; any other as it is."""
        image = self.image if self.scale is None else self.image.float().div_(_WHOLE).mul_(self.scale)
        targets = {task: one.float() if one.dtype == torch.uint8 else one for task, one in self.targets.items()}
        return replace(self, image=image, targets=targets, scale=None)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch; all must carry the same tasks and shapes. A sample without region has it everywhere."""
    first = samples[0]
    everywhere = torch.ones((1, *first.image.shape[1:]), dtype=torch.bool)
    regions = [everywhere if sample.region is None else sample.region for sample in samples]
    defined = any(sample.region is not None for sample in samples)
    return Batch(
        image=torch.stack([sample.image for sample in samples]),
        targets={task: torch.stack([sample.targets[task] for sample in samples]) for task in first.targets},
        present={task: torch.stack([sample.present[task] for sample in samples]) for task in first.present},
        region=torch.stack(regions) if defined else None,
        cases=[sample.case for sample in samples],
        positions=[sample.position for sample in samples],
        draws=[sample.draw for sample in samples],
    )
