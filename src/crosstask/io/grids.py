"""Volumes from one grid in space to another, whatever the spacing and direction of the two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from crosstask.geometry import Geometry
from crosstask.io.itk import itk_direction, to_itk

_VOXELS_AT_ONCE = 1 << 24
"""Samples that are held at a time, beside the volume and the result."""
_TIE = 1e-3
"""Share of a sample's distance by which masks are looked up further on: see :func:`regrid`."""
_CERTAIN = 0.99
"""Share of a voxel that is all of it, but for that distance."""


def regrid(
    volume: np.ndarray, source: Geometry, target: Geometry, *, mask: bool = False, outside: float = 0.0
) -> np.ndarray:
    """A volume on another grid.

    Values are interpolated linearly between voxel centres, and are those of the outermost voxels in the half voxel
    around them; further out they are ``outside``. Where a step of the target is at least twice as long as the source's
    voxels, the target is sampled on a grid finer by a whole factor and averaged, so noise and fine structures do not
    alias and a dose keeps its integral.

    Masks keep their volume: of the target's voxels as many are taken as have it, those first of which the largest share
    belongs to the mask. Around most structures that is about half; of what is thin as a voxel it is less, where half
    would leave out a part or all of it. Where it is half exactly (a grid shifted by half a voxel), the side of the
    lower indices is taken, by looking a thousandth of a voxel further on: a slab then keeps its thickness rather than
    growing at both ends. What is smaller than half a voxel is gone.

    Args:
        volume: ``z y x``. Integers are rounded and kept within their type; floats keep theirs.
        source: its grid.
        target: the grid to fill.
        mask: the volume is a mask: what is not zero belongs to it, or of floats that share of each voxel.
        outside: the value where the source does not reach; masks are always empty there.

    Returns:
        ``z y x`` of the target, in the volume's type; bool for masks.

    Raises:
        ValueError: the volume is not of the source's shape, or not three-dimensional; or a bool volume is no mask.
    """
    if volume.shape != tuple(source.shape) or volume.ndim != 3 or len(target.shape) != 3:
        raise ValueError(f"a volume of {volume.shape} on {source.shape} cannot be put on {target.shape}")
    if volume.dtype == np.bool_ and not mask:
        raise ValueError("a bool volume is a mask: say so")
    values = volume
    if mask:
        values = volume.astype(np.float32) if volume.dtype.kind == "f" else (volume != 0).astype(np.float32)
    if not mask and values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
    image = to_itk(values, source)
    factors = _factors(source, target)
    result = np.empty(target.shape, np.float32 if mask else volume.dtype)
    slices = max(1, _VOXELS_AT_ONCE // math.prod((*target.shape[1:], *factors)))
    for first in range(0, target.shape[0], slices):
        part = target.cropped(
            (slice(first, min(first + slices, target.shape[0])), *(slice(0, length) for length in target.shape[1:]))
        )
        samples = _averaged(_sampled(image, part, factors, 0.0 if mask else outside, _TIE if mask else 0.0), factors)
        result[first : first + slices] = _as_type(samples, result.dtype)
    if not mask:
        return result
    threshold = threshold_for(result[result > 0], float(result.sum(dtype=np.float64)))
    return result >= min(max(threshold, 1 - _CERTAIN), _CERTAIN)


def threshold_for(values: np.ndarray, count: float) -> float:
    """The value from which on there are as nearly ``count`` values as can be, with equals together.

    Args:
        values: any number of them.
        count: is rounded.

    Returns:
        infinity for a count of less than half.
    """
    wanted = min(round(count), len(values))
    if wanted < 1:
        return math.inf
    place = len(values) - wanted
    last = np.partition(values, place)[place]
    above, with_it = int((values > last).sum()), int((values >= last).sum())
    if above and count - above < with_it - count:
        return float(values[values > last].min())
    return float(last)


def covered(source: Geometry, target: Geometry) -> np.ndarray:
    """Which voxels of a grid have their centre in another grid's box: up to half a voxel around its outer centres.

    Args:
        source: the grid with the box.
        target: the grid with the voxels.

    Returns:
        ``z y x`` of the target, bool. Centres on the surface of the box, to a millionth of a voxel, are not in it.
    """
    steps = _steps(source, target)
    start = source.indices([target.origin or (0.0, 0.0, 0.0)])[0]
    inside = np.ones(target.shape, bool)
    for axis, length in enumerate(source.shape):
        along = np.ogrid[tuple(slice(0, count) for count in target.shape)]
        index = start[axis] + sum(place * step for place, step in zip(along, steps[:, axis], strict=True))
        inside &= (index > -0.5 + 1e-6) & (index < length - 0.5 - 1e-6)
    return inside


def _steps(source: Geometry, target: Geometry) -> np.ndarray:
    """By how many voxels of the source (second axis) a step along each axis of the target (first axis) leads."""
    corners = target.points([[0.0] * 3, *np.eye(3).tolist()])
    indices = source.indices(corners)
    return np.asarray(indices[1:] - indices[0])


def _factors(source: Geometry, target: Geometry) -> tuple[int, ...]:
    """How many samples a target voxel needs along each of its axes."""
    longest = np.abs(_steps(source, target)).max(axis=1)
    return tuple(max(1, math.floor(step + 1e-6)) for step in longest)


def _sampled(image: Any, grid: Geometry, factors: tuple[int, ...], outside: float, shift: float) -> np.ndarray:
    """The image at the centres of the parts of a grid's voxels, ``factors`` of them along each axis."""
    import SimpleITK as sitk  # noqa: N813

    first = [(1 - factor) / (2 * factor) + shift / factor for factor in factors]
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)  # Cases are read by one process a core.
    resampler.SetSize([length * factor for length, factor in zip(grid.shape, factors, strict=True)][::-1])
    resampler.SetOutputSpacing([step / factor for step, factor in zip(grid.spacing, factors, strict=True)][::-1])
    resampler.SetOutputOrigin(grid.points([first])[0][::-1].tolist())
    resampler.SetOutputDirection(itk_direction(grid))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetDefaultPixelValue(outside)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)))


def _averaged(samples: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    if factors == (1, 1, 1):
        return samples
    (fz, fy, fx), (z, y, x) = factors, samples.shape
    blocks = samples.reshape(z // fz, fz, y // fy, fy, x // fx, fx)
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _as_type(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(kind, copy=False)
