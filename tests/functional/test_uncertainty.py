"""Spread, entropy, calibration of voxels, and what a spread says of the error."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr

from crosstask.functional.cohort import Cohort, cohort_metric
from crosstask.functional.uncertainty import (
    RunningSpread,
    binary_entropy,
    entropy,
    error_within_spread,
    voxel_calibration,
)


@given(st.integers(2, 7), st.integers(0, 100), st.sampled_from([0.0, 1e3]))
def test_running_spread_is_that_of_all_at_once(number: int, seed: int, offset: float):
    values = np.random.default_rng(seed).normal(offset, 1, (number, 2, 5)).astype(np.float32)
    running = RunningSpread()
    for one in values:
        running.add(one)
    np.testing.assert_allclose(running.mean, values.astype(np.float64).mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        running.spread, values.astype(np.float64).std(0, ddof=1), rtol=2e-3, atol=1e-6 + 1e-7 * offset
    )


def test_running_spread_leaves_what_it_is_given_alone_and_needs_two():
    first = np.ones((2, 2), np.float32)
    running = RunningSpread()
    with pytest.raises(ValueError, match="no array"):
        _ = running.mean
    running.add(first)
    with pytest.raises(ValueError, match="needs two"):
        _ = running.spread
    running.add(3 * first)
    assert (first == 1).all()
    np.testing.assert_allclose(running.spread, math.sqrt(2))


def test_entropy_is_scipys():
    probability = np.random.default_rng(0).dirichlet((1, 1, 1), (4, 5)).transpose(2, 0, 1)
    np.testing.assert_allclose(entropy(probability), scipy_entropy(probability, base=2, axis=0), rtol=1e-5)
    assert entropy(np.array([0.0, 1.0, 0.0])) == pytest.approx(0, abs=1e-9)
    assert entropy(np.full(4, 0.25)) == pytest.approx(2)
    np.testing.assert_allclose(binary_entropy(np.array([0.0, 0.5, 1.0])), [0, 1, 0], atol=1e-9)
    assert binary_entropy(probability).shape == probability.shape


def test_calibration_of_voxels_is_that_of_cases():
    rng = np.random.default_rng(1)
    probability = rng.random((7, 9, 11))
    target = (rng.random(probability.shape) < probability**2).astype(float)
    flat = [array.reshape(-1, 1) for array in (target, probability)]
    cohort = Cohort(*flat, flat[0], np.ones_like(flat[0], dtype=bool))
    found = voxel_calibration(probability, target)
    for metric, value in found.items():
        assert value == pytest.approx(float(cohort_metric(metric, cohort)[0, 0]), rel=1e-9)
    assert set(found) == {"calibration_error", "brier"} and found["calibration_error"] > 5
    perfect = voxel_calibration(probability, (rng.random(probability.shape) < probability).astype(float))
    assert perfect["calibration_error"] < 3
    assert voxel_calibration(probability[:0], target[:0]) == {}


def test_errors_of_a_right_spread_are_those_of_a_normal_distribution():
    rng = np.random.default_rng(2)
    spread = rng.uniform(0.5, 4, (40, 50, 50))
    found = error_within_spread(rng.normal(0, spread), spread)
    assert found["within_1sd"] == pytest.approx(68.3, abs=0.7)
    assert found["within_2sd"] == pytest.approx(95.4, abs=0.4)
    too_sure = error_within_spread(rng.normal(0, spread), spread / 10)
    assert too_sure["within_2sd"] < 20


def test_the_correlation_is_spearmans_of_the_size_of_the_error():
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.5, 4, 400).round(1)  # with ties
    error = rng.normal(0, spread)
    found = error_within_spread(error, spread)["error_spread_correlation"]
    assert found == pytest.approx(spearmanr(np.abs(error), spread).statistic)
    assert found > 0.3
    assert "error_spread_correlation" not in error_within_spread(error, np.ones(400))
    assert error_within_spread(error[:0], spread[:0]) == {}
