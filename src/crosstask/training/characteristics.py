"""Labels of the training cases as ranks need them, for a weighting that looks at them; and the table of its choice.

A rank correlation needs one ordered value a case: of classes that exclude each other the place in the task's list,
which is taken for their order (``none, mild, severe``); of one finding 0 or 1; of a quantity its value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crosstask.csv_cells import csv_text
from crosstask.errors import InputError
from crosstask.files import write_atomically
from crosstask.functional.spearman import Characteristic
from crosstask.store import Store
from crosstask.store.statistics import labels_of
from crosstask.tasks.base import Task


def check_ordered(tasks: Sequence[Task], weighting: str) -> None:
    """Make sure that each task has one ordered value a case.

    Args:
        tasks: the tasks.
        weighting: what asks for it, for messages.

    Raises:
        InputError: a task is at pixel level, or has several findings.
    """
    for task in tasks:
        if task.level != "image":
            raise InputError(
                f"weighting.name: {weighting!r} correlates labels of whole cases, and task {task.name!r} is at pixel "
                "level; take the task out, or choose another weighting"
            )
        if task.values != "softmax" and len(task.classes) > 1:
            raise InputError(
                f"weighting.name: {weighting!r} needs one value a case, and task {task.name!r} has "
                f"{len(task.classes)} ({', '.join(task.classes)}); give each a task of its own"
            )


def levels_of(store: Store, case_ids: Sequence[str], tasks: Sequence[Task]) -> dict[str, np.ndarray]:
    """``{task: n}``: the ordered value of each case, NaN where its label is missing.

    Args:
        store: the prepared cases.
        case_ids: the training cases.
        tasks: that :func:`check_ordered` accepts.
    """
    found = {}
    for task in tasks:
        labels = labels_of(store, case_ids, task.array)
        found[task.name] = np.array([_level(task, labels[case]) for case in case_ids], dtype=float)
    return found


def _level(task: Task, labels: Mapping[str, float]) -> float:
    if not all(name in labels for name in task.classes):
        return np.nan
    values = [labels[name] for name in task.classes]
    if task.values != "softmax":
        return values[0]
    # none of the classes: of a data set's classes the task has only some
    return float(np.argmax(values)) if max(values) > 0.5 else np.nan


COLUMNS = ("characteristic", "rho", "p", "cases", "kept", "weight", "reason")


def write_characteristics(path: Path, characteristics: Sequence[Characteristic]) -> None:
    """The table as CSV with the columns of :data:`COLUMNS`; a figure that there is not is empty."""
    rows: list[Sequence[object]] = [COLUMNS]
    for found in characteristics:
        name, *figures, reason = dataclasses.astuple(found)
        rho, p, number, weight = ("" if np.isnan(figure) else figure for figure in figures)
        rows.append([name, rho, p, number, int(found.kept), weight, reason])
    write_atomically(path, csv_text(rows))
