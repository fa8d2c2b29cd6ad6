"""CTAN, cross-task attention network (Kim et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.nn.attention import CrossTaskBottleneck, CrossTaskPool, TaskMask
from crosstask.nn.encoder_base import STAGES
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head

# Widest embedding of the bottleneck: a ResNet-50's 2048 channels would make CTAB and the decoders' first block
# the dearest parts of the network, and the decoders go on with 256 channels anyway. Ours.
BOTTLENECK_CHANNELS = 512


class CTAEStage(nn.Module):
    r"""Cross-task attention encoder (CTAE) at one stage j: masks :math:`A_t^j`, and eq. (1).

    Args:
        tasks: their names.
        in_channels: of U^j, and of :math:`\hat A_t^{j-1}` with it.
        channels: of P^j.
        out_channels: of :math:`\hat A_t^j`.
        spatial_dims: 2 or 3.
        stride: of the pooling block.
        open_masks: see :class:`crosstask.nn.attention.MaskAttention`.

    Shapes:
        shared: ``b u *s``, U^j.  state: ``b c *s``, P^j.  attended: ``{task: b d *s}``, empty at the first stage.
        returns: the skips :math:`A_{t'}^j \odot P^j`, ``{task: b c *s}``, and :math:`\hat A_t^j`, ``{task: b e *r}``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Head],
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        spatial_dims: int,
        stride: int,
        open_masks: bool,
    ) -> None:
        super().__init__()
        self.masks = nn.ModuleDict(
            {task: TaskMask(in_channels, channels, spatial_dims=spatial_dims, starts_open=open_masks) for task in tasks}
        )
        self.pool = CrossTaskPool(channels, out_channels, spatial_dims=spatial_dims, stride=stride)

    def forward(
        self, shared: Tensor, state: Tensor, attended: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        crossed, pooled = self.pool(self.masks_of(shared, attended), state)
        return crossed, pooled

    def masks_of(self, shared: Tensor, attended: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The masks :math:`A_t^j`, ``{task: b c *s}``."""
        return {task: mask(shared, attended[task]) if attended else mask(shared) for task, mask in self.masks.items()}


class CTAN(Architecture):
    r"""A shared encoder with cross-task attention at every stage (CTAE) and behind the last (CTAB).

    ::

        S^{j-1} -> all blocks but the last -> U^j -> last block -> P^j = S^j
        A_t^j   = attention(embedding(U^1)), then attention(embedding(concat(U^j, A^_t^{j-1})))
        A^_t^j  = Pool(A_t'^j * P^j), t' the other task                                     eq. (1)
        E_t     = embedding(A^_t^4);  A-_t = E_t (E_t'^T E_t), or with a softmax             eq. (2)

    Skips of task t's decoder are A_t'^j * P^j of stages 1 to 3 before pooling, its bottleneck is the output of CTAB.
    Every mask reaches the outputs of several tasks, so only the decoders are a task's own.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
        scaled_bottleneck: the poster's scaled dot product in CTAB (default), else eq. (2) as printed. On validation
            phantoms it had the higher skill with each of five seeds; see docs/results/ctab.md.
        open_masks: masks begin near 0.95 instead of 0.5; see :class:`crosstask.nn.attention.MaskAttention` and
            docs/results/dead-structures.md.
    """

    name = "ctan"
    part_names: ClassVar[Mapping[str, str]] = {"stages": "attention"}
    bottleneck_kind: ClassVar[type[CrossTaskBottleneck]] = CrossTaskBottleneck

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
        *,
        scaled_bottleneck: bool = True,
        open_masks: bool = True,
    ) -> None:
        super().__init__(tasks, parts)
        self.encoder = parts.encoder()
        stem, *widths = self.encoder.channels
        bottleneck = min(widths[-1], BOTTLENECK_CHANNELS)
        self.stages = nn.ModuleList()
        attended = 0
        inputs = self.encoder.shared_channels
        for stage, wide, width, following in zip(STAGES, inputs, widths, [*widths[1:], bottleneck], strict=True):
            stride = 1 if stage == STAGES[-1] else 2
            self.stages.append(
                CTAEStage(
                    tasks,
                    wide + attended,
                    width,
                    following,
                    spatial_dims=parts.spatial_dims,
                    stride=stride,
                    open_masks=open_masks,
                )
            )
            attended = following
        self.bottleneck = self.bottleneck_kind(
            tasks, bottleneck, bottleneck, spatial_dims=parts.spatial_dims, scaled=scaled_bottleneck
        )
        channels = (stem, *widths[:-1], bottleneck)
        self.add_decoders(channels)

    def blocks(self) -> list[nn.Module]:
        """Whole stages of attention in the place of their masks."""
        return [*(block for block in super().blocks() if not isinstance(block, TaskMask)), *self.stages]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        state = self.encoder.stem(image)
        features = {task: [state] for task in self.heads}
        attended: dict[str, Tensor] = {}
        for stage, cross in zip(STAGES, self.stages, strict=True):
            shared = self.encoder.shared(stage, state)
            state = self.encoder.last(stage, shared)
            skips, attended = cross(shared, state, attended)
            for task, skip in skips.items():
                features[task].append(skip)
        bottleneck = self.bottleneck(attended)
        return {task: self.decode(task, [*features[task][:-1], bottleneck[task]], image) for task in self.heads}
