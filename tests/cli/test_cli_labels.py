"""``predict`` and ``evaluate`` of runs with labels of whole cases."""

import csv
import json

import pytest

from crosstask.assembly import dataset_of
from crosstask.datasets import DATASETS
from crosstask.store import prepare
from run_fakes import FAKES, fake_experiment, fake_run

SPLITS = {"train": ["c0", "c1"], "validation": ["c2", "c3"], "test": ["c4", "c5", "c10"]}


@pytest.fixture
def pictures(monkeypatch, tmp_path):
    """An experiment and a run that saw ten of twelve pictures."""
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "results")
    return experiment, fake_run(experiment, SPLITS)


def _files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _cases(folder):
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["case"] for row in csv.DictReader(file)))


def test_the_format_follows_the_data_set(pictures, call, tmp_path):
    _, run = pictures
    shown = call("predict", run, tmp_path / "raw", "--case", "c1", "--case", "c7", "-o", "out")
    assert shown.code == 0 and "2 cases predicted: out" in shown.out
    assert _files(tmp_path / "out") == [
        ".predicted.jsonl",
        "lesion/lesion/c1.png",
        "lesion/lesion/c7.png",
        "predictions.csv",
    ]
    assert "0.5 decides" in shown.err  # no thresholds were chosen yet
    (run / "thresholds.json").write_text(json.dumps({"final": {"signs": [0.0, 1.0]}}))
    shown = call("predict", run, tmp_path / "raw", "--case", "c1", "--format", "csv", "-o", "decided")
    assert shown.err == "" and _files(tmp_path / "decided") == [".predicted.jsonl", "predictions.csv"]
    with (tmp_path / "decided" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["decision"] for row in csv.DictReader(file) if row["task"] == "signs"] == ["1", "0"]


@pytest.mark.parametrize("split", list(SPLITS))
def test_a_data_set_without_splits_has_those_of_the_run(pictures, call, tmp_path, split):
    _, run = pictures
    shown = call("predict", run, tmp_path / "raw", "--split", split, "-o", "out")
    assert shown.code == 0
    assert _cases(tmp_path / "out") == SPLITS[split]


def test_a_run_that_knows_none_of_the_cases(pictures, call, tmp_path):
    experiment, _ = pictures
    run = fake_run(experiment, {}, method="mtan")
    shown = call("predict", run, tmp_path / "raw", "--split", "test", "-o", "out")
    assert shown.code == 2 and "has no test case" in shown.error


def test_the_data_sets_options_are_the_experiments(monkeypatch, pictures, call, tmp_path):
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "other", dataset={"options": {"labelled": False}})
    opened = []
    monkeypatch.setattr(
        "crosstask.pipeline.clinic.open_dataset",
        lambda name, root, **options: opened.append(options) or FAKES[name](root, **options),
    )
    shown = call("predict", fake_run(experiment), tmp_path / "raw", "--case", "c0", "-o", "out")
    assert shown.code == 0 and opened == [{"labelled": False}]  # and cases without labels are predicted
    assert _cases(tmp_path / "out") == ["c0"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("openkbp", "--format openkbp: pictures is not in that layout"),
        ("nifti", "--format nifti: pictures has pictures; use --format png or npz"),
        ("gltf", "--format: 'gltf' is not known; there are openkbp, dicom, npz, png, csv, nifti, overlay"),
    ],
)
def test_a_format_that_does_not_fit(pictures, call, tmp_path, kind, words):
    _, run = pictures
    shown = call("predict", run, tmp_path / "raw", "--format", kind, "-o", "out")
    assert shown.code == 2 and words in shown.error
    assert not (tmp_path / "out").exists()


def test_evaluate_writes_the_predictions_beside_the_scores(pictures, call, tmp_path):
    experiment, run = pictures
    prepare(dataset_of(experiment), experiment.store_folder, workers=1)
    shown = call("evaluate", run)
    assert shown.code == 0, shown.err
    assert (run / "scores-test.csv").exists() and (run / "scores-test-predictions.csv").exists()
    assert " together " in shown.out and " balanced_accuracy " in shown.out and " accuracy " in shown.out
    assert json.loads((run / "thresholds.json").read_text())["final"].keys() == {"signs"}
