"""The comparison as text, Markdown, CSV and LaTeX: the papers' Table 2. No torch here."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence

import pandas as pd

from crosstask.benchmark.comparison import Comparison
from crosstask.benchmark.scores import per_case
from crosstask.methods import BASELINE, METHODS

CONSTANT_LABEL = "constant"

_CSV_COLUMNS = (
    "dataset",
    "method",
    "task",
    "metric",
    "unit",
    "higher_is_better",
    "value",
    "seed_deviation",
    "improvement_percent",
    "improvement_low",
    "improvement_high",
    "mean_improvement_percent",
    "rank",
)


_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "%_&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
    }
)


def label(method: str) -> str:
    """How tables write a method."""
    return METHODS[method].label if method in METHODS else method


def header(comparison: Comparison) -> list[str]:
    """Column titles."""
    titles = ["Data set", "Method"]
    for measure in comparison.measures:
        arrow = "up" if measure.higher_is_better else "down"
        unit = f" {measure.unit}" if measure.unit else ""
        titles += [f"M {measure.task}: {measure.metric}{unit} ({arrow})", f"Δ {measure.task} [95 %]"]
    return [*titles, "Δ mean [95 %]", "Rank"]


def body(comparison: Comparison, floor: Mapping[str, float] | None = None) -> list[list[str]]:
    """Rows of the table; ``floor`` is M of the constant predictor per task, put first."""
    rows = []
    baseline = any(row.method == BASELINE for row in comparison.rows)
    if floor:
        cells = [text for measure in comparison.measures for text in (_number(floor[measure.task]), "")]
        rows.append([comparison.dataset, CONSTANT_LABEL, *cells, "", ""])
    for row in comparison.rows:
        cells = []
        for measure in comparison.measures:
            cell = row.cells[measure.task]
            spread = f" ± {cell.deviation:.2f}" if math.isfinite(cell.deviation) else ""
            gain = _gain(cell.improvement, cell.low, cell.high)
            if not gain and row.method != BASELINE and baseline:
                gain = "undefined: STL is 0"
            cells += [_number(cell.value) + spread, gain]
        mean = _gain(row.mean.improvement, row.mean.low, row.mean.high)
        rows.append([comparison.dataset, label(row.method), *cells, mean, str(row.rank or "")])
    return rows


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _gain(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return ""
    interval = f" [{low:+.2f}, {high:+.2f}]" if math.isfinite(low) else ""
    return f"{value:+.2f} %{interval}"


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, for a terminal or a log."""
    widths = [max(len(row[index]) for row in [titles, *rows]) for index in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([line(titles), line(["-" * width for width in widths]), *map(line, rows)]) + "\n"


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines) + "\n"


def latex_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular (needs the package booktabs)."""

    def escape(text: str) -> str:
        return text.translate(_LATEX)

    lines = [
        r"\begin{tabular}{ll" + "r" * (len(titles) - 2) + "}",
        r"\toprule",
        " & ".join(map(escape, titles)) + r" \\",
        r"\midrule",
        *(" & ".join(map(escape, row)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def csv_table(comparisons: Sequence[Comparison], floors: Sequence[Mapping[str, float]]) -> str:
    """Every figure unrounded, one row per data set, method and task."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for comparison, floor in zip(comparisons, floors, strict=True):
        for measure in comparison.measures:
            head = [measure.task, measure.metric, measure.unit, measure.higher_is_better]
            if floor:
                writer.writerow([comparison.dataset, CONSTANT_LABEL, *head, floor[measure.task], *[""] * 6])
            for row in comparison.rows:
                cell = row.cells[measure.task]
                figures = [cell.value, cell.deviation, cell.improvement, cell.low, cell.high, row.mean.improvement]
                shown = ["" if math.isnan(figure) else figure for figure in figures]
                writer.writerow([comparison.dataset, row.method, *head, *shown, row.rank or ""])
    return text.getvalue()


def floor_of(constant: pd.DataFrame, comparison: Comparison) -> dict[str, float]:
    """M of the constant predictor per task."""
    means = per_case(constant)
    return {
        measure.task: float(
            means[(means["task"] == measure.task) & (means["metric"] == measure.metric)]["value"].mean()
        )
        for measure in comparison.measures
    }


def all_metrics(scores: pd.DataFrame, methods: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method: mean over cases and seeds, by class where a task has several.

    The OpenKBP DVH score is a mean over all cells of all patients at once, as the challenge defines it.
    """
    titles = ["Task", "Metric", "Class", "Unit", *map(label, methods)]
    rows = []
    for (task, metric), part in scores.groupby(["task", "metric"], sort=False):
        if str(metric).startswith("dvh_error_"):
            continue
        unit = str(part["unit"].iloc[0])
        classes = [name for name in part["class"].drop_duplicates() if name and name != task]
        for name in classes if len(classes) > 1 else []:
            rows.append([task, metric, name, unit, *_means(part[part["class"] == name], methods)])
        over = per_case(part)
        rows.append([task, metric, "mean" if len(classes) > 1 else "", unit, *_means(over, methods)])
    cells = scores[scores["metric"].str.startswith("dvh_error_")]
    for task, part in cells.groupby("task", sort=False):
        rows.append([task, "dvh_score", "", str(part["unit"].iloc[0]), *_means(part, methods)])
    return titles, [[str(cell) for cell in row] for row in rows]


def _means(part: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    means = part.groupby("method")["value"].mean()
    return [_number(float(means[method])) if method in means else "" for method in methods]
