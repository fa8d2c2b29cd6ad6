"""Which files of an experiment go to another machine: those that settings name as files, whatever else lies about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crosstask.evaluation.named_files import named_files, with_files
from crosstask.experiment import Experiment
from progress_fakes import benchmark


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _experiment(here: Path, **changes: Any) -> Experiment:
    return benchmark(here / "out", **changes)[0].experiment


def test_files_that_are_called_as_settings_are_stay_where_they_are(here: Path) -> None:
    experiment = _experiment(here, name="base", sample={"kind": "slice", "size": [32, 32]})
    for name in ("base", "slice", "phantom", "dose", "hps", "auto", "resnet50", "imagenet", "cohort", "folder"):
        (here / name).write_text("no setting")
    assert named_files(experiment) == {}
    assert with_files(experiment, {}, here / "there", True) is experiment


@pytest.mark.parametrize(("given", "task"), [("w.pth", ""), ("w.pth", "#dose"), ("odd#name.pth", "#dose")])
def test_weights_go_with_a_run_and_a_task_of_theirs_is_still_named(here: Path, given: str, task: str) -> None:
    (here / given).write_bytes(b"weights")
    experiment = _experiment(here, encoder={"name": "resnet18", "weights": f"{given}{task}"})
    assert named_files(experiment) == {given: Path(given)}
    there = with_files(experiment, {given: b"weights"}, here / "there", True)
    assert there.encoder.weights == f"{here}/there/0/{given}{task}"
    assert (here / "there" / "0" / given).read_bytes() == b"weights"
    assert with_files(experiment, {given: b"weights"}, here / "there", False) is experiment


def test_weights_of_imagenet_are_no_file(here: Path) -> None:
    (here / "imagenet").write_text("none")
    assert named_files(_experiment(here, encoder={"name": "resnet18", "weights": "imagenet"})) == {}


def test_options_that_take_a_path_go_along_and_others_do_not(here: Path) -> None:
    (here / "half").write_text("no option")
    (here / "names.csv").write_text("whose pseudonyms these are stays here")
    (here / "names.yaml").write_text("Heart: [Cor]\n")
    dataset = {
        "name": "dicom_rt",
        "root": "raw",
        "options": {"structures": "names.yaml", "ends": "half", "pseudonyms": "names.csv"},
        "tasks": {"dose": {}},
    }
    experiment = _experiment(here, dataset=dataset)
    assert named_files(experiment) == {"names.yaml": Path("names.yaml")}
    options = with_files(experiment, {"names.yaml": b"{}"}, here / "there", True).dataset.options
    assert options == {**dataset["options"], "structures": f"{here}/there/0/names.yaml"}  # type: ignore[dict-item]


def test_plugins_and_descriptions_of_cohorts_go_along(here: Path) -> None:
    (here / "own.py").write_text("")
    (here / "json").write_text("a file that is called as a module")
    (here / "cohort.yaml").write_text("name: x\n")
    dataset = {"name": "cohort", "root": "cohort.yaml", "tasks": {"dose": {}}}
    experiment = _experiment(here, dataset=dataset, plugins=["own.py", "json"])
    assert set(named_files(experiment)) == {str(here / "own.py"), "cohort.yaml"}
