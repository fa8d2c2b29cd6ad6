"""The major diagnosis under every method, with intervals: Table 2 of Fang et al. (2019). No torch here."""

from __future__ import annotations

import math
from pathlib import Path

from crosstask.csv_cells import csv_text
from crosstask.evaluation.diagnosis import FIGURES, Diagnosis
from crosstask.evaluation.gains import Estimate
from crosstask.files import write_atomically
from crosstask.methods import label_of
from crosstask.report.tables import latex_table, markdown_table, markdown_text, remark_lines, text_table
from crosstask.report.words import CASES_ONLY, ONE_RUN, RUNS_AND_CASES, level_text

_TITLES = {"auc": "AUC", "accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity"}


def diagnosis_table(diagnosis: Diagnosis) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: a row a method, figures in percent with their intervals."""
    level = level_text(diagnosis.level)
    titles = ["Method", *(f"{_TITLES[name]} % [{level}]" for name in FIGURES)]
    if diagnosis.differences:
        titles.append(f"AUC - STL [{level}]")
    rows = []
    for method, figures in diagnosis.rows.items():
        row = [label_of(method), *(_text(figures[name], "") for name in FIGURES)]
        if diagnosis.differences:
            gain = diagnosis.differences.get(method)
            row.append("" if gain is None else _text(gain, "+"))
        rows.append(row)
    return titles, rows


def _text(estimate: Estimate, sign: str) -> str:
    if not math.isfinite(estimate.value):
        return "undefined"
    if not math.isfinite(estimate.low):
        return f"{estimate.value:{sign}.1f}"
    return f"{estimate.value:{sign}.1f} [{estimate.low:{sign}.1f}, {estimate.high:{sign}.1f}]"


def diagnosis_notes(diagnosis: Diagnosis, resamplings: int) -> str:
    """What the figures are, in one paragraph."""
    whose = (
        f"Sensitivity is that of {diagnosis.positive}, specificity that of the other cases."
        if diagnosis.positive
        else "AUC, sensitivity and specificity are means over the classes."
    )
    drawn = "cases" if diagnosis.groups == diagnosis.cases else f"{diagnosis.groups} groups of cases"
    seeds = f"{diagnosis.seeds} seed{'s' * (diagnosis.seeds > 1)}"
    against = "Differences are to STL of the same variant, in percentage points. " * bool(diagnosis.differences)
    once = f" Single seed, {ONE_RUN}: another training may differ by more than the methods do." * (diagnosis.seeds == 1)
    chance = "of drawing other cases" if diagnosis.seeds == 1 else "of training anew and of drawing other cases"
    return (
        f"{diagnosis.task} in {diagnosis.dataset}, {diagnosis.cases} cases, mean over {seeds}. {whose} {against}"
        f"In brackets {level_text(diagnosis.level)} intervals ({_covers(diagnosis)}), which hold the chance {chance}: "
        f"{drawn}, drawn {resamplings} times, the same for all methods, or as DeLong has it for an AUC."
        f"{once}{_remarks(diagnosis)}"
    )


def _covers(diagnosis: Diagnosis) -> str:
    return CASES_ONLY if diagnosis.seeds == 1 else RUNS_AND_CASES


def _remarks(diagnosis: Diagnosis) -> str:
    return "".join(f" {remark}" for remark in diagnosis.remarks)


def diagnosis_csv(diagnosis: Diagnosis) -> str:
    """Every figure unrounded, one row per method and figure."""
    columns = ["dataset", "task", "positive", "method", "figure", "unit", "value", "low", "high", "remarks"]
    rows: list[list[object]] = [[*columns, "seeds", "interval_covers", "level"]]
    rest = [_remarks(diagnosis).strip(), diagnosis.seeds, _covers(diagnosis), diagnosis.level]
    head = [diagnosis.dataset, diagnosis.task, diagnosis.positive]
    for method, figures in diagnosis.rows.items():
        lines = [(name, "%", figures[name]) for name in FIGURES]
        if method in diagnosis.differences:
            lines.append(("auc_minus_stl", "percentage points", diagnosis.differences[method]))
        for name, unit, found in lines:
            shown = ["" if math.isnan(figure) else figure for figure in (found.value, found.low, found.high)]
            rows.append([*head, method, name, unit, *shown, *rest])
    return csv_text(rows)


def write_diagnosis(diagnosis: Diagnosis, resamplings: int, output: Path) -> Path:
    """Write ``diagnosis.txt``, ``.md``, ``.csv`` and ``.tex``; return the first."""
    titles, rows = diagnosis_table(diagnosis)
    notes = diagnosis_notes(diagnosis, resamplings)
    path = output / "diagnosis.txt"
    write_atomically(path, text_table(titles, rows) + remark_lines([notes]))
    write_atomically(output / "diagnosis.md", f"{markdown_table(titles, rows)}\n{markdown_text(notes)}\n")
    write_atomically(output / "diagnosis.csv", diagnosis_csv(diagnosis))
    write_atomically(output / "diagnosis.tex", latex_table(titles, rows, [notes]))
    return path
