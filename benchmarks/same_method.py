"""Ten runs of one method, some against others of the same: how often does the interval leave out zero?

Nothing is there to be found, so 95 of 100 intervals should hold zero. Takes the results of a benchmark of one method
with many seeds, divides its runs in every possible way into one half and another of so many runs each, and puts each
division through the comparison as if they were two methods.

    crosstask benchmark ham10000-small 'methods=[hps]' 'seeds=[0,1,2,3,4,5,6,7,8,9]' name=ham10000-same
    python benchmarks/same_method.py runs/ham10000-same --runs 3 5
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from crosstask.evaluation.contrast import Spread, spread_of
from crosstask.evaluation.foreign import Scores, read_tables
from crosstask.evaluation.gains import derivatives
from crosstask.evaluation.resampling import case_values, cohort_values, draw

_SEED = 0


class Runs:
    """M of every run of a method, of the cases as they are and of each bootstrap draw.

    Args:
        scores: of one method.
        resamplings: number of draws.
    """

    def __init__(self, scores: Scores, resamplings: int = 2000) -> None:
        (method,) = scores.methods
        values = {
            measure.task: cohort_values(scores.predictions, measure.task, measure.metric, [method], by_seed=False)
            if measure.of == "cohort"
            else case_values(scores.table, measure.task, measure.metric, [method], by_seed=False)
            for measure in scores.measures
        }
        draws = draw(values, scores.groups, resamplings, np.random.default_rng(_SEED))
        self.tasks = list(values)
        self.groups = draws.number
        self.signs = np.array([1 if measure.higher_is_better else -1 for measure in scores.measures])
        figures = {task: found.figures[method] for task, found in values.items()}
        self.single = np.array([[one(None)[0] for one in own] for own in figures.values()]).T
        self.drawn = np.stack(list(draws.resampled(figures).values()), axis=1)

    def compared(self, ours: Sequence[int], theirs: Sequence[int]) -> Iterator[tuple[str, float, Spread, float]]:
        """Name, improvement, its variance, and the error of the cases alone, for each task and the mean."""
        single = {"ours": self.single[list(ours)], "theirs": self.single[list(theirs)]}
        drawn = {"ours": self.drawn[list(ours)], "theirs": self.drawn[list(theirs)]}
        m, b = single["ours"].mean(0), single["theirs"].mean(0)
        gains, (by_ours, by_theirs) = 100 * self.signs * (m - b) / abs(b), derivatives(m, b, self.signs)
        number = len(self.tasks)
        for name, share in [*zip(self.tasks, np.eye(number), strict=True), ("mean", np.full(number, 1 / number))]:
            contrast = {"ours": share * by_ours, "theirs": share * by_theirs}
            whole = sum(np.einsum("str,t->sr", drawn[side], own).mean(0) for side, own in contrast.items())
            yield name, float(gains @ share), spread_of(contrast, single, drawn, self.groups), float(np.std(whole))


def divisions(number: int, runs: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every way to take so many runs and as many others, each once."""
    for ours in combinations(range(number), runs):
        rest = [run for run in range(number) if run not in ours]
        for theirs in combinations(rest, runs):
            if ours < theirs:
                yield ours, theirs


def left_out(runs: Runs, number: int) -> pd.DataFrame:
    """How often intervals leave out zero: one row for each task and the mean."""
    rows = []
    for ours, theirs in divisions(len(runs.single), number):
        for name, gain, spread, alone in runs.compared(ours, theirs):
            rows.append(
                {
                    "figure": name,
                    "runs and cases": abs(gain) > spread.half_width(),
                    "cases alone": abs(gain) > norm.ppf(0.975) * alone,
                    "half-width": spread.half_width(),
                    "divisions": 1,
                }
            )
    table = pd.DataFrame(rows).groupby("figure", sort=False)
    found = table[["runs and cases", "cases alone", "half-width"]].mean()
    return found.assign(divisions=table["divisions"].sum())


def main() -> None:
    """Print a table for each number of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results folders of benchmarks of one method")
    parser.add_argument("--runs", type=int, nargs="+", default=[3, 5], help="runs on either side")
    given = parser.parse_args()
    print("| results | figure | runs on either side | divisions | leave out zero % | cases alone % | half-width % |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for folder in given.results:
        runs = Runs(read_tables([folder]))
        for number in given.runs:
            for name, row in left_out(runs, number).iterrows():
                rates = [f"{100 * row[key]:.1f}" for key in ("runs and cases", "cases alone")]
                cells = [folder.name, name, number, int(row["divisions"]), *rates, f"{row['half-width']:.2f}"]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        spread = np.std(runs.single, axis=0, ddof=1) / abs(runs.single.mean(0))
        told = ", ".join(f"{task} {100 * share:.2f} %" for task, share in zip(runs.tasks, spread, strict=True))
        print(f"\n{folder.name}: {len(runs.single)} runs; standard deviation over them, of M: {told}\n")
        if not all(map(math.isfinite, spread)):
            raise SystemExit("a task has no figure")


if __name__ == "__main__":
    main()
