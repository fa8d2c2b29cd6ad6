"""Segmentation: one mask per class, at pixel level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from crosstask import functional
from crosstask.errors import InputError
from crosstask.functional.dice import dice
from crosstask.tasks.base import Head, Metric, Task
from crosstask.tasks.numbers import number_of, positive_numbers

if TYPE_CHECKING:
    import torch

_LOWEST_PRIOR = 1e-4
_SQUARE_ROOT = "square_root"


class SegmentationTask(Task):
    """Structures that may overlap, one sigmoid each; or, with ``exclusive``, one softmax over background and classes.

    Loss: combo loss, 0.3 Dice and 0.7 cross-entropy (Kim et al. 2023, Table 1), or by option others of its family. M:
    Dice, mean over classes and cases.

    Args:
        name: key of the task.
        array: case array with one channel per contoured structure, 0 or 1.
        classes: structures to predict.
        exclusive: the classes never overlap: softmax with a background channel of its own. A sample counts only where
            every class is labelled: an unlabelled structure could be anywhere in the background.
        dice_weight: weight of the Dice loss.
        cross_entropy_weight: weight of the cross-entropy.
        threshold: probability above which a voxel belongs to a class (sigmoid only).
        dice: ``batch``: the Dice of the loss is of all labelled samples of a batch together; ``sample``: of each, and
            the mean is taken.
        tversky: weights of false positives and false negatives in Tversky's index, which takes the place of Dice.
        focal: gamma of the focal loss, which takes the place of the cross-entropy.
        class_weights: what a voxel of each class weighs in the cross-entropy, where one of none weighs 1: one number a
            class; or ``square_root``: the root of all voxels without the class over those with it, in the training
            cases, which is half-way (by factors) to classes that weigh as much as what is around them. The outputs
            start at the weighted prior, also where the cross-entropy itself weighs 0.

    Raises:
        InputError: an option that is none, or that does nothing beside the others.
    """

    kind = "segmentation"
    level = "pixel"
    values = "sigmoid"
    picture = "contours"
    sums_over_batch = True
    loss_options: ClassVar[tuple[str, ...]] = (
        "dice",
        "tversky",
        "focal",
        "dice_weight",
        "cross_entropy_weight",
        "class_weights",
    )

    def __init__(
        self,
        name: str,
        array: str,
        classes: Sequence[str],
        *,
        exclusive: bool = False,
        dice_weight: float = 0.3,
        cross_entropy_weight: float = 0.7,
        threshold: float = 0.5,
        dice: Literal["batch", "sample"] = "batch",
        tversky: Sequence[float] | None = None,
        focal: float | None = None,
        class_weights: Literal["square_root"] | Sequence[float] | None = None,
    ) -> None:
        super().__init__(name, array, classes)
        self.exclusive = exclusive
        self.dice_weight = number_of("dice_weight", dice_weight, least=0)
        self.cross_entropy_weight = number_of("cross_entropy_weight", cross_entropy_weight, least=0)
        if not self.dice_weight + self.cross_entropy_weight > 0:
            raise InputError("dice_weight and cross_entropy_weight are both 0, so there is no loss; give one of them")
        self.threshold = threshold
        if dice not in ("batch", "sample"):
            raise InputError(f"dice: {dice!r} is not accepted; give batch or sample")
        self.dice = dice
        self.tversky = None if tversky is None else _checked_tversky(tversky)
        self.focal = None if focal is None else number_of("focal", focal, least=0)
        self._given = _checked_weights(class_weights, len(self.classes))
        self._refuse_what_does_nothing()
        self._prior: tuple[float, ...] | None = None

    def _refuse_what_does_nothing(self) -> None:
        """Refuse a form of a term that has no weight, and a threshold where the most probable class is taken."""
        for option, given, weight in (
            ("tversky", self.tversky is not None, "dice_weight"),
            ("dice", self.dice != "batch", "dice_weight"),
            ("focal", bool(self.focal), "cross_entropy_weight"),
        ):
            if given and not getattr(self, weight):
                raise InputError(f"{option}: does nothing where {weight} is 0; leave one of them out")
        if self.exclusive and self.threshold != 0.5:
            raise InputError("threshold: does nothing where classes are exclusive; leave one of them out")

    def arguments(self) -> dict[str, Any]:
        """Those of the constructor; weights of classes as they were given."""
        given = list(self._given) if isinstance(self._given, tuple) else self._given
        return {**super().arguments(), "class_weights": given}

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """What a voxel of each class weighs in the cross-entropy; None where nothing but 1 was asked for."""
        if not isinstance(self._given, str):
            return self._given
        if self._prior is None:
            return (1.0,) * len(self.classes)
        return tuple(((1 - p) / p) ** 0.5 for p in self._prior)

    def head(self) -> Head:
        """One channel a class, and one more for the background where the classes exclude each other.

        They start at the lowest cross-entropy without a look at the image: the weighted prior.
        """
        if self._prior is None:
            return Head("pixel", len(self.classes) + self.exclusive, values="softmax" if self.exclusive else "sigmoid")
        weights = self.class_weights or (1.0,) * len(self.classes)
        weighted = [p * weight for p, weight in zip(self._prior, weights, strict=True)]
        if self.exclusive:
            background = max(1 - sum(self._prior), _LOWEST_PRIOR)
            return Head("pixel", len(self.classes) + 1, tuple(math.log(p) for p in (background, *weighted)), "softmax")
        bias = tuple(math.log(w / (1 - p)) for w, p in zip(weighted, self._prior, strict=True))
        return Head("pixel", len(self.classes), bias, "sigmoid")

    def fit(self, statistics: Mapping[str, Any]) -> None:
        """Take each class's share of the labelled voxels of the training cases as its prior.

        Raises:
            InputError: a class is labelled in no training case.
        """
        unlabelled = [name for name in self.classes if not statistics[name]["count"]]
        if unlabelled:
            raise InputError(
                f"task {self.name!r}: no training case has {unlabelled[0]!r} labelled; leave the class out or give "
                "cases that have it"
            )
        shares = [statistics[name]["positive"] / statistics[name]["count"] for name in self.classes]
        self._prior = tuple(min(max(share, _LOWEST_PRIOR), 1 - _LOWEST_PRIOR) for share in shares)

    def state(self) -> dict[str, Any]:
        """The priors."""
        return {"prior": None if self._prior is None else list(self._prior)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back the priors."""
        self._prior = None if state["prior"] is None else tuple(state["prior"])

    @property
    def foreground(self) -> tuple[str, ...]:
        """Every class: each may be on few slices."""
        return self.classes

    def resized(self, target: torch.Tensor) -> torch.Tensor:
        """A mask again: a voxel belongs to what covers more than half of it."""
        return (target > 0.5).float()

    @property
    def needs_every_label(self) -> bool:
        """With a softmax, as an unlabelled structure could be anywhere in the background."""
        return self.exclusive

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Combo loss over the classes that are labelled; the region does not matter to masks."""
        weights = {"dice_weight": self.dice_weight, "cross_entropy_weight": self.cross_entropy_weight}
        form = functional.ComboForm(self.dice, self.tversky, self.focal or 0.0, self.class_weights)
        if not self.exclusive:
            return functional.combo_loss(output, target, present=present, form=form, **weights)
        return functional.softmax_combo_loss(output, target, present=present.all(1), form=form, **weights)

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """Probability of each class, the background left out."""
        return output.float().softmax(1)[:, 1:] if self.exclusive else output.float().sigmoid()

    def tally(
        self, prediction: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Overlap, size of both masks together, and size of the target, per class."""
        if self.exclusive:
            background = 1 - prediction.sum(1, keepdim=True)
            mask = (prediction >= prediction.amax(1, keepdim=True)) & (prediction > background)
        else:
            mask = prediction > self.threshold
        wanted = target > 0.5
        overlap = (mask & wanted).flatten(2).sum(2)
        size = wanted.flatten(2).sum(2)
        total = mask.flatten(2).sum(2) + size
        sums = total.new_zeros((3, total.shape[1])).double()
        for row, values in enumerate((overlap, total, size)):
            sums[row] = (values * present).sum(0)
        return sums

    def skill(self, tally: torch.Tensor) -> float:
        """Dice over all validation samples together, mean over classes; an empty mask has 0."""
        overlap, total, _ = tally
        seen = total > 0
        return float((2 * overlap[seen] / total[seen]).mean()) if bool(seen.any()) else math.nan

    def never_predicted(self, tally: torch.Tensor) -> tuple[str, ...]:
        """Structures of which no voxel is found, though there are some."""
        overlap, _, size = tally.tolist()
        return tuple(
            name for name, found, there in zip(self.classes, overlap, size, strict=True) if there and not found
        )

    def constant(self, shape: tuple[int, ...], region: np.ndarray | None) -> np.ndarray:
        """No voxel belongs to any class."""
        return np.zeros((len(self.classes), *shape), dtype=np.float32)

    def to_masks(self, probability: np.ndarray) -> np.ndarray:
        """Masks ``c *s`` (uint8) of probabilities ``c *s``."""
        if not self.exclusive:
            return (probability > self.threshold).astype(np.uint8)
        background = 1 - probability.sum(0, keepdims=True)
        winner = np.concatenate([background, probability]).argmax(0)
        return np.stack([winner == index + 1 for index in range(len(self.classes))]).astype(np.uint8)

    def margins(self, probability: np.ndarray) -> np.ndarray:
        """How far a class is from being decided otherwise, ``c *s``: above 0 where :meth:`to_masks` has a voxel.

        The distance to the threshold; of classes that exclude each other, to the most probable of the others and the
        background.
        """
        if not self.exclusive:
            return probability - self.threshold
        background = 1 - probability.sum(0, keepdims=True)
        second, first = np.partition(np.concatenate([background, probability]), (-2, -1), axis=0)[-2:]
        return np.asarray(probability - np.where(probability == first, second, first))

    def metrics(self) -> tuple[Metric, ...]:
        """Dice per class and case, in percent as in the papers."""
        return (Metric("dice", "%", higher_is_better=True),)

    def score(
        self, prediction: np.ndarray, target: np.ndarray, present: np.ndarray, region: np.ndarray | None
    ) -> list[tuple[str, str, float]]:
        """Dice of every labelled class."""
        masks = self.to_masks(prediction)
        return [
            (name, "dice", 100 * dice(masks[index], target[index]))
            for index, name in enumerate(self.classes)
            if present[index]
        ]


def _checked_tversky(weights: Sequence[float]) -> tuple[float, float]:
    if isinstance(weights, (list, tuple)) and len(weights) == 2:
        first, second = (number_of("tversky", weight, least=0) for weight in weights)
        if first + second > 0:
            return first, second
    raise InputError(
        f"tversky: {weights!r} is not accepted; give [a, b], weights of false positives and of false negatives"
    )


def _checked_weights(weights: object, count: int) -> tuple[float, ...] | str | None:
    if weights is None or weights == _SQUARE_ROOT:
        return None if weights is None else _SQUARE_ROOT
    given = positive_numbers(weights, count)
    if given is None:
        raise InputError(
            f"class_weights: {weights!r} is not accepted; give square_root, or {count} positive number"
            f"{'s' * (count > 1)}"
        )
    return given
