"""The tables and the page of a comparison by scores alone; no runs are needed. No torch here."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.foreign import Scores
from crosstask.files import write_atomically, writing
from crosstask.report.figures import case_plot, improvement_plot
from crosstask.report.forms import as_html, write_forms
from crosstask.report.markup import STYLE, html_table
from crosstask.report.tables import CONSTANT_LABEL, all_metrics, floor_of, markdown_table

_PAGE = "index.html"
_FILES = frozenset({_PAGE, "table.txt", "table.md", "table.csv", "table.tex", "verdict.csv"})
_MARK = "<meta name=generator content='crosstask compare'>"


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
    """Write ``index.html``, ``table.txt``, ``.md``, ``.csv``, ``.tex`` and ``verdict.csv``; return the page.

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
    write_atomically(page, _page(comparison, scores, as_html(comparison, floor), html_table(titles, metrics)))
    write_forms([comparison], [floor], output, more=markdown_table(titles, metrics))
    return page


def _every_metric(comparison: Comparison, scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method, and of the constant predictor where there is one."""
    methods = [row.method for row in comparison.rows]
    tasks = [measure.task for measure in comparison.measures]
    shown = methods if scores.constant is None else [CONSTANT_LABEL, *methods]
    tables = [scores.table] if scores.constant is None else [scores.constant, scores.table]
    whole = pd.concat(tables, ignore_index=True)
    return all_metrics(whole[whole["task"].isin(tasks)], shown, tasks=tasks, label=comparison.label)


def _page(comparison: Comparison, scores: Scores, verdict: str, metrics: str) -> str:
    parts = [
        f"<h1>{html.escape(comparison.dataset)}: methods compared with "
        f"{html.escape(comparison.label(str(comparison.baseline)))}</h1>",
        f"<h2>Verdict</h2>{verdict}",
    ]
    pictures = {"Improvement": improvement_plot(comparison), "Cases": case_plot(scores.table, comparison)}
    for title, picture in pictures.items():
        if picture is not None:
            encoded = base64.b64encode(picture).decode()
            parts.append(f"<h2>{title}</h2><img alt='{title}' src='data:image/png;base64,{encoded}'>")
    parts.append(f"<h2>All figures</h2>{metrics}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{_MARK}"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(comparison.dataset)}: comparison</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )
