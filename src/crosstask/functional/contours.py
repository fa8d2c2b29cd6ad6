"""Closed lines in a plane to masks, and masks to closed lines, such that either way gives the same pixels.

Points are ``y x`` in index coordinates: whole numbers are the centres of pixels, so pixel ``(0, 0)`` reaches from -0.5
to 0.5 along both axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CROSSINGS_AT_ONCE = 1 << 20
"""Crossings of edges with rows that are held in memory at a time, however many points a line has."""
_BOTH_SIDES = 0.25
"""Share of the strip between a line and its copy by which their areas may differ."""


def fill(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie inside an odd number of polygons.

    So a polygon within another is a hole, one within the hole an island, whatever their direction and order; a line
    that crosses itself is filled by the same even-odd rule, and so is one that is led to its hole and back.

    A centre exactly on an edge belongs to the polygon of which it is the left edge (the side of lower x) or, on an edge
    along x, the upper one (the side of lower y). So of two polygons that share an edge exactly one has it, and a
    rectangle from 0 to n has n pixels, not n + 1.

    Args:
        polygons: the vertices of each, ``n 2``, finite; the last is joined to the first, whether or not it repeats it.
            Parts outside of the plane are cut off.
        shape: rows and columns.

    Returns:
        ``y x``, bool.

    Raises:
        ValueError: the vertices are not ``n 2``, or not finite.
    """
    height, width = shape
    # For each row, how often the rays from the left cross an edge, noted at the first pixel beyond the crossing.
    crossings = np.zeros((height, width + 1), np.uint8)
    edges_at_once = max(1, _CROSSINGS_AT_ONCE // max(height, 1))
    for polygon in polygons:
        vertices = np.asarray(polygon, dtype=float)
        if vertices.ndim != 2 or vertices.shape[1] != 2 or not np.isfinite(vertices).all():
            raise ValueError("a polygon is n x 2 finite numbers")
        edges = np.stack([vertices, np.roll(vertices, -1, axis=0)], axis=1)
        for start in range(0, len(edges), edges_at_once):
            _note_crossings(crossings, edges[start : start + edges_at_once])
    inside: np.ndarray = (np.cumsum(crossings[:, :width], axis=1, dtype=np.uint8) & 1).astype(bool)
    return inside


def _note_crossings(crossings: np.ndarray, edges: np.ndarray) -> None:
    """Flip, for every row that an edge crosses, the parity from the first pixel at or beyond the crossing on.

    Edges are ``n 2 2``: first and second point, each y x. An edge has the row of its upper end but not that of its
    lower one, so that a vertex on a row counts once where the line goes on and twice or not at all where it turns.
    """
    height, width = crossings.shape[0], crossings.shape[1] - 1
    # Both directions of an edge must give the same crossing to the last bit, for neighbours that share it.
    turned = edges[:, 0, 0] > edges[:, 1, 0]
    upper, lower = (
        np.where(turned[:, None], edges[:, 1], edges[:, 0]),
        np.where(turned[:, None], edges[:, 0], edges[:, 1]),
    )
    first = np.clip(np.ceil(upper[:, 0]), 0, height).astype(np.int64)
    counts = np.clip(np.ceil(lower[:, 0]), 0, height).astype(np.int64) - first
    which = np.repeat(np.arange(len(edges)), counts)
    rows = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    (y0, x0), (y1, x1) = upper[which].T, lower[which].T
    columns = x0 + (rows - y0) / (y1 - y0) * (x1 - x0)
    columns = np.clip(np.ceil(columns), 0, width).astype(np.int64)
    flips = np.bincount(rows * (width + 1) + columns, minlength=crossings.size).reshape(crossings.shape)
    crossings ^= (flips & 1).astype(np.uint8)


def without_copies(contours: Sequence[np.ndarray], plane: float, rounding: float) -> list[int]:
    """Which contours are none of an earlier one's copies.

    Two copies of a contour would cancel where what lies in an odd number of contours counts. A copy may begin at
    another point, run the other way round, be rounded otherwise, repeat its first point or leave out points on straight
    lines. So two contours of one plane are copies if each lies near the other all along: within ``plane``, or further,
    up to ``rounding``, as long as it lies on both sides of it, as rounding has it. A hole lies on one side.

    Args:
        contours: flat closed lines in space, ``n 3`` each; one of less than three points has no copies.
        plane: distance between points that may be the same one.
        rounding: largest distance of copies, in the unit of the points as ``plane`` is.

    Returns:
        indices, ascending.
    """
    closed = [number for number, line in enumerate(contours) if len(line) >= 3]
    boxes = np.array([[contours[at].min(axis=0), contours[at].max(axis=0)] for at in closed]).reshape(-1, 6)
    order = np.argsort(boxes[:, 0], kind="stable")
    starts = boxes[order, 0]
    copies: set[int] = set()
    for place, line in enumerate(closed):
        low, high = np.searchsorted(starts, boxes[place, 0] + np.array([-rounding, rounding]), side="left")
        around = order[low:high][order[low:high] < place]
        near = around[(np.abs(boxes[around] - boxes[place]) <= rounding).all(axis=1)]
        others = (closed[other] for other in sorted(near.tolist()) if closed[other] not in copies)
        if any(_copies(contours[line], contours[other], plane, rounding) for other in others):
            copies.add(line)
    return [number for number in range(len(contours)) if number not in copies]


def traced_once(line: np.ndarray, plane: float) -> np.ndarray:
    """A closed line without its second turn, if it goes round twice over the same points, which would leave nothing.

    Args:
        line: ``n d``.
        plane: as of :func:`without_copies`.
    """
    closed = len(line) > 1 and np.abs(line[0] - line[-1]).max() <= plane
    for turns in (line, line[:-1]) if closed else (line,):
        first, second = turns[: len(turns) // 2], turns[len(turns) // 2 :]
        if 3 <= len(first) == len(second) and np.abs(first - second).max() <= plane:
            return first
    return line


def _copies(one: np.ndarray, other: np.ndarray, plane: float, rounding: float) -> bool:
    areas = [_area(line) for line in (one, other)]
    sizes = [float(np.linalg.norm(area)) for area in areas]
    normal = areas[0] / max(sizes[0], 1e-12)
    if abs(float((one.mean(axis=0) - other.mean(axis=0)) @ normal)) > plane:
        return False  # of neighbouring slices
    apart = max(_furthest(one, other), _furthest(other, one))
    if apart > rounding:
        return False
    between = abs(sizes[0] - sizes[1])  # of a hole all that lies between the lines, of a copy next to nothing
    length = float(np.linalg.norm(np.roll(one, -1, axis=0) - one, axis=1).sum())
    return between <= (plane if apart <= plane else _BOTH_SIDES * apart) * length


def _area(line: np.ndarray) -> np.ndarray:
    """Area that a flat closed line encloses, as a vector along its normal."""
    spread = line - line.mean(axis=0)
    return np.asarray(np.cross(spread, np.roll(spread, -1, axis=0)).sum(axis=0)) / 2


def _furthest(one: np.ndarray, other: np.ndarray) -> float:
    """How far the corners of a closed line, and the middles between them, lie from another one at most."""
    points = np.concatenate([one, (one + np.roll(one, -1, axis=0)) / 2])
    way = np.roll(other, -1, axis=0) - other
    length = np.maximum((way**2).sum(axis=1), 1e-12)
    at_once = max(1, _CROSSINGS_AT_ONCE // len(other))
    largest = 0.0
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once, None] - other
        share = np.clip((some * way).sum(axis=2) / length, 0, 1)
        largest = max(largest, float(((some - share[..., None] * way) ** 2).sum(axis=2).min(axis=1).max()))
    return largest**0.5


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed lines around the pixels of a mask, each with the area of the pixels that it encloses.

    They cross between the centres of pixels inside and outside, at equal distances all along a line. Half-way, corners
    would be cut by half a pixel in all, whatever the size: half of a single pixel, and a third of a cord of two by two.
    So a line lies as much further out as makes up for it: by 0.21 of a pixel around a single one, next to nothing
    around a large structure. Masks that touch the border are closed, too; holes are lines of their own.
    ``fill(outlines(mask), mask.shape)`` is the mask again, exactly: no line comes near a centre.

    Args:
        mask: ``y x``, bool.

    Returns:
        one ``n 2`` array a line, n at least 4, the first point not repeated at the end; none for an empty mask.
    """
    from skimage.measure import find_contours  # costs a fifth of a second

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    corner = np.array([rows[0], columns[0]])
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(part, 1)
    lines = find_contours(padded.astype(np.float32), 0.5)
    return [_with_its_area(line[:-1], padded) + (corner - 1) for line in lines]


def _with_its_area(line: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A contour at 0.5, which lacks half a pixel of area, moved outward until it has it."""
    lower, upper = np.floor(line).astype(int), np.ceil(line).astype(int)
    apart = (upper - lower).astype(float)  # along the one axis on which the point lies between two centres
    outward = np.where(mask[lower[:, 0], lower[:, 1]], 1.0, -1.0)[:, None] * apart
    following, further = np.roll(line, -1, axis=0), np.roll(outward, -1, axis=0)
    # area = a + b s + c s^2 for a shift s
    a = _crosses(line, following) / 2
    b = (_crosses(line, further) + _crosses(outward, following)) / 2
    c = _crosses(outward, further) / 2
    if a * b < 0:  # around a hole
        outward, b = -outward, -b
    missing = 0.5 if a > 0 else -0.5
    shift = 2 * missing / (b + np.copysign(np.sqrt(b * b + 4 * c * missing), b))
    return np.asarray(line + shift * outward)


def _crosses(one: np.ndarray, other: np.ndarray) -> float:
    return float((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum())
