"""``train``, ``evaluate``, ``predict`` and ``score``: one small run from its training to its score."""

import errno
import json
import os
import re
import shutil
import signal

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_runner import forked, has_progress, run

from crosstask.evaluation.scores import COLUMNS, read_scores
from crosstask.export.predicted import RECORD
from crosstask.io import openkbp_csv
from crosstask.prediction.predictor import Predictor

ALL = ["pt_1", "pt_2", "pt_3", "pt_201", "pt_241", "pt_242"]
SHAPE = (32, 32, 32)


@pytest.fixture
def run_copy(trained, tmp_path):
    """A copy of the run that a test may damage; its weights are links until then."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("run.json", "experiment.yaml", "history.csv"):
        shutil.copy(trained.run / name, folder)
    (folder / "final.safetensors").symlink_to(trained.run / "final.safetensors")
    return folder


def _files(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != RECORD
    )


# --- train ---


def test_train_trains_one_method(trained):
    assert trained.outcome.code == 0, trained.outcome.err
    assert "0 written, 0 rebuilt, 6 kept" in trained.outcome.out
    assert "hps/seed0: 1 epochs, best 1 (score " in trained.outcome.out
    device, epoch, *warnings = trained.outcome.err.splitlines()  # no terminal, so no bar
    assert device == "hps/seed0: trains on cpu"
    assert re.fullmatch(r"hps/seed0: epoch 1 of 1: loss segmentation \S+, dose \S+; score \S+; [0-9.]+ s", epoch)
    assert all(line.startswith("Warning: hps/seed0: never predicted ") for line in warnings)  # after one epoch
    assert not has_progress(trained.outcome.out)
    # other tests score the same run on other splits
    assert [name for name in _files(trained.run.parents[1]) if "/scores-" not in name] == [
        f"hps/seed0/{name}"
        for name in (
            "best.safetensors",
            "checksums.json",
            "experiment.yaml",
            "final.safetensors",
            "history.csv",
            "images.json",
            "run.json",
            "transfer.csv",
        )
    ]


def test_train_keeps_what_is_done(trained, call):
    before = {path.name: path.stat().st_mtime_ns for path in trained.run.iterdir()}
    shown = call("train", trained.experiment, "--method", "hps")
    assert shown.code == 0
    assert {path.name: path.stat().st_mtime_ns for path in trained.run.iterdir()} == before


def test_train_refuses_a_folder_of_other_settings(trained, call):
    before = _files(trained.run.parents[2])
    shown = call("train", trained.experiment, "--method", "hps", "training.learning_rate=0.5")
    assert shown.code == 2
    assert str(trained.run) in shown.error and "training.learning_rate" in shown.error
    assert _files(trained.run.parents[2]) == before


def test_training_needs_no_test_cases_but_samples_for_a_batch(trained, call, damaged, tmp_path):
    root = damaged("phantom.json", lambda text: json.dumps({**json.loads(text), "test": 0}))
    shutil.rmtree(root / "test-pats")
    shown = call(
        "train", trained.experiment, "--method", "hps", f"dataset.root={root}", f"store={tmp_path / 'store'}",
        f"output={tmp_path / 'results'}", "training.batch_size=1000",
    )  # fmt: skip
    assert shown.code == 2
    assert "training.batch_size: 1000 is more than the" in shown.error


def test_an_interrupt_of_training_is_one_line(trained, call, tmp_path, monkeypatch):
    """Lightning takes the interrupt, ignores further ones and leaves with an exit code of its own."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("crosstask.training.module.TrainingModule.training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        shown = call("train", trained.experiment, "--method", "hps", f"output={tmp_path / 'results'}")
    finally:
        signal.signal(signal.SIGINT, handler)
    assert shown.code == 130
    assert shown.err.splitlines()[-1] == "Interrupted. Run the same command to resume."
    assert "Traceback" not in shown.err


