"""Figures of many cases against scikit-learn and torchmetrics: ties, missing labels, classes that never occur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import foldnorm
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    r2_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import (
    confusion_matrix as sklearn_confusion_matrix,
)
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from crosstask import functional
from crosstask.functional.cohort import (
    COHORT_METRICS,
    Cohort,
    best_threshold,
    cohort_metric,
    confusion_matrix,
    mean_over_classes,
)

SEEDS = range(12)
OF_CLASSES = sorted(set(COHORT_METRICS) - {"r2"})


def softmax_cohort(seed: int, count: int = 60, classes: int = 5, missing: float = 0.0) -> Cohort:
    """One-hot labels, of which the last class never occurs; probabilities with few values, so that many tie."""
    random = np.random.default_rng(seed)
    true = random.choice(classes - 1, count, p=[0.6, 0.2, 0.15, 0.05][: classes - 1])
    probability = np.round(random.dirichlet(np.ones(classes), count) + 0.4 * np.eye(classes)[true], 1)
    probability = ((probability + 0.02) / (probability + 0.02).sum(1, keepdims=True)).astype(np.float32)
    decision = np.eye(classes, dtype=np.float32)[probability.argmax(1)]
    present = random.random((count, classes)) >= missing
    target = np.eye(classes, dtype=np.float32)[true]
    return spoiled(Cohort(target, probability, decision, present, exclusive=True))


def sigmoid_cohort(seed: int, count: int = 50, classes: int = 3, missing: float = 0.2) -> Cohort:
    """Independent labels, some of them missing; probabilities with few values."""
    random = np.random.default_rng(seed)
    target = (random.random((count, classes)) < [0.5, 0.2, 0.8][:classes]).astype(np.float32)
    # in the middle of bins, whose edges libraries give to one or the other side
    probability = (np.clip(np.floor(10 * (0.6 * random.random((count, classes)) + 0.4 * target)), 0, 9) + 0.5) / 10
    present = random.random((count, classes)) >= missing
    return spoiled(Cohort(target, probability.astype(np.float32), np.float32(probability > 0.6), present))


def scalar_cohort(seed: int, count: int = 40) -> Cohort:
    random = np.random.default_rng(seed)
    age = random.normal(55, 15, (count, 1)).astype(np.float32)
    predicted = (age + random.normal(0, 9, (count, 1))).astype(np.float32)
    return spoiled(Cohort(age, predicted, predicted, random.random((count, 1)) < 0.8))


def spoiled(cohort: Cohort) -> Cohort:
    """The same with NaN where nothing may be looked at."""
    target, prediction = (np.where(cohort.present, v, np.nan) for v in (cohort.target, cohort.prediction))
    return Cohort(target, prediction, cohort.decision, cohort.present, cohort.exclusive)


def one(name: str, cohort: Cohort) -> list[float]:
    values = cohort_metric(name, cohort)
    assert values.shape[0] == 1
    return values[0].tolist()


def whole(cohort: Cohort) -> Any:
    """True class, decided class and probabilities of the cases that count."""
    rows = cohort.present.all(1)
    return cohort.target[rows].argmax(1), cohort.decision[rows].argmax(1), cohort.prediction[rows]


def columns(cohort: Cohort):
    for index in range(cohort.target.shape[1]):
        rows = cohort.present[:, index]
        yield cohort.target[rows, index], cohort.decision[rows, index], cohort.prediction[rows, index]


# Against other libraries


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("seed", SEEDS)
def test_exclusive_classes(seed: int, missing: float):
    cohort = softmax_cohort(seed, missing=missing)
    true, decided, probability = whole(cohort)
    every = range(probability.shape[1])
    occur = np.unique(true)
    assert one("accuracy", cohort) == pytest.approx([100 * (true == decided).mean()])
    np.testing.assert_allclose(
        one("balanced_accuracy", cohort), [100 * recall_score(true, decided, labels=occur, average="macro")]
    )
    if set(decided) <= set(true):
        np.testing.assert_allclose(one("balanced_accuracy", cohort), [100 * balanced_accuracy_score(true, decided)])
    macro = f1_score(true, decided, average="macro")
    assert mean_over_classes(cohort_metric("f1", cohort)).tolist() == pytest.approx([100 * macro])
    table = sklearn_confusion_matrix(true, decided, labels=list(every))
    np.testing.assert_array_equal(confusion_matrix(cohort), table)
    for index, sensitivity, specificity, area, f1 in zip(
        every, *(one(name, cohort) for name in ("sensitivity", "specificity", "auc", "f1")), strict=True
    ):
        assert specificity == pytest.approx(100 * recall_score(true != index, decided != index))
        if index in occur:
            assert sensitivity == pytest.approx(100 * recall_score(true == index, decided == index))
            assert area == pytest.approx(100 * roc_auc_score(true == index, probability[:, index]))
        else:
            assert math.isnan(sensitivity) and math.isnan(area)
            assert math.isnan(f1) is (index not in decided)


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_that_may_go_together(seed: int):
    cohort = sigmoid_cohort(seed)
    found = {name: one(name, cohort) for name in OF_CLASSES}
    for index, (true, decided, probability) in enumerate(columns(cohort)):
        expected = {
            "accuracy": (true == decided).mean(),
            "balanced_accuracy": balanced_accuracy_score(true, decided),
            "f1": f1_score(true, decided),
            "auc": roc_auc_score(true, probability),
            "sensitivity": recall_score(true, decided),
            "specificity": recall_score(true, decided, pos_label=0),
            "calibration_error": expected_error(probability, true),
            "brier": brier_score_loss(true, probability) / 100,
        }
        assert {name: values[index] for name, values in found.items()} == pytest.approx(
            {name: 100 * value for name, value in expected.items()}, rel=1e-5
        )


# Probabilities


def expected_error(probability: np.ndarray, true: np.ndarray) -> float:
    """Bin by bin, with SciPy's folded normal."""
    total, bins = 0.0, np.minimum((10 * probability.astype(float)).astype(int), 9)
    for one_bin in np.unique(bins):
        inside = bins == one_bin
        count, said, came = inside.sum(), probability[inside].mean(dtype=float), true[inside].mean(dtype=float)
        share = (true[inside].sum(dtype=float) + said) / (count + 1)
        gap, error = abs(said - came), math.sqrt(share * (1 - share) / count)
        around = gap * max(0.0, 1 - (error / gap) ** 2) if gap else 0.0
        chance = foldnorm(around / error, scale=error).mean() - around if error else 0.0
        total += count / len(true) * (gap - chance)
    return max(0.0, total)


