"""What the tasks of a run do to each other while it is trained: cosines of gradients, and affinities.

Looking changes nothing: gradients are computed beside those that the step takes, a look ahead works on copies of
parameters and buffers, and what it draws is given back. See docs/transfer.md.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from crosstask import ranks
from crosstask.architectures.base import Architecture
from crosstask.files import write_atomically
from crosstask.functional.gradients import Products, affinity, ahead, none_of, products_of, step_length
from crosstask.runs import TRANSFER
from crosstask.transfer import AFFINITY, BELOW, COSINE, EPOCH, NORM, STEPS, TOGETHER, WEIGHT, WHOLE, columns
from crosstask.weighting.gradient import gramian

STEPS_PER_TASK = 50
"""Of so many batches for each task one is looked at, unless told otherwise: it costs about a step a task."""
LossesWith = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Losses of the batch at hand with other parameters, by their names; of the tasks that have a label."""


class Probe:
    """Looks at one batch in so many, and sums up an epoch.

    Which batches these are follows from the number of the batch alone, counted over epochs: a short epoch may have
    none, and a run that goes on has the same as an unbroken one.

    Args:
        architecture: the network.
        every: of so many batches the last is looked at; None for :data:`STEPS_PER_TASK` a task.
    """

    def __init__(self, architecture: Architecture, every: int | None = None) -> None:
        self.tasks = tuple(architecture.heads)
        self.every = STEPS_PER_TASK * len(self.tasks) if every is None else every
        self._parts = {
            part: [id(parameter) for parameter in parameters if parameter.requires_grad]
            for part, parameters in architecture.shared_parts().items()
        }
        shared = {index for own in self._parts.values() for index in own}
        self._parameters = {
            name: parameter for name, parameter in architecture.named_parameters() if id(parameter) in shared
        }
        self.columns = columns(list(self._parts), self.tasks)
        self._gradients: dict[str, dict[int, Tensor | None]] = {}
        self._scale = 1.0
        self._steps = 0
        self._sums: dict[str, list[float]] = {}

    @property
    def sees_anything(self) -> bool:
        """Whether there are several tasks, and they share something that is learned."""
        return len(self.tasks) > 1 and bool(self._parameters) and self.every > 0

    def is_due(self, number: int) -> bool:
        """Whether the batch of that number is looked at, counted from the first of the run."""
        return number % self.every == self.every - 1

    def begin(self, scale: Tensor) -> None:
        """Begin with a batch.

        Args:
            scale: factor of all gradients that :meth:`look` is told.
        """
        self._gradients, self._scale = {}, float(scale)

    def look(self, task: str, parameters: Sequence[nn.Parameter], found: Sequence[Tensor | None]) -> None:
        """Take the gradients of one task's loss, those of all processes that train together."""
        there = [own for own in found if own is not None]
        summed = iter(ranks.total_of_all(there))
        whole = [None if own is None else next(summed) for own in found]
        self._gradients[task] = {id(one): own for one, own in zip(parameters, whole, strict=True)}

    def differentiate(self, losses: Mapping[str, Tensor], scale: Tensor) -> None:
        """Compute the gradients of all tasks, and keep the graphs for the step itself."""
        parameters = list(self._parameters.values())
        for task, loss in losses.items():
            factor = scale.to(loss.dtype)
            self.look(
                task, parameters, torch.autograd.grad(loss, parameters, factor, retain_graph=True, allow_unused=True)
            )

    def finish(
        self, losses: Mapping[str, float], weights: Mapping[str, Tensor], losses_with: LossesWith | None = None
    ) -> None:
        """Sum up what was seen of the batch; nothing where a gradient is not finite, as mixed precision must expect.

        Args:
            losses: of the batch.
            weights: of the losses in the step, as far as they have any.
            losses_with: see :data:`LossesWith`; None for no look ahead.
        """
        tasks = [task for task in self.tasks if task in self._gradients]
        by_part = {part: self._products(tasks, own) for part, own in self._parts.items()}
        whole = sum(by_part.values(), none_of(len(tasks)))
        if tasks and whole.finite:
            self._steps += 1
            for task, weight in weights.items():
                self._add(float(weight), WEIGHT, task)
            for part, products in {WHOLE: whole, **by_part}.items():
                self._add_part(part, tasks, products)
            squares = [norm**2 for norm in whole.norms()]
            rate = step_length([losses[task] for task in tasks], squares)
            for one in tasks:
                for other in tasks:
                    self._add(1.0, TOGETHER, one, other)
            if losses_with is not None and math.isfinite(rate):
                self._look_ahead(tasks, losses, rate, losses_with)
        self._gradients = {}

    def _products(self, tasks: Sequence[str], part: Sequence[int]) -> Products:
        gradients = [[self._gradients[task].get(index) for index in part] for task in tasks]
        found = products_of(gradients, gramian)
        factor = self._scale**2
        return Products(found.inner / factor, found.squares / factor, found.common)

    def _add_part(self, part: str, tasks: Sequence[str], products: Products) -> None:
        for task, norm in zip(tasks, products.norms(), strict=True):
            self._add(norm, NORM, part, task)
        for (one, first), (other, second) in combinations(zip(range(len(tasks)), tasks, strict=True), 2):
            cosine = products.cosine(one, other)
            self._add(cosine, COSINE, part, first, second)
            self._add(math.nan if math.isnan(cosine) else float(cosine < 0), BELOW, part, first, second)

    def _look_ahead(
        self, tasks: Sequence[str], losses: Mapping[str, float], rate: float, losses_with: LossesWith
    ) -> None:
        for task in tasks:
            gradients = [self._gradients[task].get(id(parameter)) for parameter in self._parameters.values()]
            after = losses_with(ahead(self._parameters, gradients, rate / self._scale))
            for other in tasks:
                self._add(affinity(losses[other], float(after[other])), AFFINITY, task, other)

    def _add(self, value: float, *of: str) -> None:
        if math.isfinite(value):
            self._sums.setdefault(".".join(of), []).append(value)

    def start_epoch(self) -> None:
        """Begin the sums anew."""
        self._steps, self._sums = 0, {}

    def row(self, epoch: int) -> dict[str, Any]:
        """The epoch's row of the table: means over its steps, empty where there was none."""
        means: dict[str, Any] = {name: math.fsum(values) / len(values) for name, values in self._sums.items()}
        counts = {name: len(values) for name, values in self._sums.items() if name.startswith(f"{TOGETHER}.")}
        row = {name: 0 if name.startswith(f"{TOGETHER}.") else "" for name in self.columns}
        return {**row, **means, **counts, EPOCH: epoch, STEPS: self._steps}


