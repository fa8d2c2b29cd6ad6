"""Where the patient is in a CT."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLD = -300.0
"""HU, between lung or clothes and skin."""
_BRIDGE = 6.0
"""mm. What is thinner does not belong to the body: the top of a couch, and where it touches the skin."""


def body_mask(hu: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Voxels of the patient's body, with the air in it, without couch and clothes.

    The largest connected part above :data:`THRESHOLD` once thin bridges are gone, filled slice by slice.

    Args:
        hu: CT in HU, ``z y x`` with z along the body.
        spacing: of its grid in mm, z y x.

    Returns:
        bool ``z y x``; empty where no voxel is above the threshold.
    """
    from scipy import ndimage

    dense = np.asarray(hu) > THRESHOLD
    if not dense.any():
        return dense
    reach = [0 if axis == 0 else round(_BRIDGE / 2 / step) for axis, step in enumerate(spacing)]
    ball = _ellipse(reach[1], reach[2])[None]
    opened = ndimage.binary_opening(dense, ball) if any(reach) else dense
    labels, count = ndimage.label(opened if opened.any() else dense)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    body = labels == 1 + int(sizes.argmax())
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def _ellipse(down: int, right: int) -> np.ndarray:
    y, x = np.mgrid[-down : down + 1, -right : right + 1]
    return np.asarray((y / max(down, 1)) ** 2 + (x / max(right, 1)) ** 2 <= 1)
