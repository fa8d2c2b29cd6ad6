"""Areas under ROC curves in many resamplings, from one sorting of the cases. NumPy and SciPy.

With weights w (how often a case is drawn), positives p and negatives q, the area is

    sum_p w_p (sum_{q below p} w_q + 1/2 sum_{q equal to p} w_q) / (sum_p w_p sum_q w_q).

Which case is below which is the same in every resampling, so the values are sorted once. A resampling takes sums of the
more frequent side over the gaps between the values of the rarer one, and a running sum over these: n steps, without
sorting. Weights are whole numbers, and so are all sums: the area is that of counting pairs, to the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_WHOLE = 2.0**24
"""Below this float32 holds every whole number."""


class Ranking:
    """The cases of one class, sorted by one predictor.

    The rarer side has m different values u_0 < u_1 < ...; the sums over the gaps below each are kept as a grid of b
    rows and J columns, in which u_j stands in row j mod b and column j div b. A running sum goes down all columns at
    once, and over the J columns once more.

    Args:
        values: ``n``, higher where a case is more likely positive.
        positive: places of the positive cases.
        negative: places of the negative ones; what is in neither does not count.
    """

    def __init__(self, values: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> None:
        counted = values[np.concatenate([positive, negative])]
        self._defined = bool(positive.size and negative.size and not np.isnan(counted).any())
        if not self._defined:
            return
        self._swapped = positive.size > negative.size
        rare, others = (negative, positive) if self._swapped else (positive, negative)
        rare, others = rare[np.argsort(values[rare], kind="stable")], others[np.argsort(values[others], kind="stable")]
        steps, step = np.unique(values[rare], return_inverse=True)
        self._columns = math.isqrt(len(steps))
        self._rows = -(-len(steps) // self._columns)
        empty = self._rows * self._columns - len(steps)  # before the first, where no sum is

        def row(of: np.ndarray) -> np.ndarray:
            at = of + empty
            return at % self._rows * self._columns + at // self._rows

        gap = np.searchsorted(steps, values[others])  # how many of the rarer side's values are below
        inside, above = others[gap < len(steps)], others[gap == len(steps)]
        gap = gap[: len(inside)]
        size, number = len(values), self._rows * self._columns
        self._gaps = _sums(row(gap), inside, number, size)
        self._above = above
        equal = steps[gap] == values[inside]
        self._ties = _sums(row(gap[equal]), inside[equal], number, size) if equal.any() else None
        self._steps = _sums(row(step), rare, number, size) if len(steps) < len(rare) else None
        self._rare = np.full(number, rare[0])
        self._rare[row(step)] = rare
        self._empty = np.arange(empty) * self._columns

    def areas(self, drawn: np.ndarray) -> np.ndarray:
        """The area in each resampling: ``r``; NaN where one side is not drawn, or a value is none.

        Args:
            drawn: ``n r``, how often each case is drawn; quickest where the rows are contiguous. float32 is quicker
                still, and as exact for whole numbers.
        """
        number = drawn.shape[1]
        if not self._defined or not number:
            return np.full(number, np.nan)
        drawn = np.ascontiguousarray(drawn if drawn.dtype == np.float32 else drawn.astype(np.float64, copy=False))
        below = self._gaps @ drawn
        if self._steps is None:
            wanted = drawn.take(self._rare, axis=0)
            wanted[self._empty] = 0
        else:
            wanted = self._steps @ drawn
        total = below.sum(0, dtype=np.float64) + drawn[self._above].sum(0, dtype=np.float64)
        if drawn.dtype == np.float32 and total.max(initial=0) * wanted.max(initial=0) >= _WHOLE:
            return self.areas(drawn.astype(np.float64))
        half = 0.0 if self._ties is None else np.einsum("jr,jr->r", wanted, self._ties @ drawn, dtype=np.float64) / 2
        wins, rare = self._won(wanted, below, number)
        pairs = rare * total
        wins = wins - half
        with np.errstate(invalid="ignore"):
            return (pairs - wins if self._swapped else wins) / pairs

    def _won(self, wanted: np.ndarray, below: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """``sum_j wanted_j sum_{i <= j} below_i`` in each resampling, and the sum of ``wanted``: ``r`` each."""
        shape = (self._rows, self._columns * number)
        wanted, below = wanted.reshape(shape), below.reshape(shape)
        running, product = np.zeros_like(below[0]), np.empty_like(below[0])
        wins, rare = np.zeros(shape[1]), np.zeros_like(below[0])
        for drawn, more in zip(wanted, below, strict=True):
            running += more
            np.multiply(drawn, running, out=product)
            wins += product
            rare += drawn
        columns = rare.reshape(-1, number).astype(np.float64)
        before = np.zeros_like(columns)
        np.cumsum(running.reshape(-1, number)[:-1], axis=0, out=before[1:])
        return wins.reshape(-1, number).sum(0) + (columns * before).sum(0), columns.sum(0)


def _sums(rows: np.ndarray, cases: np.ndarray, number: int, size: int) -> csr_matrix:
    """The matrix ``number size`` by which each row is the sum of its cases."""
    from scipy.sparse import csr_matrix  # a tenth of a second to import, which tables without an area must not pay

    order = np.argsort(rows, kind="stable")
    ends = np.searchsorted(rows[order], np.arange(number + 1))
    return csr_matrix((np.ones(len(rows), dtype=np.float32), cases[order].astype(np.int32), ends), shape=(number, size))