class TransferRecorder(L.Callback):
    """Writes what a probe has seen, a row an epoch, and keeps it in the run's checkpoints.

    It stands before what writes the checkpoint of an epoch.

    Args:
        folder: the run folder.
        probe: the probe.
    """

    def __init__(self, folder: Path, probe: Probe) -> None:
        self._folder, self._probe = folder, probe
        self._rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        return {"rows": self._rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self._rows = state["rows"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the sums anew."""
        self._probe.start_epoch()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the table."""
        epoch = trainer.current_epoch
        self._rows = [*(row for row in self._rows if row[EPOCH] < epoch), self._probe.row(epoch)]
        if not trainer.is_global_zero:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=self._probe.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._folder / TRANSFER, text.getvalue())


def random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """State of PyTorch's random numbers on the CPU, and on the device if that has its own."""
    on_device = None
    if device.type != "cpu" and (module := getattr(torch, device.type, None)) is not None:
        on_device = module.get_rng_state(device) if device.type == "cuda" else module.get_rng_state()
    return torch.get_rng_state(), on_device


@contextmanager
def drawing_as(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    """Draw random numbers as from a state on, and go on afterwards as if nothing had been drawn."""
    now = random_state(device)
    _set_random_state(state, device)
    try:
        yield
    finally:
        _set_random_state(now, device)


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    on_cpu, on_device = state
    torch.set_rng_state(on_cpu)
    if on_device is not None:
        module = getattr(torch, device.type)
        module.set_rng_state(on_device, device) if device.type == "cuda" else module.set_rng_state(on_device)
