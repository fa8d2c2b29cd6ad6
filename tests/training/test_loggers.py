"""Loggers by name: what they are told, that a killed run goes on in the same, and that one that fails ends nothing."""

from __future__ import annotations

import csv
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.methods import get_method
from crosstask.runs import FINAL, LOGGERS, RunSpec
from crosstask.runs.disclosed import flattened, without_places
from crosstask.store import Store
from crosstask.training import loggers as module
from crosstask.training.logger_kinds import check_loggers
from crosstask.training.loggers import LoggedRuns, RunLoggers, failures_of, metric_name
from crosstask.training.run import train

ROW = {"seconds": 1.0, "loss/dose": 0.5, "skill/dose": float("nan"), "score": 0.25}


def rows(*epochs: int) -> list[dict[str, float]]:
    return [{"epoch": epoch, **ROW} for epoch in epochs]


def logging_to(experiment: Experiment, loggers: Any) -> RunSpec:
    """A run of the experiment with these loggers."""
    values = experiment.model_dump(mode="json")
    values["training"] |= {"loggers": loggers}
    changed = experiment_from(values)
    return RunSpec(changed, get_method("hps"), 0, tuple(changed.dataset.tasks))


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local store of files."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return (tmp_path / "mlruns").as_uri()


def mlflow_runs(uri: str, name: str = "small") -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def steps(uri: str, run: Any, key: str) -> list[int]:
    from mlflow.tracking import MlflowClient

    return [metric.step for metric in MlflowClient(uri).get_metric_history(run.info.run_id, key)]


