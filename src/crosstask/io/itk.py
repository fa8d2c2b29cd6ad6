"""ITK: imported late, kept quiet, and arrays with their grids in its own form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from crosstask.geometry import Geometry

if TYPE_CHECKING:
    import SimpleITK


def to_itk(array: np.ndarray, geometry: Geometry) -> SimpleITK.Image:
    """An image that lies where the grid does.

    ITK writes space and axes as x y z, :class:`Geometry` as z y x: the same directions, in the other order.

    Args:
        array: ``*s``, of a type that ITK has; bool is none.
        geometry: its grid.
    """
    image = sitk_module().GetImageFromArray(array)
    image.SetSpacing(geometry.spacing[::-1])
    image.SetOrigin((geometry.origin or (0.0,) * len(geometry.shape))[::-1])
    image.SetDirection(itk_direction(geometry))
    return image


def itk_direction(geometry: Geometry) -> list[float]:
    """The direction as ITK has it: a matrix whose columns are the axes x y z, row by row."""
    matrix = np.asarray(geometry.direction)[::-1, ::-1].T
    return [float(cosine) for cosine in matrix.ravel()]


def sitk_module() -> Any:
    """SimpleITK, imported when it is first used: that costs a third of a second, and most commands open no volume."""
    import SimpleITK

    return SimpleITK


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings, many lines each, from the terminal; errors are raised all the same."""
    process = sitk_module().ProcessObject
    before = process.GetGlobalWarningDisplay()
    process.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        process.SetGlobalWarningDisplay(before)
