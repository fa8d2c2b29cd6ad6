"""Activation checkpointing: parts of a network that are computed again for the gradient, instead of being kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(modules: Iterable[nn.Module]) -> None:
    """Let modules keep their inputs alone in training, and compute what is in between again for the gradient.

    Gradients are the same to the last bit: dropout draws the same numbers again, and running statistics are changed
    once. Names of parameters and buffers stay as they are. Without gradients nothing changes.

    Args:
        modules: none within another.
    """
    for module in modules:
        module.forward = _Recomputed(module)


class _Recomputed:
    """A module's own forward, checkpointed; an object, so that a copy of the module gets one of its own."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, *inputs: Any) -> Any:
        module = self._module
        forward = type(module).forward.__get__(module)
        if not (module.training and torch.is_grad_enabled()):
            return forward(*inputs)
        contexts = lambda: (contextlib.nullcontext(), _BuffersAside(module))  # noqa: E731
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


class _BuffersAside:
    """Lets a module change copies of its buffers while it computes again: the first time has changed them already.

    It may be entered several times, once for each gradient.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[tuple[nn.Module, dict[str, Any]]] = []

    def __enter__(self) -> None:
        self._kept = [(owner, dict(owner._buffers)) for owner in self._module.modules() if owner._buffers]
        for owner, buffers in self._kept:
            owner._buffers.update({name: None if own is None else own.clone() for name, own in buffers.items()})

    def __exit__(self, *_: object) -> None:
        for owner, buffers in self._kept:
            owner._buffers.update(buffers)
        self._kept = []


def blocks_of(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks that modules consist of: each has convolutions and normalisations of its own."""
    found: list[nn.Module] = []
    for module in modules:
        inner = list(module.children()) if isinstance(module, nn.Sequential) else []
        found += inner if inner and all(map(_is_block, inner)) else [module] if _is_block(module) else []
    return found


def _is_block(module: nn.Module) -> bool:
    kinds = ((nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d))
    return all(any(isinstance(part, kind) for part in module.modules()) for kind in kinds) and any(module.children())
