"""The one device that a run is trained on, and Lightning's trainer for it."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from crosstask.errors import InputError
from crosstask.experiment import TrainingSection

if TYPE_CHECKING:
    import lightning as L


def open_trainer(settings: TrainingSection, *, precision: str = "32", plugins: Any = (), **options: Any) -> L.Trainer:
    """Lightning's trainer on the settings' device.

    What a cluster's launcher says of other processes is left aside: each process trains runs of its own.

    Args:
        settings: the device, and how many.
        precision: of the arithmetic.
        plugins: further ones.
        **options: Lightning's.

    Raises:
        InputError: there is no such device, it has not that precision, or there are several.
    """
    import lightning as L
    from lightning.pytorch.plugins.environments import LightningEnvironment
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    asked = settings.devices
    if len(_listed(asked)) > 1:
        raise _too_many(f"{asked!r} is")
    try:
        with quiet():
            trainer = L.Trainer(
                accelerator=settings.device,
                devices=asked,
                precision=precision,
                plugins=[LightningEnvironment(), *plugins],
                enable_checkpointing=False,
                enable_model_summary=False,
                logger=False,
                **options,
            )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"training.device: {settings.device!r} (devices {asked!r}, precision {precision}) cannot be used: {line}"
        ) from None
    if trainer.num_devices > 1:
        raise _too_many(
            f"{asked!r} is" if asked == trainer.num_devices else f"{asked!r} is {trainer.num_devices} devices here,"
        )
    return trainer


def _listed(devices: int | str | list[int]) -> list[Any]:
    """Indices of devices, if such are given."""
    if isinstance(devices, str):
        return [part for part in devices.split(",") if part.strip()]
    return devices if isinstance(devices, list) else []


def _too_many(what: str) -> InputError:
    return InputError(
        f"training.devices: {what} too many, since a run is trained on one; set training.devices=1 (of several runs, "
        "benchmark --jobs trains some at a time)"
    )


def device_of(settings: TrainingSection) -> torch.device:
    """The device that a run is trained on.

    Raises:
        InputError: it is not there, or there are several.
    """
    if _is_processor(settings):
        return torch.device("cpu")
    return open_trainer(settings, enable_progress_bar=False).strategy.root_device


def check_device(settings: TrainingSection, precision: str) -> None:
    """Whether a run can be trained on its device.

    Raises:
        InputError: it is not there, it has not that precision, or there are several.
    """
    if not (_is_processor(settings) and precision in ("32", "bf16-mixed")):
        open_trainer(settings, precision=precision, enable_progress_bar=False)


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

    A benchmark may be scored or drawn anew on another machine than it was trained on.
    """
    try:
        return str(device_of(settings))
    except InputError:
        return "auto"


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
