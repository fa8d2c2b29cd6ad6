"""What a network sees once, and several of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

AXES = {"x": -1, "y": -2, "z": -3}
"""Axes of a sample ``... *s``, by their names in experiments."""


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
    """

    image: Tensor
    targets: dict[str, Tensor]
    present: dict[str, Tensor]
    region: Tensor | None
    case: str
    position: tuple[int, ...]


@dataclass
class Batch:
    """Collated samples: the same fields with a leading ``b``."""

    image: Tensor
    targets: dict[str, Tensor]
    present: dict[str, Tensor]
    region: Tensor | None
    cases: list[str]
    positions: list[tuple[int, ...]]

    def to(self, device: Any, **options: Any) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, **options)

        return Batch(
            image=move(self.image),
            targets={task: move(target) for task, target in self.targets.items()},
            present={task: move(present) for task, present in self.present.items()},
            region=None if self.region is None else move(self.region),
            cases=self.cases,
            positions=self.positions,
        )


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
    )
