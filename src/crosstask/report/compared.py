"""The tables and the page of a comparison by scores alone; no runs are needed. No torch here."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd

from crosstask.csv_cells import frame_text
from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison
from crosstask.evaluation.foreign import Scores
from crosstask.files import write_atomically, writing
from crosstask.report.figures import case_plot, improvement_plot
from crosstask.report.markup import STYLE, html_table
from crosstask.report.notes import table_notes
from crosstask.report.tables import (
    CONSTANT_LABEL,
    all_metrics,
    comparison_table,
    csv_table,
    floor_of,
    latex_table,
    markdown_notes,
    markdown_table,
    remark_lines,
    text_table,
)

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
    titles, rows = comparison_table([comparison], [floor])
    remarks = table_notes([comparison])
    metric_titles, metrics = _every_metric(comparison, scores)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    page = output / _PAGE
    write_atomically(page, _page(comparison, scores, (titles, rows), remarks, (metric_titles, metrics)))
    write_atomically(output / "table.txt", text_table(titles, rows) + remark_lines(remarks))
    parts = [markdown_table(titles, rows), markdown_notes(remarks), markdown_table(metric_titles, metrics)]
    write_atomically(output / "table.md", "\n".join(parts))
    write_atomically(output / "table.csv", csv_table([comparison], [floor]))
    write_atomically(output / "table.tex", latex_table(titles, rows, remarks))
    write_atomically(output / "verdict.csv", frame_text(comparison.to_frame()))
    return page


def verdict_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the verdicts, by method and task."""
    interval = f"[{100 * comparison.level:g} %]"
    titles = [
        "Method",
        "Task",
        f"Δ {interval}",
        f"Difference {interval}",
        "p",
        "p, adjusted",
        "Verdict",
        "Runs",
        "Groups",
    ]
    rows = []
    for line in comparison.to_frame().to_dict("records"):
        unit = f" {line['unit']}" if line["unit"] else ""
        gain = _with_interval(line["improvement"], line["low"], line["high"], " %")
        difference = _with_interval(line["difference"], line["difference_low"], line["difference_high"], unit)
        chances = [_chance(line["p"]), _chance(line["p_adjusted"])]
        rows.append(
            [
                comparison.label(str(line["method"])),
                str(line["task"]),
                gain,
                difference,
                *chances,
                str(line["verdict"]),
                str(line["seeds"]),
                str(line["groups"]),
            ]
        )
    return titles, rows


def _with_interval(value: float, low: float, high: float, unit: str) -> str:
    if not math.isfinite(value):
        return ""
    interval = f" [{low:+.3g}, {high:+.3g}]" if math.isfinite(low) and math.isfinite(high) else ""
    return f"{value:+.3g}{unit}{interval}"


def _chance(p: float) -> str:
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _every_metric(comparison: Comparison, scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Every metric of every method, and of the constant predictor where there is one."""
    methods = [row.method for row in comparison.rows]
    tasks = [measure.task for measure in comparison.measures]
    shown = methods if scores.constant is None else [CONSTANT_LABEL, *methods]
    tables = [scores.table] if scores.constant is None else [scores.constant, scores.table]
    whole = pd.concat(tables, ignore_index=True)
    titles, rows = all_metrics(whole[whole["task"].isin(tasks)], shown, tasks=tasks)
    labels = [method if method == CONSTANT_LABEL else comparison.label(method) for method in shown]
    return [*titles[: len(titles) - len(shown)], *labels], rows


def _page(
    comparison: Comparison,
    scores: Scores,
    table: tuple[list[str], list[list[str]]],
    remarks: list[str],
    metrics: tuple[list[str], list[list[str]]],
) -> str:
    parts = [
        f"<h1>{html.escape(comparison.dataset)}: methods compared with "
        f"{html.escape(comparison.label(str(comparison.baseline)))}</h1>",
        "<h2>Comparison</h2>",
        html_table(*table),
        *(f"<p class={_mark(remark)}>{html.escape(remark)}</p>" for remark in remarks),
        "<h2>Verdicts</h2>",
        html_table(*verdict_table(comparison)),
    ]
    pictures = {"Improvement": improvement_plot(comparison), "Cases": case_plot(scores.table, comparison)}
    for title, picture in pictures.items():
        if picture is not None:
            encoded = base64.b64encode(picture).decode()
            parts.append(f"<h2>{title}</h2><img alt='{title}' src='data:image/png;base64,{encoded}'>")
    parts += ["<h2>All figures</h2>", html_table(*metrics)]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{_MARK}"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(comparison.dataset)}: comparison</title><style>{STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )


def _mark(remark: str) -> str:
    return "warning" if remark.startswith("Warning") else "note"
