"""Comparison by metrics of all cases together, against slow references."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.metrics import recall_score, roc_auc_score

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Cell, Comparison, Measure, compare, measure_of
from crosstask.evaluation.predictions import (
    cohort_of,
    cohort_rows,
    prediction_table,
    read_predictions,
    write_predictions,
)
from crosstask.evaluation.scores import score_table
from crosstask.report.tables import body, comparison_table
from crosstask.tasks import ClassificationTask, ScalarTask

SIGNS = ClassificationTask("signs", "signs", ("a", "b"), exclusive=False)
KIND = ClassificationTask("kind", "kind", ("x", "y", "z"), exclusive=True)
AGE = ScalarTask("age", "age", "years")


def signs(method: str, target: np.ndarray, probability: np.ndarray, seed: int = 0, missing: tuple = ()) -> list:
    return [
        (method, seed, f"c{case}", "signs", "sigmoid", name, float(target[case, i]), probability[case, i], 0.0)
        for case in range(len(target))
        for i, name in enumerate(("a", "b"))
        if (case, name) not in missing
    ]


def fake(number: int, seed: int, shares: tuple[float, float] = (0.5, 0.3)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, and probabilities of a worse and of a better method."""
    rng = np.random.default_rng(seed)
    target = rng.random((number, 2)) < shares
    worse, better = (1 / (1 + np.exp(-(gain * target + rng.normal(size=(number, 2))))) for gain in (0.8, 1.6))
    return target, worse, better


def compared(rows: list, methods: tuple[str, ...] = ("stl", "hps"), tasks=(SIGNS,), scores=(), **options) -> Comparison:
    predictions = prediction_table(rows)
    table = list(scores)
    for (method, seed, name), part in predictions.groupby(["method", "seed", "task"], sort=False):
        task = next(task for task in tasks if task.name == name)
        table += [(method, seed, "", name, *row) for row in cohort_rows(task.metrics(), part)]
    return compare(
        score_table(table),
        dataset="d",
        methods=methods,
        predictions=predictions,
        measures=[measure_of(task) for task in tasks],
        **{"resamplings": 200, **options},
    )


def cell(comparison: Comparison, method: str = "hps", task: str = "signs") -> Cell:
    return next(row for row in comparison.rows if row.method == method).cells[task]


def test_m_is_that_of_the_table_of_scores_and_of_sklearn():
    target, worse, better = fake(40, 0)
    rows = signs("stl", target, worse) + signs("hps", target, better) + signs("stl", target, better, 1)
    rows += signs("hps", target, worse, 1)
    table = list(cohort_rows(SIGNS.metrics(), prediction_table(signs("stl", target, worse))))
    expected = [roc_auc_score(target, values) * 100 for values in (worse, better)]
    assert np.mean([row[2] for row in table if row[1] == "auc"]) == pytest.approx(expected[0])
    found = cell(compared(rows), "stl")
    assert found.value == pytest.approx(np.mean(expected))
    assert found.deviation == pytest.approx(np.std(expected, ddof=1))
    assert compared(rows).cases == {"signs": 40}


def test_the_interval_is_that_of_a_paired_bootstrap_of_groups():
    target, worse, better = fake(40, 1)
    groups = {f"c{case}": f"g{case // 2}" for case in range(40)}
    found = compared(signs("stl", target, worse) + signs("hps", target, better), groups=groups, resamplings=2000)
    rng = np.random.default_rng(7)
    draws = []
    for _ in range(600):
        chosen = rng.integers(0, 20, 20)
        cases = np.concatenate([[2 * group, 2 * group + 1] for group in chosen])
        both = [roc_auc_score(target[cases], values[cases]) for values in (worse, better)]
        draws.append(both)
    half = _half_width(np.array(draws), [roc_auc_score(target, values) for values in (worse, better)], 20)
    assert found.groups == 20
    assert (cell(found).high - cell(found).low) / 2 == pytest.approx(half, rel=0.08)
    assert cell(found).low < cell(found).improvement < cell(found).high


def _half_width(draws: np.ndarray, means: list[float], groups: int) -> float:
    """Of a ratio by the delta method, from bootstrap draws ``r 2`` of both figures."""
    stl, hps = means
    shares = 100 * (draws[:, 1] / stl - hps * draws[:, 0] / stl**2)
    return float(student.ppf(0.975, groups - 1) * np.std(shares, ddof=1) * math.sqrt(groups / (groups - 1)))


