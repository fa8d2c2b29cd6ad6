"""Encoders that are given as their blocks in order, and divided into stages by the size of what each block gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.encoder_base import STAGES, Staged

# Sides of a trial image and of its features: of 33 pixels each rounding up can be told from rounding down.
TRIAL_SIDES = (33, 17, 9, 5, 3, 2)


class BlockEncoder(Staged):
    """A CNN whose stages are its blocks of one resolution: those at 1/4 of the image's size, at 1/8, 1/16 and 1/32.

    A subclass makes its layers and calls :meth:`divide` with its blocks in order. Blocks at full size and at 1/2 are
    the stem. Of a stage's blocks all but the last give U^j, the last gives P^j.
    """

    _stem: tuple[nn.Module, ...]
    _shared: tuple[tuple[nn.Module, ...], ...]
    _last: tuple[nn.Module, ...]

    def divide(self, blocks: Sequence[nn.Module]) -> None:
        """Divide the network into stem and stages, and note the channels of each, by a trial on an image of zeros.

        Args:
            blocks: what an image goes through, first to last; modules of this encoder, alone or in a container.

        Raises:
            InputError: the blocks do not halve the image five times, rounding up, or there is a single one in a stage.
        """
        shapes = self._tried(blocks)
        sides = [shape[2] for shape in shapes]
        groups = [[block for block, side in zip(blocks, sides, strict=True) if side == one] for one in TRIAL_SIDES]
        wanted = [side for side, group in zip(TRIAL_SIDES, groups, strict=True) for _ in group]
        if sides != wanted or not groups[1] or any(len(group) < 2 for group in groups[2:]):
            raise InputError(
                f"encoder {self.name}: its blocks give sides of {', '.join(map(str, sides))} of {TRIAL_SIDES[0]} "
                f"pixels; a staged encoder gives {', '.join(map(str, TRIAL_SIDES[1:]))}, each but the first by at "
                "least two blocks"
            )
        self._stem = tuple(groups[0] + groups[1])
        self._shared = tuple(tuple(group[:-1]) for group in groups[2:])
        self._last = tuple(group[-1] for group in groups[2:])
        ends = [max(index for index, side in enumerate(sides) if side == one) for one in TRIAL_SIDES[1:]]
        self.channels = tuple(shapes[end][1] for end in ends)
        self.shared_channels = tuple(shapes[end - 1][1] for end in ends[1:])

    def _tried(self, blocks: Sequence[nn.Module]) -> list[torch.Size]:
        """Shapes of what each block gives; nothing of the network changes by it."""
        sides = (TRIAL_SIDES[0],) * self.spatial_dims
        features = torch.zeros(1, self.in_channels, *sides, device=next(self.parameters()).device)
        shapes = []
        self.eval()
        with torch.no_grad():
            for block in blocks:
                features = block(features)
                shapes.append(features.shape)
        self.train()
        return shapes

    def divided(self) -> dict[str, list[nn.Module]]:
        """The stem, and the four stages."""
        stages = zip(STAGES, self._shared, self._last, strict=True)
        return {"stem": list(self._stem), **{f"stage {stage}": [*shared, last] for stage, shared, last in stages}}

    def stem(self, image: Tensor) -> Tensor:
        features: Tensor = self.normalisation(image)
        for block in self._stem:
            features = block(features)
        return features

    def shared(self, stage: int, features: Tensor) -> Tensor:
        for block in self._shared[stage - STAGES[0]]:
            features = block(features)
        return features

    def last(self, stage: int, features: Tensor) -> Tensor:
        output: Tensor = self._last[stage - STAGES[0]](features)
        return output
