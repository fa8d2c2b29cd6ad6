"""Scores of a trained run, and of the constant predictor that any network must beat, on whole cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from crosstask.assembly import Assembly, Readable, assembly_of, dataset_of
from crosstask.datasets.base import CaseData, Dataset, Split
from crosstask.decisions import is_chosen
from crosstask.devices import AUTO, CPU, devices_in
from crosstask.errors import InputError
from crosstask.evaluation.coverage import (
    check_images,
    coverage,
    is_own_store,
    of_other_store,
    one_sided,
    seen_in_training,
)
from crosstask.evaluation.histograms import UNIT, Curves, Histograms, HistogramTable
from crosstask.evaluation.predictions import (
    COHORT_CASE,
    cohort_of,
    cohort_rows,
    prediction_rows,
    prediction_table,
)
from crosstask.evaluation.scored import mirrored_remarks, scored_cases
from crosstask.evaluation.scores import score_table
from crosstask.experiment import EvaluationSection, Experiment
from crosstask.files import file_name, write_atomically
from crosstask.plugins import load
from crosstask.prediction.predictor import Predictor
from crosstask.runs import THRESHOLDS, load_spec, read_thresholds, thresholds_key
from crosstask.splits import splits_of
from crosstask.store import Store
from crosstask.store.statistics import channel_statistics
from crosstask.tasks.base import Task
from crosstask.workers import Found, Item, Workers

Progress = Callable[[int, int, str], None]
CONSTANT = "constant"
_IMPORTED = ("crosstask.evaluation.evaluate", "monai.networks.nets.resnet")


@dataclass(frozen=True)
class Evaluation:
    """What a method's predictions are worth.

    Attributes:
        scores: the long table; see :mod:`crosstask.evaluation.scores`.
        predictions: of the image-level tasks; see :mod:`crosstask.evaluation.predictions`.
        left_out: cases of the split that were not scored, for want of a label.
        remarks: what was not scored and why, and what the figures do not say; a sentence each.
        scored: ``{task: number of cases that count}``.
        weights: name of the weights that predicted; empty of what has none.
        histograms: dose-volume histograms, where a dose is predicted of cases with structures; else None.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    scored: Mapping[str, int] = field(default_factory=dict)
    weights: str = ""
    histograms: Histograms | None = None


