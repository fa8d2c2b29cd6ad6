"""Predictions as files, in every format; and which format fits what."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crosstask.assembly import Assembly, assembly_of, dataset_of
from crosstask.datasets import DATASETS, Dataset, Phantom
from crosstask.errors import CrosstaskError, InputError
from crosstask.export.cases import file_name
from crosstask.export.formats import writers
from crosstask.prediction.predictor import Prediction
from run_fakes import FAKES, SIGNS, fake_experiment


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def made(tmp_path: Path, name: str = "pictures", *tasks: str) -> tuple[Dataset, Assembly]:
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "x", dataset={"name": name, "tasks": list(tasks)})
    return dataset_of(experiment), assembly_of(experiment, dataset_of(experiment))


def predicted(dataset: Dataset, assembly: Assembly, index: int, case: str | None = None) -> tuple[Prediction, Any]:
    data = dataset.read(dataset.cases()[index])
    rng = np.random.default_rng(index)
    values = {}
    for task in assembly.tasks:
        shape = data.geometry.shape if task.level == "pixel" else ()
        values[task.name] = rng.random((len(task.classes), *shape)).astype(np.float32)
        if task.values == "softmax" or getattr(task, "exclusive", False):
            values[task.name] /= values[task.name].sum(0) * (1.8 if task.level == "pixel" else 1)
    return Prediction(case or f"c{index}", values, data.geometry), data


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def written(tmp_path: Path, kind: str | None, *tasks: str, name: str = "pictures") -> tuple[Path, list[Prediction]]:
    dataset, assembly = made(tmp_path, name, *tasks)
    chosen = writers(kind, tmp_path / "out", assembly, dataset)
    done = [predicted(dataset, assembly, index) for index in (0, 1)]
    for prediction, data in done:
        for writer in chosen:
            writer.write(prediction, data)
    for writer in chosen:
        writer.finish()
    return tmp_path / "out", [prediction for prediction, _ in done]


def test_masks_as_png(tmp_path):
    out, (first, second) = written(tmp_path, "png", "lesion", "parts", "kind")
    assert files(out) == [
        "lesion/lesion/c0.png", "lesion/lesion/c1.png", "parts/c0.png", "parts/c1.png", "parts/classes.csv",
    ]  # fmt: skip
    with Image.open(out / "lesion" / "lesion" / "c1.png") as picture:
        assert picture.mode == "L" and picture.size == (39, 25)  # its own
        np.testing.assert_array_equal(np.asarray(picture), 255 * (second.values["lesion"][0] > 0.5))
    with Image.open(out / "parts" / "c0.png") as picture:
        labels = np.asarray(picture)
    parts = first.values["parts"]
    np.testing.assert_array_equal(labels, np.concatenate([1 - parts.sum(0, keepdims=True), parts]).argmax(0))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (out / "parts" / "classes.csv").read_text() == "label,class\n0,background\n1,lesion\n2,rest\n"


def test_labels_as_csv(tmp_path):
    dataset, assembly = made(tmp_path, "pictures", "kind", "signs", "age")
    next(task for task in assembly.tasks if task.name == "signs").thresholds = (0.0, 0.999)
    (writer,) = writers("csv", tmp_path / "out", assembly, dataset)
    first, data = predicted(dataset, assembly, 0, 'a "b", ü/1')
    writer.write(first, data)
    writer.finish()
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "task", "class", "prediction", "decision", "unit"]
    assert {row["case"] for row in rows} == {'a "b", ü/1'}
    assert [(row["task"], row["class"]) for row in rows] == [
        *(("kind", name) for name in ("red", "green", "blue")), *(("signs", name) for name in SIGNS), ("age", "age"),
    ]  # fmt: skip
    for row, value in zip(rows, np.concatenate(list(first.values.values())), strict=True):
        assert float(row["prediction"]) == pytest.approx(float(value), rel=1e-6)
    decisions = [row["decision"] for row in rows]
    assert decisions[first.values["kind"].argmax()] == "1" and decisions[:3].count("1") == 1
    assert decisions[3:] == ["1", "0", ""]
    assert rows[-1]["unit"] == "years"


def test_everything_as_npz(tmp_path):
    out, (first, _) = written(tmp_path, "npz", "lesion", "kind", "age")
    assert files(out) == ["c0.npz", "c1.npz"]
    with np.load(out / "c0.npz") as arrays:
        for name, values in first.values.items():
            np.testing.assert_array_equal(arrays[name], values)
        assert list(arrays["classes_kind"]) == ["red", "green", "blue"] and arrays["spacing"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "tasks", "formats"),
    [
        ("pictures", ("lesion",), ["png"]),
        ("pictures", ("lesion", "kind"), ["png", "csv"]),
        ("pictures", ("kind", "age"), ["csv"]),
        ("pictures", ("lesion", "area"), ["npz"]),  # a quantity is no mask
        ("scans", ("lesion", "signs"), ["npz", "csv"]),
        ("scans", ("signs",), ["csv"]),
    ],
)
def test_the_format_that_fits(tmp_path, name, tasks, formats):
    dataset, assembly = made(tmp_path, name, *tasks)
    assert [writer.name for writer in writers(None, tmp_path / "out", assembly, dataset)] == formats
    assert not (tmp_path / "out").exists()


def test_the_challenges_format_fits_its_data_sets(tmp_path):
    Phantom.generate(tmp_path / "p", train=1, validation=0, test=0, size=24)
    dataset = Phantom(tmp_path / "p")
    assembly = Assembly((dataset.task("dose"),), "ct", "region", ((0.0, 1.0),))
    assert [writer.name for writer in writers(None, tmp_path / "out", assembly, dataset)] == ["openkbp"]


@pytest.mark.parametrize(
    ("kind", "name", "tasks", "words"),
    [
        ("openkbp", "pictures", ("lesion",), "--format openkbp: pictures is not in that layout"),
        ("png", "scans", ("lesion",), "--format png: scans has volumes; use --format npz"),
        ("png", "pictures", ("kind",), "--format png: the run predicts no masks"),
        ("csv", "pictures", ("lesion",), "--format csv: the run predicts no label of whole cases"),
    ],
)
def test_a_format_that_does_not_fit_is_one_line(tmp_path, kind, name, tasks, words):
    dataset, assembly = made(tmp_path, name, *tasks)
    with pytest.raises(InputError) as error:
        writers(kind, tmp_path / "out", assembly, dataset)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["npz", "png", "csv"])
def test_no_numbers_are_not_written(tmp_path, kind):
    dataset, assembly = made(tmp_path, "pictures", "lesion", "age")
    (writer,) = writers(kind, tmp_path / "out", assembly, dataset)
    prediction, data = predicted(dataset, assembly, 0)
    prediction.values["age"][0] = np.nan
    with pytest.raises(CrosstaskError, match="c0: the network's age is not finite"):
        writer.write(prediction, data)
    writer.finish()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["npz", "png", "csv"])
def test_names_stay_inside_the_folder(tmp_path, kind):
    dataset, assembly = made(tmp_path, "pictures", "lesion", "age")
    (writer,) = writers(kind, tmp_path / "deep" / "out", assembly, dataset)
    for case in ("../../evil", "a/b", "a:b", ".hidden"):
        writer.write(*predicted(dataset, assembly, 0, case))
    writer.finish()
    found = [path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()]
    assert {parts for parts in found if parts[0] != "raw"} == {("deep", "out")}
    assert len(found) == {"npz": 5, "png": 5, "csv": 2}[kind]


def test_different_names_are_different_files():
    names = ["a/b", "a%2Fb", "a_b", "a\\b", ".a", "a.", "a ", "a", "ü", "a:b"]
    assert len({file_name(name) for name in names}) == len(names)
    assert file_name("ISIC_0024306") == "ISIC_0024306" and file_name("lower extremity") == "lower extremity"


def test_a_full_disk_leaves_no_part(tmp_path, monkeypatch):
    dataset, assembly = made(tmp_path, "pictures", "lesion")
    (writer,) = writers("png", tmp_path / "out", assembly, dataset)

    def full(self, path, *_, **__):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(CrosstaskError, match="No space left on device"):
        writer.write(*predicted(dataset, assembly, 0))
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(("kind", "task"), [("csv", "kind"), ("npz", "lesion"), ("png", "lesion")])
def test_a_folder_that_cannot_be_made_is_told_at_the_first_case(tmp_path, kind, task):
    dataset, assembly = made(tmp_path, "pictures", task)
    (tmp_path / "file").write_text("no folder")
    (writer,) = writers(kind, tmp_path / "file" / "out", assembly, dataset)
    with pytest.raises(CrosstaskError, match="cannot be written"):
        writer.write(*predicted(dataset, assembly, 0))
