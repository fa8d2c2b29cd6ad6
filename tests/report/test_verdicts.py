"""The verdict in every form of a comparison: its words, its level, and what the intervals cover."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crosstask.evaluation.average import average
from crosstask.evaluation.comparison import Comparison, compare
from crosstask.evaluation.contrast import Part, Spread
from crosstask.evaluation.scores import score_table
from crosstask.evaluation.verdict import outlook
from crosstask.report.charts.gains import improvement_figure, spread_figure
from crosstask.report.forms import as_html, as_latex, as_markdown, as_text, write_forms
from crosstask.report.tables import body, comparison_table
from crosstask.report.verdicts import prospects, verdict_frame, verdict_sentences, verdict_table
from crosstask.report.words import covers_of, rank_text

KINDS = (("organs", "c", "dice", "%", True), ("dose", "d", "mae", "Gy", False), ("age", "age", "mae", "years", False))
FORMS = ("table.txt", "table.md", "table.csv", "table.tex", "verdict.csv", "html")
GAINS = {"stl": 0.0, "hps": 0.05, "mtan": -0.05, "ctan": 0.0, "nddr": 0.004}
SPREADS = {"ctan": 0.0005, "nddr": 0.02, "stl": 0.0005}


def compared(
    seeds: int | Mapping[str, int] = 4, tasks: int = 2, gains: Mapping[str, float] = GAINS, **options
) -> Comparison:
    """Methods whose relative gains and scatter of runs (SPREADS) are known, evenly spaced over runs and cases."""
    rows = []
    for method, gain in gains.items():
        number = seeds if isinstance(seeds, int) else seeds.get(method, 4)
        runs = np.linspace(-1, 1, number) * SPREADS.get(method, 0.002) if number > 1 else [0.0]
        for seed, run in enumerate(runs):
            for *kind, higher in KINDS[:tasks]:
                for i, case in enumerate(np.linspace(-0.2, 0.2, 12)):
                    value = 50 * (1 + case + 0.001 * (i % 3)) * (1 + (gain + run) * (1 if higher else -1))
                    name = f"s{seed}c{i}" if options.get("by_seed") else f"c{i}"
                    rows.append((method, seed, name, *kind[:3], value, kind[3], higher))
    given = {"dataset": "tiny", "methods": tuple(gains), "resamplings": 200, **options}
    return compare(score_table(rows), **given)


def written(comparison: Comparison, folder: Path) -> dict[str, str]:
    """Every form of a comparison, as one reads it."""
    write_forms([comparison], [{}], folder)
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in FORMS[:-1]}
    texts["table.tex"] = texts["table.tex"].replace("\\", "")
    return {**texts, "html": html.unescape(re.sub("<[^>]+>", " ", as_html(comparison, {})))}


def sentence(comparison: Comparison, method: str) -> str:
    (words,) = [words for words in verdict_sentences(comparison) if words.startswith(f"{method}: ")]
    return words


# Words


def test_each_verdict_has_its_words():
    found = compared()
    cells = {row.method: row.mean for row in found.rows}
    assert [cells[name].verdict for name in GAINS] == ["", "better", "worse", "equivalent", "not distinguishable"]
    by, cases = r"by 5\.00 % \[4\.\d\d, 5\.\d\d\] on average", r"\(runs and cases; organs: better; dose: better\)"
    assert re.match(rf"HPS: better than STL {by} {cases}\.$", sentence(found, "HPS"))
    assert re.match(rf"MTAN: worse than STL {by}", sentence(found, "MTAN"))
    assert re.match(r"CTAN: equivalent to STL within 1 %: [+-]0\.00 % \[-0\.\d\d, \+0\.\d\d\]", sentence(found, "CTAN"))
    undecided, gain = sentence(found, "NDDR-CNN"), cells["nddr"].gain
    assert undecided.startswith("NDDR-CNN: not distinguishable from STL: +0.40 % [-")
    told = outlook(gain.improvement, gain.spread, margin=1.0, level=0.95)
    assert told and undecided.endswith(f"; {told}.")
    assert len(verdict_sentences(found)) == 4  # nothing is said of STL


def test_a_certain_difference_within_the_margin_is_called_too_small():
    found = compared(gains={"stl": 0.0, "ctan": 0.006}, margin=2.0)
    assert found.rows[1].mean.verdict == "better"
    assert "which is within the margin of 2 %" in sentence(found, "CTAN")
    assert "too small to matter by the margin of 2 %" in as_text([found], [{}])
    wide = compared(gains={"stl": 0.0, "ctan": 0.006}, margin=0.5)
    assert "too small" not in as_text([wide], [{}]) and "within the margin" not in sentence(wide, "CTAN")


def test_a_worse_error_is_told_by_its_size_and_the_difference_in_its_own_unit():
    titles, rows = verdict_table([compared()])
    line = next(dict(zip(titles, row, strict=True)) for row in rows if row[:2] == ["MTAN", "dose"])
    (difference,) = [text for title, text in line.items() if title.startswith("Difference")]
    assert re.match(r"\+2\.5\d Gy \[\+2\.\d\d, \+2\.\d\d\]", difference)  # 5 % of 50.05 Gy more
    assert line["Verdict"] == "worse" and line["Runs won"] == "0 %" and line["Cases won"] == "0 %"
    assert line["p"] == "<0.001"


@pytest.mark.parametrize(("rank", "text"), [((1, 1), "1"), ((1, 3), "1-3"), (None, "")])
def test_ranks_are_written_one_way(rank, text):
    assert rank_text(rank) == text


def test_ranks_that_cannot_be_told_apart_stand_as_intervals():
    found = compared()
    ranks = {row[1]: row[-1] for row in body(found)}
    assert ranks == {"HPS": "1", "MTAN": "5", "STL": "2-4", "CTAN": "2-4", "NDDR-CNN": "2-4"}
    assert "Rank 1-3 means that these ranks cannot be told apart." in as_text([found], [{}])
    titles, rows = comparison_table([compared(tasks=3)], [{}])
    assert dict(zip(titles, rows[-1], strict=True)) | ranks == dict(zip(titles, rows[-1], strict=True))


def test_what_fails_by_the_adjustment_alone_is_not_said_to_be_beyond_any_number_of_seeds():
    spread = Spread((Part("runs", 0.1, 5), Part("runs", 0.1, 5), Part("cases", 0.1, 100)))
    gain = 1.05 * spread.half_width(0.95)  # its own interval leaves out zero
    assert outlook(gain, spread, margin=0.1, level=0.95).startswith("alone it would be told from none, adjusted ")
    assert "would tell it from none;" in outlook(0.9 * gain, spread, margin=0.1, level=0.95)


# Every form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tasks", [2, 3])
def test_every_form_has_verdict_level_and_what_the_interval_covers(tmp_path: Path, form: str, tasks: int):
    text = written(compared(tasks=tasks, level=0.9), tmp_path)[form]
    for word in ("better", "worse", "equivalent", "not distinguishable", "runs and cases"):
        assert word in text, word
    assert ("0.9" if form.endswith("csv") else "[90 %: runs and cases]") in text
    assert "95 %" not in text and "one run" not in text and "cases only" not in text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tasks", [1, 3])
def test_one_run_each_has_no_verdict_and_no_rank_and_says_so(tmp_path: Path, form: str, tasks: int):
    found = compared(seeds=1, tasks=tasks)
    text = written(found, tmp_path)[form]
    assert "cases only, one run each: no verdict and no rank" in text
    assert "no verdict" in text.replace("no verdict and no rank", "")
    said = ("better than", "worse than", "equivalent to", "not distinguishable", "runs and cases", "better or worse")
    assert not [word for word in said if word in text]
    assert all(row.rank is None for row in found.rows)
    for line in csv.DictReader(io.StringIO(text)) if form.endswith("csv") else ():
        assert line["rank_low"] == line["rank_high"] == ""


@pytest.mark.parametrize("form", FORMS)
def test_a_method_with_one_run_among_others_is_told_apart(tmp_path: Path, form: str):
    found = compared(seeds={"mtan": 1}, same_seeds=False)
    text = written(found, tmp_path)[form]
    assert "runs and cases" in text and "no verdict" in text and "better" in text
    if form.endswith("csv"):
        covers = {row["method"]: row["interval_covers"] for row in csv.DictReader(io.StringIO(text))}
        assert covers["mtan"] == "cases, and runs only of methods that have several: no verdict and no rank"
        assert covers["hps"] == "runs and cases"
    else:
        assert "One run alone: MTAN." in text
        if form == "table.txt":
            lines = [line for line in text.splitlines() if line.startswith("tiny") and "MTAN" in line]
            assert len(lines) == 1 and lines[0].count("] not the runs") == 3


def test_splits_by_seed_are_said_and_have_the_corrected_interval_beside(tmp_path: Path):
    found = compared(by_seed=True, test_to_train=0.25)
    titles, rows = verdict_table([found])
    cell = found.rows[1].mean.gain
    line = next(row for row in rows if row[:2] == ["HPS", "mean"])
    assert line[titles.index("Δ [Nadeau-Bengio]")] == f"[{cell.corrected.low:+.2f}, {cell.corrected.high:+.2f}]"
    assert math.isfinite(cell.corrected.low)
    for form, text in written(found, tmp_path).items():
        assert "ach seed has a split of its own" in text or "very seed has a split of its own" in text, form
        assert form == "table.csv" or "nadeau" in text.lower(), form
    alone = compared(by_seed=True)  # the ratio of test to training cases is not known
    assert "Δ [Nadeau-Bengio]" not in verdict_table([alone])[0]
    assert "cannot be given here" in as_text([alone], [{}])


def test_joint_tables_have_intervals_and_verdicts_of_the_average():
    one, other = compared(), compared(dataset="other")
    whole = [one, other, average([one, other])]
    floors: list = [{}, {}, {}]
    text = as_text(whole, floors)
    assert "Average: HPS: better than STL by 5.00 % [" in text
    assert "runs and cases of these data sets, not other data sets" in text
    for form in (as_text, as_markdown, as_latex):
        lines = [line for line in form(whole, floors).splitlines() if "Average" in line and "MTAN" in line]
        assert any("worse" in line and "[-5" in line for line in lines)
    frame = verdict_frame(whole)
    covers = frame[(frame["dataset"] == "Average") & (frame["task"] == "mean")]
    assert set(covers["interval_covers"]) == {"runs and cases of these data sets, not other data sets"}


def test_verdict_csv_is_the_frame_and_what_it_is_of(tmp_path: Path):
    found = compared(level=0.9, margin=2.0)
    write_forms([found], [{}], tmp_path)
    read = pd.read_csv(tmp_path / "verdict.csv")
    frame = found.to_frame().replace({"unit": {"": math.nan}})  # as an empty cell is read
    assert list(read.columns) == [*frame.columns, "dataset", "level", "margin", "baseline", "interval_covers"]
    pd.testing.assert_frame_equal(read[list(frame.columns)], frame, check_dtype=False)
    assert set(read["dataset"]) == {"tiny"} and set(read["baseline"]) == {"stl"}
    assert set(read["level"]) == {0.9} and set(read["margin"]) == {2.0}


def test_a_baseline_near_zero_has_the_difference_in_the_place_of_the_ratio():
    rows = [
        (method, seed, f"c{i}", "organs", "a", "dice", value + 0.1 * seed + 0.01 * i, "%", True)
        for method, value in (("stl", 1.0), ("hps", 3.0))
        for seed in range(3)
        for i in range(6)
    ]
    found = compare(score_table(rows), dataset="tiny", methods=("stl", "hps"), resamplings=100)
    difference = found.rows[1].cells["organs"].gain.difference
    told = f"+2.00 points [{difference.low:+.2f}, {difference.high:+.2f}]"
    assert body(found)[1][3:] == [f"no ratio: see the difference {told}", "", "no ratio for organs", ""]
    assert verdict_sentences(found) == [f"HPS: no ratio to STL (organs: no ratio: see the difference, {told})."]
    text = as_text([found], [{}])
    assert "STL near 0: M of STL is within four standard errors (over runs and cases) of zero" in text
    assert covers_of(found.rows[1], found.rows[1].cells["organs"], found) == "runs and cases"


def test_scores_from_elsewhere_keep_their_names(tmp_path: Path):
    gains = {"hps": 0.0, "stl": 0.05, "nnU-Net <b>": -0.05}
    found = compared(gains=gains, methods=tuple(gains), baseline="hps")
    assert [words.partition(" by")[0] for words in verdict_sentences(found)] == [
        "stl: better than hps", "nnU-Net <b>: worse than hps",
    ]  # fmt: skip
    for form, text in written(found, tmp_path).items():
        assert "HPS" not in text and "STL" not in text, form
    assert "<b>" not in as_html(found, {})


def test_with_three_tasks_the_mean_is_told_without_each():
    found = compared(tasks=3)
    without = found.rows[1].mean.gain.without
    parts = ", ".join(f"{gain:+.2f} % without {task}" for task, gain in without.items())
    assert f"Mean of HPS: {parts}." in as_text([found], [{}]) and len(without) == 3
    assert "without organs" not in as_text([compared(tasks=2)], [{}])  # that is the other task's own figure


def test_prospects_are_what_more_runs_and_cases_would_make_of_the_interval():
    found = compared()
    _, rows = prospects(found)
    spread = found.rows[4].mean.gain.spread
    assert rows[3][1:] == [
        f"{100 * (spread.share_of_runs - spread.share_of_both):.0f} %",
        f"{100 * spread.share_of_both:.0f} %",
        f"{100 - 100 * spread.share_of_runs:.0f} %",
        *(f"± {wide.half_width():.2f} %" for wide in (
            spread, spread.with_numbers(more_runs=5), spread.with_numbers(cases=4),
            spread.with_numbers(more_runs=5, cases=4),
        )),
    ]  # fmt: skip
    assert prospects(compared(seeds=1))[1] == []


# The figures


def test_the_figure_tells_verdicts_by_shape_and_colour_and_says_what_it_covers():
    found = compared(margin=1.5)
    figure = improvement_figure(found)
    assert figure is not None
    rows = figure.panels[0].spec["data"]["values"]
    cells = [cell for row in found.rows[1:] for cell in (row.mean, *row.cells.values())]
    assert [row["improvement"] for row in rows] == pytest.approx([cell.improvement for cell in cells], rel=1e-5)
    assert [(row["low"], row["high"]) for row in rows] == [
        (pytest.approx(cell.low, rel=1e-5), pytest.approx(cell.high, rel=1e-5)) for cell in cells
    ]
    assert [row["verdict"] for row in rows] == [cell.verdict for cell in cells]
    assert [entry.label for entry in figure.key] == ["better", "worse", "equivalent", "not distinguishable"]
    assert len({entry.shape for entry in figure.key}) == len({entry.colour for entry in figure.key}) == 4
    assert "95 %: runs and cases" in figure.note and "1.5 %" in figure.note
    band = figure.panels[0].spec["layer"][0]["data"]["values"]
    assert band == [{"from": -1.5, "to": 1.5}]
    assert [row["at"] for row in rows][:3] == ["HPS, mean", "HPS, organs", "HPS, dose"]
    assert f"HPS, mean: {rows[0]['said']}, {rows[0]['verdict']}." in figure.words


def test_the_figure_of_single_runs_has_no_verdict_and_nothing_of_seeds():
    found = compared(seeds=1)
    figure = improvement_figure(found)
    assert figure is not None
    assert [entry.label for entry in figure.key] == ["no verdict"]
    assert "[95 %: cases only, one run each]" in f"[{figure.note.partition('Bars: ')[2].partition('.')[0]}]"
    assert spread_figure(found) is None


def test_the_parts_of_the_variance_are_those_of_the_table():
    found = compared()
    figure = spread_figure(found)
    assert figure is not None
    _, rows = prospects(found)
    parts: dict[str, list[float]] = {}
    for row in figure.panels[0].spec["data"]["values"]:
        parts.setdefault(row["method"], []).append(row["part"])
    assert {method: [f"{part:.0f} %" for part in own] for method, own in parts.items()} == {
        row[0]: row[1:4] for row in rows
    }
    assert all(sum(own) == pytest.approx(100, abs=1e-3) for own in parts.values())
