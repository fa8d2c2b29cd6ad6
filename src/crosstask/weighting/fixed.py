"""Weights that do not change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crosstask.errors import InputError
from crosstask.weighting.scalar import EpochWeighting


class Equal(EpochWeighting):
    """Every task counts one."""

    name = "equal"

    def weights(self) -> dict[str, float]:
        """One for each task."""
        return dict.fromkeys(self.tasks, 1.0)


class Fixed(EpochWeighting):
    """Weights given by the experiment.

    Args:
        tasks: names of the tasks.
        weights: one weight per task; more tasks than these may be named (single-task runs use their own alone).

    Raises:
        InputError: a task has no weight.
    """

    name = "fixed"

    def __init__(self, tasks: Sequence[str], *, weights: Mapping[str, float]) -> None:
        super().__init__(tasks)
        for option, reason in self.faults_for(tasks, {"weights": weights}):
            raise InputError(f"{option}: {reason}")
        self._weights = {task: float(weights[task]) for task in tasks}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for task, weight in options.get("weights", {}).items():
            if not weight >= 0:
                yield f"weights.{task}", f"{weight} is not a weight; give 0 or more"

    @classmethod
    def faults_for(cls, tasks: Sequence[str], options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for task in tasks:
            if task not in options["weights"]:
                yield "weights", f"no weight for task {task!r}; give one for each of {list(tasks)}"

    def weights(self) -> dict[str, float]:
        """The given weights."""
        return dict(self._weights)
