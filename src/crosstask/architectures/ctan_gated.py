"""CTAN with gates: a task may close the door on another, stage by stage. Ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.architectures.ctan import CTAN, CTAEStage
from crosstask.nn.encoder_base import STAGES
from crosstask.nn.gates import GatedBottleneck, Gates, apart, gated_views, unheard
from crosstask.nn.parts import Parts
from crosstask.readings import Reading
from crosstask.tasks.base import Head

LEVELS = (*(f"stage {stage}" for stage in STAGES), "bottleneck")
"""Where there are gates: CTAE at each stage, and CTAB."""


class GatedCTAN(CTAN):
    r"""CTAN whose tasks learn, at every stage and at the bottleneck, how much they look through the others' masks.

    ::

        s_tt'^j = gate_tt'^j * weight_tt'^j, the weights of a task's others being a softmax
        B_t^j   = ((1 - sum s_tt'^j) A_t^j + sum s_tt'^j A_t'^j) * P^j
        A^_t^j  = Pool(B_t^j);  skips of task t: B_t^j of stages 1 to 3                      eq. (1), gated
        E_t     = embedding(A^_t^4);  E_t + sum s_tt'^5 A-_tt'                               eq. (2), gated

    With open gates and even weights that is CTAN, for two tasks by its own equations; with closed gates each task sees
    its own mask alone, as in MTAN, with CTAN's pooling block. With more than two tasks the weights let a task choose
    among the others, of which CTAN takes the mean. Gates begin at 0.95, weights even. See
    :class:`crosstask.nn.gates.Gates` for their form.

    A gate is there for the task that looks, so that task's loss alone moves it: at stages 1 to 3 by its skip, at stage
    4 and the bottleneck by what its decoder gets. Where a mixture goes on to masks that others look through, it does so
    without a gradient to the gate. A task that is harmed closes its gate, and no other task holds it open; and gates
    are parameters of their task, which a batch without its labels leaves as they are.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
        scaled_bottleneck: the poster's scaled dot product in CTAB (default), else eq. (2) as printed.
        open_masks: masks begin near 0.95 instead of 0.5; see :class:`crosstask.nn.attention.MaskAttention`.
    """

    name = "ctan-gated"
    task_modules = ("gates", "decoders")
    bottleneck_kind = GatedBottleneck

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
        *,
        scaled_bottleneck: bool = True,
        open_masks: bool = True,
    ) -> None:
        super().__init__(tasks, parts, scaled_bottleneck=scaled_bottleneck, open_masks=open_masks)
        self.gates = nn.ModuleDict({task: nn.ModuleList(Gates(len(tasks) - 1) for _ in LEVELS) for task in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        state = self.encoder.stem(image)
        features = {task: [state] for task in self.heads}
        *at_stages, at_bottleneck = self.shares()
        seen: dict[str, Tensor] = {}
        attended: dict[str, Tensor] = {}
        for stage, cross, shares in zip(STAGES, self.stages, at_stages, strict=True):
            assert isinstance(cross, CTAEStage)
            shared = self.encoder.shared(stage, state)
            state = self.encoder.last(stage, shared)
            masks = cross.masks_of(shared, attended)
            seen = gated_views(masks, state, shares)
            shown = gated_views(masks, state, unheard(shares)) if torch.is_grad_enabled() else seen
            if stage != STAGES[-1]:
                attended = cross.pool.attended(shown)
                for task, skip in seen.items():
                    features[task].append(skip)
            else:
                seen, attended = apart(cross.pool.pool, seen, shown)
        bottleneck = self.bottleneck(seen, attended, at_bottleneck)
        return {task: self.decode(task, [*features[task], bottleneck[task]], image) for task in self.heads}

    def blocks(self) -> list[nn.Module]:
        """The masks, as gates come between them and their pooling."""
        return Architecture.blocks(self)

    def shares(self) -> list[dict[str, Sequence[Tensor]]]:
        """Shares of the others in what each task sees, level by level."""
        by_task = {task: [level() for level in self._levels(task)] for task in self.heads}
        return [{task: shares[index] for task, shares in by_task.items()} for index in range(len(LEVELS))]

    def _levels(self, task: str) -> list[Gates]:
        """A task's gates, level by level."""
        return [level for level in self.gates[task].children() if isinstance(level, Gates)]

    def readings(self) -> list[Reading]:
        """Gates by direction and level, and with more than two tasks the weights, too."""
        if len(self.heads) == 1:
            return []
        gates = Reading(
            "Gates",
            "How far each task looks through another's attention: 1 as in CTAN, 0 not at all, so that it sees through "
            "its own mask alone. All began at 0.95.",
            self._by_direction(Gates.gates),
        )
        weights = Reading(
            "Choice among the other tasks",
            "Weight of each other task in what a task sees; those of one task add up to 1. All began at "
            f"{1 / (len(self.heads) - 1):.2f}.",
            self._by_direction(Gates.weights),
        )
        return [gates, weights] if len(self.heads) > 2 else [gates]

    def _by_direction(self, figure: Callable[[Gates], Tensor]) -> dict[str, dict[str, float]]:
        """A figure of all gates, ``{"a looks at b": {level: figure}}``."""
        rows = {}
        for task in self.heads:
            values = [figure(level).tolist() for level in self._levels(task)]
            for index, other in enumerate(name for name in self.heads if name != task):
                by_level = {level: own[index] for level, own in zip(LEVELS, values, strict=True)}
                rows[f"{task} looks at {other}"] = by_level
        return rows
