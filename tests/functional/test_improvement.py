"""Improvement over STL against the papers' Table 2, and by its properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.functional import relative_improvement

positive = st.floats(1e-3, 1e3)

# Kim et al. (2023), Table 2: STL, the method, higher is better, printed improvement in percent. M is printed with two
# decimals and the improvements were computed from more, so that the last digit of both M bounds the difference.
TABLE_2 = [
    pytest.param(81.96, 83.28, True, 1.74, id="Prostate HPS segmentation"),
    pytest.param(81.96, 75.47, True, -7.92, id="Prostate MTAN segmentation"),
    pytest.param(81.96, 82.40, True, 0.54, id="Prostate CTAN segmentation"),
    pytest.param(0.93, 0.91, False, 1.29, id="Prostate HPS dose"),
    pytest.param(0.93, 0.99, False, -7.29, id="Prostate MTAN dose"),
    pytest.param(0.93, 0.89, False, 3.82, id="Prostate CTAN dose"),
    pytest.param(71.29, 70.87, True, -0.52, id="OpenKBP HPS segmentation"),
    pytest.param(71.29, 66.09, True, -7.30, id="OpenKBP MTAN segmentation"),
    pytest.param(71.29, 71.59, True, 0.42, id="OpenKBP CTAN segmentation"),
    pytest.param(0.53, 0.53, False, 0.31, id="OpenKBP HPS dose"),
    pytest.param(0.53, 0.56, False, -5.29, id="OpenKBP MTAN dose"),
    pytest.param(0.53, 0.51, False, 3.56, id="OpenKBP CTAN dose"),
    pytest.param(92.83, 92.21, True, -0.68, id="HAM10000 HPS segmentation"),
    pytest.param(49.24, 57.85, True, 17.49, id="HAM10000 CTAN diagnosis"),
    pytest.param(71.88, 63.84, True, -11.18, id="STOIC HPS COVID-19"),
    pytest.param(55.83, 68.17, True, 22.09, id="STOIC HPS severity"),
    pytest.param(55.83, 61.30, True, 9.79, id="STOIC MTAN severity"),
]


@pytest.mark.parametrize(("baseline", "value", "higher", "printed"), TABLE_2)
def test_table_2_of_the_paper(baseline: float, value: float, higher: bool, printed: float):
    # half a unit of the last digit in both M; and 0.15 points, by which the printed rows of one task differ from the
    # printed M beyond any rounding (HPS on Prostate: 1.61 from the printed M, 1.74 printed)
    tolerance = 100 * 0.005 / baseline * (1 + value / baseline) + 0.15
    assert relative_improvement(baseline, value, higher_is_better=higher) == pytest.approx(printed, abs=tolerance)


def test_the_row_that_the_paper_did_not_compute_from_what_it_prints():
    assert relative_improvement(81.96, 83.28, higher_is_better=True) == pytest.approx(1.6105, abs=1e-4)


def test_values_by_hand():
    assert relative_improvement(50, 60, higher_is_better=True) == 20
    assert relative_improvement(50, 60, higher_is_better=False) == -20
    assert relative_improvement(2.0, 1.5, higher_is_better=False) == 25
    assert relative_improvement(4.0, 4.0, higher_is_better=True) == 0


def test_better_is_positive_for_a_negative_baseline_too():
    assert relative_improvement(-2.0, -1.0, higher_is_better=True) == 50
    assert relative_improvement(-2.0, -1.0, higher_is_better=False) == -50


@given(positive, positive)
def test_sign_direction_and_scale(baseline, value):
    higher = relative_improvement(baseline, value, higher_is_better=True)
    assert (higher > 0) == (value > baseline)
    assert relative_improvement(baseline, value, higher_is_better=False) == -higher
    assert relative_improvement(3 * baseline, 3 * value, higher_is_better=True) == pytest.approx(
        higher, rel=1e-9, abs=1e-9
    )
    assert baseline * (1 + higher / 100) == pytest.approx(value)


@pytest.mark.parametrize("baseline", [0, 0.0, -0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_no_improvement_over_nothing(baseline: float, higher: bool):
    with pytest.raises(ValueError, match="not defined"):
        relative_improvement(baseline, 1.0, higher_is_better=higher)
