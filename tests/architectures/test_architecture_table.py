"""Architectures by name: the forms of tasks, and what is refused with which words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from crosstask.architectures import ARCHITECTURES, Architecture, build
from crosstask.errors import InputError
from crosstask.tasks.base import Head


@dataclass
class FakeTask:
    name: str
    channels: int = 2

    def head(self) -> Head:
        return Head("pixel", self.channels)


def small(**options: object) -> Architecture:
    return build(**{"name": "hps", "encoder": "resnet18", "tasks": {"a": 1}, **options})  # type: ignore[arg-type]


def test_table() -> None:
    assert all(kind.name == name for name, kind in ARCHITECTURES.items())


@pytest.mark.parametrize(
    "tasks",
    [
        {"a": 2, "b": 1},
        {"a": ("pixel", 2), "b": ["pixel", 1]},
        {"a": Head("pixel", 2), "b": 1},
        [FakeTask("a"), FakeTask("b", 1)],
        iter((FakeTask("a"), FakeTask("b", 1))),
    ],
)
def test_all_forms_of_tasks(tasks: object) -> None:
    network = small(tasks=tasks)
    assert network.heads == {"a": Head("pixel", 2), "b": Head("pixel", 1)}


def test_levels_may_be_mixed() -> None:
    network = small(tasks={"a": ("image", 2), "b": 1})
    assert network.heads == {"a": Head("image", 2), "b": Head("pixel", 1)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "ctann"}, ["'ctann'", "did you mean 'ctan'?", "stl, hps, mtan, ctan"]),
        ({"name": "CTAN"}, ["did you mean 'ctan'?"]),
        ({"name": "unet"}, ["'unet'", "stl, hps, mtan, ctan"]),
        ({"scaled_bottleneck": True}, ["hps has no option 'scaled_bottleneck'", "upsampling_blocks"]),
        ({"name": "ctan", "scaled": True}, ["ctan has no option 'scaled'", "scaled_bottleneck"]),
        ({"encoder": "resnet19"}, ["'resnet19'", "resnet18"]),
        ({"encoder": "alexnet"}, ["alexnet has no stages", "resnet18", "auxiliary"]),
        ({"name": "mtan", "encoder": "alexnet"}, ["alexnet has no stages", "resnet18", "auxiliary"]),
        ({"major": "a"}, ["hps has no option 'major'"]),
        ({"name": "auxiliary"}, ["auxiliary needs the option major"]),
        ({"spatial_dims": 1}, ["spatial_dims", "choose 2"]),
        ({"upsampling_blocks": 7}, ["upsampling_blocks", "3, 4 or 5"]),
        ({"tasks": {}}, ["at least one task"]),
        ({"tasks": {"a.b": 1}}, ["'a.b'", "choose another"]),
        ({"tasks": {"keys": 1}}, ["'keys'", "choose another"]),
        ({"tasks": {"a": "pixel"}}, ["'a' is 'pixel'", "channel count"]),
        ({"tasks": {"a": ("voxel", 2)}}, ["'a' is ('voxel', 2)", "channel count"]),
        ({"tasks": {"a": 0}}, ["'a' is 0", "channel count"]),
        ({"tasks": [FakeTask("a"), FakeTask("a")]}, ["'a' is there twice"]),
    ],
)
def test_refused_in_one_line(options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        small(**options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_resnet_50_in_double_the_channels_runs_in_half_precision() -> None:
    network = build("ctan", encoder="resnet50", tasks={"a": 1, "b": ("image", 2)}, in_channels=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(torch.randn(2, 2, 64, 64))
    assert all(output.isfinite().all() for output in outputs.values())
