"""Improvement of each method over its baseline, with what is known of its scatter. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from crosstask.evaluation.contrast import Spread, holm, nadeau_bengio, spread_of
from crosstask.evaluation.resampling import Draws, Values
from crosstask.evaluation.verdict import NO_RATIO, Pair, verdict_of
from crosstask.functional.improvement import near_zero, relative_improvement


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; NaN where it is not defined."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


NO_ESTIMATE = Estimate()


@dataclass(frozen=True)
class Gain:
    """Improvement over the baseline in one task, or the mean of all.

    Attributes:
        improvement: in percent, positive is better; NaN where there is none.
        low, high: its interval at the comparison's level, not adjusted for the number of methods.
        undefined: why there is no improvement where one is asked for; else empty.
        p: two-sided probability of such an improvement where there is none.
        p_equivalent: probability of one so far within the margin where it is beyond.
        p_adjusted, p_equivalent_adjusted: the same, adjusted by Holm: means over all methods; tasks over all methods
            and tasks together.
        verdict: in words, from the adjusted ones; empty for a baseline.
        spread: variance of the improvement by its sources.
        difference: M - M of the baseline, in the metric's own unit and direction; of a mean NaN.
        log_ratio: 100 times the logarithm of M / M of the baseline, positive is better; of a mean that of all tasks.
        runs_won: share of all pairs of a run and one of the baseline in which it is better, ties counting one half.
        cases_won: share of the cases in which it is better, mean over runs; NaN where a case has no figure of its own.
        without: of a mean, what it would be without each task.
        corrected: interval by Nadeau and Bengio, where every seed has a split of its own.
    """

    improvement: float = math.nan
    low: float = math.nan
    high: float = math.nan
    undefined: str = ""
    p: float = math.nan
    p_equivalent: float = math.nan
    p_adjusted: float = math.nan
    p_equivalent_adjusted: float = math.nan
    verdict: str = ""
    spread: Spread = field(default_factory=Spread)
    difference: Estimate = NO_ESTIMATE
    log_ratio: Estimate = NO_ESTIMATE
    runs_won: float = math.nan
    cases_won: float = math.nan
    without: Mapping[str, float] = field(default_factory=dict)
    corrected: Estimate = NO_ESTIMATE


NO_GAIN = Gain()


@dataclass(frozen=True)
class Scale:
    """What M of a task is measured by.

    Attributes:
        higher_is_better: direction of M.
        small: what M of the baseline is small against, in its unit; NaN where that is not known.
    """

    higher_is_better: bool
    small: float

    @property
    def sign(self) -> int:
        """+1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1


