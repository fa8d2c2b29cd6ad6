"""What the page opens with: the verdict in a sentence, a card a method, and warnings that must not be missed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from crosstask.evaluation.comparison import Comparison, Row
from crosstask.evaluation.verdict import BETTER, EQUIVALENT, NO_VERDICT, UNDECIDED, WORSE
from crosstask.experiment import Experiment
from crosstask.report.charts.figure import Entry
from crosstask.report.verdicts import asked, verdict_sentences
from crosstask.report.words import difference_text, gain_text, interval_text, number, trained_once, verdict_text
from crosstask.runs import RunSpec, trained_record

_FEW_CASES = 30
_FEW_VALIDATION = 20


@dataclass(frozen=True)
class Card:
    """One method at a glance.

    Attributes:
        label: its name.
        colour: as in the figures.
        verdict: in words; empty for a baseline.
        kind: ``better``, ``worse``, ``equal`` or ``open``, for its look.
        gain: the mean improvement; empty for a baseline.
        interval: of that.
        tasks: of each task its name, M, improvement and verdict.
        cost: parameters and time.
    """

    label: str
    colour: str
    verdict: str
    kind: str
    gain: str
    interval: str
    tasks: list[tuple[str, str, str, str]]
    cost: str


_KINDS = {BETTER: "better", WORSE: "worse", EQUIVALENT: "equal"}
_SIGNS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "="}


def headline(comparison: Comparison) -> str:
    """The verdict on all methods in one sentence."""
    rows = asked(comparison)
    if not rows:
        return "Nothing is compared: there is no other method, or no single-task learning to compare with."
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.mean.verdict, []).append(comparison.label(row.method))
    baseline = comparison.label(comparison.baseline_of(rows[0].method))
    if NO_VERDICT in names and len(names) == 1:
        return f"No verdict: every method was trained once, so chance may have made any difference to {baseline}."
    clauses = []
    for verdict, words in (
        (BETTER, f"better than {baseline}"),
        (WORSE, f"worse than {baseline}"),
        (EQUIVALENT, f"equivalent to {baseline} within {comparison.margin:g} %"),
        (UNDECIDED, f"not distinguishable from {baseline}"),
    ):
        if verdict in names:
            found = names.pop(verdict)
            gains = [row.mean for row in rows if row.mean.verdict == verdict]
            how = f" (by {abs(gains[0].improvement):.1f} %)" if len(found) == 1 and verdict in (BETTER, WORSE) else ""
            clauses.append(f"{_listed(found)} {'is' if len(found) == 1 else 'are'} {words}{how}")
    clauses += [f"of {_listed(found)} no mean can be given" for found in names.values()]
    sentence = "; ".join(clauses)
    several = len(comparison.measures) > 1
    runs = f"{comparison.seeds} run{'s' * (comparison.seeds > 1)} of each method"
    tail = f" on average over {len(comparison.measures)} tasks" * several
    return f"{sentence[0].upper()}{sentence[1:]}{tail}, by {runs} and {max(comparison.cases.values())} cases."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def cards(comparison: Comparison, looks: Mapping[str, Entry], costs: Mapping[str, str]) -> list[Card]:
    """A card for each method, in the order of the comparison.

    Args:
        comparison: the methods compared.
        looks: of the methods.
        costs: of each method in words.
    """
    return [_card(comparison, row, looks[row.method], costs.get(row.method, "")) for row in comparison.rows]


def _card(comparison: Comparison, row: Row, look: Entry, cost: str) -> Card:
    mean = row.mean
    tasks = []
    for measure in comparison.measures:
        cell = row.cells[measure.task]
        value = " ".join(filter(None, [number(cell.value), measure.unit]))
        gain = gain_text(cell.improvement)
        if cell.undefined and math.isfinite(cell.gain.difference.value):
            gain = difference_text(cell.gain.difference, measure.unit).partition(" [")[0]
        sign = _SIGNS.get(cell.verdict, "")
        tasks.append((measure.task, f"{measure.metric} {value}".strip(), gain, f"{sign} {verdict_text(cell)}".strip()))
    return Card(
        comparison.label(row.method),
        look.colour,
        f"{_SIGNS.get(mean.verdict, '')} {verdict_text(mean)}".strip() if mean.verdict else "",
        _KINDS.get(mean.verdict, "open"),
        gain_text(mean.improvement) if mean.verdict else "",
        interval_text(mean.low, mean.high),
        tasks,
        cost,
    )


def sentences(comparison: Comparison) -> list[tuple[str, str]]:
    """The verdict on each method in words: its name, and what is said of it."""
    found = []
    for sentence in verdict_sentences(comparison):
        name, _, words = sentence.partition(": ")
        found.append((name, words))
    return found


def warnings(
    experiment: Experiment, specs: Sequence[RunSpec], comparison: Comparison, splits: Mapping[str, int]
) -> list[str]:
    """What a reader must not miss, a sentence each; beside what stands under the comparison itself.

    Args:
        experiment: the experiment.
        specs: its runs.
        comparison: the methods compared.
        splits: number of cases of each split; empty where that is not known.
    """
    found = []
    if trained_once(comparison):
        found.append("One seed: every method was trained once, so nothing here tells methods from luck.")
    few = {task: count for task, count in comparison.cases.items() if 0 < count < _FEW_CASES}
    if few:
        said = ", ".join(f"{count} of {task}" for task, count in few.items())
        found.append(f"Few {experiment.evaluation.split} cases ({said}): intervals are wide, and rough.")
    validation = splits.get("validation", 0)
    if 0 < validation < _FEW_VALIDATION and experiment.judged_weights == "best":
        found.append(f"Only {validation} validation cases chose the epochs: such choices are noisy.")
    last = _best_is_last(specs)
    if last:
        found.append(
            f"The best epoch on validation cases is the last in {last[0]} of {last[1]} runs: longer training may "
            "change the figures."
        )
    return found


def _best_is_last(specs: Sequence[RunSpec]) -> tuple[int, int] | None:
    """How many runs were best at their end, of how many; None where that is less than half of them."""
    ends = []
    for spec in specs:
        training = trained_record(spec.folder)["training"]
        if training["epochs"] > 1:
            ends.append(training["best_epoch"] + 1 >= training["epochs"])
    return (sum(ends), len(ends)) if ends and 2 * sum(ends) > len(ends) else None


def costs_of(
    specs: Sequence[RunSpec], keys: Sequence[str]
) -> tuple[dict[str, str], list[tuple[str, dict[str, tuple[float, str]]]]]:
    """What each method costs in words, and by kind of cost: all networks of a seed together, mean over seeds.

    Args:
        specs: the runs.
        keys: of the methods, in order.
    """
    rows = []
    for spec in specs:
        record = trained_record(spec.folder)
        training = record["training"]
        memory = training.get("memory") or math.nan
        rows.append((spec.key, spec.seed, record["parameters"], training["seconds"] / 60, memory / 2**30))
    table = pd.DataFrame(rows, columns=["method", "seed", "parameters", "minutes", "memory"])
    by_seed = table.groupby(["method", "seed"]).agg({"parameters": "sum", "minutes": "sum", "memory": "max"})
    means = by_seed.groupby("method").mean()
    shown = [key for key in keys if key in means.index]
    kinds: list[tuple[str, dict[str, tuple[float, str]]]] = []
    for title, column, scale, form in (
        ("Parameters, millions", "parameters", 1e6, ".2f"),
        ("Training, minutes", "minutes", 1, ".1f"),
        ("Peak memory, GiB", "memory", 1, ".2f"),
    ):
        values = means[column] / scale
        if values[shown].notna().all():
            kinds.append((title, {key: (float(values[key]), f"{values[key]:{form}}") for key in shown}))
    words = {
        key: f"{means['parameters'][key] / 1e6:.2f} M parameters, {means['minutes'][key]:.1f} min" for key in shown
    }
    return words, kinds
