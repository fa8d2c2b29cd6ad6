"""The challenge's two scores."""

from __future__ import annotations

import numpy as np
import pytest

from crosstask.functional.openkbp_score import (
    OARS,
    STRUCTURE_METRICS,
    STRUCTURES,
    TARGETS,
    aggregate,
    dose_score,
    dvh_errors,
)

SHAPE = (4, 5, 6)


@pytest.fixture
def patient():
    generator = np.random.default_rng(1)
    region = generator.random(SHAPE) < 0.6
    dose = np.where(region, generator.uniform(1, 70, SHAPE), 0.0)
    structures = {"PTV70": generator.random(SHAPE) < 0.3, "Brainstem": generator.random(SHAPE) < 0.2}
    return dose, region, {name: mask & region for name, mask in structures.items()}


def test_structures_have_one_order():
    assert list(STRUCTURES) == [*OARS, *TARGETS]
    assert len(set(STRUCTURES)) == 10
    assert all(STRUCTURE_METRICS[name] == ("D_0.1cc", "mean") for name in OARS)
    assert all(STRUCTURE_METRICS[name] == ("D_99", "D_95", "D_1") for name in TARGETS)


def test_dose_score_by_hand():
    reference = np.array([[[10.0, 20.0, 0.0, 0.0]]])
    prediction = np.array([[[12.0, 17.0, 1.0, 99.0]]])
    region = np.array([[[1, 1, 1, 0]]])
    assert dose_score(reference, prediction, region) == pytest.approx((2 + 3 + 1) / 3)


def test_reference_dose_outside_the_region_counts_as_an_error():
    reference = np.array([4.0, 2.0])
    assert dose_score(reference, reference, np.array([1, 0])) == pytest.approx(2.0)


def test_offset_in_the_region_scores_the_offset(patient):
    dose, region, structures = patient
    assert dose_score(dose, dose + 1.5, region) == pytest.approx(1.5)
    cells = dvh_errors(dose, dose + 1.5, region, structures, 30.0)
    assert list(cells) == [
        ("Brainstem", "D_0.1cc"),
        ("Brainstem", "mean"),
        *(("PTV70", m) for m in ("D_99", "D_95", "D_1")),
    ]
    assert list(cells.values()) == pytest.approx([1.5] * 5)


def test_perfect_prediction_scores_zero(patient):
    dose, region, structures = patient
    assert dose_score(dose, dose, region) == 0.0
    assert set(dvh_errors(dose, dose, region, structures, 30.0).values()) == {0.0}


def test_prediction_is_zeroed_outside_the_region_for_the_dvh_too(patient):
    dose, region, structures = patient
    organ = {"Brainstem": structures["Brainstem"] | ~region}
    wild = np.where(region, dose, 500.0)
    assert set(dvh_errors(dose, wild, region, organ, 30.0).values()) == {0.0}


def test_dvh_error_by_hand():
    dose = np.arange(101.0)
    cells = dvh_errors(dose, 2 * dose, np.ones(101), {"PTV56": np.ones(101), "Larynx": np.ones(101)}, 100.0)
    assert cells[("Larynx", "mean")] == pytest.approx(50)
    assert cells[("Larynx", "D_0.1cc")] == pytest.approx(100 - 100 / 101)
    assert cells[("PTV56", "D_99")] == pytest.approx(1)
    assert cells[("PTV56", "D_95")] == pytest.approx(5)
    assert cells[("PTV56", "D_1")] == pytest.approx(99)


def test_dvh_score_is_the_mean_of_all_cells_not_of_patients():
    cells = [{("Larynx", "mean"): 4.0}, {("Larynx", "mean"): 1.0, ("Larynx", "D_0.1cc"): 1.0, ("PTV70", "D_1"): 2.0}]
    assert aggregate([1.0, 4.0], cells) == (2.5, 2.0)


def test_no_cell_is_not_a_number_and_no_patient_an_error():
    dose, dvh = aggregate([1.0], [{}])
    assert dose == 1.0
    assert np.isnan(dvh)
    with pytest.raises(ValueError, match="no patient"):
        aggregate([], [])


def test_faults(patient):
    dose, region, _ = patient
    with pytest.raises(ValueError, match="shapes"):
        dose_score(dose, dose[:2], region)
    with pytest.raises(ValueError, match="region is empty"):
        dose_score(dose, dose, np.zeros(SHAPE))
    with pytest.raises(ValueError, match="Spleen"):
        dvh_errors(dose, dose, region, {"Spleen": region}, 30.0)
    with pytest.raises(ValueError, match="empty"):
        dvh_errors(dose, dose, region, {"Larynx": np.zeros(SHAPE)}, 30.0)
