"""Variance of AUC by DeLong against pairs of cases, MLstatkit's figures and scikit-learn; coverage in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from crosstask.functional.cohort import Cohort, cohort_metric
from crosstask.functional.delong import delong, logit_interval

TRUE = np.array([1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1])
TWO = np.array(
    [
        [0.9, 0.2, 0.4, 0.7, 0.4, 0.4, 0.1, 0.6, 0.8, 0.3, 0.5, 0.2, 0.6, 0.6, 0.1, 0.3],
        [0.6, 0.5, 0.4, 0.9, 0.3, 0.7, 0.2, 0.4, 0.5, 0.5, 0.8, 0.1, 0.7, 0.3, 0.2, 0.4],
    ]
)


def test_figures_of_mlstatkit():
    """``Delong_test(TRUE, *TWO)`` of MLstatkit 0.1.91, made once."""
    areas, covariance = delong(TRUE, TWO)
    np.testing.assert_allclose(areas, [0.825, 0.85], rtol=1e-12)
    lower = areas - ndtri(0.975) * np.sqrt(covariance.diagonal())
    np.testing.assert_allclose(lower, [0.6034212024861163, 0.6547308634174241], rtol=1e-12)
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert difference == pytest.approx(0.013169753086419751, rel=1e-12)
    assert (areas[1] - areas[0]) / math.sqrt(difference) == pytest.approx(0.2178468037495924, rel=1e-12)


def by_pairs(true: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: of every pair of a positive and a negative case whether it is in order."""
    positive, negative = values[:, true > 0.5], values[:, true < 0.5]
    order = (positive[:, :, None] > negative[:, None]) + 0.5 * (positive[:, :, None] == negative[:, None])
    covariance = sum(np.atleast_2d(np.cov(order.mean(side))) / order.shape[3 - side] for side in (1, 2))
    return order.mean((1, 2)), covariance


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), runs=st.integers(1, 4), positives=st.integers(2, 9), negatives=st.integers(2, 30))
def test_ranks_give_what_pairs_give(seed: int, runs: int, positives: int, negatives: int):
    random = np.random.default_rng(seed)
    true = random.permutation(np.r_[np.ones(positives), np.zeros(negatives)])
    values = np.round(random.random((runs, len(true))) + 0.3 * true, 1)  # many ties
    areas, covariance = delong(true, values)
    expected, scatter = by_pairs(true, values)
    np.testing.assert_allclose(areas, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(covariance, scatter, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(areas, [roc_auc_score(true, row) for row in values], rtol=1e-12)
    cohort = Cohort(true[:, None], values[0][:, None], values[0][:, None], np.ones((len(true), 1), dtype=bool))
    assert cohort_metric("auc", cohort)[0, 0] == pytest.approx(100 * areas[0])
    np.testing.assert_allclose(delong(1 - true, -values)[1], covariance, atol=1e-15)  # both sides swapped
    np.testing.assert_allclose(delong(true, np.exp(values))[1], covariance, atol=1e-15)  # ranks alone count


def test_what_is_not_defined_is_nan():
    areas, covariance = delong(np.array([1, 0, 0]), np.array([[0.4, 0.2, 0.6]]))
    assert areas.tolist() == [0.5] and np.isnan(covariance).all()
    areas, covariance = delong(np.zeros(3), np.ones((2, 3)))
    assert np.isnan(areas).all() and covariance.shape == (2, 2) and np.isnan(covariance).all()
    areas, covariance = delong(TRUE, np.stack([TWO[0], np.where(np.arange(16) == 3, np.nan, TWO[1])]))
    assert areas[0] == pytest.approx(0.825) and math.isnan(areas[1])
    assert np.isfinite(covariance).tolist() == [[True, False], [False, False]]
    with pytest.raises(ValueError, match="target must be n"):
        delong(TRUE, TWO[0])


def test_the_interval_by_hand():
    low, high = logit_interval(0.8, 0.01, 4)
    half = student.ppf(0.975, 4) * 0.1 / 0.16
    assert np.log([low / (1 - low), high / (1 - high)]) == pytest.approx([math.log(4) - half, math.log(4) + half])
    assert logit_interval(0.2, 0.01, 4) == pytest.approx((1 - high, 1 - low))
    assert logit_interval(0.5, 0.0) == (0.5, 0.5)
    wider, narrower = logit_interval(0.8, 0.01, level=0.99), logit_interval(0.8, 0.01, level=0.8)
    assert 0 < wider[0] < narrower[0] < 0.8 < narrower[1] < wider[1] < 1
    assert np.isnan([logit_interval(math.nan, 0.1), logit_interval(0.7, math.nan), logit_interval(1, 0)]).all()
    for wrong in ((1.1, 0.1), (0.5, -0.1), (0.5, 0.1, 0), (0.5, 0.1, 4, 1.0)):
        with pytest.raises(ValueError, match="no area"):
            logit_interval(*wrong)


@pytest.mark.parametrize(("positives", "degrees"), [(5, math.inf), (20, math.inf), (10, 9.0)])
def test_an_area_of_one_has_the_interval_of_scores(positives: int, degrees: float):
    negatives = 100 - positives
    low, high = logit_interval(1.0, 0.0, degrees, counts=(positives, negatives))
    quantile = norm.ppf(0.975) if math.isinf(degrees) else student.ppf(0.975, degrees)
    between = (positives + negatives) / 2 - 1
    first, second = low / (2 - low), 2 * low**2 / (1 + low)  # of Hanley and McNeil (1982)
    squares = low * (1 - low) + between * (first - low**2) + between * (second - low**2)
    assert 1 - low == pytest.approx(quantile * math.sqrt(squares / (positives * negatives)))
    assert high == 1 and logit_interval(0.0, math.nan, degrees, counts=(positives, negatives)) == (0, 1 - low)


def test_a_share_of_one_has_the_interval_of_wilson():
    expected = binomtest(20, 20).proportion_ci(method="wilson")
    assert logit_interval(1.0, 0.0, counts=(20,)) == pytest.approx((expected.low, expected.high))
    assert logit_interval(0.0, 0.0, counts=(20,)) == pytest.approx((0, 1 - expected.low))


def percentiles(values: np.ndarray, positives: int, random: np.random.Generator) -> np.ndarray:
    """The bootstrap's 95 % interval over cases, positives first."""
    weight = random.multinomial(values.size, np.full(values.size, 1 / values.size), 200)
    target = np.arange(values.size)[:, None] < positives
    cohort = Cohort(target, values[:, None], target, np.ones_like(target))
    return np.nanpercentile(cohort_metric("auc", cohort, weight) / 100, [2.5, 97.5])


@pytest.mark.parametrize("positives", [5, 10, 20])
@pytest.mark.parametrize("area", [0.7, 0.95])
def test_coverage_of_binormal_scores(positives: int, area: float):
    """Of 100 cases; the long form is in the module's docstring."""
    random = np.random.default_rng(positives)
    true = np.arange(100) < positives
    held: dict[str, list[bool]] = {"normal": [], "t": [], "bootstrap": []}
    for index in range(600):
        scores = random.normal(size=(1, 100)) + math.sqrt(2) * norm.ppf(area) * true
        (found,), ((variance,),) = delong(true, scores)
        for name, degrees in (("normal", math.inf), ("t", positives - 1)):
            low, high = logit_interval(found, variance, degrees, counts=(positives, 100 - positives))
            held[name].append(low <= area <= high)
        if index < 200:
            low, high = percentiles(scores[0], positives, random)
            held["bootstrap"].append(low <= area <= high)
    share = {name: np.mean(values) for name, values in held.items()}
    assert share["normal"] > 0.86 and share["t"] > 0.93
    assert share["bootstrap"] < share["t"]
    assert area < 0.9 or positives == 20 or share["bootstrap"] < share["normal"]
