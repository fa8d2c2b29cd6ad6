"""Auxiliary characteristics (Fang et al., 2019): one diagnosis, helped by what else is known of the training cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError
from crosstask.nn.decoder import OUTPUT_STD, first_bias
from crosstask.nn.parts import Parts
from crosstask.nn.pretrained import fully_connected_weights
from crosstask.registry import ENCODERS
from crosstask.tasks.base import Head

POOL: dict[int, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}


# Nodes of FC1 and FC2, and positions of FC0 along each axis.
FORMS = {"pooled": (128, 1), "paper": (4096, 6)}
FIRST_WEIGHTS = ("random", "imagenet")


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

    There are two forms of the layers behind the encoder. The ``paper``'s, for AlexNet: FC0 is its last feature of
    6 x 6 positions as it is, 9216 nodes, FC1 and FC2 have 4096 as AlexNet's layers do, with dropout before each, and
    the major task alone is the default AlexNet with its two layers of 4096 and another output. ``pooled``, for any
    encoder and few cases: FC0 is the last feature averaged over all positions, FC1 and FC2 have 128 nodes, followed by
    dropout, and the major task alone has FC2 between. All start with Gaussian weights (He et al., 2015).

    Args:
        tasks: ``{name: Head}``, all at image level.
        major: name of the major task.
        parts: makes its encoder, of which the last feature is taken; see :class:`crosstask.nn.parts.Parts`.
        form: ``pooled`` or ``paper``.
        fc1, fc2: nodes of FC1 and FC2; None for the form's.
        dropout: share of the nodes that a training step leaves out.
        positions: of FC0 along each axis of the image; None for the form's.
        fully_connected: first weights of the paper's form: ``random``, as in the paper with transfer learning too, or
            ``imagenet``, where the encoder's weights are AlexNet's file: FC1 and FC2 have those of its first layer, the
            default AlexNet those of both.

    Raises:
        InputError: a task is at pixel level, major is none of them, or an option is out of its range.
    """

    name = "auxiliary"
    label = "MTL"
    needs_major = True

    def __init__(
        self,
        tasks: Mapping[str, Head],
        parts: Parts,
        *,
        major: str,
        form: Literal["pooled", "paper"] = "pooled",
        fc1: int | None = None,
        fc2: int | None = None,
        dropout: float = 0.5,
        positions: int | None = None,
        fully_connected: Literal["random", "imagenet"] = "random",
    ) -> None:
        super().__init__(tasks, parts)
        self._check(major, {"form": form, "fully_connected": fully_connected})
        self._check_form(form, fully_connected)
        nodes_of_form, positions_of_form = FORMS[form]
        fc1, fc2 = (nodes_of_form if nodes is None else nodes for nodes in (fc1, fc2))
        positions = positions_of_form if positions is None else positions
        self._check(major, {"fc1": fc1, "fc2": fc2, "positions": positions, "dropout": dropout})
        self.form, self.fully_connected = form, fully_connected
        self.major = major
        self.auxiliaries = tuple(task for task in tasks if task != major)
        self.encoder = parts.extractor()
        self.fc0 = nn.Sequential(POOL[parts.spatial_dims](positions), nn.Flatten())
        nodes = self.encoder.channels[-1] * positions**parts.spatial_dims
        layers = _pooled if form == "pooled" else _of_alexnet
        if self.auxiliaries:
            self.fc1 = layers(dropout, nodes, fc1)
        default_alexnet = form == "paper" and not self.auxiliaries
        self.fc2 = layers(dropout, nodes, fc2, *([fc2] if default_alexnet else []))
        inferred = sum(self.heads[task].channels for task in self.auxiliaries)
        for task, head in self.heads.items():
            self.decoders[task] = _classifier(fc2 + inferred if task == major else fc1, head)
        self._sizes = nodes, fc1, fc2
        self.load_more(parts.weights)

    def load_more(self, weights: str | Path | None) -> None:
        """Load AlexNet's own fully connected layers from ImageNet's file, if they are asked for and there is one.

        Raises:
            InputError: the file has none, or not of these shapes.
        """
        if self.fully_connected == "random" or weights is None:
            return
        state, path = fully_connected_weights(weights, self.parts.name)
        for branch in (self.fc1, self.fc2) if self.auxiliaries else (self.fc2,):
            linear = [layer for layer in branch if isinstance(layer, nn.Linear)]
            for layer, (weight, bias) in zip(linear, state, strict=False):
                if layer.weight.shape != weight.shape:
                    raise InputError(
                        f"architecture.{self.name}.fully_connected: {path} has layers of {tuple(weight.shape)} and the "
                        f"network of {tuple(layer.weight.shape)}; leave out fc1, fc2 and positions, or set it random"
                    )
                with torch.no_grad():
                    layer.weight.copy_(weight)
                    layer.bias.copy_(bias)

    def describe(self) -> str:
        """Its form, and how many nodes the layers have."""
        fc0, fc1, fc2 = self._sizes
        if self.form == "paper" and not self.auxiliaries:
            return f"form paper: the default AlexNet, fully connected layers of {fc0}, {fc2} and {fc2} nodes"
        return f"form {self.form}: FC0 of {fc0} nodes, FC2 of {fc2}{f', FC1 of {fc1}' if self.auxiliaries else ''}"

    def _check_form(self, form: str, fully_connected: str) -> None:
        name = self.parts.name
        if form == "paper" and ENCODERS.find(name).positions is None:
            fitting = ", ".join(one for one in ENCODERS if ENCODERS[one].positions is not None)
            raise InputError(
                f"architecture.{self.name}.form: the paper's has the fully connected layers of AlexNet, and the "
                f"encoder is {name}; set encoder.name={fitting}, or form pooled"
            )
        if fully_connected == "imagenet" and form != "paper":
            raise InputError(
                f"architecture.{self.name}.fully_connected: ImageNet's layers fit the form paper alone; set form "
                "paper, or leave it out"
            )

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
        for key, known in (("form", tuple(FORMS)), ("fully_connected", FIRST_WEIGHTS)):
            if options.get(key, known[0]) not in known:
                yield key, f"{options[key]!r} is not known; give {' or '.join(known)}"
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


def _linear(in_nodes: int, nodes: int) -> nn.Linear:
    layer = nn.Linear(in_nodes, nodes)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def _pooled(dropout: float, *nodes: int) -> nn.Sequential:
    """Fully connected layer, ReLU, dropout, as often as wanted: ``b first`` to ``b last``."""
    parts = [(_linear(*pair), nn.ReLU(inplace=True), nn.Dropout(dropout)) for pair in pairwise(nodes)]
    return nn.Sequential(*(layer for part in parts for layer in part))


def _of_alexnet(dropout: float, *nodes: int) -> nn.Sequential:
    """The same with dropout before each layer, where torchvision's AlexNet has it."""
    parts = [(nn.Dropout(dropout), _linear(*pair), nn.ReLU()) for pair in pairwise(nodes)]
    return nn.Sequential(*(layer for part in parts for layer in part))


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
