"""The tasks of radiotherapy plans: structures and dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstask.datasets.names import refuse_options, unknown_name
from crosstask.errors import InputError
from crosstask.tasks import RegressionTask, SegmentationTask
from crosstask.tasks.base import Task

TASKS = ("segmentation", "dose")
_OPTIONS = {"segmentation": ("classes", *SegmentationTask.loss_options), "dose": RegressionTask.loss_options}


def plan_task(
    dataset: str, name: str, options: Mapping[str, Any], structures: Sequence[str], default: Sequence[str]
) -> Task:
    """``segmentation`` (option ``classes``: structures, or ``"all"``) or ``dose``, with the options of their losses.

    Of ``dose`` the option ``structures`` names those that the terms ``moments`` and ``dvh`` look at; by default all.

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
    others = {option: value for option, value in options.items() if option not in ("classes", "structures")}
    if name == "dose":
        named = options.get("structures")
        if named is not None or others:
            if not structures:
                raise InputError("structures: the data set reads none; name them in dataset.options.structures first")
            named = _chosen("structures", named, structures, structures)
            others |= {"structures": named, "structure_array": "structures"}
        return RegressionTask("dose", "dose", ("dose",), "Gy", **others)
    classes = _chosen("classes", options.get("classes"), structures, default)
    return SegmentationTask("segmentation", "structures", classes, **others)


def _chosen(
    option: str, given: str | Sequence[str] | None, structures: Sequence[str], default: Sequence[str]
) -> tuple[str, ...]:
    """Names of structures from what an experiment file may say."""
    if given is None:
        return tuple(default)
    names = (given,) if isinstance(given, str) else tuple(given)
    if names == ("all",):
        return tuple(structures)
    if not names:
        raise InputError(f"{option} is empty; name at least one structure, or 'all'")
    for name in names:
        if name not in structures:
            raise unknown_name("structure", name, structures)
    if len(set(names)) != len(names):
        raise InputError(f"{option} names a structure twice: {', '.join(names)}")
    return names
