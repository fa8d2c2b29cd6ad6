"""Trained runs on cases that they have never met: one run's scores, or the whole comparison once more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from crosstask.assembly import Assembly
from crosstask.buckets import Place
from crosstask.devices import AUTO
from crosstask.errors import InputError, one_line
from crosstask.evaluation.comparison import compare, measure_of
from crosstask.evaluation.evaluate import constant_of_cases
from crosstask.evaluation.examples import keep_examples
from crosstask.evaluation.external import Cases, assembly_at, evaluate_external, signature
from crosstask.evaluation.predictions import joined_predictions, read_predictions, write_predictions
from crosstask.evaluation.scored import decided_by, decided_tasks, few_to_decide
from crosstask.evaluation.scores import read_scores, write_scores
from crosstask.evaluation.seen import own_store
from crosstask.evaluation.shown import choose_examples
from crosstask.experiment import Experiment, with_evaluation
from crosstask.files import write_atomically, writing
from crosstask.pipeline.benchmark_tables import diagnosis_of, write_long_tables
from crosstask.pipeline.external_set import ExternalSet, find_external, write_mapping
from crosstask.pipeline.facts import comparison_options, judging_options
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.scoring import Scoring, check_output, told_devices, written
from crosstask.report.benchmark_page import EXTERNAL, Benchmark, Findings, write_report
from crosstask.runs import EXAMPLES, PREDICTIONS, SCORES, WEIGHTS, RunSpec, load_spec, read_record, run_specs
from crosstask.seals import check_seal, seal
from crosstask.tasks.base import Task

_SCORED = "scored.txt"
"""What a run's external scores were made of."""


def score_run_on(
    run: Path,
    on: str | Path | Mapping[str, object],
    *,
    tasks: Mapping[str, str] | None = None,
    classes: Mapping[str, Mapping[str, str]] | None = None,
    name: str | None = None,
    weights: str | None = None,
    output: Path | None = None,
    store: Place | None = None,
    device: str = AUTO,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    listener: Listener | None = None,
) -> Scoring:
    """Score one run on external cases, and write the tables, and beside them what was taken as what.

    Args:
        run: the run folder.
        on: the cases; see :func:`crosstask.pipeline.external_set.find_external`.
        tasks: ``{their task: ours}`` where the names differ.
        classes: ``{our task: {their class: ours}}`` where the names differ.
        name: what the cases are called; by default after their file or folder.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those by which the runs are judged.
        output: the table, ``.csv`` or ``.parquet``; None for a name of its own in the run folder.
        store: the run's own prepared cases, if not where they were.
        device: of the network, or several, which share the cases out; see :func:`crosstask.pipeline.scoring.score_run`.
        overrides: ``evaluation.KEY=value``, in the place of what the run's settings have.
        workers: processes that prepare cases; None for one a core.
        listener: told what happens.

    Raises:
        InputError: the folder is no complete run, or the cases or the mapping cannot be used.
    """
    listener = listener or Listener()
    spec = load_spec(run)
    settings = with_evaluation(spec.experiment, overrides).evaluation
    own = spec.experiment.dataset.name
    called, section = find_external(on, own=own, known={}, name=name, tasks=tasks, classes=classes)
    output = output or run / f"scores-on-{called}.csv"
    check_output(output)
    external = ExternalSet(called, section, _folder_of(run, spec) / EXTERNAL / called, listener)
    assembly = assembly_at(run, settings)
    external.mapping(assembly.tasks)
    external.prepare(workers=workers)
    cases = external.cases(assembly, spec.experiment.sample.case_dims, [run], settings, store)
    device = told_devices(device, spec.experiment, listener)
    with listener.progress("Scoring") as progress:
        evaluation = evaluate_external(
            run,
            cases,
            weights=weights,
            device=device,
            evaluation=settings,
            dataset=external.own_scores(own),
            progress=progress,
        )
    for remark in evaluation.remarks:
        listener.warned(remark)
    scoring = written(evaluation, settings, output)
    write_mapping(cases, output.with_name(f"{output.stem}-mapping.csv"))
    write_atomically(output.with_name(f"{output.stem}-notes.txt"), _lines(evaluation.remarks))
    return scoring


def _folder_of(run: Path, spec: RunSpec) -> Path:
    """The output folder of the run's benchmark, so that all its runs share the prepared cases; or the run's own."""
    parts = ("runs", *spec.name.split("/"))
    whole = run.absolute()
    return whole.parents[len(parts) - 1] if whole.parts[-len(parts) :] == parts else run


def _lines(remarks: Sequence[str]) -> str:
    return "".join(f"{one_line(remark)}\n" for remark in remarks)


