"""Change of grid."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """Resize ``b c *s`` by (bi-, tri-)linear interpolation, averaging where the grid becomes coarser."""
    if tuple(values.shape[2:]) == tuple(size):
        return values
    if values.ndim == 4:
        if all(want >= have for have, want in zip(values.shape[2:], size, strict=True)):
            # nothing to average, for which the antialiased form takes two or three times as long
            return F.interpolate(values.contiguous(), tuple(size), mode="bilinear", align_corners=False)
        return F.interpolate(values, tuple(size), mode="bilinear", align_corners=False, antialias=True)
    depth, height, width = (min(have, want) for have, want in zip(values.shape[2:], size, strict=True))
    values = F.adaptive_avg_pool3d(
        values, (depth, height, width)
    )  # trilinear interpolation has no antialiasing of its own
    return F.interpolate(values, tuple(size), mode="trilinear", align_corners=False)
