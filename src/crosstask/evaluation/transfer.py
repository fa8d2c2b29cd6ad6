"""What the tasks of all runs of a benchmark did to each other, with what may be said of it. No torch here.

A run's figure is the mean over all steps that were looked at. Its interval is that over the runs (Student's t): steps
of one run are no independent trials. Whether one can be told from 0 is adjusted (Holm) for the number of figures of its
kind that a method has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations

import numpy as np
import pandas as pd

from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.contrast import holm
from crosstask.evaluation.kept import transfer_of
from crosstask.functional.improvement import LEVEL
from crosstask.methods import variant_of
from crosstask.runs import RunSpec
from crosstask.transfer import AFFINITY, COSINE, NORM, WEIGHT, WHOLE

COLUMNS = ("method", "seed", "epoch", "figure", "part", "task", "other", "value", "steps")
SUMMARY = ("method", "figure", "part", "task", "other", "value", "low", "high", "p", "seeds", "steps")
_OF = ["method", "figure", "part", "task", "other"]
_TESTED = (COSINE, AFFINITY)
_FIRST = ("hps", "ctan", "mtan")
"""Architectures in the order in which one is taken for what is to be explained."""


def collect_transfer(specs: Sequence[RunSpec]) -> pd.DataFrame:
    """A row a figure of each epoch of each run, in the order of the runs; empty where nothing was looked at."""
    rows = [
        (spec.key, spec.seed, one.epoch, one.kind, one.part, one.task, one.other, one.value, one.steps)
        for spec in specs
        for one in transfer_of(spec.folder) or ()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def of_runs(table: pd.DataFrame) -> pd.DataFrame:
    """The same a row a figure of each run: the mean over its epochs, each as often as it has steps."""
    weighted = table.assign(value=table["value"] * table["steps"])
    sums = weighted.groupby([*_OF, "seed"], sort=False, as_index=False)[["value", "steps"]].sum()
    return sums.assign(value=sums["value"] / sums["steps"])


def summarise(table: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """A row a figure of each method: mean over its runs, interval, and adjusted probability of such a one by chance.

    Interval and probability are NaN with one run; the probability is that of cosines and affinities between two tasks.

    Args:
        table: by :func:`collect_transfer`.
        level: of the intervals.
    """
    rows = [
        (*key, *_mean(own["value"].to_numpy(), level), len(own), int(own["steps"].sum()))
        for key, own in of_runs(table).groupby(_OF, sort=False)
    ]
    found = pd.DataFrame(rows, columns=list(SUMMARY))
    found.loc[~found["figure"].isin(_TESTED) | (found["task"] == found["other"]), "p"] = math.nan
    for _, own in found[found["p"].notna()].groupby(["method", "figure"], sort=False):
        found.loc[own.index, "p"] = holm(own["p"].tolist())
    return found


def _mean(values: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """Mean, lower and upper end of its interval, and the probability of such a mean where it is 0."""
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan, math.nan
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return mean, mean, mean, float(mean == 0)
    from scipy.special import stdtr, stdtrit

    degrees = len(values) - 1
    half = float(stdtrit(degrees, (1 + level) / 2)) * error
    return mean, mean - half, mean + half, 2 * float(stdtr(degrees, -abs(mean) / error))


@dataclass(frozen=True)
class Mean:
    """A row of :func:`summarise` of one method and figure.

    Attributes:
        part: of the network, or empty.
        task: the task, or the first of two.
        other: the other, or empty.
        value: mean over runs.
        low: lower end of its interval; NaN with one run.
        high: upper end.
        p: adjusted probability of such a mean where it is 0; NaN where it is not asked.
        seeds: runs behind it.
        steps: behind it, of all runs.
    """

    part: str
    task: str
    other: str
    value: float
    low: float
    high: float
    p: float
    seeds: int
    steps: int

    @property
    def pair(self) -> tuple[str, str]:
        """Both tasks."""
        return self.task, self.other


@dataclass(frozen=True)
class Transfer:
    """What the tasks did to each other under each method, and what became of it.

    Attributes:
        figures: of every epoch of every run; see :func:`collect_transfer`.
        references: keys of the methods that are to be explained, one a variant: with equal weights, if there is one.
        against: ``{reference: the other methods of several tasks, compared with it}``, where there are any.
        gates: ``{method: lowest and highest gate}``, means over runs.
        level: of confidence of intervals and words.
    """

    figures: pd.DataFrame
    references: tuple[str, ...] = ()
    against: Mapping[str, Comparison] = field(default_factory=dict)
    gates: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    level: float = LEVEL
    summary: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", summarise(self.figures, self.level))

    @property
    def methods(self) -> list[str]:
        """Keys of the methods that were looked at."""
        return list(dict.fromkeys(self.figures["method"]))

    def of(self, method: str, figure: str) -> list[Mean]:
        """The means of one method and figure."""
        rows = self.summary[(self.summary["method"] == method) & (self.summary["figure"] == figure)]
        return [Mean(*row) for row in rows[[one.name for one in fields(Mean)]].itertuples(index=False, name=None)]

    def told(self, method: str, figure: str) -> list[Mean]:
        """Those of them that can be told from 0."""
        return [one for one in self.of(method, figure) if one.p <= 1 - self.level]

    def longer(self, method: str) -> list[Mean]:
        """How many times as long as a task's own gradient another's is on what they share, where it is surely longer.

        A gradient is as long as its loss's weight makes it. The mean over runs is the geometric one; a ratio is surely
        above 1 by the test of its logarithm, adjusted (Holm) for the number of pairs.

        Returns:
            A mean a pair: ``task`` is the one with the shorter gradient, ``other`` the one with the longer.
        """
        logs = _lengths(self.figures[self.figures["method"] == method])
        found = []
        for one, other in combinations(logs.columns, 2):
            both = (logs[other] - logs[one]).dropna()
            if len(both) > 1:
                task, longer, sign = (one, other, 1) if both.mean() > 0 else (other, one, -1)
                *ends, p = _mean(sign * both.to_numpy(), self.level)
                value, low, high = (math.exp(end) for end in ends)
                found.append(Mean(WHOLE, task, longer, value, low, high, p, len(both), 0))
        adjusted = holm([one.p for one in found])
        return [replace(one, p=p) for one, p in zip(found, adjusted, strict=True) if p <= 1 - self.level]


def _lengths(figures: pd.DataFrame) -> pd.DataFrame:
    """Logarithm of the length of each task's weighted gradient on all that is shared: a row a run, a column a task."""
    means = of_runs(figures)
    norms = means[(means["figure"] == NORM) & (means["part"] == WHOLE)]
    norm, weight = (
        rows.pivot(index="seed", columns="task", values="value") for rows in (norms, means[means["figure"] == WEIGHT])
    )
    lengths = (norm * weight.abs())[norm.columns]
    return lengths.where(lengths > 0).map(math.log)


def references_of(specs: Sequence[RunSpec], looked_at: Sequence[str]) -> tuple[str, ...]:
    """The method of each variant that is to be explained: hard sharing with equal weights, or what is next to it.

    Args:
        specs: the runs.
        looked_at: keys of the methods that have figures.
    """
    found: dict[str, RunSpec] = {}
    for spec in {spec.key: spec for spec in specs}.values():
        if spec.key not in looked_at:
            continue
        before = found.get(variant_of(spec.key))
        if before is None or _rank(spec) < _rank(before):
            found[variant_of(spec.key)] = spec
    return tuple(spec.key for spec in found.values())


def _rank(spec: RunSpec) -> tuple[bool, int]:
    name = spec.method.architecture
    return spec.weighting != "equal", _FIRST.index(name) if name in _FIRST else len(_FIRST)


def gates_of(readings: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Lowest and highest gate of each method that has some.

    Args:
        readings: by :func:`crosstask.evaluation.readings.collect_readings`.
    """
    gates = readings[readings["reading"] == "Gates"]
    means = gates.groupby(["method", "row", "column"], sort=False, as_index=False)["value"].mean()
    return {str(key): (float(own["value"].min()), float(own["value"].max())) for key, own in means.groupby("method")}
