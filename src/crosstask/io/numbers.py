"""Values of images that are no numbers: found, counted, and replaced where a value is given for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crosstask.errors import InputError

LARGEST = 1e30
"""Beyond every image's values; what lies beyond stands for no data, as -3.4e38 does in some programs."""


def not_numbers(values: np.ndarray) -> np.ndarray | None:
    """Where values are NaN, infinite or beyond :data:`LARGEST`; None if all are numbers."""
    if values.dtype.kind != "f":
        return None
    with np.errstate(invalid="ignore"):
        strange = ~(np.abs(values) <= (LARGEST if values.dtype.itemsize > 2 else np.finfo(values.dtype).max))
    return strange if strange.any() else None


def only_numbers(path: Path, values: np.ndarray, fill: float | None, remedy: str) -> np.ndarray:
    """The values of a file, those that are no numbers replaced by ``fill``.

    Args:
        path: the file, for messages.
        values: of any shape.
        fill: what takes their place; None if nothing may.
        remedy: how ``fill`` is given, for messages.

    Raises:
        InputError: a value is no number and there is no ``fill``, or none is a number.
    """
    strange = not_numbers(values)
    if strange is None:
        return values
    count = int(np.count_nonzero(strange))
    if count == values.size:
        raise InputError(
            f"{path}: holds no numbers, all its values are NaN or infinite; export it again, or leave the case out"
        )
    if fill is None:
        raise InputError(
            f"{path}: {count} of {values.size} values are no numbers (NaN or infinite); {remedy}, export it again, or "
            "leave the case out"
        )
    filled = values.astype(np.result_type(values.dtype, np.float32))
    filled[strange] = fill
    return filled
