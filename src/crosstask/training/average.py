"""An exponential moving average of the weights, beside a training that knows nothing of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crosstask.errors import CrosstaskError
from crosstask.files import write_atomically
from crosstask.nn.weights_file import weights_bytes
from crosstask.runs import AVERAGE
from crosstask.training.module import TrainingModule

_Tensors = tuple[Tensor, ...] | list[Tensor]
_OWN = "module."
"""What the names of an average's weights begin with."""


def decay_per_step(epochs: float, steps: int) -> float:
    """Share of the average that a step keeps: ``exp(-1 / (epochs x steps))``.

    Args:
        epochs: time constant, after which a weight counts 1/e of what it counted at first.
        steps: optimiser steps of an epoch.
    """
    return math.exp(-1 / (epochs * steps))


def _averaging(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """What :class:`AveragedModel` does with tensors of one type; PyTorch's own truncates averages of whole numbers."""
    of_numbers = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(averages: _Tensors, weights: _Tensors, number: Tensor | int) -> None:
        if averages[0].is_floating_point():
            of_numbers(averages, weights, number)
            return
        for average, weight in zip(averages, weights, strict=True):
            average.copy_(weight)

    return update


class WeightAverage(L.Callback):
    """Averages an architecture's weights after each optimiser step: ``average = decay average + (1 - decay) weights``.

    The first step's weights are the first average. Buffers are averaged as parameters are: running means and variances
    of batch normalisation belong to the weights that made them, and so do their averages to averaged weights; those of
    the last step belong to other weights, and a pass over the training cases to measure them anew would cost an epoch.
    What counts steps in whole numbers is copied.

    Nothing in training reads the average, and it draws no random numbers. It is kept in the run's checkpoints.

    Args:
        folder: the run folder.
        epochs: time constant, in epochs.
    """

    def __init__(self, folder: Path, epochs: float) -> None:
        self._folder, self._epochs = folder, epochs
        self._average: AveragedModel | None = None
        self._restored: Mapping[str, Tensor] | None = None
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        return {} if self._average is None else {"average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back, once the network is on its device."""
        self._restored = state.get("average")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights as they are, or go on with the average of the checkpoint.

        Raises:
            CrosstaskError: the run goes on from a checkpoint without an average.
        """
        assert isinstance(pl_module, TrainingModule)
        if trainer.global_step and self._restored is None:
            raise CrosstaskError(
                f"{self._folder}: its checkpoint has no average of the weights; set training.average=null to go on"
            )
        batches, together = int(trainer.num_training_batches), pl_module.settings.accumulate
        decay = decay_per_step(self._epochs, math.ceil(batches / together))
        self._average = AveragedModel(pl_module.architecture, multi_avg_fn=_averaging(decay), use_buffers=True)
        self._average.requires_grad_(requires_grad=False)
        if self._restored is not None:
            self._average.load_state_dict(self._restored)
            self._restored = None
        self._steps = trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Take the weights in after each step of the optimiser; of accumulated batches after the last."""
        assert isinstance(pl_module, TrainingModule) and self._average is not None
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            self._average.update_parameters(pl_module.architecture)

    def finish(self, trainer: L.Trainer) -> None:
        """Write the average as it is after the last epoch, also of a run that was killed after that."""
        state = self._restored if self._average is None else self._average.state_dict()
        if trainer.is_global_zero and not trainer.interrupted and state is not None:
            own = {name.removeprefix(_OWN): value for name, value in state.items() if name.startswith(_OWN)}
            write_atomically(self._folder / AVERAGE, weights_bytes(own))
