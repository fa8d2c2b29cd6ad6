"""``summary.json`` of nnU-Net v2: overlaps of each validation case. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.foreign.given import Given, given_of
from crosstask.io.image_files import PICTURE_ENDINGS, VOLUME_ENDINGS

SUMMARY = "summary.json"
TASK = "segmentation"
"""What the task is called: the file has no name for it."""
_OVERLAPS = ("Dice", "IoU")
_COUNTS = frozenset({"FN", "FP", "TN", "TP", "n_pred", "n_ref"})
_BACKGROUND = "0"
_FOLD = re.compile(r"fold_(\d+)")


def read_summary(path: Path) -> Given:
    """Dice and IoU of every case and label; method and seed are not in the file.

    nnU-Net writes no overlap for a label that is in neither the reference nor the prediction, and 0 where only the
    prediction has it. Where the reference has none, the overlap therefore is no measure of the method: it is left out
    for every method alike, by the voxels that are counted beside it.

    Raises:
        InputError: the file is no such summary.
    """
    rows, empty, others = [], False, dict[str, None]()
    for number, entry in enumerate(_cases(path), 1):
        case = _case_of(path, number, entry)
        for label, figures in entry["metrics"].items():
            if str(label) == _BACKGROUND or not isinstance(figures, Mapping):
                continue
            others |= dict.fromkeys(set(figures) - _COUNTS - set(_OVERLAPS))
            lacking = _reference_is_empty(figures)
            empty |= lacking
            for metric in _OVERLAPS:
                if metric in figures:
                    value = None if lacking else figures[metric]
                    rows.append((number, case, str(label), metric, float("nan") if value is None else value))
    if not rows:
        raise InputError(f"{path}: has no Dice of any label; give the summary of a validation")
    table = pd.DataFrame(rows, columns=["number", "case", "class", "metric", "value"])
    frame = table.drop(columns="number").assign(task=TASK, higher_is_better=True)
    remarks = []
    if empty:
        remarks.append(
            "nnU-Net: a label that the reference of a case lacks does not count there: its Dice would say only whether "
            "the prediction has none either."
        )
    if others:
        remarks.append(f"{path}: not used, since nothing says which way is better: {', '.join(sorted(others))}.")
    given = given_of(frame, str(path), [f"{number} of metric_per_case" for number in table["number"]])
    return Given(given.frame, given.tables, given.table, given.number, tuple(remarks))


def folds_of(folder: Path) -> dict[str, Path]:
    """``{number of the fold: its summary}`` of a folder of trained folds; empty if it is none.

    Raises:
        InputError: a fold has no summary yet.
    """
    found = {match[1]: path for path in sorted(folder.iterdir()) if (match := _FOLD.fullmatch(path.name))}
    summaries = {fold: path / "validation" / SUMMARY for fold, path in found.items()}
    for path in summaries.values():
        if not path.is_file():
            raise InputError(
                f"{path}: is not there, so this fold is not validated; end it (nnUNetv2_train with --val), or give the "
                "summaries one by one: METHOD:SEED=FILE"
            )
    return summaries


def _cases(path: Path) -> list[Mapping[str, Any]]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({' '.join(str(error).split())}); write it anew") from None
    cases = whole.get("metric_per_case") if isinstance(whole, dict) else None
    if not isinstance(cases, list) or not cases:
        hint = "; it looks like one of nnU-Net v1" if isinstance(whole, dict) and "results" in whole else ""
        raise InputError(
            f"{path}: has no 'metric_per_case', so it is no {SUMMARY} of nnU-Net v2{hint}; give that, or a table"
        )
    for number, entry in enumerate(cases, 1):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("metrics"), Mapping):
            raise InputError(f"{path}: entry {number} of 'metric_per_case' has no 'metrics'; evaluate it anew")
    return cases


def _case_of(path: Path, number: int, entry: Mapping[str, Any]) -> str:
    """Id of a case: the name of its reference file, from whatever system, without the ending."""
    file = entry.get("reference_file") or entry.get("prediction_file")
    if not isinstance(file, str) or not file:
        raise InputError(f"{path}: entry {number} of 'metric_per_case' has no 'reference_file'; evaluate it anew")
    name = PureWindowsPath(file).name
    endings = sorted((*VOLUME_ENDINGS, *PICTURE_ENDINGS), key=len, reverse=True)
    known = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return name[: len(name) - len(known)]


def _reference_is_empty(figures: Mapping[str, Any]) -> bool:
    if "n_ref" in figures:
        return bool(figures["n_ref"] == 0)
    return "TP" in figures and "FN" in figures and bool(figures["TP"] + figures["FN"] == 0)
