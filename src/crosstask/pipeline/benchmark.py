"""From an experiment to its comparison: prepare, train, score, compare, report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.buckets import Place
from crosstask.datasets.base import Dataset
from crosstask.errors import InputError
from crosstask.evaluation.characteristics import collect_characteristics
from crosstask.evaluation.comparison import Comparison as ComparisonTable
from crosstask.evaluation.comparison import compare
from crosstask.evaluation.ensembles import EnsembleFigure
from crosstask.evaluation.kept import has_examples, without_history, without_readings, without_transfer
from crosstask.evaluation.readings import collect_readings
from crosstask.evaluation.run import check_belonging, do_all, judged_otherwise, run_all, run_here, work_of
from crosstask.evaluation.scored import scoring_remarks
from crosstask.evaluation.shown import chosen_examples
from crosstask.evaluation.transfer import Transfer, collect_transfer, gates_of, references_of
from crosstask.evaluation.work import Runner, Work, asked_apart, in_processes
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
from crosstask.pipeline.seeds import Aim, add_seeds, first_seeds
from crosstask.pipeline.telling import (
    other_seeds,
    tell_loggers,
    tell_never_predicted,
    tell_or_follow,
    tell_splits,
    tell_trained,
)
from crosstask.plugins import load
from crosstask.processes import cores
from crosstask.report.benchmark_page import Benchmark, Findings, external_part, write_report
from crosstask.report.joint import write_joint_table
from crosstask.runs import EXPERIMENT, RunSpec, is_trained, with_threads
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.device import check_alone, scoring_device, scoring_devices

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Manner:
    """Where and how the runs of a benchmark are done.

    Attributes:
        jobs: runs at a time, each in a process of its own.
        workers: processes that prepare cases; None for one a core.
        apart: False for one run after the other in this process.
        runner: who does them; None: this machine.
    """

    jobs: int = 1
    workers: int | None = None
    apart: bool = True
    runner: Runner | None = None

    @property
    def local(self) -> Runner | None:
        """Who does what is done on this machine in any case; None: this process."""
        return partial(in_processes, jobs=self.jobs) if self.apart else None

    @property
    def threads(self) -> int | None:
        """Threads of a run that does not say how many; None: PyTorch's own choice."""
        return max(1, cores() // self.jobs) if self.jobs > 1 and self.runner is None else None


HERE = Manner()


def run_benchmark(context: Context, manner: Manner = HERE, *, aim: Aim | None = None) -> Comparison:
    """Prepare, train, score, compare; write tables and page. What is done is kept, so the same call resumes.

    Args:
        context: the experiment.
        manner: where and how its runs are done.
        aim: seeds are added until the mean improvement is known so closely; None for the experiment's own alone.

    Raises:
        InputError: settings or data do not allow it, or a run folder belongs to others.
        CrosstaskError: a run failed.
    """
    externals = _checked(context, manner, aim)
    experiment = context.experiment
    with present(experiment.output_folder), logged(experiment, context.listener.warned) as log:
        context.prepare(workers=manner.workers)
        work = _Work(context, manner, externals=externals)
        if aim is None:
            work.look(context.experiment.seeds)
        else:
            telling = {"told": context.listener.told, "warned": context.listener.warned}
            add_seeds(context.experiment.seeds, aim, work.look, **telling, more_cases=work.more_cases)
        comparison = work.finish()
        log(comparison.inner)
        return comparison


def train_together(contexts: Sequence[Context], manner: Manner, runner: Runner, aim: Aim | None = None) -> None:
    """Train and score the runs of several benchmarks at once, those of their first seeds where seeds are added.

    Afterwards :func:`run_benchmark` finds them done. Where one benchmark follows the other, the last runs of the one
    hold up the first of the next.

    Args:
        contexts: the experiments, which :func:`check_together` has accepted.
        manner: how cases are prepared.
        runner: who does the runs.
        aim: as of :func:`run_benchmark`.

    Raises:
        InputError: settings or data do not allow it, or a run folder belongs to others.
        CrosstaskError: a run failed.
    """
    work, specs = [], []
    for context in contexts:
        _checked(context, manner, aim)
        context.prepare(workers=manner.workers)
        seeds = context.experiment.seeds
        own = context.with_seeds(seeds if aim is None else first_seeds(seeds, aim))
        check_belonging(own.specs, own.store, own.splits)
        own.check_labels(own.splits, scored=True)
        work += work_of(own.specs, own.store.root)
        specs += own.specs
    with contexts[0].listener.runs(specs) as progress:
        do_all(work, runner, specs, progress)


def _check(specs: Sequence[RunSpec], dataset: Dataset, elsewhere: bool) -> None:
    """What :func:`check_specs` does, in a process that knows no plugin yet."""
    load(specs[0].experiment.plugins)
    check_specs(specs, dataset, elsewhere=elsewhere)


def _checked(context: Context, manner: Manner, aim: Aim | None) -> list[ExternalBenchmark]:
    """Tell what is wrong with an experiment before hours are spent; its external cases."""
    check_aim(context, aim)
    check_alone(context.experiment.training)
    check_names(context.experiment)
    if context.experiment.evaluation.ensembles:
        check_ensembles(context.experiment)
    if manner.apart and not all(map(is_trained, context.specs)):  # by a process that has imported what it takes
        asked_apart(_check, context.specs, context.dataset, manner.runner is not None)
    else:
        check_specs(context.specs, context.dataset, elsewhere=manner.runner is not None)
    if context.experiment.external and context.experiment.evaluation.split == "validation":
        context.listener.warned("external: is left alone, since evaluation.split=validation chooses settings")
        return []
    externals = externals_of(context.experiment, context.listener)
    for external in externals:
        external.check(context.assembly, workers=manner.workers)
    return externals


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
        manner: where and how its runs are done.
        externals: external cases, prepared.
    """

    def __init__(self, context: Context, manner: Manner, *, externals: Sequence[ExternalBenchmark] = ()) -> None:
        self._context, self._manner, self._externals = context, manner, externals
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
        context.check_labels(splits, scored=True)
        lacking = context.lacking(splits)
        self._remarks = scoring_remarks(context.experiment, context.assembly, store, splits, lacking)
        if not self._trained or context.experiment.dataset.splits.by_seed:
            own = {seed: splits[seed] for seed in seeds}
            tell_splits(context, own, context.lacking(own))
        write_split_tables(context)
        write_atomically(context.experiment.output_folder / EXPERIMENT, context.experiment.dump())
        threads = self._manner.threads
        self._specs = [spec if threads is None else with_threads(spec, threads) for spec in context.specs]
        new = [spec for spec in self._specs if spec.seed in seeds]
        for line in judged_otherwise(new):
            listener.warned(line)
        runner = self._manner.runner or self._manner.local
        with listener.runs(new) as progress:
            if runner is not None:
                run_all(new, store.root, runner=runner, progress=progress)
            else:
                run_here(
                    new,
                    store.root,
                    progress=progress,
                    tell=partial(tell_or_follow, listener),
                    follow=listener.epoch,
                )
        tell_trained(new, listener)
        if runner is not None:  # in this process each run has said it itself
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
        runner = self._manner.runner or self._manner.local
        others = score_under_other_rules(context, self._specs, runner)
        self._tables.write(context.experiment.output_folder)
        _draw_examples(context, self._specs, self._tables, self._table, self._manner.local)
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
        device = scoring_devices(context.experiment.training)
        return score_ensembles(context.experiment, device=device, listener=context.listener)

    def _on_externals(self) -> dict[str, Comparison]:
        """The methods on external cases, by the name of these, with all seeds that were looked at."""
        experiment = self._context.experiment
        device = scoring_devices(experiment.training)
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
    rules = others.compared(table, specs[0].experiment.judged_weights, options)
    said = [*(rules.remarks if rules else ()), *([others.remark] if others.remark else [])]
    epochs = rules if rules and rules.gains else None
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


def _draw_examples(
    context: Context, specs: Sequence[RunSpec], tables: LongTables, table: ComparisonTable, runner: Runner | None
) -> None:
    """What the runs of the first seed make of a few test cases, for the report's pictures."""
    experiment, store = context.experiment, context.store
    chosen = list(chosen_examples(experiment, tables.scores, tables.predictions, table))
    shown = [spec for spec in specs if spec.seed == experiment.seeds[0]]
    work = [Work(spec, store.root, _draw, (chosen,)) for spec in shown if not has_examples(spec.folder, chosen)]
    with context.listener.progress("Drawing") as progress:

        def follow() -> None:
            progress(sum(has_examples(spec.folder, chosen) for spec in shown), len(shown), "")

        if runner is not None and work:
            runner(work, follow=follow)
        for one in work if runner is None else ():
            one(context.listener.followed)
            follow()
        progress(len(shown), len(shown), "")


def _draw(spec: RunSpec, store_root: Place, case_ids: Sequence[str], *, tell: Callable[[str], None]) -> None:
    from crosstask.evaluation.examples import keep_examples

    keep_examples(spec.folder, Store(store_root), case_ids, device=scoring_device(spec.experiment.training))


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
