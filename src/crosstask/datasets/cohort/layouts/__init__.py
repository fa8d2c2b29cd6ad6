"""How data sets are laid out: as a table, as nnU-Net or COCO describe them, or as folders alone."""

from __future__ import annotations

from crosstask.datasets.cohort.layouts.base import Layout
from crosstask.datasets.cohort.layouts.find import find_layout

__all__ = ["Layout", "find_layout"]
