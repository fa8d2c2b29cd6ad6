"""``crosstask affinity`` as a user runs it, and what a benchmark tells of the same."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from cli_runner import has_progress, here, write_experiment

OPTIONS = ("--epochs", "1", "--every", "1", "--seeds", "2")
FOLDER = "results/affinity/hps+equal-epochs1-every1"


@pytest.fixture(scope="module")
def looked(raw, prepared, tmp_path_factory):
    """A look at two tasks in a folder of its own."""
    folder = tmp_path_factory.mktemp("cli-affinity")
    write_experiment(folder, raw, prepared.store, output=str(folder / "results"))
    return folder, here(folder, "affinity", "experiment.yaml", *OPTIONS)


def _times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".safetensors", ".csv")}


def test_it_prints_tables_and_a_sentence_and_writes_beneath_the_output(looked):
    folder, outcome = looked
    assert outcome.code == 0, outcome.err
    assert not has_progress(outcome.out.replace("━", ""))
    assert "Cosine of the tasks' gradients" in outcome.out and "stage 4" in outcome.out
    assert "Affinity: millionths" in outcome.out and "segmentation, dose" in outcome.out
    said = [line for line in outcome.out.splitlines() if line.startswith("HPS + equal, first epochs: ")]
    assert len(said) == 1 and "learning segmentation and dose together" in said[0]
    assert f"Tables and pictures: {folder / FOLDER}" in outcome.out
    written = {path.name for path in (folder / FOLDER).iterdir()}
    assert written == {
        *("affinity.json", "affinity.md", "affinity.png", "cosines.png", "cosines-over-epochs.png", "runs")
    }
    assert not (folder / "results" / "runs").exists()
    runs = folder / FOLDER / "runs" / "hps+equal"
    assert {path.name for path in runs.iterdir()} == {"seed0", "seed1"}
    table = pd.read_csv(runs / "seed0" / "transfer.csv")
    assert table["steps"].tolist() == [2] and table.filter(like="cosine.").abs().le(1).all(axis=None)


def test_again_it_trains_nothing_and_json_is_all_that_is_printed(looked, call):
    folder, _ = looked
    before = _times(folder / FOLDER)
    again = call("affinity", "experiment.yaml", *OPTIONS, "--json", folder=folder)
    assert again.code == 0, again.err
    assert _times(folder / FOLDER) == before
    found = json.loads(again.out)
    assert found == json.loads((folder / FOLDER / "affinity.json").read_text())
    assert found["tasks"] == ["segmentation", "dose"] and found["groups"] == [] and found["total_affinity"] is None
    assert {(row["task"], row["other"]) for row in found["affinity"]} == {
        (one, other) for one in found["tasks"] for other in found["tasks"]
    }
    means = [pd.read_csv(path) for path in sorted((folder / FOLDER).rglob("transfer.csv"))]
    of_all = next(row for row in found["cosine"] if row["part"] == "all")
    expected = sum(float(table["cosine.all.segmentation.dose"].iloc[0]) for table in means) / 2
    assert of_all["value"] == pytest.approx(expected) and of_all["seeds"] == 2 and of_all["steps"] == 4


def test_other_epochs_and_another_rate_have_a_folder_of_their_own(looked, call):
    folder, _ = looked
    before = _times(folder / FOLDER)
    other = call("affinity", "experiment.yaml", "--epochs", "2", "--every", "4", "--seeds", "1", folder=folder)
    assert other.code == 0, other.err
    assert "of one run nothing can be told" in other.out
    assert (folder / "results" / "affinity" / "hps+equal-epochs2-every4").is_dir()
    assert _times(folder / FOLDER) == before
    refused = call("affinity", "experiment.yaml", *OPTIONS, "training.learning_rate=0.5", folder=folder)
    assert refused.code == 2 and "was trained with other settings (training.learning_rate)" in refused.error
    assert _times(folder / FOLDER) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["dataset.tasks={dose: {}}"], "dataset.tasks: has dose alone; affinity is between tasks"),
        (["--method", "stl"], "--method: stl learns each task alone"),
        (["--method", "sequential"], "--method: the tasks of sequential share no parameter"),
        (["--method", "auxiliary"], "--method: auxiliary needs major"),
        (["--method", "hsp"], "did you mean 'hps'?"),
        (["--every", "99"], "fewer than 99 batches with several labels; give --every 1, or more --epochs"),
        (["--seeds", "101"], "--seeds: 101 is more than 100"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(experiment, call, options, said):
    outcome = call("affinity", experiment, "--epochs", "1", "--seeds", "1", *options)
    assert outcome.code == 2
    assert said in outcome.error


def test_a_benchmark_tells_it_on_page_and_terminal(experiment, call, tmp_path):
    arguments = ("methods=[stl, hps+equal, hps+pcgrad]", "training.transfer_every=1")
    outcome = call("benchmark", experiment, *arguments)
    assert outcome.code == 0, outcome.err
    assert "Transfer between tasks: HPS + equal: of one run nothing can be told" in outcome.out
    results = tmp_path / "results"
    page = (results / "index.html").read_text(encoding="utf-8")
    assert ">Transfer between tasks</h2>" in page and "Cosine of the tasks" in page
    table = pd.read_csv(results / "transfer.csv", keep_default_na=False)
    assert set(table["method"]) == {"hps+equal", "hps+pcgrad"} and set(table["steps"]) == {2}
    assert not list((results / "runs" / "stl").rglob("transfer.csv"))

    damaged = results / "runs" / "hps+pcgrad" / "seed0" / "transfer.csv"
    damaged.write_text(damaged.read_text().replace("0.", "1.", 1))
    again = call("benchmark", experiment, *arguments)
    assert again.code == 0, again.err
    assert "so what tasks do to each other leaves out hps+pcgrad/seed0" in " ".join(again.err.split())
    assert set(pd.read_csv(results / "transfer.csv")["method"]) == {"hps+equal"}
