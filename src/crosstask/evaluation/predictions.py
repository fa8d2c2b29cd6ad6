"""The table of image-level predictions, one row per method, seed, case, task and class; and its figures. No torch here.

What only many cases together have (an AUC, a confusion matrix) is computed from this table, as often as it must be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from crosstask.csv_cells import frame_text, true_frame
from crosstask.errors import InputError
from crosstask.evaluation.compact import places, read_compact
from crosstask.files import write_atomically
from crosstask.functional.cohort import Cohort, cohort_metric, comparable
from crosstask.tasks.base import Metric, Task

COLUMNS = ("method", "seed", "case", "task", "values", "class", "target", "prediction", "decision")
_TEXT, _NUMBERS = ("method", "case", "task", "values", "class"), ("target", "prediction", "decision")
COHORT_CASE = ""
"""Stands for the case in rows of the table of scores that are of all cases together."""


def prediction_table(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    """The table of these rows, in the order of :data:`COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def prediction_rows(
    task: Task, prediction: np.ndarray, target: np.ndarray, present: np.ndarray
) -> Iterator[tuple[str, str, str, float, float, float]]:
    """Rows (task, values, class, target, prediction, decision) of one case (``c`` each); missing labels give none."""
    decision = task.decide(prediction)
    for index, name in enumerate(task.classes):
        if present[index]:
            yield (
                task.name,
                task.values,
                name,
                float(target[index]),
                float(prediction[index]),
                float(decision[index]),
            )


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    write_atomically(path, frame_text(table))


def read_predictions(path: Path, *, remedy: str = "run evaluate again", compact: bool = False) -> pd.DataFrame:
    """Read a table of predictions; an empty one if there is no such file, the tasks being all at pixel level.

    Args:
        path: the table.
        remedy: what the error says to do about a damaged one.
        compact: texts as categories: see :mod:`crosstask.evaluation.compact`.

    Raises:
        InputError: the file is no such table.
    """
    if not path.exists():
        return prediction_table([])
    try:
        if compact:
            return _complete(true_frame(read_compact(path, _TEXT, _NUMBERS)), path, remedy)
        table = pd.read_csv(
            path,
            keep_default_na=False,
            na_values={name: [""] for name in _NUMBERS},
            dtype={"case": str, "class": str, "task": str, **dict.fromkeys(_NUMBERS, float)},
            float_precision="round_trip",
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a table of predictions ({reason}); {remedy}") from None
    return _complete(true_frame(table), path, remedy)


def _complete(table: pd.DataFrame, path: Path, remedy: str) -> pd.DataFrame:
    """The table, if it has all columns."""
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; {remedy}")
    return table


def joined_predictions(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of predictions in one; those that are empty have no say in the types of the columns."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def cohort_of(
    part: pd.DataFrame, cases: Sequence[str] | None = None, classes: Sequence[str] | None = None
) -> tuple[list[str], list[str], Cohort]:
    """Cases, classes and cohort of the rows of one method, seed and task.

    Args:
        part: these rows.
        cases: the order of the cases; by default as they come.
        classes: the classes; by default those that are labelled, as they come.
    """
    order = list(part["case"].unique()) if cases is None else list(cases)
    names = list(part["class"].unique()) if classes is None else list(classes)
    rows, columns = places(part["case"], order), places(part["class"], names)
    arrays = {name: np.zeros((len(order), len(names))) for name in ("target", "prediction", "decision")}
    for name, array in arrays.items():
        array[rows, columns] = part[name].to_numpy(dtype=float)
    present = np.zeros((len(order), len(names)), dtype=bool)
    present[rows, columns] = part["target"].notna().to_numpy()
    exclusive = bool((part["values"] == "softmax").all())
    return order, names, Cohort(**arrays, present=present, exclusive=exclusive)


def cohort_rows(metrics: Sequence[Metric], part: pd.DataFrame) -> Iterator[tuple[str, str, float, str, bool]]:
    """Rows (class, metric, value, unit, higher is better) of all cases together; undefined figures give none.

    Nor do figures that tell predictors not apart: see :func:`crosstask.functional.cohort.comparable`.

    Args:
        metrics: of the task; those of single cases are passed over.
        part: predictions of one method, seed and task.
    """
    if part.empty:
        return
    _, classes, cohort = cohort_of(part)
    for metric in metrics:
        if metric.of == "cohort":
            values = np.where(comparable(metric.name, cohort), cohort_metric(metric.name, cohort)[0], np.nan)
            names = classes if len(values) == len(classes) else [""]
            for name, value in zip(names, values, strict=True):
                if np.isfinite(value):
                    yield name, metric.name, float(value), metric.unit, metric.higher_is_better
