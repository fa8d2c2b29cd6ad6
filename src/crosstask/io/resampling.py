"""Volumes and pictures at another spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.image_files import MAXIMUM_VOXELS
from crosstask.io.itk import itk_direction, sitk_module, to_itk

if TYPE_CHECKING:
    import SimpleITK


def resample(
    volume: np.ndarray, geometry: Geometry, spacing: Sequence[float], *, mask: bool = False
) -> tuple[np.ndarray, Geometry]:
    """A volume or picture on a grid of another spacing.

    The new grid begins at the same outer edge as the old one (the edge of its first voxel, half a voxel before the
    origin) and has as many voxels as it takes to reach the old end; the last ones may stick out by less than a voxel,
    where they repeat the nearest value. Values are interpolated linearly. Where the new voxels are at least twice as
    large, whole blocks of old voxels are averaged first, as many as fit into a new one, so noise and fine structures
    do not alias. Masks take the nearest old voxel and keep their values. Integers are rounded, not cut.

    Args:
        volume: ``z y x``, or ``y x``.
        geometry: its grid.
        spacing: of the new grid, in mm, in array axis order.
        mask: the values are labels.

    Returns:
        array of the same type, and its Geometry.

    Raises:
        InputError: the spacing has another number of axes, is not positive, or gives a grid too large to hold.
    """
    axes = len(geometry.shape)
    new = tuple(float(step) for step in spacing)
    if len(new) != axes or not all(math.isfinite(step) and step > 0 for step in new):
        raise InputError(f"spacing {list(spacing)} is not {axes} positive lengths in mm; give one for each axis")
    if tuple(volume.shape) != tuple(geometry.shape):
        raise ValueError(f"the volume is {volume.shape}, its grid {geometry.shape}")
    if all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(new, geometry.spacing, strict=True)):
        return volume, geometry
    extent = [length * step for length, step in zip(geometry.shape, geometry.spacing, strict=True)]
    shape = tuple(max(1, math.ceil(whole / step - 1e-3)) for whole, step in zip(extent, new, strict=True))
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise InputError(f"spacing {list(new)} gives a grid of {shape} voxels, too many; give a larger spacing")
    first = [(after / before - 1) / 2 for before, after in zip(geometry.spacing, new, strict=True)]
    origin = tuple(geometry.points([first])[0].tolist())
    grid = Geometry(shape=shape, spacing=new, origin=origin, direction=geometry.direction)

    sitk = sitk_module()
    boolean = volume.dtype == np.bool_
    image = to_itk(volume.astype(np.uint8) if boolean else volume, geometry)
    if not mask:
        blocks = [max(1, math.floor(a / b + 1e-6)) for a, b in zip(new, geometry.spacing, strict=True)]
        image = sitk.Cast(_averaged(image, blocks[::-1]), sitk.sitkFloat32)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)  # Cases are read by one process a core.
    resampler.SetSize(shape[::-1])
    resampler.SetOutputSpacing(new[::-1])
    resampler.SetOutputOrigin(origin[::-1])
    resampler.SetOutputDirection(itk_direction(grid))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if mask else sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)
    result = np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))
    if np.issubdtype(volume.dtype, np.integer) and not mask:
        limits = np.iinfo(volume.dtype)
        result = np.clip(np.rint(result), limits.min, limits.max)
    return result.astype(volume.dtype, copy=False), grid


def _averaged(image: SimpleITK.Image, blocks: Sequence[int]) -> SimpleITK.Image:
    """Means of blocks of voxels (x y z); an incomplete block at the end is filled by its last voxels."""
    if all(length == 1 for length in blocks):
        return image
    sitk = sitk_module()
    missing = [-length % block for length, block in zip(image.GetSize(), blocks, strict=True)]
    if any(missing):
        image = sitk.ZeroFluxNeumannPad(image, [0] * len(missing), missing)
    return sitk.BinShrink(image, list(blocks))
