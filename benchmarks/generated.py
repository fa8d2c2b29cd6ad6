"""Generated cases for benchmarks that need a store of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crosstask.datasets.base import Case
from crosstask.geometry import Geometry


class Cases:
    """So many training cases on one grid; who derives from it says how one is read.

    Args:
        count: how many.
        grid: of all of them.
    """

    name = "generated"

    def __init__(self, count: int, grid: Geometry) -> None:
        self.count, self.grid = count, grid

    def cases(self) -> list[Case]:
        """So many of them."""
        return [Case(f"c{index}", f"c{index}", "train", ()) for index in range(self.count)]

    def read_settings(self) -> Mapping[str, Any]:
        """What they depend on."""
        return {"shape": self.grid.shape}


def random_of(case: Case) -> np.random.Generator:
    """Random numbers of a case, always the same."""
    return np.random.default_rng(int(case.id[1:]))


def ball(grid: Geometry, centre: np.ndarray, radius: float) -> np.ndarray:
    """Voxels within a radius in mm of a place in voxels, bool ``z y x``."""
    axes = zip(np.ogrid[tuple(map(slice, grid.shape))], centre, grid.spacing, strict=True)
    inside: np.ndarray = sum(((places - at) * step / radius) ** 2 for places, at, step in axes) < 1  # type: ignore[assignment]
    return inside
