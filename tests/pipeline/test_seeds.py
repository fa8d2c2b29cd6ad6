"""Seeds as needed: how many are added, when it ends, and what is said, with scores made up for each seed."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison, compare
from crosstask.evaluation.scores import score_table
from crosstask.pipeline import seeds as module
from crosstask.pipeline.seeds import Aim, add_seeds, more_seeds

CASES = 40
SIMULATION = Path(__file__).parents[2] / "benchmarks" / "until.py"
Value = Callable[[str, int, int], float]


class Bench:
    """Methods whose scores follow from seed and case; remembers with which seeds it was asked, and what was said."""

    def __init__(self, value: Value, methods: Sequence[str] = ("stl", "hps")) -> None:
        self.value, self.methods = value, methods
        self.looks: list[list[int]] = []
        self.told: list[str] = []
        self.warned: list[str] = []
        self.last: Comparison

    def look(self, seeds: list[int]) -> Comparison:
        self.looks.append(list(seeds))
        rows = [
            (method, seed, f"case{case}", "dose", "dose", "mae", self.value(method, seed, case), "Gy", False)
            for method in self.methods
            for seed in seeds
            for case in range(CASES)
        ]
        self.last = compare(score_table(rows), dataset="made up", methods=self.methods, resamplings=200)
        return self.last

    def add(self, seeds: Sequence[int], aim: Aim, **options: Callable[[Comparison], bool]) -> list[int]:
        return add_seeds(seeds, aim, self.look, told=self.told.append, warned=self.warned.append, **options)


def by_runs(method: str, seed: int, case: int) -> float:
    """Alike in all cases: what differs between runs is the seed's own."""
    return 10 + np.random.default_rng([seed, len(method), ord(method[0])]).normal(0, 0.4)


def by_cases(method: str, seed: int, case: int) -> float:
    """The method is better in some cases and worse in others, with whatever seed."""
    return 10 + (method == "hps") * math.sin(case) + 0.01 * math.sin(7 * seed + len(method) + ord(method[0]))


def half_width(seeds: Sequence[int]) -> float:
    """Of the improvement of ``by_runs``, by the formula of Satterthwaite's t-interval."""
    ours, theirs = (np.array([by_runs(method, seed, 0) for seed in seeds]) for method in ("hps", "stl"))
    gradient = {"hps": 100 / theirs.mean(), "stl": 100 * ours.mean() / theirs.mean() ** 2}
    parts = [np.var(own, ddof=1) * gradient[name] ** 2 / len(seeds) for name, own in (("hps", ours), ("stl", theirs))]
    degrees = sum(parts) ** 2 / sum(part**2 / (len(seeds) - 1) for part in parts)
    return float(t.ppf(0.975, degrees) * math.sqrt(sum(parts)))


@pytest.mark.parametrize("aim", [2.5, 3.5, 5.0])
def test_it_ends_at_the_first_look_that_is_narrow_enough(aim: float):
    bench = Bench(by_runs)
    seeds = bench.add([0, 1, 2], Aim(aim, 60))
    assert seeds == list(range(len(seeds)))
    assert half_width(seeds) <= aim
    assert [half_width(look) <= aim for look in bench.looks] == [False] * (len(bench.looks) - 1) + [True]
    assert all(len(after) <= 2 * len(before) for before, after in zip(bench.looks, bench.looks[1:], strict=False))
    gain = bench.last.rows[1].mean
    assert (gain.high - gain.low) / 2 == pytest.approx(half_width(seeds))
    assert f"{len(seeds)} seeds: half-width {half_width(seeds):.3g} % (HPS), aim {aim:g} %: reached" in bench.told[-1]
    assert not bench.warned


def test_a_wide_aim_trains_the_fewest_and_no_more():
    bench = Bench(by_runs)
    assert bench.add([0, 1, 2], Aim(1000)) == [0, 1, 2, 3, 4]
    assert len(bench.looks) == 1


def test_no_look_before_three_seeds_even_where_more_are_not_allowed():
    bench = Bench(by_runs)
    assert bench.add([7], Aim(1000, 3)) == [7, 0, 1]
    assert bench.looks == [[7, 0, 1]]


