"""Areas from one sorting against counting pairs: to the last bit, whatever ties, however rare a side is."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstask.functional import cohort as cohorts
from crosstask.functional.areas import Ranking
from crosstask.functional.cohort import Cohort, cohort_metric, prepared, prepared_task, task_metric


def by_pairs(values: np.ndarray, positive: np.ndarray, negative: np.ndarray, weight: np.ndarray) -> float:
    """The definition, in whole numbers: won pairs, and half of those that tie, over all pairs."""
    wins, pairs = Fraction(0), Fraction(0)
    for p in positive:
        for q in negative:
            drawn = int(weight[p]) * int(weight[q])
            pairs += drawn
            wins += drawn * (Fraction(int(values[p] > values[q])) + Fraction(int(values[p] == values[q]), 2))
    return float(wins / pairs) if pairs else math.nan


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(2, 40),
    share=st.floats(0.02, 0.98),
    decimals=st.integers(0, 6),
    single=st.booleans(),
)
def test_the_area_is_that_of_counting_pairs(seed, number, share, decimals, single):
    random = np.random.default_rng(seed)
    values = np.round(random.random(number), decimals)
    true, counted = random.random(number) < share, random.random(number) < 0.9
    positive, negative = np.flatnonzero(true & counted), np.flatnonzero(~true & counted)
    weight = random.multinomial(number, np.ones(number) / number, 5).T.astype(np.float32 if single else np.float64)
    found = Ranking(values, positive, negative).areas(weight)
    wanted = [by_pairs(values, positive, negative, one) for one in weight.T]
    np.testing.assert_array_equal(found, wanted)


def test_whole_numbers_that_single_precision_cannot_hold_are_counted_in_double():
    """Sums of 2^24 and more: in single precision 16,777,217 is 16,777,216."""
    values = np.array([0.0, 1.0, 2.0, 3.0])
    weight = np.array([[5793.0], [1.0], [5793.0], [3.0]], dtype=np.float32)
    positive, negative = np.array([1, 3]), np.array([0, 2])
    assert Ranking(values, positive, negative).areas(weight)[0] == by_pairs(values, positive, negative, weight[:, 0])
    huge = np.float32(2**24) * np.ones((4, 1), dtype=np.float32)
    assert Ranking(values, positive, negative).areas(huge)[0] == 0.75


@pytest.mark.parametrize("what", ["no positive", "no negative", "nan"])
def test_what_is_not_defined(what):
    values = np.array([0.1, np.nan if what == "nan" else 0.2, 0.3])
    positive = np.array([], dtype=int) if what == "no positive" else np.array([1])
    negative = np.array([], dtype=int) if what == "no negative" else np.array([0, 2])
    assert np.isnan(Ranking(values, positive, negative).areas(np.ones((3, 4)))).all()


def test_a_draw_without_one_side_has_no_area_and_the_others_have():
    ranking = Ranking(np.array([0.1, 0.2, 0.3]), np.array([2]), np.array([0, 1]))
    found = ranking.areas(np.array([[1, 1], [2, 2], [0, 3]], dtype=float))
    assert math.isnan(found[0]) and found[1] == 1
    assert ranking.areas(np.ones((3, 0))).shape == (0,)


def cohort_of(number: int, classes: int = 4) -> Cohort:
    random = np.random.default_rng(number)
    target = (random.random((number, classes)) < 0.3).astype(float)
    prediction = np.round(random.random((number, classes)) + 0.3 * target, 2)
    present = random.random((number, classes)) < 0.95
    return Cohort(target, prediction, (prediction > 0.6).astype(float), present)


@pytest.mark.parametrize("name", sorted(set(cohorts.COHORT_METRICS) - {"r2"}))
def test_block_after_block_is_what_all_at_once_is(name):
    cohort, random = cohort_of(60), np.random.default_rng(1)
    weight = random.multinomial(60, np.ones(60) / 60, 30)
    metric, task = prepared(name, cohort), prepared_task(name, cohort)
    whole, mean = cohort_metric(name, cohort, weight), task_metric(name, cohort, weight)
    blocks = [np.ascontiguousarray(weight[at : at + 7].T.astype(np.float32)).T for at in range(0, 30, 7)]
    np.testing.assert_allclose(np.concatenate([metric(block) for block in blocks]), whole, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.concatenate([task(block) for block in blocks]), mean, rtol=1e-12, atol=1e-12)


def test_cases_are_sorted_once_however_often_they_are_drawn(monkeypatch):
    made = []

    class Counted(Ranking):
        def __init__(self, *arguments):
            made.append(len(arguments[0]))
            super().__init__(*arguments)

    monkeypatch.setattr(cohorts, "Ranking", Counted)
    metric = prepared_task("auc", cohort_of(50))
    for _ in range(20):
        metric(np.ones((3, 50)))
    assert made == [50] * 4, "once a class"
