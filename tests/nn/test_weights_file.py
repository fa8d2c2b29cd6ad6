"""Weights that were damaged are not taken for weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from crosstask.errors import InputError
from crosstask.nn.pretrained import read_weights
from crosstask.nn.weights_file import load_checked, weights_bytes


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "encoder.weight": torch.randn(3, 4, generator=generator).t(),  # not contiguous
        "count": torch.tensor(7),
        "half": torch.randn(5, generator=generator).to(torch.bfloat16),
        "none": torch.zeros(0, 2),
    }


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(weights_bytes(state()))
    loaded = load_checked(path)
    assert loaded.keys() == state().keys()
    for name, tensor in state().items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def test_no_flipped_bit_gives_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    before = weights_bytes(state())
    noticed = 0
    for place in range(0, len(before)):
        flipped = bytearray(before)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            loaded = load_checked(path)
        except (ValueError, SafetensorError, KeyError):
            noticed += 1
            continue
        assert all(torch.equal(loaded[name], tensor) for name, tensor in state().items())
    assert noticed > 0.9 * len(before)


def test_files_of_other_programs_and_of_versions_before_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    whole = {name: tensor.contiguous() for name, tensor in state().items()}
    for metadata in (None, {"format": "pt"}, {"author": "somebody"}):
        save_file(whole, path, metadata=metadata)
        assert torch.equal(load_checked(path)["count"], torch.tensor(7))


def test_encoder_weights_of_a_damaged_file_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    damaged = bytearray(weights_bytes(state()))
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"encoder\.weights: cannot read .*best\.safetensors \(its checksum differs\)"):
        read_weights(path)
