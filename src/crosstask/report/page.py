"""The benchmark's page: tables, pictures, and how the figures came about; one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crosstask.benchmark.comparison import Comparison
from crosstask.experiment import Experiment
from crosstask.report.figures import case_plot, example_picture, improvement_plot, learning_curves
from crosstask.report.tables import (
    all_metrics,
    body,
    csv_table,
    floor_of,
    header,
    label,
    latex_table,
    markdown_table,
    text_table,
)
from crosstask.runs import EXAMPLES, HISTORY, RunPlan, read_record, write_atomically

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 0.9rem; display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
thead th { border-bottom: 2px solid #888; white-space: normal; }
img { max-width: 100%; } .note { color: #555; font-size: 0.9rem; }
"""


def write_report(
    experiment: Experiment,
    plans: Sequence[RunPlan],
    scores: pd.DataFrame,
    constant: pd.DataFrame,
    comparison: Comparison,
    output: Path,
) -> Path:
    """Write ``table.txt``, ``table.md``, ``table.csv``, ``table.tex`` and ``index.html``; return the page.

    Args:
        experiment: the experiment.
        plans: its runs, all done.
        scores: their scores.
        constant: scores of the constant predictor.
        comparison: the methods compared.
        output: where to write.
    """
    floor = floor_of(constant, comparison)
    titles, rows = header(comparison), body(comparison, floor)
    both = pd.concat([constant, scores], ignore_index=True)
    metric_titles, metric_rows = all_metrics(both, ["constant", *experiment.methods])
    notes = _notes(experiment, comparison, plans)
    write_atomically(output / "table.txt", text_table(titles, rows))
    write_atomically(
        output / "table.md",
        "\n".join([markdown_table(titles, rows), markdown_table(metric_titles, metric_rows), notes, ""]),
    )
    write_atomically(output / "table.csv", csv_table([comparison], [floor]))
    write_atomically(output / "table.tex", latex_table(titles, rows))
    parts = [
        f"<h1>{html.escape(experiment.name)}</h1>",
        "<h2>Comparison</h2>",
        _html_table(titles, rows),
        f"<p class=note>{html.escape(notes)}</p>",
    ]
    for title, picture in _pictures(comparison, plans, scores):
        parts.append(f"<h2>{html.escape(title)}</h2>{_image(picture, title)}")
    parts += ["<h2>All figures</h2>", _html_table(metric_titles, metric_rows), "<h2>Runs</h2>", _runs(plans)]
    page = output / "index.html"
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(experiment.name)}: multi-task comparison</title><style>{_STYLE}</style>"
        f"<body>{''.join(parts)}</body></html>"
    )
    write_atomically(page, text)
    return page


def _notes(experiment: Experiment, comparison: Comparison, plans: Sequence[RunPlan]) -> str:
    cases = ", ".join(f"{count} test cases for {task}" for task, count in comparison.cases.items())
    seconds = sum(read_record(plan.folder)["training"]["seconds"] for plan in plans)
    return (
        f"M: mean over cases and seeds ({cases}; {comparison.seeds} seed{'s' * (comparison.seeds > 1)}). "
        "Δ: improvement over STL, eq. (3) of Kim et al. (2023), positive is better, from unrounded M; in brackets its "
        "95 % interval by a paired bootstrap over the cases, which does not cover the chance of training itself. "
        "± is the standard deviation over seeds. constant: the best prediction that does not look at the image. "
        f"The best epoch was chosen on validation cases. Training took {seconds / 60:.1f} minutes, all runs added."
    )


def _pictures(comparison: Comparison, plans: Sequence[RunPlan], scores: pd.DataFrame) -> list[tuple[str, bytes]]:
    pictures: list[tuple[str, bytes]] = []
    gains = improvement_plot(comparison)
    if gains is not None:
        pictures.append(("Improvement over single-task learning", gains))
    examples: dict[str, list[Any]] = {}
    for plan in plans:
        path = plan.folder / EXAMPLES
        if path.exists() and plan.seed == plans[0].seed:
            with np.load(path) as arrays:
                examples.setdefault(plan.method.name, []).append(dict(arrays))
    if examples:
        first = next(iter(examples.values()))[0]
        pictures += [(f"Case {case}", example_picture(str(case), examples)) for case in first["cases"]]
    pictures.append(("Cases", case_plot(scores, comparison)))
    histories: dict[str, list[pd.DataFrame]] = {}
    for plan in plans:
        histories.setdefault(plan.method.name, []).append(pd.read_csv(plan.folder / HISTORY))
    pictures.append(
        (
            "Learning curves on validation (0: constant predictor, 1: perfect)",
            learning_curves(histories, [measure.task for measure in comparison.measures]),
        )
    )
    return pictures


def _runs(plans: Sequence[RunPlan]) -> str:
    titles = ["Run", "Method", "Seed", "Parameters", "Epochs", "Best epoch", "Validation score", "Minutes", "Revision"]
    rows = []
    for plan in plans:
        record = read_record(plan.folder)
        training = record["training"]
        score = training["best_score"]
        rows.append(
            [
                plan.name,
                label(plan.method.name),
                str(plan.seed),
                f"{record['parameters']:,}",
                str(training["epochs"]),
                str(training["best_epoch"] + 1),
                "" if score is None else f"{score:.4f}",
                f"{training['seconds'] / 60:.1f}",
                (record["environment"]["revision"] or "")[:12],
            ]
        )
    record = read_record(plans[0].folder)
    environment = record["environment"]
    machine = f"{environment['processor']}, {environment['cores']} cores; torch {environment['packages']['torch']}"
    data = f"{record['data']['dataset']}, licence: {record['data']['licence']}, {record['data']['citation']}"
    return f"{_html_table(titles, rows)}<p class=note>{html.escape(machine)}. Data: {html.escape(data)}</p>"


def _html_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _image(data: bytes, text: str) -> str:
    return f"<img alt='{html.escape(text)}' src='data:image/png;base64,{base64.b64encode(data).decode()}'>"
