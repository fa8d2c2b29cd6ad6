"""The processes that train one run together: which of them this is, and what they tell each other.

Without several all of this is as one process has it: rank 0 of 1, whose sums are its own. Nothing here starts or
connects processes; see :mod:`crosstask.training.launch`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")


def _group() -> Any:
    """PyTorch's module of process groups if there is one group; None in a process of its own."""
    torch = sys.modules.get("torch")  # whoever has joined others has imported it
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed


def rank() -> int:
    """Number of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def world_size() -> int:
    """How many processes train together."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def total(share: Tensor) -> Tensor:
    """Sum of a tensor over all processes, the same bits in each; outside of autograd.

    Shapes:
        share: any, alike in all processes.  returns: the same.
    """
    group, share = _group(), share.detach()
    if group is None:
        return share
    whole = share.clone()
    group.all_reduce(whole)
    return whole


def total_of_all(shares: Sequence[Tensor]) -> list[Tensor]:
    """:func:`total` of several tensors of one type and device, at one go."""
    import torch

    if _group() is None or not shares:
        return list(shares)
    whole = total(torch.cat([share.detach().reshape(-1) for share in shares]))
    parts = whole.split([share.numel() for share in shares])
    return [part.view(share.shape) for part, share in zip(parts, shares, strict=True)]


def agreed(value: _T) -> _T:
    """What the first process has of a plain value, in all of them."""
    group = _group()
    if group is None:
        return value
    box = [value]
    group.broadcast_object_list(box, src=0)
    return box[0]


def wait() -> None:
    """Go on when all processes have come here."""
    if _group() is not None:
        agreed(None)  # the barrier of NCCL guesses a device where none is set yet


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process do something before the others do: what it leaves on disk they find."""
    if not is_first():
        wait()
    yield
    if is_first():
        wait()