class Gains:
    """Improvements of all methods in all tasks, of the cases as they are and of each draw.

    Args:
        values: ``{task: M of every method and run}``.
        draws: the bootstrap draws of cases.
        scales: what M is measured by, for each task.
        baselines: ``{method: its baseline}``; a baseline is its own.
        margin: of equivalence, in percent.
        level: of confidence.
        by_seed: every seed has test cases of its own.
        test_to_train: test cases for one training case, of splits by seed; NaN where that is not known.
        label: how a method is written.
        progress: told how many draws of how many have been looked at, or None.

    Attributes:
        single: ``{method: s t}``, M of each run in each task.
        means: ``{method: t}``, mean over runs.
    """

    def __init__(
        self,
        values: Mapping[str, Values],
        draws: Draws,
        scales: Mapping[str, Scale],
        baselines: Mapping[str, str],
        *,
        margin: float,
        level: float,
        by_seed: bool = False,
        test_to_train: float = math.nan,
        label: Callable[[str], str] = str,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.tasks = tuple(values)
        self._values, self._groups, self._scales, self._baselines = values, draws.groups, scales, baselines
        self._margin, self._level, self._by_seed, self._test_to_train = margin, level, by_seed, test_to_train
        self._label = label
        self._near: dict[tuple[str, str], bool] = {}
        self.single: dict[str, np.ndarray] = {}
        self._drawn: dict[str, np.ndarray] = {}
        every = {task: [each for method in baselines for each in values[task].figures[method]] for task in self.tasks}
        single = {task: np.array([figure(None)[0] for figure in own]) for task, own in every.items()}
        drawn = draws.resampled(every, progress)
        start = 0
        for method in baselines:
            runs = slice(start, start + len(values[self.tasks[0]].figures[method]))
            self.single[method] = np.stack([single[task][runs] for task in self.tasks], axis=1)
            self._drawn[method] = np.stack([drawn[task][runs] for task in self.tasks], axis=1)
            start = runs.stop
        self.means = {method: own.mean(0) for method, own in self.single.items()}
        self._reasons = {method: self._undefined(method) for method in baselines if self.asked(method)}

    def asked(self, method: str) -> bool:
        """Whether a method has a baseline to improve on."""
        return self._baselines[method] != method and self._baselines[method] in self.means

    def adjusted(self) -> tuple[dict[str, dict[str, Gain]], dict[str, Gain]]:
        """The gains of every method in each task, and in the mean, with verdicts adjusted for their number."""
        asked = [method for method in self._baselines if self.asked(method)]
        cells = {(method, task): self.of_task(method, task) for method in asked for task in self.tasks}
        means = {method: self.mean(method) for method in asked}
        cells = dict(zip(cells, judged(list(cells.values()), level=self._level), strict=True))
        means = dict(zip(means, judged(list(means.values()), level=self._level), strict=True))
        by_method = {
            method: {task: cells.get((method, task), NO_GAIN) for task in self.tasks} for method in self._baselines
        }
        return by_method, {method: means.get(method, NO_GAIN) for method in self._baselines}

    def of_task(self, method: str, task: str) -> Gain:
        """The improvement of a method in one task, its verdict not given yet."""
        baseline, at = self._baselines[method], self.tasks.index(task)
        only = np.eye(len(self.tasks))[at]
        scale, ours, theirs = self._scales[task], self.means[method][at], self.means[baseline][at]
        difference = self._estimate(float(ours - theirs), {method: only, baseline: -only}, [task])
        shared = {
            "difference": difference,
            "runs_won": self._runs_won(method, only),
            "cases_won": self._cases_won(method, task),
        }
        if reason := self._reasons[method][at]:
            return replace(Gain(undefined=reason), **shared)  # type: ignore[arg-type]
        value = relative_improvement(float(theirs), float(ours), higher_is_better=scale.higher_is_better)
        return self._gain(method, only, value, [task], **shared)

    def mean(self, method: str) -> Gain:
        """The mean of a method's improvements, its verdict not given yet; none where a task has none."""
        number = len(self.tasks)
        lacking = [task for task, reason in zip(self.tasks, self._reasons[method], strict=True) if reason]
        if lacking:
            return Gain(undefined=f"undefined: no ratio for {', '.join(lacking)}")
        single = self._improvements(method)
        without = {
            task: float(np.delete(single, at).mean()) for at, task in enumerate(self.tasks) if len(self.tasks) > 1
        }
        even = np.full(number, 1 / number)
        runs = self._runs_won(method, even)
        return self._gain(method, even, float(single.mean()), self.tasks, runs_won=runs, without=without)

    def _gain(self, method: str, share: np.ndarray, value: float, tasks: Sequence[str], **known: object) -> Gain:
        """A gain from its value and the share of each task in it."""
        contrast = self._contrast(method, share)
        gain = gain_of(value, self._spread(contrast, tasks), level=self._level, margin=self._margin)
        corrected = Estimate()
        if self._by_seed and gain.spread.covers_runs and not math.isnan(self._test_to_train):
            wide = nadeau_bengio(contrast, self.single, self._test_to_train).half_width(self._level)
            corrected = Estimate(value, value - wide, value + wide)
        ratio = self._log_ratio(method, share, tasks)
        return replace(gain, log_ratio=ratio, corrected=corrected, **known)  # type: ignore[arg-type]

    def _improvements(self, method: str) -> np.ndarray:
        """In percent, of each task."""
        ours, theirs = self.means[method], self.means[self._baselines[method]]
        return 100 * self._signs * (ours - theirs) / np.abs(theirs)

    @property
    def _signs(self) -> np.ndarray:
        return np.array([self._scales[task].sign for task in self.tasks])

    def _contrast(self, method: str, share: np.ndarray) -> dict[str, np.ndarray]:
        """Derivatives of the improvement with respect to M of the method and of its baseline."""
        baseline = self._baselines[method]
        by_ours, by_theirs = derivatives(self.means[method], self.means[baseline], self._signs)
        return {method: _parts(by_ours, share), baseline: _parts(by_theirs, share)}

    def pair(self, one: str, other: str) -> Pair:
        """By how much the mean improvement of one exceeds that of another over the same baseline."""
        even = np.full(len(self.tasks), 1 / len(self.tasks))
        contrast: dict[str, np.ndarray] = {}
        gain = 0.0
        for method, sign in ((one, 1), (other, -1)):
            if self.asked(method):
                gain += sign * float(self._improvements(method).mean())
                for name, own in self._contrast(method, even).items():
                    contrast[name] = contrast.get(name, 0) + sign * own
        return Pair(gain, self._spread(contrast, self.tasks))

    def defined(self, method: str) -> bool:
        """Whether a method has a mean improvement, or needs none."""
        return not any(self._reasons.get(method, ()))

    def _log_ratio(self, method: str, share: np.ndarray, tasks: Sequence[str]) -> Estimate:
        baseline = self._baselines[method]
        ours, theirs = self.means[method], self.means[baseline]
        counted = share > 0
        if (ours[counted] <= 0).any() or (theirs[counted] <= 0).any():
            return Estimate()
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(_parts(100 * self._signs * np.log(ours / theirs), share).sum())
            contrast = {
                method: _parts(100 * self._signs / ours, share),
                baseline: _parts(-100 * self._signs / theirs, share),
            }
        return self._estimate(value, contrast, tasks)

    def _estimate(self, value: float, contrast: Mapping[str, np.ndarray], tasks: Sequence[str]) -> Estimate:
        half = self._spread(contrast, tasks).half_width(self._level)
        return Estimate(value, value - half, value + half)

    def _spread(self, contrast: Mapping[str, np.ndarray], tasks: Sequence[str]) -> Spread:
        """Of a contrast; a mean over tasks is known by the fewest groups that one of them has."""
        places = [self.tasks.index(task) for task in tasks]
        own = {method: coefficients[places] for method, coefficients in contrast.items()}
        single = {method: self.single[method][:, places] for method in own}
        drawn = {method: self._drawn[method][:, places] for method in own}
        groups = min(self._groups[task] for task in tasks)
        return spread_of(own, single, drawn, groups, paired=self._by_seed)

    def _runs_won(self, method: str, share: np.ndarray) -> float:
        """Share of the pairs of runs in which the method's is better, by the mean of relative improvements."""
        counted = share > 0
        ours, theirs = self.single[method][:, counted], self.single[self._baselines[method]][:, counted]
        gain = self._signs[counted] * (ours[:, None] - theirs[None])
        if counted.sum() > 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                gain = gain / np.abs(theirs)[None]
        return _won(gain.mean(-1))

    def _cases_won(self, method: str, task: str) -> float:
        """Share of the cases in which the method is better, mean over runs."""
        cases = self._values[task].by_case
        if cases is None:
            return math.nan
        return _won(self._scales[task].sign * (cases[method] - cases[self._baselines[method]]))

    def _undefined(self, method: str) -> list[str]:
        """Why there is no improvement, of each task; empty where there is one."""
        baseline = self._baselines[method]
        name, reasons = self._label(baseline), []
        for task, theirs, ours in zip(self.tasks, self.means[baseline], self.means[method], strict=True):
            if not (math.isfinite(theirs) and math.isfinite(ours)):
                reasons.append("undefined")
            elif theirs == 0:
                reasons.append(f"undefined: {name} is 0")
            else:
                reasons.append(f"undefined: {name} near 0" if self._near_zero(baseline, task) else "")
        return reasons

    def _near_zero(self, baseline: str, task: str) -> bool:
        """Whether M of a baseline is too near zero to be divided by; the same for all methods, so looked at once."""
        if (baseline, task) not in self._near:
            at, scale = self.tasks.index(task), self._scales[task]
            error = self._spread({baseline: np.eye(len(self.tasks))[at]}, [task]).error
            self._near[baseline, task] = near_zero(
                float(self.means[baseline][at]),
                error=error,
                higher_is_better=scale.higher_is_better,
                scale=scale.small,
            )
        return self._near[baseline, task]


def derivatives(ours: np.ndarray, theirs: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the improvement in percent, 100 s (M - B) / |B|, with respect to M and to B of each task.

    Args:
        ours: M, ``t``.
        theirs: B, ``t``.
        signs: +1 where higher is better, else -1.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        by_ours = 100 * signs / np.abs(theirs)
        return by_ours, -by_ours * ours / theirs


def _parts(values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Values times shares; where the share is nothing, nothing, whatever the value."""
    return np.where(share > 0, np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0) * share, 0.0)


def _won(gain: np.ndarray) -> float:
    """Share of what is above zero, ties counting one half; NaN where nothing is a number."""
    known = gain[np.isfinite(gain)]
    return float(((known > 0) + 0.5 * (known == 0)).mean()) if known.size else math.nan


def gain_of(value: float, spread: Spread, *, level: float, margin: float) -> Gain:
    """An improvement with its interval and, where that covers the runs, its probabilities; the verdict not given yet.

    Args:
        value: in percent.
        spread: its variance.
        level: of confidence.
        margin: of equivalence, in percent.
    """
    half, covered = spread.half_width(level), spread.covers_runs
    return Gain(
        value,
        value - half,
        value + half,
        p=spread.p_of(value) if covered else math.nan,
        p_equivalent=spread.p_beyond(value, margin) if covered else math.nan,
        spread=spread,
    )


def judged(gains: Sequence[Gain], *, level: float) -> list[Gain]:
    """Gains of one family with their verdicts, from probabilities adjusted for how many there are (Holm)."""
    differs, within = holm([gain.p for gain in gains]), holm([gain.p_equivalent for gain in gains])
    return [
        replace(
            gain,
            p_adjusted=p,
            p_equivalent_adjusted=q,
            verdict=NO_RATIO if gain.undefined else verdict_of(gain.improvement, p, q, level=level),
        )
        for gain, p, q in zip(gains, differs, within, strict=True)
    ]
