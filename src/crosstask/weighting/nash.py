"""Nash-MTL (Navon et al., ICML 2022): the step on which the tasks would agree if they bargained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosstask.weighting.aggregators import Aggregated

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = ("prvs_alpha", "normalization_factor", "step")


class NashMTL(Aggregated):
    r"""Weights with :math:`G \alpha = 1 / \alpha`, :math:`G` the Gramian of the rows; found step by step from the last.

    So it has a state. Tasks that have a label in the batch bargain among themselves, and each such set of tasks goes on
    from its own last weights.

    Args:
        tasks: names of the tasks.
        max_norm: the gradient is shortened to this length; 0 for never. 1 in the paper.
        update_every: steps for which weights are kept. 1 in the paper.
    """

    name = "nash_mtl"
    label = "Nash-MTL"
    needs = ("cvxpy", "ecos")

    def __init__(self, tasks: Sequence[str], *, max_norm: float = 1.0, update_every: int = 1) -> None:
        super().__init__(tasks)
        self.max_norm, self.update_every = max_norm, update_every
        self._bargains: dict[tuple[str, ...], Any] = {}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("max_norm", 1) < 0:
            yield "max_norm", f"{options['max_norm']} is negative; give 0 (never shortened) or more"
        if options.get("update_every", 1) < 1:
            yield "update_every", f"{options['update_every']} is not possible; give 1 or more"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.NashMTL(n_tasks=count, max_norm=self.max_norm, update_weights_every=self.update_every)

    def weigh(self, jacobian: Tensor, tasks: Sequence[str]) -> Tensor:
        key = tuple(tasks)
        if key not in self._bargains:
            self._bargains[key] = self.aggregator(len(tasks))
        weights: Tensor = self._bargains[key].weighting(jacobian)
        return weights

    def state_dict(self) -> dict[str, Any]:
        """Of each set of tasks its last weights, as lists."""
        return {
            "+".join(key): {name: _plain(getattr(bargain.weighting, name)) for name in _KEPT}
            for key, bargain in self._bargains.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        import numpy as np

        self._bargains = {}
        for joined, kept in state.items():
            key = tuple(joined.split("+"))
            bargain = self._bargains[key] = self.aggregator(len(key))
            inner = bargain.weighting
            # its problem is set up at the first step alone, which is over
            inner._init_optim_problem()
            kind = np.dtype(kept["prvs_alpha"]["type"])
            inner.prvs_alpha = np.array(kept["prvs_alpha"]["values"], dtype=kind)
            inner.normalization_factor = np.array(kept["normalization_factor"]["values"], dtype=np.float32)
            inner.step = kept["step"]


def _plain(value: Any) -> Any:
    return {"values": value.tolist(), "type": str(value.dtype)} if hasattr(value, "tolist") else value
