"""Gradient methods that weigh the rows of the Jacobian by their Gramian, as TorchJD solves them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crosstask.weighting.gradient import GradientWeighting, gramian

if TYPE_CHECKING:
    from torch import Tensor


# A convex combination shorter than this, of rows together of length one, is none. TorchJD's 1e-4 would stop every task
# where one has a gradient ten thousand times shorter than another's.
_STATIONARY = 1e-6


class Aggregated(GradientWeighting):
    """A gradient weighting whose weights follow from the inner products of the rows. A subclass gives :meth:`solve`."""

    @abstractmethod
    def solve(self, products: Tensor) -> Tensor:
        """Weights of the rows, ``t t`` to ``t``, both float64 on the CPU."""

    def weigh(self, jacobian: Tensor, tasks: Sequence[str]) -> Tensor:
        return self.solve(gramian(jacobian))


class PCGrad(Aggregated):
    """Gradient surgery (Yu et al., NeurIPS 2020): of two gradients in conflict, each loses what goes against the other.

    The order in which the others are looked at is drawn anew in every step.
    """

    name = "pcgrad"
    label = "PCGrad"

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.PCGradWeighting()(products)


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

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.CAGradWeighting(c=self.c, norm_eps=_STATIONARY)(_unit(products))


class MGDA(Aggregated):
    """Multiple gradient descent (Désidéri 2012; Sener and Koltun, NeurIPS 2018): the shortest convex combination."""

    name = "mgda"
    label = "MGDA"

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.MGDAWeighting()(products)


class IMTLG(Aggregated):
    """IMTL-G (Liu et al., ICLR 2021): a gradient that is as long in the direction of every task's."""

    name = "imtl_g"
    label = "IMTL-G"

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.IMTLGWeighting()(_unit(products))


class AlignedMTL(Aggregated):
    """Aligned-MTL (Senushkin et al., CVPR 2023): the rows turned and scaled until none dominates another."""

    name = "aligned_mtl"
    label = "Aligned-MTL"

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.AlignedMTLWeighting()(products)


class UPGrad(Aggregated):
    """UPGrad (Quinton and Rey, 2024): each row projected onto the cone where no loss rises, and their mean."""

    name = "upgrad"
    label = "UPGrad"
    needs = ("quadprog", "qpsolvers")

    def solve(self, products: Tensor) -> Tensor:
        from torchjd import aggregation

        return aggregation.UPGradWeighting()(_unit(products))


def _unit(products: Tensor) -> Tensor:
    """For rows that are together of length one: TorchJD takes short ones for none, and no weight depends on it."""
    return products / products.trace()
