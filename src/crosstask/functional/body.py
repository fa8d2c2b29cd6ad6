"""Where the patient is in a CT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLD = -300.0
"""HU, between lung or clothes and skin."""
_BRIDGE = 6.0
"""mm. What is thinner does not belong to the body: the top of a couch, and where it touches the skin."""
_AIR = -950.0
"""HU, smoothed: what is below is air or gas; lung is above, but for emphysema."""
_FOAM = -900.0
"""HU: cushions are below it, lungs as a whole above."""
_LITTLE, _HALF = 0.2, 0.5
"""Shares of air in what is lung for sure, and in what may be lung."""
_MOUTH = 60.0
"""mm of the scan's edge at most, along which gas in the body is open to it."""
_CHANNEL = 16.0
"""mm: an opening in the skin that is narrower, such as a tracheostomy, is closed."""
_SPECK = 100.0
"""mm^2 of what is enclosed by thin walls, below which it is not looked at."""
_FOLLOWS = 0.25
"""Share of a region that lies over one of the next slice, for it to be of the same kind."""


def body_mask(hu: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Voxels of the patient's body, with the air in it, without couch and clothes.

    The largest connected part above :data:`THRESHOLD` once thin bridges are gone, filled slice by slice. Where the scan
    cuts the patient (at the image's edge, or at the circle that the scanner sees), air in the body is open to that edge
    and is told from the room's: a region that the body surrounds, and that is lung by its HU; or gas, if the edge is
    open to it along a short way only and the room's air does not go on in its place in the slices next to it. Air that
    opens through the skin by a narrow channel is the body's where it is so in a slice next to it.

    Args:
        hu: CT in HU, ``z y x`` with z along the body.
        spacing: of its grid in mm, z y x.

    Returns:
        bool ``z y x``; empty where no voxel is above the threshold.
    """
    from scipy import ndimage

    hu = np.asarray(hu)
    dense = hu > THRESHOLD
    if not dense.any():
        return dense
    reach = [0 if axis == 0 else round(_BRIDGE / 2 / step) for axis, step in enumerate(spacing)]
    opened = _opened(dense, reach) if any(reach) else dense
    opened = opened if opened.any() else dense
    body = _largest(opened)
    seen = _field_of_view(hu)
    scan = _Scan(seen, seen & ~ndimage.binary_erosion(seen), float(np.sqrt(spacing[1] * spacing[2])))
    regions = [_open_air(*planes, scan) for planes in zip(hu, dense, opened, body, strict=True)]
    inside = _of_the_body(regions, hu.shape)
    if inside.any():
        # a thin wall around a lung was taken off; one that the cut parts from the rest hangs on to it by the lung
        walls = dense & ndimage.binary_dilation(inside, np.ones((1, 3, 3), bool), iterations=2 * max(reach) + 1)
        labels, _ = ndimage.label(opened | inside | walls)
        body = np.isin(labels, _but_0(labels[body]))
    body = np.stack([ndimage.binary_fill_holes(plane) for plane in body])
    return _with_channels_closed(body, dense, spacing)


def _opened(dense: np.ndarray, reach: Sequence[int]) -> np.ndarray:
    """Without what is thin within its plane; the patient goes on beyond the edges of the image."""
    from scipy import ndimage

    room = [(0, 0), (reach[1], reach[1]), (reach[2], reach[2])]
    wide = ndimage.binary_opening(np.pad(dense, room, mode="edge"), _ellipse(reach[1], reach[2])[None])
    return np.asarray(wide[:, reach[1] : wide.shape[1] - reach[1], reach[2] : wide.shape[2] - reach[2]])


def _largest(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return np.asarray(labels == 1 + int(sizes.argmax()))


def _field_of_view(hu: np.ndarray) -> np.ndarray:
    """The part of an image that was scanned, bool ``y x``: all of it, or a circle where one value fills the corners."""
    from scipy import ndimage

    height, width = hu.shape[1:]
    whole = np.ones((height, width), bool)
    filled = (hu == hu[0, 0, 0]).all(axis=0)
    corners = ([0, 0, -1, -1], [0, -1, 0, -1])
    if min(height, width) < 16 or hu[0, 0, 0] > _AIR or not filled[corners].all():
        return whole
    labels, _ = ndimage.label(filled)
    outside = np.isin(labels, labels[corners])
    y, x = np.ogrid[:height, :width]
    away = np.hypot((2 * y - height + 1) / height, (2 * x - width + 1) / width)
    if outside.all() or away[outside].min() < 0.7:
        return whole
    rounding = 6 / min(height, width)  # three pixels
    return ~outside if away[~outside].max() <= away[outside].min() + rounding else whole


@dataclass(frozen=True)
class _Scan:
    """What all slices have in common: what was scanned and its edge, bool ``y x``, and mm of a pixel."""

    seen: np.ndarray
    edge: np.ndarray
    pixel: float


@dataclass(frozen=True)
class _Regions:
    """Air of one slice that the body does not enclose as it stands, bool ``y x`` each.

    Attributes:
        lung: of the body for sure, by its HU or since only a thin wall is between it and the room.
        gas: either the body's or the room's.
        room: the rest.
    """

    lung: np.ndarray
    gas: list[np.ndarray]
    room: np.ndarray


def _open_air(hu: np.ndarray, dense: np.ndarray, opened: np.ndarray, body: np.ndarray, scan: _Scan) -> _Regions:
    """What the air of a slice is that reaches the edge, or is enclosed by thin walls only.

    Args:
        hu: the slice.
        dense: what of it is above the threshold.
        opened: that without thin parts.
        body: the part of it that is the body's.
        scan: what all slices have in common.
    """
    from scipy import ndimage
    from skimage.morphology import convex_hull_image

    labels, count = ndimage.label(~dense & scan.seen & ~ndimage.binary_fill_holes(body))
    lung, room = np.zeros_like(dense), ~scan.seen
    gas: list[np.ndarray] = []
    parts, _ = ndimage.label(body | (dense & ~opened))
    walled = np.isin(parts, _but_0(parts[body]))  # with the thin walls that hang on to the body
    at_edge = _but_0(labels[scan.edge])
    if not (walled & scan.edge).any():  # not cut: what reaches the edge is the room's
        room |= np.isin(labels, at_edge)
        at_edge = at_edge[:0]
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * scan.pixel**2
    enclosed = [
        number for number in range(1, count + 1) if sizes[number] >= _SPECK and not room[labels == number].any()
    ]
    if not enclosed:
        return _Regions(lung, gas, room)
    smooth = ndimage.uniform_filter(hu.astype(np.float32), 3)
    outline = convex_hull_image(walled) if len(at_edge) else walled
    for number in {*at_edge.tolist(), *enclosed}:
        region = labels == number
        touched = ndimage.binary_dilation(region) & dense
        surrounded = bool(touched.any() and (touched & walled).sum() >= _HALF * touched.sum())
        opening = region & scan.edge
        if surrounded and (not opening.any() or _is_lung(smooth, region, bool(outline[opening].all()))):
            lung |= region
        elif surrounded and opening.sum() * scan.pixel <= _MOUTH and convex_hull_image(body)[opening].all():
            gas.append(region)
        else:
            room |= region
    return _Regions(lung, gas, room)


def _is_lung(smooth: np.ndarray, region: np.ndarray, within: bool) -> bool:
    """Whether air is lung, by its HU; without doubt if it reaches the edge beyond the body's outline."""
    from scipy import ndimage

    core = smooth[ndimage.binary_erosion(region)]
    core = core if len(core) else smooth[region]
    air = float((core < _AIR).mean())
    return air < _HALF if within else air < _LITTLE and float(np.median(core)) > _FOAM


def _but_0(labels: np.ndarray) -> np.ndarray:
    found = np.unique(labels)
    return found[found > 0]


def _of_the_body(slices: Sequence[_Regions], shape: Sequence[int]) -> np.ndarray:
    """Lung, and gas that the room's air does not go on from in a slice next to it; bool ``z y x``."""
    inside = np.zeros(shape, bool)
    room = [regions.room.copy() for regions in slices]
    undecided = [(z, region) for z, regions in enumerate(slices) for region in regions.gas]
    while undecided:
        left = []
        for z, region in undecided:
            beside = [room[other] for other in (z - 1, z + 1) if 0 <= other < len(room)]
            if any((region & air).sum() >= _FOLLOWS * region.sum() for air in beside):
                room[z] |= region
            else:
                left.append((z, region))
        if len(left) == len(undecided):
            break
        undecided = left
    for z, regions in enumerate(slices):
        inside[z] = regions.lung
    for z, region in undecided:
        inside[z] |= region
    return inside


def _with_channels_closed(body: np.ndarray, dense: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """With air behind narrow openings of the skin, if it lies over air in the body of a slice next to it."""
    from scipy import ndimage

    size = [1, *(2 * round(_CHANNEL / 2 / step) + 1 for step in spacing[1:])]
    room = [(0, 0), *((width // 2, width // 2) for width in size[1:])]
    grown = ndimage.maximum_filter(np.pad(body.astype(np.uint8), room, mode="edge"), size)
    closed = ndimage.minimum_filter(grown, size, mode="constant", cval=1)
    closed = closed[:, room[1][0] : closed.shape[1] - room[1][0], room[2][0] : closed.shape[2] - room[2][0]] > 0
    for z, other in _neighbours(len(body)):
        air = body[other] & ~dense[other]
        behind = closed[z] & ~body[z]
        if not (behind & air).any() and not (air & ~closed[z]).any():
            continue
        behind = ndimage.binary_fill_holes(closed[z] | body[z]) & ~body[z]
        labels, count = ndimage.label(behind)
        if not count:
            continue
        shares = ndimage.mean(air, labels, range(1, count + 1))
        body[z] |= np.isin(labels, 1 + np.flatnonzero(np.asarray(shares) >= _FOLLOWS))
    return body


def _neighbours(length: int) -> Iterator[tuple[int, int]]:
    """Each slice with the one before it, up, and with the one after it, down."""
    yield from ((z, z - 1) for z in range(1, length))
    yield from ((z, z + 1) for z in range(length - 2, -1, -1))


def _ellipse(down: int, right: int) -> np.ndarray:
    y, x = np.mgrid[-down : down + 1, -right : right + 1]
    return np.asarray((y / max(down, 1)) ** 2 + (x / max(right, 1)) ** 2 <= 1)