@pytest.fixture
def small_files():
    """A disk that takes no file of more than 1 MB: everything but weights."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_ends_training_in_one_line(trained, call, tmp_path, small_files):
    shown = call("train", trained.experiment, "--method", "hps", f"output={tmp_path / 'results'}")
    assert shown.code == 1
    folder = tmp_path / "results" / "runs" / "hps" / "seed0"
    assert str(folder / "candidates" / "0.safetensors") in shown.error and "free space" in shown.error
    assert _files(folder) == ["checksums.json", "experiment.yaml", "images.json", "run.json", "transfer.csv"]
    refused = call("predict", folder, tmp_path, "-o", tmp_path / "out")
    assert refused.code == 2
    assert not (tmp_path / "out").exists()


# --- evaluate ---


def test_evaluate_writes_the_long_table(trained, call):
    shown = call("evaluate", trained.run)
    assert shown.code == 0
    table = read_scores(trained.run / "scores-test.csv")
    assert tuple(table.columns) == COLUMNS
    assert sorted(set(table["case"])) == ["pt_241", "pt_242"]
    assert set(table["task"]) == {"segmentation", "dose"}
    assert set(table["class"]) >= {"Brainstem", "SpinalCord", "dose"}
    assert set(table["method"]) == {"hps"} and set(table["seed"]) == {0}
    assert set(table[table["task"] == "dose"]["unit"]) == {"Gy"}
    assert (table["higher_is_better"] == (table["metric"] == "dice")).all()
    assert f"Scores of the weights final: {trained.run / 'scores-test.csv'}" in shown.out
    assert not has_progress(shown.out.replace("━", "").replace("┳", "")) and shown.err == ""
    for metric in set(table["metric"]):  # nothing is cut to a width
        assert f" {metric} " in shown.out
    mean = table[(table["task"] == "dose") & (table["metric"] == "mae")]["value"].mean()
    assert f" {mean:.3f} " in shown.out


def test_evaluate_to_parquet_with_the_final_weights(trained, call, tmp_path):
    shown = call("evaluate", trained.run, "--split", "validation", "--weights", "final", "-o", tmp_path / "s.parquet")
    assert shown.code == 0
    table = pd.read_parquet(tmp_path / "s.parquet")
    assert tuple(table.columns) == COLUMNS
    assert set(table["case"]) == {"pt_201"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--split", "tset"), "--split: 'tset' is not accepted; one of train, validation, test"),
        (("--weights", "worst"), "--weights: 'worst' is not accepted; one of best, final, average"),
        (("--output", "scores.xlsx"), "scores.xlsx must end in .csv or .parquet"),
        (("--output", "nowhere/scores.csv"), "there is no folder nowhere"),
        (("--store", "nowhere"), "nowhere/store.json: no such file"),
        (("--device", "cuda:99"), "--device: 'cuda:99' cannot be used"),
        (("--device", "toaster"), "--device: 'toaster' cannot be used"),
    ],
    ids=" ".join,
)
def test_evaluate_refuses(trained, call, arguments, words):
    shown = call("evaluate", trained.run, *arguments)
    assert shown.code == 2
    assert words in shown.error


def test_a_store_that_has_gone(run_copy, call, tmp_path):
    text = (run_copy / "experiment.yaml").read_text()
    settings = yaml.safe_load(text)
    settings["store"] = str(tmp_path / "gone")
    (run_copy / "experiment.yaml").write_text(yaml.safe_dump(settings))
    shown = call("evaluate", run_copy)
    assert shown.code == 2
    assert str(tmp_path / "gone") in shown.error and "--store" in shown.error


def test_a_damaged_store(trained, prepared, call, tmp_path):
    """A flipped byte is an error that names the file, never a figure."""
    store = tmp_path / "store"
    shutil.copytree(prepared.store, store)
    array = next((store / "cases" / "pt_241").glob("ct*.b2nd"))
    content = bytearray(array.read_bytes())
    content[len(content) // 2] ^= 255
    array.write_bytes(content)
    shown = call("evaluate", trained.run, "--store", store, "-o", tmp_path / "scores.csv")
    assert shown.code == 2
    assert str(array) in shown.error and "prepare --verify" in shown.error
    (store / "store.json").write_text("{")
    shown = call("evaluate", trained.run, "--store", store, "-o", tmp_path / "scores.csv")
    assert shown.code == 2
    assert str(store / "store.json") in shown.error and "crosstask prepare" in shown.error
    assert not (tmp_path / "scores.csv").exists()


# --- run folders that are none ---


def _no_run(folder):
    for path in folder.iterdir():
        path.unlink()


def _unfinished(folder):
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "trained": False}))


def _damaged_weights(folder):
    content = (folder / "final.safetensors").read_bytes()[:100_000]
    (folder / "final.safetensors").unlink()
    (folder / "final.safetensors").write_bytes(content)


def _weights_of_another_network(folder):
    from safetensors.numpy import save_file

    (folder / "final.safetensors").unlink()
    save_file({"layer": np.zeros(3, np.float32)}, folder / "final.safetensors")


RUN_FAULTS = {
    "missing": (lambda folder: shutil.rmtree(folder), "no such run folder", ""),
    "no run": (_no_run, "is no run folder", ""),
    "unfinished": (_unfinished, "is not complete; train it to its end", ""),
    "no weights": (lambda folder: (folder / "final.safetensors").unlink(), "is missing", "final.safetensors"),
    "damaged weights": (_damaged_weights, "does not hold this network's weights", "final.safetensors"),
    "other weights": (_weights_of_another_network, "does not hold this network's weights", "final.safetensors"),
    "damaged record": (lambda folder: (folder / "run.json").write_text('{"method":'), "is damaged", "run.json"),
    "empty record": (lambda folder: (folder / "run.json").write_text("{}"), "is damaged", "run.json"),
    "list as record": (lambda folder: (folder / "run.json").write_text("[]"), "is damaged", "run.json"),
    "no experiment": (lambda folder: (folder / "experiment.yaml").unlink(), "is missing", "experiment.yaml"),
    "empty experiment": (
        lambda folder: (folder / "experiment.yaml").write_text(""), "is damaged", "experiment.yaml"
    ),
    "damaged experiment": (
        lambda folder: (folder / "experiment.yaml").write_text("dataset: [1"), "is damaged", "experiment.yaml"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", RUN_FAULTS)
def test_a_run_that_cannot_be_used(fault, run_copy, raw, call, tmp_path):
    damage, words, file = RUN_FAULTS[fault]
    damage(run_copy)
    for command in (("evaluate", run_copy), ("predict", run_copy, raw, "-o", tmp_path / "out")):
        shown = call(*command)
        assert shown.code == 2
        assert str(run_copy / file) in shown.error and words in shown.error
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_run_folder(trained, raw, call):
    shown = call("evaluate", trained.run / "run.json")
    assert shown.code == 2 and "is no run folder" in shown.error


# --- predict and score ---


def test_predictions_can_be_scored(trained, raw, tmp_path):
    shown = forked(tmp_path, "predict", trained.run, raw, "-o", "out")
    assert shown.code == 0 and shown.err == ""
    assert shown.out.splitlines() == [f"{raw}: read as phantom, 6 cases", "Device: cpu", "6 cases predicted: out"]
    assert _files(tmp_path / "out") == sorted(
        [f"{case}.csv" for case in ALL]
        + [f"masks/{case}/{name}.csv" for case in ALL for name in ("Brainstem", "SpinalCord")]
    )
    for case in ALL:
        region = openkbp_csv.read_mask(next(raw.glob(f"*/{case}/possible_dose_mask.csv")), SHAPE)
        dose = openkbp_csv.read_dose(tmp_path / "out" / f"{case}.csv", SHAPE, prediction=True)
        assert not dose[region == 0].any() and dose[region > 0].any()

    scored = run(tmp_path, "score", "openkbp", raw, "out", "--json")
    assert scored.code == 0 and scored.err == ""
    result = json.loads(scored.out)
    assert result["patients"] == 6 and [row["patient"] for row in result["rows"]] == ALL
    assert all(row["voxels_outside_mask"] == 0 for row in result["rows"])
    assert np.isfinite([result["dose_score"], result["dvh_score"]]).all()


def test_score_of_predictions_equals_evaluate(trained, raw, call, tmp_path):
    """Two ways to the same figure: from the store, and from raw files and predicted CSVs."""
    assert call("evaluate", trained.run, "-o", tmp_path / "scores.csv").code == 0
    assert call("predict", trained.run, raw, "--split", "test", "-o", tmp_path / "out").code == 0
    result = json.loads(call("score", "openkbp", raw / "test-pats", tmp_path / "out", "--json").out)
    table = read_scores(tmp_path / "scores.csv")
    rows = {row["patient"]: row["dose_score"] for row in result["rows"]}
    expected = table[table["metric"] == "dose_score"].set_index("case")["value"].to_dict()
    assert rows == pytest.approx(expected, rel=1e-4)
    cells = table[table["metric"].str.startswith("dvh_error_")]["value"]
    assert result["dvh_score"] == pytest.approx(cells.mean(), rel=1e-3)


def test_predict_to_npz(trained, raw, call, tmp_path):
    shown = call("predict", trained.run, raw, "--case", "pt_242", "--format", "npz", "-o", tmp_path / "out")
    assert shown.code == 0
    assert _files(tmp_path / "out") == ["pt_242.npz"]
    with np.load(tmp_path / "out" / "pt_242.npz") as arrays:
        assert arrays["segmentation"].shape == (2, *SHAPE) and arrays["dose"].shape == (1, *SHAPE)
        assert arrays["segmentation"].min() >= 0 and arrays["segmentation"].max() <= 1
        assert list(arrays["classes_segmentation"]) == ["Brainstem", "SpinalCord"]
        spacing = openkbp_csv.read_spacing(raw / "test-pats" / "pt_242" / "voxel_dimensions.csv")
        assert arrays["spacing"] == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("arguments", "cases"),
    [
        (("--split", "test"), ["pt_241", "pt_242"]),
        (("--case", "pt_2", "--case", "pt_201", "--case", "pt_2"), ["pt_2", "pt_201"]),
        (("--split", "train", "--case", "pt_3"), ["pt_3"]),
    ],
    ids=" ".join,
)
def test_predict_the_chosen_cases_only(trained, raw, call, tmp_path, arguments, cases):
    shown = call("predict", trained.run, raw, *arguments, "--format", "npz", "-o", tmp_path / "out")
    assert shown.code == 0 and f"{len(cases)} case{'s' * (len(cases) != 1)} predicted" in shown.out
    assert _files(tmp_path / "out") == sorted(f"{case}.npz" for case in cases)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--case", "pt_7"), "has no usable case 'pt_7'"),
        (("--case", "pt_1", "--split", "test"), "has no usable case 'pt_1'"),
        (("--split", "tset"), "--split: 'tset' is not accepted"),
        (("--format", "gltf"), "--format: 'gltf' is not known; there are openkbp, dicom, npz"),
        (("--format", "dicom"), "--format dicom: phantom has no CT in DICOM to refer to"),
        (("--weights", "worst"), "--weights: 'worst' is not accepted"),
        (("--device", "toaster"), "--device: 'toaster' cannot be used"),
    ],
    ids=" ".join,
)
def test_predict_refuses(trained, raw, call, tmp_path, arguments, words):
    shown = call("predict", trained.run, raw, *arguments, "-o", tmp_path / "out")
    assert shown.code == 2
    assert words in shown.error
    assert not (tmp_path / "out").exists()


def test_predict_overwrites_nothing(trained, raw, call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "pt_1.csv").write_text("mine")
    shown = call("predict", trained.run, raw, "-o", tmp_path / "out")
    assert shown.code == 2
    assert str(tmp_path / "out") in shown.error and "nothing is overwritten" in shown.error
    assert _files(tmp_path / "out") == ["pt_1.csv"] and (tmp_path / "out" / "pt_1.csv").read_text() == "mine"
    assert call("predict", trained.run, raw, "-o", tmp_path / "out" / "pt_1.csv").code == 2
    (tmp_path / "empty").mkdir()
    assert call("predict", trained.run, raw, "--case", "pt_1", "-o", tmp_path / "empty").code == 0


def test_predict_from_a_missing_root(trained, call, tmp_path):
    shown = call("predict", trained.run, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert shown.code == 2 and str(tmp_path / "nowhere") in shown.error


def test_predict_names_broken_cases_and_goes_on(trained, damaged, call, tmp_path):
    damaged("train-pats/pt_1/ct.csv", lambda text: text[: len(text) // 2].rstrip("\n"))
    damaged("train-pats/pt_2/Brainstem.csv", lambda text: text + "32768,\n")
    damaged("train-pats/pt_3/dose.csv", lambda text: text + "0,nan\n")
    root = damaged("test-pats/pt_241/voxel_dimensions.csv", lambda text: "3 3\n")
    shown = call("predict", trained.run, root, "-o", tmp_path / "out")
    assert shown.code == 3, "some are predicted, others are not"
    assert "2 cases predicted, 4 skipped" in shown.out
    skipped = {"pt_1": "ct.csv", "pt_2": "Brainstem.csv", "pt_3": "dose.csv", "pt_241": "voxel_dimensions.csv"}
    lines = shown.err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"Skipped {case}" for case in skipped]
    assert all(file in line for line, file in zip(lines, skipped.values(), strict=True))
    assert sorted(path.name for path in (tmp_path / "out").glob("*.csv")) == ["pt_201.csv", "pt_242.csv"]
    shown = call("predict", trained.run, root, "--case", "pt_1", "-o", tmp_path / "none")
    assert shown.code == 2 and "no case could be predicted" in shown.error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["openkbp", "npz"])
def test_full_disk_while_predicting(trained, raw, call, tmp_path, monkeypatch, kind):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("numpy.savez_compressed" if kind == "npz" else "pathlib.Path.write_bytes", full)
    shown = call("predict", trained.run, raw, "--case", "pt_1", "--format", kind, "-o", tmp_path / "out")
    assert shown.code == 1
    assert str(tmp_path / "out") in shown.error and os.strerror(errno.ENOSPC) in shown.error
    assert "free space" in shown.error
    assert _files(tmp_path / "out") == []


def test_output_below_a_file(trained, raw, call, tmp_path):
    (tmp_path / "file").write_text("")
    shown = call("predict", trained.run, raw, "--case", "pt_1", "-o", tmp_path / "file" / "out")
    assert shown.code == 1 and str(tmp_path / "file") in shown.error


def test_a_network_that_gives_no_numbers_writes_none(trained, raw, call, tmp_path, monkeypatch):
    true = Predictor.predict

    def nan(self, *arguments):
        prediction = true(self, *arguments)
        prediction.values["dose"][0, 0, 0, 0] = np.nan
        return prediction

    monkeypatch.setattr(Predictor, "predict", nan)
    shown = call("predict", trained.run, raw, "--case", "pt_1", "-o", tmp_path / "out")
    assert shown.code == 1
    assert "Skipped pt_1: the network's dose is not finite" in shown.err and "no case could be" in shown.error
    assert _files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("autopet", "a", "b"), "'autopet': no such challenge; there is openkbp"),
        (("openkbp", "nowhere", "out"), "nowhere: no such folder"),
    ],
    ids=" ".join,
)
def test_score_refuses(call, arguments, words):
    shown = call("score", *arguments)
    assert shown.code == 2
    assert words in shown.error


def test_score_names_what_is_missing(trained, raw, call, tmp_path):
    assert call("predict", trained.run, raw, "--case", "pt_241", "-o", tmp_path / "out").code == 0
    shown = call("score", "openkbp", raw / "test-pats", tmp_path / "out")
    assert shown.code == 2 and "no prediction of pt_242" in shown.error
    partial = call("score", "openkbp", raw / "test-pats", tmp_path / "out", "--partial")
    assert partial.code == 0 and partial.out.startswith("Dose score ") and "1 patients" in partial.out
    (tmp_path / "out" / "pt_241.csv").write_text(",data\n1,nan\n")
    shown = call("score", "openkbp", raw / "test-pats", tmp_path / "out", "--partial")
    assert shown.code == 2 and f"{tmp_path / 'out' / 'pt_241.csv'}, line 2" in shown.error
