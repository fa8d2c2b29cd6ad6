"""Sizes and spacings of the images of a cohort, from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.io.headers import Header, read_header

_MOST = 200


@dataclass(frozen=True)
class Survey:
    """What the headers of many images say, in array order (``y x``, ``z y x``).

    Attributes:
        count: headers that were read.
        shape: median lengths.
        smallest, largest: of each axis.
        spacing: median steps in mm, 1 of pictures.
    """

    count: int = 0
    shape: tuple[int, ...] = (64, 64)
    smallest: tuple[int, ...] = (64, 64)
    largest: tuple[int, ...] = (64, 64)
    spacing: tuple[float, ...] = (1.0, 1.0)

    @property
    def says(self) -> str:
        """The sizes in words."""
        own = " x ".join(map(str, self.shape))
        if self.smallest == self.largest:
            return f"all of {self.count} are {own}"
        low, high = (" x ".join(map(str, lengths)) for lengths in (self.smallest, self.largest))
        return f"{self.count} are {low} to {high}, median {own}"


def survey(paths: Iterable[Path], dimensions: int) -> Survey:
    """Read headers of images, evenly chosen if there are many.

    Args:
        paths: all images.
        dimensions: axes; others are left out.
    """
    own = list(paths)
    step = max(1, len(own) // _MOST)
    headers: list[Header] = [
        header for path in own[::step] if (header := read_header(path)) is not None and len(header.shape) == dimensions
    ]
    if not headers:
        return Survey(0, (64,) * dimensions, (64,) * dimensions, (64,) * dimensions, (1.0,) * dimensions)
    shapes = np.array([header.shape for header in headers])
    steps = np.median([header.spacing for header in headers], axis=0)
    return Survey(
        len(headers),
        tuple(int(length) for length in np.median(shapes, axis=0)),
        tuple(int(length) for length in shapes.min(0)),
        tuple(int(length) for length in shapes.max(0)),
        tuple(float(step) for step in steps),
    )
