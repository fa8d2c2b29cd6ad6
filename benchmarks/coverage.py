"""Does the 95 % interval hold the truth in 95 of 100 repetitions, and is a method called better only where it is?

Simulates scores of four methods with known effects, as trainings and cases might give them, puts each table through
:func:`crosstask.compare`, and counts: how often the interval holds the truth (of each task and of the mean), how often
the interval of the cases alone would, how often one of three methods that equal the baseline is called better or
worse, and how often an effect of three percent is found.

    python benchmarks/coverage.py [--repetitions 500] [--null 2000] [--kinds means skewed cohort] [-j 2] [-o FILE.md]

Every score is the sum of how hard the case is, a method's own way with the case, how the run turned out (the same for
all cases of a task, related between tasks), and what is left of run and case. Spreads of runs are 1 % (low) or 2.5 %
(high) of M; methods differ in it (0.7 to 1.4 times). Kinds: means (Dice and an absolute error), skewed (the same with
long tails, and cases in groups of one to three), cohort (AUC of a finding, balanced accuracy of three classes; tables
in which a class is too rare for an interval do not count).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, t

import crosstask
from crosstask.evaluation.comparison import Comparison, Measure, compare
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table

METHODS = ("stl", "a", "b", "c")
EFFECTS = {"stl": 0.0, "a": 0.0, "b": 3.0, "c": -2.0}
"""True improvement of each method in percent, in both tasks."""
SPREADS = {"low": 0.01, "high": 0.025}
"""Standard deviation of a run's M, as a share of M."""
OF_METHOD = {"stl": 1.0, "a": 0.7, "b": 1.4, "c": 1.0}
"""The same of each method, as a multiple."""
SEEDS, GROUPS = (3, 5), (30, 100, 200)
KINDS = ("means", "skewed", "cohort")
_RATIO = 0.6  # correlation of a run's turn in the two tasks


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    kind: str
    spread: str
    seeds: int
    groups: int
    null: bool = False

    @property
    def effects(self) -> dict[str, float]:
        """True improvement of each method in percent."""
        return dict.fromkeys(METHODS, 0.0) if self.null else EFFECTS


@dataclass(frozen=True)
class Outcome:
    """What one table of scores gave.

    Attributes:
        held: ``{task: share of the methods whose interval holds the truth}``.
        held_by_cases: the same of intervals of the cases alone.
        width: ``{task: mean half-width}``.
        better, worse: some method is called so that equals the baseline.
        found: the method with the largest effect is called better.
        tasks_wrong: some task of an equal method is called better or worse.
    """

    held: dict[str, float]
    held_by_cases: dict[str, float]
    width: dict[str, float]
    better: bool
    worse: bool
    found: bool
    tasks_wrong: bool


def simulate(setting: Setting, rng: np.random.Generator) -> Comparison:
    """One benchmark: scores drawn anew, and compared."""
    return (_cohort if setting.kind == "cohort" else _means)(setting, rng)


def _turns(setting: Setting, method: str, rng: np.random.Generator) -> np.ndarray:
    """How each run turned out in both tasks, relative to M: ``s 2``."""
    turn = rng.normal(size=(setting.seeds, 2))
    turn[:, 1] = _RATIO * turn[:, 0] + math.sqrt(1 - _RATIO**2) * turn[:, 1]
    return SPREADS[setting.spread] * OF_METHOD[method] * turn


