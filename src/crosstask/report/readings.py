"""What the networks have learned to do, in figures: gates between tasks and the like. No torch here."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from crosstask.csv_cells import frame_text
from crosstask.files import write_atomically
from crosstask.methods import label_of
from crosstask.report.markup import html_table
from crosstask.report.tables import markdown_notes, markdown_table
from crosstask.report.words import mean_and_range

CSV, MARKDOWN = "readings.csv", "readings.md"


def readings_table(figures: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of one reading: a row a method and row of it; over several seeds means with lowest and highest.

    Args:
        figures: rows of :func:`crosstask.evaluation.readings.collect_readings` of one reading.
    """
    several = figures["task"].ne("").any()
    columns = list(dict.fromkeys(figures["column"]))
    rows = []
    for (method, task, row), own in figures.groupby(["method", "task", "row"], sort=False):
        by_column = dict(iter(own.groupby("column")["value"]))
        cells = [mean_and_range(by_column.get(column, ()), ".2f") for column in columns]
        rows.append([label_of(str(method)), *([str(task)] if several else []), str(row), *cells])
    return ["Method", *(["Task"] if several else []), "What", *columns], rows


def readings_notes(figures: pd.DataFrame) -> list[str]:
    """What the figures of one reading are."""
    how = "Of the weights of the last epoch"
    if figures["seed"].nunique() > 1:
        how += "; mean over seeds, in brackets the lowest and the highest"
    return [*dict.fromkeys(figures["note"]), f"{how}."]


def readings_parts(readings: pd.DataFrame) -> list[str]:
    """Parts of the page: a table a reading."""
    parts = []
    for title, figures in readings.groupby("reading", sort=False):
        note = " ".join(readings_notes(figures))
        parts += [
            f"<h3>{html.escape(str(title))}</h3>",
            html_table(*readings_table(figures)),
            f"<p class=note>{html.escape(note)}</p>",
        ]
    return parts


def write_readings(readings: pd.DataFrame, output: Path) -> None:
    """Write ``readings.csv``, all figures unrounded, and the tables as ``readings.md``; or remove those from before."""
    if not len(readings):
        for name in (CSV, MARKDOWN):
            (output / name).unlink(missing_ok=True)
        return
    write_atomically(output / CSV, frame_text(readings.drop(columns="note")))
    parts = [
        f"## {title}\n\n{markdown_table(*readings_table(figures))}\n{markdown_notes(readings_notes(figures))}"
        for title, figures in readings.groupby("reading", sort=False)
    ]
    write_atomically(output / MARKDOWN, "\n".join(parts))
