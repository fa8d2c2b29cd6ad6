"""Figures of a dose-volume histogram (DVH)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

DVH_METRICS = ("D_0.1cc", "mean", "D_99", "D_95", "D_1")
"""Keys of :func:`dvh_metrics`, in its order."""


def dvh_metrics(dose: ArrayLike | Tensor, mask: ArrayLike | Tensor, voxel_volume: float) -> dict[str, float]:
    r"""The DVH figures of the OpenKBP challenge for one structure (Babier et al., Medical Physics 2021).

    ``D_x`` is the dose that at least x % of the structure receives, so the percentile 100 - x of the dose in it.
    ``D_0.1cc`` is the dose that the hottest 0.1 cm^3 receives at least: with n voxels in 0.1 cm^3,
    :math:`n = \max(1, \mathrm{round}(100 / v))`, and N voxels in the structure, it is the percentile
    :math:`100 - 100\, n / N`. A structure smaller than 0.1 cm^3 gets its minimum. Percentiles are interpolated
    linearly. A dose that is not finite makes the figures not finite.

    Args:
        dose: dose in Gy, any shape; an array or a tensor.
        mask: the structure, of the same shape; nonzero inside.
        voxel_volume: volume of one voxel, in mm^3.

    Returns:
        ``D_0.1cc``, ``mean``, ``D_99``, ``D_95`` and ``D_1``, in Gy.

    Raises:
        ValueError: the shapes differ, the mask is empty, or the voxel volume is not positive and finite.
    """
    doses, inside = _array(dose), _array(mask).astype(bool)
    if doses.shape != inside.shape:
        raise ValueError(f"dose has shape {doses.shape}, mask {inside.shape}")
    if not (np.isfinite(voxel_volume) and voxel_volume > 0):
        raise ValueError(f"voxel volume must be positive and finite, not {voxel_volume}")
    values = doses[inside].astype(np.float64)
    if values.size == 0:
        raise ValueError("the mask is empty: a DVH of no voxel is not defined")
    hottest = max(1.0, float(np.round(100.0 / voxel_volume)))
    percents = [max(0.0, 100.0 - hottest / values.size * 100.0), 1.0, 5.0, 99.0]
    d_01cc, d_99, d_95, d_1 = np.percentile(values, percents).tolist()
    return dict(zip(DVH_METRICS, (d_01cc, float(values.mean()), d_99, d_95, d_1), strict=True))


def _array(values: Any) -> np.ndarray:
    """A NumPy view of an array or of a tensor, with or without gradient."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray(values.double() if values.is_floating_point() else values)
    return np.asarray(values)
