"""What an architecture of somebody else can state wrongly is found before it trains, and an encoder of theirs runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crosstask.architectures import Architecture, build
from crosstask.architectures.declared import check_declared
from crosstask.architectures.options import check_options
from crosstask.assembly import dataset_of
from crosstask.errors import InputError
from crosstask.experiment import experiment_from
from crosstask.network import check_networks
from crosstask.nn.encoder_base import Staged
from crosstask.nn.layers import conv_norm_relu, halve
from crosstask.nn.parts import Parts
from crosstask.registry import ARCHITECTURES, ENCODERS, register
from crosstask.runs import run_specs
from crosstask.tasks.base import Head

SMALL = "resnet18-narrow"
TASKS = {"a": ("pixel", 2), "b": ("image", 3)}


class Own(Architecture):
    """One encoder, and a layer a task before its decoder."""

    name = "own"
    task_modules = ("layers", "decoders")

    def __init__(self, tasks: Mapping[str, Head], parts: Parts, *, width=3) -> None:  # type: ignore[no-untyped-def]
        super().__init__(tasks, parts)
        self.backbone = parts.encoder()
        stem = self.backbone.channels[0]
        self.layers = nn.ModuleDict({task: nn.Conv2d(stem, stem, 1) for task in tasks})
        self.add_decoders(self.backbone.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stem, *others = self.backbone(image)
        return {task: self.decode(task, [self.layers[task](stem), *others], image) for task in self.heads}


class Unstated(Own):
    name = "unstated"
    task_modules = ("decoders",)


class Crossing(Own):
    name = "crossing"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stem, *others = self.backbone(image)
        stem = sum(layer(stem) for layer in self.layers.values())
        return {task: self.decode(task, [stem, *others], image) for task in self.heads}


class Copying(Own):
    name = "copying"

    def __init__(self, tasks: Mapping[str, Head], parts: Parts) -> None:
        super().__init__(tasks, parts)
        self.backbone = copy.deepcopy(self.backbone)


class Losing(Own):
    name = "losing"

    def __init__(self, tasks: Mapping[str, Head], parts: Parts) -> None:
        Architecture.__init__(self, tasks)
        self.backbone = parts.encoder()


class Bare(Own):
    name = "bare"

    def __init__(self, tasks: Mapping[str, Head], parts: Parts) -> None:
        Architecture.__init__(self, tasks, parts)


class WithoutParts(Own):
    name = "without_parts"

    def __init__(self, tasks: Mapping[str, Head]) -> None:
        Architecture.__init__(self, tasks)


class Looking(Crossing):
    """Asks for a value, which a network without memory does not have."""

    name = "looking"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        assert image.sum().item() == 0
        return super().forward(image)


class Toy(Staged):
    """Somebody's encoder: a convolution a stage."""

    name = "toy"
    first_convolution = "first.0.weight"
    first_constant = ("first.1.running_mean", -1)

    def __init__(self, *, spatial_dims: int, in_channels: int) -> None:
        super().__init__(spatial_dims=spatial_dims, in_channels=in_channels)
        self.channels = (4, 8, 8, 8, 8)
        dims = {"spatial_dims": spatial_dims}
        self.first = conv_norm_relu(in_channels, 4, 3, **dims)
        self.halve = halve(spatial_dims)
        self.stages = nn.ModuleList(conv_norm_relu(width, 8, 3, **dims) for width in self.channels[:-1])
        self.ends = nn.ModuleList(conv_norm_relu(8, 8, 3, **dims) for _ in self.stages)

    def stem(self, image: Tensor) -> Tensor:
        return self.halve(self.first(self.normalisation(image)))

    def shared(self, stage: int, features: Tensor) -> Tensor:
        return self.stages[stage - 1](self.halve(features))

    def last(self, stage: int, features: Tensor) -> Tensor:
        return self.ends[stage - 1](features)


OF_TESTS = (Own, Unstated, Crossing, Copying, Losing, Bare, WithoutParts, Looking)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for kind in (*OF_TESTS, Toy):
        register(kind)
    yield
    for kind in OF_TESTS:
        ARCHITECTURES.remove(kind.name)
    ENCODERS.remove(Toy.name)


def checked(network: Architecture) -> None:
    with torch.device("meta"):
        check_declared(network, network.train()(torch.empty(2, 1, 32, 32)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unstated", r"does not state that layers\.b\.weight serves the task 'b' alone; .* name that in task_modules"),
        ("crossing", r"states that layers\.a\.weight serves the task 'a' alone, and the output of 'b' depends on it"),
    ],
)
def test_a_wrong_statement_of_own_parameters_is_found(name: str, said: str) -> None:
    with torch.device("meta"):
        network = build(name, encoder=SMALL, tasks=TASKS)
    with pytest.raises(InputError, match=f"architecture: {name} {said}"):
        checked(network)


@pytest.mark.parametrize("name", ["own", *(name for name in ARCHITECTURES if ARCHITECTURES.is_built_in(name))])
def test_a_right_statement_passes(name: str) -> None:
    with torch.device("meta"):
        major = {"major": "b"} if ARCHITECTURES[name].needs_major else {}
        network = build(name, encoder=SMALL, tasks={"b": ("image", 3), "c": ("image", 1)}, **major)
        checked(network)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("copying", {}, "has an encoder made that is no module of it"),
        ("losing", {}, r"loses its parts; hand them on, super\(\).__init__\(tasks, parts\)"),
        ("bare", {"weights": "nowhere.pth"}, r"encoder\.weights: bare has no encoder"),
        ("without_parts", {}, "constructor of without_parts must take tasks and parts"),
    ],
)
def test_an_encoder_that_weights_or_a_rate_would_not_reach_is_refused(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        build(name, encoder=SMALL, tasks=TASKS, **options)


@pytest.mark.parametrize("name", ["crossing", "looking"])
def test_it_is_told_before_training_whatever_the_device(name: str) -> None:
    dataset = {"name": "phantom", "root": "x", "tasks": ["segmentation", "dose"]}
    values = {"name": "a", "dataset": dataset, "methods": [name], "encoder": {"name": SMALL}}
    values |= {"sample": {"size": [32, 32]}, "architecture": {"upsampling_blocks": 4}}  # the fourth takes the stem
    with pytest.raises(InputError, match=r"output of 'dose' depends on it too"):
        specs = run_specs(experiment_from(values))
        check_networks(specs, dataset_of(specs[0].experiment))


@pytest.mark.parametrize("value", [4, True, "wide"])
def test_an_option_without_a_type_takes_any_value(value: object) -> None:
    assert check_options({"own": {"width": value}}, ["hps"]) == {"own": {"width": value}}


@pytest.mark.parametrize("size", [(33, 48), (32, 32, 34)])
@pytest.mark.parametrize(
    "name", [name for name in ARCHITECTURES if ARCHITECTURES.is_built_in(name) and not ARCHITECTURES[name].needs_major]
)
def test_somebody_s_encoder_runs_in_every_architecture(name: str, size: tuple[int, ...]) -> None:
    network = build(name, encoder="toy", tasks=TASKS, spatial_dims=len(size)).train()
    outputs = network(torch.randn(2, 1, *size))
    assert {task: tuple(output.shape) for task, output in outputs.items()} == {"a": (2, 2, *size), "b": (2, 3)}
    sum(output.square().mean() for output in outputs.values()).backward()
    encoder = network.encoder_parameters()
    assert encoder and all(parameter.grad is not None and parameter.grad.any() for parameter in encoder)


def test_somebody_s_encoder_takes_weights_of_another_number_of_channels(tmp_path: Any) -> None:
    three = build("hps", encoder="toy", tasks=TASKS, in_channels=3)
    torch.save(three.all_encoders()[0].state_dict(), tmp_path / "toy.pth")
    one = build("hps", encoder="toy", tasks=TASKS, weights=tmp_path / "toy.pth")
    grey = torch.randn(2, 1, 32, 32)
    expected = three.all_encoders()[0].eval()(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(one.all_encoders()[0].eval()(grey), expected)
