"""One training step, as Lightning runs it."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from crosstask.architectures import Architecture
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import TrainingSection
from crosstask.sample import Batch
from crosstask.tasks.base import Task
from crosstask.weighting import Weighting

_REMEDY = "lower it, set training.gradient_clip, or train at precision 32, with another output= as runs keep settings"


class TrainingModule(L.LightningModule):
    """An architecture, its tasks and a weighting in training.

    Args:
        architecture: image -> raw output per task.
        tasks: the tasks, already fitted to the training cases.
        weighting: how their losses become one.
        settings: optimiser and schedule.
        encoder_learning_rate: of the encoder's own, or None; an error where the architecture states no encoder.
        major: the task whose skill alone is the score, or None for the mean of all.
        seed: of what the architecture draws in training, such as dropout.
    """

    def __init__(
        self,
        architecture: Architecture,
        tasks: tuple[Task, ...],
        weighting: Weighting,
        settings: TrainingSection,
        *,
        encoder_learning_rate: float | None = None,
        major: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if encoder_learning_rate is not None:
            architecture.check_encoder_rate()
        self.architecture = architecture
        self.tasks = tasks
        self.weighting = weighting
        self.settings = settings
        self.major = major
        self._seed = seed
        self._encoder_learning_rate = encoder_learning_rate or settings.learning_rate
        self.epoch_losses: dict[str, float] = {}
        self.epoch_weights: dict[str, float] = {}
        self.skills: dict[str, float] = {}
        self.score = math.nan
        self._sums: dict[str, list[Tensor]] = {}
        self._tallies: dict[str, Tensor] = {}

    def configure_optimizers(self) -> Any:
        """Adam with the papers' settings; the encoder may have a learning rate of its own."""
        encoder: list[Tensor] = []
        rest: list[Tensor] = []
        own = {id(parameter) for parameter in self.architecture.encoder_parameters()}
        for parameter in self.architecture.parameters():
            (encoder if id(parameter) in own else rest).append(parameter)
        rates = ((encoder, self._encoder_learning_rate), (rest, self.settings.learning_rate))
        return torch.optim.Adam(
            [{"params": parameters, "lr": rate, "rate": rate} for parameters, rate in rates if parameters],
            weight_decay=self.settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),  # one pass over all parameters
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches are ours, so we move them."""
        batch = batch.to(device, non_blocking=True)
        if self.settings.channels_last and batch.image.ndim == 4:
            batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        return batch

    def on_train_epoch_start(self) -> None:
        """Fix the learning rate and the weights of the epoch: both follow from what a checkpoint holds."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["rate"] * self._schedule()
        self.epoch_weights = self.weighting.weights()
        self._sums = {task.name: [] for task in self.tasks}

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Let dropout follow from seed and epoch, so that a resumed run leaves out what the unbroken one would.

        At the first batch and no sooner, because a new loader draws from the same generator.
        """
        if batch_index == 0:
            entropy = [self._seed, self.current_epoch, self.global_rank]
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Weighted sum of the losses of the tasks that have a label in the batch; no step where none has one."""
        outputs = self.architecture(batch.image)
        total: Tensor | None = None
        for task in self.tasks:
            present = batch.present[task.name]
            labelled = task.counted(present).sum()
            if not bool(labelled):
                continue
            loss = task.loss(outputs[task.name], batch.targets[task.name], present, batch.region)
            if not bool(torch.isfinite(loss)):
                _refuse_strange(batch, task.name)
            self._sums[task.name].append(torch.stack([loss.detach() * labelled, labelled.to(loss.dtype)]))
            weighted = self.epoch_weights[task.name] * loss
            total = weighted if total is None else total + weighted
        return total

    def finish_epoch(self) -> None:
        """Sum up the epoch's unweighted losses and tell the weighting; the recorder calls this before it writes."""
        for task in self.tasks:
            sums = self._sums[task.name]
            added = torch.stack(sums).sum(0) if sums else torch.zeros(2, device=self.device)
            added = self.trainer.strategy.reduce(added, reduce_op="sum")
            self.epoch_losses[task.name] = float(added[0] / added[1]) if added[1] > 0 else math.nan
            if added[1] > 0 and not math.isfinite(self.epoch_losses[task.name]):
                raise InputError(
                    f"training.learning_rate: the loss of task {task.name!r} is not finite in epoch "
                    f"{self.trainer.current_epoch + 1}; {_REMEDY}"
                )
        self.weighting.end_epoch(self.epoch_losses)

    def _schedule(self) -> float:
        if self.settings.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * self.trainer.current_epoch / self.settings.epochs))

    def on_validation_epoch_start(self) -> None:
        """Begin the sums anew."""
        self._tallies = {}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add the batch to the sums behind each task's skill."""
        outputs = self.architecture(batch.image)
        for task in self.tasks:
            decoded = task.decode(outputs[task.name])
            if not bool(torch.isfinite(decoded).all()):
                _refuse_strange(batch, task.name)
                raise InputError(
                    f"training.learning_rate: what is predicted of task {task.name!r} for validation cases is not "
                    f"finite in epoch {self.trainer.current_epoch + 1}; {_REMEDY}"
                )
            tally = task.tally(decoded, batch.targets[task.name], batch.present[task.name], batch.region)
            before = self._tallies.get(task.name)
            self._tallies[task.name] = tally if before is None else before + tally

    def on_validation_epoch_end(self) -> None:
        """Mean skill over the tasks that have validation labels, or that of the major task."""
        if self.trainer.sanity_checking:
            return
        for task in self.tasks:
            tally = self.trainer.strategy.reduce(self._tallies[task.name], reduce_op="sum")
            self.skills[task.name] = task.skill(tally.cpu())
        judged = self.skills if self.major is None else {self.major: self.skills[self.major]}
        known = [skill for skill in judged.values() if math.isfinite(skill)]
        self.score = sum(known) / len(known) if known else math.nan
        self.log("score", self.score, prog_bar=True, logger=False, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the weighting's history with the weights."""
        checkpoint["weighting"] = self.weighting.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the weighting's history back."""
        self.weighting.load_state(checkpoint["weighting"])


def _refuse_strange(batch: Batch, task: str) -> None:
    """Name the case of a batch whose image or label is no number, if there is one.

    Raises:
        CrosstaskError: there is.
    """
    for what, values in (("image", batch.image), (f"label of task {task!r}", batch.targets[task])):
        strange = ~torch.isfinite(values).flatten(1).all(1)
        if bool(strange.any()):
            case = batch.cases[int(strange.nonzero()[0])]
            raise CrosstaskError(
                f"case {case}: its {what} holds NaN or infinite values; run crosstask prepare again, or leave the case "
                "out"
            )
