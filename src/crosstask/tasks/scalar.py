"""Scalar regression: one number for a case as a whole, such as age in years."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from crosstask import functional
from crosstask.errors import InputError
from crosstask.tasks.base import Head, Metric, Task

if TYPE_CHECKING:
    import torch


class ScalarTask(Task):
    """A number per case. The network gives its distance from the training cases' median, in their standard deviations.

    So numbers that vary little around a large one (a year) lose nothing to 16-bit precision. Loss: mean absolute error
    in those units. M: mean absolute error; beside it R^2, of many cases together.

    Args:
        name: key of the task, and name of its one class.
        array: case array without spatial axes, of one channel named like the array.
        unit: of the number.
        minimum: smallest value that is possible (0 for an age); predictions are clipped to it.
    """

    kind = "scalar"
    level = "image"
    values = "quantity"
    picture = "text"
    sums_over_batch = True

    def __init__(self, name: str, array: str, unit: str = "", *, minimum: float | None = None) -> None:
        super().__init__(name, array, (array,), unit)
        self.minimum = minimum
        self._scale, self._constant = 1.0, 0.0

    def head(self) -> Head:
        """One channel, starting at zero: the training cases' median."""
        return Head("image", 1)

    def fit(self, statistics: Mapping[str, Any]) -> None:
        """Take standard deviation and median of the training cases.

        Raises:
            InputError: no training case has the label, or all have the same.
        """
        figures = statistics[self.classes[0]]
        if not figures["cases"] or not figures["std"] > 0:
            raise InputError(
                f"task {self.name!r}: no training case carries a {self.array!r} that varies; "
                f"leave the task out or give cases that have it"
            )
        self._scale, self._constant = float(figures["std"]), float(figures["median"])

    def state(self) -> dict[str, Any]:
        """The unit of the output, and the median."""
        return {"scale": self._scale, "constant": self._constant}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what was learned."""
        self._scale, self._constant = float(state["scale"]), float(state["constant"])

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Mean absolute error over the cases that are labelled."""
        error = (output.float() - (target.float() - self._constant) / self._scale).abs()
        return functional.batch_mean(error, present)

    def decode(self, output: torch.Tensor) -> torch.Tensor:
        """The number in its unit."""
        value = output.float() * self._scale + self._constant
        return value if self.minimum is None else value.clamp(min=self.minimum)

    def tally(
        self, prediction: torch.Tensor, target: torch.Tensor, present: torch.Tensor, region: torch.Tensor | None
    ) -> torch.Tensor:
        """Absolute error of the prediction and of the constant."""
        target = target.double()
        sums = target.new_zeros((2, 1))
        for index, value in enumerate((prediction.double(), target.new_tensor(self._constant))):
            sums[index] = ((value - target).abs() * present).sum(0)
        return sums

    def skill(self, tally: torch.Tensor) -> float:
        """Share of the constant's error that the prediction saves."""
        error, constant = tally[:, 0].tolist()
        return 1 - error / constant if constant > 0 else math.nan

    def constant(self, shape: tuple[int, ...], region: np.ndarray | None) -> np.ndarray:
        """The median of the training cases, the constant with the smallest mean absolute error."""
        return np.array([self._constant], dtype=np.float32)

    def metrics(self) -> tuple[Metric, ...]:
        """Mean absolute error of each case; R^2 of all."""
        return (
            Metric("mae", self.unit, higher_is_better=False),
            Metric("r2", "", higher_is_better=True, of="cohort"),
        )

    def score(
        self, prediction: np.ndarray, target: np.ndarray, present: np.ndarray, region: np.ndarray | None
    ) -> list[tuple[str, str, float]]:
        """Absolute error."""
        return [(self.classes[0], "mae", abs(float(prediction[0]) - float(target[0])))] if present[0] else []
