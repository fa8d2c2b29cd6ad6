"""Improvement of each method over single-task learning in one task, with its interval. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crosstask.evaluation.resampling import Values, interval
from crosstask.functional.improvement import near_zero, relative_improvement
from crosstask.methods import baseline_of


@dataclass(frozen=True)
class Gain:
    """Improvement over STL in percent with its 95 % interval, NaN without one; or why it is undefined."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    undefined: str = ""


class Gains:
    """Improvements over STL of one task, of the cases as they are and of each resampling.

    Args:
        values: M of every method and seed.
        weight: how often each resampling draws each case, ``r n``.
        groups: number of groups that are drawn from.
        higher_is_better: direction of M.
        scale: what M of STL is small against, in its unit; NaN where it is not known.

    Attributes:
        single: ``{method: M of each seed}``.
        means: ``{method: mean over seeds}``.
    """

    def __init__(
        self, values: Values, weight: np.ndarray, groups: int, *, higher_is_better: bool, scale: float
    ) -> None:
        self._values, self._weight, self._groups = values, weight, groups
        self._higher, self._scale = higher_is_better, scale
        self.single = {
            method: [float(figure(None)[0]) for figure in figures] for method, figures in values.figures.items()
        }
        self.means = {method: float(np.mean(seeds)) for method, seeds in self.single.items()}
        self._resampled: dict[str, np.ndarray] = {}

    def asked(self, method: str) -> bool:
        """Whether a method has a baseline to improve on."""
        return method != self._baseline(method) and self._baseline(method) in self.means

    def _baseline(self, method: str) -> str:
        return baseline_of(method, self.means)

    def of(self, method: str) -> Gain:
        """The improvement of a method; none where none is asked for."""
        if not self.asked(method):
            return Gain()
        if reason := self._undefined(method):
            return Gain(undefined=reason)
        baseline = self.means[self._baseline(method)]
        value = relative_improvement(baseline, self.means[method], higher_is_better=self._higher)
        return Gain(value, *interval(self.drawn(method), self._groups))

    def drawn(self, method: str) -> np.ndarray:
        """The improvement of each resampling, NaN where it is not defined."""
        if self._undefined(method):
            return np.full(len(self._weight), np.nan)
        baseline, value = self._of(self._baseline(method)), self._of(method)
        gain = value - baseline if self._higher else baseline - value
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(baseline != 0, 100 * gain / np.abs(baseline), np.nan)

    def _undefined(self, method: str) -> str:
        """Why there is no improvement; empty where there is one."""
        baseline = self.means[self._baseline(method)]
        if not (math.isfinite(baseline) and math.isfinite(self.means[method])):
            return "undefined"
        if baseline == 0:
            return "undefined: STL is 0"
        drawn = self._of(self._baseline(method))
        drawn = drawn[np.isfinite(drawn)]
        error = float(np.std(drawn)) if len(drawn) and self._groups > 1 else math.nan
        near = near_zero(baseline, error=error, higher_is_better=self._higher, scale=self._scale)
        return "undefined: STL near 0" if near else ""

    def _of(self, method: str) -> np.ndarray:
        """M of each resampling, mean over seeds."""
        if method not in self._resampled:
            self._resampled[method] = np.mean([figure(self._weight) for figure in self._values.figures[method]], axis=0)
        return self._resampled[method]
