"""GradNorm (Chen et al., ICML 2018): weights under which no task's gradient is longer than its progress deserves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crosstask.weighting.base import Step
from crosstask.weighting.scalar import ScalarWeighting

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_LOWEST = 1e-3


class GradNorm(ScalarWeighting):
    r"""GradNorm (Chen et al., ICML 2018): weights under which a task's gradient is as long as it lags behind.

    Algorithm 1 of the paper, on the last layer that the tasks share.

    .. math::
        G_t = \lVert \nabla_W w_t L_t \rVert, \quad
        r_t = \frac{L_t / L_t(0)}{\mathrm{mean}_s L_s / L_s(0)}, \quad
        L_\mathrm{grad} = \sum_t | G_t - \bar G r_t^\alpha |

    :math:`W` is the last layer of the shared encoder, and :math:`L_t(0)` the task's first loss. Weights follow the
    gradient of :math:`L_\mathrm{grad}` (the targets held constant), and are scaled after each step so that their mean
    is one. Tasks without a label in the batch are in no sum; their weight is moved by the optimiser's momentum alone.
    Nothing is learned where a single task has one.

    Args:
        tasks: names of the tasks.
        alpha: how strongly slow tasks are pulled up; 1.5 in the paper for tasks that differ, 0.12 for alike ones.
        learning_rate: of the weights, 0.025 in the paper; it follows the schedule of the network's.
    """

    name = "gradnorm"
    label = "GradNorm"

    def __init__(self, tasks: Sequence[str], *, alpha: float = 1.5, learning_rate: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self._first: dict[str, float] = {}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("alpha", 0) < 0:
            yield "alpha", f"{options['alpha']} is negative; give 0 or more, 1.5 in the paper"
        if not options.get("learning_rate", 1) > 0:
            yield "learning_rate", f"{options['learning_rate']} is not positive; the paper takes 0.025"

    @cached_property
    def weights(self) -> nn.Parameter:
        """w, one a task."""
        import torch

        return torch.nn.Parameter(torch.ones(len(self.tasks)))

    def combine(self, losses: Mapping[str, Tensor]) -> Tensor:
        import torch

        known = [self.tasks.index(task) for task in losses]
        return (self.weights.detach()[known] * torch.stack(list(losses.values()))).sum()

    def backward(self, losses: Mapping[str, Tensor], step: Step) -> Mapping[str, Tensor]:
        """The gradient of the weighted sum for the network, and that of the gradients' lengths for the weights."""
        for task, loss in losses.items():
            self._first.setdefault(task, float(loss.detach()))
        if len(losses) > 1 and step.last is not None:
            self._learn(losses, step.last, step)
        return super().backward(losses, step)

    def _learn(self, losses: Mapping[str, Tensor], layer: nn.Parameter, step: Step) -> None:
        import torch

        known = [self.tasks.index(task) for task in losses]
        factor = (step.scale.float() / step.share).to(step.scale)  # of mixed precision, taken out of the norms again
        lengths = []
        for loss in losses.values():
            (found,) = torch.autograd.grad(
                loss, layer, factor.to(loss.dtype), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            lengths.append((step.summed([found])[0].float() / factor.float()).norm())
        norms = self.weights[known] * torch.stack(lengths)
        ratios = torch.stack([loss.detach().float() / max(self._first[task], 1e-12) for task, loss in losses.items()])
        target = norms.detach().mean() * (ratios / ratios.mean()) ** self.alpha
        if not bool(torch.isfinite(norms).all()):  # mixed precision skips this step
            return
        (gradient,) = torch.autograd.grad((norms - target).abs().sum(), self.weights)
        gradient = gradient * step.scale  # as all gradients of this step are
        self.weights.grad = gradient if self.weights.grad is None else self.weights.grad + gradient

    def after_step(self, losses: Callable[[], Mapping[str, Tensor]]) -> None:
        """Positive weights whose mean is one."""
        kept = self.weights.data.clamp(min=_LOWEST)
        self.weights.data.copy_(kept * (len(self.tasks) / kept.sum()))

    def parameters(self) -> Sequence[nn.Parameter]:
        return (self.weights,)

    def to(self, device: torch.device) -> None:
        self.weights.data = self.weights.data.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.detach().cpu().clone(), "first": dict(self._first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.weights.data.copy_(state["weights"])
        self._first = dict(state["first"])
