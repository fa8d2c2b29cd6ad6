"""The sequential way: each task's network sees what those before it predicted, as clinics contour and then plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError
from crosstask.nn.parts import Parts
from crosstask.tasks.base import Head


class Sequential(Architecture):
    """One network after the other: contours first, then the dose from the image and the contours as they are predicted.

    ::

        image -------------------------> encoder_1 -> decoder_1 -> output_1
        image, prediction_1 -----------> encoder_2 -> decoder_2 -> output_2
        image, prediction_1, _2 -------> encoder_3 -> ...

    Every network is single-task learning's but for its input: channels more, which hold the predictions of the
    pixel-level tasks before it, decoded (probabilities of classes, quantities in the scale of the output). No gradient
    goes back through them, so a later task neither helps nor hurts an earlier one, and the first is learned exactly as
    alone; it is what joint methods must beat where a clinic would work so (Kim et al. 2024, *sequential*). A network
    sees in training the predictions for cases that the one before was trained on, which are better than those for new
    ones, and in the first epochs worse.

    With the true contours in the place of predicted ones (``dataset.structure_input``, which names the same structures)
    single-task learning gives the upper bound.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoders; see :class:`crosstask.nn.parts.Parts`.
        order: names of all tasks, the first first. By default tasks at pixel level come before those at image level,
            and of them classes (contours) before quantities (dose); else as given.

    Raises:
        InputError: ``order`` has other names than the tasks.
    """

    name = "sequential"
    task_modules = ("encoders", "decoders")

    def __init__(self, tasks: Mapping[str, Head], parts: Parts, *, order: Sequence[str] | None = None) -> None:
        super().__init__(tasks, parts)
        if order is not None and sorted(order) != sorted(tasks):
            raise InputError(
                f"architecture.sequential.order: {list(order)} is not an order of the tasks {', '.join(tasks)}"
            )
        self.order = tuple(sorted(tasks, key=lambda task: _place(tasks[task])) if order is None else order)
        self.encoders = nn.ModuleDict()
        before = 0
        for task in self.order:
            own = parts.encoder(more_channels=before)
            self.encoders[task] = own
            before += tasks[task].channels if tasks[task].level == "pixel" else 0
        self.add_decoders(own.channels)

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from super().faults(options)
        order = options.get("order")
        if order is not None and len(set(order)) != len(order):
            yield "order", f"{list(order)!r} has a task twice; give each once"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs, seen = {}, image
        for task in self.order:
            output = self.decode(task, self.encoders[task](seen), image)
            if self.heads[task].level == "pixel":
                seen = torch.cat([seen, decoded(output.detach(), self.heads[task])], dim=1)
            outputs[task] = output
        return {task: outputs[task] for task in self.heads}

    def describe(self) -> str:
        """In which order the tasks are learned."""
        return ", then ".join(self.order)


def _place(head: Head) -> tuple[bool, bool]:
    return head.level != "pixel", head.values == "quantity"


def decoded(output: Tensor, head: Head) -> Tensor:
    """What a network after this one is shown of its raw output ``b c *s``: probabilities, or quantities as they are."""
    if head.values == "sigmoid":
        return output.sigmoid()
    return output.softmax(dim=1) if head.values == "softmax" else output
