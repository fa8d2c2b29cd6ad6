"""The seeds of a method as one predictor: the mean of what they predict, and how far they are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.assembly import Assembly, Readable, assembly_of, dataset_of
from crosstask.datasets import Dataset
from crosstask.decisions import is_chosen
from crosstask.devices import AUTO
from crosstask.errors import InputError
from crosstask.experiment import EvaluationSection
from crosstask.functional.uncertainty import RunningSpread, binary_entropy, entropy
from crosstask.geometry import Geometry
from crosstask.prediction.predictor import Prediction, Predictor, load_states, recorded_assembly
from crosstask.runs import EXPERIMENT, RunSpec, differing_settings, load_spec, read_record
from crosstask.tasks.base import Task
from crosstask.tasks.segmentation import SegmentationTask

_OF_A_SEED = ("dataset.splits.seed", "dataset.splits.fold")


class Ensemble:
    """Trained runs of one method, of two seeds or more; a task that several networks learn has the mean of all seeds.

    Each seed predicts in turn and what it predicts is forgotten: beside the networks only mean and spread are kept.
    Probabilities and quantities are averaged as they are decoded, pooled and on the case's grid. Findings are decided
    by the mean of the thresholds that each seed chose on validation cases.

    Args:
        folders: the runs: one of each seed, or with single-task learning one of each seed and task.
        weights: ``best``, ``final`` or ``average``; None for those by which the runs are judged.
        device: of the networks; see :func:`crosstask.devices.find_device`.
        dataset: the data set, if not where the runs were trained on it.
        evaluation: how predictions are pooled and decided; by default as the runs' own settings have it.
        alone: look at no data set, as a :class:`Predictor` that is.
        least: seeds that there must be; of a single one there is no spread.

    Attributes:
        seeds: of the runs, in order.
        assembly: the tasks that every seed predicts.
        left_out: names of the tasks that only some seeds predict.

    Raises:
        InputError: there is only one seed, or the runs are of different methods or settings.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        weights: str | None = None,
        device: str = AUTO,
        dataset: Dataset | None = None,
        evaluation: EvaluationSection | None = None,
        alone: bool = False,
        least: int = 2,
    ) -> None:
        specs = [load_spec(folder) for folder in folders]
        check_alike(folders, specs, least)
        own = dataset if alone else dataset or dataset_of(specs[0].experiment)
        loading: dict[str, Any] = {"weights": weights, "device": device, "dataset": own, "evaluation": evaluation}
        loading["alone"] = self._alone = alone
        self._members: dict[int, dict[Path, Predictor]] = {}
        for spec, folder in sorted(zip(specs, folders, strict=True), key=lambda pair: pair[0].seed):
            self._members.setdefault(spec.seed, {})[folder] = Predictor(folder, **loading)
        first = next(iter(self._runs.values()))
        self.spec, self.experiment = first.spec, first.experiment
        self.weights, self.device = first.weights, first.device
        if own is not None:
            self.dataset = own
        self.seeds = tuple(self._members)
        self.left_out: tuple[str, ...] = ()
        self.assembly = self._joined()

    dataset: Dataset
    """Absent of one that predicts arrays alone."""

    @property
    def _runs(self) -> dict[Path, Predictor]:
        return {folder: run for runs in self._members.values() for folder, run in runs.items()}

    @property
    def name(self) -> str:
        """Of the method, with its seeds."""
        several = "ensemble of seeds" if len(self.seeds) > 1 else "seed"
        return f"{self.spec.key}, {several} {', '.join(map(str, self.seeds))}"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that every seed predicts."""
        return self.assembly.tasks

    def _joined(self) -> Assembly:
        """All tasks that every seed predicts, as the first seed's runs know them, with thresholds of all seeds."""
        of_seeds = [{task.name for run in runs.values() for task in run.tasks} for runs in self._members.values()]
        common = set.intersection(*of_seeds)
        self.left_out = tuple(sorted(set.union(*of_seeds) - common))
        assembly = self._whole().only(sorted(common))
        if not assembly.tasks:
            raise InputError(f"{self.spec.key}: no task is predicted by every seed, so there is no ensemble of them")
        for task in assembly.tasks:
            own = {folder: like for folder, run in self._runs.items() for like in run.tasks if like.name == task.name}
            folder = next(iter(own))
            load_states(replace(assembly, tasks=(task,)), folder, read_record(folder))
            if is_chosen(task, self.experiment.evaluation):
                chosen = [like.thresholds for like in own.values() if like.thresholds is not None]
                task.thresholds = tuple(np.mean(chosen, axis=0).tolist())
        return assembly

    def _whole(self) -> Assembly:
        """All tasks of all runs, with nothing learned yet."""
        if not self._alone:
            return assembly_of(self.experiment, self.dataset)
        evaluation = self.experiment.evaluation
        own = [recorded_assembly(folder, read_record(folder), evaluation) for folder in self._runs]
        tasks = {task.name: task for assembly in own for task in assembly.tasks}
        order = [name for name in self.experiment.dataset.tasks if name in tasks]
        return replace(own[0], tasks=tuple(tasks[name] for name in order))

    def each(
        self, case_id: str, case: Readable, geometry: Geometry, *, tasks: Sequence[str] | None = None
    ) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """What each seed predicts of a case, one after the other: (seed, ``{task: c *s}``).

        Args:
            case_id: its id.
            case: its arrays, raw or prepared.
            geometry: its grid.
            tasks: only these; runs that predict none of them do not compute.
        """
        wanted = {task.name for task in self.tasks if tasks is None or task.name in tasks}
        for seed, runs in self._members.items():
            values: dict[str, np.ndarray] = {}
            for run in runs.values():
                if wanted & {task.name for task in run.tasks}:
                    found = run.predict(case_id, case, geometry).values
                    values |= {name: found[name] for name in found if name in wanted}
            yield seed, values

    def predict(self, case_id: str, case: Readable, geometry: Geometry) -> Prediction:
        """Mean and spread over seeds of what they predict of a case; see :meth:`Predictor.predict`."""
        sums = {task.name: RunningSpread() for task in self.tasks}
        for _, values in self.each(case_id, case, geometry):
            for name, predicted in values.items():
                sums[name].add(predicted)
        return joined(case_id, geometry, sums)


