"""A row of the table that `make bench` prints: what was measured, against what it is held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure against its bound; a ratio wherever that is possible, measured interleaved in one process or run.

    A benchmark of the table has `rows(short: bool)`, which gives these; `short` takes the sizes of CI (seconds).

    Args:
        what: the figure in words, with sizes.
        measured: what was measured, in `unit`.
        bound: what it is held against, in the same unit.
        lower_is_better: whether `bound` is the most or the least that will do.
        unit: "x" for ratios, else s, MiB, ms, %.
        ratio: whether it is a ratio of two things measured in the same run, so that a busy machine does not change it
            much: only these fail CI.
        note: what else must be known (the two times of a ratio, the spread).
    """

    what: str
    measured: float
    bound: float
    lower_is_better: bool
    unit: str = "x"
    ratio: bool = True
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.measured <= self.bound if self.lower_is_better else self.measured >= self.bound
