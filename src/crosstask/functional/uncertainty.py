"""How far predictors of one thing are apart, and how certain their mean is; whether that says anything of its error."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crosstask.functional.cohort import expected_error_of_bins

_BINS = 10
WITHIN_ONE, WITHIN_TWO = 68.3, 95.4
"""Percent of the errors of a normal distribution within one and two standard deviations."""


class RunningSpread:
    """Mean and standard deviation of arrays that come one after the other: only two are kept (Welford, 1962)."""

    def __init__(self) -> None:
        self.number = 0
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        """One more array, of the same shape as the others."""
        self.number += 1
        if self._mean is None or self._squares is None:
            self._mean = values.astype(np.float32, copy=True)
            self._squares = np.zeros_like(self._mean)
            return
        before = values - self._mean
        self._mean += before / np.float32(self.number)
        self._squares += before * (values - self._mean)

    @property
    def mean(self) -> np.ndarray:
        """Of all that were added.

        Raises:
            ValueError: nothing was.
        """
        if self._mean is None:
            raise ValueError("no array was added")
        return self._mean

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of all that were added, as of a sample (n - 1).

        Raises:
            ValueError: there are less than two.
        """
        if self._squares is None or self.number < 2:
            raise ValueError("a standard deviation needs two arrays")
        deviation: np.ndarray = np.sqrt(np.maximum(self._squares, 0) / np.float32(self.number - 1))
        return deviation


def entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy in bits of a distribution over the first axis: ``c *s`` to ``*s``; 0 certain, log2 c at most."""
    inside = np.clip(probability, 1e-12, 1)
    return np.asarray(np.maximum(-(inside * np.log2(inside)).sum(0), 0), dtype=np.float32)


def binary_entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy in bits of one probability at each place, of the same shape: 0 certain, 1 at one half."""
    return entropy(np.stack([probability, 1 - probability]))


def voxel_calibration(probability: np.ndarray, target: np.ndarray) -> Mapping[str, float]:
    """Calibration of the probabilities of a class, voxel by voxel.

    Args:
        probability: of some voxels, in any shape.
        target: 0 or 1, alike.

    Returns:
        ``calibration_error`` in percent, see :func:`crosstask.functional.cohort.calibration_error`, and ``brier``;
        nothing where there is no voxel. Voxels count as independent in what is taken off for chance, which they are
        not; of many voxels it is hardly anything.
    """
    values, true = (np.asarray(array, dtype=np.float64).ravel() for array in (probability, target))
    if not values.size:
        return {}
    bins = np.clip(values * _BINS, 0, _BINS - 1).astype(np.intp)
    count = np.bincount(bins, minlength=_BINS).astype(np.float64)
    cases = np.maximum(count, 1)
    expected, came = (np.bincount(bins, array, _BINS) / cases for array in (values, true))
    error = expected_error_of_bins(count[None], expected[None], came[None])[0]
    return {"calibration_error": float(error), "brier": float(((values - true) ** 2).mean())}


def error_within_spread(error: np.ndarray, spread: np.ndarray) -> Mapping[str, float]:
    """What a spread says of the error.

    Args:
        error: at some places, in any shape; its sign does not matter.
        spread: standard deviation over predictors there.

    Returns:
        ``within_1sd`` and ``within_2sd``, percent of the errors that are at most one and two spreads (of a normal
        distribution 68.3 and 95.4), and ``error_spread_correlation``, Spearman's, where both vary; nothing where
        there is no place.
    """
    from scipy.stats import rankdata

    off, sd = np.abs(np.asarray(error, dtype=np.float64)).ravel(), np.asarray(spread, dtype=np.float64).ravel()
    if not off.size:
        return {}
    found = {f"within_{times}sd": float(100 * (off <= times * sd).mean()) for times in (1, 2)}
    ranks = [rankdata(values) for values in (off, sd)]
    if all(np.ptp(values) > 0 for values in ranks):
        found["error_spread_correlation"] = float(np.corrcoef(*ranks)[0, 1])
    return found
