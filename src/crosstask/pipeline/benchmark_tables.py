"""What a benchmark's comparison is made of: tables, other rules for the epoch, and how methods are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.diagnosis import Diagnosis, diagnose
from crosstask.evaluation.epoch_rules import EpochRules, compare_rules
from crosstask.evaluation.evaluate import CONSTANT, evaluate_constant
from crosstask.evaluation.other_epochs import OtherEpochs, Tables, planned, score_otherwise, tables_under
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.run import collect_predictions, collect_scores
from crosstask.evaluation.scores import read_scores, write_scores
from crosstask.evaluation.work import Runner
from crosstask.experiment import Experiment
from crosstask.pipeline.context import Context
from crosstask.runs import OTHER_RULES, PREDICTIONS, RunSpec, keys_of, learned_tasks, read_record
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


@dataclass(frozen=True)
class LongTables:
    """The long tables of a benchmark.

    Attributes:
        scores: of all runs.
        predictions: of image-level tasks, of all runs.
        constant: scores of the constant predictor.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    constant: pd.DataFrame

    @classmethod
    def of(cls, context: Context, specs: list[RunSpec], constants: dict[int, pd.DataFrame]) -> LongTables:
        """Those of runs that are all trained and scored.

        Args:
            context: the experiment.
            specs: its runs.
            constants: scores of the constant predictor by seed, as far as they are known; others are added.
        """
        return cls(collect_scores(specs), collect_predictions(specs), _constant(context, specs, constants))

    @classmethod
    def kept(cls, specs: list[RunSpec], folder: Path) -> LongTables:
        """Those of runs and of a folder of results; nothing is computed.

        Raises:
            InputError: a table is missing or damaged.
        """
        constant = read_scores(folder / f"{CONSTANT}.csv", remedy="run crosstask benchmark once more")
        return cls(collect_scores(specs), collect_predictions(specs), constant)

    def write(self, folder: Path) -> None:
        """Write them into the folder of the results; predictions only where a task has any."""
        write_long_tables(folder, self.scores, self.predictions, self.constant)


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
            options: by :meth:`crosstask.pipeline.facts.Facts.improvement_options`.
        """
        if not self.methods:
            return None
        return compare_rules(judged, weights, self.tables, **{**options, "methods": self.methods})


def score_under_other_rules(context: Context, specs: list[RunSpec], runner: Runner | None) -> UnderOtherRules:
    """Score the runs under other rules for the epoch, which need them all trained: see :mod:`crosstask.runs.epochs`."""
    if context.experiment.evaluation.split == "validation":  # that rules choose among epochs by
        return UnderOtherRules([], {}, "")
    plans, methods, remark = planned(specs, context.keys)
    if remark:
        context.listener.warned(remark)
    with context.listener.progress("Scoring other epochs", at_once=False) as progress:
        score_otherwise(plans, context.store.root, runner=runner, progress=progress, tell=context.listener.warned)
    return _read_under(plans, methods, remark)


def under_other_rules(experiment: Experiment, specs: list[RunSpec]) -> UnderOtherRules:
    """What was scored under other rules for the epoch; methods with a run that was not are left out."""
    if experiment.evaluation.split == "validation":
        return UnderOtherRules([], {}, "")
    plans, methods, remark = planned(specs, keys_of(experiment))
    if not all(plan.is_scored() for plan in plans):
        return UnderOtherRules([], {}, "The comparison under other rules for the epoch is left out: it was not scored.")
    return _read_under(plans, methods, remark)


def _read_under(plans: list[OtherEpochs], methods: list[str], remark: str) -> UnderOtherRules:
    """What was found of runs that are all scored under every rule."""
    tables = {rule: tables_under(plans, rule) for rule in OTHER_RULES} if plans else {}
    return UnderOtherRules(methods, tables, remark)


def diagnosis_of(
    experiment: Experiment, judged: Sequence[Task], predictions: pd.DataFrame, options: dict[str, Any]
) -> Diagnosis | None:
    """The table of the major task, if that is a classification of whole cases.

    Args:
        experiment: the experiment.
        judged: the tasks that methods are compared by.
        predictions: image-level predictions.
        options: by :meth:`crosstask.pipeline.facts.Facts.options`.
    """
    if experiment.major is None or judged[0].level != "image" or judged[0].values == "quantity":
        return None
    return diagnose(predictions, task=judged[0], level=experiment.evaluation.level, **options)
