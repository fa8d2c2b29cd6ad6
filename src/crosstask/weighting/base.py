"""How several losses become one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from crosstask.registry import WEIGHTINGS


class Weighting(ABC):
    """A scalar weighting: one weight per task, changed at most once an epoch.

    Args:
        tasks: names of the tasks, in the order of the weights.

    Attributes:
        name: name in :data:`crosstask.registry.WEIGHTINGS`.
        needs_labels: whether :meth:`fit` must be called before the network is built.
    """

    name: ClassVar[str]
    registry = WEIGHTINGS
    needs_labels: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)

    def fit(self, major: str, labels: Mapping[str, np.ndarray]) -> None:
        """Look at the labels of the training cases; :attr:`tasks` are afterwards those that are to be learned.

        Args:
            major: the task that the others help.
            labels: ``{task: n}``, the level of each training case, the same cases for each task, NaN where a label is
                missing; see :func:`crosstask.training.characteristics.levels_of`.
        """

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