def test_a_run_and_what_it_scored_are_in_mlflow_after_a_kill_too(
    experiment: Experiment, store: Store, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One training, broken in its second epoch, serves all three kinds that lie on this disk."""
    from crosstask.training.module import TrainingModule

    spec = logging_to(experiment, {"mlflow": {"tracking_uri": mlflow}, "csv": None, "tensorboard": None})
    spec = RunSpec(_small(spec.experiment), spec.method, 0, spec.tasks)
    step = TrainingModule.training_step

    def failing(self: TrainingModule, batch: object, index: int) -> object:
        if self.current_epoch == 1:
            raise RuntimeError("killed")
        return step(self, batch, index)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(TrainingModule, "training_step", failing)
        train(spec, store)
    (broken,) = mlflow_runs(mlflow)
    assert (broken.info.status, steps(mlflow, broken, "score")) == ("FAILED", [0])
    said: list[str] = []
    train(spec, store, tell=said.append)
    (run,) = mlflow_runs(mlflow)
    assert not [line for line in said if "logger" in line]
    assert run.info.run_id == broken.info.run_id and run.info.status == "FINISHED"
    assert run.info.run_name == "hps/seed0"
    for key in ("loss/dose", "loss/segmentation", "skill/dose", "score", "learning_rate"):
        assert steps(mlflow, run, key) == [0, 1], key
    history = list(csv.DictReader((spec.folder / "history.csv").open()))
    assert run.data.metrics["loss/dose"] == pytest.approx(float(history[-1]["loss/dose"]))
    assert run.data.params["training.learning_rate"] == "0.001" and run.data.params["method"] == "hps"
    assert not [key for key in run.data.params if "root" in key or key == "store" or "tracking_uri" in key]
    assert str(spec.folder.parent) not in json.dumps({**run.data.params, **run.data.tags})
    kept = Path(run.info.artifact_uri.removeprefix("file://")) / "weights" / FINAL
    assert kept.read_bytes() == (spec.folder / FINAL).read_bytes()
    metrics = list(csv.DictReader((spec.folder / "csv" / "metrics.csv").open()))
    assert [row["step"] for row in metrics] == ["0", "1"]
    assert [float(row["loss/dose"]) for row in metrics] == pytest.approx([float(row["loss/dose"]) for row in history])
    assert tensorboard_steps(spec.folder / "tensorboard", "loss/dose") == [0, 1]


def _small(experiment: Experiment) -> Experiment:
    small = {"epochs": 2, "samples_per_epoch": 8, "validation_samples": 4}
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=small)})


def tensorboard_steps(folder: Path, key: str) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(key)]


def test_a_resumed_run_logs_what_a_logger_lacks_and_nothing_twice(experiment: Experiment, mlflow: str) -> None:
    spec = logging_to(experiment, {"mlflow": {"tracking_uri": mlflow, "artifacts": False}, "csv": {}})
    spec.folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="killed"), RunLoggers(spec, pytest.fail) as one:
        one.begin([])
        for row in rows(0, 1, 2):
            one.log(row)
        raise ValueError("killed")
    # the checkpoint is of the second epoch: the third is trained and told again, now with more threads
    more = spec.experiment.training.model_copy(update={"threads": 2})
    other = RunSpec(spec.experiment.model_copy(update={"training": more}), spec.method, 0, spec.tasks)
    with RunLoggers(other, pytest.fail) as two:
        two.begin(rows(0, 1))
        for row in rows(2, 3):
            two.log(row)
    (run,) = mlflow_runs(mlflow)
    assert steps(mlflow, run, "score") == [0, 1, 2, 3]
    assert "skill/dose" not in run.data.metrics, "it never was a number"
    # and a logger that is switched on later has all epochs
    (spec.folder / LOGGERS).unlink()
    with RunLoggers(spec, pytest.fail) as late:
        late.begin(rows(0, 1, 2, 3))
    assert {tuple(steps(mlflow, run, "score")) for run in mlflow_runs(mlflow)} == {(0, 1, 2, 3)}
    assert len(mlflow_runs(mlflow)) == 2
    assert [row["step"] for row in csv.DictReader((spec.folder / "csv" / "metrics.csv").open())] == list("0123")


def test_ctrl_c_is_told_to_mlflow(experiment: Experiment, mlflow: str) -> None:
    spec = logging_to(experiment, {"mlflow": {"tracking_uri": mlflow}})
    spec.folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt), RunLoggers(spec, pytest.fail) as loggers:
        loggers.begin([])
        raise KeyboardInterrupt
    assert [run.info.status for run in mlflow_runs(mlflow)] == ["KILLED"]


def test_a_server_that_is_away_costs_a_line_and_no_training(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    spec = logging_to(experiment, {"mlflow": {"tracking_uri": "http://127.0.0.1:9"}, "csv": None})
    spec.folder.mkdir(parents=True)
    said: list[str] = []
    with RunLoggers(spec, said.append) as loggers:
        loggers.begin([])
        for row in rows(0, 1):
            loggers.log(row)
    (line,) = said
    assert line.startswith("Warning: hps/seed0: the logger mlflow failed and is left out from here on: ")
    assert "\n" not in line and len(line) < 300
    assert len(list(csv.DictReader((spec.folder / "csv" / "metrics.csv").open()))) == 2, "the others go on"
    assert list(failures_of(spec)) == ["mlflow"], "so that whoever waits for many runs can be told"


def test_a_logger_that_fails_in_the_middle_is_left_out_and_caught_up_with(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    fail = {"at": 1}

    class Fragile:
        run_id = "1"
        experiment = types.SimpleNamespace(
            update_run=lambda *_, **__: None,
            get_run=lambda _: types.SimpleNamespace(data=types.SimpleNamespace(params={})),
        )

        def log_hyperparams(self, parameters: object) -> None: ...

        def log_metrics(self, values: object, step: int) -> None:
            if step == fail["at"]:
                raise ConnectionError("away\nand a long story")
            told.append(step)

        def finalize(self, status: str) -> None: ...

    monkeypatch.setattr(module, "make_logger", lambda *_, **__: Fragile())
    spec = logging_to(experiment, {"mlflow": {"artifacts": False}})
    spec.folder.mkdir(parents=True)
    said: list[str] = []
    with RunLoggers(spec, said.append) as loggers:
        loggers.begin([])
        for row in rows(0, 1, 2):
            loggers.log(row)
    assert told == [0] and said == ["Warning: hps/seed0: the logger mlflow failed and is left out from here on: away"]
    fail["at"] = -1
    with RunLoggers(spec, pytest.fail) as loggers:
        loggers.begin(rows(0, 1, 2))
    assert told == [0, 1, 2] and not failures_of(spec)


def test_runs_of_another_store_are_others(tmp_path: Path) -> None:
    runs = LoggedRuns(tmp_path)
    runs.keep("mlflow", "here", run="1")
    runs.keep("mlflow", "here", epochs=3)
    assert LoggedRuns(tmp_path).of("mlflow", "here") == {"where": "here", "run": "1", "epochs": 3}
    assert LoggedRuns(tmp_path).of("mlflow", "there") == {}
    (tmp_path / LOGGERS).write_text("damaged")
    assert LoggedRuns(tmp_path).of("mlflow", "here") == {}


def test_what_is_not_installed_is_told_before_hours_of_work(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sqlalchemy" else find(name))
    training = logging_to(experiment, {"mlflow": {"tracking_uri": "sqlite:///a.db"}}).experiment.training
    with pytest.raises(InputError, match=r"mlflow needs sqlalchemy, .*pip install 'crosstask\[mlflow\]'"):
        check_loggers(training)
    check_loggers(logging_to(experiment, {"mlflow": {"tracking_uri": "http://server"}, "csv": {}}).experiment.training)


def test_wandb_writes_offline_and_goes_on_under_the_same_id(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's own process is not started: its client is asked what it would be given."""
    pytest.importorskip("wandb")
    import wandb

    calls: list[dict[str, Any]] = []
    logged: list[Any] = []

    class Run:
        def __init__(self, **options: Any) -> None:
            calls.append(options)
            self.id, self.step = options["id"], 0
            self.config = types.SimpleNamespace(update=lambda values, **_: logged.append(values))

        def define_metric(self, *_: object, **__: object) -> None: ...

        def log(self, values: dict[str, float], **_: object) -> None:
            logged.append(values)

        def finish(self, exit_code: int) -> None:
            logged.append(exit_code)

    monkeypatch.setattr(wandb, "init", lambda **options: Run(**options))
    monkeypatch.setattr(wandb, "run", None)
    spec = logging_to(experiment, {"wandb": {"project": "p", "offline": True}})
    spec.folder.mkdir(parents=True)
    for epochs in ([0], [1]):
        with RunLoggers(spec, pytest.fail) as loggers:
            loggers.begin(rows(*range(epochs[0])))
            for row in rows(*epochs):
                loggers.log(row)
    assert calls[0]["id"] == calls[1]["id"] and calls[0]["project"] == "p" and calls[0]["name"] == "hps/seed0"
    assert calls[0]["group"] == "small" and calls[0]["job_type"] == "hps"
    settings = calls[0]["settings"]
    assert settings.console == "off" and settings.disable_git and settings.x_disable_meta
    metrics = [one for one in logged if isinstance(one, dict) and "score" in one]
    assert len(metrics) == 2 and metrics[0]["loss/dose"] == 0.5
    assert [one for one in logged if isinstance(one, int)] == [0, 0]
    parameters = next(one for one in logged if isinstance(one, dict) and "method" in one)
    assert parameters["seed"] == 0 and "dataset.root" not in parameters


def test_places_are_not_disclosed() -> None:
    settings = {
        "name": "a",
        "dataset": {"root": "/home/me/data", "options": {"folder": "x", "fill": 0, "table": "/home/me/t.csv"}},
        "encoder": {"name": "monai/densenet121", "weights": "C:\\Users\\me\\w.pth"},
        "training": {"epochs": 3, "loggers": {"mlflow": {"tracking_uri": "http://me:secret@server"}}},
        "plugins": ["~/mine.py"],
        "external": {"clinic": {"dataset": {"root": "../theirs", "name": "cohort"}}},
        "variants": {"TL": {"encoder": {"weights": "~/runs/best.safetensors#dose"}}},
        "output": None,
        "seeds": [0, 1],
    }
    flat = flattened(without_places(settings))
    assert flat == {
        "name": "a",
        "dataset.options.fill": 0,
        "dataset.options.table": "t.csv",
        "encoder.name": "monai/densenet121",
        "encoder.weights": "w.pth",
        "training.epochs": 3,
        "external.clinic.dataset.name": "cohort",
        "variants.TL.encoder.weights": "best.safetensors#dose",
        "seeds": [0, 1],
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["csv", "mlflow"], ("csv", "mlflow")),
        ("csv", ("csv",)),
        ({"mlflow": None, "csv": True, "wandb": False}, ("csv", "mlflow")),
        ({}, ()),
    ],
)
def test_loggers_are_given_as_names_or_with_options(experiment: Experiment, given: Any, names: tuple[str, ...]) -> None:
    spec = logging_to(experiment, given)
    assert spec.experiment.training.logged_by == names
    again = experiment_from(spec.experiment.model_dump(mode="json"))
    assert again == spec.experiment, "what is written is read as it was meant"


def test_the_key_from_before_still_logs_for_tensorboard(experiment: Experiment) -> None:
    values = experiment.model_dump(mode="json")
    values["training"] |= {"tensorboard": True}
    assert experiment_from(values).training.logged_by == ("tensorboard",)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["csv", "csv"], "give each name once"),
        (["tensorbord"], "training.loggers.tensorbord: no such key; did you mean 'tensorboard'?"),
        ({"mlflow": {"uri": "x"}}, "accepted: tracking_uri, experiment, artifacts"),
        ({"mlflow": {"tracking_uri": "http://me:secret@server"}}, "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_what_cannot_be_a_logger_is_told(experiment: Experiment, given: Any, said: str) -> None:
    with pytest.raises(InputError) as error:
        logging_to(experiment, given)
    assert said in str(error.value)


def test_names_of_metrics_are_those_that_every_logger_takes() -> None:
    assert metric_name("loss/T-Stage é+x") == "loss/T-Stage __x"


def test_loggers_cost_nothing_where_there_are_none() -> None:
    import subprocess

    code = "import sys, crosstask.training.loggers, crosstask.pipeline.logged; "
    code += "print([name for name in ('mlflow', 'wandb', 'tensorboard', 'lightning') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
