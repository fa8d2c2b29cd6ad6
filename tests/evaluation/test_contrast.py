"""The variance of a difference by runs and cases: against formulas for means, against what must hold, in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from crosstask.evaluation.contrast import Part, Spread, holm, mean_of, nadeau_bengio, spread_of

ONE = np.array([1.0])


def drawn(values: np.ndarray, draws: int = 4000, seed: int = 0) -> np.ndarray:
    """Means of each run over bootstrap draws of cases: ``s n`` to ``s 1 r``."""
    number = values.shape[1]
    chosen = np.random.default_rng(seed).integers(0, number, (draws, number))
    return values[:, chosen].mean(2)[:, None]


def spread(stl: np.ndarray, hps: np.ndarray, **options) -> Spread:
    """Of the difference of two methods' means, from values ``s n``."""
    return spread_of(
        {"hps": ONE, "stl": -ONE},
        {"hps": hps.mean(1, keepdims=True), "stl": stl.mean(1, keepdims=True)},
        {"hps": drawn(hps), "stl": drawn(stl)},
        hps.shape[1],
        **options,
    )


def fake(seed: int, runs: int = 4, cases: int = 60, of_run: float = 2.0, of_both: float = 3.0) -> np.ndarray:
    """Values of runs on cases: ``s n``, with scatter of cases (8), of runs, and of both together."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(0, 8, cases)
    return 70 + shared + rng.normal(0, of_run, (runs, 1)) + rng.normal(0, of_both, (runs, cases))


def test_the_runs_part_is_the_variance_of_each_method_s_mean():
    stl, hps = fake(0), fake(1, runs=3)
    found = spread(stl, hps)
    assert [(part.of, part.number) for part in found.parts] == [("runs", 3), ("runs", 4), ("cases", 60)]
    assert found.parts[0].variance == pytest.approx(np.var(hps.mean(1), ddof=1) / 3)
    assert found.parts[1].variance == pytest.approx(np.var(stl.mean(1), ddof=1) / 4)


def test_the_cases_part_of_means_is_that_of_the_analysis_of_variance():
    # cases minus what run and case have together: mean squares of a two-way layout without replication, of the
    # differences for cases, of each method for what is taken off
    stl, hps = fake(2), fake(3) + np.random.default_rng(4).normal(0, 4, 60)
    cases = 60
    whole = np.var(hps.mean(0) - stl.mean(0), ddof=1) / cases
    together = 0.0
    for values in (stl, hps):
        rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
        together += np.square(rest).sum() / (3 * (cases - 1)) / (4 * cases)
    assert spread(stl, hps).parts[-1].variance == pytest.approx(whole - together, rel=0.1)


def test_runs_that_are_alike_by_chance_do_not_make_the_cases_certain():
    # the same mean in every run, other cases wrong in each: what run and case have together is all that there is
    wrong = 100 * (1 - np.eye(4)[:, np.arange(40) % 4])
    stl, hps = wrong[:2], wrong[1:3]
    found = spread(stl, hps)
    assert found.parts[0].variance == found.parts[1].variance == 0
    expected = np.var(hps.mean(0) - stl.mean(0)) / 39
    assert expected > 10
    assert found.variance == pytest.approx(expected / 4, rel=0.1)


@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0, 3), st.floats(0, 3))
def test_no_interval_is_narrower_than_half_of_that_of_the_cases(seed: int, runs: int, of_run: float, of_both: float):
    stl, hps = (fake(seed + own, runs, 20, of_run, of_both) for own in (0, 20_000))
    found = spread(stl, hps)
    whole = drawn(hps)[:, 0].mean(0) - drawn(stl)[:, 0].mean(0)
    assert found.variance >= np.var(whole, ddof=1) / 4 * (1 - 1e-9)
    assert found.parts[-1].variance >= 0


def test_cases_that_all_methods_find_equally_hard_are_no_uncertainty():
    stl = fake(4, of_both=0.0)
    found = spread(stl, stl + 5)
    assert found.parts[-1].variance == 0
    assert found.variance == pytest.approx(2 * np.var(stl.mean(1), ddof=1) / 4)


def test_one_run_leaves_the_cases_alone_and_says_so():
    found = spread(fake(5, runs=1), fake(6, runs=1))
    assert found.trained_once == ("hps", "stl") and not found.covers_runs
    assert [part.of for part in found.parts] == ["cases"]
    assert math.isnan(found.share_of_runs) and math.isfinite(found.half_width())
    assert spread(fake(5, runs=1), fake(6, runs=3)).trained_once == ("stl",)


def test_splits_by_seed_are_paired_and_nothing_is_taken_off():
    stl, hps = fake(7), fake(8)
    found = spread(stl, hps, paired=True)
    assert [(part.of, part.number) for part in found.parts] == [("runs", 4), ("cases", 60)]
    assert found.parts[0].variance == pytest.approx(np.var(hps.mean(1) - stl.mean(1), ddof=1) / 4)
    assert found.parts[1].variance == pytest.approx(np.var(hps.mean(0) - stl.mean(0), ddof=1) / 60, rel=0.06)
    own = np.var(hps - stl, axis=1, ddof=1).mean() / 60 / 4  # of the cases in the difference of a seed
    assert found.parts[0].mixed == pytest.approx(min(own, found.parts[0].variance), rel=0.06)


def test_nadeau_and_bengio_widen_by_the_overlap_of_training_sets():
    single = {"hps": np.array([[3.0], [5.0], [4.0]]), "stl": np.array([[1.0], [1.0], [2.5]])}
    found = nadeau_bengio({"hps": ONE, "stl": -ONE}, single, 0.25)
    assert found.variance == pytest.approx(np.var([2.0, 4.0, 1.5], ddof=1) * (1 / 3 + 0.25))
    assert found.degrees == 2
    assert math.isnan(nadeau_bengio({"hps": ONE}, {"hps": np.array([[1.0]])}, 0.25).half_width())


def test_degrees_of_freedom_are_satterthwaite_s():
    # Welch's t test is the case of two methods without scatter of cases
    found = Spread((Part("runs", 0.5, 3), Part("runs", 2.0, 5)))
    assert found.degrees == pytest.approx(2.5**2 / (0.5**2 / 2 + 2.0**2 / 4))
    assert found.half_width(0.9) == pytest.approx(student.ppf(0.95, found.degrees) * math.sqrt(2.5))
    assert found.p_of(3.0) == pytest.approx(2 * student.sf(3.0 / math.sqrt(2.5), found.degrees))


def test_the_larger_of_two_one_sided_tests():
    found = Spread((Part("runs", 0.04, 5), Part("cases", 0.05, 100)))
    assert found.p_beyond(0.4, 1.0) == pytest.approx(student.sf(0.6 / 0.3, found.degrees))
    assert found.p_beyond(-0.4, 1.0) == found.p_beyond(0.4, 1.0)
    assert found.p_beyond(2.0, 1.0) > 0.99


def test_interval_and_probability_agree():
    found = Spread((Part("runs", 0.3, 4), Part("runs", 0.1, 4), Part("cases", 0.2, 50)))
    for level in (0.8, 0.95, 0.99):
        assert found.p_of(found.half_width(level)) == pytest.approx(1 - level)


def test_what_is_not_known_is_no_number():
    nothing = Spread()
    assert math.isnan(nothing.half_width()) and math.isnan(nothing.p_of(1.0)) and math.isnan(nothing.p_beyond(1.0, 2.0))
    assert nothing.runs_needed(1.0) is None


def test_no_scatter_at_all_is_certainty():
    found = Spread((Part("runs", 0.0, 2), Part("cases", 0.0, 20)))
    assert (found.half_width(), found.p_of(0.0), found.p_of(0.1), found.p_beyond(0.0, 1.0)) == (0.0, 1.0, 0.0, 0.0)


def test_draws_that_are_not_defined_leave_no_interval_if_they_are_many():
    stl, hps = fake(9), fake(10)
    given = {"hps": hps.mean(1, keepdims=True), "stl": stl.mean(1, keepdims=True)}
    draws = {"hps": drawn(hps), "stl": drawn(stl)}
    draws["hps"][1, 0, :40] = math.nan  # 1 in 100
    assert math.isfinite(spread_of({"hps": ONE, "stl": -ONE}, given, draws, 60).half_width())
    draws["stl"][0, 0, 100:400] = math.nan
    assert spread_of({"hps": ONE, "stl": -ONE}, given, draws, 60) == Spread()
    assert spread_of({"hps": ONE}, given, {"hps": drawn(hps)}, 1) == Spread()


def test_more_runs_and_more_cases():
    found = Spread((Part("runs", 0.9, 3), Part("runs", 0.6, 3), Part("cases", 0.5, 40)))
    more = found.with_numbers(more_runs=6, cases=2.0)
    assert [part.number for part in more.parts] == [9, 9, 80]
    assert [part.variance for part in more.parts] == pytest.approx([0.3, 0.2, 0.25])
    needed = found.runs_needed(1.8)
    assert needed is not None and needed > 0
    assert found.with_numbers(more_runs=needed).half_width() <= 1.8
    assert found.with_numbers(more_runs=needed - 1).half_width() > 1.8
    assert found.runs_needed(1.3) is None  # the cases alone give more
    assert found.runs_needed(found.half_width()) == 0


def test_more_cases_make_what_run_and_case_have_together_smaller():
    found = Spread((Part("runs", 0.9, 3, mixed=0.6), Part("runs", 0.6, 3, mixed=0.6), Part("cases", 0.5, 40)))
    more = found.with_numbers(cases=4.0)
    assert [part.variance for part in more.parts] == pytest.approx([0.3 + 0.6 / 4, 0.6 / 4, 0.5 / 4])
    assert [part.mixed for part in more.parts] == pytest.approx([0.15, 0.15, 0])
    assert [part.number for part in more.parts] == [3, 3, 160]
    both = found.with_numbers(more_runs=3, cases=2.0)
    assert [part.variance for part in both.parts] == pytest.approx([0.15 + 0.15, 0.15, 0.25])
    assert found.share_of_runs == pytest.approx(0.75) and found.share_of_both == pytest.approx(0.6)
    assert mean_of([found, found]).share_of_both == pytest.approx(0.6)


def test_four_times_the_cases_do_what_was_said():
    def of(cases: int, seed: int) -> Spread:
        options = {"runs": 6, "cases": cases, "of_run": 0.4, "of_both": 8.0}
        stl, hps = (fake(2 * seed + own, **options) for own in (0, 1))
        return spread(stl, hps + np.random.default_rng(seed).normal(0, 4, cases))

    few, many = ([of(cases, seed) for seed in range(40)] for cases in (40, 160))
    told = np.mean([one.with_numbers(cases=4.0).variance for one in few])
    came = np.mean([one.variance for one in many])
    assert 0.9 < told / came < 1.4  # rather too wide: of runs that are alike by chance less can be taken off
    plain = np.mean([math.fsum(part.variance for part in one.parts if part.of == "runs") for one in few])
    assert plain > 2 * came  # with the runs' part as it was, it would be that at the least


def test_a_mean_over_data_sets_adds_their_variances():
    one = Spread((Part("runs", 0.8, 3), Part("cases", 0.4, 30)))
    other = Spread((Part("runs", 0.2, 5), Part("cases", 0.6, 90)))
    both = mean_of([one, other])
    assert both.variance == pytest.approx((1.2 + 0.8) / 4)
    assert [part.number for part in both.parts] == [3, 30, 5, 90]
    assert not mean_of([one, Spread()]).parts
    assert mean_of([one, Spread((Part("cases", 1.0, 9),), ("stl",))]).trained_once == ("stl",)


def test_holm_by_hand():
    # Holm (1979): the smallest times the number, each next times one less, never falling
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.02, math.nan])[0] == 0.02 and math.isnan(holm([0.02, math.nan])[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_nothing_and_bonferroni(probabilities: list[float]):
    adjusted = holm(probabilities)
    for p, q in zip(probabilities, adjusted, strict=True):
        assert p <= q <= min(1.0, len(probabilities) * p) + 1e-12 or q == max(adjusted)
    order = np.argsort(probabilities, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("of_run", [0.7, 2.0])
def test_the_interval_covers_what_it_should(runs: int, of_run: float):
    """Two equal methods, 600 times: 95 in 100 intervals hold zero; those of the cases alone do not by far."""
    rng = np.random.default_rng(runs)
    cases, held, by_cases = 40, 0, 0
    for _ in range(600):
        shared, values = rng.normal(0, 8, cases), {}
        for method in ("stl", "hps"):
            own = shared + rng.normal(0, 3, cases)
            values[method] = own + rng.normal(0, of_run, (runs, 1)) + rng.normal(0, 4, (runs, cases))
        chosen = rng.integers(0, cases, (200, cases))
        found = spread_of(
            {"hps": ONE, "stl": -ONE},
            {method: own.mean(1, keepdims=True) for method, own in values.items()},
            {method: own[:, chosen].mean(2)[:, None] for method, own in values.items()},
            cases,
        )
        difference = abs(values["hps"].mean() - values["stl"].mean())
        held += difference <= found.half_width()
        by_cases += difference <= 1.96 * math.sqrt(np.var((values["hps"] - values["stl"]).mean(0)) / cases)
    assert 0.93 <= held / 600 <= 0.975
    assert by_cases < held - 6
