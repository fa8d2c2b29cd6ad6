"""Spearman correlations with the major label, and eq. (1) to (3) of Fang et al. (2019), against references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from crosstask.functional.spearman import characteristic, characteristic_weights, spearman

NAN = math.nan
# ten cases: a diagnosis, and characteristics whose correlations are worked out by hand below
MAJOR = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], float)
SAME = MAJOR
OPPOSITE = np.array([2, 2, 2, 2, 1, 0, 0, 0, 0, 0], float)
UNRELATED = np.array([0, 1, 0, 1, 0, 0, 1, 0, 1, 0], float)


def ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, counted one by one."""
    return np.array([np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values])


def reference(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Pearson's correlation of the ranks, and the two-sided p-value by Student's t."""
    one, other = (ranks(values) - ranks(values).mean() for values in (first, second))
    rho = float((one * other).sum() / math.sqrt((one**2).sum() * (other**2).sum()))
    freedom = len(first) - 2
    return rho, float(2 * student.sf(abs(rho) * math.sqrt(freedom / max(1 - rho**2, 1e-300)), freedom))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=4, max_size=40))
def test_equals_the_correlation_of_ranks(pairs: list[tuple[int, int]]):
    first, second = (np.array(column, float) for column in zip(*pairs, strict=True))
    rho, p, number = spearman(first, second)
    assert number == len(pairs)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert math.isnan(rho) and math.isnan(p)
    else:
        expected = reference(first, second)
        assert rho == pytest.approx(expected[0], abs=1e-9)
        assert p == pytest.approx(expected[1], abs=1e-6)


def test_by_hand():
    """Of two binary labels it is the phi coefficient: here (2 * 3 - 2 * 3) = 0 and 1."""
    assert spearman(SAME, MAJOR)[0] == pytest.approx(1)
    assert spearman(UNRELATED, MAJOR)[0] == pytest.approx(0, abs=1e-12)
    # ranks of OPPOSITE: 3 five times, 6 once, 8.5 four times; of MAJOR: 3 and 8, so sums of deviations are -62.5
    assert spearman(OPPOSITE, MAJOR)[0] == pytest.approx(-62.5 / math.sqrt(67.5 * 62.5))


def test_missing_values_are_left_out_pair_by_pair():
    first = np.array([1, NAN, 2, 3, 4, 5])
    second = np.array([1, 2, 4, NAN, 3, 5])
    kept = [0, 2, 4, 5]
    rho, p, number = spearman(first, second)
    assert number == 4
    assert (rho, p) == pytest.approx(reference(first[kept], second[kept]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        spearman(np.zeros(2), np.zeros(3))


@pytest.mark.parametrize(
    ("values", "options", "weight", "reason"),
    [
        (SAME, {}, 1.0, ""),
        (OPPOSITE, {}, 62.5 / math.sqrt(67.5 * 62.5), ""),
        (OPPOSITE, {"negative": "leave_out"}, 0.0, "the correlation is negative"),
        (UNRELATED, {}, 0.0, "p is not below 0.05"),
        (np.ones(10), {}, 0.0, "it is the same in all cases that have both labels"),
        (np.where(MAJOR == 0, [1, 2, 1, 2, 1, 0, 0, 0, 0, 0], NAN), {}, 0.0, "the major label is the same in all"),
        (np.full(10, NAN), {}, 0.0, "only 0 cases have both labels"),
        (np.array([0.0] + 8 * [NAN] + [1.0]), {}, 0.0, "only 2 cases have both labels"),
    ],
)
def test_what_is_kept_and_why_not(values, options, weight, reason):
    found = characteristic("sign", values, MAJOR, **options)
    assert found.weight == pytest.approx(weight)
    assert found.reason.startswith(reason) and bool(found.reason) == bool(reason)
    assert found.kept == (not reason)


def test_the_level_of_significance_is_not_reached_by_equality():
    values = np.array([0, 0, 0, 1, 1, 0, 1, 1, 1, 1], float)
    p = reference(values, MAJOR)[1]
    assert 0.01 < p < 0.99
    assert characteristic("sign", values, MAJOR, significance=p * 1.01).kept
    assert not characteristic("sign", values, MAJOR, significance=p * 0.99).kept
    exact = characteristic("sign", values, MAJOR).p
    assert not characteristic("sign", values, MAJOR, significance=exact).kept


def test_the_loss_is_that_of_the_paper():
    """Eq. (1) to (3), sample by sample, class by class, on a batch of four with a known Spearman table."""
    table = {"lobulation": (0.36, 0.001), "spiculation": (0.34, 0.01), "texture": (0.09, 0.3)}
    rng = np.random.default_rng(0)
    classes = {"malignant": 2, "lobulation": 3, "spiculation": 2, "texture": 2}
    truth = {name: rng.integers(0, number, 4) for name, number in classes.items()}
    chance = {name: rng.dirichlet(np.ones(number), 4) for name, number in classes.items()}
    m, loss_mt, loss_at = 0.7, 0.0, 0.0
    for n in range(4):
        for c in range(2):
            loss_mt -= (truth["malignant"][n] == c) * math.log(chance["malignant"][n, c]) / 4
        for name, (rho, p) in table.items():
            for c in range(classes[name]):
                if p < 0.05:
                    loss_at -= rho * (truth[name][n] == c) * math.log(chance[name][n, c]) / 4
    expected = m * loss_mt + (1 - m) * loss_at

    losses = {name: float(np.mean(-np.log(chance[name][np.arange(4), truth[name]]))) for name in classes}
    weights = characteristic_weights("malignant", {"lobulation": 0.36, "spiculation": 0.34}, m=m)
    assert sum(weights[name] * losses[name] for name in weights) == pytest.approx(expected)
    assert list(weights) == ["malignant", "lobulation", "spiculation"]


def test_the_major_task_alone_is_plain_cross_entropy():
    assert characteristic_weights("malignant", {}, m=0.2) == {"malignant": 1.0}
