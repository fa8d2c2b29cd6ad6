"""The benchmark of the look before a benchmark: what every group of tasks gains, and how divisions are ranked."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
import pytest

TASKS = ("organs", "dose", "age")
GAINS = {"organs+dose": (0.5, 0.25), "organs+age": (-0.1, -0.2), "dose+age": (0.1, -0.1), "organs+dose+age": (0.0,) * 3}
"""Share by which each task of a group is better than alone."""


@pytest.fixture(scope="module")
def benchmark(benchmark_module):
    return benchmark_module("task_groups")


def scores() -> pd.DataFrame:
    """Two seeds of two cases and classes; alone organs have 50 %, dose 8 Gy and age 10 years, where less is better."""
    rows = []
    alone = {
        "organs": ("dice", "%", True, 50.0),
        "dose": ("mae", "Gy", False, 8.0),
        "age": ("mae", "years", False, 10.0),
    }
    for group in (group for size in (1, 2, 3) for group in combinations(TASKS, size)):
        name = "+".join(group)
        for task, gain in zip(group, GAINS.get(name, (0.0,)), strict=True):
            metric, unit, higher, value = alone[task]
            value *= 1 + gain if higher else 1 - gain
            for seed, case, label in ((s, c, k) for s in (0, 1) for c in ("a", "b") for k in ("x", "y")):
                shift = (2 * seed - 1) + (1 if case == "a" else -1) + (3 if label == "x" else -3)
                rows.append((name, seed, case, task, label, metric, value + shift, unit, higher))
    columns = ["group", "seed", "case", "task", "class", "metric", "value", "unit", "higher_is_better"]
    return pd.DataFrame(rows, columns=columns)


AFFINITIES = pd.DataFrame(
    [
        (task, other, 1e-6 * value, 0.5e-6 * value, 2e-6 * value)
        for task, other, value in [
            ("organs", "dose", 30), ("dose", "organs", 50), ("organs", "age", -20), ("age", "organs", -10),
            ("dose", "age", -5), ("age", "dose", 10), ("age", "age", 1000),
        ]
    ],
    columns=["task", "other", "value", "low", "high"],
)  # fmt: skip


def test_gains_are_improvements_over_each_task_alone(benchmark):
    """Eq. (3) of Kim et al. (2023), against the mean of the runs alone; where less is better a fall is a gain."""
    gains = benchmark.gains_of(scores())
    for group, shares in GAINS.items():
        for task, share in zip(group.split("+"), shares, strict=True):
            own = gains[(gains["group"] == group) & (gains["task"] == task)]
            assert own["gain"].mean() == pytest.approx(100 * share)
            assert list(own["seed"]) == [0, 1]
    assert gains.loc[gains["group"] == gains["task"], "gain"].groupby(gains["task"]).mean().abs().max() < 1e-9


def test_a_task_that_scores_nothing_alone_has_no_gain(benchmark):
    table = scores()
    table.loc[table["task"] == "organs", "value"] = 0.0
    gains = benchmark.gains_of(table).groupby("task")["gain"].mean()
    assert gains.isna()["organs"] and not gains.isna()["dose"]


def test_affinities_stand_beside_what_the_second_task_gains(benchmark):
    table, told = benchmark.pairs_table(AFFINITIES, benchmark.gains_of(scores()))
    lines = table.strip().splitlines()
    assert len(lines) == 2 + 6  # and nothing of a task on itself
    [line] = [line for line in lines if line.startswith("| dose | organs |")]
    assert "+50 [+25, +100]" in line and "+50.0 ± " in line
    # two gains are alike
    assert told.startswith("Spearman's correlation of affinity and gain over 6 directions: +0.99")


def test_divisions_are_ranked_by_what_they_gain(benchmark):
    """Organs with dose, and the age alone: (50 + 25 + 0) / 3 %."""
    chosen = (("age",), ("dose", "organs"))
    table, told = benchmark.divisions_table(TASKS, AFFINITIES, benchmark.gains_of(scores()), chosen)
    lines = table.strip().splitlines()[2:]
    assert len(lines) == 5
    assert lines[0].startswith(r"| organs, dose \| age (chosen) | +80 | +25.0 ± ")
    assert lines[0].endswith("| age +0.0 % |")
    assert lines[-1].startswith(r"| organs, age \| dose | -30 | -10.0 ± ")
    assert lines[-1].endswith("| age -20.0 % |")
    assert told.endswith("The chosen one is number 1 of 5 on test.")
    _, told = benchmark.divisions_table(TASKS, AFFINITIES, benchmark.gains_of(scores()), (("organs", "age"), ("dose",)))
    assert told.endswith("The chosen one is number 5 of 5 on test.")
