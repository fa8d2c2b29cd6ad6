"""Which weights of a run there are, by name, and where each lies."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from crosstask.errors import InputError
from crosstask.runs.names import AVERAGE, BEST, FINAL, SNAPSHOTS

WEIGHTS = ("best", "final", "average")
"""Names of the weights that a complete run may have: of the best epoch by validation, of the last, an average."""
_FILES = {"best": BEST, "final": FINAL, "average": AVERAGE}
_EPOCH = "epoch "
"""Weights of an epoch by its number, counted from 0, are named ``epoch N``, as long as there is a snapshot of them."""


def snapshot_name(epoch: int) -> str:
    """Name of the weights of an epoch, of which a run has a snapshot."""
    return f"{_EPOCH}{epoch}"


def weights_path(folder: Path, weights: str) -> Path:
    """The file of a run's weights.

    Raises:
        InputError: there are none of that name, or the run was trained without an average.
    """
    if weights.startswith(_EPOCH):
        return folder / SNAPSHOTS / f"{weights.removeprefix(_EPOCH)}.safetensors"
    if weights not in _FILES:
        raise InputError(f"weights: {weights!r} is not accepted; give {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}")
    path = folder / _FILES[weights]
    if weights == "average" and not path.exists():
        raise InputError(
            f"{path}: is not there, as the run was trained without training.average, and a complete run cannot get an "
            "average; take the weights final or best"
        )
    return path


def remove_weights(folder: Path, kept: Sequence[int] = ()) -> None:
    """Remove a folder's weights but for those of some epochs, and the folder where none is left."""
    for path in folder.glob("*.safetensors"):
        if path.stem not in map(str, kept):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