class ExternalBenchmark:
    """All runs of a benchmark on one external set of cases.

    Args:
        experiment: of the benchmark.
        external: the cases.
    """

    def __init__(self, experiment: Experiment, external: ExternalSet) -> None:
        self.experiment, self.external = experiment, external
        self.folder, self.listener = external.folder, external.listener

    @cached_property
    def specs(self) -> list[RunSpec]:
        """The runs."""
        return run_specs(self.experiment)

    def check(self, assembly: Assembly, *, workers: int | None = None) -> None:
        """Find what is wrong with the cases before hours are spent on training, and prepare them.

        Args:
            assembly: how the experiment looks at a case.
            workers: processes that prepare cases.

        Raises:
            InputError: a statement is wrong, nothing matches, or the images do not fit.
        """
        self.external.mapping(assembly.tasks)
        self.external.prepare(workers=workers)
        self.external.store(assembly, self.experiment.sample.case_dims)

    def compare(self, *, device: str = AUTO) -> Comparison:
        """Score all runs on the cases, compare, and write tables and page. What is scored is kept.

        The cases are prepared already.

        Args:
            device: of the networks, or several, with commas between, which share the cases out.

        Raises:
            InputError: no case can be scored, or the runs do not allow it.
        """
        settings = self.experiment.evaluation
        assemblies = {spec.name: assembly_at(spec.folder, settings) for spec in self.specs}
        whole = _together(list(assemblies.values()))
        folders = [spec.folder for spec in self.specs]
        dimensions = self.experiment.sample.case_dims
        cases = self.external.cases(whole, dimensions, folders, settings, self.experiment.store_folder)
        for remark in cases.remarks:
            if remark.startswith("Warning"):  # the others stand below the table
                self.listener.warned(remark)
        remarks = [*self._decided(cases, whole), *self._score(cases, device)]
        scores, predictions = self._collected()
        constant = self._constant(cases, whole)
        write_long_tables(self.folder, scores, predictions, constant)
        write_mapping(cases, self.folder / "mapping.csv")
        write_atomically(self.folder / "notes.txt", _lines([*cases.remarks, *remarks]))
        measures = [measure_of(task) for task in self._judged(cases, whole)]
        self._draw(cases, list(choose_examples(scores, predictions, measures)), device)
        return self._compared(cases, whole, scores, predictions, constant, [*cases.remarks, *remarks])

    def _decided(self, cases: Cases, whole: Assembly) -> list[str]:
        """What decides for findings, and whether few validation cases of the runs chose it."""
        findings = whole.only(
            [task.name for task in whole.tasks if task.thresholds is not None and task.name in cases.scored]
        )
        if not findings.tasks:
            return []
        decided = decided_by(decided_tasks(findings.tasks), self.experiment.evaluation)
        said = [f"{line}, the same as on the runs' own test cases." for line in decided]
        splits = {spec.seed: read_record(spec.folder)["data"]["cases"] for spec in self.specs}
        prepared = own_store(self.specs[0].folder, self.experiment.store_folder)
        if prepared is None or not all(case in prepared for own in splits.values() for case in own["validation"]):
            return said
        return [*said, *few_to_decide(self.experiment, findings, prepared, splits)]

    def _place(self, spec: RunSpec) -> Path:
        return self.folder / "runs" / spec.name

    def _score(self, cases: Cases, device: str) -> list[str]:
        """Score the runs that are not scored yet as they are now; what is to be said of their thresholds."""
        evaluation = self.experiment.evaluation
        dataset = self.external.own_scores(self.experiment.dataset.name)
        said: dict[str, None] = {}
        for number, spec in enumerate(self.specs, 1):
            place = self._place(spec)
            path = place / _SCORED
            judged = spec.experiment.judged_weights
            wanted = signature(spec.folder, cases, judged, evaluation)
            kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            if kept[:1] == [wanted] and (place / SCORES).exists():
                said.update(dict.fromkeys(kept[1:]))
                continue
            with writing(place):
                place.mkdir(parents=True, exist_ok=True)
            for name in (_SCORED, EXAMPLES, PREDICTIONS):
                (place / name).unlink(missing_ok=True)
            with self.listener.progress(f"{spec.name} on {self.external.name}") as progress:
                result = evaluate_external(
                    spec.folder,
                    cases,
                    weights=judged,
                    device=device,
                    evaluation=evaluation,
                    dataset=dataset,
                    progress=progress,
                )
            if len(result.predictions):
                write_predictions(result.predictions, place / PREDICTIONS)
            write_scores(result.scores, place / SCORES)
            seal(place, SCORES, PREDICTIONS)
            own = [remark for remark in result.remarks if remark not in cases.remarks]
            # thresholds that were chosen only now belong to the scores
            write_atomically(path, _lines([signature(spec.folder, cases, judged, evaluation), *own]))
            said.update(dict.fromkeys(own))
            self.listener.told(f"{spec.name}: scored on {self.external.name} ({number} of {len(self.specs)})")
        return list(said)

    def _collected(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        scores, predictions = [], []
        for spec in self.specs:
            place = self._place(spec)
            remedy = f"remove {place / _SCORED}, and the same command scores the run again"
            for name in (SCORES, PREDICTIONS):
                check_seal(place / name, remedy)
            scores.append(read_scores(place / SCORES, remedy=remedy))
            predictions.append(read_predictions(place / PREDICTIONS, remedy=remedy))
        return pd.concat(scores, ignore_index=True), joined_predictions(predictions)

    def _constant(self, cases: Cases, whole: Assembly) -> pd.DataFrame:
        """Scores of the constant predictor of the first seed, which knows the training cases of the benchmark."""
        judged = whole.only(list(cases.scored))
        dataset = self.external.own_scores(self.experiment.dataset.name)
        with self.listener.progress("Scoring the constant") as progress:
            return constant_of_cases(
                judged, cases.store, cases.ids, seed=self.specs[0].seed, dataset=dataset, progress=progress
            ).scores

    def _draw(self, cases: Cases, chosen: Sequence[str], device: str) -> None:
        """What the runs of the first seed make of a few cases, for the pictures."""
        tasks = list(cases.scored)
        shown = [spec for spec in self.specs if spec.seed == self.specs[0].seed]
        with self.listener.progress("Drawing") as progress:
            for done, spec in enumerate(shown, 1):
                place = self._place(spec)
                options = {"device": device.partition(",")[0], "weights": spec.experiment.judged_weights}
                keep_examples(spec.folder, cases.store, chosen, into=place, tasks=tasks, **options)
                progress(done, len(shown), spec.name)

    def _judged(self, cases: Cases, whole: Assembly) -> list[Task]:
        """The tasks that methods are compared by."""
        major = self.experiment.major
        judged = [task for task in whole.tasks if cases.scored.get(task.name) and major in (None, task.name)]
        if not judged:
            raise InputError(
                f"{self.external.dataset.root}: no case has a label of {major!r}, the major task, by which the methods "
                "are compared"
            )
        return judged

    def _compared(
        self,
        cases: Cases,
        whole: Assembly,
        scores: pd.DataFrame,
        predictions: pd.DataFrame,
        constant: pd.DataFrame,
        remarks: Sequence[str],
    ) -> Comparison:
        judged = self._judged(cases, whole)
        title = f"{self.experiment.name} on {self.external.name}"
        # every run is scored on the same cases, whatever it was trained on
        options = comparison_options(
            self.experiment, {case.id: case.group for case in cases.store.cases}, name=title, by_seed=False
        )
        table = compare(
            scores, predictions=predictions, **judging_options(self.experiment, judged, constant), **options
        )
        table = dataclasses.replace(table, remarks=(*remarks, *table.remarks))
        diagnosis = diagnosis_of(self.experiment, judged, predictions, options)
        if diagnosis is not None:
            diagnosis = dataclasses.replace(diagnosis, remarks=(*remarks, *diagnosis.remarks))
        found = Findings(diagnosis=diagnosis, examples=self.folder / "runs")
        named = self.experiment.model_copy(update={"name": title})
        write_report(Benchmark(named, self.specs, scores, predictions, constant, table, found), self.folder)
        return Comparison(self.experiment, table, scores, predictions, constant, diagnosis, folder=self.folder)


def _together(assemblies: Sequence[Assembly]) -> Assembly:
    """All tasks of some runs in one assembly, in the order in which they come first."""
    tasks = {task.name: task for assembly in reversed(assemblies) for task in reversed(assembly.tasks)}
    return dataclasses.replace(assemblies[0], tasks=tuple(reversed(tasks.values())))


def externals_of(experiment: Experiment, listener: Listener) -> list[ExternalBenchmark]:
    """The external cases that an experiment names."""
    return [
        ExternalBenchmark(experiment, ExternalSet(name, section, experiment.output_folder / EXTERNAL / name, listener))
        for name, section in experiment.external.items()
    ]


def compare_on(
    experiment: Experiment,
    on: str | Path | Mapping[str, object],
    *,
    tasks: Mapping[str, str] | None = None,
    classes: Mapping[str, Mapping[str, str]] | None = None,
    name: str | None = None,
    weights: str | None = None,
    device: str = AUTO,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Comparison:
    """Score all runs of a benchmark on external cases and compare them; tables and page in ``external/NAME``.

    Args:
        experiment: of the benchmark; see :func:`crosstask.pipeline.subject.benchmark_at`.
        on: the cases; see :func:`crosstask.pipeline.external_set.find_external`.
        tasks: ``{their task: ours}`` where the names differ.
        classes: ``{our task: {their class: ours}}`` where the names differ.
        name: what the cases are called; by default after their file or folder.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those by which the runs are judged.
        device: of the networks, or several; see :func:`crosstask.pipeline.scoring.score_run`.
        workers: processes that prepare cases; None for one a core.
        listener: told what happens.

    Raises:
        InputError: the cases, the mapping or the runs do not allow it.
    """
    listener = listener or Listener()
    called, section = find_external(
        on, own=experiment.dataset.name, known=experiment.external, name=name, tasks=tasks, classes=classes
    )
    external = ExternalSet(called, section, experiment.output_folder / EXTERNAL / called, listener)
    if weights is not None:
        if weights not in WEIGHTS:
            raise InputError(f"weights: {weights!r} is not accepted; one of {', '.join(WEIGHTS)}")
        judged = experiment.evaluation.model_copy(update={"weights": weights})
        experiment = experiment.model_copy(update={"evaluation": judged})
    whole = ExternalBenchmark(experiment, external)
    whole.check(_together([assembly_at(spec.folder, experiment.evaluation) for spec in whole.specs]), workers=workers)
    return whole.compare(device=told_devices(device, experiment, listener))
