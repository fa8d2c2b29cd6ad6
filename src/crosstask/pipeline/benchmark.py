"""From an experiment to its comparison: prepare, train, score, compare, report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.characteristics import collect_characteristics
from crosstask.evaluation.comparison import compare, measure_of
from crosstask.evaluation.diagnosis import Diagnosis, diagnose
from crosstask.evaluation.evaluate import evaluate_constant
from crosstask.evaluation.examples import choose_examples, save_examples
from crosstask.evaluation.kept import examples_of, without_history
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.run import check_belonging, collect_predictions, collect_scores, run_all, run_here
from crosstask.evaluation.scored import scored_cases, scoring_remarks
from crosstask.evaluation.scores import write_scores
from crosstask.network import check_names
from crosstask.pipeline.context import Context
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.telling import tell_splits, tell_trained
from crosstask.processes import cores
from crosstask.report.joint import write_joint_table
from crosstask.report.page import write_report
from crosstask.runs import PREDICTIONS, RunSpec, learned_tasks, read_record
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER, write_splits
from crosstask.tasks.base import Task
from crosstask.training.device import scoring_device
from crosstask.training.run import check_specs


def run_benchmark(context: Context, *, jobs: int = 1, workers: int | None = None, apart: bool = True) -> Comparison:
    """Prepare, train, score, compare; write tables and page. What is done is kept, so the same call resumes.

    Args:
        context: the experiment.
        jobs: runs at a time.
        workers: processes that prepare cases; None for one a core.
        apart: each run in a process of its own; else one after the other in this one.

    Raises:
        InputError: settings or data do not allow it, or a run folder belongs to others.
        CrosstaskError: a run failed.
    """
    experiment, listener = context.experiment, context.listener
    check_names(experiment)
    check_specs(context.specs, context.dataset)
    store = context.prepare(workers=workers)
    splits = context.splits
    check_belonging(context.specs, store, splits)  # before anything that is there is replaced
    lacking = context.lacking(splits)
    remarks = scoring_remarks(experiment, context.assembly, store, splits, lacking)
    tell_splits(context, splits, lacking)
    _write_splits(context)
    specs = [_with_threads(spec, max(1, cores() // jobs)) if jobs > 1 else spec for spec in context.specs]
    with listener.runs(specs) as progress:
        if apart:
            run_all(specs, store.root, jobs=jobs, progress=progress)
        else:
            run_here(specs, store.root, progress=progress, tell=listener.warned)
    tell_trained(specs, listener)
    for line in without_history(specs):
        listener.warned(line)
    tables = _Tables(context, specs)
    tables.write()
    _draw_examples(context, specs)
    with listener.progress("Comparing", at_once=False):
        return _compared(context, specs, tables, remarks)


class _Tables:
    """The long tables of a benchmark: scores, image-level predictions, and scores of the constant predictor."""

    def __init__(self, context: Context, specs: list[RunSpec]) -> None:
        self.scores, self.predictions = collect_scores(specs), collect_predictions(specs)
        self.constant = _constant(context, specs)
        self._output = context.experiment.output_folder

    def write(self) -> None:
        write_scores(self.constant, self._output / "constant.csv")
        write_scores(self.scores, self._output / "scores.csv")
        write_scores(self.scores, self._output / "scores.parquet")
        if len(self.predictions):
            write_predictions(self.predictions, self._output / PREDICTIONS)


def _compared(context: Context, specs: Sequence[RunSpec], tables: _Tables, remarks: tuple[str, ...]) -> Comparison:
    experiment, output = context.experiment, context.experiment.output_folder
    options: dict[str, Any] = {
        "dataset": experiment.name,
        "methods": context.keys,
        "groups": {case.id: case.group for case in context.store.cases},
        "by_seed": experiment.dataset.splits.by_seed,
        "resamplings": experiment.evaluation.bootstrap,
    }
    # single-task learning knows the major task alone
    judged = [task for task in context.assembly.tasks if experiment.major in (None, task.name)]
    table = compare(
        tables.scores,
        predictions=tables.predictions,
        constant=tables.constant,
        measures=[measure_of(task) for task in judged],
        margin=experiment.evaluation.margin,
        level=experiment.evaluation.level,
        test_to_train=_test_to_train(context),
        **options,
    )
    table = dataclasses.replace(table, remarks=(*remarks, *table.remarks))
    diagnosis = _diagnosis(context, tables.predictions, judged, options)
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
    )
    return Comparison(experiment, table, tables.scores, tables.predictions, tables.constant, diagnosis)


def _test_to_train(context: Context) -> float:
    """Test cases for one training case, mean over seeds; NaN where all seeds have the same splits."""
    if not context.experiment.dataset.splits.by_seed:
        return math.nan
    ratios = [len(own["test"]) / len(own["train"]) for own in context.splits.values()]
    return math.fsum(ratios) / len(ratios)


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


def _constant(context: Context, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """Scores of the constant predictor, of each seed where each has splits of its own."""
    experiment = context.experiment
    seeds = experiment.seeds if experiment.dataset.splits.by_seed else experiment.seeds[:1]
    tables = []
    for seed in seeds:
        own = [spec for spec in specs if spec.seed == seed]
        learned = [task for spec in own for task in learned_tasks(read_record(spec.folder))]
        with context.listener.progress("Scoring the constant") as progress:
            evaluation = evaluate_constant(
                own[0].experiment, context.store, seed=seed, tasks=learned, progress=progress
            )
        tables.append(evaluation.scores)
    return pd.concat(tables, ignore_index=True)


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
