"""Weights that do not change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstask.errors import InputError
from crosstask.weighting.base import Weighting


class Equal(Weighting):
    """Every task counts one."""

    name = "equal"

    def weights(self) -> dict[str, float]:
        """One for each task."""
        return dict.fromkeys(self.tasks, 1.0)


class Fixed(Weighting):
    """Weights given by the experiment.

    Args:
        tasks: names of the tasks.
        weights: one weight per task; more tasks than these may be named (single-task runs use their own alone).

    Raises:
        InputError: a task has no weight, or a weight is negative.
    """

    name = "fixed"

    def __init__(self, tasks: Sequence[str], *, weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        missing = [task for task in tasks if task not in weights]
        if missing:
            raise InputError(
                f"weighting.weights: no weight for task {missing[0]!r}; give one for each of {list(tasks)}"
            )
        negative = [task for task, weight in weights.items() if not weight >= 0]
        if negative:
            raise InputError(f"weighting.weights.{negative[0]}: {weights[negative[0]]} is not a weight; give 0 or more")
        self._weights = {task: float(weights[task]) for task in tasks}

    def weights(self) -> dict[str, float]:
        """The given weights."""
        return dict(self._weights)
