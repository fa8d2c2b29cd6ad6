"""Networks of runs as ONNX: the same outputs as PyTorch's, for any batch, in a file that says what they are."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from crosstask.datasets import DATASETS
from crosstask.errors import CrosstaskError, InputError
from crosstask.export import onnx as exporting
from crosstask.export.onnx import export_onnx
from crosstask.prediction.onnx import OnnxNetwork
from crosstask.prediction.predictor import Predictor
from crosstask.runs import BEST, FINAL
from run_fakes import FAKES, fake_experiment, fake_run


@pytest.fixture(autouse=True, scope="module")
def _fakes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, dataset in FAKES.items():
            patch.setitem(DATASETS._entries, name, dataset)
        yield


def some_run(folder: Path, method: str = "hps", seed: int = 0, major: str | None = None, **changes: Any) -> Path:
    """A run whose outputs depend on the image: those of a new network are next to constant."""
    torch.manual_seed(seed)
    experiment = fake_experiment(folder / "raw", folder / "out", **changes).model_copy(update={"major": major})
    run = fake_run(experiment, method=method)
    for name in (BEST, FINAL):
        weights = load_file(run / name)
        save_file({key: 50 * v if key.endswith("output.weight") else v for key, v in weights.items()}, run / name)
    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    folder = tmp_path_factory.mktemp("hps")
    run = some_run(folder)
    return run, folder / "new" / "hps.onnx", export_onnx(run, folder / "new" / "hps.onnx")


def test_outputs_are_pytorchs(exported: tuple[Path, Path, float]) -> None:
    run, path, difference = exported
    assert 0 <= difference < 1e-4
    network, predictor = OnnxNetwork(path), Predictor(run)
    assert network.tasks == [task.name for task in predictor.tasks] == ["lesion", "kind", "signs", "age"]
    network.check(network.tasks, (3, 32, 32), "hps/seed0", "final")
    for batch in (1, 2, 5):
        image = torch.randn(batch, 3, 32, 32)
        with torch.inference_mode():
            expected = predictor.network(image)
        outputs = network(image)
        assert list(outputs) == list(expected)
        for name, values in expected.items():
            assert outputs[name].shape == values.shape and outputs[name].dtype == torch.float32
            torch.testing.assert_close(outputs[name], values, rtol=0, atol=1e-4 * float(values.abs().max()))


def test_a_predictor_can_use_it(exported: tuple[Path, Path, float], monkeypatch: pytest.MonkeyPatch) -> None:
    run, path, _ = exported
    monkeypatch.setattr("crosstask.prediction.predictor.precision_of", lambda *_: "32")
    predictor = Predictor(run)
    data = predictor.dataset.read(predictor.dataset.cases()[1])
    expected = predictor.predict("c", data, data.geometry).values
    values = Predictor(run, onnx=path).predict("c", data, data.geometry).values
    assert list(values) == list(expected)
    for name in values:
        np.testing.assert_allclose(values[name], expected[name], rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="its weights is final"):
        Predictor(run, onnx=path, weights="best")


def test_the_file_says_what_it_is(exported: tuple[Path, Path, float]) -> None:
    _, path, _ = exported
    assert [each.name for each in path.parent.iterdir()] == ["hps.onnx"]  # weights in it
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.name == "image" and image.shape[1:] == [3, 32, 32] and isinstance(image.shape[0], str)
    shapes = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert shapes == {"lesion": [1, 32, 32], "kind": [3], "signs": [2], "age": [1]}
    described = json.loads(session.get_modelmeta().custom_metadata_map["crosstask"])
    assert described["run"] == "hps/seed0" and described["weights"] == "final" and described["image"] == [3, 32, 32]
    kind = next(task for task in described["tasks"] if task["name"] == "kind")
    assert kind == {"name": "kind", "level": "image", "channels": 3, "classes": ["red", "green", "blue"], "unit": ""}


# The others that have a file of their own are above and below: HPS of images, CTAN of volumes.
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("method", ["stl", "mtan", "ctan-gated", "auxiliary"])
def test_every_architecture(tmp_path: Path, method: str) -> None:
    tasks = {"stl": ["lesion"], "auxiliary": ["kind", "age"]}.get(method, ["lesion", "kind"])
    major = "kind" if method == "auxiliary" else None
    run = some_run(tmp_path, method, major=major, dataset={"tasks": tasks})
    assert 0 <= export_onnx(run, tmp_path / "x.onnx") < 1e-4
    assert OnnxNetwork(tmp_path / "x.onnx").tasks == tasks


@pytest.mark.slow
def test_volumes(tmp_path: Path) -> None:
    dataset = {"name": "scans", "tasks": ["lesion", "age"]}
    run = some_run(tmp_path, "ctan", dataset=dataset, sample={"kind": "volume", "size": [32, 32, 32]})
    assert 0 <= export_onnx(run, tmp_path / "x.onnx") < 1e-4
    outputs = OnnxNetwork(tmp_path / "x.onnx")(torch.randn(3, 1, 32, 32, 32))
    shapes = {name: tuple(values.shape) for name, values in outputs.items()}
    assert shapes == {"lesion": (3, 1, 32, 32, 32), "age": (3, 1)}


def instead_of_export(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """Write a model that is there already, without the seconds that an export takes."""
    monkeypatch.setattr(exporting, "_write", lambda path, *_: path.write_bytes(model.read_bytes()))


def test_a_difference_is_refused(exported: tuple[Path, Path, float], tmp_path: Path, monkeypatch) -> None:
    _, path, _ = exported
    other = some_run(tmp_path, seed=1)
    instead_of_export(monkeypatch, path)
    with pytest.raises(CrosstaskError, match="differ from PyTorch's by") as error:
        export_onnx(other, tmp_path / "x" / "m.onnx")
    assert "\n" not in str(error.value) and not list((tmp_path / "x").iterdir())
    assert np.isnan(export_onnx(other, tmp_path / "x" / "m.onnx", check=False))


def test_the_weights_that_were_asked_for(exported: tuple[Path, Path, float], tmp_path: Path, monkeypatch) -> None:
    run, path, _ = exported
    final = run / "final.safetensors"
    whole = final.read_bytes()
    monkeypatch.setattr(exporting, "_write", lambda path_, network, *_: path_.write_bytes(path.read_bytes()))
    assert export_onnx(run, tmp_path / "a.onnx", weights="final") < 1e-4  # the same in a run that was not trained
    other = some_run(tmp_path, seed=1)
    final.write_bytes((other / "final.safetensors").read_bytes())
    try:
        with pytest.raises(CrosstaskError, match="differ"):
            export_onnx(run, tmp_path / "b.onnx", weights="final")
        assert export_onnx(run, tmp_path / "c.onnx", weights="best") < 1e-4
    finally:
        final.write_bytes(whole)


def test_nothing_is_overwritten(exported: tuple[Path, Path, float], tmp_path: Path) -> None:
    run, _, _ = exported
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already"):
        export_onnx(run, tmp_path / "m.onnx")
    assert [(tmp_path / "m.onnx").read_bytes(), len(list(tmp_path.iterdir()))] == [b"mine", 1]


def test_the_ending_is_onnx(exported: tuple[Path, Path, float], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.onnx"):
        export_onnx(exported[0], tmp_path / "m.pt")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == package else find(name))
    with pytest.raises(InputError, match=rf"{package}.*pip install 'crosstask\[onnx\]'"):
        export_onnx(tmp_path, tmp_path / "m.onnx")


def test_without_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'crosstask\[onnx\]'"):
        OnnxNetwork(tmp_path / "m.onnx")


def test_files_that_are_no_network_of_ours(exported: tuple[Path, Path, float], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        OnnxNetwork(tmp_path / "m.onnx")
    (tmp_path / "damaged.onnx").write_bytes(exported[1].read_bytes()[:5000])
    with pytest.raises(InputError, match="no readable ONNX model"):
        OnnxNetwork(tmp_path / "damaged.onnx")
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["y"])], "g", [value], [result])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "other.onnx")
    with pytest.raises(InputError, match="not exported by crosstask"):
        OnnxNetwork(tmp_path / "other.onnx")


def test_what_does_not_fit(exported: tuple[Path, Path, float]) -> None:
    network = OnnxNetwork(exported[1])
    fitting = {"tasks": network.tasks, "image": (3, 32, 32), "run": "hps/seed0", "weights": "final"}
    others = {"tasks": ["lesion"], "image": (1, 32, 32), "run": "hps/seed1", "weights": "best"}
    for what, other in others.items():
        with pytest.raises(InputError, match=f"its {what} is"):
            network.check(**{**fitting, what: other})
    with pytest.raises(CrosstaskError, match=r"made for batches of \[3, 32, 32\]") as error:
        network(torch.zeros(1, 3, 48, 48))
    assert "\n" not in str(error.value)


def test_an_export_is_silent(exported: tuple[Path, Path, float], capfd: pytest.CaptureFixture[str]) -> None:
    with exporting._quiet():
        print("[torch.onnx] Run decompositions...")
        logging.getLogger("torch.onnx._internal").warning("chatter")
    assert capfd.readouterr() == ("", "")
