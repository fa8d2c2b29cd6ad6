"""Seeds as needed: runs are added until the mean improvement is known as closely as wanted.

What ends it is the half-width of the interval, never that an interval leaves out zero: whoever looks after every seed
and stops at the first difference that seems certain finds one in 7 to 15 % of the pairs of equal methods, where 5 % is
meant. A width stops early, too, where the first seeds happen to lie close together; see :data:`FEWEST`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crosstask.errors import InputError
from crosstask.evaluation.comparison import Comparison, Row

FEWEST = 5
"""Seeds before the width is looked at first, if as many are allowed: begun with 3, the 95 % interval at the end covers
92.8 % in the worst case, and begun with 5 it covers 93.6 % (docs/seeds.md, ``benchmarks/until.py``)."""
MAX_SEEDS = 20
"""Where it ends, unless told otherwise."""
_LEAST = 3  # the variance of two runs has one degree of freedom


@dataclass(frozen=True)
class Aim:
    """How closely the mean improvement is to be known, and how many seeds that may cost.

    Attributes:
        half_width: of the interval of the mean improvement, in points of percent, of the method with the widest.
        max_seeds: of all, the experiment's own among them.
    """

    half_width: float
    max_seeds: int = MAX_SEEDS

    def check(self, seeds: Sequence[int]) -> None:
        """Make sure that it can be aimed at with these seeds of the experiment.

        Raises:
            InputError: a figure is not accepted.
        """
        width, most = self.half_width, self.max_seeds
        if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width < math.inf:
            raise InputError(f"until: {width!r} is not accepted; give a number above 0, in percent, e.g. 1.5")
        if isinstance(most, bool) or not isinstance(most, int) or most < _LEAST:
            raise InputError(f"max-seeds: {most!r} is not accepted; give a whole number from {_LEAST} on, e.g. 20")
        if most < len(seeds):
            raise InputError(
                f"max-seeds: {most} is below the {len(seeds)} seeds that the experiment has; give at least {len(seeds)}"
            )


def more_seeds(seeds: Sequence[int], number: int) -> list[int]:
    """The seeds and so many more: the next whole numbers, from zero on, that are not among them.

    >>> more_seeds([0, 2], 2)
    [0, 2, 1, 3]
    """
    found = list(seeds)
    candidate = 0
    while len(found) < len(seeds) + number:
        if candidate not in seeds:
            found.append(candidate)
        candidate += 1
    return found


def first_seeds(seeds: Sequence[int], aim: Aim) -> list[int]:
    """The seeds that are looked at first: the experiment's own, and as many more as it takes for :data:`FEWEST`."""
    return more_seeds(seeds, max(0, min(FEWEST, aim.max_seeds) - len(seeds)))


def add_seeds(
    seeds: Sequence[int],
    aim: Aim,
    look: Callable[[list[int]], Comparison],
    *,
    told: Callable[[str], None],
    warned: Callable[[str], None],
    more_cases: Callable[[Comparison], bool] = lambda comparison: False,
) -> list[int]:
    """Add seeds until the widest interval of a mean improvement is as narrow as wanted, or cannot become so.

    Each round adds half of what is predicted to be needed, at least one and at most as many as there are: predictions
    from few seeds go astray.

    Args:
        seeds: the experiment's own.
        aim: how narrow, with how many seeds at most.
        look: trains and compares all methods with these seeds; called with the same seeds and more each time.
        told: told what was reached, and after each round what is still to do.
        warned: told in one line why the aim is not reached.
        more_cases: whether further seeds bring test cases that none has had so far.

    Returns:
        The seeds that were looked at last.
    """
    seeds = first_seeds(seeds, aim)
    while True:
        comparison = look(seeds)
        known = [row for row in comparison.rows if _half_width(row) == _half_width(row)]
        if not known:
            warned(f"until: stopped with {_number(seeds)}, since the mean has no interval: {_why(comparison)}")
            return seeds
        widest = max(known, key=_half_width)
        reached = (
            f"{_number(seeds)}: half-width {_half_width(widest):.3g} % ({comparison.label(widest.method)}), "
            f"aim {aim.half_width:g} %"
        )
        if _half_width(widest) <= aim.half_width:
            told(f"{reached}: reached{_uncounted(comparison, known)}")
            return seeds
        needed, blocked = _needed(comparison, known, aim)
        if blocked is not None and not more_cases(comparison):
            alone = blocked.mean.gain.spread.with_numbers(more_runs=10**6).half_width(comparison.level)
            warned(
                f"{reached}; stopped, since more seeds cannot: the test cases alone give +-{alone:.3g} % "
                f"({comparison.label(blocked.method)})"
            )
            return seeds
        room = aim.max_seeds - len(seeds)
        if not room:
            warned(f"{reached}: not reached with --max-seeds {aim.max_seeds}{_expected(needed)}")
            return seeds
        added = min(max(1, (needed or 1) // 2), len(seeds), room)
        told(f"{reached}{_expected(needed)}; now {added} more")
        seeds = more_seeds(seeds, added)


def _half_width(row: Row) -> float:
    """Of the mean's interval, NaN where it has none that covers the runs."""
    gain = row.mean.gain
    return (gain.high - gain.low) / 2 if gain.spread.covers_runs else math.nan


def _needed(comparison: Comparison, rows: Sequence[Row], aim: Aim) -> tuple[int | None, Row | None]:
    """How many more seeds the interval of every method takes, and a method for which no number would do."""
    needed = {
        row.method: row.mean.gain.spread.runs_needed(aim.half_width, comparison.level)
        for row in rows
        if _half_width(row) > aim.half_width
    }
    never = [row for row in rows if row.method in needed and needed[row.method] is None]
    if never:
        return None, max(never, key=_half_width)
    return max(number for number in needed.values() if number is not None), None


def _why(comparison: Comparison) -> str:
    """Why no method has an interval of its mean."""
    reasons = _undefined(
        comparison, [row for row in comparison.rows if comparison.baseline_of(row.method) != row.method]
    )
    return "; ".join((*reasons, *comparison.remarks[-1:])) or "no method has a baseline to improve on"


def _uncounted(comparison: Comparison, known: Sequence[Row]) -> str:
    """Methods whose mean has no interval, which the aim does not count."""
    lacking = [row for row in comparison.rows if row not in known and comparison.baseline_of(row.method) != row.method]
    return f"; without an interval: {'; '.join(_undefined(comparison, lacking))}" if lacking else ""


def _undefined(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    return [
        f"{comparison.label(row.method)}: {row.mean.undefined or 'too many resamplings lack a class'}" for row in rows
    ]


def _number(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"


def _expected(needed: int | None) -> str:
    return "" if needed is None else f": about {needed} more seed{'s' * (needed != 1)}"
