"""The devices that a run is trained on, and Lightning's trainer for them."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from crosstask import ranks
from crosstask.devices import devices_like
from crosstask.errors import InputError
from crosstask.experiment import TrainingSection
from crosstask.training.launch import check_launch, kind_of, launched, met

if TYPE_CHECKING:
    import lightning as L


def open_trainer(settings: TrainingSection, *, precision: str = "32", plugins: Any = (), **options: Any) -> L.Trainer:
    """Lightning's trainer on the settings' devices: of a process that has joined others, on its own of them.

    What a cluster's launcher says of other processes is left aside by one that has joined none: each trains runs of
    its own.

    Args:
        settings: the device, and how many.
        precision: of the arithmetic.
        plugins: further ones.
        **options: Lightning's.

    Raises:
        InputError: there is no such device, or it has not that precision.
    """
    import lightning as L
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    asked = settings.devices
    together: dict[str, Any] = {"plugins": [LightningEnvironment(), *plugins]}
    if ranks.world_size() > 1:
        from crosstask.training.strategies import Alike, Joined, Sharded

        strategy = Sharded() if settings.strategy == "fsdp" else Alike()
        together = {"plugins": [Joined(), *plugins], "strategy": strategy, "num_nodes": settings.num_nodes}
    try:
        with quiet():
            return L.Trainer(
                accelerator=settings.device,
                devices=asked,
                precision=precision,
                use_distributed_sampler=False,  # shares are ours
                enable_checkpointing=False,
                enable_model_summary=False,
                logger=False,
                **together,
                **options,
            )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"training.device: {settings.device!r} (devices {asked!r}, precision {precision}) cannot be used: {line}"
        ) from None


def device_of(settings: TrainingSection) -> torch.device:
    """The device that a run is trained on; of several that of this process, or the first.

    Raises:
        InputError: it is not there.
    """
    if _is_processor(settings):
        return torch.device("cpu")
    return open_trainer(settings, enable_progress_bar=False).strategy.root_device


def processes_of(settings: TrainingSection, precision: str = "32") -> int:
    """How many processes train a run, one a device.

    Raises:
        InputError: a device is not there or has not that precision; or the settings do not fit what was started.
    """
    devices = 1
    if not (_is_processor(settings) and precision in ("32", "bf16-mixed")):
        trainer = open_trainer(settings, precision=precision, enable_progress_bar=False)
        devices, kind = trainer.num_devices, trainer.strategy.root_device.type
        if devices * settings.num_nodes > 1 and kind not in ("cpu", "cuda"):
            raise InputError(
                f"training.devices: several devices of kind {kind} cannot train together; set training.devices=1"
            )
    return check_launch(settings, devices)


@contextlib.contextmanager
def joined(settings: TrainingSection) -> Iterator[None]:
    """Train with the other processes that torchrun or srun have started, if they are for one run together.

    Args:
        settings: of the training.

    Raises:
        InputError: the settings do not fit what was started.
        CrosstaskError: the others do not come.
    """
    found = launched()
    if found is None or ranks.world_size() > 1:
        yield
        return
    try:
        world = processes_of(settings)
    except InputError as error:
        if found.rank:  # all find the same, and the first says it
            raise SystemExit(error.exit_code) from None
        raise
    with met(kind_of(settings)) if world > 1 else contextlib.nullcontext():
        yield


def check_alone(settings: TrainingSection) -> None:
    """Refuse to be one of several processes that were started for one run together.

    Raises:
        InputError: this is one.
    """
    found = launched()
    if found is not None and (found.launcher == "torchrun" or processes_of(settings) > 1):
        if found.rank:
            raise SystemExit(InputError.exit_code)
        raise InputError(
            f"{found.launcher}: has started {found.world} processes for one run, and a benchmark starts those of its "
            "runs by itself; start it without, or train its runs by crosstask train, which benchmark then keeps"
        )


def _is_processor(settings: TrainingSection) -> bool:
    """Whether the device is this machine's processor beyond doubt; Lightning, slow to import, need not be asked."""
    if settings.devices not in (1, "1", "auto"):
        return False
    if settings.device == "auto":
        return not torch.accelerator.is_available() and importlib.util.find_spec("torch_xla") is None
    return settings.device == "cpu"


def is_pinned(settings: TrainingSection) -> bool:
    """Whether loaded batches are put where a GPU copies from without waiting: of use to a GPU of CUDA alone."""
    return settings.device in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def scoring_device(settings: TrainingSection) -> str:
    """Where a run of these settings is scored: on the device of its training, or where that is not there any best.

    A benchmark may be scored or drawn anew on another machine than it was trained on. Of several it is the first.
    """
    if "," in (several := devices_like(settings.device, settings.devices)):
        return several.partition(",")[0]
    try:
        return str(device_of(settings))
    except InputError:
        return "auto"


def scoring_devices(settings: TrainingSection) -> str:
    """Where cases of such a run are shared out to be scored: all devices of its training, with commas between."""
    several = devices_like(settings.device, settings.devices)
    return several if "," in several else scoring_device(settings)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
