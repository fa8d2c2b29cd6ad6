"""The readings of a run's network: small named figures of what it has learned, kept in the run folder."""

from __future__ import annotations

from pathlib import Path

import torch

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError
from crosstask.files import write_atomically
from crosstask.readings import Reading, check_readings, readings_text
from crosstask.runs import READINGS


def readings_of(architecture: Architecture) -> list[Reading]:
    """The readings of a network as it is; none where its architecture gives none.

    Raises:
        InputError: they cannot be kept.
    """
    with torch.no_grad():
        found = architecture.readings()
    try:
        return check_readings(found)
    except ValueError as error:
        raise InputError(f"architecture: readings() of {architecture.name} {error}") from None


def write_readings(folder: Path, architecture: Architecture) -> None:
    """Write those of a network into the folder of its run; no file where there are none.

    Raises:
        InputError: they cannot be kept.
    """
    if found := readings_of(architecture):
        write_atomically(folder / READINGS, readings_text(found))
