"""How several losses become one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any


class Weighting(ABC):
    """A scalar weighting: one weight per task, changed at most once an epoch.

    Args:
        tasks: names of the tasks, in the order of the weights.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    @abstractmethod
    def weights(self) -> dict[str, float]:
        """Weight of each task's loss in the present epoch."""

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Take the epoch mean of each task's *unweighted* training loss; NaN where the task had no label."""

    def state(self) -> dict[str, Any]:
        """What must survive a resume, as plain values."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state` gave."""
