"""Dose-volume histograms that scoring keeps for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crosstask.evaluation.histograms import HistogramTable, curve, joined, read_histograms
from crosstask.runs import HISTOGRAMS
from crosstask.seals import seal


def table(top: float = 50.0) -> HistogramTable:
    found = HistogramTable()
    dose = np.linspace(0, top, 1000).reshape(10, 10, 10)
    left = np.zeros((10, 10, 10), np.uint8)
    left[:5] = 1
    found.add("p1", dose, dose + 1, {"left": left, "empty": 0 * left})
    found.add("p2", dose, dose, {"all": 1 + 0 * left})
    return found


def test_a_curve_is_the_share_that_receives_at_least_a_dose():
    inside = np.array([1.0, 2.0, 2.0, 4.0])
    assert curve(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 4.1]), inside).tolist() == [100, 100, 75, 75, 25, 25, 0]
    doses = np.linspace(0, 10, 30)
    values = np.random.default_rng(0).uniform(0, 10, 500)
    assert curve(doses, values) == pytest.approx([100 * (values >= dose).mean() for dose in doses])


def test_cases_without_a_structure_have_no_curve_of_it():
    found = table().finish()
    assert found is not None and found.structures == ("left", "all") and found.cases == ("p1", "p2")
    assert found.of("left", reference=True).shape == (1, len(found.doses))
    assert np.isnan(found.reference[1, 0]).all()
    step = found.doses[1] - found.doses[0]
    behind = found.of("left", reference=False)[0] - found.of("left", reference=True)[0]
    assert behind.mean() > 0  # the prediction is 1 Gy higher
    assert found.of("all", reference=True)[0][0] == 100 and found.of("all", reference=True)[0][-1] == 0
    assert found.of("all", reference=True)[0].mean() * step * len(found.doses) / 100 == pytest.approx(25, abs=1)
    assert HistogramTable().finish() is None


def test_they_come_back_and_damage_costs_the_picture_alone(tmp_path: Path):
    assert read_histograms(tmp_path) is None
    found = table().finish()
    assert found is not None
    found.save(tmp_path)
    seal(tmp_path, HISTOGRAMS)
    back = read_histograms(tmp_path)
    assert back is not None and back.structures == found.structures
    np.testing.assert_allclose(back.predicted, found.predicted, atol=0.05)
    path = tmp_path / HISTOGRAMS
    path.write_bytes(path.read_bytes()[:-20])
    assert read_histograms(tmp_path) is None
    path.write_bytes(b"")
    assert read_histograms(tmp_path) is None


def test_seeds_are_joined_at_the_doses_of_the_first():
    first, second = table().finish(), table(top=80.0).finish()
    assert first is not None and second is not None
    both = joined([first, second])
    assert both.reference.shape[0] == 4 and both.cases == ("p1", "p2", "p1", "p2")
    assert both.cases_with("left") == {"p1"} and both.cases_with("all") == {"p2"}
    values = np.linspace(0, 80, 1000).reshape(10, 10, 10)[:5].ravel()
    expected = [100 * (values >= dose).mean() for dose in first.doses]
    np.testing.assert_allclose(both.of("left", reference=True)[1], expected, atol=2.5)
