"""Classification: what a case as a whole is, at image level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crosstask import functional
from crosstask.errors import InputError
from crosstask.functional.class_balance import effective_number_weights, effective_positive_weight
from crosstask.functional.cohort import best_threshold
from crosstask.functional.even_classes import even_class_thresholds
from crosstask.tasks.base import Head, Metric, Task
from crosstask.tasks.numbers import number_of, positive_numbers

if TYPE_CHECKING:
    import torch

_LOWEST_PRIOR = 1e-3
_BINS = 1024  # of the log odds, since the probabilities of a rare class all lie near 0
_HIGHEST_LOGIT = 14.0
_BESIDE = ("sensitivity", "specificity", "calibration_error", "brier")
_METRICS = {
    "softmax": ("balanced_accuracy", "accuracy", "f1", "auc", *_BESIDE),
    "sigmoid": ("auc", "balanced_accuracy", "accuracy", "f1", *_BESIDE),
}
_LOWER_IS_BETTER = ("calibration_error", "brier")
_UNITS = {"brier": ""}


class ClassificationTask(Task):
    """Findings that may go together, one sigmoid each (one class: binary); or, with ``exclusive``, one softmax.

    Loss: cross-entropy (Kim et al. 2023, Table 1) or focal loss, each class weighted if wanted. M: balanced accuracy
    with a softmax, and the area under the ROC curve with sigmoids, which needs no threshold; ``measure`` names another.
    All metrics are of many cases together, in percent (the Brier score of unit 1). With sigmoids a class is positive
    above its threshold, which is tuned on validation cases; with a softmax the most probable class is decided for, or
    where ``balanced`` is set the one that would be, were all classes as frequent.

    Args:
        name: key of the task.
        array: case array without spatial axes, one channel a class, 0 or 1.
        classes: its channels.
        exclusive: exactly one class is true. A case counts only where every class is labelled.
        class_weights: one weight a class; or ``balanced``: inverse to the class's share of the training cases; or
            ``{effective_number: beta}``: inverse to the effective number of its training cases (Cui et al. 2019), with
            beta from 0 (all alike) to below 1 (as ``balanced``, nearly). With sigmoids it is the weight of the
            positive cases against the negative.
        focal: gamma of the focal loss (Lin et al. 2017), which takes the place of the cross-entropy.
        measure: the metric that is M.
        scored_array: see :class:`~crosstask.tasks.base.Task`.

    Raises:
        InputError: too few classes, weights that do not fit, or a metric that there is not.
    """

    kind = "classification"
    level = "image"
    picture = "text"
    sums_over_batch = True
    loss_options: ClassVar[tuple[str, ...]] = ("class_weights", "focal")

    def __init__(
        self,
        name: str,
        array: str,
        classes: Sequence[str],
        *,
        exclusive: bool,
        class_weights: str | Sequence[float] | Mapping[str, float] | None = None,
        measure: str | None = None,
        scored_array: str | None = None,
        focal: float | None = None,
    ) -> None:
        super().__init__(name, array, classes, scored_array=scored_array)
        self.exclusive = exclusive
        self.values = "softmax" if exclusive else "sigmoid"
        if len(self.classes) < 1 + exclusive:
            raise InputError(f"task {name!r}: {len(self.classes)} classes are too few; give at least {1 + exclusive}")
        known = _METRICS[self.values]
        if measure is not None and measure not in known:
            raise InputError(f"measure: there is no {measure!r}; one of {', '.join(known)}")
        self.measure = measure or known[0]
        self._given = _checked_weights(class_weights, len(self.classes))
        self.focal = None if focal is None else number_of("focal", focal, least=0)
        self._prior: tuple[float, ...] | None = None
        self._cases: tuple[tuple[float, float], ...] | None = None
        self._thresholds = (0.5,) * len(self.classes)

    def arguments(self) -> dict[str, Any]:
        """Those of the constructor; weights of classes as they were given."""
        given = list(self._given) if isinstance(self._given, tuple) else self._given
        return {**super().arguments(), "class_weights": given}

    def head(self) -> Head:
        """One channel a class, starting at the weighted prior: the lowest cross-entropy without a look at the image."""
        if self._prior is None:
            return Head("image", len(self.classes), values=self.values)
        odds = self._prior if self.exclusive else tuple(p / (1 - p) for p in self._prior)
        bias = (math.log(odd * weight) for odd, weight in zip(odds, self.class_weights, strict=True))
        return Head("image", len(self.classes), tuple(bias), self.values)

    def fit(self, statistics: Mapping[str, Any]) -> None:
        """Take each class's share of the labelled training cases as its prior.

        A class that excludes the others may be rare enough to be in no training case.

        Raises:
            InputError: a class is labelled in no training case; a class with a sigmoid is true in none or in all; or
                fewer than two classes with a softmax occur.
        """
        occurring = sum(statistics[name]["positive"] > 0 for name in self.classes)
        for name in self.classes:
            count, positive = statistics[name]["count"], statistics[name]["positive"]
            fault = "is labelled" if not count else ""
            if not fault and not positive and (not self.exclusive or occurring < 2):
                fault = "is positive"
            if not fault and not self.exclusive and positive == count:
                fault = "is negative"
            if fault:
                raise InputError(
                    f"task {self.name!r}: {name!r} {fault} in no training case; leave the class out, or give cases"
                )
        shares = [statistics[name]["positive"] / statistics[name]["count"] for name in self.classes]
        # exclusive classes may be only some of those of the data set
        whole = sum(shares) if self.exclusive else 1.0
        shares = [min(max(share / whole, _LOWEST_PRIOR), 1 - _LOWEST_PRIOR) for share in shares]
        whole = sum(shares) if self.exclusive else 1.0
        self._prior = tuple(share / whole for share in shares)
        labelled = [(float(statistics[name]["positive"]), float(statistics[name]["count"])) for name in self.classes]
        self._cases = tuple((positive, count - positive) for positive, count in labelled)

    def state(self) -> dict[str, Any]:
        """The priors, and where weights follow from them each class's positive and negative cases."""
        state: dict[str, Any] = {"prior": None if self._prior is None else list(self._prior)}
        if isinstance(self._given, dict):
            state["cases"] = None if self._cases is None else [list(pair) for pair in self._cases]
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what was learned."""
        self._prior = None if state["prior"] is None else tuple(state["prior"])
        if (cases := state.get("cases")) is not None:
            self._cases = tuple((positive, negative) for positive, negative in cases)

    @property
    def class_weights(self) -> tuple[float, ...]:
        """Weight of each class in the loss: 1 by default."""
        if isinstance(self._given, dict):
            return self._effective(self._given["effective_number"])
        if not isinstance(self._given, str):
            return self._given or (1.0,) * len(self.classes)
        prior = self._prior or self._even
        if self.exclusive:
            return tuple(1 / (len(prior) * p) for p in prior)
        return tuple((1 - p) / p for p in prior)

    def _effective(self, beta: float) -> tuple[float, ...]:
        """Weights by effective numbers of cases; 1 of a task that has seen no case."""
        if self._cases is None:
            return (1.0,) * len(self.classes)
        if self.exclusive:
            return effective_number_weights([positive for positive, _ in self._cases], beta)
        return tuple(effective_positive_weight(positive, negative, beta) for positive, negative in self._cases)

    @property
    def _even(self) -> tuple[float, ...]:
        """The prior of a task that has seen no case."""
        return (1 / len(self.classes) if self.exclusive else 0.5,) * len(self.classes)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Cross-entropy or focal loss, mean over the labels that are present.

        With a softmax it is the mean that the weights weigh.
        """
        import torch

        output, target = output.float(), target.float()
        weight = output.new_tensor(self.class_weights)
        if self.exclusive:
            weights = target * weight * present.all(1, keepdim=True)
            if self.focal:
                each = functional.focal_softmax_cross_entropy(output, target, self.focal) * weights.sum(1)
            else:
                each = -output.log_softmax(1) * weights
            added, total = functional.over_batch(torch.stack([each.sum(), weights.sum()]))
            return added / (total + (total == 0))
        each = functional.focal_cross_entropy(output, target, self.focal or 0.0, weight)
        return functional.batch_mean(each, present)

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Probability of each class."""
        return output.float().softmax(1) if self.exclusive else output.float().sigmoid()

    def tally(
        self, prediction: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """With a softmax hits and cases per class; with sigmoids histograms of the negative and positive log odds."""
        wanted = target > 0.5
        if self.exclusive:
            true = wanted & present.all(1, keepdim=True)
            hit = prediction.argmax(1, keepdim=True) == wanted.int().argmax(1, keepdim=True)
            sums = prediction.new_zeros((2, len(self.classes))).double()
            sums[0], sums[1] = (true & hit).sum(0), true.sum(0)
            return sums
        scaled = (prediction.double().logit(eps=1e-7) / _HIGHEST_LOGIT + 1) * (_BINS / 2)
        bins = scaled.long().clamp(0, _BINS - 1)
        channel = bins.new_tensor(range(len(self.classes))).expand_as(bins)
        places = (wanted * len(self.classes) + channel) * _BINS + bins
        counts = places[present].bincount(minlength=2 * len(self.classes) * _BINS)
        return counts.reshape(2, len(self.classes), _BINS).double()

    def skill(self, tally: torch.Tensor) -> float:
        """Balanced accuracy (softmax) or AUC (sigmoid), stretched so that guessing is 0; mean over classes."""
        if self.exclusive:
            hits, cases = tally
            seen = cases > 0
            if int(seen.sum()) < 2:
                return math.nan
            chance = 1 / int(seen.sum())
            return (float((hits[seen] / cases[seen]).mean()) - chance) / (1 - chance)
        negative, positive = tally
        below = negative.cumsum(1) - 0.5 * negative
        pairs = positive.sum(1) * negative.sum(1)
        seen = pairs > 0
        return float((2 * (positive * below).sum(1)[seen] / pairs[seen] - 1).mean()) if bool(seen.any()) else math.nan

    def never_predicted(self, tally: torch.Tensor) -> tuple[str, ...]:
        """Of classes that exclude each other those no case of which is recognised as the most probable.

        Where thresholds decide, as with sigmoids, they are chosen later, on whole cases, and none is told of here.
        """
        if not self.exclusive or self.balanced:
            return ()
        hits, cases = tally.tolist()
        return tuple(name for name, hit, there in zip(self.classes, hits, cases, strict=True) if there and not hit)

    def constant(self, shape: tuple[int, ...], region: np.ndarray | None) -> np.ndarray:
        """The classes' shares of the training cases."""
        return np.array(self._prior or self._even, dtype=np.float32)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Those that were chosen, and until then 0.5; of a softmax that decides for the most probable class none."""
        return None if self.exclusive and not self.balanced else self._thresholds

    @thresholds.setter
    def thresholds(self, values: Sequence[float]) -> None:
        self._refuse_thresholds_of_the_most_probable()
        if len(values) != len(self.classes):
            raise ValueError(f"task {self.name!r}: {len(values)} thresholds for {len(self.classes)} classes")
        self._thresholds = tuple(float(value) for value in values)

    def _refuse_thresholds_of_the_most_probable(self) -> None:
        if self.exclusive and not self.balanced:
            raise AttributeError(f"task {self.name!r} decides for the most probable class, by no threshold")

    def choose_thresholds(self, target: np.ndarray, prediction: np.ndarray, present: np.ndarray) -> tuple[float, ...]:
        """Of sigmoids those of highest balanced accuracy; 0.5 where the cases have no positive or no negative.

        Of a softmax those by which each class counts alike; see
        :func:`~crosstask.functional.even_classes.even_class_thresholds`. A case without a label has no say in them.

        They are given back and not taken: set :attr:`thresholds` to take them.
        """
        self._refuse_thresholds_of_the_most_probable()
        if self.exclusive:
            labelled = present.all(1)
            return even_class_thresholds(target[labelled], prediction[labelled])
        return tuple(
            best_threshold(target[present[:, index], index], prediction[present[:, index], index])
            for index in range(len(self.classes))
        )

    def decide(self, prediction: np.ndarray) -> np.ndarray:
        """One-hot of the class of a softmax that is decided for, or which classes are above their thresholds."""
        if self.exclusive:
            ratio = prediction / np.asarray(self._thresholds, dtype=np.float64) if self.balanced else prediction
            return np.eye(len(self.classes), dtype=np.float32)[ratio.argmax(-1)]
        # in double precision, or a threshold between two neighbours of single precision would fall on one of them
        return (prediction > np.asarray(self._thresholds, dtype=np.float64)).astype(np.float32)

    def metrics(self) -> tuple[Metric, ...]:
        """All of them of many cases together, M first."""
        names = sorted(_METRICS[self.values], key=lambda name: name != self.measure)
        return tuple(Metric(name, _UNITS.get(name, "%"), name not in _LOWER_IS_BETTER, of="cohort") for name in names)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, present: np.ndarray, region: np.ndarray | None
    ) -> list[tuple[str, str, float]]:
        """None: one case alone has no such figure."""
        return []


def _checked_weights(weights: object, count: int) -> tuple[float, ...] | str | dict[str, float] | None:
    if weights is None or weights == "balanced":
        return None if weights is None else "balanced"
    if isinstance(weights, Mapping) and list(weights) == ["effective_number"]:
        beta = number_of("class_weights.effective_number", weights["effective_number"], least=0, below=1)
        return {"effective_number": beta}
    given = positive_numbers(weights, count)
    if given is None:
        raise InputError(
            f"class_weights: {weights!r} is not accepted; give balanced, or {count} positive numbers, or "
            "{effective_number: 0.999}"
        )
    return given
