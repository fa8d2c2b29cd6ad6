"""``torch.compile`` by option: a network compiled for its training steps, or as it is where that cannot be done."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Network = Callable[[Tensor], dict[str, Tensor]]


def compiled(
    network: nn.Module,
    shape: Sequence[int],
    *,
    device: torch.device,
    context: Callable[[], Any] = contextlib.nullcontext,
    tell: Callable[[str], None],
) -> Network:
    """The network, compiled for batches of one shape, forward and backward; or itself, with a line that says why.

    It is compiled here and tried once, so that a step is never the first to fail. Weights, running statistics,
    gradients and random numbers are afterwards as they were.

    Args:
        network: in training, on its device.
        shape: ``b c *s``, of batches.
        device: where it is.
        context: under which steps are computed, such as mixed precision.
        tell: told in one line where it cannot be compiled.
    """
    try:
        with _quiet(), _untouched(network, device):
            _keep_what_is_saved()
            found: Any = torch.compile(network)
            image = torch.rand(tuple(shape), device=device) * 2 - 1
            if len(shape) == 4 and _is_channels_last(network):
                image = image.contiguous(memory_format=torch.channels_last)
            with context():
                outputs = found(image)
            loss = sum(output.float().mean() for output in outputs.values())
            for _ in range(2):  # where gradients of single tasks are asked for, a step goes back more than once
                loss.backward(retain_graph=True)
    except Exception as error:  # compilers fail in ways of their own: no C++ compiler, no Triton, an operation unknown
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        tell(f"training.compile: the network is trained as it is, since it cannot be compiled here ({line[:200]})")
        return network
    return found


def _keep_what_is_saved() -> None:
    """Let what the forward pass saves stay after a backward pass: by default the compiler writes over it.

    Gradient methods, GradNorm and the steps that are looked at for transfer go back through a graph once for each task.
    """
    import torch._functorch.config as settings

    settings.donated_buffer = False  # of the process: it is read again where another shape is compiled


def _is_channels_last(network: nn.Module) -> bool:
    """Whether the first convolution's filters are in that order."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return first is not None and first.weight.is_contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def _untouched(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Leave buffers, gradients and random numbers as they are."""
    buffers = [buffer.clone() for buffer in network.buffers()]
    gradients = [parameter.grad for parameter in network.parameters()]
    for parameter in network.parameters():
        parameter.grad = None  # a gradient that is there would be added to
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in zip(network.buffers(), buffers, strict=True):
                    buffer.copy_(before)
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the compiler's own messages: what came of it is in ours."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
