"""Methods compared by scores of any origin. No torch here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.comparison import LEVEL, MARGIN, Comparison
from crosstask.evaluation.comparison import compare as compare_methods
from crosstask.evaluation.foreign import Scores, clean_scores, known_baseline
from crosstask.evaluation.rare import by_option
from crosstask.methods import BASELINE

NAME = "scores"


def compare(
    frame: pd.DataFrame,
    *,
    baseline: str = BASELINE,
    margin: float = MARGIN,
    level: float = LEVEL,
    columns: Mapping[str, str] | None = None,
    metrics: Mapping[str, str] | None = None,
    better: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
) -> Comparison:
    """Compare methods by a long table of scores, of whatever origin.

    Args:
        frame: one row per method, seed, case, task and metric, with the columns ``method``, ``seed``, ``case``,
            ``task``, ``metric``, ``value``, ``higher_is_better``, and if there are ``class``, ``unit`` and ``group``
            (cases of one group are not independent).
        baseline: the method that the others are compared with.
        margin: a difference below so many percent is equivalence.
        level: of confidence of intervals and verdicts.
        columns: ``{one of these names: what the frame calls it}``.
        metrics: ``{task: metric}`` by which a task is judged; by default the first of the task in the frame.
        better: ``{metric: "higher" or "lower"}`` where there is no ``higher_is_better``.
        tasks: only these.
        methods: only these, and the baseline.

    Returns:
        The comparison; its :meth:`~crosstask.evaluation.comparison.Comparison.to_frame` has the verdicts.

    Raises:
        InputError: a column is missing, a cell cannot be used, methods were not scored on the same cells, or there is
            no such baseline.
    """
    scores = clean_scores(frame, columns=columns, metrics=metrics, better=better, tasks=tasks, methods=methods)
    return compare_scores(scores, baseline=baseline, margin=margin, level=level)


def compare_scores(
    scores: Scores,
    *,
    baseline: str = BASELINE,
    margin: float = MARGIN,
    level: float = LEVEL,
    name: str = NAME,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """The same of scores that were looked at: :func:`crosstask.evaluation.foreign.read_tables` reads them from files.

    Args:
        scores: the scores.
        baseline: the method that the others are compared with; it comes first.
        margin: a difference below so many percent is equivalence.
        level: of confidence of intervals and verdicts.
        name: what tables call the data set.
        progress: told how many draws of how many have been looked at, or None.

    Raises:
        InputError: there is no such baseline, or margin or level are none.
    """
    if not 0 < margin < math.inf:
        raise InputError(f"--margin: {margin:g} is no margin of equivalence; give percent, more than 0")
    if not 0.5 <= level < 1:
        hint = f"; write {level / 100:g}" if 50 <= level < 100 else ""
        raise InputError(f"--level: {level:g} is no level of confidence; give one from 0.5 to below 1{hint}")
    known_baseline(scores, baseline)
    found = compare_methods(
        scores.table,
        dataset=name,
        methods=[baseline, *(method for method in scores.methods if method != baseline)],
        predictions=scores.predictions,
        constant=scores.constant,
        groups=scores.groups,
        measures=scores.measures,
        by_seed=scores.by_seed,
        same_seeds=scores.by_seed,
        baseline=baseline,
        margin=margin,
        level=level,
        least_positives=scores.least_positives,
        progress=progress,
    )
    return dataclasses.replace(found, remarks=(*scores.remarks, *map(by_option, found.remarks)))
