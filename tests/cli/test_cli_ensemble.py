"""All seeds of a method as one predictor, as a user asks for them: ``--ensemble`` of ``predict`` and ``evaluate``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_runner import write_experiment

import crosstask as ct

SHAPE = (32, 32, 32)


@pytest.fixture(scope="module")
def benchmark(raw, prepared, tmp_path_factory):
    """A benchmark of one method and two seeds, trained and scored in a folder of its own."""
    folder = tmp_path_factory.mktemp("cli-ensemble")
    output = str(folder / "results")
    evaluation = {"bootstrap": 50, "other_epochs": False}
    options = {"methods": ["hps"], "seeds": [0, 1], "output": output, "evaluation": evaluation}
    ct.benchmark(write_experiment(folder, raw, prepared.store, **options))
    yield folder
    shutil.rmtree(folder)


def test_predict_writes_the_mean_and_how_far_seeds_are_apart(benchmark, raw, call, tmp_path):
    results = benchmark / "results"
    for name, given in {
        "together": [results, "--ensemble", "--method", "hps"],
        "seed0": [results / "runs" / "hps" / "seed0"],
        "seed1": [results / "runs" / "hps" / "seed1"],
    }.items():
        shown = call("predict", given[0], raw, "-o", tmp_path / name, "--split", "test", "--format", "npz", *given[1:])
        assert shown.code == 0, shown.err
        assert f"2 cases predicted: {tmp_path / name}" in shown.out
    with np.load(tmp_path / "together" / "pt_241.npz") as found:
        together = dict(found)
    alone = []
    for seed in (0, 1):
        with np.load(tmp_path / f"seed{seed}" / "pt_241.npz") as found:
            alone.append(dict(found))
    for task in ("segmentation", "dose"):
        every = np.stack([one[task] for one in alone]).astype(float)
        np.testing.assert_allclose(together[task], every.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(together[f"{task}_spread"], every.std(0, ddof=1), rtol=1e-3, atol=1e-6)
    assert "segmentation_entropy" in together and "dose_entropy" not in together
    assert not [name for name in alone[0] if "spread" in name or "entropy" in name]


def test_predict_goes_on_and_never_mixes_an_ensemble_with_a_run(benchmark, raw, call, tmp_path):
    results, out = benchmark / "results", tmp_path / "out"
    first = call("predict", results, raw, "-o", out, "--ensemble", "--case", "pt_241")
    assert first.code == 0 and "1 case predicted" in first.out
    again = call("predict", benchmark / "experiment.yaml", raw, "-o", out, "--ensemble", "--split", "test")
    assert again.code == 0 and "1 case predicted, 1 were there already" in again.out
    mixed = call("predict", results / "runs" / "hps" / "seed0", raw, "-o", out, "--split", "test")
    assert mixed.code == 2
    assert "holds predictions of small hps, ensemble of seeds 0, 1 (final); give a new folder" in mixed.error
    # the challenge's own score looks at the dose alone
    scored = call("score", "openkbp", raw / "test-pats", out)
    assert scored.code == 0 and "2 patients" in scored.out


def test_evaluate_shows_the_seeds_alone_and_together(benchmark, call):
    shown = call("evaluate", benchmark / "results", "--ensemble", "--device", "cpu")
    assert shown.code == 0, shown.err
    assert "HPS x 2  dose          mae (Gy) ↓" in shown.out and "calibration_error (%) ↓" in shown.out
    assert "neither verdict nor rank" in " ".join(shown.out.split())
    assert f"Tables: {(benchmark / 'results' / 'ensembles.csv').resolve()}" in shown.out
    table = pd.read_csv(benchmark / "results" / "ensembles.csv").set_index(["task", "metric"])
    scores = pd.read_csv(benchmark / "results" / "scores.csv")
    mae = scores[scores["metric"] == "mae"].groupby("seed")["value"].mean().mean()
    assert table.loc[("dose", "mae"), "mean_of_seeds"] == pytest.approx(mae, rel=1e-5)
    assert 0 <= table.loc[("dose", "within_1sd"), "ensemble"] <= table.loc[("dose", "within_2sd"), "ensemble"] <= 100


def test_two_devices_score_an_ensemble_as_one_does(benchmark, call):
    kept = benchmark / "results" / "ensembles"
    tables = []
    for device in ("cpu", "cpu,cpu"):
        shutil.rmtree(kept, ignore_errors=True)
        shown = call("evaluate", benchmark / "results", "--ensemble", "--device", device)
        assert shown.code == 0, shown.err
        tables.append([path.read_bytes() for path in sorted(kept.rglob("*.csv"))])
    assert len(tables[0]) == 2 and tables[0] == tables[1]


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("predict", ["RUN", "--ensemble"], "is one run; give the benchmark, its output folder or experiment file"),
        ("predict", ["RUN", "--method", "hps"], "is one run; leave it out, or give the benchmark it belongs to"),
        ("predict", ["RESULTS", "--ensemble", "--method", "ctan"], "--method: 'ctan' is not among the experiment's"),
        ("predict", ["RESULTS", "--ensemble", "--onnx", "x.onnx"], "--onnx: is of one network; leave it out of an"),
        ("predict", ["NOWHERE", "--ensemble"], "no such run folder, output folder of a benchmark or experiment file"),
        ("evaluate", ["RUN", "--ensemble"], "is one run; give the benchmark, its output folder or experiment file"),
        ("evaluate", ["RESULTS", "--method", "hps"], "--method: is of an ensemble; add --ensemble"),
        ("evaluate", ["RESULTS", "--ensemble", "--weights", "best"], "--weights: says nothing of an ensemble"),
        ("evaluate", ["RESULTS", "--ensemble", "--split", "train"], "--split: 'train' is not accepted; one of test"),
        ("evaluate", ["RESULTS", "--ensemble", "seeds=[0]"], "an ensemble needs two seeds or more; give seeds=[0,1,2]"),
    ],
)  # fmt: skip
def test_what_is_no_ensemble_is_refused(command, given, said, benchmark, raw, call, tmp_path):
    places = {"RUN": benchmark / "results" / "runs" / "hps" / "seed0", "RESULTS": benchmark / "results"}
    first, *rest = given
    arguments = [places.get(first, Path("nowhere")), *([raw, "-o", tmp_path / "out"] * (command == "predict")), *rest]
    shown = call(command, *arguments)
    assert shown.code == 2 and said in shown.error
    assert not (tmp_path / "out").exists()


def test_a_method_must_be_named_where_there_are_several_and_one_seed_is_refused(trained, raw, call, tmp_path):
    shown = call("predict", trained.experiment, raw, "-o", tmp_path / "out", "--ensemble")
    assert shown.code == 2 and "is a benchmark of several methods; add --method, one of stl, hps" in shown.error
    shown = call("predict", trained.experiment, raw, "-o", tmp_path / "out", "--ensemble", "--method", "hps")
    assert shown.code == 2 and "has seed 0 alone, and an ensemble needs two; train more" in shown.error
