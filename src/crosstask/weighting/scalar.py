"""Weightings that make one loss of several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING

from crosstask.weighting.base import Step, Weighting

if TYPE_CHECKING:
    from torch import Tensor


class ScalarWeighting(Weighting):
    """One loss of several, by a formula; its gradient is a weighted sum of theirs.

    One backward pass through the network, whatever the formula. A subclass gives :meth:`combine`.
    """

    @abstractmethod
    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The one loss of those of the tasks that have a label in the batch: ``{task: scalar}`` to a scalar."""

    def backward(self, losses: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        r"""Backward through the formula first, which gives each loss its weight :math:`\partial L / \partial L_t`."""
        import torch

        if not losses:
            return {}
        leaves = {task: loss.detach().requires_grad_() for task, loss in losses.items()}
        total = self.combine(leaves)
        total.backward(gradient=step.scale.to(total.dtype))
        weights = {task: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for task, leaf in leaves.items()}
        torch.autograd.backward(list(losses.values()), list(weights.values()))
        return {task: weight / step.scale for task, weight in weights.items()}


class EpochWeighting(ScalarWeighting):
    r"""Weights that hold for an epoch: :math:`L = \sum_t w_t L_t`."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self._now: dict[str, float] = {}

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """Weight of each task's loss in the coming epoch."""

    def start_epoch(self) -> None:
        """Fix the weights: they follow from what a checkpoint holds."""
        self._now = self.weights()

    def epoch_weights(self) -> Mapping[str, float]:
        return self._now

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        now = self._now or self.weights()
        return reduce(add, (now[task] * loss for task, loss in losses.items()))
