"""Train one run from prepared cases, or go on with one that was interrupted."""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch.utils.data import DataLoader, Dataset, Subset

from crosstask import ranks
from crosstask.architectures.base import Architecture
from crosstask.assembly import Assembly, assembly_of, dataset_of, describe_assembly
from crosstask.datasets.base import Dataset as RawData
from crosstask.datasets.base import Split
from crosstask.devices import describe_device, peak_memory
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment, TrainingSection
from crosstask.faults import told_plainly
from crosstask.files import clear_leftovers, writing
from crosstask.locks import locked
from crosstask.network import build_architecture, precision_of, spatial_dims
from crosstask.nn.normalisation import describe_normalisation
from crosstask.nn.recomputing import recompute
from crosstask.nn.shared_norm import share_batch_norms
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
from crosstask.tasks import SegmentationTask
from crosstask.training.augmentation import (
    Augmentation,
    SeededAugmentation,
    check_augmentation,
)
from crosstask.training.average import WeightAverage
from crosstask.training.cache import CachedSamples
from crosstask.training.characteristics import check_ordered, levels_of, write_characteristics
from crosstask.training.check import weighting_of
from crosstask.training.checkpoint import RunCheckpoints
from crosstask.training.collating import Collate
from crosstask.training.device import device_of, is_pinned, joined, open_trainer, processes_of, quiet
from crosstask.training.further import check_targets, with_predictions
from crosstask.training.launch import threads_of, train_in_processes
from crosstask.training.lesion import LesionSamples, check_outlines
from crosstask.training.loggers import RunLoggers
from crosstask.training.module import TrainingModule
from crosstask.training.pools import balanced_task, class_pools, foreground_pools, labelled_pools
from crosstask.training.readings import readings_of, write_readings
from crosstask.training.recorder import Recorder
from crosstask.training.sampler import EpochSampler, NumberedSampler, ShareOfBatches
from crosstask.training.samples import (
    CaseSamples,
    NumberedSamples,
    PatchSamples,
    SliceSamples,
    Unlabelled,
    WholeSamples,
    spread,
)
from crosstask.training.telling import Telling
from crosstask.training.transfer import Probe, TransferRecorder
from crosstask.weighting import Weighting

_log = logging.getLogger(__name__)


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
    anew = isinstance(samples, PatchSamples)
    kept = samples if anew else _kept(settings, samples, samples.cases, assembly)
    if anew or _change(spec, assembly) is not None:
        return NumberedSamples(kept), NumberedSampler(order)
    return kept, order


def _change(spec: RunSpec, assembly: Assembly) -> SeededAugmentation | None:
    """How training batches are changed, if at all."""
    settings = spec.experiment.training.augmentation
    augmentation = None if settings is None else Augmentation(settings, assembly)
    return SeededAugmentation(augmentation, spec.seed) if augmentation and augmentation.changes else None


def _on_device(spec: RunSpec) -> bool:
    """Whether training batches are changed on the device."""
    settings = spec.experiment.training.augmentation
    return settings is not None and settings.where == "device"


def _validation_samples(experiment: Experiment, store: Store, cases: list[str], assembly: Assembly) -> Dataset[Sample]:
    """An even choice of the validation samples, the same for every method and seed.

    Of several processes each has its share: none twice, so one may have a sample fewer than others, and none at all
    has one without labels, which counts nowhere.
    """
    samples = _samples(experiment, store, cases, assembly)
    chosen = spread(len(samples), experiment.training.validation_samples)
    if not (own := chosen[ranks.rank() :: ranks.world_size()]):
        return Unlabelled(Subset(samples, chosen[:1]))
    chosen = own
    return _kept(experiment.training, Subset(samples, chosen), [samples.cases[index] for index in chosen], assembly)


def _kept(settings: TrainingSection, samples: Dataset[Sample], cases: list[str], assembly: Assembly) -> Dataset[Sample]:
    """The samples, in memory if they are to be kept there."""
    if not settings.cache or not cases:
        return samples
    return CachedSamples(samples, cases, assembly, shared=settings.loader_workers > 0)


