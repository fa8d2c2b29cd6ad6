"""``evaluation.split=validation``: settings are chosen without a look at the test cases, and that is said."""

import csv

import pytest
from cli_runner import write_experiment

from crosstask.datasets import Phantom

DOSE = "dataset.tasks={dose: {}}"
CHOOSING = (DOSE, "evaluation.split=validation")


@pytest.fixture
def blind(tmp_path):
    """An experiment on phantoms without test cases."""
    root = tmp_path / "raw"
    Phantom.generate(root, train=3, validation=1, test=0, seed=5, size=32)
    return write_experiment(tmp_path, root, tmp_path / "store", output=str(tmp_path / "results"))


def cases_of(path):
    with path.open(newline="") as rows:
        return {row["case"] for row in csv.DictReader(rows)}


def test_no_test_case_is_needed_and_every_output_says_what_was_judged(blind, call, tmp_path):
    done = call("benchmark", blind, *CHOOSING)
    assert done.code == 0, done.err
    results = tmp_path / "results"
    said = "Judged on validation cases in the place of test cases (evaluation.split)"
    for name in ("table.txt", "table.md", "table.tex", "index.html"):
        assert said in " ".join((results / name).read_text(encoding="utf-8").split()), name
    assert said in " ".join(done.out.split()) or said in " ".join(done.err.split())
    assert "(mean over 1 validation cases)" in (results / "index.html").read_text(encoding="utf-8")
    assert cases_of(results / "scores.csv") == cases_of(results / "constant.csv") == {"pt_201"}
    assert not (results / "epochs.csv").exists()  # other rules choose their epochs on these very cases


def test_the_test_cases_are_judged_afterwards_without_training_anew(experiment, call, tmp_path):
    results = tmp_path / "results"
    assert call("benchmark", experiment, *CHOOSING).code == 0
    weights = {path: path.stat().st_mtime_ns for path in results.rglob("*.safetensors")}
    judged = call("benchmark", experiment, DOSE)
    assert judged.code == 0, judged.err
    assert (
        "stl/seed0/dose and 1 more runs: scored before on validation cases, and now anew on test cases; "
        "set evaluation.split=validation to keep the scores"
    ) in " ".join(judged.err.split())
    assert cases_of(results / "scores.csv") == {"pt_241", "pt_242"}
    assert "validation cases in the place" not in (results / "index.html").read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.safetensors")}.items() >= weights.items()
