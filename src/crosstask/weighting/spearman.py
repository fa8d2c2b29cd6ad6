"""Weights by how each characteristic goes with the diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crosstask.functional.spearman import Negative, characteristic, characteristic_weights
from crosstask.weighting.scalar import EpochWeighting


class Spearman(EpochWeighting):
    """The weights of Fang et al. (2019), eq. (1) to (3), by Spearman correlations in the training cases.

    Characteristics that do not go with the major label are not learned at all. A run with the major task alone (that of
    single-task learning, or one of which no characteristic is kept) has weight 1.

    Args:
        tasks: names of the tasks, the major one among them.
        m: the combining weight of eq. (1), 0.7 in the paper; the auxiliary losses share the rest.
        significance: a characteristic with a p-value from here on is left out, 0.05 in the paper.
        negative: of negative correlations: ``absolute`` takes their size for the weight, ``leave_out`` leaves such
            characteristics out.

    Attributes:
        characteristics: of each task but the major, once :meth:`fit` was called.
    """

    name = "spearman"
    label = "Spearman"
    needs_labels = True
    needs_major = True

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        m: float = 0.7,
        significance: float = 0.05,
        negative: Negative = "absolute",
    ) -> None:
        super().__init__(tasks)
        self.m, self.significance = m, significance
        self.negative: Negative = negative
        self._weights: dict[str, float] = {}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for option, what in (("m", "share of the major loss"), ("significance", "level of p-values")):
            if not 0 < options.get(option, 1) <= 1:
                yield option, f"{options[option]} is no {what}; give more than 0 and at most 1"

    def fit(self, major: str, labels: Mapping[str, np.ndarray]) -> None:
        """Choose the characteristics, and weigh them."""
        options: dict[str, Any] = {"significance": self.significance, "negative": self.negative}
        self.characteristics = tuple(
            characteristic(task, labels[task], labels[major], **options) for task in self.tasks if task != major
        )
        coefficients = {found.name: found.weight for found in self.characteristics if found.kept}
        self.tasks = tuple(task for task in self.tasks if task == major or task in coefficients)
        weights = characteristic_weights(major, coefficients, m=self.m)
        self._weights = {task: weights[task] for task in self.tasks}

    def weights(self) -> dict[str, float]:
        """The weights, which do not change.

        Raises:
            RuntimeError: :meth:`fit` was not called.
        """
        if not self._weights:
            raise RuntimeError("the weights follow from the training labels; call fit first")
        return dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return {"weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back the weights."""
        self._weights = dict(state["weights"])
        self.tasks = tuple(self._weights)
