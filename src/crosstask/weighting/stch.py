"""Smooth Tchebycheff scalarisation (Lin et al., ICML 2024): the worst task counts most, smoothly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from crosstask.weighting.scalar import ScalarWeighting

if TYPE_CHECKING:
    from torch import Tensor


class SmoothTchebycheff(ScalarWeighting):
    r"""Smooth Tchebycheff (Lin et al., ICML 2024): a smooth maximum of the losses, all of the same weight.

    :math:`\mu \log \sum_t \exp(\lambda_t L_t / \mu)` with :math:`\lambda_t = 1/T`. T counts the tasks that have
    a label in the batch. The ideal losses are zero.

    Args:
        tasks: names of the tasks.
        mu: how smooth: the smaller, the more the worst task alone counts. The paper tries 0.01 to 1.
    """

    name = "stch"
    label = "STCH"

    def __init__(self, tasks: Sequence[str], *, mu: float = 0.1) -> None:
        super().__init__(tasks)
        self.mu = mu

    @classmethod
    def faults(cls, options: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        if not options.get("mu", 1) > 0:
            yield "mu", f"{options['mu']} is not positive; give a number such as 0.1"

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        import torch

        stacked = torch.stack(list(losses.values())) / len(losses)
        return self.mu * torch.logsumexp(stacked / self.mu, dim=0)
