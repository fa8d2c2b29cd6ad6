"""Thresholds by which each of classes that exclude each other counts alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from crosstask.functional.even_classes import even_class_thresholds


def cases(seed: int, classes: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    kinds = np.r_[np.arange(classes), random.choice(classes, count - classes, p=random.dirichlet(np.ones(classes)))]
    noise = random.normal(size=(count, classes)) + np.eye(classes)[kinds] * 2
    probability = np.exp(noise) / np.exp(noise).sum(1, keepdims=True)
    return np.eye(classes)[kinds], probability


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_they_are_those_of_the_highest_likelihood_of_even_shares(seed: int, classes: int) -> None:
    """What the fixed point is the maximum of, by an optimiser that knows nothing of matrix scaling."""
    target, probability = cases(seed, classes)
    case = (target / target.sum(0)).sum(1) / classes

    def loss(free: np.ndarray) -> float:
        logs = np.r_[0.0, free]
        return float(case @ np.log(probability @ np.exp(logs)) - logs.mean())

    best = minimize(loss, np.zeros(classes - 1), tol=1e-12, options={"gtol": 1e-10})
    expected = np.exp(-np.r_[0.0, best.x])
    found = even_class_thresholds(target, probability)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-4)
    shares = probability / found
    assert case @ (shares / shares.sum(1, keepdims=True)) == pytest.approx(np.full(classes, 1 / classes))


def test_of_two_classes_the_second_s_is_the_usual_threshold() -> None:
    target, probability = cases(1, 2)
    low, high = even_class_thresholds(target, probability)
    assert low + high == pytest.approx(1)
    decided = (probability / (low, high)).argmax(1)
    np.testing.assert_array_equal(decided, probability[:, 1] > high)


def test_copies_of_cases_of_a_class_change_nothing() -> None:
    target, probability = cases(2, 3)
    of_one = target[:, 1] > 0
    more = np.concatenate([target, *[target[of_one]] * 4]), np.concatenate([probability, *[probability[of_one]] * 4])
    assert even_class_thresholds(*more) == pytest.approx(even_class_thresholds(target, probability))


def test_a_class_of_no_case_has_the_mean_of_the_others_and_one_that_is_never_near_is_finite() -> None:
    target, probability = cases(3, 4)
    kept = target[:, 3] == 0
    found = even_class_thresholds(target[kept], probability[kept])
    assert found[3] == pytest.approx(np.exp(np.log(found[:3]).mean()))
    probability[:, 0] = 0
    assert all(0 < one < 1 for one in even_class_thresholds(target, probability))
    assert even_class_thresholds(target[:0], probability[:0]) == pytest.approx((0.25,) * 4)
