"""Losses of a dose within structures: generalised moments, and the dose-volume histogram made differentiable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from crosstask.functional.batch_sums import batch_mean


def moments(dose: Tensor, structures: Tensor, orders: Sequence[float]) -> Tensor:
    r"""Generalised moments of the dose in structures, Jhanwar et al. (2022).

    .. math:: M_p = \left( \frac{1}{|V|} \sum_{i \in V} d_i^p \right)^{1/p}

    The first is the mean dose, and the higher p, the nearer to the highest dose.

    Args:
        dose: of each voxel; below zero it counts as zero.
        structures: 1 inside a structure, 0 outside.
        orders: each p, at least 1.

    Shapes:
        dose: ``b *s``.  structures: ``b r *s``.  returns: ``b r p``; zero, without gradient, of an empty structure.
    """
    if not len(dose):
        return dose.sum() * dose.new_zeros((*structures.shape[:2], len(orders)))
    return torch.stack([_moments(*one, orders) for one in _inside(dose.clamp(min=0), structures)])


def _inside(dose: Tensor, structures: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each sample the dose and the masks of the voxels that are in some structure: ``n`` and ``r n``.

    The others would take up memory and time, and are most of them.
    """
    for values, masks in zip(dose.flatten(1), structures.to(dtype=dose.dtype).flatten(2), strict=True):
        somewhere = masks.any(0)
        yield values[somewhere], masks[:, somewhere]


def _moments(dose: Tensor, masks: Tensor, orders: Sequence[float]) -> Tensor:
    """Moments of one sample: ``n`` and ``r n`` to ``r p``."""
    size = masks.sum(1).clamp(min=1)
    inside = dose * masks
    # In shares of the highest dose no power over- or underflows. The highest cancels out, so it needs no gradient.
    highest = torch.cat([inside.detach(), inside.new_zeros(len(inside), 1)], dim=1).amax(1)
    some = highest > 0
    unit = torch.where(some, highest, 1)
    shares = inside / unit[:, None]
    means = torch.stack([(shares**order).sum(1) / size for order in orders], dim=1)
    means = torch.where(some[:, None], means, 1)  # the root of zero has no gradient
    roots = torch.stack([means[:, index] ** (1 / order) for index, order in enumerate(orders)], dim=1)
    return torch.where(some[:, None], unit[:, None] * roots, 0)


def moment_loss(
    dose: Tensor, target: Tensor, structures: Tensor, contoured: Tensor, orders: Sequence[float] = (1, 2, 10)
) -> Tensor:
    """Squared difference of the moments of two doses, mean over orders and structures; see :func:`moments`.

    Args:
        dose: the predicted one.
        target: the true one.
        structures: 1 inside a structure, 0 outside.
        contoured: which sample has which structure. One that is not contoured, or has no voxel in the sample, is left
            out; exactly zero, and without gradient, where all are.
        orders: each p of the moments.

    Shapes:
        dose, target: ``b *s``.  structures: ``b r *s``.  contoured: ``b r``, bool.  returns: scalar.
    """
    squares = (moments(dose, structures, orders) - moments(target, structures, orders)) ** 2
    return _mean_over(squares, structures, contoured)


def soft_dvh(dose: Tensor, structures: Tensor, doses: Tensor, width: float) -> Tensor:
    r"""Dose-volume histograms with a sigmoid in the place of the step, Nguyen et al. (2020).

    .. math:: v_r(D) = \frac{1}{|V_r|} \sum_{i \in V_r} \sigma\left( \frac{d_i - D}{w} \right)

    Args:
        dose: of each voxel.
        structures: 1 inside a structure, 0 outside.
        doses: D at which the histogram is taken.
        width: w of the sigmoid, in the unit of the dose.

    Shapes:
        dose: ``b *s``.  structures: ``b r *s``.  doses: ``t``.  returns: ``b r t``; zero of an empty structure.
    """
    if not len(dose):
        return dose.sum() * dose.new_zeros((*structures.shape[:2], len(doses)))
    found = []
    for values, masks in _inside(dose, structures):
        above = ((values[:, None] - doses) / width).sigmoid()
        found.append(masks @ above / masks.sum(1, keepdim=True).clamp(min=1))
    return torch.stack(found)


def dvh_loss(
    dose: Tensor, target: Tensor, structures: Tensor, contoured: Tensor, *, step: float = 2.0, highest: float = 80.0
) -> Tensor:
    """Squared difference of the histograms of two doses, mean over doses and structures; see :func:`soft_dvh`.

    Args:
        dose: the predicted one.
        target: the true one.
        structures: 1 inside a structure, 0 outside.
        contoured: as in :func:`moment_loss`.
        step: between the doses at which the histograms are compared, and width of the sigmoid.
        highest: the last of these doses.

    Shapes:
        dose, target: ``b *s``.  structures: ``b r *s``.  contoured: ``b r``, bool.  returns: scalar.
    """
    doses = step * torch.arange(1, int(highest / step + 1e-6) + 1, dtype=dose.dtype, device=dose.device)
    squares = (soft_dvh(dose, structures, doses, step) - soft_dvh(target, structures, doses, step)) ** 2
    return _mean_over(squares, structures, contoured)


def _mean_over(squares: Tensor, structures: Tensor, contoured: Tensor) -> Tensor:
    """Mean of ``b r k`` over k and the structures that are contoured and have a voxel; zero where none is."""
    there = contoured & structures.flatten(2).any(2)
    return batch_mean(squares.mean(2), there)
