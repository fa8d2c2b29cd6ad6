"""Gradient methods of TorchJD: each weighs the rows of the Jacobian by their Gramian."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosstask.weighting.gradient import GradientWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Aggregated(GradientWeighting):
    """A gradient weighting whose weights an aggregator of TorchJD gives.

    A subclass gives :meth:`aggregator`. A task without a label in the batch has no row, so the others are weighed
    among themselves.
    """

    def aggregator(self, count: int) -> Any:
        """TorchJD's aggregator for a number of rows."""
        raise NotImplementedError

    def weigh(self, jacobian: Tensor, tasks: Sequence[str]) -> Tensor:
        weights: Tensor = self.aggregator(len(tasks)).weighting(jacobian)
        return weights


class PCGrad(Aggregated):
    """Gradient surgery (Yu et al., NeurIPS 2020): of two gradients in conflict, each loses what goes against the other.

    The order in which the others are looked at is drawn anew in every step.
    """

    name = "pcgrad"
    label = "PCGrad"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.PCGrad()


class CAGrad(Aggregated):
    """Conflict-averse gradient descent (Liu et al., NeurIPS 2021): near the mean, and best for the worst task.

    Args:
        tasks: names of the tasks.
        c: how far from the mean the gradient may be, as a share of its length; 0 is the mean. 0.4 in the paper.
    """

    name = "cagrad"
    label = "CAGrad"
    needs = ("cvxpy", "clarabel")

    def __init__(self, tasks: Sequence[str], *, c: float = 0.4) -> None:
        super().__init__(tasks)
        self.c = c

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("c", 0) < 0:
            yield "c", f"{options['c']} is negative; give 0 (the mean of the gradients) or more"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.CAGrad(c=self.c)


class MGDA(Aggregated):
    """Multiple gradient descent (Désidéri 2012; Sener and Koltun, NeurIPS 2018): the shortest convex combination."""

    name = "mgda"
    label = "MGDA"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.MGDA()


class IMTLG(Aggregated):
    """IMTL-G (Liu et al., ICLR 2021): a gradient that is as long in the direction of every task's."""

    name = "imtl_g"
    label = "IMTL-G"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.IMTLG()


class AlignedMTL(Aggregated):
    """Aligned-MTL (Senushkin et al., CVPR 2023): the rows turned and scaled until none dominates another."""

    name = "aligned_mtl"
    label = "Aligned-MTL"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.AlignedMTL()


class UPGrad(Aggregated):
    """UPGrad (Quinton and Rey, 2024): each row projected onto the cone where no loss rises, and their mean."""

    name = "upgrad"
    label = "UPGrad"
    needs = ("quadprog", "qpsolvers")

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.UPGrad()


class FairGrad(Aggregated):
    r"""FairGrad (Ban and Ji, ICML 2024): the step that is :math:`\alpha`-fair to the tasks.

    Args:
        tasks: names of the tasks.
        alpha: 0 for the plain sum, 1 for proportional fairness (Nash-MTL's), larger for the worst task. 1 by default.
    """

    name = "fairgrad"
    label = "FairGrad"

    def __init__(self, tasks: Sequence[str], *, alpha: float = 1.0) -> None:
        super().__init__(tasks)
        self.alpha = alpha

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if options.get("alpha", 1) < 0:
            yield "alpha", f"{options['alpha']} is negative; give 0 or more"

    def aggregator(self, count: int) -> Any:
        from torchjd import aggregation

        return aggregation.FairGrad(alpha=self.alpha)
