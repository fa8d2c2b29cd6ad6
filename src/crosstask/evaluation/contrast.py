r"""How far a difference between methods would move if runs were trained and cases were drawn anew. NumPy and SciPy.

A *contrast* is a sum of figures with coefficients, :math:`\sum_m \sum_t c_{mt} M_{mt}` over methods and tasks, where
each :math:`M_{mt}` is a mean over runs. Its variance has two sources, as in studies of many readers and many cases
(Obuchowski and Rockette 1995; Hillis 2007), with trained runs in the place of readers:

- **runs**: with :math:`u_{ms} = \sum_t c_{mt} M_{mts}` for run s of method m, each method adds
  :math:`\operatorname{var}_s(u_{ms}) / S_m`. It is measured on the cases at hand, so it holds what run and case have
  together, too. Runs of equal seed are no pairs: another network draws other numbers.
- **cases**: the variance of the contrast over bootstrap draws of groups of cases, the same draws for all, times
  G / (G - 1), less what run and case have together, which would be counted twice.

The interval is that of Student's t with the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Coefficients = Mapping[str, np.ndarray]
"""``{method: t}``, one a task."""
_MOST_UNDEFINED = 0.05
_MOST_RUNS = 1_000_000
LEAST = 0.25
"""Of the variance that the cases alone give, what there is in all."""
_ROUNDING = 1e-24  # variance below this share of the squares is none, but rounding


@dataclass(frozen=True)
class Part:
    """One source of the variance of a contrast.

    Attributes:
        of: ``runs`` or ``cases``.
        variance: what it adds.
        number: how many runs (of one method) or groups of cases are behind it.
        mixed: of the runs' variance, what run and case have together: a run that is lucky with these cases. More cases
            make it smaller, too.
    """

    of: Literal["runs", "cases"]
    variance: float
    number: int
    mixed: float = 0.0

    @property
    def degrees(self) -> float:
        """Degrees of freedom of the variance."""
        return max(self.number - 1, 0)

    def scaled(self, factor: float) -> Part:
        """A multiple of it."""
        return replace(self, variance=self.variance * factor, mixed=self.mixed * factor)

    def of_number(self, number: int) -> Part:
        """What it would add with so many of them."""
        return replace(self.scaled(self.number / number), number=number)

    def with_cases(self, factor: float) -> Part:
        """What it would add with so many times the cases, in one of which every run has the same luck."""
        if self.of == "cases":
            return self.of_number(max(2, round(self.number * factor)))
        return replace(self, variance=self.variance - self.mixed * (1 - 1 / factor), mixed=self.mixed / factor)


@dataclass(frozen=True)
class Spread:
    """The variance of a contrast, by its sources.

    Attributes:
        parts: the sources; empty where nothing is known.
        trained_once: methods with a single run, whose part is missing: the variance is that of the cases alone.
    """

    parts: tuple[Part, ...] = ()
    trained_once: tuple[str, ...] = ()

    @property
    def covers_runs(self) -> bool:
        """Whether it says how far other trainings would go astray."""
        return bool(self.parts) and not self.trained_once

    @property
    def variance(self) -> float:
        """Of the contrast; NaN where nothing is known."""
        return math.fsum(part.variance for part in self.parts) if self.parts else math.nan

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(self.variance) if self.parts else math.nan

    @property
    def degrees(self) -> float:
        """Degrees of freedom by Satterthwaite."""
        below = math.fsum(part.variance**2 / part.degrees for part in self.parts if part.variance > 0)
        if not self.parts or any(part.variance > 0 and part.degrees == 0 for part in self.parts):
            return math.nan
        return self.variance**2 / below if below > 0 else max(part.degrees for part in self.parts)

    @property
    def share_of_runs(self) -> float:
        """Part of the variance that is the runs', and would be less with more of them; NaN where there is none."""
        return self._share([part.variance for part in self.parts if part.of == "runs"])

    @property
    def share_of_both(self) -> float:
        """Part of the variance that run and case have together, in the runs' share; NaN where there is none."""
        return self._share([part.mixed for part in self.parts])

    def _share(self, variances: Sequence[float]) -> float:
        return math.fsum(variances) / self.variance if self.covers_runs and self.variance > 0 else math.nan

    def half_width(self, level: float = 0.95) -> float:
        """Half of the interval at a level; NaN where nothing is known."""
        degrees = self.degrees
        if math.isnan(degrees):
            return math.nan
        if self.variance <= 0:
            return 0.0
        from scipy.special import stdtrit  # a tenth of a second to import

        return float(stdtrit(degrees, (1 + level) / 2)) * self.error

    def p_of(self, value: float) -> float:
        """Two-sided probability of a contrast so far from zero, where there is none."""
        return 2 * self._above(abs(value))

    def p_beyond(self, value: float, margin: float) -> float:
        """Probability of a contrast so far within the margin, where it is not: the larger of two one-sided tests."""
        return max(self._above(margin + value), self._above(margin - value))

    def _above(self, distance: float) -> float:
        degrees = self.degrees
        if math.isnan(degrees) or math.isnan(distance):
            return math.nan
        if self.variance <= 0:
            return 0.5 if distance == 0 else float(distance < 0)
        from scipy.special import stdtr

        return float(stdtr(degrees, -distance / self.error))

    def with_numbers(self, *, more_runs: int = 0, cases: float = 1.0) -> Spread:
        """What the variance would be with so many more runs of each method, or with so many times the cases."""
        runs = (part.of_number(part.number + more_runs) if part.of == "runs" else part for part in self.parts)
        return replace(self, parts=tuple(part.with_cases(cases) for part in runs))

    def runs_needed(self, half_width: float, level: float = 0.95) -> int | None:
        """How many more runs of each method make the interval so narrow; None where no number does."""
        if not self.covers_runs or math.isnan(half_width):
            return None

        def enough(more: int) -> bool:
            return self.with_numbers(more_runs=more).half_width(level) <= half_width

        if not enough(_MOST_RUNS):
            return None
        low, high = -1, _MOST_RUNS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def mean_of(spreads: Sequence[Spread]) -> Spread:
    """The variance of the mean of contrasts that have neither runs nor cases in common."""
    factor = len(spreads) ** 2
    parts = [part.scaled(1 / factor) for spread in spreads for part in spread.parts]
    once = dict.fromkeys(name for spread in spreads for name in spread.trained_once)
    known = all(spread.parts for spread in spreads)
    return Spread(tuple(parts) if known else (), tuple(once))


