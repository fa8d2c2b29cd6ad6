"""The tasks of radiotherapy plans: structures and dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstask.datasets.names import refuse_options, unknown_name
from crosstask.errors import InputError
from crosstask.tasks import RegressionTask, SegmentationTask
from crosstask.tasks.base import Task

TASKS = ("segmentation", "dose")
_OPTIONS = {"segmentation": ("classes",), "dose": ()}


def plan_task(
    dataset: str, name: str, options: Mapping[str, Any], structures: Sequence[str], default: Sequence[str]
) -> Task:
    """``segmentation`` (option ``classes``: structures, or ``"all"``) or ``dose`` (no option).

    Args:
        dataset: name of the data set, for messages.
        name: of the task.
        options: of the task.
        structures: those that there are.
        default: those to segment if none are named.

    Raises:
        InputError: no such task, option or structure.
    """
    if name not in _OPTIONS:
        raise unknown_name(f"task of {dataset}", name, TASKS)
    refuse_options(f"task {name!r} of {dataset}", options, _OPTIONS[name])
    if name == "dose":
        return RegressionTask("dose", "dose", ("dose",), "Gy")
    return SegmentationTask("segmentation", "structures", _classes(options.get("classes"), structures, default))


def _classes(classes: str | Sequence[str] | None, structures: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """Names of structures from what an experiment file may say."""
    if classes is None:
        return tuple(default)
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    if names == ("all",):
        return tuple(structures)
    if not names:
        raise InputError("classes is empty; name at least one structure, or 'all'")
    for name in names:
        if name not in structures:
            raise unknown_name("structure", name, structures)
    if len(set(names)) != len(names):
        raise InputError(f"classes names a structure twice: {', '.join(names)}")
    return names
