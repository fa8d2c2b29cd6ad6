"""What a run folder says of its run: the record, and the thresholds that were chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosstask.errors import InputError
from crosstask.files import write_atomically
from crosstask.records import is_complete, is_record
from crosstask.runs.names import RECORD, THRESHOLDS
from crosstask.runs.spec import RunSpec
from crosstask.seals import check_seal


def read_record(folder: Path) -> dict[str, Any]:
    """The run's record.

    Raises:
        InputError: the folder is no run, or its record is damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise InputError(f"{folder}: no such run folder; give a folder that train or benchmark made") from None
        raise InputError(
            f"{folder}: is no run folder (no {RECORD} in it); give a folder that train or benchmark made"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not is_record(record):
        raise InputError(f"{path}: is damaged; remove the folder and train the run anew")
    check_seal(path, "remove the folder and train the run anew")
    return record


def trained_record(folder: Path) -> dict[str, Any]:
    """The record of a complete run, with all that reports show of it.

    Raises:
        InputError: the run is not complete, or its record is damaged.
    """
    record = read_record(folder)
    if not record.get("trained"):
        raise InputError(f"{folder}: the run is not complete; train it to its end first")
    if not is_complete(record):
        raise InputError(f"{folder / RECORD}: is damaged; remove the folder and train the run anew")
    return record


def learned_tasks(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks that a run's network has: those planned, or what its weighting chose of them."""
    return tuple(record.get("learned", record["tasks"]))


def never_predicted(name: str, record: Mapping[str, Any]) -> str:
    """What to say of a trained run after whose last epoch a class was never predicted; empty where there is none."""
    found = (record.get("training") or {}).get("never_predicted", {})
    classes = ", ".join(f"{one} ({task})" for task, names in found.items() for one in names)
    if not classes:
        return ""
    return (
        f"Warning: {name}: never predicted where it is, in validation samples after the last epoch: {classes}; train "
        "longer, or with other seeds"
    )


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the run's record."""
    write_atomically(folder / RECORD, json.dumps(record, indent=2))


def is_trained(spec: RunSpec) -> bool:
    """Whether the run is complete."""
    try:
        return bool(read_record(spec.folder).get("trained"))
    except InputError:
        return False


def thresholds_key(weights: str, mirrored: Sequence[str] = ()) -> str:
    """Name of the thresholds that go with weights, and with the axes of test-time augmentation."""
    return f"{weights}, mirrored along {','.join(mirrored)}" if mirrored else weights


def read_thresholds(folder: Path, weights: str, mirrored: Sequence[str] = ()) -> dict[str, list[float]]:
    """Thresholds that were chosen on validation cases, ``{task: one a class}``; empty before that.

    Args:
        folder: the run folder.
        weights: their name; see :mod:`crosstask.runs.weights`.
        mirrored: axes of test-time augmentation, which changes the probabilities; see
            :attr:`crosstask.experiment.Experiment.mirrored`.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / THRESHOLDS
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        found = {
            task: [float(value) for value in values]
            for task, values in whole.get(thresholds_key(weights, mirrored), {}).items()
        }
        if not all(0 <= value <= 1 for values in found.values() for value in values):
            raise ValueError
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: is damaged; remove it, and evaluate chooses the thresholds again") from None