def _means(setting: Setting, rng: np.random.Generator) -> Comparison:
    sizes = rng.integers(1, 4, setting.groups) if setting.kind == "skewed" else np.ones(setting.groups, dtype=int)
    group = np.repeat(np.arange(setting.groups), sizes)
    number = len(group)

    def drawn(scale: float, size: int | tuple[int, ...]) -> np.ndarray:
        """Of mean zero; with a long tail to the worse where they are skewed."""
        if setting.kind == "skewed":
            return scale * (rng.gamma(1.0, 1.0, size) - 1)
        return rng.normal(0, scale, size)

    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("method", "seed", "case", "task", "value")}
    base = {"organs": 75.0, "dose": 3.0}
    spread = {"organs": (8.0, 2.0, 4.0), "dose": (0.6, 0.15, 0.3)}
    hard = {
        task: drawn(scale[0], setting.groups)[group] + drawn(scale[0] / 3, number) for task, scale in spread.items()
    }
    for method in METHODS:
        turns = _turns(setting, method, rng)
        for place, (task, m) in enumerate(base.items()):
            worse = -1 if task == "organs" else 1  # what is harder has less Dice, and more error
            _, of_method, rest = spread[task]
            own = 0.0 if method == "stl" else drawn(of_method, setting.groups)[group]
            for seed in range(setting.seeds):
                value = m * (1 - worse * setting.effects[method] / 100 + turns[seed, place])
                value = value + worse * (hard[task] + own + drawn(rest, number))
                for name, column in (("method", method), ("seed", seed), ("case", None), ("task", task)):
                    columns[name].append(np.arange(number) if column is None else np.full(number, column))
                columns["value"].append(value)
    table = pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})
    table["case"] = "p" + table["case"].astype(str)
    dose = table["task"] == "dose"
    table = table.assign(
        **{"class": "", "metric": np.where(dose, "mae", "dice"), "unit": np.where(dose, "Gy", "%")},
        higher_is_better=~dose,
    )
    table["group"] = "g" + pd.Series(np.tile(group, len(table) // number)).astype(str)
    return crosstask.compare(table, baseline="stl", margin=1.0, level=0.95)


_AUC, _BALANCED = 80.0, 65.0
_SHARES = (0.5, 0.3, 0.2)


def _cohort(setting: Setting, rng: np.random.Generator) -> Comparison:
    """A finding that one case in three has, by AUC; one of three classes, by balanced accuracy."""
    number = setting.groups
    sick, kind = rng.random(number) < 1 / 3, rng.choice(3, number, p=_SHARES)
    shared = rng.normal(size=(2, number))
    rows: list[tuple[object, ...]] = []
    for method in METHODS:
        turns, own = _turns(setting, method, rng), rng.normal(size=(2, number))
        gain = 1 + setting.effects[method] / 100
        for seed in range(setting.seeds):
            parts = rng.normal(size=(2, number))
            noise = math.sqrt(0.5) * shared + math.sqrt(0.2) * own + math.sqrt(0.3) * parts
            area = _AUC * (gain + turns[seed, 0])
            chance = norm.cdf(_shift(area) * sick + noise[0])
            right = norm.cdf(noise[1]) < _BALANCED * (gain + turns[seed, 1]) / 100
            decided = np.where(right, kind, (kind + 1 + (shared[0] > 0)) % 3)
            for case in range(number):
                head = (method, seed, f"p{case}")
                rows.append(
                    (*head, "finding", "sigmoid", "sick", float(sick[case]), chance[case], float(chance[case] > 0.5))
                )
                for index in range(3):
                    is_so, said = float(kind[case] == index), float(decided[case] == index)
                    rows.append((*head, "kind", "softmax", f"k{index}", is_so, said, said))
    measures = [
        Measure("finding", "auc", "%", higher_is_better=True, of="cohort"),
        Measure("kind", "balanced_accuracy", "%", higher_is_better=True, of="cohort"),
    ]
    return compare(
        score_table([]),
        dataset="simulated",
        methods=METHODS,
        predictions=prediction_table(rows),
        measures=measures,
        baseline="stl",
        resamplings=1000,
    )


def _shift(area: float) -> float:
    """Distance of two normal distributions of deviation 1 for this AUC in percent."""
    return math.sqrt(2) * float(norm.ppf(min(area, 99.9) / 100))


def outcome(setting: Setting, seed: int) -> Outcome:
    """One repetition."""
    found = simulate(setting, np.random.default_rng(seed))
    held: dict[str, list[float]] = {"first": [], "second": [], "mean": []}
    by_cases: dict[str, list[float]] = {name: [] for name in held}
    width: dict[str, list[float]] = {name: [] for name in held}
    for row in found.rows:
        if row.method == "stl":
            continue
        effect = setting.effects[row.method]
        for name, cell in zip(held, [*row.cells.values(), row.mean], strict=True):
            if not cell.gain.spread.parts:  # a class too rare: no interval, and no claim
                continue
            held[name].append(float(cell.low <= effect <= cell.high))
            width[name].append((cell.high - cell.low) / 2)
            cases = cell.gain.spread.parts[-1]
            alone = t.ppf(0.975, cases.degrees) * math.sqrt(cases.variance)
            by_cases[name].append(float(abs(cell.improvement - effect) <= alone))
    equal = [row for row in found.rows if row.method != "stl" and setting.effects[row.method] == 0]
    largest = next(row for row in found.rows if row.method == "b")
    means = [
        {name: float(np.mean(own)) if own else math.nan for name, own in kind.items()}
        for kind in (held, by_cases, width)
    ]
    return Outcome(
        *means,
        better=any(row.mean.verdict == "better" for row in equal),
        worse=any(row.mean.verdict == "worse" for row in equal),
        found=largest.mean.verdict == "better",
        tasks_wrong=any(cell.verdict in ("better", "worse") for row in equal for cell in row.cells.values()),
    )


def _outcomes(job: tuple[Setting, range]) -> list[Outcome]:
    setting, seeds = job
    return [outcome(setting, seed) for seed in seeds]


def settings_of(kinds: Sequence[str]) -> Iterator[Setting]:
    """The rows of the table."""
    for kind in kinds:
        for spread in SPREADS:
            for seeds in SEEDS:
                for groups in GROUPS:
                    yield Setting(kind, spread, seeds, groups)


def repeated(pool: ProcessPoolExecutor, setting: Setting, repetitions: int) -> list[Outcome]:
    """A setting many times, in pieces over the processes."""
    jobs = [(setting, range(start, min(start + 25, repetitions))) for start in range(0, repetitions, 25)]
    return [one for part in pool.map(_outcomes, jobs) for one in part]


def coverage_line(setting: Setting, outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table of coverage."""
    held, alone = ([getattr(one, name) for one in outcomes] for name in ("held", "held_by_cases"))
    cells = [f"{100 * np.nanmean([one[name] for one in held]):.1f}" for name in ("first", "second", "mean")]
    before = f"{100 * np.nanmean([one['mean'] for one in alone]):.0f}"
    width = f"{np.nanmean([one.width['mean'] for one in outcomes]):.2f}"
    power = f"{100 * np.mean([one.found for one in outcomes]):.0f}"
    return [setting.kind, setting.spread, str(setting.seeds), str(setting.groups), *cells, before, width, power]


def null_line(setting: Setting, outcomes: Sequence[Outcome]) -> list[str]:
    """A row of the table of false verdicts."""
    rates = [
        f"{100 * np.mean([getattr(one, name) for one in outcomes]):.1f}" for name in ("better", "worse", "tasks_wrong")
    ]
    return [setting.kind, setting.spread, str(setting.seeds), str(setting.groups), str(len(outcomes)), *rates]


COVERAGE_TITLES = [
    "scores",
    "spread of runs",
    "seeds",
    "groups",
    "task 1 %",
    "task 2 %",
    "mean %",
    "mean, cases alone %",
    "half-width",
    "+3 % found %",
]
NULL_TITLES = ["scores", "spread of runs", "seeds", "groups", "tables", "better %", "worse %", "some task wrong %"]


def table_of(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    rows = [titles, ["---"] * len(titles), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main() -> None:
    """Print both tables, a line as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=500, help="tables of scores behind each row of coverage")
    parser.add_argument("--null", type=int, default=2000, help="tables of equal methods behind each row of verdicts")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    started = time.time()
    with ProcessPoolExecutor(given.jobs) as pool:
        coverage, null = [], []
        for setting in settings_of(given.kinds):
            coverage.append(coverage_line(setting, repeated(pool, setting, given.repetitions)))
            print("  ".join(coverage[-1]), f"({time.time() - started:.0f} s)", flush=True)
        for kind in given.kinds if given.null else ():
            for seeds, groups, spread in ((3, 100, "high"), (5, 100, "high"), (5, 200, "low")):
                setting = Setting(kind, spread, seeds, groups, null=True)
                null.append(null_line(setting, repeated(pool, setting, given.null)))
                print("  ".join(null[-1]), f"({time.time() - started:.0f} s)", flush=True)
    text = table_of(COVERAGE_TITLES, coverage) + "\n" + (table_of(NULL_TITLES, null) if null else "")
    print(f"\n{text}")
    if given.output:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
