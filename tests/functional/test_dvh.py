"""DVH figures against values by hand and an independent percentile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.functional import dvh_metrics
from crosstask.functional.dvh import DVH_METRICS


def percentile(values: np.ndarray, q: float) -> float:
    """Linear interpolation between order statistics, by its definition."""
    ordered = sorted(float(value) for value in values)
    place = q / 100 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def test_values_by_hand():
    dose = np.arange(101.0).reshape(1, 1, 101)
    figures = dvh_metrics(dose, np.ones_like(dose), voxel_volume=10.0)
    assert tuple(figures) == DVH_METRICS
    assert figures["mean"] == 50.0
    assert figures["D_99"] == pytest.approx(1.0)
    assert figures["D_95"] == pytest.approx(5.0)
    assert figures["D_1"] == pytest.approx(99.0)
    # 10 voxels are 0.1 cm^3: percentile 100 - 10 / 101 * 100.
    assert figures["D_0.1cc"] == pytest.approx(100 - 1000 / 101)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 80), min_size=1, max_size=60),
    st.floats(0.5, 500),
)
def test_against_the_definition(values, voxel_volume):
    dose = np.array([*values, 1e3])
    mask = np.array([1] * len(values) + [0])
    figures = dvh_metrics(dose, mask, voxel_volume)
    count = max(1, round(100 / voxel_volume))
    expected = {
        "D_0.1cc": percentile(values, max(0.0, 100 - count / len(values) * 100)),
        "mean": sum(values) / len(values),
        "D_99": percentile(values, 1),
        "D_95": percentile(values, 5),
        "D_1": percentile(values, 99),
    }
    assert figures == pytest.approx(expected, abs=1e-9)


def test_large_voxels_count_as_one():
    dose = np.array([1.0, 2.0, 3.0, 4.0])
    assert dvh_metrics(dose, dose, 5000.0)["D_0.1cc"] == pytest.approx(percentile(dose, 75))


def test_structure_below_a_tenth_of_a_cubic_centimetre_gets_its_minimum():
    dose = np.array([3.0, 5.0])
    assert dvh_metrics(dose, dose, 1.0)["D_0.1cc"] == 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_give_the_same(dtype):
    dose = torch.linspace(0, 70, 60, dtype=torch.float64).reshape(3, 4, 5).to(dtype).requires_grad_()
    mask = torch.arange(60).reshape(3, 4, 5) % 2 == 0
    expected = dvh_metrics(dose.detach().double().numpy(), mask.numpy(), 24.0)
    assert dvh_metrics(dose, mask, 24.0) == expected
    assert dvh_metrics(dose, mask.to(torch.uint8), 24.0) == expected


def test_integer_and_single_precision_are_averaged_in_double():
    dose = np.full(100_000, 70.1, np.float32)
    assert dvh_metrics(dose, np.ones(100_000), 30.0)["mean"] == pytest.approx(float(np.float32(70.1)), abs=1e-12)


def test_scales_with_the_dose_and_ignores_the_rest():
    generator = np.random.default_rng(0)
    dose, mask = generator.uniform(0, 70, (6, 6, 6)), generator.random((6, 6, 6)) < 0.3
    once, twice = dvh_metrics(dose, mask, 30.0), dvh_metrics(np.where(mask, 2 * dose, -5.0), mask, 30.0)
    assert twice == pytest.approx({name: 2 * value for name, value in once.items()})
    assert once["D_99"] <= once["D_95"] <= once["mean"] <= once["D_1"]


def test_dose_that_is_not_finite_shows():
    assert np.isnan(dvh_metrics(np.array([1.0, np.nan]), np.ones(2), 30.0)["mean"])


@pytest.mark.parametrize(
    ("dose", "mask", "volume", "words"),
    [
        (np.ones((2, 2)), np.zeros((2, 2)), 1.0, "empty"),
        (np.ones((2, 2)), np.ones((2, 3)), 1.0, "shape"),
        (np.ones((2, 2)), np.ones(4), 1.0, "shape"),
        (np.ones((2, 2)), np.ones((2, 2)), 0.0, "volume"),
        (np.ones((2, 2)), np.ones((2, 2)), -3.0, "volume"),
        (np.ones((2, 2)), np.ones((2, 2)), float("nan"), "volume"),
        (np.ones((2, 2)), np.ones((2, 2)), float("inf"), "volume"),
    ],
)
def test_faults(dose, mask, volume, words):
    with pytest.raises(ValueError, match=words):
        dvh_metrics(dose, mask, volume)
