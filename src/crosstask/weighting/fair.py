"""Gradient methods that bargain: FairGrad, and Nash-MTL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosstask.functional.fair_weights import fair_weights
from crosstask.weighting.aggregators import Aggregated

if TYPE_CHECKING:
    from torch import Tensor


class FairGrad(Aggregated):
    r"""FairGrad (Ban and Ji, ICML 2024): the step that is alpha-fair to the tasks.

    See :func:`crosstask.functional.fair_weights.fair_weights`.

    Args:
        tasks: names of the tasks.
        alpha: 1 for proportional fairness, larger for the worst task. 1 by default.
    """

    name = "fairgrad"
    label = "FairGrad"

    def __init__(self, tasks: Sequence[str], *, alpha: float = 1.0) -> None:
        super().__init__(tasks)
        self.alpha = alpha

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options.get("alpha", 1) > 0:
            yield "alpha", f"{options['alpha']} is not positive; give a number such as 1 (equal weights: equal)"

    def solve(self, products: Tensor) -> Tensor:
        import torch

        return torch.from_numpy(fair_weights(products.numpy(), self.alpha))


class NashMTL(Aggregated):
    r"""Nash-MTL (Navon et al., ICML 2022): the step on which the tasks would agree if they bargained.

    Weights with :math:`G w = 1 / w`, :math:`G` the Gramian of the rows. The paper comes near them by a sequence of
    convex programs, each from the last step's weights; the equation is that of FairGrad with :math:`\alpha = 1`, and
    solved exactly here, in every step. Of T tasks the solution has length :math:`\sqrt T`, however short the gradients
    are.

    Args:
        tasks: names of the tasks.
        max_norm: the gradient is shortened to this length; 0 for never. 1 in the paper's code.
    """

    name = "nash_mtl"
    label = "Nash-MTL"

    def __init__(self, tasks: Sequence[str], *, max_norm: float = 1.0) -> None:
        super().__init__(tasks)
        self.max_norm = max_norm

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("max_norm", 1) < 0:
            yield "max_norm", f"{options['max_norm']} is negative; give 0 (never shortened) or more"

    def solve(self, products: Tensor) -> Tensor:
        import torch

        weights = torch.from_numpy(fair_weights(products.numpy()))
        norm = float((weights @ products @ weights).clamp(min=0).sqrt())
        return weights * min(1.0, self.max_norm / norm) if self.max_norm and norm else weights
