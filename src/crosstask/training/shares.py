r"""A batch that several processes share: its losses, its gradients, its statistics.

The loss :math:`L` of a batch is a function of sums over its samples, and each process has the share :math:`s_r` of its
own samples in :math:`S = \sum_r s_r`. All processes compute the same :math:`L(S)`, and each goes back through its own
share alone, :math:`\partial L / \partial s_r = L'(S)`. So the gradient of a parameter is the *sum* over processes of
what each has found, and not the mean, however labels and samples are distributed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crosstask import ranks
from crosstask.sample import Batch
from crosstask.tasks.base import Task

_BUCKET = 25 * 2**20  # bytes that are added up at one go, as PyTorch's own DDP has it


class _Sum(torch.autograd.Function):
    """Sum over processes of which each computes the same from it: the gradient of its share is that of the sum."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        return ranks.total(share)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def total_of_shares(share: Tensor) -> Tensor:
    """A sum over the samples of this process, made one over the batch; see :func:`crosstask.functional.over_batch`."""
    return _Sum.apply(share)


def gathered(own: Tensor) -> Tensor:
    """What all processes have, one after the other; the gradient goes to what this one has.

    Shapes:
        own: ``b ...``, where b may differ between processes.  returns: ``B ...``.
    """
    world = ranks.world_size()
    lengths = [0] * world
    lengths[ranks.rank()] = len(own)
    lengths = ranks.total(torch.tensor(lengths, device=own.device)).tolist()
    sent = own.detach().new_zeros((max(lengths), *own.shape[1:]))
    sent[: len(own)] = own.detach()
    sent = sent.to(torch.uint8) if own.dtype == torch.bool else sent
    found = [torch.empty_like(sent) for _ in range(world)]
    torch.distributed.all_gather(found, sent.contiguous())
    parts = [part[:length].to(own.dtype) for part, length in zip(found, lengths, strict=True)]
    parts[ranks.rank()] = own
    return torch.cat(parts)


def whole_batch(task: Task, output: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Raw output and labels of a task for the batch of all processes, for losses that are no function of sums."""
    names = [task.name] if task.masks is None else [task.name, task.masks.name]
    region = batch.region
    with_region = ranks.total(torch.tensor(float(region is not None), device=output.device))
    if region is None and bool(with_region):
        region = torch.ones((len(output), 1, *batch.image.shape[2:]), dtype=torch.bool, device=output.device)
    labels = Batch(
        image=batch.image,
        targets={name: gathered(batch.targets[name]) for name in names},
        present={name: gathered(batch.present[name]) for name in names},
        region=None if region is None else gathered(region),
        cases=batch.cases,
        positions=batch.positions,
    )
    return gathered(output), labels


def whole(value: Any) -> Any:
    """A tensor of which each process keeps a part, as a whole in all of them; anything else as it is."""
    full = getattr(value, "full_tensor", None)
    return value if full is None else full().detach()


def whole_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers of a network by name; all processes ask for them together."""
    return {name: whole(value) for name, value in network.state_dict().items()}


class GradientSums:
    """Adds up the gradients of all processes, those of the last layers while the first are still computed.

    Parameters go into buckets in their reverse order, which is about that of their gradients. A bucket is sent once
    all of its gradients are there and those before it have been sent, so that all processes send the same ones in the
    same order; what is left goes in :meth:`finish`. A parameter has a gradient in all processes or in none.

    Args:
        parameters: whose gradients; those that are not learned are left out.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        self._buckets = _buckets(learned)
        self._of = {id(parameter): index for index, bucket in enumerate(self._buckets) for parameter in bucket}
        self._armed = False
        self._missing: list[set[int]] = []
        self._sent: dict[int, tuple[Tensor, Any]] = {}
        for parameter in learned:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def begin(self) -> None:
        """The backward pass that comes is the last before a step."""
        self._armed, self._sent = True, {}
        self._missing = [{id(parameter) for parameter in bucket} for bucket in self._buckets]

    def _arrived(self, parameter: Tensor) -> None:
        if not self._armed:
            return
        index = self._of[id(parameter)]
        if index in self._sent:  # of a weighting that goes back more than once: what was sent is not all of it
            self._wait_for(self._sent.pop(index))
            self._missing[index] = {-1}  # for finish to send again
            return
        self._missing[index].discard(id(parameter))
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send(len(self._sent))

    def _send(self, index: int) -> None:
        flat = _flat(self._buckets[index])
        self._sent[index] = (flat, torch.distributed.all_reduce(flat, async_op=True) if len(flat) else None)

    def finish(self, *, without: Iterable[nn.Parameter] = ()) -> None:
        """Send what was not sent, and give all parameters the sums.

        Args:
            without: parameters whose gradients are sums already.
        """
        self._armed = False
        left_out = {id(parameter) for parameter in without}
        if left_out:  # nothing was sent: these gradients were not accumulated
            every = [parameter for bucket in self._buckets for parameter in bucket]
            rest = [parameter for parameter in every if id(parameter) not in left_out and parameter.grad is not None]
            for bucket in _buckets(rest[::-1]):
                _take(bucket, ranks.total(_flat(bucket)))
            return
        for index in range(len(self._buckets)):
            if index not in self._sent:
                self._send(index)
        for index, bucket in enumerate(self._buckets):
            _take(bucket, self._wait_for(self._sent[index]))
        self._sent = {}

    @staticmethod
    def _wait_for(sent: tuple[Tensor, Any]) -> Tensor:
        flat, work = sent
        if work is not None:
            work.wait()
        return flat


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Parameters of one type together, from the last to the first, up to a number of bytes."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in reversed(parameters):
        if not buckets or size > _BUCKET or buckets[-1][-1].dtype != parameter.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets


def _flat(bucket: Sequence[nn.Parameter]) -> Tensor:
    """Gradients of a bucket as one vector; parameters without one have no place in it."""
    gradients = [parameter.grad.reshape(-1) for parameter in bucket if parameter.grad is not None]
    return torch.cat(gradients) if gradients else torch.empty(0)


def _take(bucket: Sequence[nn.Parameter], flat: Tensor) -> None:
    """Give the parameters that have a gradient their parts of a flat one, in their own layout."""
    there = [parameter for parameter in bucket if parameter.grad is not None]
    for parameter, part in zip(there, flat.split([one.numel() for one in there]), strict=True):
        if parameter.is_contiguous():
            parameter.grad = part.view(parameter.shape)
        else:
            assert parameter.grad is not None
            parameter.grad.copy_(part.view(parameter.shape))