def joined(case_id: str, geometry: Geometry, sums: dict[str, RunningSpread]) -> Prediction:
    """The prediction that running means and spreads amount to."""
    means = {name: found.mean for name, found in sums.items()}
    several = {name: found.spread for name, found in sums.items() if found.number > 1}
    return Prediction(case_id, means, geometry, several)


def check_alike(folders: Sequence[Path], specs: Sequence[RunSpec], least: int = 2) -> None:
    """Make sure that runs are seeds of one method, trained in the same way.

    Raises:
        InputError: they are not, or there is only one seed.
    """
    first, at = specs[0], folders[0]
    seeds = {spec.seed for spec in specs}
    if len(seeds) < least:
        raise InputError(
            f"{at}: an ensemble needs two seeds or more, and {first.key} has seed {first.seed} alone; train more "
            "(seeds=[0,1,2]), or predict with the run alone"
        )
    if twice := [str(folder) for folder, spec in zip(folders, specs, strict=True) if _count(specs, spec) > 1]:
        raise InputError(f"{twice[0]}: seed and tasks are those of {twice[1]}, too; give each seed once")
    for folder, spec in zip(folders[1:], specs[1:], strict=True):
        if spec.key != first.key:
            raise InputError(f"{folder}: is a run of {spec.key}, and {at} one of {first.key}; give seeds of one method")
        if differing := [key for key in differing_settings(at, folder) if key not in _OF_A_SEED]:
            raise InputError(
                f"{folder / EXPERIMENT}: differs from that of {at} in {differing[0]}; give seeds of one experiment"
            )


def _count(specs: Sequence[RunSpec], spec: RunSpec) -> int:
    return sum(other.seed == spec.seed and other.tasks == spec.tasks for other in specs)


def entropy_of(task: Task, mean: np.ndarray) -> np.ndarray | None:
    """Entropy in bits of the mean probabilities ``c *s``; None of quantities.

    Of classes that exclude each other (with the background, at pixel level) ``1 *s``, else of each class ``c *s``.
    """
    if task.values == "quantity":
        return None
    if isinstance(task, SegmentationTask) and task.exclusive:
        return entropy(np.concatenate([1 - mean.sum(0, keepdims=True), mean]))[None]
    return entropy(mean)[None] if task.values == "softmax" else binary_entropy(mean)


def most_entropy(task: Task) -> float:
    """The highest that :func:`entropy_of` can be, in bits."""
    if isinstance(task, SegmentationTask) and task.exclusive:
        return float(np.log2(len(task.classes) + 1))
    return float(np.log2(len(task.classes))) if task.values == "softmax" else 1.0
