"""Seeds of a method as one predictor: against their mean by hand, as files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import save_file
from scipy.stats import entropy as scipy_entropy

from crosstask.assembly import assembly_of, dataset_of
from crosstask.datasets import DATASETS, Phantom
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.export.formats import writers
from crosstask.io import openkbp_csv
from crosstask.network import build_architecture
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.predicting import predict_cases
from crosstask.prediction.ensemble import Ensemble, entropy_of, most_entropy
from crosstask.prediction.predictor import Prediction, Predictor
from crosstask.runs import load_spec
from run_fakes import FAKES, SIGNS, fake_experiment, fake_run

TASKS = ["lesion", "area", "parts", "kind", "signs", "age"]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def seeds_of(tmp_path: Path, name: str = "pictures", number: int = 3) -> tuple[Experiment, list[Path]]:
    dataset = {"name": name, "tasks": TASKS, "windows": [[0, 255]]}
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out", dataset=dataset)
    return experiment, [fake_run(experiment, seed=seed) for seed in range(1, number + 1)]


def predicted(predictor: Predictor | Ensemble, index: int) -> tuple[Prediction, Any]:
    case = predictor.dataset.cases()[index]
    data = predictor.dataset.read(case)
    return predictor.predict(case.id, data, data.geometry), data


@pytest.mark.parametrize("name", ["pictures", "scans"])
def test_it_is_the_mean_of_its_seeds(tmp_path: Path, name: str):
    _, folders = seeds_of(tmp_path, name)
    ensemble = Ensemble(folders, device="cpu")
    assert ensemble.seeds == (1, 2, 3) and ensemble.name == "hps, ensemble of seeds 1, 2, 3"
    together, _ = predicted(ensemble, 1)
    alone = [predicted(Predictor(folder, device="cpu"), 1)[0].values for folder in folders]
    assert set(together.values) == set(together.spread) == set(TASKS)
    for task in TASKS:
        every = np.stack([values[task] for values in alone]).astype(np.float64)
        np.testing.assert_allclose(together.values[task], every.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(together.spread[task], every.std(0, ddof=1), rtol=1e-3, atol=1e-6)
        assert together.values[task].dtype == together.spread[task].dtype == np.float32
        assert together.spread[task].max() > 0
    np.testing.assert_allclose(together.values["kind"].sum(), 1, rtol=1e-6)
    assert not predicted(Predictor(folders[0], device="cpu"), 1)[0].spread


def test_single_task_runs_of_a_seed_are_one_predictor(tmp_path: Path):
    experiment, _ = seeds_of(tmp_path, number=0)
    folders = [
        fake_run(experiment, method="stl", seed=seed, tasks=[task]) for seed in (1, 2) for task in ("kind", "age")
    ]
    together, _ = predicted(Ensemble(folders, device="cpu"), 0)
    assert set(together.values) == {"kind", "age"}
    ages = [float(predicted(Predictor(folder, device="cpu"), 0)[0].values["age"][0]) for folder in folders[1::2]]
    assert float(together.values["age"][0]) == pytest.approx(np.mean(ages), rel=1e-6)


def test_only_what_is_asked_for_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    experiment, _ = seeds_of(tmp_path, number=0)
    folders = [
        fake_run(experiment, method="stl", seed=seed, tasks=[task]) for seed in (1, 2) for task in ("kind", "lesion")
    ]
    ensemble = Ensemble(folders, device="cpu")
    asked: list[tuple[str, ...]] = []
    predict = Predictor.predict

    def counted(self: Predictor, *arguments: Any) -> Prediction:
        asked.append(tuple(task.name for task in self.tasks))
        return predict(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", counted)
    case = ensemble.dataset.cases()[0]
    data = ensemble.dataset.read(case)
    found = dict(ensemble.each(case.id, data, data.geometry, tasks=["lesion"]))
    assert asked == [("lesion",), ("lesion",)]
    assert {seed: set(values) for seed, values in found.items()} == {1: {"lesion"}, 2: {"lesion"}}


def test_findings_are_decided_by_the_mean_of_the_seeds_thresholds(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    for folder, values in zip(folders, ([0.2, 0.4], [0.6, 0.5]), strict=True):
        (folder / "thresholds.json").write_text(json.dumps({"final": {"signs": values}}))
    ensemble = Ensemble(folders, device="cpu")
    (signs,) = (task for task in ensemble.tasks if task.name == "signs")
    assert signs.thresholds == pytest.approx((0.4, 0.45))
    fixed = ensemble.experiment.evaluation.model_copy(update={"threshold": 0.3})
    (signs,) = (task for task in Ensemble(folders, device="cpu", evaluation=fixed).tasks if task.name == "signs")
    assert signs.thresholds == (0.3, 0.3)


def test_entropy_is_that_of_the_mean(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    ensemble = Ensemble(folders, device="cpu")
    together, _ = predicted(ensemble, 0)
    tasks = {task.name: task for task in ensemble.tasks}
    bits = {name: entropy_of(task, together.values[name]) for name, task in tasks.items()}
    assert bits["age"] is None and bits["area"] is None
    np.testing.assert_allclose(bits["kind"], [scipy_entropy(together.values["kind"], base=2)], rtol=1e-5)
    lesion = together.values["lesion"]
    np.testing.assert_allclose(bits["lesion"], scipy_entropy([lesion, 1 - lesion], base=2), rtol=1e-4)
    parts = together.values["parts"]
    whole = np.concatenate([1 - parts.sum(0, keepdims=True), parts])
    np.testing.assert_allclose(bits["parts"], scipy_entropy(whole, base=2)[None], rtol=1e-4)
    assert [most_entropy(tasks[name]) for name in ("lesion", "signs")] == [1, 1]
    assert most_entropy(tasks["parts"]) == most_entropy(tasks["kind"]) == pytest.approx(np.log2(3))


# --- files ---


def written(folders: list[Path], output: Path, kind: str | None) -> tuple[Ensemble, Prediction, Any]:
    """The first case of an ensemble, written in a format: the ensemble, what it predicts, and the case."""
    ensemble = Ensemble(folders, device="cpu")
    together, data = predicted(ensemble, 0)
    (writer,) = writers(kind, output, ensemble.assembly, ensemble.dataset)
    writer.write(together, data)
    writer.finish()
    return ensemble, together, data


def test_archives_hold_spread_and_entropy(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    _, together, _ = written(folders, tmp_path / "files", "npz")
    with np.load(tmp_path / "files" / "c0.npz") as found:
        for task in TASKS:
            np.testing.assert_array_equal(found[task], together.values[task])
            np.testing.assert_array_equal(found[f"{task}_spread"], together.spread[task])
        assert {name for name in found.files if name.endswith("_entropy")} == {
            f"{task}_entropy" for task in ("lesion", "parts", "kind", "signs")
        }


def test_the_table_of_labels_has_two_columns_more(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    _, together, _ = written(folders, tmp_path / "files", "csv")
    table = pd.read_csv(tmp_path / "files" / "predictions.csv").set_index(["task", "class"])
    assert list(table.columns[-2:]) == ["spread", "entropy"]
    for index, name in enumerate(SIGNS):
        assert table.loc[("signs", name), "spread"] == pytest.approx(float(together.spread["signs"][index]), rel=1e-5)
    assert table.loc["kind", "entropy"].nunique() == 1
    assert np.isnan(table.loc[("age", "age"), "entropy"]) and table.loc[("age", "age"), "spread"] > 0


def test_pictures_of_entropy_lie_beside_masks(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    ensemble, together, data = written(folders, tmp_path / "files", "png")
    for path, task in (("lesion/lesion/c0.png", "lesion"), ("parts/c0.png", "parts")):
        with Image.open(tmp_path / "files" / "uncertainty" / path) as picture:
            pixels = np.asarray(picture)
        (own,) = (one for one in ensemble.tasks if one.name == task)
        bits = entropy_of(own, together.values[task])
        assert pixels.shape == data.geometry.shape
        np.testing.assert_allclose(pixels / 255 * most_entropy(own), bits[0], atol=0.004 * most_entropy(own))


def test_the_challenges_format_has_the_spread_of_the_dose(tmp_path: Path):
    Phantom.generate(tmp_path / "raw", train=1, validation=1, test=1, seed=5, size=24)
    experiment = experiment_from(
        {
            "name": "small",
            "seeds": [1, 2],
            "dataset": {"name": "phantom", "root": str(tmp_path / "raw"), "tasks": ["segmentation", "dose"]},
            "sample": {"kind": "slice", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "output": str(tmp_path / "out"),
        }
    )
    folders = [fake_run(experiment, seed=seed) for seed in (1, 2)]
    ensemble, together, data = written(folders, tmp_path / "files", None)
    region = data.arrays["region"][0]
    spread = openkbp_csv.read_dose(tmp_path / "files" / "uncertainty" / "pt_1.csv", data.geometry.shape)
    np.testing.assert_allclose(spread, together.spread["dose"][0] * region, rtol=1e-6)
    cord = tmp_path / "files" / "uncertainty" / "masks" / "pt_1" / "SpinalCord.csv"
    index = next(task for task in ensemble.tasks if task.name == "segmentation").classes.index("SpinalCord")
    np.testing.assert_allclose(
        openkbp_csv.read_dose(cord, data.geometry.shape), together.spread["segmentation"][index], rtol=1e-6
    )


# --- what is refused ---


def test_one_seed_is_no_ensemble(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=1)
    with pytest.raises(InputError, match=r"an ensemble needs two seeds or more, and hps has seed 1 alone; train more"):
        Ensemble(folders)


def test_the_same_run_twice_is_refused(tmp_path: Path):
    _, folders = seeds_of(tmp_path, number=2)
    with pytest.raises(InputError, match=r"seed and tasks are those of .*; give each seed once"):
        Ensemble([*folders, folders[0]])


def test_runs_of_two_methods_are_refused(tmp_path: Path):
    experiment, folders = seeds_of(tmp_path, number=1)
    with pytest.raises(InputError, match=r"is a run of mtan, and .* one of hps; give seeds of one method"):
        Ensemble([*folders, fake_run(experiment, method="mtan", seed=2)])


def test_runs_of_two_experiments_are_refused(tmp_path: Path):
    experiment, folders = seeds_of(tmp_path, number=1)
    other = experiment.model_copy(
        update={
            "training": experiment.training.model_copy(update={"learning_rate": 0.1}),
            "output": tmp_path / "other",
        }
    )
    with pytest.raises(
        InputError, match=r"differs from that of .* in training\.learning_rate; give seeds of one exper"
    ):
        Ensemble([*folders, fake_run(other, seed=2)])


def test_folds_of_a_cross_validation_predict_new_cases_and_never_a_split(tmp_path: Path):
    experiment, _ = seeds_of(tmp_path, number=0)
    folders = []
    for seed in (1, 2):
        splits = experiment.dataset.splits.model_copy(update={"seed": seed})
        dataset = experiment.dataset.model_copy(update={"splits": splits})
        own = experiment.model_copy(update={"dataset": dataset})
        folders.append(fake_run(own, {"train": [f"c{seed}"], "test": [f"c{seed + 1}"]}, seed=seed))
    assert Ensemble(folders, device="cpu").seeds == (1, 2)
    with pytest.raises(InputError, match=r"^--split: every seed has splits of its own, so test cases of one have"):
        predict_cases(folders, tmp_path / "raw", tmp_path / "files", split="test")
    done = predict_cases(folders, tmp_path / "raw", tmp_path / "files", cases=["c0"], kind="npz", device="cpu")
    assert done.done == 1


def test_a_task_that_only_some_seeds_learned_is_left_out_and_said(tmp_path: Path):
    experiment, folders = seeds_of(tmp_path, number=2)
    record = json.loads((folders[1] / "run.json").read_text())
    (folders[1] / "run.json").write_text(json.dumps({**record, "learned": [name for name in TASKS if name != "age"]}))
    without = [task.name for task in assembly_of(experiment, dataset_of(experiment)).tasks if task.name != "age"]
    assembly = assembly_of(experiment, dataset_of(experiment)).only(without)
    network = build_architecture(load_spec(folders[1]), assembly, pretrained=False)
    save_file(network.state_dict(), folders[1] / "final.safetensors")
    ensemble = Ensemble(folders, device="cpu")
    assert ensemble.left_out == ("age",) and [task.name for task in ensemble.tasks] == without
    assert set(predicted(ensemble, 0)[0].values) == set(without)
    told: list[str] = []
    predict_cases(
        folders, tmp_path / "raw", tmp_path / "files", cases=["c0"], kind="npz", device="cpu",
        listener=type("Told", (Listener,), {"warned": lambda self, line: told.append(line)})(),
    )  # fmt: skip
    assert "Not predicted, since not every seed has learned it: age" in told