@pytest.mark.parametrize("seed", SEEDS)
def test_probabilities_of_exclusive_classes(seed: int):
    random = np.random.default_rng(seed)
    probability = random.dirichlet(np.ones(4), 80).astype(np.float32)
    true = random.integers(0, 4, 80)
    target = np.eye(4)[true]
    cohort = Cohort(target, probability, target, np.ones((80, 4), dtype=bool), exclusive=True)
    expected = expected_error(probability.max(1), probability.argmax(1) == true)
    assert one("calibration_error", cohort) == pytest.approx([100 * expected], rel=1e-5)
    ours = brier_score_loss(true, probability / probability.sum(1, keepdims=True), labels=range(4), scale_by_half=False)
    assert one("brier", cohort) == pytest.approx([ours], rel=1e-5)


def test_of_many_cases_the_calibration_error_is_that_of_others():
    """Of so many that chance adds nothing, and nothing is taken off."""
    random = np.random.default_rng(0)
    probability = (random.integers(0, 10, 40_000) + 0.5) / 10
    true = random.random(40_000) < np.clip(1.6 * probability - 0.3, 0, 1)
    cohort = binary(true, probability)
    expected = binary_calibration_error(torch.tensor(probability), torch.tensor(true).int(), n_bins=10)
    assert one("calibration_error", cohort) == pytest.approx([100 * float(expected)], abs=0.05)
    both = np.stack([1 - probability, probability], axis=1)
    target = np.stack([~true, true], axis=1)
    cohort = Cohort(target, both, target, np.ones_like(target), exclusive=True)
    expected = multiclass_calibration_error(torch.tensor(both), torch.tensor(true).long(), num_classes=2, n_bins=10)
    assert one("calibration_error", cohort) == pytest.approx([100 * float(expected)], abs=0.05)


