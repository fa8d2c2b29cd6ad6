"""Figures that only many cases together have: accuracy, AUC, calibration, R^2; with weights, for resampling.

Weights say how often each case was drawn, so that thousands of bootstrap samples are one matrix ``r n``, or one block
after the other: what is the same in all of them (which case is before which) is found once, by :func:`prepared`. NumPy
and SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crosstask.functional.areas import Ranking

Resampled = Callable[[np.ndarray], np.ndarray]
"""From weights ``r n`` to figures ``r k``."""
_CALIBRATION_BINS = 10
_BLOCK = 1 << 18  # weights at a time: 2 MB, which stays in the processor's cache
_AREAS_BLOCK = 1 << 21  # of areas, which go through them once
_SIDES: dict[str, tuple[int, ...]] = {
    "sensitivity": (0,),
    "specificity": (1,),
    "calibration_error": (),
    "brier": (),
    "r2": (),
}
LEAST_POSITIVES = 10
"""Positive cases below which a class is no part of a task's metric, unless asked."""
_ROUNDING = 1e-12  # variance below this share of the squares is none, but rounding


@dataclass(frozen=True)
class Cohort:
    """Image-level targets and predictions of several cases of one task.

    Attributes:
        target: ``n c``: 0 or 1 a class, or the quantity.
        prediction: ``n c``: probabilities, or the quantity.
        decision: ``n c``: 0 or 1 a class.
        present: ``n c``, bool: where there is a label; nothing else is looked at.
        exclusive: exactly one class is true (softmax). A case counts if every class is labelled, and one true.

    Raises:
        ValueError: the shapes differ, or are not ``n c``.
    """

    target: np.ndarray
    prediction: np.ndarray
    decision: np.ndarray
    present: np.ndarray
    exclusive: bool = False

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.target, self.prediction, self.decision, self.present)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 2:
            raise ValueError(f"target, prediction, decision and present must all be n c, not {shapes}")

    @property
    def labelled(self) -> np.ndarray:
        """Where a case counts for a class: ``n c``, bool."""
        present = np.asarray(self.present, dtype=bool)
        if not self.exclusive:
            return present
        whole = present.all(1, keepdims=True)
        return np.broadcast_to(whole & (np.where(whole, self.target, 0) > 0.5).any(1, keepdims=True), present.shape)


def cohort_metric(name: str, cohort: Cohort, weight: np.ndarray | None = None) -> np.ndarray:
    """A metric of a cohort, or of many resamplings of it.

    Args:
        name: a name of :data:`COHORT_METRICS`.
        cohort: ``n`` cases, ``c`` classes.
        weight: ``r n``, how often each case is in each resampling; None for every case once.

    Returns:
        ``r k``: a figure per class (k = c), or one of all classes together (k = 1); NaN where it is not defined, e.g. a
        sensitivity without a positive case. The mean over the defined ones is the metric of the task. ``r`` is 1
        without weights. In percent, but R^2 and the Brier score.

    Raises:
        KeyError: there is no such metric.
        ValueError: the weights are not ``r n``.
    """
    return prepared(name, cohort)(np.ones((1, len(cohort.target))) if weight is None else np.asarray(weight))


