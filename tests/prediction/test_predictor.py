"""Predictions of whole cases: on their own grid, and pooled from slices and patches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosstask.assembly import dataset_of
from crosstask.datasets import DATASETS
from crosstask.errors import InputError
from crosstask.functional.resize import resize
from crosstask.prediction.predictor import Predictor
from run_fakes import FAKES, fake_experiment, fake_run


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def predictor_of(tmp_path: Path, **changes: Any) -> Predictor:
    return Predictor(fake_run(fake_experiment(tmp_path / "raw", tmp_path / "out", **changes)))


def case_of(predictor: Predictor, index: int):
    data = predictor.dataset
    return data.read(data.cases()[index])


def by_mean(predictor: Predictor) -> None:
    """Put in place of the network one whose outputs follow from the mean of what it sees."""

    def forward(image: torch.Tensor) -> dict[str, torch.Tensor]:
        level = image.flatten(1).mean(1, keepdim=True)
        outputs = {}
        for task in predictor.tasks:
            channels = task.head().channels
            values = level * torch.arange(1, channels + 1) * 20
            if task.level == "pixel":
                values = values[..., None, None].expand(-1, -1, *image.shape[2:4])
                values = values if image.ndim == 4 else values[..., None].expand(-1, -1, *image.shape[2:])
            outputs[task.name] = values
        return outputs

    predictor._forward = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("index", [0, 7])
def test_images_of_any_size_come_back_on_their_own_grid(tmp_path: Path, index: int) -> None:
    predictor = predictor_of(tmp_path)
    data = case_of(predictor, index)
    values = predictor.predict("c", data, data.geometry).values
    assert values["lesion"].shape == (1, *data.geometry.shape)
    assert {name: values[name].shape for name in ("kind", "signs", "age")} == {"kind": (3,), "signs": (2,), "age": (1,)}
    assert values["kind"].sum() == pytest.approx(1, abs=1e-5)
    assert all(np.isfinite(value).all() for value in values.values())
    image = resize(torch.from_numpy(predictor.assembly.image(data))[None], (32, 32))
    with torch.inference_mode():
        outputs = predictor.network(image)
    np.testing.assert_allclose(values["signs"], outputs["signs"][0].sigmoid(), atol=1e-5)
    expected = resize(outputs["lesion"].sigmoid(), data.geometry.shape)[0]
    np.testing.assert_allclose(values["lesion"], expected, atol=1e-5)


def test_a_case_without_labels_is_predicted_alike(tmp_path: Path) -> None:
    predictor = predictor_of(tmp_path)
    data = case_of(predictor, 1)
    bare = FAKES["pictures"](tmp_path / "raw", labelled=False)  # type: ignore[call-arg]
    none = bare.read(bare.cases()[1])
    with_labels = predictor.predict("c", data, data.geometry).values
    without = predictor.predict("c", none, none.geometry).values
    for name, values in with_labels.items():
        np.testing.assert_array_equal(without[name], values)


def test_whole_volumes(tmp_path: Path) -> None:
    predictor = predictor_of(tmp_path, dataset={"name": "scans"}, sample={"kind": "volume", "size": [16, 32, 32]})
    data = case_of(predictor, 2)
    values = predictor.predict("c", data, data.geometry).values
    assert values["lesion"].shape == (1, 7, 18, 22)
    assert values["kind"].shape == (3,) and values["age"].shape == (1,)


@pytest.mark.parametrize("pooling", ["mean", "median", "max"])
def test_slices_are_pooled(tmp_path: Path, pooling: str) -> None:
    predictor = predictor_of(tmp_path, dataset={"name": "scans"}, evaluation={"pooling": pooling, "batch_size": 3})
    by_mean(predictor)
    data = case_of(predictor, 2)  # seven slices in three batches
    values = predictor.predict("c", data, data.geometry).values
    image = torch.from_numpy(predictor.assembly.image(data))
    level = resize(image.transpose(0, 1), (32, 32)).flatten(1).mean(1, keepdim=True).numpy() * 20
    pool = {"mean": np.mean, "median": np.median, "max": np.max}[pooling]
    signs = 1 / (1 + np.exp(-level * [1, 2]))
    np.testing.assert_allclose(values["signs"], pool(signs, axis=0), rtol=1e-4)
    kinds = np.exp(level * [1, 2, 3])
    kinds = pool(kinds / kinds.sum(1, keepdims=True), axis=0)
    np.testing.assert_allclose(values["kind"], kinds / kinds.sum(), rtol=1e-4)
    if pooling != "mean":
        assert abs(kinds.sum() - 1) > 1e-4  # it was not one before
    ages = np.maximum(level, 0)
    np.testing.assert_allclose(values["age"], np.median(ages) if pooling == "median" else ages.mean(), rtol=1e-4)
    assert values["lesion"].shape == (1, 7, 18, 22)
    np.testing.assert_allclose(values["lesion"][0].mean((1, 2)), 1 / (1 + np.exp(-level[:, 0])), rtol=1e-4)


@pytest.mark.parametrize("tasks", [["lesion", "kind", "signs"], ["kind", "signs"]])
@pytest.mark.parametrize("pooling", ["mean", "median", "max"])
def test_patches_are_pooled(tmp_path: Path, pooling: str, tasks: list[str]) -> None:
    predictor = predictor_of(
        tmp_path,
        dataset={"name": "scans", "tasks": tasks},
        sample={"kind": "patch", "size": [16, 16, 16]},
        evaluation={"pooling": pooling, "overlap": 0.0, "batch_size": 3},
    )
    by_mean(predictor)
    data = case_of(predictor, 0)
    values = predictor.predict("c", data, data.geometry).values
    image = predictor.assembly.padded(predictor.assembly.image(data), (16, 16, 16))
    corners = [(0, y, x) for y in (0, 2) for x in (0, 6)]  # the last patches end with the volume
    level = np.array([[image[:, :16, y : y + 16, x : x + 16].mean()] for _, y, x in corners]) * 20
    pool = {"mean": np.mean, "median": np.median, "max": np.max}[pooling]
    np.testing.assert_allclose(values["signs"], pool(1 / (1 + np.exp(-level * [1, 2])), axis=0), rtol=1e-3)
    assert values["kind"].sum() == pytest.approx(1, abs=1e-5)
    assert set(values) == set(tasks)
    if "lesion" in tasks:
        assert values["lesion"].shape == (1, *data.geometry.shape)


def linear(predictor: Predictor) -> None:
    """Put in place of the network one whose outputs are multiples of what it sees at that voxel."""

    def forward(image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"area": 3 * image[:, :1] + 0.5, "kind": image.flatten(1).mean(1, keepdim=True) * torch.arange(3)}

    predictor._forward = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("index", [0, 2])
def test_of_a_linear_network_windows_are_the_whole_volume(tmp_path: Path, overlap: float, index: int) -> None:
    predictor = predictor_of(
        tmp_path,
        dataset={"name": "scans", "tasks": ["area", "kind"]},
        sample={"kind": "patch", "size": [16, 16, 16]},
        evaluation={"overlap": overlap, "batch_size": 2},
    )
    linear(predictor)
    data = case_of(predictor, index)
    values = predictor.predict("c", data, data.geometry).values
    np.testing.assert_allclose(values["area"], 3 * predictor.assembly.image(data) + 0.5, atol=1e-5)
    assert values["kind"].sum() == pytest.approx(1, abs=1e-5)


def test_thresholds_that_were_chosen_are_used(tmp_path: Path) -> None:
    folder = fake_run(fake_experiment(tmp_path / "raw", tmp_path / "out"))
    assert next(task for task in Predictor(folder).tasks if task.name == "signs").thresholds == (0.5, 0.5)
    (folder / "thresholds.json").write_text('{"final": {"signs": [0.2, 0.9]}}')
    assert next(task for task in Predictor(folder).tasks if task.name == "signs").thresholds == (0.2, 0.9)
    best = Predictor(folder, weights="best")  # of other weights, other thresholds
    assert next(task for task in best.tasks if task.name == "signs").thresholds == (0.5, 0.5)


def test_the_data_set_of_another_root(tmp_path: Path) -> None:
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out")
    folder = fake_run(experiment)
    other = type(dataset_of(experiment))(tmp_path / "elsewhere")
    assert Predictor(folder, dataset=other).dataset.root == tmp_path / "elsewhere"


def test_a_prediction_that_is_no_number_names_the_case_and_why(tmp_path: Path) -> None:
    predictor = predictor_of(tmp_path)
    data = case_of(predictor, 0)
    forward = predictor._forward

    def diverged(image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: output * torch.nan if name == "age" else output for name, output in forward(image).items()}

    predictor._forward = diverged  # type: ignore[method-assign]
    with pytest.raises(InputError, match="case c0: the prediction of 'age' is no number, though its image is sound"):
        predictor.predict("c0", data, data.geometry)
    predictor._forward = forward  # type: ignore[method-assign]
    data.arrays["image"] = data.arrays["image"].astype(np.float32)
    data.arrays["image"][0, 3, 3] = np.nan
    with pytest.raises(
        InputError, match=r"case c0: .* is no number, since its image holds NaN or infinite values; run"
    ):
        predictor.predict("c0", data, data.geometry)
