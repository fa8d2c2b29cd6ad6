"""From an experiment to its comparison: prepare, train, score, compare, report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.characteristics import collect_characteristics
from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.comparison import compare, measure_of
from crosstask.evaluation.diagnosis import Diagnosis, diagnose
from crosstask.evaluation.epoch_rules import EpochRules, compare_rules
from crosstask.evaluation.evaluate import evaluate_constant
from crosstask.evaluation.examples import choose_examples, save_examples
from crosstask.evaluation.kept import examples_of, without_history
from crosstask.evaluation.other_epochs import Tables, planned, score_otherwise, tables_under
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.run import (
    check_belonging,
    collect_predictions,
    collect_scores,
    judged_otherwise,
    run_all,
    run_here,
)
from crosstask.evaluation.scored import scored_cases, scoring_remarks
from crosstask.evaluation.scores import write_scores
from crosstask.files import write_atomically
from crosstask.methods import baseline_of
from crosstask.network import check_names
from crosstask.pipeline.context import Context
from crosstask.pipeline.external import ExternalBenchmark, externals_of
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.seeds import Aim, add_seeds
from crosstask.pipeline.telling import other_seeds, tell_splits, tell_trained
from crosstask.processes import cores
from crosstask.report.joint import write_joint_table
from crosstask.report.page import write_report
from crosstask.runs import EXPERIMENT, OTHER_RULES, PREDICTIONS, RunSpec, learned_tasks, read_record
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER, write_splits
from crosstask.tasks.base import Task
from crosstask.training.device import scoring_device
from crosstask.training.run import check_specs


def run_benchmark(
    context: Context, *, jobs: int = 1, workers: int | None = None, apart: bool = True, aim: Aim | None = None
) -> Comparison:
    """Prepare, train, score, compare; write tables and page. What is done is kept, so the same call resumes.

    Args:
        context: the experiment.
        jobs: runs at a time.
        workers: processes that prepare cases; None for one a core.
        apart: each run in a process of its own; else one after the other in this one.
        aim: seeds are added until the mean improvement is known so closely; None for the experiment's own alone.

    Raises:
        InputError: settings or data do not allow it, or a run folder belongs to others.
        CrosstaskError: a run failed.
    """
    check_aim(context, aim)
    check_names(context.experiment)
    check_specs(context.specs, context.dataset)
    externals = externals_of(context.experiment, context.listener)
    for external in externals:  # what is wrong with them is told now, and not after hours
        external.check(context.assembly, workers=workers)
    context.prepare(workers=workers)
    work = _Work(context, jobs=jobs, apart=apart, externals=externals)
    if aim is None:
        work.look(context.experiment.seeds)
    else:
        telling = {"told": context.listener.told, "warned": context.listener.warned}
        add_seeds(context.experiment.seeds, aim, work.look, **telling, more_cases=work.more_cases)
    return work.finish()


def check_aim(context: Context, aim: Aim | None) -> None:
    """Make sure that an experiment has what its seeds are to be added for.

    Raises:
        InputError: a figure is not accepted, or no method has a baseline among the methods.
    """
    if aim is None:
        return
    aim.check(context.experiment.seeds)
    keys = context.keys
    if not any(baseline_of(key, keys) in keys and baseline_of(key, keys) != key for key in keys):
        raise InputError("until: no method is compared with stl; let methods have stl and another, or leave it out")


class _Work:
    """A benchmark at work, with the experiment's own seeds or, round by round, with more of them.

    Args:
        context: the experiment, its cases prepared.
        jobs: runs at a time.
        apart: each run in a process of its own.
        externals: external cases, prepared.
    """

    def __init__(
        self, context: Context, *, jobs: int, apart: bool, externals: Sequence[ExternalBenchmark] = ()
    ) -> None:
        self._context, self._jobs, self._apart, self._externals = context, jobs, apart, externals
        self._constants: dict[int, pd.DataFrame] = {}
        self._trained: list[int] = []

    def look(self, seeds: Sequence[int]) -> ComparisonTable:
        """Train and score what is not yet of these seeds, and compare all methods."""
        self._context = self._context.with_seeds(seeds)
        self._train([seed for seed in seeds if seed not in self._trained])
        self._trained = list(seeds)
        self._tables = _Tables(self._context, self._specs, self._constants)
        with self._context.listener.progress("Comparing", at_once=False):
            self._table = _compare(self._context, self._tables, self._remarks)
        return self._table

    def _train(self, seeds: Sequence[int]) -> None:
        """Make sure that all runs belong here, and train those of seeds that were not looked at yet."""
        context, listener, store = self._context, self._context.listener, self._context.store
        splits = context.splits
        check_belonging(context.specs, store, splits)  # before anything that is there is replaced
        lacking = context.lacking(splits)
        self._remarks = scoring_remarks(context.experiment, context.assembly, store, splits, lacking)
        if not self._trained or context.experiment.dataset.splits.by_seed:
            own = {seed: splits[seed] for seed in seeds}
            tell_splits(context, own, context.lacking(own))
        _write_splits(context)
        write_atomically(context.experiment.output_folder / EXPERIMENT, context.experiment.dump())
        self._specs = [
            _with_threads(spec, max(1, cores() // self._jobs)) if self._jobs > 1 else spec for spec in context.specs
        ]
        new = [spec for spec in self._specs if spec.seed in seeds]
        for line in judged_otherwise(new):
            listener.warned(line)
        with listener.runs(new) as progress:
            if self._apart:
                run_all(new, store.root, jobs=self._jobs, progress=progress)
            else:
                run_here(new, store.root, progress=progress, tell=listener.warned)
        tell_trained(new, listener)

    def more_cases(self, table: ComparisonTable) -> bool:
        """Whether further seeds may have test cases that none has had so far."""
        groups = {case.group for case in self._context.store.cases}
        return self._context.experiment.dataset.splits.by_seed and table.groups < len(groups)

    def finish(self) -> Comparison:
        """Write tables and page of the seeds that were looked at last."""
        context = self._context
        for line in (*without_history(self._specs), *other_seeds(context)):
            context.listener.warned(line)
        others = _other_epochs(context, self._specs, jobs=self._jobs, apart=self._apart)
        self._tables.write()
        _draw_examples(context, self._specs)
        external = self._on_externals()
        with context.listener.progress("Reporting", at_once=False):
            return _reported(context, self._specs, self._tables, self._table, others, self._remarks, external)

    def _on_externals(self) -> dict[str, Comparison]:
        """The methods on external cases, by the name of these, with all seeds that were looked at."""
        experiment = self._context.experiment
        device = scoring_device(experiment.training)
        return {
            one.external.name: ExternalBenchmark(experiment, one.external).compare(device=device)
            for one in self._externals
        }


class _Tables:
    """The long tables of a benchmark: scores, image-level predictions, and scores of the constant predictor."""

    def __init__(self, context: Context, specs: list[RunSpec], constants: dict[int, pd.DataFrame]) -> None:
        self.scores, self.predictions = collect_scores(specs), collect_predictions(specs)
        self.constant = _constant(context, specs, constants)
        self._output = context.experiment.output_folder

    def write(self) -> None:
        write_scores(self.constant, self._output / "constant.csv")
        write_scores(self.scores, self._output / "scores.csv")
        write_scores(self.scores, self._output / "scores.parquet")
        if len(self.predictions):
            write_predictions(self.predictions, self._output / PREDICTIONS)


@dataclass(frozen=True)
class _OtherEpochs:
    """What is compared under other rules for the epoch: methods, tables of each rule, and why some are left out."""

    methods: list[str]
    tables: dict[str, Tables]
    remark: str

    def compared(self, judged: ComparisonTable, weights: str, options: dict[str, Any]) -> EpochRules | None:
        """The methods under each rule; None where there are none."""
        if not self.methods:
            return None
        return compare_rules(judged, weights, self.tables, **{**options, "methods": self.methods})


def _other_epochs(context: Context, specs: list[RunSpec], *, jobs: int, apart: bool) -> _OtherEpochs:
    """Score the runs under other rules for the epoch, which need them all trained: see :mod:`crosstask.runs.epochs`."""
    plans, methods, remark = planned(specs, context.keys)
    if remark:
        context.listener.warned(remark)
    with context.listener.progress("Scoring other epochs", at_once=False) as progress:
        score_otherwise(
            plans, context.store.root, jobs=jobs, apart=apart, progress=progress, tell=context.listener.warned
        )
    tables = {rule: tables_under(plans, rule) for rule in OTHER_RULES} if plans else {}
    return _OtherEpochs(methods, tables, remark)


def _options(context: Context) -> dict[str, Any]:
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


def _judged(context: Context) -> list[Task]:
    """The tasks that methods are compared by: single-task learning knows the major task alone."""
    return [task for task in context.assembly.tasks if context.experiment.major in (None, task.name)]


def _figures(context: Context, tables: _Tables) -> dict[str, Any]:
    """What the improvement is made of and how it is judged."""
    return {
        "constant": tables.constant,
        "measures": [measure_of(task) for task in _judged(context)],
        "margin": context.experiment.evaluation.margin,
        "level": context.experiment.evaluation.level,
        "test_to_train": _test_to_train(context),
        **_options(context),
    }


def _test_to_train(context: Context) -> float:
    """Test cases for one training case, mean over seeds; NaN where all seeds have the same splits."""
    if not context.experiment.dataset.splits.by_seed:
        return math.nan
    ratios = [len(own["test"]) / len(own["train"]) for own in context.splits.values()]
    return math.fsum(ratios) / len(ratios)


def _compare(context: Context, tables: _Tables, remarks: Sequence[str]) -> ComparisonTable:
    table = compare(tables.scores, predictions=tables.predictions, **_figures(context, tables))
    return dataclasses.replace(table, remarks=(*remarks, *table.remarks))


def _reported(
    context: Context,
    specs: Sequence[RunSpec],
    tables: _Tables,
    table: ComparisonTable,
    others: _OtherEpochs,
    remarks: Sequence[str],
    external: Mapping[str, Comparison],
) -> Comparison:
    experiment, output = context.experiment, context.experiment.output_folder
    epochs = others.compared(table, specs[0].experiment.judged_weights, _figures(context, tables))
    said = [*(epochs.remarks if epochs else ()), *([others.remark] if others.remark else [])]
    table = dataclasses.replace(table, remarks=(*table.remarks, *said))
    diagnosis = _diagnosis(context, tables.predictions, _judged(context), _options(context))
    if diagnosis is not None:
        diagnosis = dataclasses.replace(diagnosis, remarks=(*remarks, *diagnosis.remarks))
    write_report(
        experiment,
        specs,
        tables.scores,
        tables.predictions,
        tables.constant,
        table,
        output,
        diagnosis=diagnosis,
        characteristics=collect_characteristics(list(specs)),
        epochs=epochs,
        external={name: other.inner for name, other in external.items()},
    )
    return Comparison(
        experiment, table, tables.scores, tables.predictions, tables.constant, diagnosis, epochs, external=external
    )


def _write_splits(context: Context) -> None:
    """One file, or one a seed where each has splits of its own."""
    experiment, output = context.experiment, context.experiment.output_folder
    if not experiment.dataset.splits.by_seed:
        write_splits(output / SPLIT_FILE, context.store.cases, context.splits[experiment.seeds[0]])
        return
    for seed, own in context.splits.items():
        write_splits(output / SPLIT_FOLDER / f"seed{seed}.csv", context.store.cases, own)


def _with_threads(spec: RunSpec, threads: int) -> RunSpec:
    """The spec with so many threads, if it does not say how many."""
    training = spec.experiment.training
    if training.threads is not None:
        return spec
    changed = spec.experiment.model_copy(update={"training": training.model_copy(update={"threads": threads})})
    return dataclasses.replace(spec, experiment=changed)


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


def _draw_examples(context: Context, specs: Sequence[RunSpec]) -> None:
    """What the runs of the first seed make of a few test cases, for the report's pictures."""
    experiment, store, seed = context.experiment, context.store, context.experiment.seeds[0]
    cases = scored_cases(store, context.splits[seed]["test"], context.assembly, experiment.evaluation)
    examples = choose_examples(store, cases, context.assembly)
    shown = [spec for spec in specs if spec.seed == seed]
    with context.listener.progress("Drawing") as progress:
        for done, spec in enumerate(shown, 1):
            if examples_of(spec.folder) is None:
                save_examples(spec.folder, store, examples, device=scoring_device(spec.experiment.training))
            progress(done, len(shown), spec.name)


def _diagnosis(
    context: Context, predictions: pd.DataFrame, judged: Sequence[Task], options: dict[str, Any]
) -> Diagnosis | None:
    """The table of the major task, if that is a classification of whole cases."""
    if context.experiment.major is None or judged[0].level != "image" or judged[0].values == "quantity":
        return None
    return diagnose(predictions, task=judged[0], **options)


def check_together(contexts: Sequence[Context]) -> None:
    """Make sure that several benchmarks can be put into one table.

    Raises:
        InputError: experiments share a name or folder, or differ in methods.
    """
    experiments = [context.experiment for context in contexts]
    for kind in ("name", "output_folder"):
        values = [getattr(experiment, kind) for experiment in experiments]
        if len(set(values)) < len(values):
            raise InputError(f"the experiments share one {kind.removesuffix('_folder')}; each needs its own")
    if any(context.keys != contexts[0].keys for context in contexts):
        raise InputError("the experiments differ in methods or variants; set methods=[...] for all of them")


def compare_together(comparisons: Sequence[Comparison], folder: Path) -> Path:
    """Write the common table of several benchmarks, with the average over data sets; return it as text."""
    return write_joint_table([one.inner for one in comparisons], [one.floor for one in comparisons], folder)