def evaluate_run(
    folder: Path,
    store: Store,
    *,
    split: Split | Literal["all"] = "test",
    weights: str | None = None,
    device: str = AUTO,
    evaluation: EvaluationSection | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Predict the cases of a split and score them.

    Where classes are decided by thresholds that were not chosen yet, they are chosen on the validation cases first, and
    kept in the run folder; never on those of another store than the run was trained on.

    Args:
        folder: the run folder.
        store: the prepared cases, of the run or others.
        split: which cases; ``all`` for every case of the store.
        weights: ``best``, ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: of the network; see :func:`crosstask.devices.find_device`. Several, with commas between, share the
            cases out, with the same scores in the same order.
        evaluation: how; by default as the run's own settings have it.
        progress: told (done, total, case) after each case.
    """
    devices = devices_in(device)
    loading = {"weights": weights, "evaluation": evaluation}
    predictor = Predictor(folder, device=devices[0] if len(devices) == 1 else CPU, **loading)  # type: ignore[arg-type]
    spec, settings = predictor.spec, predictor.experiment.evaluation
    own = is_own_store(folder, store)
    chosen = _choose(predictor, folder, store, split, own=own)
    undecided, remarks = _undecided(predictor, folder), [*mirrored_remarks(settings), *chosen.remarks]
    if undecided and not own:
        remarks.append(
            "No thresholds were chosen on validation cases of the run yet, so 0.5 decides, and of classes that exclude "
            "each other the most probable; crosstask evaluate without --store chooses them."
        )
    cases, tune = chosen.cases, _drawn(predictor, store, "validation", own=own) if undecided and own else []
    total = len(tune) + len(cases)
    table = _table_of(predictor)
    make = _Scoring(folder, store, loading, predictor if len(devices) == 1 else None)
    with workers_of(make, devices, spec.experiment) as workers:
        if tune:
            validation = _table_of(predictor)
            _fill(validation, workers.each([_Asked(case_id) for case_id in tune]), progress, total)
            _choose_thresholds(predictor, validation.predictions(), folder)
        _fill(table, workers.each(_asked(predictor, table, store, cases)), progress, total, after=len(tune))
    return replace(
        table.finish(),
        left_out=chosen.left_out,
        remarks=tuple(remarks),
        scored=chosen.scored,
        weights=predictor.weights,
    )


@dataclass(frozen=True)
class _Rows:
    """What one case adds to a table."""

    case: str
    scores: list[tuple[object, ...]]
    predictions: list[tuple[object, ...]]
    curves: Curves | None


@dataclass(frozen=True)
class _Asked:
    """A case to predict: for thresholds that are to be chosen, or with those to score it by.

    Attributes:
        case: its id.
        thresholds: by task; None where it is not scored.
        doses: of histograms.
    """

    case: str
    thresholds: Mapping[str, tuple[float, ...]] | None = None
    doses: np.ndarray | None = None


def _asked(predictor: Predictor, table: _Table, store: Store, cases: Sequence[str]) -> list[_Asked]:
    """Cases to score as a run decides now, with histograms at the same doses, whoever scores which."""
    table.begin_histograms(store, cases)
    thresholds = {task.name: task.thresholds for task in predictor.tasks if task.thresholds is not None}
    return [_Asked(case_id, thresholds, table.doses) for case_id in cases]


def _fill(table: _Table, found: Iterable[_Rows], progress: Progress | None, total: int, *, after: int = 0) -> None:
    """Put cases into a table as they come; ``after`` of ``total`` were done before."""
    for done, rows in enumerate(found, 1 + after):
        table.take(rows)
        if progress:
            progress(done, total, rows.case)


@dataclass(frozen=True)
class _Judged:
    """What counts of cases that are none of the run's: some tasks, and the scores of a data set, if any."""

    tasks: tuple[str, ...]
    dataset: Dataset | None


@dataclass(frozen=True)
class _Scoring:
    """Makes what scores the cases of a store by a run, on a device.

    Attributes:
        folder: the run folder.
        store: the cases.
        loading: how the run is loaded.
        predictor: where it is loaded already.
        judged: what counts; None for all of a run's own cases, whose predictions are kept if its settings say so.
    """

    folder: Path
    store: Store
    loading: dict[str, Any]
    predictor: Predictor | None = None
    judged: _Judged | None = None

    def __call__(self, device: str) -> Callable[[_Asked], _Rows]:
        load(load_spec(self.folder).experiment.plugins)
        predictor = self.predictor or Predictor(self.folder, device=device, **self.loading)
        return partial(_scored, predictor, self)


def workers_of(
    make: Callable[[str], Callable[[Item], Found]], devices: Sequence[str], experiment: Experiment
) -> Workers[Item, Found]:
    """Who scores the cases of an experiment's runs on some devices."""
    threads = experiment.training.threads or torch.get_num_threads()  # as one process has, for the same bits
    return Workers(make, devices, modules=_IMPORTED, threads=threads)


def _scored(predictor: Predictor, scoring: _Scoring, asked: _Asked) -> _Rows:
    """Predict a case, and score it if that is asked for."""
    table, case_id, store = _table_of(predictor, scoring.judged), asked.case, scoring.store
    arrays = store.open(case_id)
    values = predictor.predict(case_id, arrays, arrays.geometry).values
    if asked.thresholds is None:
        table.predicted(case_id, arrays, values)
        return table.rows_of(case_id)
    for task in predictor.tasks:
        if task.name in asked.thresholds:
            task.thresholds = asked.thresholds[task.name]
    if predictor.experiment.evaluation.keep_predictions and scoring.judged is None:
        _keep(scoring.folder / "predictions" / f"{file_name(case_id)}.npz", values)
    table.doses = asked.doses
    table.add(case_id, arrays_of(store, case_id), values)
    return table.rows_of(case_id)


@dataclass(frozen=True)
class _Chosen:
    """The cases to score, how many of them count for each task, and what to say of the others."""

    cases: list[str]
    left_out: tuple[str, ...]
    scored: dict[str, int]
    remarks: list[str]


def _choose(predictor: Predictor, folder: Path, store: Store, split: Split | Literal["all"], *, own: bool) -> _Chosen:
    """Which cases of a store are scored.

    Raises:
        InputError: none can be.
    """
    experiment = predictor.spec.experiment
    drawn = _drawn(predictor, store, split, own=own)
    whole = assembly_of(experiment, predictor.dataset)
    check_images(store, whole, predictor.dataset.spatial_dims, drawn)
    cases = scored_cases(store, drawn, whole, predictor.experiment.evaluation)
    scoring = predictor.assembly.for_scoring()
    covered = coverage(store, scoring, cases)
    if not any(covered.scored.values()):
        raise InputError(
            f"{store.root}: none of {len(cases)} cases can be scored. {' '.join(covered.remarks)} Give a store whose "
            "cases have labels of these names"
        )
    remarks = [] if own else of_other_store(experiment, store, split, len(drawn))
    remarks += [*seen_in_training(folder, cases, split), *covered.remarks]
    remarks += one_sided(store, scoring, cases, "scored" if split == "all" else split)
    left_out = tuple(case for case in drawn if case not in set(cases))
    return _Chosen(cases, left_out, covered.scored, remarks)


def _drawn(predictor: Predictor, store: Store, split: Split | Literal["all"], *, own: bool) -> list[str]:
    """Case ids of a split by the run's rule, or all."""
    if split == "all":
        return [case.id for case in store.cases]
    section = predictor.spec.experiment.dataset
    try:
        return splits_of(store, section, predictor.dataset.image_array, needed=(split,))[split]
    except InputError as error:
        if own:
            raise
        raise InputError(
            f"{store.root}: the run's rule of splits ({section.splits.rule}) gives it no {split} cases ({error}); "
            "--split all scores every case"
        ) from None


def evaluate_constant(
    experiment: Experiment,
    store: Store,
    *,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    split: Split = "test",
    progress: Progress | None = None,
) -> Evaluation:
    """Scores of the best constant prediction: no mask, the training cases' median, the classes' shares.

    Args:
        experiment: the experiment, as it is for one seed.
        store: the prepared cases.
        seed: that the rows carry.
        tasks: which; by default all. What no run learned may have labels that no constant can be learned from.
        split: which cases.
        progress: told (done, total, case) after each case.
    """
    dataset = dataset_of(experiment)
    whole = assembly = assembly_of(experiment, dataset)
    if tasks is not None:
        assembly = assembly.only(tasks)
    splits = splits_of(store, experiment.dataset, dataset.image_array, needed=("train", split))
    cases = scored_cases(store, splits[split], whole, experiment.evaluation)
    for task in assembly.tasks:
        task.fit(channel_statistics(store, splits["train"], task.array, task.classes, assembly.region_array))
    return constant_of_cases(assembly, store, cases, seed=seed, dataset=dataset, progress=progress)


def evaluate_cases(
    folder: Path,
    store: Store,
    cases: Sequence[str],
    tasks: Mapping[str, int],
    *,
    weights: str,
    device: str = AUTO,
    evaluation: EvaluationSection | None = None,
    alone: bool = False,
    dataset: Dataset | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Predict given cases and score some tasks of them, whatever store they are in; nothing is chosen or kept.

    Args:
        folder: the run folder.
        store: the prepared cases, in the run's own words.
        cases: which.
        tasks: ``{task: number of cases that count}``; the run need not have all.
        weights: ``best``, ``final`` or ``average``.
        device: of the network; see :func:`evaluate_run`.
        evaluation: how; by default as the run's own settings have it.
        alone: by the run's record alone; see :class:`Predictor`.
        dataset: whose own scores are added; by default none.
        progress: told (done, total, case) after each case.
    """
    devices = devices_in(device)
    loading: dict[str, Any] = {"weights": weights, "evaluation": evaluation, "alone": alone}
    predictor = Predictor(folder, device=devices[0] if len(devices) == 1 else CPU, **loading)
    judged = _Judged(tuple(task.name for task in predictor.tasks if task.name in tasks), dataset)
    table = _table_of(predictor, judged)
    make = _Scoring(folder, store, loading, predictor if len(devices) == 1 else None, judged)
    with workers_of(make, devices, predictor.spec.experiment) as workers:
        _fill(table, workers.each(_asked(predictor, table, store, cases)), progress, len(cases))
    return replace(
        table.finish(),
        remarks=tuple(mirrored_remarks(predictor.experiment.evaluation)),
        scored={name: tasks[name] for name in judged.tasks},
        weights=weights,
    )


def constant_of_cases(
    assembly: Assembly,
    store: Store,
    cases: Sequence[str],
    *,
    seed: int,
    dataset: Dataset | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """What the constant predictor is worth on given cases, by tasks that know their training cases already.

    Args:
        assembly: the tasks, with their state.
        store: the prepared cases, in the tasks' own words.
        cases: which.
        seed: that the rows carry.
        dataset: whose own scores are added; by default none.
        progress: told (done, total, case) after each case.
    """
    table = _Table(CONSTANT, seed, dataset, assembly.for_scoring())
    for done, case_id in enumerate(cases, 1):
        case = arrays_of(store, case_id)
        region = assembly.region(case)
        values = {task.name: task.constant(case.geometry.shape, region) for task in assembly.tasks}
        table.add(case_id, case, values)
        if progress:
            progress(done, len(cases), case_id)
    return table.finish()


def arrays_of(store: Store, case_id: str) -> CaseData:
    """All arrays of a prepared case."""
    arrays = store.open(case_id)
    return CaseData({name: arrays.read(name) for name in arrays.names}, dict(arrays.channels), arrays.geometry)


def _table_of(predictor: Predictor, judged: _Judged | None = None) -> _Table:
    """An empty table of a run."""
    spec, assembly = predictor.spec, predictor.assembly
    if judged is None:
        return _Table(spec.key, spec.seed, predictor.dataset, assembly.for_scoring())
    return _Table(spec.key, spec.seed, judged.dataset, assembly.only(judged.tasks).for_scoring())


class _Table:
    """Rows of scores and of predictions, case by case."""

    def __init__(self, method: str, seed: int, dataset: Dataset | None, assembly: Assembly) -> None:
        self._head = (method, seed)
        self._dataset, self._assembly = dataset, assembly
        self._scores: list[tuple[object, ...]] = []
        self._predictions: list[tuple[object, ...]] = []
        self._histograms = HistogramTable()

    def add(self, case_id: str, case: CaseData, values: dict[str, np.ndarray]) -> None:
        """A case with what was predicted of it."""
        for row in score_case(self._dataset, self._assembly, case, values):
            self._scores.append((*self._head, case_id, *row))
        self.predicted(case_id, case, values)
        self._add_histograms(case_id, case, values)

    def take(self, rows: _Rows) -> None:
        """A case with what another table found of it."""
        self._scores += rows.scores
        self._predictions += rows.predictions
        if rows.curves is not None:
            self._histograms.take(rows.case, rows.curves)

    def rows_of(self, case_id: str) -> _Rows:
        """All that a table of one case has."""
        return _Rows(case_id, self._scores, self._predictions, self._histograms.curves_of(case_id))

    @property
    def doses(self) -> np.ndarray | None:
        """At which doses histograms are taken; those that the first case sets where there are none yet."""
        return self._histograms.doses

    @doses.setter
    def doses(self, doses: np.ndarray | None) -> None:
        self._histograms.doses = doses

    def begin_histograms(self, store: Store, cases: Sequence[str]) -> None:
        """Set the doses of histograms by the first case that has one, whoever is to score it."""
        dose, source = self._dose_and_structures()
        for case_id in cases if dose is not None and source is not None else ():
            arrays = store.open(case_id)
            reference, present = self._assembly.target(dose, arrays)  # type: ignore[arg-type]
            if source in arrays.names and present.all():
                self._histograms.begin(reference[0])
                return

    def _dose_and_structures(self) -> tuple[Task | None, str | None]:
        """The first dose, and the array of the data set's structures, or else of those that are outlined."""
        tasks = [task for task in self._assembly.tasks if task.level == "pixel"]
        dose = next((task for task in tasks if task.unit == UNIT), None)
        source = None if self._dataset is None else self._dataset.structure_array
        return dose, source or next((task.array for task in tasks if task.values != "quantity"), None)

    def _add_histograms(self, case_id: str, case: CaseData, values: dict[str, np.ndarray]) -> None:
        dose, source = self._dose_and_structures()
        if dose is None or source is None or source not in case.arrays:
            return
        reference, present = self._assembly.target(dose, case)
        if present.all():
            masks = dict(zip(case.channels[source], case.arrays[source], strict=True))
            self._histograms.add(case_id, reference[0], values[dose.name][0], masks)

    def predicted(self, case_id: str, case: Readable, values: dict[str, np.ndarray]) -> None:
        """A case of which only the image-level predictions matter."""
        for task in self._assembly.tasks:
            if task.level == "image":
                target, present = self._assembly.target(task, case)
                for line in prediction_rows(task, values[task.name], target, present):
                    self._predictions.append((*self._head, case_id, *line))

    def predictions(self) -> pd.DataFrame:
        """The table of predictions."""
        return prediction_table(self._predictions)

    def finish(self) -> Evaluation:
        """Both tables, with the figures of all cases together. The first row of each task is its M."""
        predictions = self.predictions()
        first: list[tuple[object, ...]] = []
        last: list[tuple[object, ...]] = []
        for task in self._assembly.tasks:
            part = predictions[predictions["task"] == task.name]
            for name, metric, *rest in cohort_rows(task.metrics(), part):
                row = (*self._head, COHORT_CASE, task.name, name, metric, *rest)
                (first if task.metrics()[0].of == "cohort" else last).append(row)
        table = score_table([*first, *self._scores, *last])
        return Evaluation(table, predictions, histograms=self._histograms.finish())


def score_case(
    dataset: Dataset | None, assembly: Assembly, case: CaseData, values: dict[str, np.ndarray]
) -> Iterator[tuple[str, str, str, float, str, bool]]:
    """Rows (task, class, metric, value, unit, higher is better) of one case: of the tasks, and the data set's own."""
    region = assembly.region(case)
    for task in assembly.tasks:
        target, present = assembly.target(task, case)
        directions = {metric.name: metric for metric in task.metrics()}
        for name, metric, value in task.score(values[task.name], target, present, region):
            direction = directions[metric]
            yield task.name, name, metric, value, direction.unit, direction.higher_is_better
    classes = {task.name: task.classes for task in assembly.tasks}
    units: dict[str, Task] = {task.name: task for task in assembly.tasks}
    for task_name, name, metric, value in dataset.scores(case, values, classes) if dataset is not None else ():
        yield task_name, name, metric, value, units[task_name].unit, False


def _undecided(predictor: Predictor, folder: Path) -> bool:
    """Whether a task decides by thresholds that are to be chosen, and were not yet."""
    wanted = [task.name for task in predictor.tasks if is_chosen(task, predictor.experiment.evaluation)]
    return bool(set(wanted) - set(read_thresholds(folder, predictor.weights, predictor.experiment.mirrored)))


def _choose_thresholds(predictor: Predictor, predictions: pd.DataFrame, folder: Path) -> None:
    """Choose thresholds by predictions of validation cases, and keep them."""
    chosen: dict[str, list[float]] = {}
    for task in predictor.tasks:
        if not is_chosen(task, predictor.experiment.evaluation):
            continue
        part = predictions[predictions["task"] == task.name]
        if not part.empty:
            _, _, cohort = cohort_of(part, classes=task.classes)
            task.thresholds = task.choose_thresholds(cohort.target, cohort.prediction, cohort.present)
        chosen[task.name] = list(task.thresholds or ())
    path = folder / THRESHOLDS
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_atomically(
        path, json.dumps({**whole, thresholds_key(predictor.weights, predictor.experiment.mirrored): chosen}, indent=1)
    )


def _keep(path: Path, values: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part.npz")
    np.savez_compressed(temporary, **values)  # type: ignore[arg-type]
    temporary.replace(path)
