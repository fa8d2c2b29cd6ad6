"""Runs on two devices, which are processes here: as one process would have trained them, and ended together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

import forked
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.methods import get_method
from crosstask.runs import AVERAGE, BEST, FINAL, HISTORY, LAST, TRANSFER, RunSpec, is_trained, read_record
from crosstask.store import Store
from crosstask.training.check import check_specs
from crosstask.training.launch import Position, check_launch, launched, threads_of
from crosstask.training.run import train

EPOCHS, STEPS, LEARNING_RATE = 4, 12, 1e-4


def experiment_of(phantom: Path, store: Store, output: Path, **training: object) -> Experiment:
    return experiment_from(
        {
            "name": "several",
            "seeds": [0],
            "dataset": {
                "name": "phantom",
                "root": str(phantom),
                "tasks": {"segmentation": {"classes": ["Brainstem", "SpinalCord"]}, "dose": {}},
                "windows": [[0, 2500], [800, 1200]],
            },
            "sample": {"kind": "slice", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "methods": ["hps"],
            "training": {
                "device": "cpu",
                "epochs": EPOCHS,
                "batch_size": 5,  # which two do not divide
                "samples_per_epoch": 15,
                "validation_samples": 7,  # likewise
                "foreground": 0.3,
                "augmentation": {"flip": ["y"], "noise": 0.05},
                "learning_rate": LEARNING_RATE,
                "schedule": "cosine",
                "average": 1,
                "transfer_every": 5,
                "threads": 1,
                **training,
            },
            "output": str(output),
            "store": str(store.root),
        }
    )


def spec_of(experiment: Experiment, method: str = "hps") -> RunSpec:
    return RunSpec(experiment, get_method(method), 0, tuple(experiment.dataset.tasks))


def moved(run: Path, other: Path, file: str = FINAL) -> float:
    """How far the weights of two runs are from each other, as a share of how far Adam can have moved each."""
    first, second = load_file(run / file), load_file(other / file)
    names = [name for name in first if first[name].is_floating_point() and "running" not in name]
    apart = sum(float((first[name] - second[name]).square().sum()) for name in names)
    number = sum(first[name].numel() for name in names)
    return float((apart / number) ** 0.5) / (LEARNING_RATE * STEPS)


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / HISTORY).drop(columns="seconds")


@dataclass
class Runs:
    """Runs of the same settings, trained in different ways."""

    one: Path
    two: Path
    killed: Path
    sharded: Path
    told: list[str]
    failure: CrosstaskError
    left: list[Any]


class StopError(Exception):
    """What breaks a run off."""


@pytest.fixture(scope="module")
def runs(phantom: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("several")
    made: dict[str, RunSpec] = {}

    def spec(name: str, **training: object) -> RunSpec:
        made[name] = spec_of(experiment_of(phantom, store, root / name, **training))
        return made[name]

    def kill(row: Mapping[str, Any]) -> None:
        if row["epoch"] == 0:
            victim = next(one for one in multiprocessing.active_children() if one.name.endswith(" 1"))
            os.kill(victim.pid or 0, signal.SIGKILL)

    def stop(row: Mapping[str, Any]) -> None:
        if row["epoch"] == 1:
            raise StopError

    train(spec("one"), store)
    told: list[str] = []
    train(spec("two", devices=2), store, tell=told.append)
    with pytest.raises(CrosstaskError) as failure:
        train(spec("killed", devices=2), store, follow=kill)
    left = multiprocessing.active_children()
    train(spec("killed"), store)
    plain = {"average": None, "transfer_every": 0}
    with pytest.raises(StopError):
        train(spec("sharded", **plain), store, follow=stop)
    train(spec("sharded", devices=2, strategy="fsdp", **plain), store)
    folders = {name: spec.folder for name, spec in made.items()}
    return Runs(**folders, told=told, failure=failure.value, left=left)


@pytest.mark.parametrize("way", ["two", "killed", "sharded"])
def test_two_devices_train_as_one_does(runs: Runs, way: str):
    other = getattr(runs, way)
    assert moved(runs.one, other) < 0.05
    one, two = history(runs.one), history(other)
    assert len(two) == EPOCHS
    pd.testing.assert_frame_equal(one, two, rtol=2e-3, atol=2e-4)


def test_their_average_is_that_of_one(runs: Runs):
    for other in (runs.two, runs.killed):
        assert moved(runs.one, other, AVERAGE) < 0.05


def test_their_looks_at_the_tasks_are_those_of_one(runs: Runs):
    one, two = pd.read_csv(runs.one / TRANSFER), pd.read_csv(runs.two / TRANSFER)
    assert one["steps"].sum() == 2
    pd.testing.assert_frame_equal(one, two, rtol=0.02, atol=2e-3)


def test_the_folder_is_that_of_one(runs: Runs):
    names = {path.relative_to(runs.one) for path in runs.one.rglob("*")}
    assert {path.relative_to(runs.two) for path in runs.two.rglob("*")} == names
    one, two = read_record(runs.one), read_record(runs.two)
    assert (one["training"]["devices"], two["training"]["devices"]) == (1, 2)
    assert one["training"]["best_epoch"] == two["training"]["best_epoch"]
    assert one["task_state"] == two["task_state"]


def test_each_line_is_told_once(runs: Runs):
    assert runs.told[0] == "hps/seed0: trains on cpu, 2 of them"
    assert [line for line in runs.told if "epoch" in line] == [
        line for line in dict.fromkeys(runs.told) if "epoch" in line
    ]
    assert sum(": epoch " in line for line in runs.told) == EPOCHS


def test_a_killed_process_ends_the_others_with_one_line(runs: Runs):
    line = str(runs.failure)
    assert line.startswith(
        "hps/seed0: process 1 of the 2 that train it was killed, probably out of memory; run the same"
    )
    assert "\n" not in line
    assert runs.left == []


def test_what_one_process_finds_is_what_is_said(phantom: Path, store: Store, tmp_path: Path):
    experiment = experiment_of(phantom, store, tmp_path, devices=2, learning_rate=1e30, average=None)
    with pytest.raises(InputError, match=r"training\.learning_rate: .* not finite") as refused:
        train(spec_of(experiment), store)
    assert "\n" not in str(refused.value)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("training", "named"),
    [
        ({"devices": 6}, r"training\.batch_size: 5 samples cannot be shared out over 6 devices; set at least 6"),
        ({"num_nodes": 2}, r"training\.num_nodes: 2 machines .* with srun or torchrun"),
        ({"strategy": "ddp"}, r"training\.strategy: ddp is of several devices, .* set it auto"),
        (
            {"strategy": "fsdp", "devices": 2, "transfer_every": 0},
            r"training\.strategy: fsdp has no whole weights",
        ),
        ({"strategy": "fsdp", "devices": 2, "precision": "16-mixed"}, r"set training\.precision=bf16-mixed"),
        ({"strategy": "fsdp", "devices": 2, "average": None}, r"training\.strategy: fsdp has no gradients of single"),
    ],
)
def test_what_cannot_be_shared_out_is_told_before(
    phantom: Path, store: Store, tmp_path: Path, training: dict[str, object], named: str
):
    with pytest.raises(InputError, match=named) as refused:
        check_specs([spec_of(experiment_of(phantom, store, tmp_path, **training))])
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("method", ["hps+pcgrad", "hps+gradnorm"])
def test_gradients_of_tasks_are_not_sharded(phantom: Path, store: Store, tmp_path: Path, method: str):
    training = {"strategy": "fsdp", "devices": 2, "average": None, "transfer_every": 0}
    with pytest.raises(InputError, match=r"needs gradients of single tasks, .* set it ddp"):
        check_specs([spec_of(experiment_of(phantom, store, tmp_path, **training), method)])


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
}
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


@pytest.mark.parametrize(("variables", "launcher"), [(TORCHRUN, "torchrun"), (SLURM, "srun")])
def test_a_process_knows_its_place(variables: dict[str, str], launcher: str, monkeypatch: pytest.MonkeyPatch):
    assert launched(variables) == Position(3, 4, 1, 2, 1, launcher)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert check_launch(TrainingSection(batch_size=8, num_nodes=2), 2) == 4
    with pytest.raises(
        InputError, match=rf"{launcher} has started 4, 2 on this machine; set training\.devices=2 training"
    ):
        check_launch(TrainingSection(batch_size=8, num_nodes=2), 4)


def test_processes_of_slurm_that_train_alone_stay_alone(monkeypatch: pytest.MonkeyPatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert check_launch(TrainingSection(), 1) == 1


def test_half_a_launcher_is_refused():
    with pytest.raises(InputError, match=r"not which of them this is \('RANK'\)"):
        launched({"TORCHELASTIC_RUN_ID": "x"})


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch):
    assert threads_of(TrainingSection()) is None
    monkeypatch.setattr("crosstask.training.launch._HERE", [Position(1, 4, 1, 4)])
    monkeypatch.setattr("crosstask.training.launch.cores", lambda: 9)
    assert [threads_of(TrainingSection(threads=threads)) for threads in (None, 8, 2)] == [2, 2, 1]


def written(experiment: Experiment, folder: Path) -> Path:
    path = folder / "several.yaml"
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
    return path


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def started_by_slurm(path: Path, folder: Path, *options: str) -> list[Any]:
    """Two tasks of a step, one on each of two nodes, both of which are this machine."""
    port = free_port()
    tasks = []
    for rank in range(2):
        variables = {
            **os.environ,
            **SLURM,
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        arguments = ["crosstask", "train", str(path), *options]
        out, err = folder / f"{rank}.out", folder / f"{rank}.err"
        tasks.append(forked.start(forked._run, forked._COMMAND, arguments, folder, variables, out, err))
    return tasks


def said_by(folder: Path) -> list[str]:
    return [(folder / f"{rank}.{stream}").read_text() for stream in ("out", "err") for rank in range(2)]


@pytest.fixture
def linux() -> None:
    if sys.platform != "linux":
        pytest.skip("the loopback has another name")


@pytest.mark.usefixtures("linux")
def test_tasks_of_slurm_on_two_nodes_train_together(runs: Runs, phantom: Path, store: Store, tmp_path: Path):
    path = written(experiment_of(phantom, store, tmp_path / "results", num_nodes=2), tmp_path)
    tasks = started_by_slurm(path, tmp_path)
    for task in tasks:
        task.join(300)
    out, silent, err, nothing = said_by(tmp_path)
    assert [task.exitcode for task in tasks] == [0, 0], err + nothing
    assert "several/hps" not in silent and silent == nothing == ""
    assert "hps/seed0: 4 epochs" in out
    assert moved(runs.one, tmp_path / "results" / "runs" / "hps" / "seed0") < 0.05


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_task_of_slurm_ends_the_other(phantom: Path, store: Store, tmp_path: Path, victim: int):
    results = tmp_path / "results"
    path = written(experiment_of(phantom, store, results, num_nodes=2, epochs=200), tmp_path)
    tasks = started_by_slurm(path, tmp_path)
    folder = results / "runs" / "hps" / "seed0"
    deadline = time.monotonic() + 200
    while not (folder / LAST).exists() and time.monotonic() < deadline and all(task.is_alive() for task in tasks):
        time.sleep(0.05)
    assert (folder / LAST).exists(), said_by(tmp_path)
    tasks[victim].kill()
    tasks[1 - victim].join(60)
    assert tasks[1 - victim].exitcode == 1
    err = said_by(tmp_path)[3 - victim]
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert lines == [
        f"Error: process {victim} of the 2 that train together was killed, or its machine is lost; run the same "
        "command to resume from the last epoch"
    ]
    assert not is_trained(spec_of(experiment_of(phantom, store, results)))


@pytest.mark.usefixtures("linux")
def test_settings_that_do_not_fit_the_launcher_are_told_once(phantom: Path, store: Store, tmp_path: Path):
    path = written(experiment_of(phantom, store, tmp_path / "results", devices=2), tmp_path)
    tasks = started_by_slurm(path, tmp_path)
    for task in tasks:
        task.join(120)
    _, _, err, other = said_by(tmp_path)
    assert [task.exitcode for task in tasks] == [2, 2]
    assert "set training.devices=1 training.num_nodes=2" in " ".join(err.split()) and other == ""


@pytest.mark.slow
def test_torchrun_starts_a_run(runs: Runs, phantom: Path, store: Store, tmp_path: Path):
    path = written(experiment_of(phantom, store, tmp_path / "results", devices=2), tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, "-m", "crosstask.cli.main", "train", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hps/seed0: 4 epochs") == 1
    assert moved(runs.one, tmp_path / "results" / "runs" / "hps" / "seed0") < 0.05


def test_the_first_writes_alone(runs: Runs):
    assert not list(runs.two.glob(".*part*")) and not (runs.two / LAST).exists()
    assert (runs.two / BEST).exists() and torch.is_tensor(next(iter(load_file(runs.two / BEST).values())))
