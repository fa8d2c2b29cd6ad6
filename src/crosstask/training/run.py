"""Train one run from prepared cases, or go on with one that was interrupted."""

from __future__ import annotations

import contextlib
import logging
import math
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader, Subset

from crosstask.assembly import Assembly
from crosstask.datasets.base import Split
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment
from crosstask.locks import locked
from crosstask.network import assembly_of, build_architecture, dataset_of, spatial_dims
from crosstask.runs import LAST, RunPlan, check_data, environment, is_trained, open_run, read_record, write_record
from crosstask.sample import collate
from crosstask.splits import split_cases
from crosstask.store import Store
from crosstask.store.statistics import channel_statistics, slices_with
from crosstask.training.module import TrainingModule
from crosstask.training.recorder import Recorder
from crosstask.training.samples import EpochSampler, PatchSamples, SliceSamples, spread
from crosstask.weighting import build_weighting

LOCK_NAME = "train.lock"


def _foreground_classes(whole: Assembly) -> list[tuple[str, str]]:
    """(case array, channel) of each class of the whole experiment, also of tasks that the run does not learn."""
    return [(task.source, name) for task in whole.tasks for name in task.foreground]


def _training_samples(
    plan: RunPlan, store: Store, cases: list[str], assembly: Assembly, whole: Assembly
) -> tuple[SliceSamples | PatchSamples, EpochSampler]:
    """Samples and their order. Foreground is that of the whole experiment, so that all methods see the same samples."""
    sample, settings = plan.experiment.sample, plan.experiment.training
    classes = _foreground_classes(whole)
    if settings.foreground and not classes:
        raise InputError("training.foreground: the experiment has no segmentation task whose classes to draw; set it 0")
    if sample.kind == "patch":
        patches = PatchSamples(
            store, cases, assembly, sample.size, seed=plan.seed, foreground=settings.foreground, classes=classes
        )
        return patches, EpochSampler(len(patches), settings.samples_per_epoch, plan.seed)
    slices = SliceSamples(store, cases, assembly, sample.size)
    pools: list[list[int]] = []
    if settings.foreground:
        for source in dict.fromkeys(source for source, _ in classes):
            names = [name for other, name in classes if other == source]
            found = slices_with(store, cases, source, names)
            pools += [[slices.index_of(case, z) for case in cases for z in found[case].get(name, ())] for name in names]
    order = EpochSampler(
        len(slices), settings.samples_per_epoch, plan.seed, foreground=settings.foreground, pools=pools
    )
    return slices, order


def _validation_samples(experiment: Experiment, store: Store, cases: list[str], assembly: Assembly) -> Subset[Any]:
    """An even choice of the validation samples, the same for every method and seed."""
    sample = experiment.sample
    kind = SliceSamples if sample.kind == "slice" else PatchSamples
    samples = kind(store, cases, assembly, sample.size)
    return Subset(samples, spread(len(samples), experiment.training.validation_samples))


def train(plan: RunPlan, store: Store, *, show_progress: bool = False) -> dict[str, Any]:
    """Train a run to its end; one that is complete is kept, one that was interrupted goes on.

    Args:
        plan: what to train.
        store: the prepared cases.
        show_progress: a progress bar on the terminal.

    Returns:
        The run's record, as in ``run.json``.

    Raises:
        InputError: the run folder belongs to another experiment, or the data do not allow the run.
        CrosstaskError: another process trains the same run.
    """
    open_run(plan)
    with locked(plan.folder, LOCK_NAME, "trained"):
        if is_trained(plan):
            return read_record(plan.folder)
        return _train(plan, store, show_progress=show_progress)


