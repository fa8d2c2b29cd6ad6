"""Classes with few test cases: left out of what is compared unless asked, the same for all methods, and said."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from crosstask.errors import InputError
from crosstask.evaluation.diagnosis import diagnose
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.resampling import Values, cohort_values
from crosstask.experiment import EvaluationSection, Experiment, experiment_from
from crosstask.functional.cohort import Cohort, class_counts, comparable, task_metric
from crosstask.tasks import ClassificationTask

METHODS = ("stl", "hps")


def kinds(true: Mapping[int, str], classes: str = "xyz") -> list:
    """Exclusive classes of the cases of each seed; a method is right in three of four cases, each in others."""
    rows = []
    for seed, labels in true.items():
        for method, first in (("stl", 0), ("hps", 2)):
            for case, name in enumerate(labels):
                decided = name if (case + first) % 4 else classes[(classes.index(name) + 1) % len(classes)]
                for one in classes:
                    share = 0.6 * (one == decided) + 0.3 * (one == name) + 0.02 * (case % 5)
                    rows.append(
                        (
                            method,
                            seed,
                            f"p{case:03}",
                            "kind",
                            "softmax",
                            one,
                            float(one == name),
                            share,
                            float(one == decided),
                        )
                    )
    return rows


def signs(counts: Mapping[str, int], number: int = 60) -> list:
    """Findings that may go together, each positive in the first cases."""
    rows = []
    for method in METHODS:
        for name, positive in counts.items():
            random = np.random.default_rng([METHODS.index(method), ord(name)])
            for case in range(number):
                true = float(case < positive)
                share = float(np.clip(0.3 * true + 0.7 * random.random(), 0, 1))
                rows.append((method, 0, f"p{case:03}", "signs", "sigmoid", name, true, share, float(share > 0.5)))
    return rows


def values(rows: list, metric: str, least: int, **options) -> Values:
    return cohort_values(
        prediction_table(rows), rows[0][3], metric, METHODS, **{"by_seed": False, "least": least, **options}
    )


def means(found: Values) -> dict[str, float]:
    return {
        method: float(np.mean([figure(None)[0] for figure in figures])) for method, figures in found.figures.items()
    }


def arrays(rows: list, method: str) -> tuple[np.ndarray, np.ndarray]:
    """True and decided class of each case."""
    own = [row for row in rows if row[0] == method and row[1] == 0]
    true, decided = ([row[5] for row in own if row[place] == 1] for place in (6, 8))
    return np.array(true), np.array(decided)


RARE = "x" * 40 + "y" * 20 + "z" * 4


@pytest.mark.parametrize("metric", ["balanced_accuracy", "f1", "sensitivity", "auc"])
def test_a_class_with_few_cases_is_left_out_of_m_and_said(metric: str):
    rows = kinds({0: RARE})
    few, all_of_them = values(rows, metric, 10), values(rows, metric, 1)
    for method in METHODS:
        true, decided = arrays(rows, method)
        for found, classes in ((few, ["x", "y"]), (all_of_them, ["x", "y", "z"])):
            if metric == "auc":
                share = {name: [row[7] for row in rows if row[0] == method and row[5] == name] for name in classes}
                expected = np.mean([roc_auc_score(true == name, share[name]) for name in classes])
            else:
                function = f1_score if metric == "f1" else recall_score
                expected = function(true, decided, labels=classes, average="macro")
            assert means(found)[method] == pytest.approx(100 * expected)
    assert few.remarks == (
        f"kind: {metric} leaves out classes with fewer than 10 test cases: z (4); "
        "evaluation.least_positives=1 counts them too.",
    )
    assert all_of_them.remarks == (
        f"kind: {metric} counts classes with fewer than 10 test cases, as asked (evaluation.least_positives=1): z (4).",
    )
    assert set(few.sides) == {"x", "y"} and set(all_of_them.sides) == {"x", "y", "z"}


def test_accuracy_is_of_all_cases_and_needs_two_classes_that_are_not_rare():
    rows = kinds({0: RARE})
    found = values(rows, "accuracy", 10)
    true, decided = arrays(rows, "stl")
    assert means(found)["stl"] == pytest.approx(100 * np.mean(true == decided)) and found.remarks == ()
    assert math.isnan(means(values(kinds({0: "x" * 40 + "z" * 4}), "accuracy", 10))["stl"])


@pytest.mark.parametrize("metric", ["balanced_accuracy", "accuracy", "f1", "auc"])
def test_where_no_two_classes_are_left_m_is_undefined_and_what_the_remark_advises_works(metric: str):
    rows = kinds({0: "x" * 40 + "y" * 6 + "z" * 4})
    found = values(rows, metric, 10)
    assert all(math.isnan(value) for value in means(found).values())
    assert all(np.isnan(figure(np.ones((3, 50)))).all() for figures in found.figures.values() for figure in figures)
    (remark,) = found.remarks
    assert "fewer than two classes have at least 10 test cases (y (6), z (4))" in remark
    key, value = re.search(r"(\S+)=(\d+)", remark).groups()
    assert key.split(".")[1] in EvaluationSection.model_fields
    assert all(math.isfinite(value) for value in means(values(rows, metric, int(value))).values())


@pytest.mark.parametrize(("positive", "said"), [(4, "b (4 positive)"), (57, "b (3 negative)")])
def test_findings_need_positive_and_negative_cases(positive: int, said: str):
    rows = signs({"a": 30, "b": positive})
    found, one = values(rows, "auc", 10), values(signs({"a": 30}), "auc", 10)
    assert means(found) == pytest.approx(means(one)) and one.remarks == ()
    assert f"fewer than 10 positive or negative test cases: {said}; evaluation.least_positives=1" in found.remarks[0]
    alone = values(signs({"b": positive}), "auc", 10)
    assert math.isnan(means(alone)["hps"])
    assert f"no class has at least 10 positive and negative test cases ({said})" in alone.remarks[0]
    assert math.isfinite(means(values(signs({"b": positive}), "auc", 1))["hps"])


@pytest.mark.parametrize("metric", ["calibration_error", "brier"])
def test_figures_of_all_probabilities_need_no_positive_cases(metric: str):
    found = values(signs({"a": 30, "b": 2}), metric, 10)
    expected = [means(values(signs({"a": 30, "b": 2}), metric, 1))[method] for method in METHODS]
    assert [means(found)[method] for method in METHODS] == expected and found.remarks == ()


def test_groups_are_counted_and_not_their_cases():
    rows = kinds({0: "x" * 20 + "y" * 20}, "xy")
    groups = {f"p{case:03}": f"g{case // 5}" for case in range(40)}  # four patients of each class
    assert math.isfinite(means(values(rows, "balanced_accuracy", 10))["stl"])
    found = values(rows, "balanced_accuracy", 10, groups=groups)
    assert math.isnan(means(found)["stl"])
    assert "10 groups of test cases (x (4), y (4))" in found.remarks[0]
    assert math.isfinite(means(values(rows, "balanced_accuracy", 4, groups=groups))["stl"])


def test_a_class_counts_with_every_seed_or_with_none():
    rows = kinds({0: "x" * 20 + "y" * 20 + "z" * 12, 1: "x" * 20 + "y" * 20 + "z" * 8})
    found = values(rows, "balanced_accuracy", 10, by_seed=True)
    both = [figure(None)[0] for figure in found.figures["stl"]]
    true, decided = arrays(rows, "stl")
    assert both[0] == pytest.approx(100 * recall_score(true, decided, labels=["x", "y"], average="macro"))
    assert "z (8)" in found.remarks[0]
    rows = kinds({0: "x" * 20 + "y" * 20, 1: "x" * 20 + "z" * 20})
    found = values(rows, "auc", 1, by_seed=True)
    assert all(math.isnan(figure(None)[0]) for figure in found.figures["stl"])
    assert found.remarks[-1] == "kind: auc is not defined, since no two classes are in the test cases of every seed."
    assert "kind, seed 1: no test case is y; auc leaves that out with every seed." in found.remarks


def test_a_diagnosis_of_few_cases_says_so_too():
    task = ClassificationTask("kind", "kind", tuple("xy"), exclusive=True)
    rows = prediction_table(kinds({0: "x" * 40 + "y" * 6}, "xy"))
    options = {"dataset": "d", "task": task, "methods": METHODS, "resamplings": 50}
    few, asked = (diagnose(rows, least_positives=least, **options) for least in (10, 1))
    assert math.isnan(few.rows["stl"]["auc"].value) and math.isfinite(asked.rows["stl"]["auc"].value)
    assert math.isnan(few.rows["stl"]["sensitivity"].value)
    assert few.rows["stl"]["specificity"].value == asked.rows["stl"]["specificity"].value
    assert any("auc is not defined" in remark and "y (6)" in remark for remark in few.remarks)
    assert any("auc counts classes" in remark for remark in asked.remarks)


# The formulas


def cohort(target: Sequence[Sequence[float]], exclusive: bool = False) -> Cohort:
    values = np.array(target, dtype=float)
    return Cohort(np.nan_to_num(values), np.nan_to_num(values), np.nan_to_num(values), ~np.isnan(values), exclusive)


def test_counts_leave_out_missing_labels_and_count_groups_once():
    found = cohort([[1, 0], [1, math.nan], [0, 1], [math.nan, 1]])
    np.testing.assert_array_equal(class_counts(found), [[2, 2], [1, 1]])
    np.testing.assert_array_equal(class_counts(found, ["g", "g", "h", "h"]), [[1, 1], [1, 1]])
    np.testing.assert_array_equal(class_counts(found, ["g"] * 4), [[1, 1], [1, 1]])


def test_counts_that_are_given_decide():
    found = cohort([[1, 0]] * 3 + [[0, 1]] * 3)
    assert comparable("auc", found, 3).tolist() == [True, True]
    assert comparable("auc", found, 4).tolist() == [False, False]
    given = np.array([[4, 4], [4, 2]])
    assert comparable("auc", found, 4, given).tolist() == [True, False]
    assert comparable("sensitivity", found, 4, given).tolist() == [True, True]
    assert comparable("specificity", found, 4, given).tolist() == [True, False]
    assert task_metric("auc", found, least=4, counts=given) == [100] and np.isnan(task_metric("auc", found, least=4))


# The key


def experiment(least: object) -> Experiment:
    tasks = {"segmentation": {"classes": ["Brainstem"]}}
    dataset = {"name": "phantom", "root": ".", "tasks": tasks}
    return experiment_from({"name": "d", "dataset": dataset, "evaluation": {"least_positives": least}})


@pytest.mark.parametrize("value", [0, -3, 2.5, "few"])
def test_what_is_no_number_of_cases_is_refused(value: object):
    with pytest.raises(InputError, match=r"evaluation\.least_positives") as refusal:
        experiment(value)
    assert "\n" not in str(refusal.value)


def test_by_default_it_takes_ten():
    assert EvaluationSection().least_positives == 10 and experiment(1).evaluation.least_positives == 1
