"""Ensembles of seeds beside their seeds, as tables. No torch here."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from crosstask.csv_cells import csv_text
from crosstask.evaluation.ensembles import OF_SPREAD, EnsembleFigure
from crosstask.evaluation.scored import ON_VALIDATION, mirrored_remarks
from crosstask.experiment import EvaluationSection
from crosstask.files import write_atomically
from crosstask.functional.uncertainty import WITHIN_ONE, WITHIN_TWO
from crosstask.methods import label_of
from crosstask.report.markup import html_table
from crosstask.report.tables import markdown_notes, markdown_table, remark_lines, text_table
from crosstask.report.words import level_text, number

NAME = "ensembles"
"""Name of the files, before their endings."""
_ENDINGS = (".csv", ".md", ".txt")
_COLUMNS = (
    "method",
    "task",
    "metric",
    "unit",
    "higher_is_better",
    "seeds",
    "mean_of_seeds",
    "ensemble",
    "low",
    "high",
    "cases",
)
NOTE = (
    "The seeds of a method as one predictor: probabilities and quantities are averaged case by case, findings decided "
    "by the mean of the seeds' thresholds. There is one ensemble of each method, so the chance of training it is not "
    "known: brackets hold the cases alone, and there is neither verdict nor rank. It costs as many networks as "
    "there are seeds, so it is no rival of the methods above, which are judged by single runs. Calibration of masks is "
    "that of single voxels in the region (everywhere where there is none), mean over structures and cases."
)
SPREAD_NOTE = (
    "The spread is the standard deviation over seeds. It knows what training leaves to chance and nothing else, "
    "neither noise of labels nor cases of another kind, so it usually holds less than the "
    f"{WITHIN_ONE:g} and {WITHIN_TWO:g} % of a normal distribution; the correlation (Spearman, over voxels or cases) "
    "says whether it is large where the error is."
)


def ensembles_table(figures: Sequence[EnsembleFigure], level: float) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: each metric of the seeds alone and together."""
    titles = ["Method", "Task", "Metric", "Mean of seeds", "Ensemble", f"{level_text(level)}: cases only"]
    rows = []
    for one in figures:
        if one.metric in OF_SPREAD:
            continue
        arrow = "" if one.higher_is_better is None else " ↑" if one.higher_is_better else " ↓"
        unit = f" ({one.unit})" if one.unit else ""
        interval = f"[{number(one.low)}, {number(one.high)}]" if math.isfinite(one.low) else ""
        method = f"{label_of(one.method)} x {one.seeds}"
        rows.append([method, one.task, f"{one.metric}{unit}{arrow}", number(one.alone), number(one.together), interval])
    return titles, rows


def spread_table(figures: Sequence[EnsembleFigure]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: of each quantity what the spread over seeds says of its error."""
    titles = ["Method", "Task", f"Within 1 SD ({WITHIN_ONE:g} %)", f"Within 2 SD ({WITHIN_TWO:g} %)", "Correlation"]
    known = {(one.method, one.task, one.metric): one.together for one in figures if one.metric in OF_SPREAD}
    rows = []
    for method, task in dict.fromkeys((method, task) for method, task, _ in known):
        values = [known.get((method, task, metric), math.nan) for metric in OF_SPREAD]
        shares = [f"{value:.1f} %" if math.isfinite(value) else "" for value in values[:2]]
        rows.append([label_of(method), task, *shares, number(values[2])])
    return titles, rows


def ensembles_csv(figures: Sequence[EnsembleFigure]) -> str:
    """Every figure unrounded."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for one in figures:
        higher = "" if one.higher_is_better is None else one.higher_is_better
        values = [value if math.isfinite(value) else "" for value in (one.alone, one.together, one.low, one.high)]
        rows.append([one.method, one.task, one.metric, one.unit, higher, one.seeds, *values, one.cases])
    return csv_text(rows)


def _notes(evaluation: EvaluationSection) -> list[str]:
    """What a reader must know of the first table."""
    remarks = [ON_VALIDATION] if evaluation.split == "validation" else []
    return [NOTE, *remarks, *mirrored_remarks(evaluation)]


def ensembles_text(figures: Sequence[EnsembleFigure], evaluation: EvaluationSection) -> str:
    """Both tables for a terminal, with what a reader must know."""
    text = text_table(*ensembles_table(figures, evaluation.level)) + remark_lines(_notes(evaluation))
    titles, rows = spread_table(figures)
    return f"{text}\n{text_table(titles, rows)}{remark_lines([SPREAD_NOTE])}" if rows else text


def ensembles_parts(figures: Sequence[EnsembleFigure], evaluation: EvaluationSection) -> list[str]:
    """The same as parts of the page."""
    parts = [html_table(*ensembles_table(figures, evaluation.level))]
    parts.append(f"<p class=note>{html.escape(' '.join(_notes(evaluation)))}</p>")
    titles, rows = spread_table(figures)
    if rows:
        parts += [html_table(titles, rows), f"<p class=note>{html.escape(SPREAD_NOTE)}</p>"]
    return parts


def write_ensembles(figures: Sequence[EnsembleFigure] | None, evaluation: EvaluationSection, output: Path) -> None:
    """Write ``ensembles.csv``, ``.md`` and ``.txt``, or remove those from before."""
    if not figures:
        for ending in _ENDINGS:
            (output / f"{NAME}{ending}").unlink(missing_ok=True)
        return
    titles, rows = spread_table(figures)
    spread = f"\n{markdown_table(titles, rows)}\n{markdown_notes([SPREAD_NOTE])}" if rows else ""
    table = markdown_table(*ensembles_table(figures, evaluation.level))
    markdown = f"{table}\n{markdown_notes(_notes(evaluation))}{spread}"
    for ending, text in zip(
        _ENDINGS, (ensembles_csv(figures), markdown, ensembles_text(figures, evaluation)), strict=True
    ):
        write_atomically(output / f"{NAME}{ending}", text)