def test_at_the_limit_it_says_what_was_reached_and_what_is_missing():
    bench = Bench(by_runs)
    seeds = bench.add([0, 1, 2, 3, 4], Aim(1.0, 9))
    assert len(seeds) == 9
    assert f"half-width {half_width(seeds):.3g} %" in bench.warned[0]
    assert "not reached with --max-seeds 9: about " in bench.warned[0]


def test_each_round_says_how_many_more_are_expected_and_adds_half_of_them():
    bench = Bench(by_runs)
    bench.add([0, 1, 2, 3, 4], Aim(2.0, 60))
    spread = Bench(by_runs).look([0, 1, 2, 3, 4]).rows[1].mean.gain.spread
    expected = spread.runs_needed(2.0)
    assert expected is not None and expected > 3
    assert f": about {expected} more seeds; now {min(5, expected // 2)} more" in bench.told[0]
    assert len(bench.looks[1]) == 5 + min(5, expected // 2)


def test_where_the_cases_alone_are_wider_it_ends_at_once():
    bench = Bench(by_cases)
    assert len(bench.add([0, 1, 2], Aim(1.0))) == 5
    spread = bench.last.rows[1].mean.gain.spread
    cases = next(part for part in spread.parts if part.of == "cases")
    alone = t.ppf(0.975, CASES - 1) * math.sqrt(cases.variance)
    assert f"more seeds cannot: the test cases alone give +-{alone:.3g} % (HPS)" in bench.warned[0]


def test_where_further_seeds_bring_further_cases_it_goes_on():
    bench = Bench(by_cases)
    assert len(bench.add([0, 1, 2], Aim(1.0, 7), more_cases=lambda comparison: True)) == 7
    assert "not reached with --max-seeds 7" in bench.warned[0]


def test_the_widest_method_counts():
    def value(method: str, seed: int, case: int) -> float:
        return by_runs(method, seed, case) if method == "ctan" else 10 + 0.001 * by_runs(method, seed, case)

    bench = Bench(value, ("stl", "hps", "ctan"))
    seeds = bench.add([0, 1, 2], Aim(2.5, 60))
    widths = [(row.mean.high - row.mean.low) / 2 for row in bench.last.rows[1:]]
    assert len(seeds) > 5
    assert widths[0] < 0.1 < widths[1] <= 2.5
    assert "(CTAN)" in bench.told[0]


def test_without_an_interval_it_ends_and_says_why():
    bench = Bench(lambda method, seed, case: 0.0 if method == "stl" else by_runs(method, seed, case))
    assert len(bench.add([0, 1, 2], Aim(1.0))) == 5
    assert bench.warned == [line for line in bench.warned if "HPS: undefined: no ratio for dose" in line]
    assert len(bench.warned) == 1


def test_further_seeds_are_the_next_that_are_free():
    assert more_seeds([3, 0], 3) == [3, 0, 1, 2, 4]
    assert more_seeds([5], 0) == [5]


@pytest.mark.parametrize("width", [0, -1.5, math.nan, math.inf, "narrow", True])
def test_a_width_that_cannot_be_aimed_at_is_refused(width: float):
    with pytest.raises(InputError, match=r"until: .* is not accepted; give a number above 0"):
        Aim(width).check([0])


@pytest.mark.parametrize("most", [2, 0, 5.5, True])
def test_too_few_seeds_are_refused(most: int):
    with pytest.raises(InputError, match=r"max-seeds: .* is not accepted; give a whole number from 3 on"):
        Aim(1.5, most).check([0])


def test_fewer_seeds_than_the_experiment_has_are_refused():
    with pytest.raises(InputError, match="max-seeds: 4 is below the 5 seeds"):
        Aim(1.5, 4).check(range(5))


def test_the_interval_keeps_its_promise_where_its_width_decides(monkeypatch: pytest.MonkeyPatch):
    simulate = runpy.run_path(str(SIMULATION))["simulate"]
    found = simulate(6, of_cases=0.3, repeats=250)
    assert 0.90 <= found.coverage <= 0.985  # 0.945, give or take three standard errors
    assert 6 <= found.seeds <= 9
    monkeypatch.setattr(module, "FEWEST", 3)
    assert simulate(6, of_cases=0.3, repeats=50).seeds < found.seeds
