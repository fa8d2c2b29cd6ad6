"""What decided, and which test cases are left out, stands in every form of the tables."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from crosstask.evaluation.comparison import Cell, compare
from crosstask.evaluation.diagnosis import FIGURES, Diagnosis
from crosstask.evaluation.gains import Estimate
from crosstask.evaluation.scores import score_table
from crosstask.report.diagnosis import write_diagnosis
from crosstask.report.joint import write_joint_table

REMARKS = ("covid: decided at 0.5, which is given.", "4 of 12 test cases are left out, for want of a label.")
FORMS = ("txt", "md", "tex", "csv")


@pytest.mark.parametrize("form", FORMS)
def test_the_tables_of_comparisons_say_it(tmp_path: Path, form: str) -> None:
    rows = [
        (method, 0, "a", "covid", "covid", "dice", value, "%", True) for method, value in (("stl", 70), ("hps", 80))
    ]
    one = compare(score_table(rows), dataset="tiny", methods=("stl", "hps"), resamplings=10)
    floor = {"covid": Cell(0.0, math.nan)}
    write_joint_table([replace(one, remarks=REMARKS)], [floor], tmp_path)
    said = (tmp_path / f"table.{form}").read_text(encoding="utf-8").replace("\\", "")
    assert all(remark in said for remark in REMARKS)
    if form == "csv":
        with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["dataset"] == "tiny"]
        assert len(lines) == 3 and all(line["remarks"] == " ".join(REMARKS) for line in lines)


@pytest.mark.parametrize("form", FORMS)
def test_the_table_of_the_diagnosis_says_it(tmp_path: Path, form: str) -> None:
    figures = dict.fromkeys(FIGURES, Estimate(50.0, 40.0, 60.0))
    found = Diagnosis("tiny", "covid", "covid", {"stl": figures}, {}, cases=8, groups=8, seeds=1, remarks=REMARKS)
    write_diagnosis(found, 10, tmp_path)
    said = (tmp_path / f"diagnosis.{form}").read_text(encoding="utf-8").replace("\\", "")
    assert all(remark in said for remark in REMARKS)