def spread_of(
    coefficients: Coefficients,
    single: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    groups: int,
    *,
    paired: bool = False,
) -> Spread:
    """The variance of a contrast.

    From the cases' part is taken what run and case have together, as the runs' part holds it too. Runs that are alike
    by chance hold none of it, and nothing would be left; so in all there is never less than a quarter of the variance
    that the cases alone give: no interval is narrower than half of theirs. (With all of it for the least, 3 seeds and
    an AUC, 97 to 99 of 100 intervals would hold the truth.)

    Where every seed has test cases of its own (``paired``), runs of one seed have these cases in common, so the runs'
    part is that of the differences seed by seed. It then holds the scatter of cases as well, of which nothing is taken
    off again: the interval is rather too wide than too narrow.

    Args:
        coefficients: of the methods' figures, those of each task.
        single: ``{method: s t}``, the figures of each run.
        drawn: ``{method: s t r}``, the same in each bootstrap draw of groups, the same draws for all; NaN where a
            figure is not defined. More than one undefined draw in twenty leaves nothing that could be said.
        groups: number of groups that were drawn from.
        paired: every seed has test cases of its own, the same for all methods, whose runs are in the same order.
    """
    runs = {method: single[method] @ own for method, own in coefficients.items()}
    draws = {method: np.einsum("str,t->sr", drawn[method], own) for method, own in coefficients.items()}
    defined = np.all([np.isfinite(own).all(0) for own in draws.values()], axis=0)
    if groups < 2 or defined.mean() < 1 - _MOST_UNDEFINED:
        return Spread()
    draws = {method: own[:, defined] for method, own in draws.items()}
    whole = np.sum([own.mean(0) for own in draws.values()], axis=0)
    cases = float(np.var(whole, ddof=1))
    if cases < _ROUNDING * sum(float(np.square(own.mean(0)).mean()) for own in draws.values()):
        cases = 0.0
    once = tuple(method for method, own in runs.items() if len(own) == 1)
    parts = []
    if paired and not once:
        by_seed = np.sum(list(draws.values()), axis=0)  # each seed's cases are in its own difference
        mixed = float(np.var(by_seed, axis=1, ddof=1).mean()) / len(by_seed)
        parts = [_of_runs(np.sum(list(runs.values()), axis=0), mixed)]
    elif not paired:
        several = [method for method in runs if method not in once]
        common = {method: _in_common(draws[method]) for method in several}
        parts = [_of_runs(runs[method], common[method]) for method in several]
        cases = max(cases - math.fsum(common.values()), LEAST * cases - math.fsum(part.variance for part in parts))
    parts.append(Part("cases", max(cases, 0.0) * groups / (groups - 1), groups))
    return Spread(tuple(parts), once)


def _of_runs(figures: np.ndarray, mixed: float) -> Part:
    """What runs add, from the figure of each ``s`` and what they have together with the cases."""
    variance = float(np.var(figures, ddof=1)) / len(figures)
    return Part("runs", variance, len(figures), min(mixed, variance))


def _in_common(draws: np.ndarray) -> float:
    """What run and case have together of the variance of a method's mean over runs, from its draws ``s r``."""
    single = float(np.var(draws, axis=1, ddof=1).mean())
    mean = float(np.var(draws.mean(0), ddof=1))
    return max(0.0, (single - mean) / (len(draws) - 1))


def nadeau_bengio(coefficients: Coefficients, single: Mapping[str, np.ndarray], test_to_train: float) -> Spread:
    """The variance of a contrast over splits by seed, corrected for training sets that overlap.

    Nadeau and Bengio (2003): the variance of the differences seed by seed, times (1 / S + n_test / n_train).

    Args:
        coefficients: of the methods' figures, those of each task.
        single: ``{method: s t}``, the figures of each run.
        test_to_train: how many test cases there are for one training case.
    """
    differences = np.sum([single[method] @ own for method, own in coefficients.items()], axis=0)
    number = len(differences)
    if number < 2:
        return Spread()
    variance = float(np.var(differences, ddof=1)) * (1 / number + test_to_train)
    return Spread((Part("runs", variance, number),))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities adjusted for their number by Holm (1979); NaN stays, and does not count."""
    known = [index for index, p in enumerate(probabilities) if not math.isnan(p)]
    adjusted, highest = list(map(float, probabilities)), 0.0
    for rank, index in enumerate(sorted(known, key=lambda index: probabilities[index])):
        highest = max(highest, min(1.0, (len(known) - rank) * probabilities[index]))
        adjusted[index] = highest
    return adjusted
