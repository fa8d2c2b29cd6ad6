"""What decides for a class, as the evaluation section of an experiment says it. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from crosstask.experiment import EvaluationSection
from crosstask.tasks.base import Task

OneTask = TypeVar("OneTask", bound=Task)


def settle(tasks: Iterable[OneTask], evaluation: EvaluationSection) -> tuple[OneTask, ...]:
    """Tasks that decide as the section says; thresholds that are chosen on validation cases are not known here."""
    settled = tuple(tasks)
    for task in settled:
        if task.level == "image" and task.values == "softmax":
            task.balanced = evaluation.decision == "balanced"
        elif task.thresholds is not None and evaluation.fixed_threshold is not None:
            task.thresholds = (evaluation.fixed_threshold,) * len(task.classes)
    return settled


def is_chosen(task: Task, evaluation: EvaluationSection) -> bool:
    """Whether a task's thresholds are chosen on validation cases: it has some, and none is given for it."""
    return task.thresholds is not None and (task.values == "softmax" or evaluation.fixed_threshold is None)
