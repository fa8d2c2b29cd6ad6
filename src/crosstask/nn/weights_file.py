"""Files of weights that say when they are damaged: safetensors with a digest of all tensors in their metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

_CHECKSUM = "crosstask checksum"


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as the bytes of a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, metadata={_CHECKSUM: _digest(tensors)})


def load_checked(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; those of one that has a checksum are as they were written.

    Files of other programs, and of versions before this one, have none, and are taken as they are.

    Raises:
        OSError: there is no such file, or it cannot be read.
        SafetensorError: it is none.
        ValueError: its checksum differs.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != _digest(tensors):
        raise ValueError("its checksum differs")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """BLAKE2b of names, types, shapes and values."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        state.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