def plug_in(probability: np.ndarray, true: np.ndarray) -> float:
    bins = np.minimum((10 * probability).astype(int), 9)
    return 100 * float(np.abs(np.bincount(bins, probability - true, 10)).sum()) / len(true)


@pytest.mark.parametrize(("cases", "raw", "most"), [(50, 13, 6), (200, 6.5, 2.5)])
def test_perfect_probabilities_of_few_cases_have_hardly_any_calibration_error(cases: int, raw: float, most: float):
    random = np.random.default_rng(cases)
    found, others = [], []
    for _ in range(300):
        probability = random.random(cases)
        true = random.random(cases) < probability
        found += one("calibration_error", binary(true, probability))
        others.append(plug_in(probability, true))
    assert np.mean(others) > raw and min(found) >= 0 and np.mean(found) < most


@pytest.mark.parametrize(("spread", "truth"), [(1.0, 0.0), (0.2, 20.0)])
def test_a_calibration_error_that_is_there_stays(spread: float, truth: float):
    """Probabilities from 0 to 1, where what comes true has only a share of their spread around one half."""
    random = np.random.default_rng(3)
    found = []
    for _ in range(300):
        probability = random.random(200)
        true = random.random(200) < 0.5 + spread * (probability - 0.5)
        found += one("calibration_error", binary(true, probability))
    assert np.mean(found) == pytest.approx(truth, abs=2.5)


def test_probabilities_by_hand():
    probability, target = np.array([0.01, 0.03, 0.04, 0.08, 0.95, 1.0]), np.array([0, 0, 1, 0, 1, 1.0])
    cohort = binary(target, probability)
    assert one("brier", cohort) == pytest.approx([(0.01**2 + 0.03**2 + 0.96**2 + 0.08**2 + 0.05**2) / 6])
    # in the first bin 0.04 is said and a quarter true, hardly more than the error of 0.2; in the last all are true
    assert one("calibration_error", cohort) == pytest.approx([100 * expected_error(probability, target)])
    assert one("calibration_error", binary([1, 1, 0], [1.0, 1.0, 0.0])) == [0.0], "certain and right"
    assert one("calibration_error", binary([0] * 20, [1.0] * 20))[0] == pytest.approx(100, abs=0.5), "certain and wrong"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_r2(seed: int, offset: float):
    cohort = scalar_cohort(seed)
    target, prediction = (values.astype(np.float64) + offset for values in (cohort.target, cohort.prediction))
    cohort = Cohort(target, prediction, cohort.decision, cohort.present)
    ((true, _, predicted),) = columns(cohort)
    assert one("r2", cohort) == pytest.approx([r2_score(true, predicted)], rel=1e-9)


# NaN and missing


def test_nothing_but_labelled_cases_is_looked_at():
    for cohort in (sigmoid_cohort(3), softmax_cohort(3, missing=0.1), scalar_cohort(3)):
        rows = cohort.present.all(1) if cohort.exclusive else cohort.present.any(1)
        assert not rows.all()
        few = Cohort(
            *(v[rows] for v in (cohort.target, cohort.prediction, cohort.decision, cohort.present)), cohort.exclusive
        )
        for name in COHORT_METRICS if cohort.target.shape[1] == 1 else OF_CLASSES:
            np.testing.assert_allclose(cohort_metric(name, few), cohort_metric(name, cohort), rtol=1e-12)


