"""A benchmark in MLflow: a run of its own, its trainings nested in it, page and tables with it."""

from __future__ import annotations

import html
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crosstask.experiment import Experiment
from crosstask.pipeline.logged import logged
from crosstask.pipeline.telling import tell_loggers
from crosstask.runs import FINAL, LOGGERS, RunSpec, run_specs
from crosstask.training.loggers import LoggedRuns, RunLoggers, log_scores, where_of
from progress_fakes import experiment_at

ROW = {"epoch": 0, "seconds": 1.0, "score": 0.25, "loss/dose": 0.5}


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


@pytest.fixture
def experiment(tmp_path: Path, uri: str) -> Experiment:
    (tmp_path / "results").mkdir()
    return experiment_at(tmp_path / "results", training={"epochs": 1, "loggers": {"mlflow": {"tracking_uri": uri}}})


def runs(uri: str) -> dict[str, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("watched").experiment_id])
    assert len({run.info.run_name for run in found}) == len(found), "none is there twice"
    return {run.info.run_name: run for run in found}


def artifacts(run: Any) -> set[str]:
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def train(spec: RunSpec) -> None:
    spec.folder.mkdir(parents=True, exist_ok=True)
    with RunLoggers(spec, pytest.fail) as loggers:
        loggers.begin([])
        loggers.log(ROW)
        (spec.folder / FINAL).write_bytes(b"weights")


def comparison() -> Any:
    cell = SimpleNamespace(value=2.5, improvement=4.0, low=-1.0, high=math.nan)
    return SimpleNamespace(rows=[SimpleNamespace(method="hps+cagrad", cells={"dose": cell}, mean=cell)])


def test_a_benchmark_is_a_run_with_its_trainings_below_it_and_goes_on_in_it(experiment: Experiment, uri: str) -> None:
    import pandas as pd

    output = experiment.output_folder
    specs = run_specs(experiment)
    with pytest.raises(KeyboardInterrupt), logged(experiment, pytest.fail):
        assert runs(uri)["watched"].info.status == "RUNNING"
        train(specs[0])
        raise KeyboardInterrupt
    first = runs(uri)
    assert first["watched"].info.status == "KILLED" and set(first) == {"watched", specs[0].name}
    for name in ("index.html", "table.csv", "verdict.csv", "scores.csv", "predictions.csv"):
        (output / name).write_text(f"{name}<pre>{html.escape(experiment.dump())}</pre>{output}/runs")
    with logged(experiment, pytest.fail) as log:
        for spec in specs[1:]:
            train(spec)
            scores = {"task": ["dose"] * 2, "metric": ["mae"] * 2, "value": [1.0, 2.0]}
            log_scores(spec, pd.DataFrame(scores), pytest.fail)
        log(comparison())
    found = runs(uri)
    assert set(found) == {"watched", *(spec.name for spec in specs)}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    parent = found.pop("watched")
    assert parent.info.run_id == first["watched"].info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}
    assert parent.data.metrics == {
        "M/dose/hps_cagrad": 2.5,
        "improvement/dose/hps_cagrad": 4.0,
        "improvement_low/dose/hps_cagrad": -1.0,
        "improvement/mean/hps_cagrad": 4.0,
        "improvement_low/mean/hps_cagrad": -1.0,
    }
    assert artifacts(parent) == {
        f"benchmark/{name}" for name in ("index.html", "table.csv", "verdict.csv", "experiment.yaml")
    }, "and no table with a row a case"
    for name in ("experiment.yaml", "index.html"):
        text = (Path(parent.info.artifact_uri.removeprefix("file://")) / "benchmark" / name).read_text()
        assert "epochs: 1" in text and str(output) not in text and "tracking_uri" not in text
    child = found["hps/seed0"]
    assert child.data.metrics["test/dose/mae"] == 1.5 and child.data.metrics["score"] == 0.25
    assert artifacts(child) == {f"weights/{FINAL}"}
    assert "/" not in (output / LOGGERS).read_text(), "the address of the store is nobody's business"


def test_a_failed_benchmark_is_marked_so(experiment: Experiment, uri: str) -> None:
    with pytest.raises(ValueError, match="broken"), logged(experiment, pytest.fail):
        raise ValueError("broken")
    assert runs(uri)["watched"].info.status == "FAILED"


def test_a_benchmark_without_such_loggers_leaves_nothing(tmp_path: Path) -> None:
    experiment = experiment_at(tmp_path, training={"loggers": ["csv"]})
    with logged(experiment, pytest.fail) as log:
        log(comparison())
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_many_runs_is_told_once_that_a_logger_failed(experiment: Experiment) -> None:
    said: list[str] = []
    specs = run_specs(experiment)
    for spec in specs[:2]:
        spec.folder.mkdir(parents=True)
        LoggedRuns(spec.folder).keep("mlflow", where_of("mlflow", experiment), failed="away")
    tell_loggers(specs, SimpleNamespace(warned=said.append))
    assert said == [
        "Warning: the logger mlflow failed in stl/seed0/segmentation and 1 more runs, which went on without it: away"
    ]