def test_balanced_accuracy_is_resampled_as_sklearn_has_it():
    rng = np.random.default_rng(3)
    true = rng.choice(3, 60, p=[0.6, 0.25, 0.15])
    decided = {"stl": np.where(rng.random(60) < 0.5, true, 0), "hps": np.where(rng.random(60) < 0.7, true, 0)}
    rows = [
        (method, 0, f"c{i}", "kind", "softmax", name, float(true[i] == k), float(chosen[i] == k), float(chosen[i] == k))
        for method, chosen in decided.items()
        for i in range(60)
        for k, name in enumerate("xyz")
    ]
    comparison = compared(rows, tasks=(KIND,), resamplings=3000)
    found = cell(comparison, task="kind")
    assert found.value == pytest.approx(100 * recall_score(true, decided["hps"], average="macro"))
    assert found.companion == pytest.approx(100 * (true == decided["hps"]).mean())  # accuracy, never left out
    draws = []
    for _ in range(3000):
        chosen = rng.integers(0, 60, 60)
        recalls = [
            np.mean([(decided[m][chosen][true[chosen] == k] == k).mean() for k in set(true[chosen].tolist())])
            for m in ("stl", "hps")
        ]
        draws.append(recalls)
    means = [recall_score(true, decided[method], average="macro") for method in ("stl", "hps")]
    assert (found.high - found.low) / 2 == pytest.approx(_half_width(np.array(draws), means, 60), rel=0.08)
    titles, lines = comparison_table([comparison], [{}])
    assert titles[2] == "M kind: balanced_accuracy (accuracy) % (up)"
    assert lines[1][2] == f"{found.value:.2f} ({found.companion:.2f})"