def test_a_case_of_a_class_that_the_task_leaves_out_does_not_count():
    cohort = softmax_cohort(5)
    some = Cohort(*(v[:, :2] for v in (cohort.target, cohort.prediction, cohort.decision, cohort.present)), True)
    rows = cohort.target[:, :2].any(1)
    few = Cohort(*(v[rows] for v in (some.target, some.prediction, some.decision, some.present)), True)
    assert confusion_matrix(some).sum() < len(rows)
    for name in OF_CLASSES:
        np.testing.assert_allclose(cohort_metric(name, some), cohort_metric(name, few))


def binary(target: Sequence[float], probability: Sequence[float]) -> Cohort:
    values = np.array([target, probability]).T[:, :, None]
    return Cohort(values[:, 0], values[:, 1], values[:, 1] > 0.5, np.ones((len(target), 1), dtype=bool))


@pytest.mark.parametrize(
    ("target", "undefined"),
    [
        ([1, 1, 1], {"balanced_accuracy", "auc", "specificity"}),
        ([0, 0, 0], {"balanced_accuracy", "auc", "sensitivity"}),
        ([], set(OF_CLASSES)),
    ],
)
def test_what_is_not_defined_is_nan(target: list[float], undefined: set[str]):
    cohort = binary(target, [0.2, 0.7, 0.9][: len(target)])
    assert {name for name in OF_CLASSES if math.isnan(one(name, cohort)[0])} == undefined
    unlabelled = Cohort(cohort.target, cohort.prediction, cohort.decision, np.zeros_like(cohort.present))
    assert all(math.isnan(one(name, unlabelled)[0]) for name in COHORT_METRICS)


def test_f1_without_a_case_and_without_a_decision_is_nan():
    assert math.isnan(one("f1", binary([0, 0], [0.1, 0.2]))[0])
    assert one("f1", binary([0, 0], [0.1, 0.9])) == [0]


@pytest.mark.parametrize("name", ["auc", "calibration_error", "brier", "r2"])
def test_a_prediction_that_is_nan_gives_no_figure(name: str):
    assert math.isnan(one(name, binary([0, 1, 1], [0.1, math.nan, 0.9]))[0])


def test_r2_of_equal_targets_is_nan_and_small_units_do_not_matter():
    assert math.isnan(one("r2", binary([0.1] * 30, list(range(30))))[0])
    cohort = binary([0.1, 0.2, 0.4, 0.5], [0.1, 0.3, 0.3, 0.5])
    small = Cohort(1e-9 * cohort.target, 1e-9 * cohort.prediction, cohort.decision, cohort.present)
    assert one("r2", small) == pytest.approx(one("r2", cohort))
    # a resampling that draws one case only
    assert math.isnan(cohort_metric("r2", cohort, np.array([[0, 0, 4, 0]]))[0, 0])


def test_mean_over_classes_leaves_out_what_is_not_defined():
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3, [5.0, 6.0, 7.0]])
    np.testing.assert_array_equal(mean_over_classes(values), [2.0, np.nan, 6.0])


def test_faults():
    cohort = sigmoid_cohort(0)
    with pytest.raises(ValueError, match="must all be n c"):
        Cohort(cohort.target[:-1], cohort.prediction, cohort.decision, cohort.present)
    with pytest.raises(ValueError, match="must all be n c"):
        Cohort(*(v[:, 0] for v in (cohort.target, cohort.prediction, cohort.decision, cohort.present)))
    with pytest.raises(ValueError, match="weights must be r 50"):
        cohort_metric("auc", cohort, np.ones((2, 49)))
    with pytest.raises(KeyError):
        cohort_metric("luck", cohort)
    with pytest.raises(ValueError, match="exclude each other"):
        confusion_matrix(cohort)


# Weights


