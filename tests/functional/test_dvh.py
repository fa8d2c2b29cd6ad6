"""DVH figures against values by hand and an independent percentile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.errors import InputError
from crosstask.functional import dvh_metrics
from crosstask.functional.dvh import DVH_METRICS, Dvh, dvh_of, parse_metric


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


# The histogram of samples with volumes of their own.

SAMPLES = st.lists(
    st.tuples(st.floats(0, 80, width=32), st.floats(0.01, 1), st.floats(0.5, 30)), min_size=1, max_size=40
)


def of(samples: list[tuple[float, float, float]]) -> Dvh:
    dose, occupancy, volume = (np.array(column) for column in zip(*samples, strict=True))
    return dvh_of(dose, occupancy, volume)


def received(samples: list[tuple[float, float, float]], gy: float) -> float:
    """Volume of at least this dose, in mm^3, by its definition."""
    return sum(occupancy * volume for dose, occupancy, volume in samples if dose >= gy)


def test_histogram_by_hand():
    # 10 cm^3: 4 at 60 Gy, 4 at 30, 2 at 10; the last sample is half in.
    dvh = dvh_of([10.0, 60.0, 30.0], [0.5, 1.0, 1.0], 4000.0)
    assert dvh.volume == pytest.approx(10)
    assert dvh.mean == pytest.approx((4 * 60 + 4 * 30 + 2 * 10) / 10)
    assert (dvh.minimum, dvh.maximum, dvh.outside) == (10, 60, 0)
    assert [dvh.dose_at(x) for x in (0, 40, 40.1, 80, 80.1, 100)] == [60, 60, 30, 30, 10, 10]
    assert [dvh.dose_at_volume(x) for x in (0, 4, 4.1, 8, 9, 50)] == [60, 60, 30, 30, 10, 10]
    assert dvh.curve([0, 10, 10.1, 30, 30.1, 60, 60.1]).tolist() == pytest.approx([100, 100, 80, 80, 40, 40, 0])
    assert dvh.volume_at(30) == pytest.approx(80)
    assert dvh.volume_at(30, unit="cc") == pytest.approx(8)


@settings(max_examples=60)
@given(SAMPLES, st.floats(0, 90))
def test_volume_at_a_dose_by_its_definition(samples, gy):
    dvh = of(samples)
    assert dvh.volume_at(gy, unit="cc") == pytest.approx(received(samples, gy) / 1000, rel=1e-9, abs=1e-12)
    assert dvh.volume_at(gy) == pytest.approx(100 * received(samples, gy) / received(samples, 0), rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(SAMPLES, st.floats(0, 100))
def test_dose_at_a_volume_is_the_highest_that_so_much_receives(samples, percent):
    dvh = of(samples)
    wanted = percent / 100 * received(samples, 0)
    dose = dvh.dose_at(percent)
    assert received(samples, dose) >= wanted * (1 - 1e-8)
    higher = [other for other, *_ in samples if other > dose]
    assert not higher or received(samples, min(higher)) <= wanted * (1 + 1e-8)
    assert dvh.dose_at_volume(wanted / 1000) == pytest.approx(dose)


@settings(max_examples=40)
@given(SAMPLES)
def test_histogram_falls_between_its_ends(samples):
    dvh = of(samples)
    curve = dvh.curve(np.linspace(-1, 90, 200))
    assert curve[0] == 100
    assert curve[-1] == 0
    assert (np.diff(curve) <= 0).all()
    assert dvh.minimum <= dvh.mean * (1 + 1e-9)
    assert dvh.mean <= dvh.maximum * (1 + 1e-9)
    assert (dvh.dose_at(100), dvh.dose_at(0)) == (dvh.minimum, dvh.maximum)


@settings(max_examples=30)
@given(SAMPLES)
def test_samples_may_be_split_and_come_in_any_order(samples):
    halves = [(dose, occupancy / 2, volume) for dose, occupancy, volume in samples]
    whole, split = of(samples), of([*halves[::-1], *halves])
    assert split.volume == pytest.approx(whole.volume)
    assert split.mean == pytest.approx(whole.mean)
    assert split.dose_at(51.7) == pytest.approx(whole.dose_at(51.7))


def test_the_hottest_share_is_not_missed_by_rounding():
    dvh = dvh_of(np.arange(100.0), np.full(100, 0.1), 0.3)
    assert [dvh.dose_at(x) for x in (1, 5, 7, 50, 95, 99)] == [99, 95, 93, 50, 5, 1]


def test_dose_that_is_not_there_is_outside():
    dvh = dvh_of([20.0, np.nan, 40.0, np.inf], [1, 1, 1, 0.5], 1000.0, outside=500.0)
    assert (dvh.volume, dvh.outside, dvh.mean) == (2, 2, 30)
    assert dvh.share_outside == 0.5


def test_samples_that_do_not_belong_count_nothing():
    dvh = dvh_of(np.array([[99.0, 20.0], [1.0, 40.0]]), np.array([[False, True], [False, True]]), 1000.0)
    assert (dvh.minimum, dvh.maximum, dvh.volume) == (20, 40, 2)


@pytest.mark.parametrize(
    ("dose", "occupancy", "volume", "words"),
    [
        ([1.0, 2.0], [1.0], 1.0, "shape"),
        ([1.0], [1.5], 1.0, "occupancy"),
        ([1.0], [-0.5], 1.0, "occupancy"),
        ([1.0], [np.nan], 1.0, "occupancy"),
        ([1.0], [1.0], 0.0, "volume"),
        ([1.0], [1.0], np.nan, "volume"),
        ([1.0], [0.0], 1.0, "no sample"),
        ([np.nan], [1.0], 1.0, "no sample"),
        ([], [], 1.0, "no sample"),
    ],
)
def test_histogram_faults(dose, occupancy, volume, words):
    with pytest.raises(ValueError, match=words):
        dvh_of(dose, occupancy, volume)


@pytest.mark.parametrize("wrong", [-1.0, 100.1, float("nan")])
def test_no_share_of_the_volume(wrong):
    with pytest.raises(ValueError, match="share"):
        dvh_of([1.0], [1.0], 1.0).dose_at(wrong)


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
def test_no_volume(wrong):
    with pytest.raises(ValueError, match="volume"):
        dvh_of([1.0], [1.0], 1.0).dose_at_volume(wrong)


@pytest.mark.parametrize(
    ("text", "name", "unit", "value"),
    [
        ("D95", "D95%", "Gy", 10),
        ("D_2%", "D2%", "Gy", 60),
        (" d 40 % ", "D40%", "Gy", 60),
        ("D0.1cc", "D0.1cc", "Gy", 60),
        ("D5cm3", "D5cc", "Gy", 30),
        ("d_.1cm^3", "D.1cc", "Gy", 60),
        ("V20Gy", "V20Gy", "%", 80),
        ("v20gy%", "V20Gy", "%", 80),
        ("V20Gy cc", "V20Gycc", "cc", 8),
        ("V95%", "V95%", "%", 40),
        ("V50%cc", "V50%cc", "cc", 8),
        ("mean", "mean", "Gy", 38),
        ("Dmean", "mean", "Gy", 38),
        ("D_max", "max", "Gy", 60),
        ("MIN", "min", "Gy", 10),
    ],
)
def test_figures_by_name(text, name, unit, value):
    metric = parse_metric(text)
    assert (metric.name, metric.unit) == (name, unit)
    assert metric.needs_prescription == ("%" in name and name.startswith("V"))
    assert metric.of(dvh_of([10.0, 60.0, 30.0], [0.5, 1.0, 1.0], 4000.0), 60.0) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "D", "D101", "D-5", "95", "V20", "V20cc", "D5Gy", "mode", "DD95", "D95%x", "V1e1Gy"]
)
def test_what_is_no_figure(text):
    with pytest.raises(InputError, match=r"is no figure of a DVH; write D95%"):
        parse_metric(text)


def test_a_share_of_the_prescription_needs_one():
    with pytest.raises(InputError, match="prescribed"):
        parse_metric("V95%").of(dvh_of([1.0], [1.0], 1.0))
