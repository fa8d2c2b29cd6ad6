"""Improvements under several rules for the epoch: against compare() itself, with a warning where a sign changes."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from crosstask.evaluation.comparison import compare
from crosstask.evaluation.epoch_rules import MEAN, RuleGain, compare_rules
from crosstask.report.epoch_rules import epochs_csv, epochs_markdown, epochs_table, write_epochs

OPTIONS = {"dataset": "d", "resamplings": 40}
METHODS = ["stl", "hps", "mtan"]


def scores(values: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Two seeds of six cases about ``{method: {task: M}}``."""
    rows = [
        (method, seed, f"c{case}", task, "", "dice", value + case + seed / 10, "%", True)
        for task in ("a", "b")
        for method, own in values.items()
        for value in [own[task]]
        for seed in (0, 1)
        for case in range(6)
    ]
    columns = ["method", "seed", "case", "task", "class", "metric", "value", "unit", "higher_is_better"]
    return pd.DataFrame(rows, columns=columns)


FINAL = scores({"stl": {"a": 50, "b": 50}, "hps": {"a": 55, "b": 51}, "mtan": {"a": 60, "b": 60}})
JOINT = scores({"stl": {"a": 50, "b": 50}, "hps": {"a": 45, "b": 52}, "mtan": {"a": 61, "b": 59}})
OWN = scores({"stl": {"a": 52, "b": 54}, "hps": {"a": 56, "b": 55}, "mtan": {"a": 60, "b": 60}})


def rules(**tables: pd.DataFrame):
    judged = compare(FINAL, methods=METHODS, **OPTIONS)
    pairs = {rule: (table, None) for rule, table in tables.items()}
    return compare_rules(judged, "final", pairs, methods=METHODS, **OPTIONS)


def test_the_improvements_are_those_of_the_comparison_of_each_table():
    found = rules(joint=JOINT, per_task=OWN)
    assert found.rules == ("final", "joint", "per_task")
    for rule, table in {"final": FINAL, "joint": JOINT, "per_task": OWN}.items():
        for row in compare(table, methods=METHODS, **OPTIONS).rows[1:]:
            gains = {task: cell.improvement for task, cell in row.cells.items()} | {MEAN: row.mean.improvement}
            for task, gain in gains.items():
                assert RuleGain(rule, row.method, task, gain) in found.gains
    assert len(found.gains) == 3 * 2 * 3
    assert not any(gain.method == "stl" for gain in found.gains)


def test_a_sign_that_changes_is_warned_of_by_method_and_task():
    (remark,) = rules(joint=JOINT, per_task=OWN).remarks
    assert remark.startswith("Warning: ") and remark.endswith("HPS (a, mean).")
    assert rules(per_task=OWN).remarks == ()


def test_what_cannot_be_compared_under_a_rule_is_said_and_stops_nothing():
    found = rules(joint=JOINT[JOINT["method"] != "mtan"], per_task=OWN)
    assert found.rules == ("final", "per_task")
    assert any("Under the rule joint for the epoch the methods cannot be compared" in one for one in found.remarks)


def test_without_a_ratio_there_is_no_figure():
    zero = FINAL.assign(value=FINAL["value"].where(FINAL["method"].ne("stl") | FINAL["task"].ne("a"), 0.0))
    found = rules(joint=zero)
    gain = {(one.rule, one.task): one.improvement for one in found.gains if one.method == "hps"}
    assert math.isnan(gain["joint", "a"]) and gain["joint", "b"] == pytest.approx(gain["final", "b"])
    _, rows = epochs_table(found)
    assert rows[0][:2] == ["HPS", "a"] and rows[0][3] == "" and rows[0][2].endswith(" %")


def test_every_form_of_the_table_has_the_figures(tmp_path):
    found = rules(joint=JOINT, per_task=OWN)
    titles, rows = epochs_table(found)
    assert titles[2:] == ["Δ last epoch (judged)", "Δ one epoch for all tasks", "Δ each task's own epoch"]
    assert [row[:2] for row in rows] == [[name, task] for name in ("HPS", "MTAN") for task in ("a", "b", "mean")]
    assert rows[0][2].startswith("+") and rows[0][3].startswith("-")
    (tmp_path / "epochs.csv").write_text(epochs_csv(found))
    table = pd.read_csv(tmp_path / "epochs.csv")
    assert list(table.columns) == ["dataset", "rule", "method", "task", "improvement_percent"]
    assert table["improvement_percent"].tolist() == pytest.approx([gain.improvement for gain in found.gains])
    assert rows[0][3] in epochs_markdown(found)
    write_epochs(found, tmp_path)
    assert rows[0][3] in (tmp_path / "epochs.txt").read_text(encoding="utf-8")
    write_epochs(None, tmp_path)  # what was written of an earlier comparison does not stay beside the next
    assert list(tmp_path.iterdir()) == []
