"""Random loss weighting (Lin et al., TMLR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from crosstask.weighting.scalar import ScalarWeighting

if TYPE_CHECKING:
    from torch import Tensor


class RandomLossWeighting(ScalarWeighting):
    r"""Random loss weighting (Lin et al., TMLR 2022): new weights in every step, a softmax of normal draws.

    :math:`w = \mathrm{softmax}(z), z \sim N(0, 1)`, of the tasks that have a label in the batch; each draws all the
    same, so that a label that is missing changes nobody else's draws. The baseline that every cleverer weighting must
    beat.
    """

    name = "rlw"
    label = "RLW"

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        import torch

        drawn = torch.randn(len(self.tasks))  # on the CPU, by the generator that a resumed epoch seeds anew
        known = [self.tasks.index(task) for task in losses]
        stacked = torch.stack(list(losses.values()))
        return (drawn[known].softmax(0).to(stacked) * stacked).sum()
