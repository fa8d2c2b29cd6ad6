"""Figures that would mislead: unequal cells, one class alone, rare classes, a baseline near zero, dead classes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison, Measure, Row, compare
from crosstask.evaluation.diagnosis import FIGURES, Diagnosis, diagnose
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.report.diagnosis import diagnosis_csv, diagnosis_notes, diagnosis_table
from crosstask.report.joint import write_joint_table
from crosstask.report.notes import table_notes
from crosstask.report.tables import all_metrics, body, comparison_table, csv_table, floor_of
from crosstask.tasks import ClassificationTask

SEEDS = (0, 1)
MEASURE = Measure("organs", "dice", "%", higher_is_better=True)
KIND = Measure("kind", "balanced_accuracy", "%", higher_is_better=True, of="cohort")


def dice(method: str, values: dict[str, Sequence[float]], seeds: Sequence[int] = SEEDS, task: str = "organs") -> list:
    return [
        (method, seed, f"p{case}", task, name, "dice", value, "%", True)
        for seed in seeds
        for name, column in values.items()
        for case, value in enumerate(column)
    ]


def error(method: str, values: Sequence[float], seeds: Sequence[int] = SEEDS) -> list:
    return [
        (method, seed, f"p{i}", "dose", "dose", "mae", value, "Gy", False)
        for seed in seeds
        for i, value in enumerate(values)
    ]


def kinds(
    method: str, true: str, decided: str, seeds: Sequence[int] = SEEDS, classes: str = "xyz", values: str = "softmax"
) -> list:
    """Decisions for one of the classes a case."""
    return [
        (method, seed, f"p{i}", "kind", values, name, float(name == t), float(name == d), float(name == d))
        for seed in seeds
        for i, (t, d) in enumerate(zip(true, decided, strict=True))
        for name in classes
    ]


def compared(rows: list, predictions: list = [], constant: list | None = None, **options) -> Comparison:  # noqa: B006
    given = {"dataset": "d", "methods": ("stl", "hps"), "resamplings": 400, **options}
    floor = None if constant is None else score_table(constant)
    return compare(score_table(rows), predictions=prediction_table(predictions), constant=floor, **given)


def hps(comparison: Comparison) -> Row:
    return next(row for row in comparison.rows if row.method == "hps")


# The same cells


WHOLE = {"a": [90.0, 90.0], "b": [30.0, 30.0]}


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"a": [90.0, 90.0]}, "case p0, class b, seed 0 is not scored by every method: 'hps' lacks it"),
        ({"a": [90.0, 90.0], "b": [math.nan] * 2}, "dice of case p0, class b, seed 0 is no number for method 'hps'"),
        ({"a": [90.0, 90.0], "b": [30.0, math.inf]}, "dice of case p1, class b, seed 0 is no number for method 'hps'"),
        ({"a": [90.0, 90.0], "b": [30.0]}, "case p1, class b, seed 0 is not scored by every method: 'hps' lacks it"),
    ],
)
def test_a_method_without_a_class_is_refused_and_not_averaged_over_the_rest(worse: dict, words: str):
    with pytest.raises(InputError, match=words) as refusal:
        compared(dice("stl", WHOLE) + dice("hps", worse))
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="'stl'"):
        compared(dice("stl", worse) + dice("hps", WHOLE))


def test_a_method_with_fewer_seeds_is_refused_by_name():
    with pytest.raises(InputError, match="task 'organs': seed 1 is not scored for method 'hps'"):
        compared(dice("stl", WHOLE) + dice("hps", WHOLE, seeds=(0,)))


def test_rows_that_are_there_twice_count_once_and_different_ones_are_refused():
    rows = dice("stl", WHOLE) + dice("hps", {"a": [95.0, 90.0], "b": [40.0, 30.0]})
    copied = [*rows, *[row for row in rows if row[0] == "hps" and row[4] == "a"]]
    one, other = (hps(compared(table)).cells["organs"] for table in (copied, rows))
    assert (one.value, one.improvement, one.low) == (other.value, other.improvement, other.low)
    changed = [(*row[:6], 100.0, *row[7:]) for row in rows if row[0] == "hps" and row[4] == "b"]
    with pytest.raises(InputError, match="case p0, class b, seed 0 is there twice for method 'hps', with different"):
        compared([*rows, *changed])


def test_a_cell_that_no_method_has_is_left_out_and_said():
    values = {"a": [80.0, 70.0, math.nan], "b": [60.0, 50.0, 40.0]}
    found = compared(dice("stl", values) + dice("hps", values))
    assert hps(found).cells["organs"].value == pytest.approx((70 + 60 + 40) / 3)
    assert "organs: dice is no number under any method, and left out, for case p2, class a." in found.remarks


def test_other_units_are_refused():
    rows = error("stl", [2.0, 2.0]) + [(*row[:7], "cGy", row[8]) for row in error("hps", [200.0, 190.0])]
    with pytest.raises(InputError, match="unit of mae is 'Gy' for method 'stl' and 'cGy' for 'hps'"):
        compared(rows)


@pytest.mark.parametrize(("change", "words"), [
    ((7, math.nan), "prediction for case p0, class x, seed 0 is no number for method 'hps'"),
    ((6, 0.0), "case p0, class x is scored against another label for method 'hps'"),
])  # fmt: skip
def test_predictions_that_are_no_number_or_of_other_labels_are_refused(change: tuple, words: str):
    rows = kinds("stl", "xyzxyz", "xyzxyz") + kinds("hps", "xyzxyz", "xyyxyz")
    at = next(i for i, row in enumerate(rows) if row[0] == "hps")
    rows[at] = (*rows[at][: change[0]], change[1], *rows[at][change[0] + 1 :])
    scores = [(m, s, "", "kind", "", "balanced_accuracy", 1.0, "%", True) for m in ("stl", "hps") for s in SEEDS]
    with pytest.raises(InputError, match=words):
        compared(scores, rows, measures=[KIND])


def test_other_figures_of_unequal_cells_say_so_in_the_place_of_a_mean():
    rows = dice("stl", WHOLE) + dice("hps", {"a": [90.0, 90.0]})
    _, lines = all_metrics(score_table(rows), ["stl", "hps"], by_class=False)
    assert lines[0][-2:] == ["60.00", "incomplete: 4 of 8"]


# One class alone


def kind_scores(method: str, value: float) -> list:
    return [(method, seed, "", "kind", "", "balanced_accuracy", value, "%", True) for seed in SEEDS]


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "f1", "auc"])
def test_a_test_set_of_one_class_has_no_figure_and_says_why(metric: str):
    rows = kinds("stl", "xxxx", "yyyz") + kinds("hps", "xxxx", "xxxx")
    measure = Measure("kind", metric, "%", higher_is_better=True, of="cohort")
    found = compared(kind_scores("stl", 0.0) + kind_scores("hps", 100.0), rows, measures=[measure])
    assert math.isnan(hps(found).cells["kind"].value) and hps(found).rank is None
    assert [row[2] for row in body(found)] == ["undefined", "undefined"]
    assert "every labelled test case is of one class (x)" in found.remarks[0]


def test_a_structure_that_is_in_no_test_case_is_not_averaged():
    constant = [("constant", 0, f"p{i}", "organs", n, "dice", v, "%", True) for i in (0, 1) for n, v in
                (("a", 0.0), ("b", 100.0))]  # fmt: skip
    rows = dice("stl", {"a": [50.0, 60.0], "b": [0.0, 0.0]}) + dice("hps", {"a": [50.0, 60.0], "b": [100.0, 100.0]})
    found = compared(rows, constant=constant, measures=[MEASURE])
    assert hps(found).cells["organs"].value == 55 and hps(found).cells["organs"].improvement == 0
    assert floor_of(score_table(constant), found)["organs"].value == 0
    assert "organs: no test case has any b; dice leaves that out." in found.remarks
    assert found.unpredicted == ()  # there is nothing to be found
    only = [row for row in rows if row[4] == "b"]
    found = compared(only, constant=[row for row in constant if row[4] == "b"], measures=[MEASURE])
    assert math.isnan(hps(found).cells["organs"].value)
    assert "organs: no test case has any b, so dice is not defined." in found.remarks


# A rare class


@pytest.mark.parametrize(("rare", "there"), [(1, False), (2, False), (8, True)])
def test_an_interval_is_of_one_estimand_or_there_is_none(rare: int, there: bool):
    true = "x" * 20 + "y" * 20 + "z" * rare
    stl = "x" * 14 + "y" * 20 + "x" * 6 + "x" * rare  # the rare class is lost
    better = "x" * 14 + "y" * 20 + "x" * 6 + "z" * rare
    rows = kinds("stl", true, stl) + kinds("hps", true, better)
    found = compared(kind_scores("stl", 1.0) + kind_scores("hps", 1.0), rows, measures=[KIND], resamplings=2000)
    cell = hps(found).cells["kind"]
    assert math.isfinite(cell.improvement) and math.isfinite(cell.low) == there
    if there:
        # nothing but the rare class differs, and it is wholly gained: no draw of all three classes shows less
        assert cell.low > 30
    else:
        assert any(f"Groups of test cases: z ({rare})" in remark for remark in found.remarks)


def test_the_interval_of_a_diagnosis_says_for_want_of_what_it_is_missing():
    task = ClassificationTask("kind", "kind", tuple("xyz"), exclusive=True)
    rows = kinds("stl", "xxxxxyyyyyz", "xxxxyyyyyxx") + kinds("hps", "xxxxxyyyyyz", "xxxxyyyyyxz")
    found = diagnose(prediction_table(rows), dataset="d", task=task, methods=("stl", "hps"), resamplings=200)
    assert math.isnan(found.rows["hps"]["sensitivity"].low)
    assert "Groups of test cases: z (1)" in diagnosis_notes(found, 200)


# STL near zero


@pytest.mark.parametrize(("stl", "better"), [(0.4, 0.8), (2.0, 5.8), (4.0, 8.0)])
def test_stl_near_zero_gives_no_ratio_no_mean_and_no_rank(stl: float, better: float):
    rows = dice("stl", {"a": [stl] * 6}) + dice("hps", {"a": [better] * 6})
    rows += error("stl", [2.0, 2.1, 1.9, 2.0, 2.2, 1.8]) + error("hps", [2.2, 2.3, 2.1, 2.2, 2.4, 2.0])
    found = compared(rows)
    cell = hps(found).cells["organs"]
    assert math.isnan(cell.improvement) and cell.undefined == "undefined: STL near 0"
    assert math.isnan(hps(found).mean.improvement) and all(row.rank is None for row in found.rows)
    assert hps(found).cells["dose"].improvement == pytest.approx(-10)
    assert any(note.startswith("STL near 0: ") for note in table_notes([found]))


def test_an_error_is_near_zero_by_that_of_the_constant_predictor_whatever_the_unit():
    def gain(factor: float, floor: float) -> float:
        rows = error("stl", [0.9 * factor, 1.1 * factor] * 4) + error("hps", [0.8 * factor, 1.0 * factor] * 4)
        constant = [("constant", 0, f"p{i}", "dose", "dose", "mae", floor * factor, "Gy", False) for i in range(8)]
        return hps(compared(rows, constant=constant)).cells["dose"].improvement

    for factor in (1e-6, 1.0, 1e6):
        assert gain(factor, 20.0) == pytest.approx(10)
        assert math.isnan(gain(factor, 200.0))


def test_a_baseline_within_two_standard_errors_of_zero_is_near_zero():
    spread = [0.0] * 9 + [70.0]  # mean 7, standard error 6.6
    found = compared(dice("stl", {"a": spread}) + dice("hps", {"a": [9.0] * 10}))
    assert hps(found).cells["organs"].undefined == "undefined: STL near 0"
    found = compared(dice("stl", {"a": [20.0] * 5 + [70.0] * 5}) + dice("hps", {"a": [50.0] * 10}))
    assert hps(found).cells["organs"].improvement == pytest.approx(100 * 5 / 45)


# What the interval covers, and one run each


def test_every_form_of_the_table_says_what_the_interval_covers(tmp_path):
    rows = error("stl", [2.0, 2.2, 1.9]) + error("hps", [1.9, 2.0, 1.8])
    found = compared(rows)
    path = write_joint_table([found, found], [{}, {}], tmp_path)
    for name in ("table.txt", "table.md", "table.csv", "table.tex", "verdict.csv"):
        text = path.with_name(name).read_text(encoding="utf-8")
        assert "runs and cases" in text and "of these data sets, not other data sets" in text, name
        assert "one run each" not in text and "cases only" not in text, name
    assert [row.rank for row in found.rows] == [(2, 2), (1, 1)]


def test_with_one_seed_there_is_no_rank_and_no_interval_without_the_words(tmp_path):
    found = compared(error("stl", [2.0, 2.2, 1.9], seeds=(0,)) + error("hps", [1.9, 2.0, 1.8], seeds=(0,)))
    assert all(row.rank is None for row in found.rows)
    for line in body(found):
        assert ("[" in "".join(line)) == (line[-1] == "one run each") == (line[-2] == "no verdict")
    path = write_joint_table([found, found], [{}, {}], tmp_path)
    for name in ("table.txt", "table.md", "table.csv", "table.tex", "verdict.csv"):
        text = path.with_name(name).read_text(encoding="utf-8")
        assert "cases only, one run each: no verdict and no rank" in text, name
        assert not any(word in text for word in ("better than", "worse than", "equivalent to", "runs and cases")), name
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(csv_table([found], [{}])))}
    assert lines["hps"]["interval_covers"] == "cases only, one run each: no verdict and no rank"
    assert lines["stl"]["interval_covers"] == ""  # it has no interval
    assert {(line["seeds"], line["rank_low"], line["rank_high"]) for line in lines.values()} == {("1", "", "")}
    assert [lines[name]["verdict"] for name in ("stl", "hps")] == ["", "no verdict"]


def test_the_diagnosis_says_so_too():
    task = ClassificationTask("kind", "kind", ("x", "y"), exclusive=True)
    rows = [
        row
        for method, decided in (("stl", "xyxyxyyx"), ("hps", "xxxyxyyy"))
        for row in kinds(method, "xxxxyyyy", decided, seeds=(0,), classes="xy")
    ]
    found = diagnose(prediction_table(rows), dataset="d", task=task, methods=("stl", "hps"), resamplings=50)
    assert "(cases only, one run each)" in diagnosis_notes(found, 50)
    assert "Single seed, one run each" in diagnosis_notes(found, 50)
    assert "cases only, one run each" in diagnosis_csv(found)


def test_the_diagnosis_has_the_level_that_is_asked_for():
    task = ClassificationTask("kind", "kind", ("x", "y"), exclusive=True)
    said = {"stl": ("xyxyxyyx", "xxyyxyxy"), "hps": ("xxxyxyyy", "xyxxyyyy")}
    rows = [
        row
        for method, runs in said.items()
        for seed, decided in enumerate(runs)
        for row in kinds(method, "xxxxyyyy", decided, seeds=(seed,), classes="xy")
    ]

    def at(level: float) -> Diagnosis:
        options: Any = {"dataset": "d", "task": task, "methods": ("stl", "hps"), "resamplings": 50, "level": level}
        return diagnose(prediction_table(rows), **options)

    found, narrower = at(0.95), at(0.8)
    for figure in FIGURES:
        wide, narrow = (one.rows["hps"][figure] for one in (found, narrower))
        assert wide.value == narrow.value
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    wide, narrow = (one.differences["hps"] for one in (found, narrower))
    factor = student.ppf(0.975, 1e6) / student.ppf(0.9, 1e6)  # with few degrees of freedom it is more
    assert (wide.high - wide.value) / (narrow.high - narrow.value) > factor
    assert "In brackets 80 % intervals (runs and cases)" in diagnosis_notes(narrower, 50)
    assert diagnosis_table(narrower)[0][1:] == [
        "AUC % [80 %]", "Accuracy % [80 %]", "Sensitivity % [80 %]", "Specificity % [80 %]", "AUC - STL [80 %]",
    ]  # fmt: skip
    assert {line["level"] for line in csv.DictReader(io.StringIO(diagnosis_csv(narrower)))} == {"0.8"}


# Classes that are never predicted


def test_a_class_that_a_run_never_predicts_is_told_with_method_seed_and_class():
    rows = dice("stl", {"a": [50.0, 60.0], "b": [50.0, 60.0]}) + dice("hps", {"a": [60.0, 60.0]})
    rows += dice("hps", {"b": [0.0, 0.0]}, seeds=(0,)) + dice("hps", {"b": [60.0, 40.0]}, seeds=(1,))
    decided = kinds("stl", "xxyyzz", "xxyyzz") + kinds("hps", "xxyyzz", "xxyyyx", seeds=(1,))
    decided += kinds("hps", "xxyyzz", "xxyyzz", seeds=(0,))
    found = compared(rows + kind_scores("stl", 1.0) + kind_scores("hps", 1.0), decided, measures=[MEASURE, KIND])
    assert [(one.method, one.seed, one.task, one.name) for one in found.unpredicted] == [
        ("hps", 0, "organs", "b"),
        ("hps", 1, "kind", "z"),
    ]
    (warning,) = [note for note in table_notes([found]) if note.startswith("Warning")]
    assert "never predicted" in warning and "HPS: organs b (seed 0), kind z (seed 1)." in warning
    lines = {(line["method"], line["task"]): line for line in csv.DictReader(io.StringIO(csv_table([found], [{}])))}
    assert lines["hps", "organs"]["never_predicted"] == "seed 0: b"
    assert lines["stl", "organs"]["never_predicted"] == ""


def test_a_table_without_the_faults_has_none_of_the_words():
    values = np.random.default_rng(0).uniform(40, 90, 20).tolist()
    found = compared(dice("stl", {"a": values}) + dice("hps", {"a": [value + 2 for value in values]}))
    assert found.remarks == () and found.unpredicted == ()
    assert [note.partition(" ")[0] for note in table_notes([found])] == ["Intervals", "Difference:", "Verdict"]
    text = str(comparison_table([found], [{}]))
    assert "undefined" not in text and "incomplete" not in text and "one run" not in text
