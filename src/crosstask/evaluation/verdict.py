"""What a difference between two methods allows to say, in words: verdict, ranks, and what more runs would bring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from crosstask.evaluation.contrast import Spread, holm

BETTER = "better"
WORSE = "worse"
EQUIVALENT = "equivalent"
UNDECIDED = "not distinguishable"
NO_VERDICT = "no verdict"
NO_RATIO = "no ratio: see the difference"

Rank = tuple[int, int]
"""The lowest and the highest rank that a method may have."""


@dataclass(frozen=True)
class Pair:
    """Two methods against each other.

    Attributes:
        gain: by how much the improvement of one exceeds that of the other, in percent.
        spread: its variance.
    """

    gain: float
    spread: Spread

    @property
    def p(self) -> float:
        """Two-sided probability of such a difference where there is none; NaN without several runs of each."""
        return self.spread.p_of(self.gain) if self.spread.covers_runs else math.nan


Pairs = Mapping[tuple[str, str], Pair]
"""``{(one, other): one against the other}``, each pair of rivals once."""


def verdict_of(gain: float, p: float, p_equivalent: float, *, level: float) -> str:
    """Better or worse where there is a difference; equivalent where there is none beyond the margin.

    A difference that is certain and yet within the margin is called by its sign, since there is one.

    Args:
        gain: improvement, positive is better.
        p: adjusted probability of such a difference where there is none; NaN where it is not known.
        p_equivalent: adjusted probability of one so far within the margin where it is beyond; see
            :meth:`Spread.p_beyond`.
        level: of confidence; what is above 1 - level is not said.
    """
    if math.isnan(p):
        return NO_VERDICT
    if p <= 1 - level and gain != 0:
        return BETTER if gain > 0 else WORSE
    return EQUIVALENT if p_equivalent <= 1 - level else UNDECIDED


def ranks_of(pairs: Pairs, *, level: float) -> dict[str, Rank]:
    """The ranks that each method may have: one behind those that beat it for certain, before those that it beats.

    Args:
        pairs: of all rivals, each once.
        level: of confidence, of all pairs together (Holm).

    Returns:
        Empty where a pair's probability is not known.
    """
    if any(math.isnan(pair.p) for pair in pairs.values()):
        return {}
    methods = list(dict.fromkeys(name for names in pairs for name in names))
    adjusted = holm([pair.p for pair in pairs.values()])
    beaten: dict[str, int] = dict.fromkeys(methods, 0)
    beats: dict[str, int] = dict.fromkeys(methods, 0)
    for (one, other), pair, p in zip(pairs, pairs.values(), adjusted, strict=True):
        if p <= 1 - level and pair.gain != 0:
            winner, loser = (one, other) if pair.gain > 0 else (other, one)
            beats[winner] += 1
            beaten[loser] += 1
    return {method: (1 + beaten[method], len(methods) - beats[method]) for method in methods}


_MANY = 100
"""Seeds that nobody trains: a larger number says no more."""


def outlook(gain: float, spread: Spread, *, margin: float, level: float) -> str:
    """What it would take to tell a difference that cannot be told: a clause, or nothing to say.

    Args:
        gain: improvement in percent.
        spread: its variance.
        margin: of equivalence, in percent.
        level: of confidence.
    """
    if not spread.covers_runs or math.isnan(gain):
        return ""
    return f"{_to_tell(gain, spread, margin=margin, level=level)}; {_to_halve(spread, level)}"


def _to_tell(gain: float, spread: Spread, *, margin: float, level: float) -> str:
    """Whatever takes fewer seeds: to tell the difference from none, or to show that it is no larger than the margin."""
    more = spread.runs_needed(abs(gain), level)
    inside = spread.runs_needed(margin - abs(gain), level) if abs(gain) < margin else None
    if inside is not None and (more is None or inside < more):
        done, what = f"would show it to be within {margin:g} %", f"it would be shown to be within {margin:g} %"
    else:
        done, what = "would tell it from none", "it would be told from none"
    fewest = min((number for number in (more, inside) if number is not None), default=None)
    if fewest is None:
        return "no number of seeds would tell it from none on these cases, if it stays as it is"
    if fewest == 0:
        return f"alone {what}, adjusted for the number of comparisons it is not"
    return f"if the difference stays as it is, {_seeds(fewest)} {done}"


def _to_halve(spread: Spread, level: float) -> str:
    """What would make the interval half as wide: runs, cases, or only both."""
    half = spread.half_width(level) / 2
    runs = spread.runs_needed(half, level)
    with_cases = spread.with_numbers(cases=4.0).half_width(level)
    by_cases = with_cases <= 1.1 * half
    if runs is None:
        return (
            "four times the cases would halve the interval, more seeds would not"
            if by_cases
            else ("only more seeds and more cases together would halve the interval")
        )
    cases = "so would four times the cases" if by_cases else "more cases would not"
    return f"{_seeds(runs)} would halve the interval, {cases}"


def _seeds(number: int) -> str:
    return f"more than {_MANY} more seeds" if number > _MANY else f"{number} more seed{'s' * (number != 1)}"