def train(
    spec: RunSpec,
    store: Store,
    *,
    show_progress: bool = False,
    tell: Callable[[str], None] | None = None,
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
    with joined(spec.experiment.training):
        return _trained(spec, store, Telling(tell or _unheard, follow, step, show_progress))


def _trained(spec: RunSpec, store: Store, telling: Telling) -> dict[str, Any]:
    """Train a run under its lock; of several processes that have met, the first has that."""
    if not ranks.is_first():  # the first has the folder, and says whether there is anything to do
        if ranks.agreed(False):
            with told_plainly(spec.name):
                _train(spec, store, Telling())
        ranks.wait()
        return trained_record(spec.folder)
    with writing(spec.folder):
        spec.folder.mkdir(parents=True, exist_ok=True)
    with locked(spec.folder, LOCK, "trained"):
        open_run(spec)
        if not ranks.agreed(not is_trained(spec)):
            ranks.wait()
            return trained_record(spec.folder)
        clear_leftovers(spec.folder)
        with told_plainly(spec.name):
            world = processes_of(spec.experiment.training)
            if world > ranks.world_size():
                train_in_processes(_train, spec, store, world, telling)
            else:
                _train(spec, store, telling)
    ranks.wait()
    return trained_record(spec.folder)


def _unheard(line: str) -> None:
    pass


@dataclass(frozen=True)
class _Learned:
    """What is known of the cases before a network is made.

    Attributes:
        store: the cases, with what earlier runs predicted of them.
        dataset: the raw data set.
        splits: which cases train, choose and test.
        earlier: which earlier runs these are; None without.
        weighting: that has chosen the tasks that the run learns.
        whole: how the experiment looks at a case.
        assembly: how the run does, its tasks fitted to the training cases.
    """

    store: Store
    dataset: RawData
    splits: Mapping[Split, list[str]]
    earlier: str | None
    weighting: Weighting
    whole: Assembly
    assembly: Assembly


def _learned(spec: RunSpec, store: Store, tell: Callable[[str], None]) -> _Learned:
    """Look at the cases. The store keeps what is found, so the first of several processes does it alone."""
    with ranks.first_alone():
        dataset = dataset_of(spec.experiment)
        whole = assembly_of(spec.experiment, dataset)
        splits = _splits(spec.experiment, store, dataset, whole)
        runs = earlier_runs(spec.experiment)
        if runs is not None:
            store = with_predictions(store, splits, runs, whole.image_array, tell)
        weighting = _weighting(spec, store, splits["train"], whole)
        assembly = whole.only(weighting.tasks)
        for task in assembly.tasks:
            task.fit(channel_statistics(store, splits["train"], task.array, task.classes, assembly.region_array))
    return _Learned(store, dataset, splits, None if runs is None else runs.key, weighting, whole, assembly)


def _train(spec: RunSpec, store: Store, telling: Telling) -> None:
    """Train a run that is not complete; see :func:`train`. Of several processes each does so, and the first writes."""
    settings = spec.experiment.training
    learned = _learned(spec, store, telling.tell)
    weighting, assembly = learned.weighting, learned.assembly
    seed_everything(spec.seed, verbose=False)
    if threads := threads_of(settings):
        torch.set_num_threads(threads)
    module = _module(spec, assembly, weighting, telling.tell)
    readings_of(module.architecture)  # what cannot be kept is told before hours of work
    record: dict[str, Any] = {}
    if ranks.is_first():
        record = _new_record(spec, learned, module.architecture)
        _write_new(spec, record, learned)
    trained = _fit(spec, module, _loaders(spec, learned), telling)
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


def _module(
    spec: RunSpec, assembly: Assembly, weighting: Weighting, tell: Callable[[str], None] = _unheard
) -> TrainingModule:
    """The network as it is before its first epoch, with what trains it."""
    experiment, settings = spec.experiment, spec.experiment.training
    architecture = build_architecture(spec, assembly, pretrained=True)
    if settings.channels_last and spatial_dims(experiment) == 2:
        architecture = architecture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.activation_checkpointing:
        recompute(architecture.blocks())
    if ranks.world_size() > 1 and settings.sync_batchnorm:
        share_batch_norms(architecture, device_of(settings))
    probe = Probe(architecture, 0 if settings.strategy == "fsdp" else settings.transfer_every)
    return TrainingModule(
        architecture,
        assembly.tasks,
        weighting,
        settings,
        encoder_learning_rate=experiment.encoder.learning_rate,
        major=experiment.major,
        seed=spec.seed,
        probe=probe if probe.sees_anything else None,
        change=_change(spec, assembly) if _on_device(spec) else None,
        tell=lambda line: tell(f"{spec.name}: {line}"),
    )


def _write_new(spec: RunSpec, record: dict[str, Any], learned: _Learned) -> None:
    """Leave on disk what is known of a run before its first epoch, if it is of the same data as what lies there."""
    check_data(spec, record["data"]["fingerprint"])
    if record["earlier"] is not None and has_checkpoint(spec.folder):
        check_earlier(spec.folder, read_record(spec.folder), record["earlier"])
    write_record(spec.folder, record)
    write_images(spec.folder, digests_of(learned.store, _cases(learned.splits), learned.assembly.image_array))
    if learned.weighting.characteristics:
        write_characteristics(spec.folder / CHARACTERISTICS, learned.weighting.characteristics)


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
            "devices": self.trainer.world_size,
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
    loggers = RunLoggers(spec, telling.tell) if ranks.is_first() else None
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
    with quiet(), loggers or nullcontext():
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
        several = f", {trainer.world_size} of them" if trainer.world_size > 1 else ""
        telling.tell(f"{spec.name}: trains on {describe_device(trainer.strategy.root_device)}{several}")
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


def _new_record(spec: RunSpec, learned: _Learned, architecture: Architecture) -> dict[str, Any]:
    """What is known of a run before its first epoch."""
    store, dataset, splits, assembly = learned.store, learned.dataset, learned.splits, learned.assembly
    return {
        "method": spec.method.name,
        "variant": spec.variant,
        "seed": spec.seed,
        "tasks": list(spec.tasks),
        "learned": list(learned.weighting.tasks),
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
        "earlier": learned.earlier,
        "environment": environment(),
        "plugins": [asdict(plugin) for plugin in (*installed(), *load(spec.experiment.plugins))],
    }


def _weighting(spec: RunSpec, store: Store, training: list[str], whole: Assembly) -> Weighting:
    """The run's weighting; one that looks at the training labels has chosen the tasks that the run learns."""
    tasks = whole.only(spec.tasks).tasks
    weighting = weighting_of(spec, [task.name for task in tasks])
    major = spec.experiment.major
    if weighting.needs_labels and major is not None:
        if len(tasks) > 1:
            check_ordered(tasks, spec.weighting)
            weighting.fit(major, levels_of(store, training, tasks))
        else:
            weighting.fit(major, {})
    return weighting


def _loaders(spec: RunSpec, learned: _Learned) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Samples in batches, or this process's share of each batch where several train together."""
    experiment, settings = spec.experiment, spec.experiment.training
    store, splits, assembly = learned.store, learned.splits, learned.assembly
    training, order = _training_samples(spec, store, splits["train"], assembly, learned.whole)
    count = len(training)  # type: ignore[arg-type]
    if count < settings.batch_size:
        raise InputError(
            f"training.batch_size: {settings.batch_size} is more than the {count} training samples; lower it"
        )
    workers: dict[str, Any] = {"num_workers": settings.loader_workers, "pin_memory": is_pinned(settings)}
    if settings.loader_workers:
        workers |= {"persistent_workers": True, "multiprocessing_context": "spawn"}
    return (
        DataLoader(
            training,
            batch_sampler=ShareOfBatches(order, settings.batch_size, ranks.rank(), ranks.world_size()),
            collate_fn=Collate(
                None if _on_device(spec) else _change(spec, assembly),
                [task.name for task in assembly.labels if isinstance(task, SegmentationTask)],
                packs=settings.compact,
            ),
            **workers,
        ),
        DataLoader(
            _validation_samples(experiment, store, splits["validation"], assembly.for_scoring()),
            batch_size=math.ceil(settings.batch_size / ranks.world_size()),
            collate_fn=collate,
            **workers,
        ),
    )
