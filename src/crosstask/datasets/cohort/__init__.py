"""A cohort described by a table, and proposing that description from the table."""

from __future__ import annotations

from crosstask.datasets.cohort.dataset import Cohort

__all__ = ["Cohort"]
