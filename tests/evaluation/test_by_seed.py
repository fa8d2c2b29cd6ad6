"""Comparison where every seed has test cases of its own, and of variants with a baseline each."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison, compare, measure_of
from crosstask.evaluation.diagnosis import diagnose
from crosstask.evaluation.gains import NO_GAIN
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import over_seeds, score_table
from crosstask.report.tables import all_metrics, floor_of
from crosstask.tasks import ClassificationTask

SICK = ClassificationTask("sick", "sick", ("sick",), exclusive=False)
GRADE = ClassificationTask("grade", "grade", ("benign", "malignant"), exclusive=True)
DICE = ("organs", "", "dice")


def dice(method: str, seed: int, values: dict[str, float]) -> list[tuple[object, ...]]:
    return [(method, seed, case, *DICE, value, "%", True) for case, value in values.items()]


def two_seeds() -> list[tuple[object, ...]]:
    """Seed 0 tests a, b and c; seed 1 tests c and d."""
    return [
        *dice("stl", 0, {"a": 50, "b": 60, "c": 70}),
        *dice("hps", 0, {"a": 55, "b": 66, "c": 77}),
        *dice("stl", 1, {"c": 40, "d": 80}),
        *dice("hps", 1, {"c": 44, "d": 96}),
    ]


def compared(rows: list[tuple[object, ...]], **options) -> Comparison:
    return compare(
        score_table(rows), dataset="d", methods=("stl", "hps"), by_seed=True, **{"resamplings": 400, **options}
    )


def test_m_is_of_each_seed_on_its_own_cases():
    stl, hps = (row.cells["organs"] for row in compared(two_seeds()).rows)
    assert stl.value == pytest.approx((60 + 60) / 2)
    assert hps.value == pytest.approx((66 + 70) / 2)
    assert hps.deviation == pytest.approx(math.sqrt(8))
    assert hps.improvement == pytest.approx(100 * 8 / 60)
    found = compared(two_seeds())
    assert (found.cases, found.groups, found.seeds, found.by_seed) == ({"organs": 4}, 4, 2, True)


def test_the_bootstrap_draws_from_all_seeds_together_and_alike():
    """The draws of the code under test, counted out case by case in the slow way."""
    names, rng = list("abcdef"), np.random.default_rng(5)
    tables = {
        method: [{"a": 50 + d, "b": 60 + d, "c": 70 - d, "d": 40}, {"c": 40 + 2 * d, "d": 80, "e": 20 + d, "f": 65 - d}]
        for method, d in (("stl", 0.0), ("hps", 6.0))
    }
    rows = [
        row
        for method, seeds in tables.items()
        for seed, values in enumerate(seeds)
        for row in dice(method, seed, values)
    ]
    found = compared(rows, seed=5, resamplings=50).rows[1].cells["organs"]
    draws = []
    for drawn in rng.integers(0, 6, (50, 6)):
        chosen = [names[index] for index in drawn]
        means = {
            method: np.mean([np.mean([values[case] for case in chosen if case in values]) for values in seeds])
            for method, seeds in tables.items()
        }
        draws.append(means)
    stl, hps = (np.mean([np.mean(list(one.values())) for one in tables[method]]) for method in ("stl", "hps"))
    shares = [100 * (one["hps"] / stl - hps * one["stl"] / stl**2) for one in draws]
    assert np.isfinite(shares).all()
    runs, cases = found.gain.spread.parts
    assert (cases.of, cases.number) == ("cases", 6)
    assert cases.variance == pytest.approx(np.var(shares, ddof=1) * 6 / 5)
    own = [
        100 * (np.mean(list(one.values())) / stl - hps * np.mean(list(other.values())) / stl**2)
        for one, other in zip(tables["hps"], tables["stl"], strict=True)
    ]
    assert (runs.of, runs.number) == ("runs", 2)
    assert runs.variance == pytest.approx(np.var(own, ddof=1) / 2)


def test_the_same_cases_in_every_seed_have_the_same_figures_as_without():
    rows = [
        row
        for seed in (0, 1)
        for method, value in (("stl", 30.0), ("hps", 45.0))
        for row in dice(method, seed, {"e": value - seed, "f": value + 1})
    ]
    options = {"dataset": "d", "methods": ("stl", "hps"), "resamplings": 100}
    one, other = (compare(score_table(rows), by_seed=flag, **options) for flag in (False, True))
    for first, second in zip(one.rows, other.rows, strict=True):
        assert repr(replace(first.cells["organs"], gain=NO_GAIN)) == repr(replace(second.cells["organs"], gain=NO_GAIN))
    (first, second) = (found.rows[1].cells["organs"].gain for found in (one, other))
    assert first.improvement == second.improvement
    assert [part.number for part in first.spread.parts] == [2, 2, 2]  # runs of each method, and cases
    assert [part.number for part in second.spread.parts] == [2, 2]  # runs as pairs, and cases


def test_methods_must_agree_within_each_seed():
    rows = [row for row in two_seeds() if row[:3] != ("hps", 1, "d")]
    with pytest.raises(InputError, match="case d, seed 1 is not scored by every method"):
        compared(rows)
    with pytest.raises(InputError, match="is not scored with seed"):
        compare(score_table(two_seeds()), dataset="d", methods=("stl", "hps"))


def test_means_over_seeds_weigh_each_seed_alike():
    table = score_table(two_seeds())
    assert over_seeds(table) == {"stl": pytest.approx(60), "hps": pytest.approx(68)}
    _, (row,) = all_metrics(table, ["stl", "hps"])
    assert row[4:] == ["60.00", "68.00"]
    constant = score_table([*dice("constant", 0, {"a": 10, "b": 10, "c": 10}), *dice("constant", 1, {"c": 20})])
    assert floor_of(constant, compared(two_seeds()))["organs"].value == pytest.approx(15)


# Image-level predictions


def signs(method: str, seed: int, cases: range, rng: np.random.Generator, gain: float) -> list[tuple[object, ...]]:
    rows = []
    for case in cases:
        true = float(case % 3 == 0)
        chance = float(1 / (1 + np.exp(-(gain * true + rng.normal()))))
        rows.append((method, seed, f"c{case:03}", "sick", "sigmoid", "sick", true, chance, float(chance > 0.6)))
    return rows


def cohort() -> list[tuple[object, ...]]:
    """Seed 0 tests cases 0 to 59, seed 1 those from 40 to 99."""
    rng = np.random.default_rng(1)
    return [
        row
        for seed, cases in ((0, range(60)), (1, range(40, 100)))
        for method, gain in (("stl", 0.8), ("auxiliary", 2.0))
        for row in signs(method, seed, cases, rng, gain)
    ]


def areas(
    rows: list[tuple[object, ...]], cases: dict[int, list[str]] | None = None, seeds: tuple[int, ...] = (0, 1)
) -> dict[str, float]:
    """AUC of each method, mean over seeds, of cases that may occur several times."""
    found = {}
    for method in ("stl", "auxiliary"):
        each = []
        for seed in seeds:
            own = {row[2]: (row[6], row[7]) for row in rows if row[:2] == (method, seed)}
            chosen = list(own) if cases is None else [case for case in cases[seed] if case in own]
            each.append(100 * roc_auc_score(*zip(*(own[case] for case in chosen), strict=True)))
        found[method] = float(np.mean(each))
    return found


def diagnosed(rows: list[tuple[object, ...]], task=SICK, methods=("auxiliary", "stl"), **options):
    return diagnose(
        prediction_table(rows),
        dataset="d",
        task=task,
        methods=methods,
        **{"by_seed": True, "resamplings": 300, **options},
    )


def test_auc_and_its_difference_are_those_of_sklearn_with_the_scatter_of_seeds_and_cases():
    rows = cohort()
    found = diagnosed(rows, seed=3)
    expected = areas(rows)
    for method, value in expected.items():
        assert found.rows[method]["auc"].value == pytest.approx(value)
        assert found.rows[method]["auc"].low < value < found.rows[method]["auc"].high < 100
    gain = found.differences["auxiliary"]
    assert gain.value == pytest.approx(expected["auxiliary"] - expected["stl"])
    assert list(found.differences) == ["auxiliary"]
    assert (found.cases, found.groups, found.seeds, found.positive) == (100, 100, 2, "sick")
    # the differences seed by seed, and the draws of all groups together
    single = {seed: areas(rows, None, (seed,)) for seed in (0, 1)}
    each = [single[seed]["auxiliary"] - single[seed]["stl"] for seed in (0, 1)]
    names, rng = [f"c{case:03}" for case in range(100)], np.random.default_rng(3)
    draws = []
    for drawn in rng.integers(0, 100, (300, 100)):
        chosen = [names[index] for index in drawn]
        own = areas(rows, {0: chosen, 1: chosen})
        draws.append(own["auxiliary"] - own["stl"])
    parts = np.array([np.var(each, ddof=1) / 2, np.var(draws, ddof=1) * 100 / 99])
    degrees = parts.sum() ** 2 / (parts**2 / [1, 99]).sum()
    half = student.ppf(0.975, degrees) * math.sqrt(parts.sum())
    assert (gain.low, gain.high) == pytest.approx((gain.value - half, gain.value + half))


def test_the_comparison_by_a_figure_of_the_cohort_agrees():
    rows = cohort()
    scores = score_table(
        [(m, s, "", "sick", "sick", "auc", 50.0, "%", True) for m in ("stl", "auxiliary") for s in (0, 1)]
    )
    found = compare(
        scores,
        dataset="d",
        methods=("stl", "auxiliary"),
        predictions=prediction_table(rows),
        measures=[measure_of(SICK)],
        by_seed=True,
        resamplings=100,
    )
    for row in found.rows:
        assert row.cells["sick"].value == pytest.approx(areas(rows)[row.method])


def of_one_seed(rows: list[tuple[object, ...]], seeds: int = 1) -> list[tuple[object, ...]]:
    """The cases of seed 0, under as many runs, each with predictions of its own."""
    rng = np.random.default_rng(2)
    first = [row for row in rows if row[1] == 0]
    return [
        (row[0], seed, *row[2:7], row[7] + (seed > 0) * rng.normal(0, 0.05), row[8])
        for seed in range(seeds)
        for row in first
    ]


def test_groups_widen_the_interval():
    once = of_one_seed(cohort())
    copies = [(*row[:2], f"{row[2]}{copy}", *row[3:]) for row in once for copy in "abc"]
    groups = {row[2]: row[2][:4] for row in copies}
    alone, single = (diagnosed(rows, by_seed=False, resamplings=1000) for rows in (once, copies))
    grouped = diagnosed(copies, by_seed=False, resamplings=1000, groups=groups)
    assert (single.groups, grouped.groups, grouped.cases) == (180, 60, 180)
    for method in ("stl", "auxiliary"):
        found = [own.rows[method]["auc"] for own in (alone, single, grouped)]
        assert found[2].value == pytest.approx(found[0].value)
        widths = [own.high - own.low for own in found]
        assert widths[1] < 0.7 * widths[2], "copies are no further cases"
        assert widths[2] == pytest.approx(widths[0], rel=0.25), "by draws of groups nearly as by DeLong"


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_auc_has_the_variance_of_delong_and_that_of_its_runs(seeds: int):
    rows = of_one_seed(cohort(), seeds)
    found = diagnosed(rows, by_seed=False, resamplings=20).rows["auxiliary"]["auc"]
    own = [[row for row in rows if row[:2] == ("auxiliary", seed)] for seed in range(seeds)]
    target = np.array([row[6] for row in own[0]])
    values = np.array([[row[7] for row in run] for run in own])
    order = values[:, target == 1][:, :, None] > values[:, target == 0][:, None]  # no ties
    cases = np.atleast_2d(np.cov(order.mean(2)) / 20 + np.cov(order.mean(1)) / 40)
    single = order.mean((1, 2))
    if seeds == 1:
        variance, degrees = cases[0, 0], 19
    else:
        parts = np.array([np.var(single, ddof=1) / 3, cases[~np.eye(3, dtype=bool)].mean()])
        variance, degrees = parts.sum(), parts.sum() ** 2 / (parts**2 / [2, 19]).sum()
    mean = single.mean()
    half = student.ppf(0.975, degrees) * math.sqrt(variance) / (mean * (1 - mean))
    expected = [100 / (1 + math.exp(-(math.log(mean / (1 - mean)) + side * half))) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_a_figure_of_a_hundred_percent_still_has_an_interval():
    right = [(*row[:7], 0.2 + 0.7 * row[6], row[6]) for row in of_one_seed(cohort())]
    found = diagnosed(right, by_seed=False).rows["stl"]
    assert {estimate.value for estimate in found.values()} == {100} == {estimate.high for estimate in found.values()}
    quantile = {number: student.ppf(0.975, number - 1) for number in (20, 40, 60)}
    assert found["sensitivity"].low == pytest.approx(100 * 20 / (20 + quantile[20] ** 2))
    assert found["specificity"].low == pytest.approx(100 * 40 / (40 + quantile[40] ** 2))
    assert found["accuracy"].low == pytest.approx(100 * 60 / (60 + quantile[60] ** 2))
    assert 90 < found["auc"].low < 100


def softmax(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The same with two classes that exclude each other, the negative one first."""
    return [
        (*row[:3], "grade", "softmax", name, *(value if name == "malignant" else 1 - value for value in row[6:]))
        for row in rows
        for name in ("benign", "malignant")
    ]