def test_copies_of_a_case_are_no_further_cases():
    target, worse, better = fake(25, 4)
    once = cell(compared(signs("stl", target, worse) + signs("hps", target, better)))
    copied = [np.tile(array, (4, 1)) for array in (target, worse, better)]
    rows = signs("stl", copied[0], copied[1]) + signs("hps", copied[0], copied[2])
    # names such that groups are drawn in the same order
    groups = {f"c{case}": f"c{case % 25}" for case in range(100)}
    grouped, single = cell(compared(rows, groups=groups)), cell(compared(rows))
    assert grouped.improvement == pytest.approx(once.improvement)
    assert (grouped.low, grouped.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert single.high - single.low < 0.7 * (grouped.high - grouped.low)


def test_groups_widen_the_interval_of_measures_of_single_cases_too():
    rng = np.random.default_rng(5)
    first = rng.uniform(60, 80, 20)
    second = first + rng.normal(2, 6, 20)
    rows = [
        (method, 0, f"c{i}", "organs", "o", "dice", float(values[i % 20]), "%", True)
        for method, values in {"stl": first, "hps": second}.items()
        for i in range(80)
    ]
    table = score_table(rows)
    options = {"dataset": "d", "methods": ("stl", "hps"), "resamplings": 1000}
    alone = compare(table, **options)
    together = compare(table, groups={f"c{i}": f"g{i % 20}" for i in range(80)}, **options)
    assert (alone.groups, together.groups) == (80, 20)
    widths = [cell(found, task="organs").high - cell(found, task="organs").low for found in (alone, together)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.25)


def test_missing_labels_are_left_out():
    target, worse, better = fake(30, 6)
    missing = (*((case, "b") for case in range(0, 30, 3)), (1, "a"), (1, "b"))
    rows = [row for m, v in (("stl", worse), ("hps", better)) for row in signs(m, target, v, missing=missing)]
    comparison = compared(rows)
    a = np.array([case for case in range(30) if case != 1])
    b = np.array([case for case in range(30) if case % 3 and case != 1])
    expected = (roc_auc_score(target[a, 0], better[a, 0]) + roc_auc_score(target[b, 1], better[b, 1])) / 2
    assert cell(comparison).value == pytest.approx(100 * expected)
    assert comparison.cases == {"signs": 29}


@pytest.mark.parametrize(("positive", "defined"), [(1, False), (8, True)])
def test_an_auc_that_some_resamplings_do_not_have(positive: int, defined: bool):
    _, worse, better = fake(30, 8)
    target = np.zeros((30, 2), bool)
    target[:positive] = True
    found = cell(compared(signs("stl", target, worse) + signs("hps", target, better), resamplings=500))
    assert math.isfinite(found.improvement)
    assert math.isfinite(found.low) == math.isfinite(found.high) == defined


def test_a_class_that_never_occurs_is_left_out_and_m_without_any_is_undefined():
    target, worse, better = fake(30, 9)
    target[:, 1] = False
    found = compared(signs("stl", target, worse) + signs("hps", target, better))
    assert cell(found).value == pytest.approx(100 * roc_auc_score(target[:, 0], better[:, 0]))
    target[:, 0] = False
    found = compared(signs("stl", target, worse) + signs("hps", target, better))
    assert math.isnan(cell(found).value) and math.isnan(cell(found).improvement)
    assert all(row.rank is None for row in found.rows)
    assert [row[2:4] for row in body(found)] == [["undefined", ""], ["undefined", "undefined"]]
    assert "signs: no test case is a, b; auc" in found.remarks[0] or "auc is not defined" in found.remarks[0]


def test_a_metric_of_cases_and_one_of_all_share_the_resampling():
    # what a case gains in one task it loses in the other
    rng = np.random.default_rng(10)
    target, worse, better = fake(30, 10)
    scores = [
        (m, 0, f"c{i}", "age", "age", "mae", float(v), "years", False)
        for m, values in {"stl": rng.uniform(1, 2, 30), "hps": rng.uniform(1, 2, 30)}.items()
        for i, v in enumerate(values)
    ]
    comparison = compared(signs("stl", target, worse) + signs("hps", target, better), tasks=(AGE, SIGNS), scores=scores)
    hps = comparison.rows[1]
    assert [measure.of for measure in comparison.measures] == ["case", "cohort"]
    gains = [value.improvement for value in hps.cells.values()]
    assert hps.mean.improvement == pytest.approx(np.mean(gains))
    assert hps.mean.low < hps.mean.improvement < hps.mean.high


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda t, w, b: signs("stl", t, w), "method 'hps' has no predictions for task 'signs'"),
        (
            lambda t, w, b: signs("stl", t, w) + signs("hps", t[:9], b[:9]),
            "case c9, class a, seed 0 is not scored by every method: 'hps' lacks it",
        ),
        (
            lambda t, w, b: signs("stl", t, w) + signs("hps", t, b, missing=((3, "b"),)),
            "task 'signs': case c3, class b, seed 0 is not scored by every method: 'hps' lacks it",
        ),
        (
            lambda t, w, b: signs("stl", t, w) + signs("stl", t, w, 4) + signs("hps", t, b),
            "seed 4 is not scored for method 'hps', as others are",
        ),
    ],
)
def test_predictions_that_do_not_fit_together_are_refused(rows, message):
    with pytest.raises(InputError, match=message) as error:
        compared(rows(*fake(10, 11)))
    assert "\n" not in str(error.value)


def test_without_predictions_there_is_no_comparison_of_such_measures():
    with pytest.raises(InputError, match="method 'stl' has no predictions for task 'signs'"):
        compare(score_table([]), dataset="d", methods=("stl",), measures=[Measure("signs", "auc", "%", True, "cohort")])


# The table of predictions


def test_predictions_round_trip(tmp_path):
    target, worse, _ = fake(5, 12)
    rows = signs("stl", target, worse)
    rows[0] = (*rows[0][:2], "007", *rows[0][3:5], "NA", *rows[0][6:7], math.nan, 0.0)
    table = prediction_table(rows)
    write_predictions(table, tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "p.csv"), table, check_exact=True)
    assert read_predictions(tmp_path / "none.csv").empty


@pytest.mark.parametrize(("text", "words"), [("", "cannot be read"), ("a,b\n1,2\n", "has no column 'method'")])
def test_what_is_no_table_of_predictions(tmp_path, text, words):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_predictions(tmp_path / "p.csv")


def test_classes_without_a_label_keep_their_place():
    target, worse, _ = fake(4, 13)
    part = prediction_table(signs("stl", target, worse, missing=tuple((case, "a") for case in range(4))))
    _, names, cohort = cohort_of(part, classes=("a", "b"))
    assert names == ["a", "b"]
    assert not cohort.present[:, 0].any() and cohort.present[:, 1].all()
    np.testing.assert_array_equal(cohort.prediction[:, 1], worse[:, 1])
