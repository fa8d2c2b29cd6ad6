"""Small patients in the files of OpenKBP: a box of body, a slab of it per structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.functional.openkbp_score import STRUCTURES
from crosstask.io.openkbp_csv import SHAPE, write_case

BOX = (slice(40, 46), slice(60, 68), slice(50, 60))


def volume(value: float, box: tuple[slice, slice, slice] = BOX) -> np.ndarray:
    """A value in a box, zero around it."""
    array = np.zeros(SHAPE, np.float32)
    array[box] = value
    return array


def write_patient(root: Path, split: str, number: int, structures: tuple[str, ...] = ("PTV70", "Brainstem")) -> Path:
    """A small patient on the challenge's grid."""
    folder = root / f"{split}-pats" / f"pt_{number}"
    masks = {}
    for name in structures:
        slab = slice(40 + STRUCTURES.index(name) % 5, 46)
        masks[name] = volume(1, (slab, *BOX[1:]))
    dose = volume(30) + volume(number / 8, (slice(40, 43), *BOX[1:]))
    write_case(folder, ct=volume(1040), region=volume(1), spacing=(2.5, 3.9, 4.1), dose=dose, structures=masks)
    return folder
