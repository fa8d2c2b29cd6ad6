"""Which epochs of the runs other rules would have taken, from validation alone. No torch here.

A multi-task method whose one epoch must suit all tasks is judged harder than single-task learning, whose tasks have an
epoch each; and the last epoch of the schedule, by which runs are judged, is one rule of several. Here are two others,
the same for every method: ``joint``, one epoch for all tasks, of single-task learning, too; and ``per_task``, for every
task its own best epoch, of multi-task methods, too. They choose among the epochs of an even grid, of which a run keeps
the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from crosstask.functional.best_epoch import best_of_grid, even_epochs
from crosstask.history import EPOCH, read_history
from crosstask.runs.names import HISTORY
from crosstask.runs.record import learned_tasks, trained_record
from crosstask.runs.spec import RunSpec
from crosstask.runs.weights import snapshot_name

JOINT, PER_TASK = "joint", "per_task"
OTHER_RULES = (JOINT, PER_TASK)
_SKILL = "skill/"
Skills = Mapping[str, Sequence[float]]
"""Validation skills of each task, epoch by epoch."""


def grid_of(spec: RunSpec) -> list[int]:
    """Epochs of a run whose weights are kept for :func:`other_epochs`, the last of all; none where it keeps none."""
    return even_epochs(spec.experiment.training.epochs) if spec.experiment.keeps_epochs else []


def other_epochs(spec: RunSpec, others: Sequence[RunSpec]) -> dict[str, dict[str, int]]:
    """``{rule: {task: epoch}}`` of a complete run, for each of :data:`OTHER_RULES`; epochs count from 0.

    With a major task, the skill of that alone chooses.

    Args:
        spec: the run.
        others: complete runs, with those of the other tasks of its seed and variant, for single-task learning.
    """
    tasks = learned_tasks(trained_record(spec.folder))
    grid, window, major = grid_of(spec), spec.experiment.training.smoothing, spec.experiment.major
    common: dict[str, Sequence[float]] = {}
    for one in _together(spec, others):
        common |= skills_of(one)
    joint = best_of_grid(mean_skill(common, major), grid, window)
    shared = grid[-1] if joint is None else joint  # without any skill there is nothing to choose by
    own = {task: best_of_grid(mean_skill(common, major or task), grid, window) for task in tasks}
    each = {task: shared if epoch is None else epoch for task, epoch in own.items()}
    return {JOINT: dict.fromkeys(tasks, shared), PER_TASK: each}


def _together(spec: RunSpec, others: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs that make up one model of all tasks: the run itself, or the single-task runs of its seed and variant."""
    if not spec.method.run_per_task:
        return [spec]
    same = [one for one in others if (one.key, one.seed) == (spec.key, spec.seed) and one.name != spec.name]
    return [spec, *same]


def skills_of(spec: RunSpec) -> Skills:
    """Validation skills of a run's tasks, epoch by epoch, NaN where there was none."""
    rows = read_history(spec.folder / HISTORY)
    names = [key.removeprefix(_SKILL) for key in (rows[-1] if rows else ()) if key.startswith(_SKILL)]
    skills = {name: [math.nan] * (int(rows[-1][EPOCH]) + 1) for name in names}
    for row in rows:
        for name in names:
            skills[name][int(row[EPOCH])] = row[f"{_SKILL}{name}"]
    return skills


def mean_skill(skills: Skills, task: str | None) -> list[float]:
    """Mean skill of all tasks that have one, epoch by epoch, or that of one task alone.

    Args:
        skills: of each task.
        task: the one that alone counts; None for all.
    """
    counted = [values for name, values in skills.items() if task in (None, name)]
    means = []
    for epoch in range(max(map(len, counted), default=0)):
        known = [values[epoch] for values in counted if epoch < len(values) and math.isfinite(values[epoch])]
        means.append(math.fsum(known) / len(known) if known else math.nan)
    return means


def weights_of_epoch(spec: RunSpec, epoch: int) -> str:
    """Name of the weights of an epoch that a rule chose: ``final``, ``best``, or those of a snapshot."""
    training = trained_record(spec.folder)["training"]
    if epoch == training["epochs"] - 1:
        return "final"
    return "best" if epoch == training["best_epoch"] else snapshot_name(epoch)


def snapshots_needed(epochs: Mapping[str, Mapping[str, int]]) -> list[int]:
    """The epochs that the rules chose, each once."""
    return sorted({epoch for chosen in epochs.values() for epoch in chosen.values()})