def test_two_classes_that_exclude_each_other_are_one_finding():
    one, two = diagnosed(cohort()), diagnosed(softmax(cohort()), GRADE)
    assert two.positive == "malignant"
    for method in ("stl", "auxiliary"):
        for figure, found in one.rows[method].items():
            assert two.rows[method][figure].value == pytest.approx(found.value)


def test_several_classes_give_means_over_them():
    three = ClassificationTask("kind", "kind", ("x", "y", "z"), exclusive=True)
    rng = np.random.default_rng(0)
    true, decided = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    rows = [
        (
            "stl",
            0,
            f"c{i:02}",
            "kind",
            "softmax",
            name,
            float(true[i] == k),
            float(decided[i] == k),
            float(decided[i] == k),
        )
        for i in range(50)
        for k, name in enumerate("xyz")
    ]
    found = diagnosed(rows, three, ("stl",))
    assert found.positive == "" and found.differences == {}
    recalls = [np.mean(decided[true == k] == k) for k in range(3)]
    assert found.rows["stl"]["sensitivity"].value == pytest.approx(100 * np.mean(recalls))
    assert found.rows["stl"]["accuracy"].value == pytest.approx(100 * np.mean(true == decided))


# Variants


def test_every_variant_has_its_own_baseline_and_ranks():
    values = {"hps+TL": 72.0, "hps+RI": 66.0, "stl+TL": 80.0, "stl+RI": 60.0}
    cases = {key: {"a": value - 1, "b": value + 1} for key, value in values.items()}
    rows = [row for key, own in cases.items() for seed in (0, 1) for row in dice(key, seed, own)]
    found = {
        row.method: row for row in compare(score_table(rows), dataset="d", methods=list(values), resamplings=20).rows
    }
    assert found["hps+TL"].cells["organs"].improvement == pytest.approx(-10)
    assert found["hps+RI"].cells["organs"].improvement == pytest.approx(10)
    assert {key: row.rank for key, row in found.items()} == {
        "hps+TL": (2, 2),
        "stl+TL": (1, 1),
        "hps+RI": (1, 1),
        "stl+RI": (2, 2),
    }


def test_a_variant_without_its_baseline_has_no_improvement():
    keys = ("hps+TL", "stl+RI", "hps+RI")
    rows = [row for key in keys for seed in (0, 1) for row in dice(key, seed, {"a": 50.0, "b": 60.0})]
    found = compare(score_table(rows), dataset="d", methods=("hps+TL", "hps+RI", "stl+RI"), resamplings=20).rows
    assert math.isnan(found[0].cells["organs"].improvement) and found[0].rank is None
    assert found[1].cells["organs"].improvement == 0 and found[1].rank == (1, 2)
