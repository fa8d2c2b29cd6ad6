"""FAMO (Liu et al., NeurIPS 2023): all losses are to fall at the same rate, judged by the losses after each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crosstask.weighting.scalar import ScalarWeighting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SMALLEST = 1e-8


class FAMO(ScalarWeighting):
    r"""FAMO (Liu et al., NeurIPS 2023): weights under which the logarithms of all losses fall alike.

    Fast adaptive multitask optimisation, Algorithm 2 of the paper.

    .. math:: L = c \sum_t z_t \log L_t, \quad z = \mathrm{softmax}(\xi), \quad c = (\sum_t z_t / L_t)^{-1}

    After the step the losses of the same batch tell how far each has fallen, and the logits :math:`\xi` move so that
    slow ones weigh more: a forward pass more a step. Of accumulated batches the last one is looked at. A task without a
    label in the batch is in no sum, and its logit is moved by weight decay alone.

    Args:
        tasks: names of the tasks.
        learning_rate: of the logits (Adam), 0.025 in the paper.
        decay: weight decay of the logits, 0.001 in the paper.
    """

    name = "famo"
    label = "FAMO"

    def __init__(self, tasks: Sequence[str], *, learning_rate: float = 0.025, decay: float = 1e-3) -> None:
        super().__init__(tasks)
        self.rate, self.decay = learning_rate, decay
        self._before: dict[str, Tensor] = {}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options.get("learning_rate", 1) > 0:
            yield "learning_rate", f"{options['learning_rate']} is not positive; the paper takes 0.025"
        if options.get("decay", 0) < 0:
            yield "decay", f"{options['decay']} is negative; give 0 or more"

    @cached_property
    def logits(self) -> Tensor:
        r""":math:`\xi`, one a task."""
        import torch

        return torch.zeros(len(self.tasks), requires_grad=True)

    @cached_property
    def _adam(self) -> torch.optim.Adam:
        import torch

        return torch.optim.Adam([self.logits], lr=self.rate, weight_decay=self.decay)

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        import torch

        stacked = torch.stack(list(losses.values())).clamp(min=_SMALLEST)
        self._before = {task: loss.detach() for task, loss in losses.items()}
        z = self.logits.detach()[self._known(losses)].softmax(0)
        c = 1 / (z / stacked.detach()).sum()
        return c * (z * stacked.log()).sum()

    @property
    def looks_back(self) -> bool:
        return True

    def after_step(self, losses: Callable[[], Mapping[str, Tensor]]) -> None:
        r"""A step of Adam on the logits, along :math:`(\nabla_\xi z)^\top` times what the logarithms have fallen by."""
        import torch

        if not self._before:
            return
        tasks, after = list(self._before), losses()
        before = torch.stack([self._before[task] for task in tasks]).clamp(min=_SMALLEST)
        fallen = before.log() - torch.stack([after[task] for task in tasks]).clamp(min=_SMALLEST).log()
        with torch.enable_grad():
            z = self.logits[self._known(self._before)].softmax(0)
            (self.logits.grad,) = torch.autograd.grad(z, self.logits, fallen.to(z))
        self._adam.step()
        self._before = {}

    def _known(self, losses: Mapping[str, Tensor]) -> list[int]:
        return [self.tasks.index(task) for task in losses]

    def to(self, device: torch.device) -> None:
        self.logits.data = self.logits.data.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"logits": self.logits.detach().cpu().clone(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.logits.data.copy_(state["logits"])
        self._adam.load_state_dict(state["adam"])