@settings(max_examples=60)
@given(
    kind=st.sampled_from([softmax_cohort, sigmoid_cohort, scalar_cohort]),
    seed=st.integers(0, 1000),
    weight=st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=4),
)
def test_weights_are_repeated_cases(kind: Any, seed: int, weight: list[list[int]]):
    cohort = kind(seed, count=12)
    for name in ("r2",) if kind is scalar_cohort else OF_CLASSES:
        found = cohort_metric(name, cohort, np.array(weight))
        assert found.shape[0] == len(weight)
        for times, values in zip(weight, found, strict=True):
            arrays = (cohort.target, cohort.prediction, cohort.decision, cohort.present)
            again = Cohort(*(np.repeat(v, times, axis=0) for v in arrays), cohort.exclusive)
            np.testing.assert_allclose(values, cohort_metric(name, again)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(COHORT_METRICS))
def test_blocks_of_resamplings_are_joined(name: str, monkeypatch: pytest.MonkeyPatch):
    cohort = sigmoid_cohort(2)
    weight = np.random.default_rng(0).integers(0, 3, (23, 50))
    expected = cohort_metric(name, cohort, weight)
    monkeypatch.setattr("crosstask.functional.cohort._BLOCK", 250)
    np.testing.assert_allclose(cohort_metric(name, cohort, weight), expected)
    assert cohort_metric(name, cohort, weight[:0]).shape == (0, expected.shape[1])


@pytest.mark.parametrize("name", ["balanced_accuracy", "auc"])
def test_thousands_of_resamplings(name: str):
    cohort = softmax_cohort(0, count=1600)
    weight = np.random.default_rng(0).multinomial(1600, np.full(1600, 1 / 1600), 2000)
    values = cohort_metric(name, cohort, weight)
    assert len(values) == 2000
    assert np.isfinite(mean_over_classes(values)).all()


# Thresholds


def balanced(target: np.ndarray, probability: np.ndarray, threshold: float) -> float:
    above = probability > threshold
    return above[target].mean() - above[~target].mean()


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.booleans(), st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1, width=32))),
        max_size=30,
    )
)
def test_best_threshold_is_the_best_of_all(cases: list[tuple[bool, float]]):
    target = np.array([true for true, _ in cases], dtype=bool)
    probability = np.array([value for _, value in cases], dtype=np.float32)
    threshold = best_threshold(target, probability)
    if not cases or target.all() or not target.any():
        assert threshold == 0.5
        return
    values = np.unique(probability.astype(float))
    every = [0.0, *(values[1:] + values[:-1]) / 2, *values, 0.5, 1.0, (values[-1] + 1) / 2, values[0] / 2]
    qualities = [balanced(target, probability, value) for value in every]
    assert 0 <= threshold <= 1
    assert balanced(target, probability, threshold) == pytest.approx(max(qualities))


def test_best_threshold_lies_halfway_and_near_one_half():
    assert best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.4, 0.9])) == pytest.approx(0.3)
    # 0.3 and 0.75 are equally good, and so are 0.45 and 0.75
    assert best_threshold(np.array([0, 1, 0, 1]), np.array([0.2, 0.4, 0.6, 0.9])) == pytest.approx(0.3)
    assert best_threshold(np.array([0, 1, 0, 1]), np.array([0.4, 0.5, 0.6, 0.9])) == pytest.approx(0.45)
    # a class that is ranked upside down is best decided for always or never
    assert best_threshold(np.array([1, 0]), np.array([0.2, 0.9])) in (pytest.approx(0.1), pytest.approx(0.95))
    assert best_threshold(np.array([0, 1, 0]), np.array([0.2, 0.8, math.nan])) == pytest.approx(0.5)


def test_best_threshold_between_neighbours_of_double_precision():
    low = 0.3
    high = np.nextafter(low, 1)
    threshold = best_threshold(np.array([0, 1]), np.array([low, high]))
    assert (low > threshold, high > threshold) == (False, True)


def test_best_threshold_of_many_cases():
    random = np.random.default_rng(0)
    probability = random.random(300_000)
    assert best_threshold(random.random(300_000) < probability, probability) == pytest.approx(0.5, abs=0.03)


def test_names_of_the_package():
    assert functional.cohort_metric is cohort_metric
    assert set(functional._HOME) | {"dice"} == set(functional.__all__) == set(dir(functional))
    assert all(callable(getattr(functional, name)) for name in functional.__all__)
