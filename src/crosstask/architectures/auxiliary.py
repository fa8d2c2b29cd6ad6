"""Auxiliary characteristics (Fang et al., 2019): one diagnosis, helped by what else is known of the training cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError
from crosstask.nn.decoder import OUTPUT_STD, first_bias
from crosstask.nn.encoder import build_extractor
from crosstask.tasks.base import Head

POOL: dict[int, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


class Auxiliary(Architecture):
    """A major task that reads what was inferred of the auxiliary ones; Fig. 1 of Fang et al. (2019).

    ::

        image -> encoder -> FC0 -> FC1 -> classifier_k -> output_k      (each auxiliary task k)
                             |                 |
                             |           inferred nodes_k
                             |                 v
                             +---> FC2 -> concatenation -> classifier -> output of the major task

    The inferred nodes are what an auxiliary output means: the probabilities of a softmax or a sigmoid, and of a
    quantity the raw output, since tasks scale that to the size of one themselves. They are part of the graph, so the
    major task's loss trains the auxiliary branch too. Labels are for the losses; a prediction needs the image alone.

    The major task alone has neither FC1 nor a concatenation: the single-task network that the paper compares with.

    Ours, because the paper does not print it: the sizes of FC1 and FC2, and FC0 itself, which is the last feature of
    the encoder averaged over all positions (``positions=6`` gives the 9216 nodes of the original AlexNet, with 36
    times the weights behind them). FC1 and FC2 are followed by ReLU and dropout, as AlexNet's are, and start with
    Gaussian weights (He et al., 2015).

    Args:
        tasks: ``{name: Head}``, all at image level.
        major: name of the major task.
        encoder, spatial_dims, in_channels, weights: see :func:`crosstask.nn.encoder.build_extractor`.
        fc1, fc2: nodes of FC1 and FC2.
        dropout: share of the nodes of FC1 and FC2 that a training step leaves out.
        positions: of FC0 along each axis of the image.
        upsampling_blocks: of pixel decoders, which all other architectures may have; here there is none to count.

    Raises:
        InputError: a task is at pixel level, major is none of them, or an option is out of its range.
    """

    name = "auxiliary"
    encoder_modules = ("encoder",)

    def __init__(
        self,
        tasks: Mapping[str, Head],
        *,
        major: str,
        encoder: str = "resnet50",
        spatial_dims: int = 2,
        in_channels: int = 1,
        weights: str | Path | None = None,
        fc1: int = 128,
        fc2: int = 128,
        dropout: float = 0.5,
        positions: int = 1,
        upsampling_blocks: int = 3,
    ) -> None:
        super().__init__(tasks)
        self._check(major, {"fc1": fc1, "fc2": fc2, "positions": positions, "dropout": dropout})
        self.major = major
        self.auxiliaries = tuple(task for task in tasks if task != major)
        self.encoder = build_extractor(encoder, spatial_dims=spatial_dims, in_channels=in_channels, weights=weights)
        self.fc0 = nn.Sequential(POOL[spatial_dims](positions), nn.Flatten())
        nodes = self.encoder.channels[-1] * positions**spatial_dims
        if self.auxiliaries:
            self.fc1 = _fully_connected(nodes, fc1, dropout)
        self.fc2 = _fully_connected(nodes, fc2, dropout)
        inferred = sum(self.heads[task].channels for task in self.auxiliaries)
        for task, head in self.heads.items():
            self.decoders[task] = _classifier(fc2 + inferred if task == major else fc1, head)

    def _check(self, major: str, options: Mapping[str, Any]) -> None:
        for task, head in self.heads.items():
            if head.level != "image":
                raise InputError(
                    f"architecture: {self.name} has tasks at image level alone, and {task!r} is at {head.level} level; "
                    "leave the task out, or the method"
                )
        if major not in self.heads:
            raise InputError(f"major: {major!r} is no task of the network; it has {', '.join(self.heads)}")
        for key, message in self.faults(options):
            raise InputError(f"architecture.{self.name}.{key}: {message}")

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from super().faults(options)
        for key in ("fc1", "fc2", "positions"):
            size = options.get(key, 1)
            if not isinstance(size, int) or size < 1:
                yield key, f"{size!r} is not possible; give 1 or more"
        dropout = options.get("dropout", 0)
        if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
            yield "dropout", f"{dropout!r} is not possible; give 0 to below 1"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fc0 = self.fc0(self.encoder(image)[-1])
        outputs = {}
        if self.auxiliaries:
            fc1 = self.fc1(fc0)
            outputs = {task: self.decoders[task](fc1) for task in self.auxiliaries}
        inferred = [_inferred(outputs[task], self.heads[task]) for task in self.auxiliaries]
        outputs[self.major] = self.decoders[self.major](torch.cat([self.fc2(fc0), *inferred], dim=1))
        return {task: outputs[task] for task in self.heads}

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """The major task's FC2 and classifier; the auxiliary branch serves the major task too and is no one's own."""
        return [*self.fc2.parameters(), *self.decoders[task].parameters()] if task == self.major else []


def _fully_connected(in_nodes: int, nodes: int, dropout: float) -> nn.Sequential:
    """Fully connected layer, ReLU, dropout: ``b in`` to ``b nodes``."""
    layer = nn.Linear(in_nodes, nodes)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.ReLU(inplace=True), nn.Dropout(dropout))


def _classifier(in_nodes: int, head: Head) -> nn.Linear:
    """The output layer of a task, which starts near its bias: ``b in`` to ``b channels``."""
    layer = nn.Linear(in_nodes, head.channels)
    nn.init.normal_(layer.weight, std=OUTPUT_STD)
    layer.bias = first_bias(head.channels, head.bias)
    return layer


def _inferred(output: Tensor, head: Head) -> Tensor:
    """Inferred nodes of an auxiliary task, ``b channels``, of its raw output."""
    if head.values == "softmax":
        return output.softmax(dim=1)
    return output.sigmoid() if head.values == "sigmoid" else output
