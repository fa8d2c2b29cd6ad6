"""Sums over all samples of a batch, of which this process may have a share only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import torch
from torch import Tensor

_SUM: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("_SUM", default=None)


@contextlib.contextmanager
def summed_by(total: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let losses be of more samples than those at hand.

    Args:
        total: adds to a sum over the samples at hand those of all others; its gradient is that of the share at hand.
    """
    token = _SUM.set(total)
    try:
        yield
    finally:
        _SUM.reset(token)


def over_batch(share: Tensor) -> Tensor:
    """A sum over the samples at hand, made one over the whole batch: the same unless a batch is divided.

    A loss that sums over samples by this alone, and divides only afterwards, is the same however many processes share
    its batch: they are to compute it alike, each of its own samples.
    """
    total = _SUM.get()
    return share if total is None else total(share)


def batch_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of those values of the batch that are counted; exactly zero, without NaN, where none is.

    Shapes:
        values: any.  counted: the same, weights or bool.  returns: scalar.
    """
    counted = counted.to(values.dtype)
    added, number = (values * counted).sum(), counted.sum()
    if _SUM.get() is not None:
        added, number = over_batch(torch.stack([added, number]))
    return added / number.clamp(min=1)
