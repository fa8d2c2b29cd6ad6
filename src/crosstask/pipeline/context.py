"""What all steps of an experiment share: its data set, tasks, runs, prepared cases and splits; each is made once."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import cached_property

from crosstask.assembly import Assembly, assembly_of, dataset_of
from crosstask.buckets import Place
from crosstask.datasets.base import Dataset, Split
from crosstask.errors import CrosstaskError, InputError, Repeated
from crosstask.evaluation.coverage import can_be_scored
from crosstask.evaluation.run import splits_by_seed
from crosstask.evaluation.scored import validation_lacks
from crosstask.experiment import Experiment
from crosstask.history import duration
from crosstask.pipeline.listener import Listener
from crosstask.runs import RunSpec, earlier_runs, keys_of, run_specs
from crosstask.store import PrepareReport, Store, is_of_earlier_version, prepare
from crosstask.tasks.base import Task

_log = logging.getLogger(__name__)


class Context:
    """An experiment at work.

    Args:
        experiment: the experiment.
        listener: told what happens.
    """

    def __init__(self, experiment: Experiment, listener: Listener | None = None) -> None:
        self.experiment = experiment
        self.listener = listener or Listener()
        self.speaks = True
        """False in all but one of several processes that train together."""
        self._store: Store | None = None
        self.prepared: dict[str, int] = {}
        """What became of the cases when they were prepared, in numbers."""

    def use(self, store: Store) -> None:
        """Take the prepared cases as they are."""
        self._store = store

    def with_seeds(self, seeds: Sequence[int]) -> Context:
        """The same experiment with other seeds: the data set, how it is looked at, and the store stay."""
        other = Context(self.experiment.model_copy(update={"seeds": list(seeds)}), self.listener)
        other._store = self._store
        other.__dict__ |= {"dataset": self.dataset, "assembly": self.assembly}
        return other

    @cached_property
    def dataset(self) -> Dataset:
        """The raw data set."""
        return dataset_of(self.experiment)

    @cached_property
    def assembly(self) -> Assembly:
        """How the experiment looks at a case; all its tasks."""
        return assembly_of(self.experiment, self.dataset)

    @cached_property
    def specs(self) -> list[RunSpec]:
        """All runs of the experiment."""
        return run_specs(self.experiment)

    @cached_property
    def keys(self) -> list[str]:
        """Keys of the methods, in the order of tables."""
        return keys_of(self.experiment)

    @property
    def store(self) -> Store:
        """The prepared cases.

        Raises:
            RuntimeError: :meth:`prepare` was not called.
        """
        if self._store is None:
            raise RuntimeError("no case is prepared yet; call prepare first")
        return self._store

    @cached_property
    def splits(self) -> dict[int, dict[Split, list[str]]]:
        """Case ids of each split, of each seed, for the whole benchmark: each split that it needs has a case."""
        if self.experiment.evaluation.split == "validation":
            return self.splits_of_training
        return splits_by_seed(self.specs, self.store, self.dataset.image_array)

    @cached_property
    def splits_of_training(self) -> dict[int, dict[Split, list[str]]]:
        """The same where no test case is needed."""
        return splits_by_seed(self.specs, self.store, self.dataset.image_array, needed=("train", "validation"))

    def lacking(self, splits: dict[int, dict[Split, list[str]]]) -> list[str]:
        """Tasks without a label on the validation cases of some seed."""
        names = [
            name
            for own in splits.values()
            for name in validation_lacks(own, self.assembly, self.store, self.experiment)
        ]
        return list(dict.fromkeys(names))

    def check_labels(self, splits: Mapping[int, Mapping[Split, Sequence[str]]], *, scored: bool) -> None:
        """Make sure that each run has something to learn from and to be scored by, before hours of work.

        Args:
            splits: case ids of each split, of each seed.
            scored: the runs are scored, too.

        Raises:
            InputError: a task without a label that counts on the training cases, or a run of which no task has one on
                the cases to score.
        """
        for own in splits.values():
            for task in self.assembly.tasks:
                _check_learnable(task, self.store, own["train"])
        if scored:
            self._check_scorable(splits)

    def _check_scorable(self, splits: Mapping[int, Mapping[Split, Sequence[str]]]) -> None:
        split, scoring = self.experiment.evaluation.split, self.assembly.for_scoring()
        for seed, own in splits.items():
            scorable = can_be_scored(self.store, scoring, own[split])
            for spec in self.specs:
                if spec.seed == seed and not any(scorable[task] for task in spec.tasks):
                    what = f"task {spec.tasks[0]!r}" if len(spec.tasks) == 1 else "all tasks"
                    raise InputError(
                        f"{what}: none of the {len(own[split])} {split} cases has a label to score {spec.name} by; "
                        "leave it out of dataset.tasks, or give such cases that have it"
                    )

    def prepare(self, *, workers: int | None = None, verify: bool = False, strict: bool = False) -> Store:
        """Prepare the experiment's cases and say what was done.

        Args:
            workers: processes; None for as many as there are cores.
            verify: recompute every checksum.
            strict: a case that was prepared before and cannot be read any more is an error.

        Raises:
            InputError: no case could be prepared.
            CrosstaskError: with ``strict``, see there.
        """
        folder = self.experiment.store_folder
        _ = self.assembly  # or it is refused
        _log.info("reads the data set %s at %s; prepared cases go to %s", self.dataset.name, self.dataset.root, folder)
        begun = time.monotonic()
        done = prepare_cases(self.dataset, folder, self.listener, workers=workers, verify=verify)
        self._store = Store(folder)
        _log.info("%d cases are prepared, after %s", len(self._store), duration(time.monotonic() - begun))
        kinds = ("written", "rebuilt", "kept", "removed", "failed", "outdated")
        self.prepared = {kind: len(getattr(done, kind)) for kind in kinds}
        if strict and done.outdated:
            more = f" and {len(done.outdated) - 1} more" if len(done.outdated) > 1 else ""
            raise CrosstaskError(
                f"{folder}: {done.outdated[0][0]}{more} cannot be read any more and stayed as prepared before; fix "
                "the files named above, or take them out of the data set, and prepare again"
            )
        self._predict_earlier(self._store)
        return self._store

    def _predict_earlier(self, store: Store) -> None:
        """Predict all cases by the run whose predictions are input, where that was not done yet, and keep it."""
        runs = earlier_runs(self.experiment)
        if runs is None:
            return
        # torch, which those do not need whose cases are predicted
        from crosstask.prediction.cascade import EarlierPredictor, keep_predictions
        from crosstask.prediction.predictor import Predictor
        from crosstask.training.device import scoring_device

        device = scoring_device(self.experiment.training)
        predictor = EarlierPredictor(runs, lambda folder: Predictor(folder, device=device, alone=True))
        cases = [store.open(case.id) for case in store.cases]
        with self.listener.progress("Predicting by the earlier run", at_once=False) as progress:
            done = keep_predictions(store.root, cases, predictor, progress)
        names = ", ".join(map(str, runs.folders))
        self.listener.told(f"Input from {names}: {done} cases predicted, {len(cases) - done} kept")


def _check_learnable(task: Task, store: Store, case_ids: Sequence[str]) -> None:
    """Make sure that some training case counts for a task."""
    if any(task.is_labelled(there) for there in store.channels(case_ids, task.array)):
        return
    if task.needs_every_label and len(task.classes) > 1:
        raise InputError(
            f"task {task.name!r}: no training case has all of {', '.join(task.classes)} labelled, and as they exclude "
            "each other no other case counts; leave out classes that are never labelled together, or let them overlap "
            "(exclusive: false)"
        )
    raise InputError(
        f"task {task.name!r}: no training case has a label of it; leave it out of dataset.tasks, or give cases that do"
    )


def prepare_cases(
    dataset: Dataset, folder: Place, listener: Listener, *, workers: int | None = None, verify: bool = False
) -> PrepareReport:
    """Prepare the cases of a data set in a folder, and say what was done.

    Args:
        dataset: the raw data set.
        folder: of the store.
        listener: told what happens.
        workers: processes; None for as many as there are cores.
        verify: recompute every checksum.

    Raises:
        InputError: no case could be prepared.
    """
    if is_of_earlier_version(folder):
        listener.warned(f"{folder}: is of an earlier version, so all cases are prepared anew")
    with listener.progress("Looking", at_once=False) as looking:
        dataset.find(looking)
    with listener.progress("Preparing") as progress:
        done = prepare(dataset, folder, workers=workers, verify=verify, progress=progress)
    repeated = Repeated()
    told = {"Warning: {}": done.warned, "Skipped {}": done.failed, "Kept {} as it was prepared before": done.outdated}
    for words, cases in told.items():
        for case, message in cases:
            if repeated.shows(message, words):
                listener.warned(f"{words.format(case)}: {message}")
    for words, count, first in repeated.rest():
        listener.warned(f"{words.format(f'{count} more such')}, of the kind of: {first}")
    outdated = f", {len(done.outdated)} kept that cannot be read any more" if done.outdated else ""
    listener.told(
        f"Store {folder}: {len(done.written)} written, {len(done.rebuilt)} rebuilt, "
        f"{len(done.kept)} kept, {len(done.removed)} removed, {len(done.failed)} failed{outdated}"
    )
    if not len(Store(folder)):
        raise InputError(f"{dataset.root}: no case could be prepared; see crosstask check {dataset.name}")
    return done
