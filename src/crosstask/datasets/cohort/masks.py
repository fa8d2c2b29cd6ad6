"""Masks as people save them: with palettes, transparency, soft edges, the artefacts of JPEG, or 255 as background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.datasets.cohort.spec import MaskSource
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.coco import Coco, read_coco
from crosstask.io.image_files import PICTURE_ENDINGS, ending
from crosstask.io.images import read_image
from crosstask.io.outlines import ENDING as OUTLINE_ENDING
from crosstask.io.outlines import read_outline
from crosstask.io.pictures import mask_parts
from crosstask.io.volumes import axes_of

_LOSSY = (".jpg", ".jpeg")
_LOWEST_TOP = 32
"""A mask whose highest value is below this holds labels, not shades."""
_NEAR = 0.05
"""Values within this share of zero or of the highest are artefacts of it, others shades of an edge."""
_ENOUGH = 4_000_000
"""Of larger volumes some slices tell as much."""
_FLAT = 0.25
"""A smaller share than this of a slope is level, however it runs."""
_SHADES = 5
"""So many different values are an edge; fewer may be labels, unless the format is lossy."""


@dataclass(frozen=True)
class Mask:
    """What a mask's file holds.

    Attributes:
        path: the file.
        values: ``c *s``, transparent pixels being 0.
        indices: ``*s`` of a picture with a coloured palette: the numbers of its colours, usually the labels.
        grid: where it lies.
        layers: of a COCO file, ``{category: *s}``, which may overlap; None where one has no outline.
    """

    path: Path
    values: np.ndarray
    indices: np.ndarray | None
    grid: Geometry
    layers: Mapping[int, np.ndarray | None] | None = None

    def unknown(self, source: MaskSource) -> str:
        """Why it says nothing of a class, or nothing."""
        if self.layers is not None:
            wanted = self.layers if isinstance(source.values, str) else source.values
            if any(self.layers.get(category, 0) is None for category in wanted):
                return "has a box without an outline"
        if source.unknown is not None and np.isin(self.values, source.unknown).any():
            return f"holds {', '.join(map(str, source.unknown))}, which the cohort file calls unknown"
        return ""

    @property
    def shades(self) -> np.ndarray:
        """One value a voxel, ``*s``: the highest of its channels."""
        return np.asarray(self.values.max(0))

    @property
    def coloured(self) -> bool:
        """Whether its channels differ."""
        return len(self.values) > 1 and not bool((self.values == self.values[:1]).all())

    @property
    def threshold(self) -> float | None:
        """Half of the highest value, where the others are soft edges or artefacts; None where values are labels.

        What is not wholly one value on a ground of another has artefacts in any case if its format is lossy.
        """
        shades = self.shades
        shades = shades[:: 1 + shades.size // _ENOUGH]
        values = np.unique(shades)
        top = float(values[-1])
        if 0 < top <= 1 and values.dtype.kind == "f" and not np.isin(values, (0, 1)).all():
            return 0.5
        if top < _LOWEST_TOP or len(values) < 3 or not np.isfinite(top):
            return None
        lossy = ending(self.path) in _LOSSY
        return float(top // 2) if lossy or (len(values) - 2 >= _SHADES and _is_slope(shades)) else None

    @property
    def is_outline(self) -> bool:
        """Whether it is one value on a ground of another, soft edges aside, as no photograph is."""
        values, counts = np.unique(self.shades, return_counts=True)
        return len(values) <= 2 or _is_edge(values, counts)

    @property
    def inverted(self) -> bool:
        """Whether high values cover more than half of it and nearly all of its edge, so that they are background."""
        shades = self.shades
        low, high = float(shades.min()), float(shades.max())
        if shades.ndim != 2 or low == high:
            return False
        above = shades > (low + high) / 2
        edge = np.concatenate([above[0], above[-1], above[:, 0], above[:, -1]])
        return bool(above.mean() > 0.5 and edge.mean() > 0.9)


def _is_slope(shades: np.ndarray) -> bool:
    """Whether what is neither the lowest nor the highest value is a slope: areas of a label are flat."""
    between = (shades > shades.min()) & (shades < shades.max())
    flat = between.copy()
    for axis in range(shades.ndim):
        same = np.diff(shades, axis=axis, append=np.take(shades, [-1], axis=axis)) == 0
        flat &= same
    return bool(flat.sum() < _FLAT * between.sum())


def _is_edge(values: np.ndarray, counts: np.ndarray) -> bool:
    """Whether the values between zero and the highest are as few as on the edge of an area."""
    top = float(values[-1])
    high = counts[values >= top * (1 - _NEAR)].sum()
    between = counts[(values > top * _NEAR) & (values < top * (1 - _NEAR))]
    return bool(top > 0 and between.sum() <= high and (between <= 0.3 * high).all())


def read_mask(path: Path, image: Path | None, geometry: Geometry | None) -> Mask | None:
    """A mask's file: a picture, a volume, polygons, which are drawn on the image's grid, or the instances of COCO.

    Returns:
        None where a COCO file does not list the image.

    Raises:
        InputError: it cannot be read, or holds polygons and the image is no volume.
    """
    if ending(path) != OUTLINE_ENDING:
        values, grid = read_image(path)
        transparent, indices = mask_parts(path) if ending(path) in PICTURE_ENDINGS else (None, None)
        if transparent is not None:
            values = np.where(transparent, 0, values).astype(values.dtype)
        return Mask(path, values, indices, grid)
    coco = read_coco(path)
    if coco is not None:
        return None if image is None else _of_coco(coco, image)
    if image is None or geometry is None or len(geometry.shape) != 3:
        raise InputError(f"{path}: outlines of polygons are for volumes; save the mask as a picture")
    return Mask(path, read_outline(path, geometry, axes_of(image))[None], None, geometry)


def _of_coco(coco: Coco, image: Path) -> Mask | None:
    """What a COCO file says of a picture."""
    entry = coco.of(image)
    if entry is None:
        return None
    layers = coco.masks(entry)
    together = np.zeros((1, *entry.shape), np.uint8)
    for layer in layers.values():
        together |= 0 if layer is None else layer
    return Mask(coco.path, together, None, Geometry(entry.shape, (1.0, 1.0)), layers)


def belongs(mask: Mask, source: MaskSource) -> np.ndarray:
    """Where a mask's values belong to a class: ``*s``, uint8.

    Raises:
        InputError: the class is given by values, and the mask is in colours that no palette numbers.
    """
    if mask.layers is not None and not isinstance(source.values, str):
        found = np.zeros(mask.grid.shape, np.uint8)
        for category in source.values:
            layer = mask.layers.get(category)
            found |= 0 if layer is None else layer
        return found
    if isinstance(source.values, str):
        limit = float(source.values[1:])
        over = mask.values > limit if source.values[0] == ">" else mask.values < limit
        return np.asarray(over.any(0) if source.values[0] == ">" else over.all(0), np.uint8)
    if mask.indices is not None:
        return np.isin(mask.indices, source.values).astype(np.uint8)
    if mask.coloured:
        raise InputError(
            f"{mask.path}: the mask is in colour, so it has no values {source.values}; save it as a grey picture"
        )
    return np.isin(mask.values[0], source.values).astype(np.uint8)
