"""MTAN that pools before its bottleneck block: another network, told apart from the authors' form everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import max_pool2d

from crosstask.architectures import build
from crosstask.architectures.options import check_options
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.methods import get_method
from crosstask.runs import RunSpec, check_settings, run_specs
from crosstask.runs.settings import changed_keys, relevant_settings, settings_of

TASKS = {"masks": ("pixel", 2), "kind": ("image", 3)}


def mtan(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return build("mtan", encoder="resnet18-narrow", tasks=TASKS, **options)


def experiment(out: Path, **changes: Any) -> Experiment:
    dataset = {"name": "phantom", "root": "x", "tasks": ["dose"]}
    return experiment_from({"name": "a", "dataset": dataset, "methods": ["mtan"], "output": str(out), **changes})


def test_what_is_carried_is_the_block_of_what_was_pooled() -> None:
    network = mtan(pool_first=True).eval()
    seen: dict[str, torch.Tensor] = {}
    network.carry[0].register_forward_hook(lambda module, inputs, output: seen.update(given=inputs[0], out=output))
    with torch.no_grad():
        network(torch.randn(2, 1, 34, 50))
        pool, block = network.carry[0]
        torch.testing.assert_close(seen["out"], block(max_pool2d(seen["given"], 2, ceil_mode=True)))
        assert isinstance(pool, nn.MaxPool2d) and seen["out"].shape[2:] == (5, 7)


def test_it_is_another_function_of_as_many_weights() -> None:
    after, first = mtan().eval(), mtan(pool_first=True).eval()
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in (after, first)]
    assert counts[0] == counts[1]
    state = {
        name: after.state_dict()[
            ".".join([*name.split(".")[:2], "0", *name.split(".")[3:]]) if name.startswith("carry") else name
        ]
        for name in first.state_dict()
    }
    first.load_state_dict(state)  # the same weights by other names
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        one, other = first(image)["masks"], after(image)["masks"]
    assert float((one - other).abs().max()) > 1e-4 * float(other.abs().max())


def test_weights_of_one_form_are_refused_by_the_other() -> None:
    with pytest.raises(RuntimeError, match=r"carry\.0\.1\."):
        mtan(pool_first=True).load_state_dict(mtan().state_dict())


def test_the_form_is_named_where_it_is_not_the_authors() -> None:
    assert mtan().describe() == ""
    assert "pooled before the bottleneck block" in mtan(pool_first=True).describe()


def test_settings_and_folders_tell_them_apart(tmp_path: Path) -> None:
    section = {"mtan": {"pool_first": True}}
    specs = [
        RunSpec(experiment(tmp_path, **changes), get_method("mtan"), 0, ("dose",))
        for changes in ({}, {"architecture": section})
    ]
    one, other = (relevant_settings(settings_of(spec), spec) for spec in specs)
    assert changed_keys(one, other) == ["architecture.mtan"]
    variants = {"after": {}, "first": {"architecture": section}}
    keys = [spec.key for spec in run_specs(experiment(tmp_path, variants=variants, seeds=[0]))]
    assert keys == ["mtan+after", "mtan+first"]
    check_settings(specs[0])  # nothing lies there yet


@pytest.mark.parametrize("value", ["yes please", 3])
def test_it_is_true_or_false(value: Any) -> None:
    with pytest.raises(InputError, match=r"architecture\.mtan\.pool_first: .*give true or false"):
        check_options({"mtan": {"pool_first": value}}, ["mtan"])
