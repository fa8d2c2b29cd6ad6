"""MTAN, multi-task attention network (Liu et al., CVPR 2019), its variant for ResNets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.attention import TaskMask
from crosstask.nn.encoder_base import STAGES
from crosstask.nn.layers import Bottleneck, halve
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class MTAN(Architecture):
    r"""A shared encoder, out of which each task picks its features with masks of its own.

    ::

        S^{j-1} -> all blocks but the last -> U^j -> last block -> P^j = S^j
        mask_t^j      = mask(U^1), then mask(concat(U^j, carried_t^{j-1}))
        attended_t^j  = mask_t^j * P^j
        carried_t^j   = max pool(bottleneck block(attended_t^j)), the block shared by all tasks
                        or, with pool_first, bottleneck block(max pool(attended_t^j))

    The attended features of stages 1 to 3 are the skips of the task's decoder, those of stage 4 its bottleneck. The
    shared block sees one task at a time, as in the authors' code, so nothing passes from one task to another.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
        open_masks: masks begin near 0.95 instead of 0.5, as the authors' do; see
            :class:`crosstask.nn.attention.MaskAttention`.
        pool_first: what is carried on is pooled before the bottleneck block instead of behind it. Another function,
            which costs a quarter in that block, and a network of its own: weights of one do not fit the other.
    """

    name = "mtan"
    task_modules = ("masks", "decoders")

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
        *,
        open_masks: bool = False,
        pool_first: bool = False,
    ) -> None:
        super().__init__(tasks, parts)
        self.encoder = parts.encoder()
        _, *widths = self.encoder.channels
        carried = [0, *widths[1:]]
        inputs = [wide + more for wide, more in zip(self.encoder.shared_channels, carried, strict=True)]
        self.masks = nn.ModuleDict(
            {
                task: nn.ModuleList(
                    TaskMask(wide, width, spatial_dims=parts.spatial_dims, starts_open=open_masks)
                    for wide, width in zip(inputs, widths, strict=True)
                )
                for task in tasks
            }
        )
        self.pool_first = pool_first
        self.carry = nn.ModuleList()
        for width, following in pairwise(widths):
            block, pool = Bottleneck(width, following, spatial_dims=parts.spatial_dims), halve(parts.spatial_dims)
            self.carry.append(nn.Sequential(pool, block) if pool_first else nn.Sequential(block, pool))
        self.add_decoders(self.encoder.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        state = self.encoder.stem(image)
        features = {task: [state] for task in self.heads}
        for stage in STAGES:
            shared = self.encoder.shared(stage, state)
            state = self.encoder.last(stage, shared)
            for task, masks in self.masks.items():
                carried = [] if stage == STAGES[0] else [self.carry[stage - 2](features[task][-1])]
                mask = masks.get_submodule(str(stage - 1))
                features[task].append(mask(shared, *carried) * state)
        return {task: self.decode(task, features[task], image) for task in self.heads}

    def blocks(self) -> list[nn.Module]:
        """What is carried on, too."""
        return [*super().blocks(), *self.carry]

    def describe(self) -> str:
        """Where it is not the authors' form."""
        return "what MTAN carries to its next stage is pooled before the bottleneck block" if self.pool_first else ""
