"""What complete runs have left on disk, looked at before it is taken for theirs. No torch here."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.predictions import read_predictions
from crosstask.evaluation.scores import read_scores
from crosstask.readings import Reading, readings_from
from crosstask.runs import EXAMPLES, HISTORY, READINGS, TRANSFER, RunSpec, predictions_under, scores_under
from crosstask.seals import check_seal, seals_of
from crosstask.transfer import Figure, read_transfer

_LEFT_OUT = "the comparison under other rules for the epoch is left out"
_AGAIN = "the same command scores the run again"
T = TypeVar("T")


def scores_of(spec: RunSpec, rule: str = "") -> pd.DataFrame:
    """A run's scores.

    Args:
        spec: the run.
        rule: another rule for the epoch than that by which the run is judged.

    Raises:
        InputError: they are missing or damaged; what is advised makes them anew, or does without.
    """
    path = spec.folder / scores_under(rule)
    remedy = f"remove it, and {_LEFT_OUT if rule else _AGAIN}"
    check_seal(path, remedy)
    return read_scores(path, remedy=remedy)


def predictions_of(spec: RunSpec, rule: str = "") -> pd.DataFrame:
    """A run's image-level predictions; empty where all its tasks are at pixel level.

    Args:
        spec: the run.
        rule: as of :func:`scores_of`.

    Raises:
        InputError: they are missing or damaged; what is advised makes them anew, or does without.
    """
    path, scores = spec.folder / predictions_under(rule), scores_under(rule)
    then = _LEFT_OUT if rule else _AGAIN
    remedy = f"remove it and {scores}, and {then}"
    check_seal(path, remedy)
    if not path.exists() and path.name in seals_of(spec.folder):
        raise InputError(f"{path}: is missing; remove {scores} beside it, and {then}")
    return read_predictions(path, remedy=remedy)


def examples_of(folder: Path) -> dict[str, np.ndarray] | None:
    """A run's examples for pictures; None where there are none, or they are damaged and to be made again."""
    path = folder / EXAMPLES
    try:
        check_seal(path, "it is made again")
        with np.load(path) as archive:
            arrays = dict(archive)
        whole = all(
            f"{case}/{part}" in arrays for case in arrays["cases"] for part in ("image", "spacing", "slices", "fullest")
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, InputError):
        return None
    except Exception as error:  # zlib's own, and what a damaged header makes NumPy raise
        if type(error).__module__ not in ("zlib", "struct", "tokenize", "builtins", "numpy.exceptions"):
            raise
        return None
    return arrays if whole else None


def has_examples(folder: Path, case_ids: Iterable[str]) -> bool:
    """Whether a run has examples of these cases and no others."""
    kept = examples_of(folder)
    return kept is not None and list(map(str, kept["cases"])) == list(case_ids)


def history_of(folder: Path) -> pd.DataFrame | None:
    """A run's epochs; None where their table is missing or damaged, which costs the run its learning curve alone."""
    path = folder / HISTORY
    try:
        check_seal(path, "it is left out")
        table = pd.read_csv(path)
    except (OSError, ValueError, InputError):
        return None
    curves = [name for name in table.columns if name == "epoch" or name.startswith("skill/")]
    numeric = all(pd.api.types.is_numeric_dtype(table[name]) for name in curves)
    return table if "epoch" in curves and len(table) and numeric else None


def without_history(specs: Iterable[RunSpec]) -> list[str]:
    """One line for each run whose learning curve has to be left out."""
    return [
        f"{spec.folder / HISTORY}: is damaged, so the learning curves leave out {spec.name}; no score depends on it"
        for spec in specs
        if history_of(spec.folder) is None
    ]


def readings_of(folder: Path) -> list[Reading] | None:
    """What a run's network has learned to do: its readings, none if it has none; None where they are damaged."""
    return _optional(folder / READINGS, lambda path: readings_from(path.read_text(encoding="utf-8")))


def without_readings(specs: Iterable[RunSpec]) -> list[str]:
    """One line for each run whose readings have to be left out."""
    return _left_out(specs, READINGS, readings_of, "the page's readings leave out")


def transfer_of(folder: Path) -> list[Figure] | None:
    """What a run's tasks did to each other, none if nobody looked; None where the table is damaged."""
    return _optional(folder / TRANSFER, read_transfer)


def without_transfer(specs: Iterable[RunSpec]) -> list[str]:
    """One line for each run that has to be left out of what tasks do to each other."""
    return _left_out(specs, TRANSFER, transfer_of, "what tasks do to each other leaves out")


def _optional(path: Path, read: Callable[[Path], list[T]]) -> list[T] | None:
    """What a file of a run holds, nothing if the run never had one; None where it is missing or damaged."""
    try:
        check_seal(path, "it is left out")
        return read(path)
    except FileNotFoundError:
        return None if path.name in seals_of(path.parent) else []
    except (OSError, ValueError, InputError):
        return None


def _left_out(specs: Iterable[RunSpec], name: str, read: Callable[[Path], object], so: str) -> list[str]:
    """One line for each run whose file of that name is missing or damaged."""
    return [
        f"{spec.folder / name}: is missing or damaged, so {so} {spec.name}; no score depends on it"
        for spec in specs
        if read(spec.folder) is None
    ]
