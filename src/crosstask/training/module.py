"""One training step, as Lightning runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from crosstask import ranks
from crosstask.architectures import Architecture
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import TrainingSection
from crosstask.functional.batch_sums import summed_by
from crosstask.nn.deep_supervision import DeepSupervision, halving_mean
from crosstask.sample import Batch
from crosstask.tasks.base import Task
from crosstask.training.compiling import Network, compiled
from crosstask.training.shares import GradientSums, total_of_shares, whole_batch
from crosstask.training.transfer import Probe, drawing_as, random_state
from crosstask.weighting import Step, Weighting

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
        probe: looks at some batches more closely, which changes nothing in training; None for none.
        change: of training batches once they are on the device; None for none.
        tell: told in one line where the network cannot be compiled.

    Several processes may train together, each on its share of every batch: losses are those of the whole batch, the
    same in all of them, and so is what follows from losses (see :mod:`crosstask.training.shares`).
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
        probe: Probe | None = None,
        change: Callable[[Batch], Batch] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        if encoder_learning_rate is not None:
            architecture.check_has_encoder("learning_rate")
        self.architecture = architecture
        self.supervision: DeepSupervision | None = None
        if settings.deep_supervision and (decoders := architecture.pixel_decoders()):
            biases = {task: architecture.heads[task].bias for task in decoders}
            self.supervision = DeepSupervision(decoders, settings.deep_supervision, biases)
        self.tasks = tasks
        self.weighting = weighting
        self.settings = settings
        self.major = major
        self._seed = seed
        self._tell = tell or (lambda line: None)
        self._encoder_learning_rate = encoder_learning_rate or settings.learning_rate
        self.epoch_losses: dict[str, float] = {}
        self.epoch_weights: dict[str, float] = {}
        self._weights: dict[str, list[Tensor]] = {}
        self._losses: dict[str, Tensor] = {}
        self._batch: Batch | None = None
        self.probe = probe
        self.change = change
        self._compiled: tuple[Network] | None = None  # in a tuple, or it would be a module of this one
        self._looked_at: Batch | None = None
        self._drawn: tuple[Tensor, Tensor | None] | None = None
        self._ends = True
        self._pending = False
        self.skills: dict[str, float] = {}
        self.never_predicted: dict[str, list[str]] = {}
        self.score = math.nan
        self._sums: dict[str, list[Tensor]] = {}
        self._tallies: dict[str, Tensor] = {}
        self.is_sharded = False
        """Each process keeps a part of the network's weights, and what shards them adds up their gradients."""
        self._alike: Tensor | None = None

    def configure_optimizers(self) -> Any:
        """Adam with the papers' settings; the encoder may have a learning rate of its own."""
        encoder: list[Tensor] = []
        rest: list[Tensor] = []
        own = {id(parameter) for parameter in self.architecture.encoder_parameters()}
        heads = [] if self.supervision is None else list(self.supervision.parameters())
        for parameter in (*self.architecture.parameters(), *heads):
            (encoder if id(parameter) in own else rest).append(parameter)
        rates = ((encoder, self._encoder_learning_rate), (rest, self.settings.learning_rate))
        groups: list[dict[str, Any]] = [
            {"params": parameters, "lr": rate, "rate": rate} for parameters, rate in rates if parameters
        ]
        self.weighting.to(self.device)
        if learned := list(self.weighting.parameters()):
            rate = self.weighting.learning_rate or self.settings.learning_rate
            groups.insert(0, {"params": learned, "lr": rate, "rate": rate, "weight_decay": 0.0})
        # One pass over all parameters; but that takes out the factor of mixed precision itself, after the clipping, and
        # Lightning refuses to clip before it even where (in bfloat16) there is no factor.
        late = self.settings.gradient_clip is not None and str(self.trainer.precision).endswith("-mixed")
        fused = self.device.type in ("cpu", "cuda") and not late
        if self.is_sharded and heads:  # which are not, and no kernel takes both
            return torch.optim.Adam(groups, weight_decay=self.settings.weight_decay, foreach=False)
        return torch.optim.Adam(groups, weight_decay=self.settings.weight_decay, fused=fused)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches are ours, so we move them."""
        batch = batch.to(device, non_blocking=True).unpacked()
        if self.change is not None and self.trainer.training:
            batch = self.change(batch)
        if self.settings.channels_last and batch.image.ndim == 4:
            batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        return batch

    def compile_for(self, shape: Sequence[int]) -> None:
        """Compile the network for training batches ``b c *s``, as far as that is possible here."""
        found = compiled(
            self.architecture.train(),
            shape,
            device=self.device,
            context=self.trainer.precision_plugin.forward_context,
            tell=self._tell,
        )
        self._compiled = (found,)

    def on_train_epoch_start(self) -> None:
        """Fix the learning rate and the weights of the epoch: both follow from what a checkpoint holds."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["rate"] * self._schedule()
        self.weighting.start_epoch()
        self._weights = {task.name: [] for task in self.tasks}
        self._sums = {task.name: [] for task in self.tasks}

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Let dropout follow from seed and epoch, so that a resumed run leaves out what the unbroken one would.

        At the first batch and no sooner, because a new loader draws from the same generator. Of several processes each
        leaves out others; what the weighting draws is the same in all, as the first of them draws it.
        """
        if self.settings.compile and self._compiled is None:
            self.compile_for(batch.image.shape)
        if batch_index == 0:
            torch.manual_seed(self._entropy_of(self.global_rank))
            if ranks.world_size() > 1:
                self._alike = torch.Generator().manual_seed(self._entropy_of(0)).get_state()

    def _entropy_of(self, rank: int) -> int:
        """Seed of what a process draws in this epoch."""
        return int(np.random.SeedSequence([self._seed, self.current_epoch, rank]).generate_state(1)[0])

    @contextmanager
    def _drawing_alike(self) -> Iterator[None]:
        """Draw the same in all processes that train together."""
        if self._alike is None:
            yield
            return
        own = torch.get_rng_state()
        torch.set_rng_state(self._alike)
        try:
            yield
        finally:
            self._alike = torch.get_rng_state()
            torch.set_rng_state(own)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """The losses of the tasks that have a label in the batch; no step where none has one.

        Lightning is given a one in their place: what it becomes on its way to :meth:`backward` is the factor of all
        gradients, for accumulated batches and mixed precision. That is so without a label, too, where a batch before it
        in the same step had one.
        """
        self._ends = (batch_index + 1) % self.settings.accumulate == 0 or self.trainer.is_last_batch
        if self.probe is not None:
            number = self.current_epoch * int(self.trainer.num_training_batches) + batch_index
            self._looked_at = batch if self.probe.is_due(number) else None
            self._drawn = random_state(self.device) if self._looked_at is not None else None
        self._losses, counts = self._losses_of(batch)
        for name, loss in self._losses.items():
            if not bool(torch.isfinite(loss)):
                _refuse_strange(batch, name)
            self._sums[name].append(torch.stack([loss.detach() * counts[name], counts[name].to(loss.dtype)]))
        if self._losses and self.weighting.looks_back:
            self._batch = batch
        self._pending |= bool(self._losses)
        if not self._pending and ranks.world_size() == 1:  # of several processes Lightning wants a loss from each
            return None
        self._pending = not self._ends
        return torch.ones((), device=self.device, requires_grad=True)

    def _losses_of(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss of each task that has a label in the batch, and how many samples it is the mean of."""
        self._forget_stages()
        network = self.architecture if self._compiled is None else self._compiled[0]
        return self._losses_from(network(batch.image), batch)

    def _losses_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        losses: dict[str, Tensor] = {}
        counts: dict[str, Tensor] = {}
        labelled = ranks.total(torch.stack([task.counted(batch.present[task.name]).sum() for task in self.tasks]))
        for task, count in zip(self.tasks, labelled, strict=True):
            if bool(count):
                losses[task.name] = self._loss_of(task, outputs[task.name], batch)
                counts[task.name] = count
        return losses, counts

    def _forget_stages(self) -> None:
        """Before the network is asked: what heads on coarser stages look at is of one batch alone."""
        if self.supervision is not None:
            self.supervision.begin()

    def _loss_of(self, task: Task, output: Tensor, batch: Batch) -> Tensor:
        """Loss of a task, with those of its heads on coarser stages where there are any."""
        loss = loss_of(task, output, batch)
        if self.supervision is None or task.level != "pixel":
            return loss
        coarser = self.supervision.outputs(task.name, batch.image.shape[2:])
        return halving_mean([loss, *(loss_of(task, other, batch) for other in coarser)])

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Let the weighting make one gradient of the batch's losses.

        Args:
            loss: the one that :meth:`training_step` gave, scaled.
            args: none of Lightning's matters here.
            kwargs: likewise.
        """
        share = 1 / self.settings.accumulate
        step = Step(
            loss.detach(), self._shared, self._own, self._last, share=share, ends=self._ends, summed=ranks.total_of_all
        )
        looks = self.probe is not None and self._looked_at is not None and bool(self._losses)
        sums = self._gradient_sums if self._ends and ranks.world_size() > 1 else None
        if sums is not None and not self.weighting.gives_whole_gradients:
            sums.begin()
        with self._drawing_alike():
            weights = self._looked_backward(step) if looks else self.weighting.backward(self._losses, step)
        if sums is not None:
            sums.finish(without=self._shared if self.weighting.gives_whole_gradients else ())
        for name, weight in weights.items():
            self._weights[name].append(weight.detach())
        self._losses, self._looked_at, self._drawn = {}, None, None

    @cached_property
    def _gradient_sums(self) -> GradientSums:
        heads = [] if self.supervision is None else self.supervision.parameters()
        return GradientSums((*(() if self.is_sharded else self.architecture.parameters()), *heads))

    def _looked_backward(self, step: Step) -> Mapping[str, Tensor]:
        """The same of a batch that the probe looks at: by the gradients of the step if it has them, else beside it."""
        assert self.probe is not None
        self.probe.begin(step.scale)
        if self.weighting.shows_gradients:
            step = replace(step, look=self.probe.look)
        else:
            self.probe.differentiate(self._losses, step.scale)
        weights = self.weighting.backward(self._losses, step)
        # in half precision most weights are the same after so small a step
        before = self._losses if str(self.trainer.precision).startswith(("32", "64")) else self._losses_with({})
        self.probe.finish({name: float(own.detach()) for name, own in before.items()}, weights, self._losses_with)
        return weights

    def _losses_with(self, changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses of the batch in single precision with other parameters, all else as it was, dropout too."""
        assert self._looked_at is not None and self._drawn is not None
        batch, buffers = self._looked_at, {name: own.clone() for name, own in self.architecture.named_buffers()}
        self._forget_stages()
        with torch.no_grad(), drawing_as(self._drawn, self.device):
            outputs = functional_call(self.architecture, {**changed, **buffers}, (batch.image,))
            return self._losses_from(outputs, batch)[0]

    @cached_property
    def _shared(self) -> list[nn.Parameter]:
        return self.architecture.shared_parameters()

    @cached_property
    def _last(self) -> nn.Parameter | None:
        """Weights of the encoder's last layer, or where each task has an encoder, of the last one that they share."""
        encoder = {id(parameter) for parameter in self.architecture.encoder_parameters()}
        layers = [parameter for parameter in self._shared if parameter.ndim > 1 and parameter.requires_grad]
        of_encoder = [parameter for parameter in layers if id(parameter) in encoder]
        return next(reversed(of_encoder or layers), None)

    @cached_property
    def _own(self) -> dict[str, list[nn.Parameter]]:
        own = {task.name: self.architecture.task_parameters(task.name) for task in self.tasks}
        if self.supervision is not None:
            for name, heads in self.supervision.heads.items():
                own[name] = [*own[name], *heads.parameters()]
        return own

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step, and what the weighting makes of it."""
        if ranks.world_size() > 1 and self.trainer.precision == "16-mixed":  # its scaler wants some gradient
            *others, closure = args
            done = closure()
            if all(parameter.grad is None for parameter in self.parameters()):
                return
            args = (*others, lambda: done)
        super().optimizer_step(*args, **kwargs)
        self._average_buffers()
        self.weighting.after_step(self._losses_again)
        self._batch = None

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, **options: Any) -> None:
        """Shorten the gradient; of sharded weights by the length that all parts have together."""
        if not self.is_sharded or not gradient_clip_val:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, **options)
            return
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        parts = [one.to_local() for one in gradients if hasattr(one, "to_local")]
        others = [one for one in gradients if not hasattr(one, "to_local")]
        squares = ranks.total(sum((part.square().sum() for part in parts), torch.zeros((), device=self.device)))
        length = (squares + sum(other.square().sum() for other in others)).sqrt()
        factor = (float(gradient_clip_val) / (length + 1e-6)).clamp(max=1.0)
        for part in (*parts, *others):
            part.mul_(factor)

    def _average_buffers(self) -> None:
        """Let all processes go on with the same running statistics, where each normalises its share by its own."""
        if ranks.world_size() > 1 and not self.settings.sync_batchnorm:
            buffers = [buffer for buffer in self.architecture.buffers() if buffer.is_floating_point()]
            for buffer, whole in zip(buffers, ranks.total_of_all(buffers), strict=True):
                buffer.copy_(whole / ranks.world_size())

    def _losses_again(self) -> dict[str, Tensor]:
        """The losses of the batch after the step; running statistics stay as they are."""
        if self._batch is None:
            return {}
        kept = [buffer.clone() for buffer in self.architecture.buffers()]
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            losses, _ = self._losses_of(self._batch)
            for buffer, before in zip(self.architecture.buffers(), kept, strict=True):
                buffer.copy_(before)
        return losses

    def finish_epoch(self) -> None:
        """Sum up the epoch's unweighted losses and tell the weighting; the recorder calls this before it writes."""
        for task in self.tasks:
            sums = self._sums[task.name]
            added = torch.stack(sums).sum(0) if sums else torch.zeros(2, device=self.device)
            self.epoch_losses[task.name] = float(added[0] / added[1]) if added[1] > 0 else math.nan
            if added[1] > 0 and not math.isfinite(self.epoch_losses[task.name]):
                raise InputError(
                    f"training.learning_rate: the loss of task {task.name!r} is not finite in epoch "
                    f"{self.trainer.current_epoch + 1}; {_REMEDY}"
                )
        self.epoch_weights = {
            name: float(torch.stack(weights).double().mean()) if weights else math.nan
            for name, weights in self._weights.items()
        } | dict(self.weighting.epoch_weights())
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
            tally = ranks.total(self._tallies[task.name])
            self.skills[task.name] = task.skill(tally.cpu())
            self.never_predicted[task.name] = list(task.never_predicted(tally.cpu()))
        judged = self.skills if self.major is None else {self.major: self.skills[self.major]}
        known = [skill for skill in judged.values() if math.isfinite(skill)]
        self.score = sum(known) / len(known) if known else math.nan
        self.log("score", self.score, prog_bar=True, logger=False, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the weighting's history with the weights."""
        checkpoint["weighting"] = self.weighting.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the weighting's history back."""
        self.weighting.load_state_dict(checkpoint["weighting"])


def loss_of(task: Task, output: Tensor, batch: Batch) -> Tensor:
    """Loss of a task's raw output on a batch, with the masks that it looks at."""
    if ranks.world_size() > 1 and not task.sums_over_batch:
        output, batch = whole_batch(task, output, batch)
    name, masks = task.name, task.masks
    further = {} if masks is None else {"masks": batch.targets[masks.name], "masked": batch.present[masks.name]}
    if ranks.world_size() == 1 or not task.sums_over_batch:
        return task.loss(output, batch.targets[name], batch.present[name], batch.region, **further)
    with summed_by(total_of_shares):
        return task.loss(output, batch.targets[name], batch.present[name], batch.region, **further)


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
