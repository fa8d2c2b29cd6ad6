"""The tables and the page of a comparison by scores alone; no runs are needed. No torch here."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.compact import joined
from crosstask.evaluation.comparison import Cell, Comparison
from crosstask.evaluation.foreign import Scores
from crosstask.evaluation.scores import COLUMNS
from crosstask.files import writing
from crosstask.report.charts.cases import box_figures, rival_figures
from crosstask.report.charts.figure import entries
from crosstask.report.charts.gains import improvement_figure, spread_figure
from crosstask.report.forms import interval_parts, verdict_parts, write_forms
from crosstask.report.markup import html_table
from crosstask.report.notes import table_notes
from crosstask.report.page import FIGURES, Page, Section, write_page
from crosstask.report.summary import cards, headline
from crosstask.report.tables import CONSTANT_LABEL, all_metrics, floor_of, markdown_table

_PAGE = "index.html"
_FILES = frozenset({_PAGE, FIGURES, "table.txt", "table.md", "table.csv", "table.tex", "verdict.csv"})
GENERATOR = "crosstask compare"
_MARK = f"<meta name=generator content='{GENERATOR}'>"


def must_be_own(folder: Path) -> None:
    """Make sure that a folder is new, empty, or holds an earlier comparison and nothing else.

    Raises:
        InputError: it holds something else, or is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    page = folder / _PAGE
    if strange := sorted(names - _FILES):
        raise InputError(
            f"{folder}: holds {strange[0]}, which is none of a comparison's files; give a new folder, nothing else is "
            "overwritten"
        )
    if not page.is_file() or _MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{folder}: holds files that no comparison has written; give a new folder")


def write_compared(comparison: Comparison, scores: Scores, output: Path) -> Path:
    """Write the page with its figures, ``table.txt``, ``.md``, ``.csv``, ``.tex`` and ``verdict.csv``; return the page.

    Args:
        comparison: the methods compared.
        scores: what it was made of.
        output: where to write; see :func:`must_be_own`.
    """
    floor = {} if scores.constant is None else floor_of(scores.constant, comparison)
    titles, metrics = _every_metric(comparison, scores)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    page = output / _PAGE
    write_page(_page(comparison, scores, floor, html_table(titles, metrics)), page)
    write_forms([comparison], [floor], output, more=markdown_table(titles, metrics))
    return page


def _every_metric(comparison: Comparison, scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method, and of the constant predictor where there is one."""
    methods = [row.method for row in comparison.rows]
    tasks = [measure.task for measure in comparison.measures]
    shown = methods if scores.constant is None else [CONSTANT_LABEL, *methods]
    tables = [scores.table] if scores.constant is None else [scores.constant, scores.table]
    whole = joined([pd.DataFrame({name: table[name] for name in COLUMNS}, copy=False) for table in tables])
    wanted = whole["task"].isin(tasks)
    return all_metrics(whole if wanted.all() else whole[wanted], shown, tasks=tasks, label=comparison.label)


def _page(comparison: Comparison, scores: Scores, floor: Mapping[str, Cell], metrics: str) -> Page:
    baseline = comparison.label(str(comparison.baseline))
    looks = entries({row.method: comparison.label(row.method) for row in comparison.rows})
    gains, spread = improvement_figure(comparison), spread_figure(comparison)
    told = [note for note in table_notes([comparison]) if not note.startswith("Warning")]
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in told)
    verdict = [verdict_parts(comparison, floor), gains, spread, interval_parts(comparison), notes]
    figures = [*box_figures(scores.table, comparison, looks), *rival_figures(scores.table, comparison, looks)]
    count = len(comparison.rows)
    return Page(
        f"{comparison.dataset}: methods compared with {baseline}",
        headline(comparison),
        f"{max(comparison.cases.values(), default=0)} cases · {count} methods · scores alone",
        [
            Section("verdict", "Verdict", [part for part in verdict if part]),
            Section("case-by-case", "Case by case", figures),
            Section("figures", "All figures", [metrics]),
        ],
        [note.removeprefix("Warning: ") for note in table_notes([comparison]) if note.startswith("Warning")],
        cards(comparison, looks, {}),
        GENERATOR,
    )
