"""From an experiment to the arithmetic of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from crosstask.assembly import dataset_of
from crosstask.errors import InputError
from crosstask.experiment import experiment_from, load_experiment
from crosstask.network import check_names, check_networks, precision_of
from crosstask.runs import run_specs


def precision(wanted: str, device: str) -> str:
    dataset = {"name": "phantom", "root": "x", "tasks": ["dose"]}
    experiment = experiment_from({"name": "a", "dataset": dataset, "training": {"precision": wanted}})
    return precision_of(experiment, torch.device(device))


@pytest.mark.parametrize(
    ("features", "permitted", "expected"),
    [
        ({"avx512_bf16", "amx_tile", "amx_bf16"}, True, "bf16-mixed"),
        ({"amx_tile", "amx_bf16"}, True, "bf16-mixed"),
        ({"avx512_bf16"}, True, "32"),  # slower than single precision
        ({"avx512_bf16", "amx_tile", "amx_bf16"}, False, "32"),  # the system gives no process its tiles
        ({"avx512_bf16", "amx_tile"}, True, "32"),  # tiles of whole numbers alone
        (set(), True, "32"),
    ],
)
def test_auto_takes_bfloat16_where_the_processor_has_tiles_for_it(
    monkeypatch: pytest.MonkeyPatch, features: set[str], permitted: bool, expected: str
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "avx512_bf16" in features, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: "amx_tile" in features, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {one: True for one in features}, raising=False)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: permitted, raising=False)
    assert precision("auto", "cpu") == expected


def test_without_pytorch_s_private_questions_auto_is_single_precision(monkeypatch: pytest.MonkeyPatch):
    for name in ("_is_amx_tile_supported", "get_capabilities", "_init_amx"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert precision("auto", "cpu") == "32"


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
        specs = run_specs(experiment_from(values))
        check_networks(specs, dataset_of(specs[0].experiment))


@pytest.mark.parametrize(
    ("added", "line", "key"),
    [
        ("encoder:\n  name: resnt18\n", 7, "encoder.name: 'resnt18'"),
        ("architecture:\n  ctan:\n    scaled: true\n", 8, "architecture.ctan.scaled: "),
        ("architecture: {hps: 3}\n", 6, "architecture.hps: 3"),
        ("variants:\n  TL:\n    encoder:\n      name: resnt18\n", 9, "variants.TL.encoder.name: 'resnt18'"),
        ("variants:\n  TL:\n    architecture:\n      ctna: {}\n", 9, "variants.TL.architecture.ctna: "),
        ("methods:\n  - stl\n  - ctn\n", 6, "methods: 'ctn'"),
    ],
)
def test_names_that_are_not_known_are_told_with_their_line(tmp_path: Path, added: str, line: int, key: str):
    file = tmp_path / "a.yaml"
    file.write_text(f"name: a\ndataset:\n  name: phantom\n  root: x\n  tasks: [dose]\n{added}", encoding="utf-8")
    with pytest.raises(InputError) as error:
        check_names(load_experiment(file))
    assert str(error.value).startswith(f"{file}, line {line}: {key}")
