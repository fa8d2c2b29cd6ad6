"""Scores of runs with image-level tasks: thresholds, the cases that count, and the constant predictor."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from crosstask.assembly import Assembly, assembly_of, dataset_of
from crosstask.datasets import DATASETS
from crosstask.datasets.base import Case, CaseData
from crosstask.errors import InputError
from crosstask.evaluation.comparison import compare, measure_of
from crosstask.evaluation.evaluate import evaluate_constant, evaluate_run
from crosstask.evaluation.examples import MOST_SLICES, _slices_to_show, save_examples
from crosstask.experiment import Experiment
from crosstask.prediction.predictor import Prediction, Predictor
from crosstask.splits import splits_of
from crosstask.store import Store, prepare
from crosstask.tasks.segmentation import SegmentationTask
from run_fakes import FAKES, fake_experiment, fake_run


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


def prepared(experiment: Experiment) -> Store:
    prepare(dataset_of(experiment), experiment.store_folder, workers=1)
    return Store(experiment.store_folder)


@pytest.fixture
def pictures(fakes: None, tmp_path: Path) -> tuple[Experiment, Store, Path]:
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out")
    return experiment, prepared(experiment), fake_run(experiment)


def answers(monkeypatch: pytest.MonkeyPatch, store: Store, validation: list[str]) -> list[str]:
    """Predictions that rank findings without a fault, but on another scale in validation; the cases predicted."""
    asked: list[str] = []

    def predict(self, case_id, case, geometry):
        asked.append(case_id)
        high, low = (0.8, 0.6) if case_id in validation else (0.3, 0.1)
        signs = store.open(case_id).read("signs")
        values = {
            "lesion": np.ones((1, *geometry.shape), np.float32),
            "kind": np.array([0.5, 0.3, 0.2], np.float32),
            "signs": np.where(np.resize(signs, 2) > 0, high, low).astype(np.float32),
            "age": np.array([30.0], np.float32),
        }
        return Prediction(case_id, values, geometry)

    monkeypatch.setattr(Predictor, "predict", predict)
    return asked


def test_thresholds_are_chosen_on_validation_cases_and_kept(pictures, monkeypatch):
    experiment, store, folder = pictures
    splits = splits_of(store, experiment.dataset, "image")
    asked = answers(monkeypatch, store, splits["validation"])
    found = evaluate_run(folder, store)
    assert asked == splits["validation"] + splits["test"]
    chosen = json.loads((folder / "thresholds.json").read_text())
    assert list(chosen) == ["final"] and list(chosen["final"]) == ["signs"]
    assert chosen["final"]["signs"][0] == pytest.approx(0.7)  # between 0.6 and 0.8; on test it would be 0.2
    signs = found.predictions[found.predictions["task"] == "signs"]
    assert (signs["decision"] == 0).all() and (signs["target"] > 0).any()
    auc = found.scores[(found.scores["metric"] == "auc") & (found.scores["task"] == "signs")]
    assert (auc["value"] == 100).all() and len(auc)

    asked.clear()
    again = evaluate_run(folder, store)
    assert asked == splits["test"]
    assert again.scores.equals(found.scores)
    evaluate_run(folder, store, weights="best")
    assert set(json.loads((folder / "thresholds.json").read_text())) == {"best", "final"}


def test_where_classes_count_alike_a_threshold_of_validation_cases_decides(pictures, monkeypatch):
    experiment, store, folder = pictures
    splits = splits_of(store, experiment.dataset, "image")
    answers(monkeypatch, store, splits["validation"])
    own = Predictor.predict
    shown = {name: np.array([0.5, 0.3, 0.2], np.float32) for name in splits["validation"]}
    shown |= {name: np.array([0.45, 0.25, 0.3], np.float32) for name in splits["test"]}

    def predict(self, case_id, case, geometry):
        found = own(self, case_id, case, geometry)
        return replace(found, values={**found.values, "kind": shown[case_id]})

    monkeypatch.setattr(Predictor, "predict", predict)

    def decided(**changes):
        section = experiment.evaluation.model_copy(update=changes)
        found = evaluate_run(folder, store, evaluation=section)
        rows = found.predictions[(found.predictions["task"] == "kind") & (found.predictions["decision"] == 1)]
        assert len(rows) == rows["case"].nunique() > 1, "each case has one class"
        return set(rows["class"])

    (most,), (rare,) = decided(), decided(decision="balanced")
    names = next(task.classes for task in Predictor(folder).tasks if task.name == "kind")
    assert (names.index(most), names.index(rare)) == (0, 2)  # 0.45 / 0.49, 0.25 / 0.31, and 0.3 / 0.2
    kept = json.loads((folder / "thresholds.json").read_text())["final"]
    expected = np.array(
        [0.5, 0.1**0.5, 0.2]
    )  # that of the class which no validation case is of lies between the others
    expected /= expected.sum()
    assert kept["kind"] == pytest.approx(expected) and kept["signs"][0] == pytest.approx(0.7)
    assert decided(decision="balanced", threshold=0.9) == {rare}, "a threshold that is given is that of sigmoids"
    assert decided() == {most}, "what was chosen decides only where it is asked for"
    run = Predictor(folder, evaluation=experiment.evaluation.model_copy(update={"decision": "balanced"}))
    task = next(task for task in run.tasks if task.name == "kind")
    assert task.thresholds == pytest.approx(expected)
    assert task.decide(shown[splits["test"][0]]).tolist() == [0, 0, 1]
    assert next(task for task in Predictor(folder).tasks if task.name == "kind").thresholds is None


def test_a_damaged_file_of_thresholds_is_named(pictures):
    _, store, folder = pictures
    (folder / "thresholds.json").write_text("{")
    with pytest.raises(InputError, match=r"thresholds\.json: is damaged; remove it"):
        evaluate_run(folder, store)


def test_a_finding_that_validation_cases_lack_is_decided_at_one_half(pictures, monkeypatch):
    experiment, store, folder = pictures
    splits = splits_of(store, experiment.dataset, "image")
    answers(monkeypatch, store, splits["validation"])
    real = Store.open

    def without_lines(self, case_id):
        case = real(self, case_id)
        if case_id in splits["validation"]:
            case.channels = {**case.channels, "signs_scored": case.channels["signs_scored"][:1]}
        return case

    monkeypatch.setattr(Store, "open", without_lines)
    evaluate_run(folder, store)
    assert json.loads((folder / "thresholds.json").read_text())["final"]["signs"] == [pytest.approx(0.7), 0.5]


def test_only_labelled_cases_and_those_that_are_to_be_scored_count(pictures):
    experiment, store, folder = pictures
    splits = splits_of(store, experiment.dataset, "image")
    found = evaluate_run(folder, store, split="train")
    predictions, scores = found.predictions, found.scores
    train = splits["train"]

    def cases(table, task: str) -> set[str]:
        return set(table[table["task"] == task]["case"]) - {""}

    assert cases(predictions, "signs") == {case for case in train if int(case[1:]) % 2 == 0}  # scored_array
    assert cases(predictions, "kind") == {case for case in train if case != "c4"}
    assert cases(predictions, "age") == cases(scores, "age") == {case for case in train if case != "c6"}
    assert cases(scores, "lesion") == {case for case in train if case != "c3"}
    assert cases(predictions, "lesion") == set()
    assert (scores[scores["metric"].isin(["auc", "balanced_accuracy", "r2"])]["case"] == "").all()
    ages = predictions[predictions["task"] == "age"]
    assert (ages["decision"] == ages["prediction"]).all() and set(ages["values"]) == {"quantity"}


def test_the_constant_predictor_has_image_level_figures(pictures):
    experiment, store, _ = pictures
    found = evaluate_constant(experiment, store)
    figures = found.scores.groupby(["task", "metric"])["value"].mean()
    assert set(found.scores["method"]) == {"constant"}
    assert figures["signs", "auc"] == 50 and figures["age", "r2"] <= 0
    splits = splits_of(store, experiment.dataset, "image")
    train = splits["train"]
    kinds = {split: [int(case[1:]) % 3 for case in cases if case != "c4"] for split, cases in splits.items()}
    commonest = np.bincount(kinds["train"]).argmax()
    expected = 100 * (commonest in kinds["test"]) / len(set(kinds["test"]))
    assert figures["kind", "balanced_accuracy"] == pytest.approx(expected)
    median = np.median([10 + 5 * int(case[1:]) for case in train if case != "c6"])
    assert set(found.predictions[found.predictions["task"] == "age"]["prediction"]) == {median}
    kinds = found.predictions[found.predictions["task"] == "kind"]
    assert kinds.groupby("case")["prediction"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    assert (kinds.groupby("case")["decision"].sum() == 1).all()


def test_a_comparison_of_all_four_kinds_of_measures(pictures):
    experiment, store, folder = pictures
    found, tasks = evaluate_run(folder, store), assembly_of(experiment, dataset_of(experiment)).tasks
    comparison = compare(
        found.scores,
        dataset="d",
        methods=("hps",),
        predictions=found.predictions,
        measures=[measure_of(task) for task in tasks],
        groups={case.id: case.group for case in store.cases},
    )
    assert [m.metric for m in comparison.measures] == ["dice", "balanced_accuracy", "auc", "mae"]
    assert comparison.groups < max(comparison.cases.values())
    table = found.scores.groupby(["task", "metric"])["value"].mean()
    for measure in comparison.measures:
        assert comparison.rows[0].cells[measure.task].value == pytest.approx(table[measure.task, measure.metric])


# Examples


def test_examples_in_colour(pictures):
    _, store, folder = pictures
    save_examples(folder, store, ["c0", "c3"])
    with np.load(folder / "examples.npz") as arrays:
        assert arrays["c0/image"].shape == (1, 3, 24, 40) and np.abs(arrays["c0/image"]).max() <= 1
        assert arrays["c0/spacing"].shape == (2,)
        assert arrays["c0/lesion/prediction"].shape == arrays["c0/lesion/target"].shape == (1, 1, 24, 40)
        assert not arrays["c3/lesion/present"].any()
        assert arrays["c0/kind/prediction"].shape == arrays["c0/kind/decision"].shape == (3,)
        assert arrays["c0/kind/target"].tolist() == [1, 0, 0]
        assert arrays["c0/age/picture"].tolist() == ["text", "years"]


@pytest.mark.parametrize(("tasks", "place"), [(["kind", "age"], 2), (["lesion", "kind"], 0)])
def test_examples_of_volumes_are_slices_and_the_fullest_is_known(fakes, tmp_path, tasks, place):
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out", dataset={"name": "scans", "tasks": tasks})
    store = prepared(experiment)
    folder = fake_run(experiment)
    save_examples(folder, store, ["c0"])
    data = dataset_of(experiment)
    image = data.read(data.cases()[0]).arrays["image"][0].astype(np.float32) * (2 / 255) - 1
    with np.load(folder / "examples.npz") as arrays:
        slices = arrays["c0/slices"].tolist()
        assert slices[int(arrays["c0/fullest"])] == place
        assert slices == sorted(set(slices)) and len(slices) <= MOST_SLICES
        np.testing.assert_allclose(arrays["c0/image"], image[slices], atol=1e-3)
        assert arrays[f"c0/{tasks[-1]}/prediction"].ndim == 1
        if "lesion" in tasks:
            assert arrays["c0/lesion/target"].shape[:2] == (1, len(slices))


def test_slices_of_a_long_volume_go_from_the_first_to_the_last_outline():
    depth = 100
    mask = np.zeros((2, depth, 4, 4), np.uint8)
    mask[1, 20:81, :2] = 1
    mask[1, 43] = 1
    mask[0, 5] = 1  # which is not learned

    class Case:
        channels: ClassVar[dict[str, tuple[str, ...]]] = {"mask": ("other", "organ"), "lungs": ("lung",)}

        def shape(self, name: str) -> tuple[int, ...]:
            return mask.shape

        def read(self, name: str, channels: list[int]) -> np.ndarray:
            return mask[channels]

    tasks = SegmentationTask("organs", "mask", ["organ"]), SegmentationTask("hearts", "lungs", ["heart"])
    assembly = Assembly(tasks, "image", None, ((0.0, 1.0),))
    fullest, slices = _slices_to_show(assembly, Case())
    assert fullest == 43 and fullest in slices and len(slices) == MOST_SLICES
    assert (slices[0], slices[-1]) == (20, 80)
    assert max(np.diff(slices)) <= 8


class OddPictures(FAKES["pictures"]):  # type: ignore[misc]
    """Pictures whose ids lead elsewhere, or are formulas."""

    name = "odd"
    IDS = ("../../out of the folder", "/tmp/out of the folder", "=1+2", "a/b", "a%2Fb", "$\\frac$", "<b>", "c|7")

    def cases(self) -> list[Case]:
        own = dict(enumerate(self.IDS))
        return [dataclasses.replace(case, id=own.get(int(case.id[1:]), case.id)) for case in super().cases()]

    def read(self, case: Case) -> CaseData:
        index = self.IDS.index(case.id) if case.id in self.IDS else case.id[1:]
        return super().read(dataclasses.replace(case, id=f"c{index}"))


def test_kept_predictions_of_any_ids_lie_in_the_run_folder(fakes, monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS._entries, "odd", OddPictures)
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "out", dataset={"name": "odd"})
    experiment = experiment.model_copy(
        update={"evaluation": experiment.evaluation.model_copy(update={"keep_predictions": True})}
    )
    store, run = prepared(experiment), fake_run(experiment)
    ids = [case.id for case in store.cases]
    monkeypatch.setattr(
        "crosstask.evaluation.evaluate.splits_of", lambda *_, **__: {"test": ids, "validation": ids[:1]}
    )
    before = {path for path in tmp_path.rglob("*") if run not in path.parents}
    scores = evaluate_run(run, store).scores
    kept = list((run / "predictions").iterdir())
    assert len(kept) == len(ids) == len(set(scores["case"]) - {""})
    assert {path for path in tmp_path.rglob("*") if run not in path.parents} == before
    assert not Path("/tmp/out of the folder.npz").exists()
