"""Does the interval keep its promise where its own width has decided how many seeds there are?

``python benchmarks/until.py`` simulates two methods that differ by nothing, lets ``crosstask.pipeline.seeds.add_seeds``
add seeds, and prints how often the 95 % interval at its end covers the truth, and how many seeds it took. With
``--fewest 3`` the width is looked at from three seeds on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crosstask.evaluation.comparison import Cell, Comparison, Row
from crosstask.evaluation.contrast import Part, Spread
from crosstask.evaluation.gains import gain_of
from crosstask.pipeline import seeds as adding
from crosstask.pipeline.seeds import Aim, add_seeds

_MOST = 60
_GROUPS = 30


@dataclass(frozen=True)
class Found:
    """What many simulated benchmarks came to.

    Attributes:
        coverage: share of the intervals at the end that hold the truth.
        seeds: mean number of seeds at the end.
        rounds: mean number of looks.
    """

    coverage: float
    seeds: float
    rounds: float


def simulate(need: int, *, of_cases: float, repeats: int, seed: int = 0) -> Found:
    """Benchmarks whose aim takes ``need`` seeds where the variances are known.

    Args:
        need: seeds that the aim would take.
        of_cases: share of the cases in the variance with so many seeds.
        repeats: number of benchmarks.
        seed: of the simulation.
    """
    generator = np.random.default_rng(seed)
    by_runs = 1 / need  # of each method, with a run's variance of 1
    by_cases = 2 * by_runs * of_cases / (1 - of_cases)
    aim = Aim(_spread([1, 1], need, by_cases).half_width(), _MOST)
    covered = seeds = rounds = 0
    for _ in range(repeats):
        runs = generator.standard_normal((2, _MOST))
        shift = generator.standard_normal() * np.sqrt(by_cases)
        seen = by_cases * generator.chisquare(_GROUPS - 1) / (_GROUPS - 1)
        looks: list[Comparison] = []

        def look(
            chosen: Sequence[int],
            runs: np.ndarray = runs,
            shift: float = shift,
            seen: float = seen,
            looks: list[Comparison] = looks,
        ) -> Comparison:
            own = runs[:, list(chosen)]
            looks.append(
                _comparison(own[1].mean() - own[0].mean() + shift, _spread(own.var(1, ddof=1), len(chosen), seen))
            )
            return looks[-1]

        seeds += len(add_seeds([0, 1, 2], aim, look, told=_unheard, warned=_unheard))
        gain = looks[-1].rows[1].mean.gain
        covered += gain.low <= 0 <= gain.high
        rounds += len(looks)
    return Found(covered / repeats, seeds / repeats, rounds / repeats)


def _spread(variances: Sequence[float] | np.ndarray, number: int, by_cases: float) -> Spread:
    runs = tuple(Part("runs", float(variance) / number, number) for variance in variances)
    return Spread((*runs, Part("cases", by_cases, _GROUPS)))


def _comparison(value: float, spread: Spread) -> Comparison:
    gain = gain_of(float(value), spread, level=0.95, margin=1.0)
    rows = (Row("stl", {}, Cell(np.nan, np.nan), None), Row("hps", {}, Cell(np.nan, np.nan, gain=gain), None))
    return Comparison("simulated", (), rows, {}, _GROUPS, spread.parts[0].number)


def _unheard(line: str) -> None:
    pass


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--fewest", type=int, default=adding.FEWEST)
    options = parser.parse_args()
    adding.FEWEST = options.fewest
    print(f"first look: {options.fewest} seeds; {options.repeats} benchmarks a line")
    print("share of cases | seeds needed | coverage % | seeds taken | looks")
    for of_cases in (0.0, 0.5):
        for need in (5, 8, 12, 16):
            found = simulate(need, of_cases=of_cases, repeats=options.repeats)
            print(
                f"{of_cases:14} | {need:12} | {100 * found.coverage:10.1f} | {found.seeds:11.1f} | {found.rounds:.1f}"
            )


if __name__ == "__main__":
    main()
