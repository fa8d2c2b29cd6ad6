"""What a benchmark's comparison is made of: tables, other rules for the epoch, and how methods are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.comparison import measure_of
from crosstask.evaluation.diagnosis import Diagnosis, diagnose
from crosstask.evaluation.epoch_rules import EpochRules, compare_rules
from crosstask.evaluation.evaluate import CONSTANT, evaluate_constant
from crosstask.evaluation.other_epochs import Tables, planned, score_otherwise, tables_under
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.run import collect_predictions, collect_scores
from crosstask.evaluation.scores import write_scores
from crosstask.experiment import Experiment
from crosstask.pipeline.context import Context
from crosstask.runs import OTHER_RULES, PREDICTIONS, RunSpec, keys_of, learned_tasks, read_record
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER, write_splits
from crosstask.store import Store
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
        write_long_tables(self._output, self.scores, self.predictions, self.constant)


def write_long_tables(folder: Path, scores: pd.DataFrame, predictions: pd.DataFrame, constant: pd.DataFrame) -> None:
    """Write scores, image-level predictions if there are any, and scores of the constant predictor into a folder."""
    write_scores(constant, folder / f"{CONSTANT}.csv")
    write_scores(scores, folder / "scores.csv")
    write_scores(scores, folder / "scores.parquet")
    if len(predictions):
        write_predictions(predictions, folder / PREDICTIONS)


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
                own[0].experiment,
                context.store,
                seed=seed,
                tasks=learned,
                split=experiment.evaluation.split,
                progress=progress,
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
    if context.experiment.evaluation.split == "validation":  # that rules choose among epochs by
        return UnderOtherRules([], {}, "")
    plans, methods, remark = planned(specs, context.keys)
    if remark:
        context.listener.warned(remark)
    with context.listener.progress("Scoring other epochs", at_once=False) as progress:
        score_otherwise(
            plans, context.store.root, jobs=jobs, apart=apart, progress=progress, tell=context.listener.warned
        )
    tables = {rule: tables_under(plans, rule) for rule in OTHER_RULES} if plans else {}
    return UnderOtherRules(methods, tables, remark)


def comparison_options(experiment: Experiment, store: Store, *, name: str, by_seed: bool) -> dict[str, Any]:
    """How methods are compared, by whatever figure.

    Args:
        experiment: the experiment.
        store: the cases that they are scored on.
        name: what these are called.
        by_seed: every seed has test cases of its own.
    """
    return {
        "dataset": name,
        "methods": keys_of(experiment),
        "groups": {case.id: case.group for case in store.cases},
        "by_seed": by_seed,
        "resamplings": experiment.evaluation.bootstrap,
        "least_positives": experiment.evaluation.least_positives,
    }


def judging_options(experiment: Experiment, judged: Sequence[Task], constant: pd.DataFrame) -> dict[str, Any]:
    """What the improvement is made of, and what is called equivalent and certain.

    Args:
        experiment: the experiment.
        judged: the tasks that methods are compared by.
        constant: scores of the constant predictor.
    """
    return {
        "constant": constant,
        "measures": [measure_of(task) for task in judged],
        "margin": experiment.evaluation.margin,
        "level": experiment.evaluation.level,
    }


def judged_tasks(context: Context) -> list[Task]:
    """The tasks that methods are compared by: single-task learning knows the major task alone."""
    return [task for task in context.assembly.tasks if context.experiment.major in (None, task.name)]


def options_of(context: Context) -> dict[str, Any]:
    """How methods are compared on the benchmark's own test cases, by whatever figure."""
    experiment = context.experiment
    by_seed = experiment.dataset.splits.by_seed
    return comparison_options(experiment, context.store, name=experiment.name, by_seed=by_seed)


def improvement_options(context: Context, tables: LongTables) -> dict[str, Any]:
    """The same with what the improvement is made of and how it is judged."""
    return {
        **judging_options(context.experiment, judged_tasks(context), tables.constant),
        "test_to_train": _test_to_train(context),
        **options_of(context),
    }


def _test_to_train(context: Context) -> float:
    """Test cases for one training case, mean over seeds; NaN where all seeds have the same splits."""
    if not context.experiment.dataset.splits.by_seed:
        return math.nan
    split = context.experiment.evaluation.split
    ratios = [len(own[split]) / len(own["train"]) for own in context.splits.values()]
    return math.fsum(ratios) / len(ratios)


def diagnosis_of(
    experiment: Experiment, judged: Sequence[Task], predictions: pd.DataFrame, options: dict[str, Any]
) -> Diagnosis | None:
    """The table of the major task, if that is a classification of whole cases.

    Args:
        experiment: the experiment.
        judged: the tasks that methods are compared by.
        predictions: image-level predictions.
        options: by :func:`comparison_options`.
    """
    if experiment.major is None or judged[0].level != "image" or judged[0].values == "quantity":
        return None
    return diagnose(predictions, task=judged[0], level=experiment.evaluation.level, **options)
