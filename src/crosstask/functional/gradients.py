r"""How the gradients of several losses lie to each other, and what a step for one does to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STEP = 1e-3
"""Share by which the steps of a look-ahead would lower the losses if these were straight lines. With 1e-2 the curvature
of the loss says more than the gradient (a step for a task may raise its own loss), and below 1e-5 rounding does."""


@dataclass(frozen=True)
class Products:
    r"""Inner products of the gradients of tasks, over the parameters that both reach.

    Attributes:
        inner: :math:`g_i \cdot g_j`, ``t t``.
        squares: :math:`|g_i|^2` over the parameters that j reaches too, ``t t``; of the task itself on the diagonal.
        common: whether there are such parameters, ``t t``.
    """

    inner: Tensor
    squares: Tensor
    common: Tensor

    def __add__(self, other: Products) -> Products:
        return Products(self.inner + other.inner, self.squares + other.squares, self.common | other.common)

    @property
    def finite(self) -> bool:
        """Whether all gradients are finite."""
        return bool(torch.isfinite(self.squares).all())

    def norms(self) -> list[float]:
        """Length of each gradient."""
        lengths: list[float] = self.squares.diagonal().sqrt().tolist()
        return lengths

    def cosine(self, one: int, other: int) -> float:
        """Cosine of the angle between two gradients; NaN where one is zero, or they share no parameter."""
        size = float(self.squares[one, other] * self.squares[other, one]) ** 0.5
        if not bool(self.common[one, other]) or size == 0:
            return math.nan
        return max(-1.0, min(1.0, float(self.inner[one, other]) / size))


def none_of(tasks: int) -> Products:
    """Products over no parameter at all."""
    zeros = torch.zeros(tasks, tasks, dtype=torch.float64)
    return Products(zeros, zeros, torch.zeros(tasks, tasks, dtype=torch.bool))


def products_of(gradients: Sequence[Sequence[Tensor | None]], gramian: Callable[[Tensor], Tensor]) -> Products:
    """Inner products of the gradients of tasks.

    Parameters that the same tasks reach go together, so that a network is a few matrices and not a loop over layers.

    Args:
        gradients: of each task by the same parameters; None where its loss does not depend on one.
        gramian: inner products of rows, ``t p`` to ``t t`` on the CPU.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, of_tasks in enumerate(zip(*gradients, strict=True)):
        reach = tuple(task for task, gradient in enumerate(of_tasks) if gradient is not None)
        alike.setdefault(reach, []).append(index)
    total = none_of(len(gradients))
    for reach, indices in alike.items():
        if not reach:
            continue
        rows = torch.stack([_row([gradients[task][index] for index in indices]) for task in reach])
        own = gramian(rows)
        inner, squares, common = (part.clone() for part in (total.inner, total.squares, total.common))
        at = torch.tensor(reach)
        inner[at[:, None], at] += own
        squares[at[:, None], at] += own.diagonal()[:, None]
        common[at[:, None], at] = True
        total = Products(inner, squares, common)
    return total


def _row(parts: Sequence[Tensor | None]) -> Tensor:
    row = torch.cat([part.detach().flatten() for part in parts if part is not None])
    return row.to(torch.promote_types(row.dtype, torch.float32))


def step_length(losses: Sequence[float], squares: Sequence[float]) -> float:
    r"""Learning rate :math:`\eta` of a look-ahead, the same for all tasks; NaN where there is none.

    .. math:: \eta \sum_t |g_t|^2 = \mathrm{STEP} \sum_t L_t

    So they tell something of the gradients at hand, whatever the scale of a loss. A plain step of the optimiser's
    learning rate is, with Adam, no step of the optimiser, and with small gradients below rounding.

    Args:
        losses: :math:`L_t` of each task.
        squares: :math:`|g_t|^2` of each.
    """
    total, length = math.fsum(losses), math.fsum(squares)
    return STEP * total / length if total > 0 and length > 0 else math.nan


def affinity(before: float, after: float) -> float:
    r"""Affinity :math:`Z_{i \to j} = 1 - L_j(\theta - \eta g_i) / L_j(\theta)` (Fifty et al., NeurIPS 2021).

    Args:
        before: :math:`L_j` as it is.
        after: the same after a step for task i.

    Returns:
        The share by which the step lowers the loss, negative where it raises it; NaN where the loss is not positive.
    """
    return 1 - after / before if before > 0 else math.nan


def ahead(parameters: Mapping[str, Tensor], gradients: Sequence[Tensor | None], rate: float) -> dict[str, Tensor]:
    """Parameters after a plain step for one task: those that it reaches, by name.

    Args:
        parameters: by name.
        gradients: of the task's loss by these, in their order.
        rate: how far to go.
    """
    return {
        name: parameter.detach() - rate * gradient.to(parameter.dtype)
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
        if gradient is not None
    }