def _train(plan: RunPlan, store: Store, *, show_progress: bool) -> dict[str, Any]:
    experiment, settings = plan.experiment, plan.experiment.training
    dataset = dataset_of(experiment)
    whole = assembly_of(experiment, dataset)
    assembly = whole.only(plan.tasks)
    splits = split_cases(store.cases, experiment.dataset, needed=("train", "validation"))
    for task in assembly.tasks:
        task.fit(channel_statistics(store, splits["train"], task.source, task.classes, assembly.region_source))
    L.seed_everything(plan.seed, verbose=False)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    architecture = build_architecture(plan, assembly, pretrained=True)
    if settings.channels_last and spatial_dims(experiment) == 2:
        architecture = architecture.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module = TrainingModule(
        architecture,
        assembly.tasks,
        build_weighting(
            experiment.weighting.name, [task.name for task in assembly.tasks], **experiment.weighting.options()
        ),
        settings,
    )
    record: dict[str, Any] = {
        "method": plan.method.name,
        "seed": plan.seed,
        "tasks": list(plan.tasks),
        "trained": False,
        "parameters": sum(parameter.numel() for parameter in architecture.parameters()),
        "task_state": {task.name: task.state() for task in assembly.tasks},
        "data": {
            "dataset": dataset.name,
            "fingerprint": store.fingerprint_of([case for cases in splits.values() for case in cases]),
            "cases": splits,
            "licence": dataset.licence,
            "source": dataset.source,
            "citation": dataset.citation,
        },
        "environment": environment(),
    }
    check_data(plan, record["data"]["fingerprint"])
    write_record(plan.folder, record)
    train_loader, validation_loader = _loaders(plan, store, splits, assembly, whole)
    recorder = Recorder(plan.folder, patience=settings.patience, writer=_writer(plan))
    started = time.perf_counter()
    with _quiet():
        trainer = _trainer(
            accelerator=settings.device,
            devices=settings.devices,
            max_epochs=settings.epochs,
            precision=settings.precision,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.gradient_clip,
            callbacks=[recorder, *([RichProgressBar()] if show_progress else [])],
            enable_progress_bar=show_progress,
            enable_checkpointing=False,
            enable_model_summary=False,
            logger=False,
            num_sanity_val_steps=0,
        )
        last = plan.folder / LAST
        trainer.fit(
            module, train_loader, validation_loader, ckpt_path=last if last.exists() else None, weights_only=False
        )
        recorder.finish(trainer, module)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if recorder.epochs == 0:
        raise CrosstaskError(f"{plan.folder}: no epoch was trained; give more training samples than one batch")
    record["trained"] = True
    record["training"] = {
        "epochs": recorder.epochs,
        "best_epoch": recorder.best_epoch,
        "best_score": recorder.best_score if math.isfinite(recorder.best_score) else None,
        "seconds": round(recorder.seconds, 1),
        "seconds_of_last_start": round(time.perf_counter() - started, 1),
        "device": str(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if trainer.is_global_zero:
        write_record(plan.folder, record)
        last.unlink(missing_ok=True)  # more than half of a run's size, and of no use to a complete one
    return record


def _loaders(
    plan: RunPlan, store: Store, splits: Mapping[Split, list[str]], assembly: Assembly, whole: Assembly
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    experiment, settings = plan.experiment, plan.experiment.training
    training, order = _training_samples(plan, store, splits["train"], assembly, whole)
    if len(training) < settings.batch_size:
        raise InputError(
            f"training.batch_size: {settings.batch_size} is more than the {len(training)} training samples; lower it"
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
            _validation_samples(experiment, store, splits["validation"], assembly),
            batch_size=settings.batch_size,
            **workers,
        ),
    )


def _trainer(**options: Any) -> L.Trainer:
    """Lightning's trainer; a device or a precision that is not to be had is the user's to change."""
    try:
        return L.Trainer(**options)
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"training.device: {options['accelerator']!r} ({options['devices']} devices, precision "
            f"{options['precision']}) cannot be used: {line}"
        ) from None


def _writer(plan: RunPlan) -> Any:
    if not plan.experiment.training.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "training.tensorboard: TensorBoard is not installed; pip install 'crosstask[tensorboard]'"
        ) from None
    folder = Path(plan.folder / "tensorboard")
    done = len((plan.folder / "history.csv").read_text().splitlines()) - 1 if (plan.folder / LAST).exists() else 0
    return SummaryWriter(str(folder), purge_step=done)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice; what a user must know is in our own messages."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
