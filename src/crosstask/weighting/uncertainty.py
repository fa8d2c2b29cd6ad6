"""Uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018): weights that are learned with the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

from crosstask.weighting.scalar import ScalarWeighting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Uncertainty(ScalarWeighting):
    r"""Uncertainty weighting (Kendall, Gal and Cipolla, CVPR 2018): each loss by the uncertainty of its task, learned.

    :math:`\sum_t \tfrac12 e^{-s_t} L_t + \tfrac12 s_t` with :math:`s_t = \log \sigma_t^2`, zero at the start, of the
    tasks that have a label in the batch. It is the form for quantities, eq. (7) of the paper with its logarithm; for
    classes the paper drops the half, which the learned :math:`s_t` makes up for.

    Args:
        tasks: names of the tasks.
        learning_rate: of the log variances, without weight decay; None for the network's, as in the paper.
    """

    name = "uncertainty"
    label = "UW"

    def __init__(self, tasks: Sequence[str], *, learning_rate: float | None = None) -> None:
        super().__init__(tasks)
        self.learning_rate = learning_rate

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options.get("learning_rate", 1) > 0:
            yield "learning_rate", f"{options['learning_rate']} is not positive; leave it out for the network's"

    @cached_property
    def log_variances(self) -> nn.Parameter:
        """:math:`s_t`, one a task."""
        import torch

        return torch.nn.Parameter(torch.zeros(len(self.tasks)))

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        variances = {task: self.log_variances[self.tasks.index(task)] for task in losses}
        return reduce(add, (0.5 * (-s).exp() * losses[task] + 0.5 * s for task, s in variances.items()))

    def parameters(self) -> Sequence[nn.Parameter]:
        return (self.log_variances,)

    def to(self, device: torch.device) -> None:
        self.log_variances.data = self.log_variances.data.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"log_variances": self.log_variances.detach().cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log_variances.data.copy_(state["log_variances"])
