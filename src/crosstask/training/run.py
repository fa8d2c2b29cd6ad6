"""Train one run from prepared cases, or go on with one that was interrupted."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch.utils.data import DataLoader, Dataset, Subset

from crosstask.architectures.base import Architecture
from crosstask.assembly import Assembly, assembly_of, dataset_of, describe_assembly
from crosstask.datasets.base import Dataset as RawData
from crosstask.datasets.base import Split
from crosstask.devices import describe_device, peak_memory
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment, TrainingSection
from crosstask.faults import told_plainly
from crosstask.files import clear_leftovers, writing
from crosstask.history import epoch_line
from crosstask.locks import locked
from crosstask.network import build_architecture, precision_of, spatial_dims
from crosstask.nn.normalisation import describe_normalisation
from crosstask.plugins import installed, load
from crosstask.runs import (
    CHARACTERISTICS,
    HISTORY,
    LAST,
    LOCK,
    READINGS,
    RECORD,
    TRANSFER,
    RunSpec,
    check_data,
    check_earlier,
    check_settings,
    earlier_runs,
    environment,
    grid_of,
    has_checkpoint,
    is_trained,
    never_predicted,
    open_run,
    other_epochs,
    read_record,
    snapshots_needed,
    trained_record,
    write_images,
    write_record,
)
from crosstask.sample import Sample, collate
from crosstask.seals import seal
from crosstask.splits import splits_of
from crosstask.store import Store
from crosstask.store.statistics import channel_statistics, digests_of, spacing_range
from crosstask.training.augmentation import Augmentation, AugmentedSamples, check_augmentation
from crosstask.training.average import WeightAverage
from crosstask.training.cache import CachedSamples
from crosstask.training.characteristics import check_ordered, levels_of, write_characteristics
from crosstask.training.checkpoint import RunCheckpoints
from crosstask.training.device import device_of, open_trainer, quiet
from crosstask.training.further import check_targets, with_predictions
from crosstask.training.lesion import LesionSamples, check_outlines
from crosstask.training.loggers import RunLoggers
from crosstask.training.module import TrainingModule
from crosstask.training.pools import balanced_task, class_pools, foreground_pools, labelled_pools
from crosstask.training.readings import readings_of, write_readings
from crosstask.training.recorder import Recorder
from crosstask.training.sampler import EpochSampler, NumberedSampler
from crosstask.training.samples import CaseSamples, PatchSamples, SliceSamples, WholeSamples, spread
from crosstask.training.transfer import Probe, TransferRecorder
from crosstask.weighting import Weighting, build_weighting

_log = logging.getLogger(__name__)


def _unheard(line: str) -> None:
    pass


def _foreground_classes(whole: Assembly) -> list[tuple[str, str]]:
    """(case array, channel) of each class of the whole experiment, also of tasks that the run does not learn."""
    return [(task.array, name) for task in whole.tasks for name in task.foreground]


def _samples(experiment: Experiment, store: Store, cases: list[str], assembly: Assembly, **patches: Any) -> CaseSamples:
    """All samples of the cases; ``patches`` are options of patches alone, and only given for training."""
    sample = experiment.sample
    if sample.kind == "lesion":
        return LesionSamples(store, cases, assembly, sample.size, sample.lesion, seed=patches.get("seed"))
    if sample.kind == "patch":
        return PatchSamples(store, cases, assembly, sample.size, **patches)
    kind = SliceSamples if sample.kind == "slice" else WholeSamples
    return kind(store, cases, assembly, sample.size)


def _training_samples(
    spec: RunSpec, store: Store, cases: list[str], assembly: Assembly, whole: Assembly
) -> tuple[Dataset[Sample], EpochSampler | NumberedSampler]:
    """Samples and their order, which follows from the whole experiment, so that all methods see the same samples."""
    experiment, settings = spec.experiment, spec.experiment.training
    classes = _foreground_classes(whole)
    if settings.foreground and not classes:
        raise InputError("training.foreground: the experiment has no segmentation task whose classes to draw; set it 0")
    balanced = None if settings.balance is None else balanced_task(whole, settings.balance)
    if settings.augmentation is not None:
        check_augmentation(settings.augmentation, whole, spatial_dims(experiment))
    aimed = {"seed": spec.seed, "foreground": settings.foreground, "classes": classes}
    samples = _samples(experiment, store, cases, assembly, **aimed)
    drawn = bool(settings.foreground) and experiment.sample.kind != "patch"  # patches see to it by their place
    order = EpochSampler(
        len(samples),
        settings.samples_per_epoch,
        spec.seed,
        foreground=settings.foreground if drawn else 0.0,
        pools=foreground_pools(samples, store, classes) if drawn else (),
        strata=class_pools(samples, store, balanced) if balanced else (),
        labelled=labelled_pools(samples, store, whole.tasks),
    )
    kept = _kept(settings, samples, samples.cases, assembly)
    if settings.augmentation is not None:
        augmentation = Augmentation(settings.augmentation, assembly)
        if augmentation.changes:
            return AugmentedSamples(kept, augmentation, spec.seed), NumberedSampler(order)
    return kept, order


def _validation_samples(experiment: Experiment, store: Store, cases: list[str], assembly: Assembly) -> Dataset[Sample]:
    """An even choice of the validation samples, the same for every method and seed."""
    samples = _samples(experiment, store, cases, assembly)
    chosen = spread(len(samples), experiment.training.validation_samples)
    return _kept(experiment.training, Subset(samples, chosen), [samples.cases[index] for index in chosen], assembly)


def _kept(settings: TrainingSection, samples: Dataset[Sample], cases: list[str], assembly: Assembly) -> Dataset[Sample]:
    """The samples, in memory if they are to be kept there."""
    if not settings.cache or not cases:
        return samples
    return CachedSamples(samples, cases, assembly, shared=settings.loader_workers > 0)


@dataclass(frozen=True)
class Telling:
    """Who is told what happens in a training.

    Attributes:
        tell: in one line what the user should know.
        follow: the row of each epoch once it is on disk; None: ``tell`` gets a line of it.
        step: how many batches of how many of the whole training are done.
        draws: a progress bar on the terminal, in the place of lines of epochs.
    """

    tell: Callable[[str], None] = _unheard
    follow: Callable[[Mapping[str, Any]], None] | None = None
    step: Callable[[int, int], None] | None = None
    draws: bool = False

    def epochs_of(self, spec: RunSpec) -> Callable[[Mapping[str, Any]], None] | None:
        """What is told the rows of a run's epochs; None where a bar is drawn."""
        if self.draws or self.follow is not None:
            return self.follow
        return lambda row: self.tell(f"{spec.name}: {epoch_line(row, spec.experiment.training.epochs)}")


