"""What decides for a class, as the evaluation section of an experiment says it. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from crosstask.experiment import EvaluationSection
from crosstask.tasks.base import Task


def settle(tasks: Iterable[Task], evaluation: EvaluationSection) -> None:
    """Let tasks decide as the section says; thresholds that are chosen on validation cases are not known here."""
    for task in tasks:
        if task.level == "image" and task.values == "softmax":
            task.balanced = evaluation.decision == "balanced"
        elif task.thresholds is not None and evaluation.fixed_threshold is not None:
            task.thresholds = (evaluation.fixed_threshold,) * len(task.classes)


def is_chosen(task: Task, evaluation: EvaluationSection) -> bool:
    """Whether a task's thresholds are chosen on validation cases: it has some, and none is given for it."""
    return task.thresholds is not None and (task.values == "softmax" or evaluation.fixed_threshold is None)


def mean_thresholds(
    task: Task, chosen: Iterable[Mapping[str, Sequence[float]]], evaluation: EvaluationSection
) -> dict[str, float]:
    """``{class: threshold}`` of several runs together: the mean of what they chose, or what stands without a choice.

    Args:
        task: one that has thresholds.
        chosen: by each run, ``{task: thresholds}``; a run may have chosen none.
        evaluation: what the experiment says of it.
    """
    own = [list(values[task.name]) for values in chosen if task.name in values]
    values = task.thresholds or ()
    if own and is_chosen(task, evaluation):
        values = np.mean(own, axis=0).tolist()
    return dict(zip(task.classes, values, strict=True))
