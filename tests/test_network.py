"""From an experiment to the arithmetic of a run."""

from __future__ import annotations

import pytest
import torch

from crosstask.errors import InputError
from crosstask.experiment import experiment_from
from crosstask.network import check_networks, precision_of
from crosstask.runs import plan_runs


def precision(wanted: str, device: str) -> str:
    dataset = {"name": "phantom", "root": "x", "tasks": ["dose"]}
    experiment = experiment_from({"name": "a", "dataset": dataset, "training": {"precision": wanted}})
    return precision_of(experiment, torch.device(device))


@pytest.mark.parametrize(("check", "found"), [("_is_avx512_bf16_supported", True), ("_is_amx_tile_supported", True)])
def test_auto_takes_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, check: str, found: bool):
    for other in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, other, lambda: False, raising=False)
    assert precision("auto", "cpu") == "32"
    monkeypatch.setattr(torch.cpu, check, lambda: found, raising=False)
    assert precision("auto", "cpu") == "bf16-mixed"


def test_auto_takes_bfloat16_where_the_gpu_has_it(monkeypatch: pytest.MonkeyPatch):
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert precision("auto", "cuda") == ("bf16-mixed" if native else "32")
    assert precision("auto", "mps") == "32"


@pytest.mark.parametrize("wanted", ["32", "bf16-mixed", "16-mixed"])
def test_a_precision_that_is_named_is_taken(wanted: str):
    assert precision(wanted, "cpu") == precision(wanted, "cuda") == wanted


def test_images_too_small_for_alexnet_are_told_before_training():
    values = {"name": "a", "dataset": {"name": "phantom", "root": "x", "tasks": ["dose"]}, "major": "dose"}
    values |= {"encoder": {"name": "alexnet"}, "sample": {"size": [224, 62]}, "methods": ["auxiliary"]}
    with pytest.raises(InputError, match=r"^sample\.size: alexnet needs sides of at least 63 pixels"):
        check_networks(plan_runs(experiment_from(values)))
