"""Readings as the page, ``readings.md`` and ``readings.csv`` show them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crosstask.evaluation.readings import COLUMNS
from crosstask.readings import Reading, check_readings, readings_from, readings_text
from crosstask.report.readings import readings_notes, readings_parts, readings_table, write_readings


def figures(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


GATES = figures(
    ("Gates", "ctan-gated", 0, "", "a looks at b", "stage 1", 0.25, "How open."),
    ("Gates", "ctan-gated", 0, "", "a looks at b", "bottleneck", 1.0, "How open."),
    ("Gates", "ctan-gated", 1, "", "a looks at b", "stage 1", 0.75, "How open."),
    ("Gates", "ctan-gated", 1, "", "a looks at b", "bottleneck", 0.5, "How open."),
    ("Gates", "ctan-gated+dwa", 0, "", "<b>", "stage 1", 0.125, "How open."),
)


def test_over_seeds_it_is_the_mean_with_the_lowest_and_the_highest() -> None:
    titles, rows = readings_table(GATES)
    assert titles == ["Method", "What", "stage 1", "bottleneck"]
    assert rows == [
        ["Gated CTAN", "a looks at b", "0.50 [0.25, 0.75]", "0.75 [0.50, 1.00]"],
        ["Gated CTAN + DWA", "<b>", "0.12", ""],
    ]
    assert readings_notes(GATES) == [
        "How open.",
        "Of the weights of the last epoch; mean over seeds, in brackets the lowest and the highest.",
    ]
    assert readings_notes(GATES[GATES["seed"] == 0])[1] == "Of the weights of the last epoch."


def test_runs_of_one_task_each_have_rows_of_their_own() -> None:
    alone = figures(*[("Gates", "stl", 0, task, "x", "y", value, "") for task, value in (("a", 1.0), ("b", 2.0))])
    assert readings_table(alone) == (
        ["Method", "Task", "What", "y"],
        [["STL", "a", "x", "1.00"], ["STL", "b", "x", "2.00"]],
    )


def test_the_page_has_a_table_a_reading_and_no_markup_of_a_name() -> None:
    other = figures(("Units & more", "cross_stitch", 0, "", "x", "y", -1.5, "Weights."))
    page = "".join(readings_parts(pd.concat([GATES, other], ignore_index=True)))
    assert page.count("<table>") == 2 and "<h3>Gates</h3>" in page and "<h3>Units &amp; more</h3>" in page
    assert "0.50 [0.25, 0.75]" in page and "-1.50" in page and "&lt;b&gt;" in page and "<b>" not in page
    assert readings_parts(figures()) == []


def test_files_are_written_and_those_from_before_removed(tmp_path: Path) -> None:
    write_readings(GATES, tmp_path)
    back = pd.read_csv(tmp_path / "readings.csv", keep_default_na=False)
    assert list(back.columns) == list(COLUMNS[:-1])
    assert back["value"].tolist() == GATES["value"].tolist()
    assert "| Gated CTAN | a looks at b |" in (tmp_path / "readings.md").read_text()
    write_readings(figures(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_of_readings_comes_back() -> None:
    readings = [Reading("Gates", "How open.", {"a looks at b": {"stage 1": 1 / 3}}), Reading("None", "")]
    assert readings_from(readings_text(check_readings(readings))) == readings
    for damaged in ("", "[1]", "{}", '[{"title": "a"}]', '[{"title": "a", "note": "", "values": []}]'):
        with pytest.raises(ValueError, match=r".+"):
            readings_from(damaged)
