"""Improvements under several rules for the epoch: does a gain hang on which weights are judged? No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.comparison import MEAN, Comparison, compare
from crosstask.methods import label_of


@dataclass(frozen=True)
class RuleGain:
    """A method's improvement over single-task learning under a rule.

    Attributes:
        rule: the weights by which the runs are judged (``final``, ``best`` or ``average``), ``joint`` or ``per_task``.
        method: its key.
        task: the task, or :data:`crosstask.evaluation.comparison.MEAN`.
        improvement: in percent; NaN where there is none.
    """

    rule: str
    method: str
    task: str
    improvement: float


@dataclass(frozen=True)
class EpochRules:
    """The improvements of a data set's methods under several rules.

    Attributes:
        dataset: its name.
        rules: the rules, that by which the runs are judged first.
        gains: one of each rule, method and task.
        remarks: what is to be said of them, a sentence each: where the sign changes, and what was left out.
    """

    dataset: str
    rules: tuple[str, ...]
    gains: tuple[RuleGain, ...]
    remarks: tuple[str, ...] = ()


def compare_rules(
    judged: Comparison,
    weights: str,
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    *,
    methods: Sequence[str],
    **options: Any,
) -> EpochRules:
    """Compare methods under each rule, as they are compared under the one by which they are judged.

    Args:
        judged: the comparison by which the methods are judged.
        weights: name of the weights behind it.
        tables: of each other rule the scores and the image-level predictions.
        methods: keys of those to compare, the baseline among them.
        **options: further arguments of :func:`crosstask.evaluation.comparison.compare`.
    """
    gains, rules, remarks = _gains(weights, judged, methods), [weights], []
    for rule, (scores, predictions) in tables.items():
        try:
            found = compare(scores, predictions=predictions, methods=methods, **options)
        except InputError as error:  # what cannot be compared under another rule does not stop the comparison
            remarks.append(f"Under the rule {rule} for the epoch the methods cannot be compared: {error}.")
            continue
        rules.append(rule)
        gains += _gains(rule, found, methods)
    return EpochRules(judged.dataset, tuple(rules), tuple(gains), (*_turning(gains), *remarks))


def _gains(rule: str, comparison: Comparison, methods: Sequence[str]) -> list[RuleGain]:
    """Improvements of the methods but the baselines, which have none."""
    found = []
    for row in comparison.rows:
        own = {**{task: cell.improvement for task, cell in row.cells.items()}, MEAN: row.mean.improvement}
        if row.method in methods and any(map(math.isfinite, own.values())):
            found += [RuleGain(rule, row.method, task, gain) for task, gain in own.items()]
    return found


def _turning(gains: Sequence[RuleGain]) -> list[str]:
    """The warning where the sign of an improvement is not the same under all rules; nothing where there is none."""
    values: dict[str, dict[str, list[float]]] = {}
    for gain in gains:
        values.setdefault(gain.method, {}).setdefault(gain.task, []).append(gain.improvement)
    turning: dict[str, list[str]] = {}
    for method, tasks in values.items():
        changed = [task for task, own in tasks.items() if any(one > 0 for one in own) and any(one < 0 for one in own)]
        if changed:
            turning[label_of(method)] = changed
    if not turning:
        return []
    named = "; ".join(f"{method} ({', '.join(tasks)})" for method, tasks in turning.items())
    return [f"Warning: whether there is a gain or a loss hangs on the epoch whose weights are judged: {named}."]
