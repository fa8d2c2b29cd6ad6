"""Weightings that make one gradient of several: of the parameters that tasks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crosstask.weighting.base import Step, Weighting

if TYPE_CHECKING:
    from torch import Tensor, nn


_PART = 2**16  # columns in double precision at a time, small enough for the cache


class GradientWeighting(Weighting):
    """One gradient of several. A subclass gives :meth:`weigh`.

    Row t of the Jacobian is the gradient of task t's loss by the shared parameters; what a task has of its own gets the
    gradient of its own loss. With one task alone this is plain gradient descent. One backward pass a task.

    Rows are in single precision or better, and free of the factor of mixed precision, before they are weighed. Those of
    accumulated batches are added up first, so that two batches of four are one of eight (batch normalisation aside). A
    task without a label has no row, nor has one whose loss does not move the shared parameters: the others are weighed
    among themselves, and a row that is alone is the gradient. Rows of several processes are added up before they are
    weighed. Where a row is not finite, as mixed precision must
    expect, nothing is weighed and the gradients say so.
    """

    shows_gradients = True
    gives_whole_gradients = True

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self._rows: dict[str, Tensor] = {}
        self._reached: set[int] = set()

    @abstractmethod
    def weigh(self, jacobian: Tensor, tasks: Sequence[str]) -> Tensor:
        """Weights of the rows: ``t p`` to ``t``; the gradient is their weighted sum.

        Args:
            jacobian: of the losses by the shared parameters, ``t p``, at least two rows, finite, none of them zero.
            tasks: of the rows.
        """

    def backward(self, losses: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """Add the batch's rows; at the end of the accumulated batches weigh them."""
        import torch

        shared = [parameter for parameter in step.shared if parameter.requires_grad]
        last = list(losses)[-1:]
        for task, loss in losses.items():
            own = [parameter for parameter in step.own.get(task, ()) if parameter.requires_grad]
            scale = step.scale.to(loss.dtype)
            found = torch.autograd.grad(loss, [*shared, *own], scale, retain_graph=[task] != last, allow_unused=True)
            if step.look is not None:
                step.look(task, shared, found[: len(shared)])
            self._add_row(task, shared, found[: len(shared)], step)
            for parameter, gradient in zip(own, found[len(shared) :], strict=True):
                if gradient is not None:
                    _add(parameter, gradient)
        return self._finish(shared, step) if step.ends and self._rows else {}

    def _add_row(self, task: str, shared: Sequence[nn.Parameter], found: Sequence[Tensor | None], step: Step) -> None:
        import torch

        self._reached |= {index for index, gradient in enumerate(found) if gradient is not None}
        parts = [
            (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
            for parameter, gradient in zip(shared, found, strict=True)
        ]
        row = torch.cat(parts) if parts else torch.zeros(0)
        row = row.to(torch.promote_types(row.dtype, torch.float32)).div_(_of_precision(step))
        self._rows[task] = self._rows[task] + row if task in self._rows else row

    def _finish(self, shared: Sequence[nn.Parameter], step: Step) -> Mapping[str, Tensor]:
        """Weigh the rows, and give the shared parameters their gradient."""
        import torch

        tasks = list(self._rows)
        (jacobian,) = step.summed([torch.stack(list(self._rows.values()))])
        weights = jacobian.new_ones(len(tasks))
        lengths = torch.linalg.vector_norm(jacobian, dim=1)
        if bool(torch.isfinite(lengths).all()):
            moving = lengths.nonzero().flatten().tolist()
            if len(moving) > 1:
                rows = jacobian if len(moving) == len(tasks) else jacobian[moving]
                weights[moving] = self.weigh(rows, [tasks[index] for index in moving]).to(jacobian)
        gradient = (weights * _of_precision(step)) @ jacobian
        pieces = gradient.split([parameter.numel() for parameter in shared])
        for index, (parameter, piece) in enumerate(zip(shared, pieces, strict=True)):
            if index in self._reached:
                _add(parameter, piece.view_as(parameter).to(parameter.dtype))
        self._rows, self._reached = {}, set()
        return dict(zip(tasks, weights, strict=True))


def gramian(jacobian: Tensor) -> Tensor:
    """Inner products of the rows, ``t p`` to ``t t``, float64 on the CPU: rows may be almost alike, or far apart."""
    import torch

    total = torch.zeros(len(jacobian), len(jacobian), dtype=torch.float64)
    for part in jacobian.split(_PART, dim=1):
        wide = part.cpu().double() if part.device.type == "mps" else part.double()
        total += (wide @ wide.T).cpu()
    return total


def _of_precision(step: Step) -> Tensor:
    """The factor that mixed precision asks for."""
    return step.scale / step.share


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to ``.grad``, in the parameter's own layout: fused optimisers go through the memory of both side by side."""
    import torch

    if parameter.grad is not None:
        parameter.grad += gradient
    elif gradient.stride() == parameter.stride():
        parameter.grad = gradient
    else:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
