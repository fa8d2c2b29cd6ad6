"""Dynamic weight averaging over the epochs of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crosstask.functional.dwa import dwa_weights
from crosstask.weighting.scalar import EpochWeighting


class DynamicWeightAverage(EpochWeighting):
    """DWA (Liu et al. 2019): weight one in the first two epochs, then by the rate at which each loss falls.

    Each task keeps the last two epochs in which it *had* a loss, so an epoch without its labels leaves its history
    as it was. A task with fewer than two counts as one that stands still.

    Args:
        tasks: names of the tasks.
        temperature: T of the paper, 2 there.
    """

    name = "dwa"
    label = "DWA"

    def __init__(self, tasks: Sequence[str], *, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        self.temperature = temperature
        self._history: dict[str, list[float]] = {task: [] for task in self.tasks}

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not options.get("temperature", 2) > 0:
            yield "temperature", f"{options['temperature']} is not positive; the paper takes 2"

    def weights(self) -> dict[str, float]:
        """The weights; they sum to the number of tasks."""
        last = [self._history[task][-1] if self._history[task] else math.nan for task in self.tasks]
        before = [self._history[task][-2] if len(self._history[task]) > 1 else math.nan for task in self.tasks]
        values = dwa_weights(last, before, temperature=self.temperature)
        return {task: float(value) for task, value in zip(self.tasks, values, strict=True)}

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        """Remember the epoch's losses."""
        for task in self.tasks:
            if math.isfinite(losses.get(task, math.nan)):
                self._history[task] = [*self._history[task][-1:], float(losses[task])]

    def state_dict(self) -> dict[str, Any]:
        """Both epochs' losses."""
        return {"history": {task: list(losses) for task, losses in self._history.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back both epochs' losses."""
        self._history = {task: list(state["history"][task]) for task in self.tasks}
