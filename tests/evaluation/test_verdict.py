"""Verdicts in words, ranks with ties, and what it would take to tell a difference."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from crosstask.evaluation.comparison import MEAN, Comparison, compare
from crosstask.evaluation.contrast import Part, Spread
from crosstask.evaluation.scores import score_table
from crosstask.evaluation.verdict import (
    BETTER,
    EQUIVALENT,
    NO_RATIO,
    NO_VERDICT,
    UNDECIDED,
    WORSE,
    Pair,
    outlook,
    ranks_of,
    verdict_of,
)

SMALL = Spread((Part("runs", 0.01, 5), Part("runs", 0.01, 5), Part("cases", 0.01, 100)))
LARGE = Spread((Part("runs", 1.0, 3), Part("runs", 1.0, 3), Part("cases", 0.04, 100)))


@pytest.mark.parametrize(
    ("gain", "p", "within", "verdict"),
    [
        (2.0, 0.01, 0.9, BETTER),
        (-2.0, 0.05, 0.9, WORSE),
        (0.1, 0.4, 0.02, EQUIVALENT),
        (0.4, 0.01, 0.01, BETTER),  # there is a difference, if a small one
        (0.5, 0.2, 0.2, UNDECIDED),
        (0.0, 1.0, 0.0, EQUIVALENT),
        (3.0, math.nan, math.nan, NO_VERDICT),
    ],
)
def test_the_words(gain: float, p: float, within: float, verdict: str):
    assert verdict_of(gain, p, within, level=0.95) == verdict


def test_ranks_lie_between_those_that_win_and_those_that_lose():
    pairs = {
        ("a", "b"): Pair(2.0, SMALL),
        ("a", "c"): Pair(2.3, SMALL),
        ("b", "c"): Pair(0.3, SMALL),
        ("a", "d"): Pair(5.0, SMALL),
        ("b", "d"): Pair(3.0, SMALL),
        ("c", "d"): Pair(2.7, SMALL),
    }
    assert ranks_of(pairs, level=0.95) == {"a": (1, 1), "b": (2, 3), "c": (2, 3), "d": (4, 4)}
    turned = {("d", "a"): Pair(-5.0, SMALL), **{names: pair for names, pair in pairs.items() if names != ("a", "d")}}
    assert ranks_of(turned, level=0.95) == ranks_of(pairs, level=0.95)
    assert ranks_of({("a", "b"): Pair(2.0, LARGE)}, level=0.95) == {"a": (1, 2), "b": (1, 2)}
    once = Spread((Part("cases", 0.01, 100),), ("a",))
    assert ranks_of({("a", "b"): Pair(2.0, once)}, level=0.95) == {}


def test_ranks_are_adjusted_for_the_number_of_pairs():
    just = Pair(student.ppf(0.985, SMALL.degrees) * SMALL.error, SMALL)  # p = 0.03
    none = Pair(0.0, SMALL)
    assert ranks_of({("a", "b"): just}, level=0.95) == {"a": (1, 1), "b": (2, 2)}
    both = ranks_of({("a", "b"): just, ("a", "c"): none, ("b", "c"): none}, level=0.95)
    assert set(both.values()) == {(1, 3)}


def test_what_it_would_take():
    text = outlook(1.0, LARGE, margin=1.0, level=0.95)
    needed, half = LARGE.runs_needed(1.0), LARGE.runs_needed(LARGE.half_width() / 2)
    assert needed is not None and half is not None and needed > half > 0
    assert text == (
        f"if the difference stays as it is, {needed} more seeds would tell it from none; {half} more seeds would halve "
        "the interval, more cases would not"
    )
    cases = Spread((Part("runs", 0.01, 5), Part("runs", 0.01, 5), Part("cases", 4.0, 30)))
    assert outlook(1.0, cases, margin=1.0, level=0.95) == (
        "no number of seeds would tell it from none on these cases, if it stays as it is; four times the cases would "
        "halve the interval, more seeds would not"
    )
    inside = outlook(0.05, LARGE, margin=2.0, level=0.95)
    assert f"{LARGE.runs_needed(1.95)} more seeds would show it to be within 2 %" in inside
    nearer = outlook(0.9, LARGE, margin=3.0, level=0.95)  # fewer seeds show that it is small than that it is there
    assert f"{LARGE.runs_needed(2.1)} more seeds would show it to be within 3 %" in nearer
    assert LARGE.runs_needed(2.1) < LARGE.runs_needed(0.9)
    many = Spread((Part("runs", 1.0, 4), Part("runs", 1.0, 4), Part("cases", 1e-6, 30)))
    assert many.runs_needed(0.15) > 100
    assert "stays as it is, more than 100 more seeds would tell it from none;" in outlook(
        0.15, many, margin=0.1, level=0.95
    )
    known = Spread((Part("runs", 1e-4, 4), Part("runs", 1e-4, 4), Part("cases", 1e-4, 30)))
    assert "alone it would be shown to be within 1 %" in outlook(0.01, known, margin=1.0, level=0.95)
    assert outlook(1.0, Spread((Part("cases", 1.0, 30),), ("stl",)), margin=1.0, level=0.95) == ""
    assert outlook(math.nan, LARGE, margin=1.0, level=0.95) == ""


# From scores to words


def scores(gains: dict[str, tuple[float, float]], seeds: int = 5, cases: int = 60, spread: float = 0.5) -> pd.DataFrame:
    """Two tasks of which methods have these true gains in percent over 80 % Dice and 4 Gy."""
    rows = []
    for place, (method, (dice, dose)) in enumerate(gains.items()):
        for seed in range(seeds):
            rng = np.random.default_rng(1000 * place + seed)
            drift, noise = rng.normal(0, spread, 2), rng.normal(0, 1, (2, cases))
            for case in range(cases):
                hard = np.random.default_rng(case).normal(0, 1, 2)
                first = 80 * (1 + dice / 100) + 6 * hard[0] + drift[0] + noise[0, case]
                second = 4 * (1 - dose / 100) + 0.5 * hard[1] + 0.04 * (drift[1] + noise[1, case])
                rows.append((method, seed, f"c{case}", "organs", "organ", "dice", first, "%", True))
                rows.append((method, seed, f"c{case}", "dose", "dose", "mae", second, "Gy", False))
    return score_table(rows)


def compared(table: pd.DataFrame, **options) -> Comparison:
    methods = list(dict.fromkeys(table["method"]))
    return compare(table, dataset="d", methods=methods, **{"resamplings": 400, **options})


GAINS = {"stl": (0.0, 0.0), "hps": (0.0, 0.0), "mtan": (-6.0, -9.0), "ctan": (6.0, 9.0)}


def test_verdicts_of_methods_whose_gains_are_known():
    found = compared(scores(GAINS), margin=2.0)
    verdicts = {row.method: row.mean.verdict for row in found.rows}
    assert verdicts == {"stl": "", "hps": EQUIVALENT, "mtan": WORSE, "ctan": BETTER}
    assert {row.method: row.rank for row in found.rows} == {
        "stl": (2, 3),
        "hps": (2, 3),
        "mtan": (4, 4),
        "ctan": (1, 1),
    }
    ctan = found.rows[-1]
    assert {task: cell.verdict for task, cell in ctan.cells.items()} == {"organs": BETTER, "dose": BETTER}
    assert ctan.mean.gain.without == pytest.approx(
        {"organs": ctan.cells["dose"].improvement, "dose": ctan.cells["organs"].improvement}
    )
    assert ctan.mean.gain.runs_won == 1.0 and ctan.cells["dose"].gain.cases_won > 0.7


def test_what_is_told_beside_the_improvement():
    found = compared(scores(GAINS)).rows[3]
    for task, sign in (("organs", 1), ("dose", -1)):
        cell, stl = found.cells[task], compared(scores(GAINS)).rows[0].cells[task]
        gain = cell.gain
        assert gain.difference.value == pytest.approx(cell.value - stl.value)
        assert gain.difference.low < gain.difference.value < gain.difference.high
        assert gain.log_ratio.value == pytest.approx(100 * sign * math.log(cell.value / stl.value))
        assert gain.log_ratio.low < gain.log_ratio.value < gain.log_ratio.high
        # a ratio's interval is that of the difference but for the scatter of what it is divided by
        ratio = 100 * (gain.difference.high - gain.difference.low) / stl.value
        assert cell.high - cell.low == pytest.approx(ratio, rel=0.25)
        assert 0 < gain.spread.share_of_runs <= 1


def test_probabilities_are_adjusted_by_family():
    found = compared(scores(GAINS))
    frame = found.to_frame()
    means, tasks = frame[frame["task"] == MEAN], frame[frame["task"] != MEAN]
    for family, number in ((means, 3), (tasks, 6)):
        smallest = family["p"].idxmin()
        assert family.loc[smallest, "p_adjusted"] == pytest.approx(min(1.0, number * family.loc[smallest, "p"]))
        assert (family["p_adjusted"] >= family["p"]).all()


def test_the_frame_has_names_that_stay():
    frame = compared(scores(GAINS)).to_frame()
    first = "method task improvement low high p p_adjusted verdict seeds groups"
    assert list(frame.columns)[:10] == first.split()
    assert list(frame["task"].unique()) == ["organs", "dose", "mean"]
    assert list(frame["method"].unique()) == ["hps", "mtan", "ctan"]  # the baseline has no row
    assert set(frame["seeds"]) == {5} and set(frame["groups"]) == {60}
    assert frame["rank_low"].notna().sum() == 3


def test_single_runs_have_no_verdict_and_no_rank():
    found = compared(scores(GAINS, seeds=1))
    frame = found.to_frame()
    assert set(frame["verdict"]) == {NO_VERDICT}
    assert frame["p"].isna().all() and frame["rank_low"].isna().all()
    assert frame["low"].notna().all()  # over the cases
    assert all(row.rank is None for row in found.rows)


def test_methods_may_have_different_numbers_of_runs_where_that_is_allowed():
    table = scores(GAINS)
    few = table[(table["method"] != "ctan") | (table["seed"] < 3)]
    found = compared(few, same_seeds=False)
    assert [row.mean.runs for row in found.rows] == [5, 5, 5, 3] and found.seeds == 3
    assert [part.number for part in found.rows[3].mean.gain.spread.parts] == [3, 5, 60]
    once = compared(table[(table["method"] != "ctan") | (table["seed"] < 1)], same_seeds=False)
    assert once.rows[3].mean.verdict == NO_VERDICT and once.rows[2].mean.verdict == WORSE
    assert all(row.rank is None for row in once.rows)


def test_the_baseline_may_be_any_method():
    found = compared(scores(GAINS), baseline="ctan")
    assert found.rows[3].mean.verdict == "" and found.rows[0].mean.verdict == WORSE
    assert found.label("stl") == "stl"


def test_a_baseline_near_zero_has_a_difference_and_no_ratio():
    rng = np.random.default_rng(0)
    rows = [
        (method, seed, f"c{case}", "r", "r", "r2", value + rng.normal(0, 0.3), "", True)
        for method, value in (("stl", 0.02), ("hps", 0.6))
        for seed in range(4)
        for case in range(30)
    ]
    (_, hps) = compared(score_table(rows)).rows
    cell = hps.cells["r"]
    assert math.isnan(cell.improvement) and cell.verdict == NO_RATIO and hps.mean.verdict == NO_RATIO
    assert cell.gain.difference.low > 0.3
    assert math.isnan(hps.mean.improvement) and hps.rank is None


def test_fewer_groups_of_a_task_count_as_fewer():
    table = scores(GAINS)
    part = table[(table["task"] != "dose") | table["case"].isin([f"c{case}" for case in range(12)])]
    found = compared(part)
    assert found.rows[3].cells["dose"].groups == 12 and found.rows[3].mean.groups == 12
    assert found.rows[3].cells["organs"].groups == 60
