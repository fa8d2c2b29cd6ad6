"""What a benchmark's comparison is made of: tables, other rules for the epoch, and how methods are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.comparison import measure_of
from crosstask.evaluation.diagnosis import Diagnosis, diagnose
from crosstask.evaluation.epoch_rules import EpochRules, compare_rules
from crosstask.evaluation.evaluate import evaluate_constant
from crosstask.evaluation.other_epochs import Tables, planned, score_otherwise, tables_under
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.run import collect_predictions, collect_scores
from crosstask.evaluation.scores import write_scores
from crosstask.pipeline.context import Context
from crosstask.runs import OTHER_RULES, PREDICTIONS, RunSpec, learned_tasks, read_record
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER, write_splits
from crosstask.tasks.base import Task


def write_split_tables(context: Context) -> None:
    """Write which case is in which split: one file, or one a seed where each has splits of its own."""
    experiment, output = context.experiment, context.experiment.output_folder
    if not experiment.dataset.splits.by_seed:
        write_splits(output / SPLIT_FILE, context.store.cases, context.splits[experiment.seeds[0]])
        return
    for seed, own in context.splits.items():
        write_splits(output / SPLIT_FOLDER / f"seed{seed}.csv", context.store.cases, own)


class LongTables:
    """The long tables of a benchmark: scores, image-level predictions, and scores of the constant predictor.

    Args:
        context: the experiment.
        specs: its runs, all trained and scored.
        constants: scores of the constant predictor by seed, as far as they are known; others are added.
    """

    def __init__(self, context: Context, specs: list[RunSpec], constants: dict[int, pd.DataFrame]) -> None:
        self.scores, self.predictions = collect_scores(specs), collect_predictions(specs)
        self.constant = _constant(context, specs, constants)
        self._output = context.experiment.output_folder

    def write(self) -> None:
        """Write them into the folder of the results; predictions only where a task has any."""
        write_scores(self.constant, self._output / "constant.csv")
        write_scores(self.scores, self._output / "scores.csv")
        write_scores(self.scores, self._output / "scores.parquet")
        if len(self.predictions):
            write_predictions(self.predictions, self._output / PREDICTIONS)


def _constant(context: Context, specs: Sequence[RunSpec], known: dict[int, pd.DataFrame]) -> pd.DataFrame:
    """Scores of the constant predictor, of each seed where each has splits of its own; kept in ``known``."""
    experiment = context.experiment
    seeds = experiment.seeds if experiment.dataset.splits.by_seed else experiment.seeds[:1]
    for seed in seeds:
        if seed in known:
            continue
        own = [spec for spec in specs if spec.seed == seed]
        learned = [task for spec in own for task in learned_tasks(read_record(spec.folder))]
        with context.listener.progress("Scoring the constant") as progress:
            evaluation = evaluate_constant(
                own[0].experiment, context.store, seed=seed, tasks=learned, progress=progress
            )
        known[seed] = evaluation.scores
    return pd.concat([known[seed] for seed in seeds], ignore_index=True)


@dataclass(frozen=True)
class UnderOtherRules:
    """What is compared under other rules for the epoch.

    Attributes:
        methods: their keys; empty where nothing can be compared so.
        tables: of each rule.
        remark: why some methods are left out; empty where none is.
    """

    methods: list[str]
    tables: dict[str, Tables]
    remark: str

    def compared(self, judged: ComparisonTable, weights: str, options: dict[str, Any]) -> EpochRules | None:
        """The methods under each rule; None where there are none.

        Args:
            judged: the comparison by which the methods are judged.
            weights: name of the weights behind it.
            options: by :func:`improvement_options`.
        """
        if not self.methods:
            return None
        return compare_rules(judged, weights, self.tables, **{**options, "methods": self.methods})


def score_under_other_rules(context: Context, specs: list[RunSpec], *, jobs: int, apart: bool) -> UnderOtherRules:
    """Score the runs under other rules for the epoch, which need them all trained: see :mod:`crosstask.runs.epochs`."""
    plans, methods, remark = planned(specs, context.keys)
    if remark:
        context.listener.warned(remark)
    with context.listener.progress("Scoring other epochs", at_once=False) as progress:
        score_otherwise(
            plans, context.store.root, jobs=jobs, apart=apart, progress=progress, tell=context.listener.warned
        )
    tables = {rule: tables_under(plans, rule) for rule in OTHER_RULES} if plans else {}
    return UnderOtherRules(methods, tables, remark)


def comparison_options(context: Context) -> dict[str, Any]:
    """How methods are compared, by whatever figure."""
    experiment = context.experiment
    return {
        "dataset": experiment.name,
        "methods": context.keys,
        "groups": {case.id: case.group for case in context.store.cases},
        "by_seed": experiment.dataset.splits.by_seed,
        "resamplings": experiment.evaluation.bootstrap,
        "least_positives": experiment.evaluation.least_positives,
    }


def judged_tasks(context: Context) -> list[Task]:
    """The tasks that methods are compared by: single-task learning knows the major task alone."""
    return [task for task in context.assembly.tasks if context.experiment.major in (None, task.name)]


def improvement_options(context: Context, tables: LongTables) -> dict[str, Any]:
    """What the improvement is made of and how it is judged."""
    return {
        "constant": tables.constant,
        "measures": [measure_of(task) for task in judged_tasks(context)],
        "margin": context.experiment.evaluation.margin,
        "level": context.experiment.evaluation.level,
        "test_to_train": _test_to_train(context),
        **comparison_options(context),
    }


def _test_to_train(context: Context) -> float:
    """Test cases for one training case, mean over seeds; NaN where all seeds have the same splits."""
    if not context.experiment.dataset.splits.by_seed:
        return math.nan
    ratios = [len(own["test"]) / len(own["train"]) for own in context.splits.values()]
    return math.fsum(ratios) / len(ratios)


def diagnosis_of(context: Context, predictions: pd.DataFrame) -> Diagnosis | None:
    """The table of the major task, if that is a classification of whole cases."""
    judged = judged_tasks(context)
    if context.experiment.major is None or judged[0].level != "image" or judged[0].values == "quantity":
        return None
    return diagnose(predictions, task=judged[0], **comparison_options(context))
