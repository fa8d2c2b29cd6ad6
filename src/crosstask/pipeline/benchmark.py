"""From an experiment to its comparison: prepare, train, score, compare, report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.errors import InputError
from crosstask.evaluation.characteristics import collect_characteristics
from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.comparison import compare
from crosstask.evaluation.ensembles import EnsembleFigure
from crosstask.evaluation.examples import keep_examples
from crosstask.evaluation.kept import without_history, without_readings, without_transfer
from crosstask.evaluation.readings import collect_readings
from crosstask.evaluation.run import check_belonging, judged_otherwise, run_all, run_here
from crosstask.evaluation.scored import scoring_remarks
from crosstask.evaluation.shown import chosen_examples
from crosstask.evaluation.transfer import Transfer, collect_transfer, gates_of, references_of
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.locks import present
from crosstask.methods import baseline_of, variant_of
from crosstask.network import check_names
from crosstask.pipeline.benchmark_tables import (
    LongTables,
    UnderOtherRules,
    diagnosis_of,
    score_under_other_rules,
    write_split_tables,
)
from crosstask.pipeline.context import Context
from crosstask.pipeline.ensembles import check_ensembles, score_ensembles
from crosstask.pipeline.external import ExternalBenchmark, externals_of
from crosstask.pipeline.facts import Facts
from crosstask.pipeline.logged import logged
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.seeds import Aim, add_seeds
from crosstask.pipeline.telling import (
    other_seeds,
    tell_loggers,
    tell_never_predicted,
    tell_or_follow,
    tell_splits,
    tell_trained,
)
from crosstask.processes import cores
from crosstask.report.benchmark_page import Benchmark, Findings, external_part, write_report
from crosstask.report.joint import write_joint_table
from crosstask.runs import EXPERIMENT, RunSpec
from crosstask.training.check import check_specs
from crosstask.training.device import check_alone, scoring_device

_log = logging.getLogger(__name__)


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
    check_alone(context.experiment.training)
    check_names(context.experiment)
    if context.experiment.evaluation.ensembles:
        check_ensembles(context.experiment)
    check_specs(context.specs, context.dataset)
    if context.experiment.external and context.experiment.evaluation.split == "validation":
        context.listener.warned("external: is left alone, since evaluation.split=validation chooses settings")
        externals = []
    else:
        externals = externals_of(context.experiment, context.listener)
    for external in externals:  # what is wrong with them is told now, and not after hours
        external.check(context.assembly, workers=workers)
    experiment = context.experiment
    with present(experiment.output_folder), logged(experiment, context.listener.warned) as log:
        context.prepare(workers=workers)
        work = _Work(context, jobs=jobs, apart=apart, externals=externals)
        if aim is None:
            work.look(context.experiment.seeds)
        else:
            telling = {"told": context.listener.told, "warned": context.listener.warned}
            add_seeds(context.experiment.seeds, aim, work.look, **telling, more_cases=work.more_cases)
        comparison = work.finish()
        log(comparison.inner)
        return comparison


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
        self._tables = LongTables.of(self._context, self._specs, self._constants)
        _log.info(
            "compares %s: %d scores, %d resamplings of the cases",
            ", ".join(self._context.keys),
            len(self._tables.scores),
            self._context.experiment.evaluation.bootstrap,
        )
        with self._context.listener.progress("Comparing", at_once=False) as progress:
            self._facts = Facts.of(self._context, self._remarks)
            self._table = compared(self._facts, self._tables, progress)
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
        write_split_tables(context)
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
                run_here(
                    new,
                    store.root,
                    progress=progress,
                    tell=partial(tell_or_follow, listener),
                    follow=listener.epoch,
                )
        tell_trained(new, listener)
        if self._apart:  # in this process each run has said it itself
            tell_never_predicted(new, listener)
            tell_loggers(new, listener)

    def more_cases(self, table: ComparisonTable) -> bool:
        """Whether further seeds may have test cases that none has had so far."""
        groups = {case.group for case in self._context.store.cases}
        return self._context.experiment.dataset.splits.by_seed and table.groups < len(groups)

    def finish(self) -> Comparison:
        """Write tables and page of the seeds that were looked at last."""
        context = self._context
        left_out = [*without_history(self._specs), *without_readings(self._specs), *without_transfer(self._specs)]
        for line in (*left_out, *other_seeds(context)):
            context.listener.warned(line)
        others = score_under_other_rules(context, self._specs, jobs=self._jobs, apart=self._apart)
        self._tables.write(context.experiment.output_folder)
        _draw_examples(context, self._specs, self._tables, self._table)
        external = self._on_externals()
        _log.info("writes tables and page into %s", context.experiment.output_folder)
        ensembles = self._together()
        with context.listener.progress("Reporting", at_once=False):
            facts = dataclasses.replace(
                self._facts.described(context),
                external={name: external_part(name, other.inner) for name, other in external.items()},
                ensembles=ensembles,
            )
            facts.write(context.experiment.output_folder)
            found, whole = assembled(facts, self._specs, self._tables, self._table, others, external)
            write_report(whole, context.experiment.output_folder)
            return found

    def _together(self) -> list[EnsembleFigure] | None:
        """The seeds of each method as one predictor, if they are to be scored so."""
        context = self._context
        if not context.experiment.evaluation.ensembles:
            return None
        device = scoring_device(context.experiment.training)
        return score_ensembles(context.experiment, device=device, listener=context.listener)

    def _on_externals(self) -> dict[str, Comparison]:
        """The methods on external cases, by the name of these, with all seeds that were looked at."""
        experiment = self._context.experiment
        device = scoring_device(experiment.training)
        return {
            one.external.name: ExternalBenchmark(experiment, one.external).compare(device=device)
            for one in self._externals
        }


def compared(facts: Facts, tables: LongTables, progress: Callable[[int, int], None] | None = None) -> ComparisonTable:
    """All methods, with what must be said beside."""
    options = facts.improvement_options(tables.constant)
    table = compare(tables.scores, predictions=tables.predictions, progress=progress, **options)
    return dataclasses.replace(table, remarks=(*facts.remarks, *table.remarks))


def assembled(
    facts: Facts,
    specs: Sequence[RunSpec],
    tables: LongTables,
    table: ComparisonTable,
    others: UnderOtherRules,
    external: Mapping[str, Comparison],
) -> tuple[Comparison, Benchmark]:
    """All that is found of a benchmark: for its user, and for its report.

    Args:
        facts: what is known of the cases.
        specs: the runs, all done.
        tables: their scores.
        table: the methods compared, by :func:`compared`.
        others: what was scored under other rules for the epoch.
        external: the same methods on external cases.
    """
    experiment = facts.experiment
    options = facts.improvement_options(tables.constant)
    epochs = others.compared(table, specs[0].experiment.judged_weights, options)
    said = [*(epochs.remarks if epochs else ()), *([others.remark] if others.remark else [])]
    table = dataclasses.replace(table, remarks=(*table.remarks, *said))
    diagnosis = diagnosis_of(experiment, facts.tasks, tables.predictions, facts.options())
    if diagnosis is not None:
        diagnosis = dataclasses.replace(diagnosis, remarks=(*facts.remarks, *diagnosis.remarks))
    readings = collect_readings(specs)
    transfer = _transfer(experiment, specs, tables, readings, options)
    found = Findings(
        diagnosis=diagnosis,
        characteristics=collect_characteristics(list(specs)),
        readings=readings,
        transfer=transfer,
        epochs=epochs,
        external=facts.external,
        ensembles=facts.ensembles,
        data=facts.data,
    )
    whole = Benchmark(experiment, specs, tables.scores, tables.predictions, tables.constant, table, found)
    comparison = Comparison(
        experiment,
        table,
        tables.scores,
        tables.predictions,
        tables.constant,
        diagnosis,
        epochs,
        external=external,
        transfer=transfer,
    )
    return comparison, whole


def _transfer(
    experiment: Experiment,
    specs: Sequence[RunSpec],
    tables: LongTables,
    readings: pd.DataFrame,
    options: Mapping[str, Any],
) -> Transfer | None:
    """What tasks did to each other, and what the other methods changed; None where nobody looked."""
    figures = collect_transfer(specs)
    if figures.empty:
        return None
    references = references_of(specs, list(dict.fromkeys(figures["method"])))
    several = [spec.key for spec in specs if not spec.method.run_per_task]
    against = {}
    for reference in references:
        rivals = [key for key in dict.fromkeys([reference, *several]) if variant_of(key) == variant_of(reference)]
        if len(rivals) > 1:
            own = {**options, "methods": rivals, "baseline": reference}
            against[reference] = compare(tables.scores, predictions=tables.predictions, **own)
    return Transfer(figures, references, against, gates_of(readings), experiment.evaluation.level)


def _with_threads(spec: RunSpec, threads: int) -> RunSpec:
    """The spec with so many threads, if it does not say how many."""
    training = spec.experiment.training
    if training.threads is not None:
        return spec
    changed = spec.experiment.model_copy(update={"training": training.model_copy(update={"threads": threads})})
    return dataclasses.replace(spec, experiment=changed)


def _draw_examples(context: Context, specs: Sequence[RunSpec], tables: LongTables, table: ComparisonTable) -> None:
    """What the runs of the first seed make of a few test cases, for the report's pictures."""
    experiment, store = context.experiment, context.store
    chosen = chosen_examples(experiment, tables.scores, tables.predictions, table)
    shown = [spec for spec in specs if spec.seed == experiment.seeds[0]]
    with context.listener.progress("Drawing") as progress:
        for done, spec in enumerate(shown, 1):
            keep_examples(spec.folder, store, list(chosen), device=scoring_device(spec.experiment.training))
            progress(done, len(shown), spec.name)


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