def prepared(name: str, cohort: Cohort, classes: Sequence[int] | None = None) -> Resampled:
    """A metric that is asked for block after block of resamplings: the function of their weights ``r n``.

    Weights may be float32, which holds whole numbers exactly to 16 million, and are quickest as the transpose of an
    array ``n r``: all that a case adds to the draws of a block is then together.

    Args:
        name: a name of :data:`COHORT_METRICS`.
        cohort: ``n`` cases, ``c`` classes.
        classes: of an AUC only these; all others are NaN.

    Raises:
        KeyError: there is no such metric.
        ValueError: (when called) the weights are not ``r n``.
    """
    metric: Resampled
    if name == "auc":
        rankings = _rankings(cohort, range(cohort.target.shape[1]) if classes is None else classes)
        metric, step = lambda block: _areas(rankings, cohort.target.shape[1], block), _AREAS_BLOCK
    else:
        formula, step = COHORT_METRICS[name], _BLOCK
        metric = lambda block: formula(cohort, block.astype(np.float64, copy=False))  # noqa: E731
    number = len(cohort.target)

    def figures(weight: np.ndarray) -> np.ndarray:
        if weight.ndim != 2 or weight.shape[1] != number:
            raise ValueError(f"weights must be r {number}, not {weight.shape}")
        rows = max(1, step // max(number, 1))
        blocks = [weight[start : start + rows] for start in range(0, max(len(weight), 1), rows)]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.concatenate([metric(block) for block in blocks])

    return figures


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Mean over the classes where a figure is defined: ``r k`` to ``r``; NaN where none is."""
    defined = np.isfinite(values)
    count = defined.sum(1)
    total = np.where(defined, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def class_counts(cohort: Cohort, group: Sequence[str] | None = None) -> np.ndarray:
    """How many cases are of each class, and how many are not: ``2 c``.

    Args:
        cohort: ``n`` cases, ``c`` classes.
        group: ``n``, which cases belong together: their groups are counted, since ten pictures of one lesion say hardly
            more of the class than one does. By default every case is one.
    """
    wanted = cohort.labelled & (np.where(cohort.labelled, cohort.target, 0) > 0.5)
    sides = np.stack([wanted, cohort.labelled & ~wanted])
    if group is None:
        return np.asarray(sides.sum(1))
    _, place = np.unique(np.asarray(group), return_inverse=True)
    return np.array([[len(np.unique(place[column])) for column in side.T] for side in sides])


def sides_of(name: str, *, exclusive: bool) -> tuple[int, ...]:
    """Which cases of a class a metric is made of: 0 for its positives, 1 for its negatives, as in :func:`class_counts`.

    None for what is made of all cases, whatever they are (calibration, Brier score, R^2). The negatives of a class that
    excludes others are the others' positives.
    """
    return _SIDES.get(name, (0,) if exclusive else (0, 1))


def comparable(name: str, cohort: Cohort, least: int = 1, counts: np.ndarray | None = None) -> np.ndarray:
    """For which classes a metric can tell predictors apart: ``k`` as in :func:`cohort_metric`, bool.

    It goes by the labels alone, so that it is the same for every predictor. Where the cases hold one class only, who
    always says so is right in all of them, and what mixes classes (accuracy, balanced accuracy, F1, AUC) says nothing.
    F1 counts of exclusive classes those that occur: else a method that names a class which is not there would be
    averaged over more classes than one that does not. Sensitivity and specificity stand for themselves, and what
    :func:`sides_of` names no cases for is always comparable.

    Args:
        name: a name of :data:`COHORT_METRICS`.
        cohort: the cases.
        least: positives (of classes that may go together also negatives) that a class must have to count.
        counts: ``2 c``, how many each class has; by default :func:`class_counts` of the cohort.
    """
    sides = sides_of(name, exclusive=cohort.exclusive)
    if not sides:
        return np.ones(cohort_metric(name, cohort).shape[1], dtype=bool)
    found = class_counts(cohort) if counts is None else counts
    enough = np.asarray((found[list(sides)] >= least).all(0))
    if not cohort.exclusive or name in _SIDES:
        return enough
    several = bool(enough.sum() > 1)
    return np.array([several]) if name in ("accuracy", "balanced_accuracy") else np.asarray(enough & several)


def task_metric(
    name: str,
    cohort: Cohort,
    weight: np.ndarray | None = None,
    *,
    least: int = 1,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """The metric of a task: its mean over the comparable classes, the same ones in every resampling.

    A resampling in which one of them is not drawn has no such mean, and is NaN: the mean over the others would be of
    another quantity, and an interval that mixes both one of neither. A rare class is missing from many resamplings (one
    with a single case from 37 %, with two from 13 %, with three from 5 %), so there may be too few left for an
    interval. To draw within classes instead would keep them all, but takes the shares of the classes for known, and a
    class with one case for one without chance.

    Args:
        name: a name of :data:`COHORT_METRICS`.
        cohort: ``n`` cases.
        weight: ``r n``, how often each case is in each resampling; None for every case once.
        least: see :func:`comparable`.
        counts: see :func:`comparable`.

    Returns:
        ``r``; NaN where it is not defined.
    """
    return prepared_task(name, cohort, least=least, counts=counts)(weight)


def prepared_task(
    name: str, cohort: Cohort, *, least: int = 1, counts: np.ndarray | None = None
) -> Callable[[np.ndarray | None], np.ndarray]:
    """:func:`task_metric` of one cohort, asked for block after block of resamplings; see :func:`prepared`."""
    counted = comparable(name, cohort, least, counts)
    if name == "balanced_accuracy" and cohort.exclusive:  # of itself a mean over whatever is drawn
        name, counted = "sensitivity", comparable("sensitivity", cohort, least, counts) & counted
    once = np.ones((1, len(cohort.target)))
    figures = prepared(name, cohort, np.flatnonzero(counted).tolist())
    counted = counted & np.isfinite(figures(once)[0])

    def metric(weight: np.ndarray | None) -> np.ndarray:
        drawn = once if weight is None else np.asarray(weight)
        values = figures(drawn)[:, counted]
        if name == "f1":
            values = np.where(_sums(cohort, drawn, cohort.target)[:, counted] > 0, values, np.nan)
        return values.mean(1) if counted.any() else np.full(len(values), np.nan)

    return metric


def _sums(cohort: Cohort, weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted sum over the labelled cases of values ``n c``: ``r c``."""
    return weight @ np.where(cohort.labelled, values, 0).astype(np.float64)


def sensitivity(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Share of a class's cases that are decided to be so."""
    return 100 * _sums(cohort, weight, cohort.target * cohort.decision) / _sums(cohort, weight, cohort.target)


def specificity(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Share of the cases without a class that are decided to be without it."""
    negative = 1 - cohort.target
    return 100 * _sums(cohort, weight, negative * (1 - cohort.decision)) / _sums(cohort, weight, negative)


def accuracy(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Share of right decisions: of the one class where classes exclude each other, else of each class."""
    if cohort.exclusive:
        hits = _sums(cohort, weight, cohort.target * cohort.decision).sum(1, keepdims=True)
        return 100 * hits / _sums(cohort, weight, cohort.target).sum(1, keepdims=True)
    right = (cohort.target > 0.5) == (cohort.decision > 0.5)
    return 100 * _sums(cohort, weight, right) / _sums(cohort, weight, np.ones_like(right))


def balanced_accuracy(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Mean sensitivity over the classes that occur; of each sigmoid the mean of sensitivity and specificity."""
    if cohort.exclusive:
        return mean_over_classes(sensitivity(cohort, weight))[:, None]
    return (sensitivity(cohort, weight) + specificity(cohort, weight)) / 2


def f1(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """F1 of each class; undefined where a class neither occurs nor is decided for."""
    hits = _sums(cohort, weight, cohort.target * cohort.decision)
    return 100 * 2 * hits / (_sums(cohort, weight, cohort.target) + _sums(cohort, weight, cohort.decision))


def auc(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class (against all others), ties counting one half."""
    number = cohort.target.shape[1]
    return _areas(_rankings(cohort, range(number)), number, weight)


def _rankings(cohort: Cohort, classes: Iterable[int]) -> dict[int, Ranking]:
    """The cases of each class in the order of its probability."""
    labelled, wanted = cohort.labelled, cohort.target > 0.5
    return {
        at: Ranking(
            cohort.prediction[:, at],
            np.flatnonzero(labelled[:, at] & wanted[:, at]),
            np.flatnonzero(labelled[:, at] & ~wanted[:, at]),
        )
        for at in classes
    }


def _areas(rankings: Mapping[int, Ranking], number: int, weight: np.ndarray) -> np.ndarray:
    """In percent, of each of so many classes; NaN of those without a ranking."""
    drawn = np.ascontiguousarray(weight.T)
    areas = np.full((len(weight), number), np.nan)
    for at, ranking in rankings.items():
        areas[:, at] = 100 * ranking.areas(drawn)
    return areas


def calibration_error(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Expected calibration error (Guo et al., ICML 2017) over ten equal bins of probability, freed of its bias.

    Of the most probable class and how often it is right, where classes exclude each other; else of each class and how
    often it is true.

    The mean distance between probability and truth in a bin is off by chance in few cases, and its absolute value only
    ever upward: 14 % for perfect probabilities of 50 cases. What chance adds is taken off, as in Kumar, Liang and Ma,
    NeurIPS 2019: the expected value of a folded normal less the distance that it is folded about. That distance is not
    known either, and the one that was found is too large itself (taking it leaves 9 of the 14 %); it is shrunk by
    its own error first, ``d max(0, 1 - (s / d)^2)``, which leaves 5 %, of 200 cases 2 % instead of 7 %. The price is a
    small true error that is shown too small: 7.4 % for 10 %, of 50 or of 200 cases. Not below 0.
    """
    if not cohort.exclusive:
        columns = zip(cohort.prediction.T, cohort.target.T, cohort.labelled.T, strict=True)
        return np.stack([_expected_error(*column, weight) for column in columns], axis=1)
    winner = cohort.prediction.argmax(1)[:, None]
    probability, true = (np.take_along_axis(values, winner, 1)[:, 0] for values in (cohort.prediction, cohort.target))
    return _expected_error(probability, true, cohort.labelled[:, 0], weight)[:, None]


def _expected_error(probability: np.ndarray, true: np.ndarray, labelled: np.ndarray, weight: np.ndarray) -> np.ndarray:
    probability, drawn = probability[labelled].astype(np.float64), weight[:, labelled]
    if np.isnan(probability).any():
        return np.full(len(weight), np.nan)
    bins = np.clip(probability * _CALIBRATION_BINS, 0, _CALIBRATION_BINS - 1).astype(int)
    inside = (bins[:, None] == np.arange(_CALIBRATION_BINS)).astype(np.float64)
    count = drawn @ inside
    cases = np.maximum(count, 1)
    expected, came = (drawn @ (inside * values[:, None]) / cases for values in (probability, true[labelled]))
    return expected_error_of_bins(count, expected, came)


def expected_error_of_bins(count: np.ndarray, expected: np.ndarray, came: np.ndarray) -> np.ndarray:
    """The calibration error of bins of probability: see :func:`calibration_error`.

    Args:
        count: cases in each bin, ``r b``.
        expected: their mean probability, 0 of an empty bin.
        came: the share of them that is true, 0 of an empty bin.

    Returns:
        ``r``, in percent.
    """
    cases = np.maximum(count, 1)
    # one more case that is as predicted: a bin whose cases are all true, or all false, is not without chance
    share = (cases * came + expected) / (cases + 1)
    found, error = np.abs(expected - came), np.sqrt(share * (1 - share) / cases)
    shrunk = found * np.maximum(0, 1 - (error / np.where(found > 0, found, 1)) ** 2)
    chance = _folded(shrunk, error) - shrunk
    return 100 * np.maximum(0, (count * (found - chance)).sum(1)) / count.sum(1)


def _folded(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Expected absolute value of a normal variable of this mean (not below 0) and standard deviation."""
    from scipy.special import ndtr

    ratio = mean / np.where(error > 0, error, 1)
    folded = error * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + mean * (2 * ndtr(ratio) - 1)
    return np.where(error > 0, folded, mean)


def brier(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Brier score: mean squared distance of the probabilities from what is true, 0 or 1; of unit 1, lower is better.

    Of each class from 0 to 1. Where classes exclude each other, one figure: the sum over the classes (G. W. Brier,
    Monthly Weather Review 78, 1950), from 0 to 2, which for two classes is twice that of either.
    """
    squares = _sums(cohort, weight, (cohort.prediction - cohort.target) ** 2)
    number = _sums(cohort, weight, np.ones(cohort.target.shape))
    return squares.sum(1, keepdims=True) / number[:, :1] if cohort.exclusive else squares / number


def r2(cohort: Cohort, weight: np.ndarray) -> np.ndarray:
    """Coefficient of determination: the share of the variance that the prediction explains; negative if it adds."""
    target, labelled = cohort.target.astype(np.float64), cohort.labelled
    middle = np.where(labelled, target, 0).sum(0) / np.maximum(labelled.sum(0), 1)
    target = target - middle  # or the squares of a distant mean would swallow the variance
    squares = _sums(cohort, weight, target**2)
    spread = squares - _sums(cohort, weight, target) ** 2 / _sums(cohort, weight, labelled)
    error = _sums(cohort, weight, (cohort.prediction - middle - target) ** 2)
    return np.where(spread > _ROUNDING * squares, 1 - error / spread, np.nan)


COHORT_METRICS: dict[str, Callable[[Cohort, np.ndarray], np.ndarray]] = {
    function.__name__: function
    for function in (
        accuracy,
        balanced_accuracy,
        f1,
        auc,
        sensitivity,
        specificity,
        calibration_error,
        brier,
        r2,
    )
}
"""Name in tables -> formula."""


def confusion_matrix(cohort: Cohort) -> np.ndarray:
    """How many cases of each class (rows) were decided to be of each class (columns): ``c c``, int64.

    Raises:
        ValueError: the classes do not exclude each other.
    """
    if not cohort.exclusive:
        raise ValueError("a confusion matrix needs classes that exclude each other")
    true, decided = (np.where(cohort.labelled, values, 0) > 0.5 for values in (cohort.target, cohort.decision))
    return true.astype(np.int64).T @ decided.astype(np.int64)


def best_threshold(target: np.ndarray, probability: np.ndarray) -> float:
    """Threshold of highest balanced accuracy (Youden's index) on some cases: ``n`` each.

    Halfway between two neighbouring probabilities; of equally good ones that nearest one half. 0.5 without a positive
    or a negative case. What is above the threshold is decided to be positive.
    """
    probability = np.asarray(probability, dtype=np.float64)
    usable = ~np.isnan(probability)
    true, probability = np.asarray(target)[usable] > 0.5, probability[usable]
    if true.all() or not true.any():
        return 0.5
    values, place = np.unique(probability, return_inverse=True)
    missed, right = (np.bincount(place[side], minlength=len(values)).cumsum() for side in (true, ~true))
    lower, upper = np.r_[0.0, values], np.r_[values, 1.0]
    middle = (lower + upper) / 2
    candidates = np.where(middle < upper, middle, lower)
    quality = np.r_[0.0, right / right[-1] - missed / missed[-1]]
    if values[0] <= 0:  # no threshold lies below
        candidates, quality = candidates[1:], quality[1:]
    best = np.flatnonzero(quality >= quality.max() - _ROUNDING)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])