def train(
    spec: RunSpec,
    store: Store,
    *,
    show_progress: bool = False,
    tell: Callable[[str], None] = _unheard,
    follow: Callable[[Mapping[str, Any]], None] | None = None,
    step: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train a run to its end; one that is complete is kept, one that was interrupted goes on.

    Args:
        spec: what to train.
        store: the prepared cases.
        show_progress: a progress bar on the terminal; without it each epoch is a line.
        tell: told in one line what the user should know.
        follow: told the row of each epoch; by default ``tell`` gets a line of it.
        step: told how many batches of how many of the whole training are done.

    Returns:
        The run's record, as in ``run.json``.

    Raises:
        InputError: the run folder belongs to another experiment, or the data do not allow the run.
        CrosstaskError: another process trains the same run.
    """
    check_settings(spec)
    with writing(spec.folder):
        spec.folder.mkdir(parents=True, exist_ok=True)
    with locked(spec.folder, LOCK, "trained"):
        open_run(spec)
        if is_trained(spec):
            return trained_record(spec.folder)
        clear_leftovers(spec.folder)
        with told_plainly(spec.name):
            return _train(spec, store, Telling(tell, follow, step, show_progress))


def _train(spec: RunSpec, store: Store, telling: Telling) -> dict[str, Any]:
    """Train a run that is not complete; see :func:`train`."""
    settings = spec.experiment.training
    dataset = dataset_of(spec.experiment)
    whole = assembly_of(spec.experiment, dataset)
    splits = _splits(spec.experiment, store, dataset, whole)
    runs = earlier_runs(spec.experiment)
    if runs is not None:
        store = with_predictions(store, splits, runs, whole.image_array, telling.tell)
    weighting = _weighting(spec, store, splits["train"], whole)
    assembly = whole.only(weighting.tasks)
    for task in assembly.tasks:
        task.fit(channel_statistics(store, splits["train"], task.array, task.classes, assembly.region_array))
    seed_everything(spec.seed, verbose=False)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    module = _module(spec, assembly, weighting)
    readings_of(module.architecture)  # what cannot be kept is told before hours of work
    record = _new_record(spec, store, dataset, splits, weighting, assembly, module.architecture)
    record["earlier"] = None if runs is None else runs.key
    _write_new(spec, store, record, splits, weighting, assembly)
    trained = _fit(spec, module, _loaders(spec, store, splits, assembly, whole), telling)
    record["trained"] = True
    # of its checkpoint, where the run went on from one
    record["normalisation"] = describe_normalisation(module.architecture)
    record["training"] = trained.outcome()
    if line := never_predicted(spec.name, record):
        telling.tell(line)
    if trained.trainer.is_global_zero:
        _write_readings(spec, module.architecture, telling.tell)
        write_record(spec.folder, record)
        seal(spec.folder, RECORD, HISTORY, READINGS, TRANSFER)
        trained.checkpoints.remove_checkpoint(spec.folder / LAST)
        trained.recorder.clean(kept=_snapshots_to_keep(spec))
    return record


def _write_readings(spec: RunSpec, architecture: Architecture, tell: Callable[[str], None]) -> None:
    """Keep what the network has learned to do; figures that are none cost the run these alone."""
    try:
        write_readings(spec.folder, architecture)
    except InputError as error:
        tell(f"Warning: {spec.name}: {error}; the run is kept without them")


def _cases(splits: Mapping[Split, list[str]]) -> list[str]:
    """The cases of all splits."""
    return [case for cases in splits.values() for case in cases]


def _splits(experiment: Experiment, store: Store, dataset: RawData, whole: Assembly) -> Mapping[Split, list[str]]:
    """Which cases train, choose and test; of samples of lesions each must have an outline, of beams a target."""
    splits = splits_of(store, experiment.dataset, dataset.image_array, needed=("train", "validation"))
    if experiment.sample.kind == "lesion":  # also of test cases, before hours are spent
        check_outlines(store, _cases(splits), experiment.sample.lesion.outline)
    if whole.beams is not None:
        check_targets(store, _cases(splits), whole.beams)
    return splits


def _module(spec: RunSpec, assembly: Assembly, weighting: Weighting) -> TrainingModule:
    """The network as it is before its first epoch, with what trains it."""
    experiment, settings = spec.experiment, spec.experiment.training
    architecture = build_architecture(spec, assembly, pretrained=True)
    if settings.channels_last and spatial_dims(experiment) == 2:
        architecture = architecture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    probe = Probe(architecture, settings.transfer_every)
    return TrainingModule(
        architecture,
        assembly.tasks,
        weighting,
        settings,
        encoder_learning_rate=experiment.encoder.learning_rate,
        major=experiment.major,
        seed=spec.seed,
        probe=probe if probe.sees_anything else None,
    )


def _write_new(
    spec: RunSpec,
    store: Store,
    record: dict[str, Any],
    splits: Mapping[Split, list[str]],
    weighting: Weighting,
    assembly: Assembly,
) -> None:
    """Leave on disk what is known of a run before its first epoch, if it is of the same data as what lies there."""
    check_data(spec, record["data"]["fingerprint"])
    if record["earlier"] is not None and has_checkpoint(spec.folder):
        check_earlier(spec.folder, read_record(spec.folder), record["earlier"])
    write_record(spec.folder, record)
    write_images(spec.folder, digests_of(store, _cases(splits), assembly.image_array))
    if weighting.characteristics:
        write_characteristics(spec.folder / CHARACTERISTICS, weighting.characteristics)


@dataclass(frozen=True)
class _Trained:
    """A training that has come to its end.

    Attributes:
        trainer: that trained.
        recorder: of every epoch.
        checkpoints: what the training could have gone on from.
        started: when, by :func:`time.perf_counter`.
    """

    trainer: Trainer
    recorder: Recorder
    checkpoints: RunCheckpoints
    started: float

    def outcome(self) -> dict[str, Any]:
        """What the record says of it."""
        recorder = self.recorder
        return {
            "epochs": recorder.epochs,
            "best_epoch": recorder.best_epoch,
            "unscored": recorder.unscored,
            "never_predicted": recorder.never_predicted,
            "best_score": recorder.best_score if math.isfinite(recorder.best_score) else None,
            "seconds": round(recorder.seconds, 1),
            "seconds_of_last_start": round(time.perf_counter() - self.started, 1),
            "memory": peak_memory(self.trainer.strategy.root_device),
            "device": str(self.trainer.strategy.root_device),
            "precision": str(self.trainer.precision),
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        }


def _fit(
    spec: RunSpec,
    module: TrainingModule,
    loaders: tuple[DataLoader[Any], DataLoader[Any]],
    telling: Telling,
) -> _Trained:
    """Train to the end of the schedule, from the first epoch or from a checkpoint.

    Raises:
        KeyboardInterrupt: the training was interrupted.
        CrosstaskError: no epoch could be trained.
    """
    settings = spec.experiment.training
    average = None if settings.average is None else WeightAverage(spec.folder, settings.average)
    checkpoints = RunCheckpoints(spec.folder)
    done = checkpoints.find(module, settings.epochs, telling.tell)
    loggers = RunLoggers(spec, telling.tell)
    recorder = Recorder(
        spec.folder,
        smoothing=settings.smoothing,
        patience=settings.patience,
        snapshots=grid_of(spec)[:-1],  # those of the last are kept in any case
        loggers=loggers,
        tell=telling.epochs_of(spec),
    )
    _log.info(
        "%s: %d parameters, %d training batches an epoch, from epoch %d of %d on; folder %s",
        spec.name,
        sum(parameter.numel() for parameter in module.architecture.parameters()),
        len(loaders[0]),
        done + 1,
        settings.epochs,
        spec.folder,
    )
    started = time.perf_counter()
    with quiet(), loggers:
        trainer = open_trainer(
            settings,
            max_epochs=settings.epochs,
            precision=precision_of(spec.experiment, device_of(settings)),
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.gradient_clip,
            callbacks=[
                *([average] if average else []),
                *_transfer(spec, module),
                recorder,
                *([Steps(telling.step)] if telling.step else []),
                *([RichProgressBar()] if telling.draws else []),
            ],
            plugins=[checkpoints],
            enable_progress_bar=telling.draws,
            num_sanity_val_steps=0,
        )
        telling.tell(f"{spec.name}: trains on {describe_device(trainer.strategy.root_device)}")
        trainer.fit(module, *loaders, ckpt_path=spec.folder / LAST if done else None)
        recorder.finish(trainer, module)
        if average:
            average.finish(trainer)
        if trainer.interrupted:
            raise KeyboardInterrupt
        if recorder.epochs == 0:
            raise CrosstaskError(f"{spec.folder}: no epoch was trained; give more training samples than one batch")
    return _Trained(trainer, recorder, checkpoints, started)


class Steps(Callback):
    """Tells how far a training is, batch by batch.

    Args:
        step: told how many batches of how many are done, of all epochs.
    """

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self._step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """One more is done."""
        batches = int(trainer.num_training_batches)
        self._step(trainer.current_epoch * batches + batch_idx + 1, (trainer.max_epochs or 1) * batches)


def _transfer(spec: RunSpec, module: TrainingModule) -> list[TransferRecorder]:
    """What writes what the tasks do to each other, where anything of it is seen."""
    return [] if module.probe is None else [TransferRecorder(spec.folder, module.probe)]


def _snapshots_to_keep(spec: RunSpec) -> list[int]:
    """Epochs whose weights other rules may still ask for: of a run of all tasks it is known now which they take."""
    grid = grid_of(spec)
    if spec.method.run_per_task or not grid:
        return grid
    return snapshots_needed(other_epochs(spec, [spec]))


def _new_record(
    spec: RunSpec,
    store: Store,
    dataset: RawData,
    splits: Mapping[Split, list[str]],
    weighting: Weighting,
    assembly: Assembly,
    architecture: Architecture,
) -> dict[str, Any]:
    """What is known of a run before its first epoch."""
    return {
        "method": spec.method.name,
        "variant": spec.variant,
        "seed": spec.seed,
        "tasks": list(spec.tasks),
        "learned": list(weighting.tasks),
        "trained": False,
        "parameters": sum(parameter.numel() for parameter in architecture.parameters()),
        "form": architecture.describe(),
        "normalisation": describe_normalisation(architecture),
        "assembly": describe_assembly(assembly),
        "task_state": {task.name: task.state() for task in assembly.tasks},
        "intake": dataset.intake().describe(),
        "data": {
            "dataset": dataset.name,
            "fingerprint": store.fingerprint_of(_cases(splits)),
            "cases": splits,
            "licence": dataset.licence,
            "source": dataset.source,
            "citation": dataset.citation,
            "spacing": spacing_range(store, splits["train"]) if dataset.spatial_dims == 3 else None,
        },
        "environment": environment(),
        "plugins": [asdict(plugin) for plugin in (*installed(), *load(spec.experiment.plugins))],
    }


def _weighting(spec: RunSpec, store: Store, training: list[str], whole: Assembly) -> Weighting:
    """The run's weighting; one that looks at the training labels has chosen the tasks that the run learns."""
    tasks = whole.only(spec.tasks).tasks
    options = {} if spec.method.run_per_task else spec.experiment.weighting.options_of(spec.weighting)
    weighting = build_weighting(spec.weighting, [task.name for task in tasks], **options)
    major = spec.experiment.major
    if weighting.needs_labels and major is not None:
        if len(tasks) > 1:
            check_ordered(tasks, spec.weighting)
            weighting.fit(major, levels_of(store, training, tasks))
        else:
            weighting.fit(major, {})
    return weighting


def _loaders(
    spec: RunSpec, store: Store, splits: Mapping[Split, list[str]], assembly: Assembly, whole: Assembly
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    experiment, settings = spec.experiment, spec.experiment.training
    training, order = _training_samples(spec, store, splits["train"], assembly, whole)
    count = len(training)  # type: ignore[arg-type]
    if count < settings.batch_size:
        raise InputError(
            f"training.batch_size: {settings.batch_size} is more than the {count} training samples; lower it"
        )
    workers: dict[str, Any] = {"num_workers": settings.loader_workers, "collate_fn": collate}
    if settings.loader_workers:
        workers |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
    return (
        DataLoader(
            training,
            batch_size=settings.batch_size,
            sampler=order,
            drop_last=True,  # a last batch of one sample would break batch normalisation
            **workers,
        ),
        DataLoader(
            _validation_samples(experiment, store, splits["validation"], assembly.for_scoring()),
            batch_size=settings.batch_size,
            **workers,
        ),
    )
