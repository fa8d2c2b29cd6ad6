"""The comparison of methods: M, improvement, interval, rank and average, against values by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from crosstask.errors import InputError
from crosstask.evaluation.average import average
from crosstask.evaluation.comparison import Comparison, Measure, Row, compare, measures_of
from crosstask.evaluation.scores import score_table

DICE = ("organs", "organ", "dice", "%", True)
MAE = ("dose", "dose", "mae", "Gy", False)


def rows(method: str, kind: tuple, values: Mapping[int, list[float]] | list[float]) -> list[tuple[object, ...]]:
    """Rows of one method and task: a value per case, for each seed."""
    task, name, metric, unit, higher = kind
    by_seed = values if isinstance(values, Mapping) else {0: values}
    return [
        (method, seed, f"case{index}", task, name, metric, value, unit, higher)
        for seed, column in by_seed.items()
        for index, value in enumerate(column)
    ]


def comparison_of(*parts: list[tuple[object, ...]], methods: tuple[str, ...] = ("stl", "hps"), **options) -> Comparison:
    table = score_table([row for part in parts for row in part])
    return compare(table, dataset="phantom", methods=methods, **{"resamplings": 300, **options})


def row(comparison: Comparison, method: str) -> Row:
    return next(row for row in comparison.rows if row.method == method)


def test_values_by_hand():
    comparison = comparison_of(
        rows("stl", DICE, [80.0, 60.0, 70.0]),
        rows("hps", DICE, [82.0, 70.0, 73.0]),
        rows("stl", MAE, [2.0, 4.0, 3.0]),
        rows("hps", MAE, [1.0, 4.0, 2.5]),
    )
    stl, hps = comparison.rows
    assert [measure.task for measure in comparison.measures] == ["organs", "dose"]
    assert (stl.cells["organs"].value, hps.cells["organs"].value) == (70.0, 75.0)
    assert (stl.cells["dose"].value, hps.cells["dose"].value) == (3.0, 2.5)
    assert hps.cells["organs"].improvement == pytest.approx(100 * 5 / 70)
    assert hps.cells["dose"].improvement == pytest.approx(100 * 0.5 / 3)
    assert hps.mean.improvement == pytest.approx((100 * 5 / 70 + 100 * 0.5 / 3) / 2)
    assert (hps.rank, stl.rank) == (None, None)  # one run each
    assert comparison.cases == {"organs": 3, "dose": 3}
    assert comparison.seeds == 1
    assert all(math.isnan(cell.improvement) and math.isnan(cell.low) for cell in stl.cells.values())
    assert math.isnan(stl.mean.improvement)
    assert all(math.isnan(cell.deviation) for cell in hps.cells.values())


def test_improvement_is_computed_from_unrounded_values():
    comparison = comparison_of(rows("stl", MAE, [0.9349]), rows("hps", MAE, [0.9251]))
    assert row(comparison, "hps").cells["dose"].improvement == pytest.approx(100 * 0.0098 / 0.9349, abs=1e-9)
    assert row(comparison, "hps").cells["dose"].improvement != pytest.approx(100 * 0.01 / 0.93, abs=1e-3)


def test_mean_over_classes_then_cases_then_seeds():
    several = [
        ("stl", 0, "a", "organs", "x", "dice", 90.0, "%", True),
        ("stl", 0, "a", "organs", "y", "dice", 50.0, "%", True),
        ("stl", 0, "b", "organs", "x", "dice", 40.0, "%", True),
        ("stl", 1, "a", "organs", "x", "dice", 30.0, "%", True),
        ("stl", 1, "a", "organs", "y", "dice", 50.0, "%", True),
        ("stl", 1, "b", "organs", "x", "dice", 40.0, "%", True),
    ]
    (stl,) = comparison_of(several, methods=("stl",)).rows
    assert stl.cells["organs"].value == pytest.approx(((70 + 40) / 2 + (40 + 40) / 2) / 2)
    assert stl.cells["organs"].deviation == pytest.approx(np.std([55, 40], ddof=1))


def test_seeds_are_averaged_before_the_improvement():
    comparison = comparison_of(
        rows("stl", MAE, {0: [4.0, 4.0], 1: [6.0, 6.0]}), rows("hps", MAE, {0: [5.0, 5.0], 1: [2.5, 2.5]})
    )
    cell = row(comparison, "hps").cells["dose"]
    assert cell.improvement == pytest.approx(25.0)  # not the mean of -25 and 58.3
    assert comparison.seeds == 2
    assert cell.deviation == pytest.approx(math.sqrt(3.125))


def test_identical_methods_differ_by_exactly_nothing():
    values = np.random.default_rng(0).uniform(0, 100, 20).tolist()
    twice = {0: values, 1: values}
    comparison = comparison_of(rows("stl", DICE, twice), rows("hps", DICE, twice))
    hps = row(comparison, "hps")
    for cell in (hps.cells["organs"], hps.mean):
        assert (cell.improvement, cell.low, cell.high) == (0.0, 0.0, 0.0)
    assert [row.rank for row in comparison.rows] == [(1, 2), (1, 2)]
    assert hps.mean.verdict == "equivalent"


def test_the_interval_is_paired():
    # every case improves by the same factor, however much cases differ: the interval has no width
    values = np.random.default_rng(1).uniform(1, 100, 20)
    comparison = comparison_of(rows("stl", DICE, values.tolist()), rows("hps", DICE, (1.1 * values).tolist()))
    cell = row(comparison, "hps").cells["organs"]
    np.testing.assert_allclose([cell.improvement, cell.low, cell.high], 10.0, rtol=1e-9)


def test_the_interval_of_single_runs_is_that_of_the_cases():
    # of means the bootstrap's variance is known: the delta method on each case's share of the ratio
    rng = np.random.default_rng(2)
    stl, hps = rng.uniform(60, 90, 25), rng.uniform(62, 92, 25)
    cell = row(
        comparison_of(rows("stl", DICE, stl.tolist()), rows("hps", DICE, hps.tolist()), resamplings=4000), "hps"
    ).cells["organs"]
    shares = 100 * (hps / stl.mean() - hps.mean() * stl / stl.mean() ** 2)
    half = student.ppf(0.975, 24) * np.std(shares, ddof=1) / 5
    assert (cell.high - cell.low) / 2 == pytest.approx(half, rel=0.05)
    assert cell.improvement == pytest.approx((cell.low + cell.high) / 2)
    assert half > 2


def test_tasks_on_the_same_cases_are_resampled_together():
    # what a case gains in one task it loses in the other, so the mean over tasks is sure however cases are drawn
    gains = np.random.default_rng(3).uniform(-20, 20, 30)
    other = ("other", "x", "dice", "%", True)
    comparison = comparison_of(
        rows("stl", DICE, [50.0] * 30),
        rows("stl", other, [50.0] * 30),
        rows("hps", DICE, (50 + gains).tolist()),
        rows("hps", other, (50 - gains).tolist()),
    )
    hps = row(comparison, "hps")
    assert hps.cells["organs"].high - hps.cells["organs"].low > 5
    np.testing.assert_allclose([hps.mean.improvement, hps.mean.low, hps.mean.high], 0, atol=1e-9)


def test_tasks_may_have_different_cases():
    comparison = comparison_of(
        rows("stl", DICE, [50.0, 60.0]),
        rows("hps", DICE, [60.0, 60.0]),
        rows("stl", MAE, [2.0, 3.0, 4.0]),
        rows("hps", MAE, [2.0, 3.0, 1.0]),
    )
    assert comparison.cases == {"organs": 2, "dose": 3}
    assert math.isfinite(row(comparison, "hps").mean.low)


def test_one_seed_of_the_bootstrap_is_repeatable():
    rng = np.random.default_rng(4)
    parts = [rows("stl", MAE, rng.uniform(1, 2, 12).tolist()), rows("hps", MAE, rng.uniform(1, 2, 12).tolist())]
    first, again, other = (row(comparison_of(*parts, seed=seed), "hps").mean for seed in (0, 0, 1))
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)


def test_an_interval_does_not_depend_on_what_else_is_compared():
    rng = np.random.default_rng(5)
    parts = [rows(method, MAE, rng.uniform(1, 2, 12).tolist()) for method in ("stl", "hps", "ctan")]
    alone = comparison_of(*parts, methods=("stl", "ctan"))
    together = comparison_of(*parts, methods=("stl", "hps", "ctan"))
    one, other = row(alone, "ctan").cells["dose"], row(together, "ctan").cells["dose"]
    assert (one.improvement, one.low, one.high) == (other.improvement, other.low, other.high)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(70, 100), st.floats(1, 100)), min_size=2, max_size=12), st.booleans(), st.randoms())
def test_better_is_positive_and_order_does_not_matter(pairs, higher, random):
    kind = ("t", "c", "m", "", higher)
    table = rows("stl", kind, [a for a, _ in pairs]) + rows("hps", kind, [b for _, b in pairs])
    cell = row(comparison_of(table, resamplings=50), "hps").cells["t"]
    first, second = (np.mean(column) for column in zip(*pairs, strict=True))
    assert cell.improvement == pytest.approx(100 * (second - first) / first * (1 if higher else -1), abs=1e-9)
    assert cell.low <= cell.high
    shuffled = list(table)
    random.shuffle(shuffled)
    again = row(comparison_of(shuffled, resamplings=50), "hps").cells["t"]
    assert (again.low, again.high) == (pytest.approx(cell.low, abs=1e-9), pytest.approx(cell.high, abs=1e-9))


def test_ranks_with_the_baseline_at_zero_and_ties():
    rng = np.random.default_rng(6)
    values = {"stl": 50.0, "hps": 55.0, "mtan": 40.0, "ctan": 55.0, "other": 45.0}
    parts = [
        rows(method, DICE, {seed: (value + rng.normal(0, 0.2, 20)).tolist() for seed in range(3)})
        for method, value in values.items()
    ]
    comparison = comparison_of(*parts, methods=tuple(values))
    assert {row.method: row.rank for row in comparison.rows} == {
        "stl": (3, 3),
        "hps": (1, 2),
        "mtan": (5, 5),
        "ctan": (1, 2),
        "other": (4, 4),
    }


def test_rows_come_in_the_order_asked_for():
    parts = [rows(method, DICE, [50.0]) for method in ("stl", "hps", "ctan")]
    comparison = comparison_of(*parts, methods=("ctan", "stl", "hps"))
    assert [row.method for row in comparison.rows] == ["ctan", "stl", "hps"]


def test_a_baseline_of_zero_gives_no_number():
    comparison = comparison_of(
        rows("stl", DICE, [0.0, 0.0]),
        rows("hps", DICE, [10.0, 20.0]),
        rows("stl", MAE, [2.0, 2.0]),
        rows("hps", MAE, [1.0, 1.0]),
    )
    hps = row(comparison, "hps")
    organs = hps.cells["organs"]
    assert organs.value == 15.0
    assert all(math.isnan(figure) for figure in (organs.improvement, organs.low, organs.high))
    assert hps.cells["dose"].improvement == 50.0
    assert all(math.isnan(figure) for figure in (hps.mean.improvement, hps.mean.low, hps.mean.high))
    assert [row.rank for row in comparison.rows] == [None, None]


def test_a_baseline_that_may_as_well_be_zero_has_no_improvement():
    comparison = comparison_of(rows("stl", DICE, [0.0, 0.0, 30.0]), rows("hps", DICE, [1.0, 2.0, 33.0]))
    cell = row(comparison, "hps").cells["organs"]
    assert math.isnan(cell.improvement) and math.isnan(cell.low) and math.isnan(cell.high)
    assert cell.undefined == "undefined: STL near 0"


def test_without_the_baseline_there_is_no_improvement_and_no_rank():
    comparison = comparison_of(rows("hps", DICE, [50.0]), rows("ctan", DICE, [60.0]), methods=("hps", "ctan"))
    for line in comparison.rows:
        assert math.isnan(line.cells["organs"].improvement) and math.isnan(line.mean.improvement)
        assert line.rank is None
    assert row(comparison, "ctan").cells["organs"].value == 60.0


def test_the_first_metric_of_a_task_is_its_m_unless_another_is_given():
    grid = ("dose", "dose", "mae_grid", "Gy", False)
    parts = [rows(method, kind, [value]) for kind, value in ((MAE, 2.0), (grid, 1.0)) for method in ("stl", "hps")]
    table = score_table([line for part in parts for line in part])
    assert measures_of(table) == (Measure("dose", "mae", "Gy", higher_is_better=False),)
    chosen = (Measure("dose", "mae_grid", "Gy", higher_is_better=False),)
    comparison = compare(table, dataset="x", methods=("stl", "hps"), measures=chosen, resamplings=10)
    assert comparison.measures == chosen
    assert comparison.rows[0].cells["dose"].value == 1.0


def test_scores_of_other_methods_do_not_matter():
    comparison = comparison_of(
        rows("stl", DICE, [50.0, 60.0]), rows("hps", DICE, [55.0, 66.0]), rows("mtan", DICE, {7: [1.0]})
    )
    assert row(comparison, "hps").cells["organs"].improvement == pytest.approx(10.0)
    assert comparison.seeds == 1


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([rows("stl", DICE, [1.0])], "method 'hps' has no score 'dice' for task 'organs'; evaluate it"),
        ([rows("hps", DICE, [1.0])], "method 'stl' has no score 'dice' for task 'organs'; evaluate it"),
        (
            [rows("stl", DICE, [1.0]), rows("hps", DICE, [1.0]), rows("stl", MAE, [1.0])],
            "method 'hps' has no score 'mae' for task 'dose'",
        ),
        (
            [rows("stl", DICE, [1.0, 2.0]), rows("hps", DICE, [1.0])],
            "task 'organs': case case1, class organ, seed 0 is not scored by every method: 'hps' lacks it",
        ),
        (
            [rows("stl", DICE, {0: [1.0]}), rows("hps", DICE, {0: [1.0], 3: [1.0]})],
            "task 'organs': seed 3 is not scored for method 'stl', as others are; remove scores.csv",
        ),
        (
            [rows("stl", DICE, [1.0, 2.0]), rows("hps", DICE, [1.0, math.nan])],
            "task 'organs': dice of case case1, class organ, seed 0 is no number for method 'hps', as it is for others",
        ),
        ([rows("stl", DICE, [1.0]), rows("hps", DICE, [math.nan])], "method 'hps' has no score 'dice'"),
        (
            [rows(method, DICE, {0: [1.0, 2.0], 1: [1.0]}) for method in ("stl", "hps")],
            "task 'organs': case case1, class organ is not scored with seed 1, as with others; remove scores.csv",
        ),
    ],
)
def test_scores_that_are_missing_are_named(parts: list, message: str):
    with pytest.raises(InputError, match=message) as error:
        comparison_of(*parts)
    assert "\n" not in str(error.value)


# Over several data sets


def named(
    dataset: str, gains: dict[str, tuple[float, float]], tasks: tuple[str, str] = ("organs", "dose")
) -> Comparison:
    """A comparison with these improvements in percent over STL, by method, for two tasks."""
    parts = []
    for method, pair in {"stl": (0.0, 0.0), **gains}.items():
        for task, gain in zip(tasks, pair, strict=True):
            parts += rows(method, (task, "c", "m", "", True), {seed: [100.0 + gain] * 2 for seed in (0, 1)})
    return compare(score_table(parts), dataset=dataset, methods=("stl", *gains), resamplings=10)


def test_average_of_the_papers_table_2():
    # improvements of Kim et al. (2023), Table 2; the paper's own averages
    printed = {
        "Prostate": {"hps": (1.74, 1.29), "mtan": (-7.92, -7.29), "ctan": (0.54, 3.82)},
        "OpenKBP": {"hps": (-0.52, 0.31), "mtan": (-7.30, -5.29), "ctan": (0.42, 3.56)},
        "HAM10000": {"hps": (-0.68, 12.69), "mtan": (-0.73, -4.37), "ctan": (0.09, 17.49)},
        "STOIC": {"hps": (-11.18, 22.09), "mtan": (-19.93, 9.79), "ctan": (-4.38, 15.81)},
    }
    whole = average([named(dataset, gains) for dataset, gains in printed.items()])
    expected = {"hps": (-2.66, 9.09, 3.22), "mtan": (-8.97, -1.79, -5.38), "ctan": (-0.83, 10.17, 4.67)}
    for method, (first, second, mean) in expected.items():
        line = row(whole, method)
        assert line.cells["task 1"].improvement == pytest.approx(first, abs=0.01)
        assert line.cells["task 2"].improvement == pytest.approx(second, abs=0.01)
        assert line.mean.improvement == pytest.approx(mean, abs=0.01)
    assert {line.method: line.rank for line in whole.rows} == {
        "stl": (3, 3),
        "hps": (2, 2),
        "mtan": (4, 4),
        "ctan": (1, 1),
    }


def test_average_goes_by_the_position_of_tasks():
    whole = average([named("a", {"hps": (2.0, 4.0)}), named("b", {"hps": (6.0, -8.0)}, tasks=("x", "y"))])
    hps = row(whole, "hps")
    assert [hps.cells[name].improvement for name in ("task 1", "task 2")] == [pytest.approx(4.0), pytest.approx(-2.0)]
    assert hps.mean.improvement == pytest.approx(1.0)
    assert math.isnan(hps.cells["task 1"].value)


def test_an_average_with_an_undefined_improvement_is_undefined():
    zero = comparison_of(
        rows("stl", DICE, [0.0]), rows("hps", DICE, [1.0]), rows("stl", MAE, [1.0]), rows("hps", MAE, [0.5])
    )
    whole = average([named("a", {"hps": (2.0, 4.0)}), zero])
    assert math.isnan(row(whole, "hps").cells["task 1"].improvement)
    assert math.isnan(row(whole, "hps").mean.improvement)
    assert row(whole, "hps").cells["task 2"].improvement == pytest.approx(27.0)
    assert row(whole, "hps").rank is None


def test_data_sets_that_differ_have_no_average():
    first = named("a", {"hps": (1.0, 2.0)})
    with pytest.raises(InputError, match="b and a differ in methods: no average"):
        average([first, named("b", {"ctan": (1.0, 2.0)})])
    one_task = compare(
        score_table(rows("stl", DICE, [1.0]) + rows("hps", DICE, [1.0])),
        dataset="b",
        methods=("stl", "hps"),
        resamplings=5,
    )
    with pytest.raises(InputError, match="a has 2 tasks and b 1: no average"):
        average([first, one_task])


def test_the_table_is_left_as_it_is():
    table = score_table(rows("stl", DICE, [1.0, 2.0]) + rows("hps", DICE, [1.0, 3.0]))
    before = table.copy()
    compare(table, dataset="x", methods=("stl", "hps"), resamplings=5)
    pd.testing.assert_frame_equal(table, before)
