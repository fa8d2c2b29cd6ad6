"""Processes of runs: what they have imported, and that they work in the parent's environment of now."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.work import IMPORTED, Work, asked_apart, in_processes
from crosstask.experiment import Experiment
from crosstask.methods import get_method
from crosstask.processes import context_with
from crosstask.runs import RunSpec
from run_fakes import fake_experiment


def _report(spec: RunSpec, path: Path, tell: object) -> None:
    """What a process finds, before it imports anything itself."""
    heavy = {name: name in sys.modules for name in ("torch", "lightning", "monai")}
    there = {"variable": os.environ.get("CROSSTASK_TEST"), "heavy": heavy, "parent": os.getppid()}
    import torch

    path.write_text(json.dumps(there | {"process": os.getpid(), "threads": torch.get_num_threads()}))


def _said(experiment: Experiment, folder: Path) -> dict[str, object]:
    spec = RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))
    in_processes([Work(spec, folder / "said.json", _report)])
    found: dict[str, object] = json.loads((folder / "said.json").read_text())
    return found


def test_a_process_has_the_environment_of_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "results")
    found = []
    for value in ("first", "second"):
        monkeypatch.setenv("CROSSTASK_TEST", value)
        found.append(_said(experiment, tmp_path))
    monkeypatch.delenv("CROSSTASK_TEST")
    found.append(_said(experiment, tmp_path))
    assert [one["variable"] for one in found] == ["first", "second", None]
    assert len({one["process"] for one in found} | {os.getpid()}) == 4
    if sys.platform == "linux":  # all are forked off one that has imported what they need
        assert all(one["heavy"] == dict.fromkeys(("torch", "lightning", "monai"), True) for one in found)
        assert len({one["parent"] for one in found}) == 1 and found[0]["parent"] != os.getpid()


def test_a_process_has_the_threads_of_its_run(tmp_path: Path) -> None:
    for threads in (2, 1):  # the suite's own processes have one
        experiment = fake_experiment(tmp_path / "raw", tmp_path / "results", training={"threads": threads})
        assert _said(experiment, tmp_path)["threads"] == threads


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize(
    ("accelerator", "on_cpu", "method"),
    [(None, False, "forkserver"), ("cuda", False, "forkserver"), ("xpu", False, "spawn"), ("xpu", True, "forkserver")],
)
def test_processes_are_forked_wherever_the_accelerator_lets_them(
    monkeypatch: pytest.MonkeyPatch, accelerator: str | None, on_cpu: bool, method: str
) -> None:
    found = None if accelerator is None else SimpleNamespace(type=accelerator)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda *_: found)
    assert context_with((), on_cpu=on_cpu).get_start_method() == method


def test_on_other_systems_processes_are_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert context_with((), on_cpu=True).get_start_method() == "spawn"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_what_runs_import_asks_no_gpu_anything() -> None:
    """Or none of the processes that are forked off it could use one."""
    code = f"""
import importlib, torch
asked = []
for name in ("is_available", "device_count", "_lazy_init", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, lambda *given, name=name, **named: asked.append(name) or False)
for name in {IMPORTED!r}:
    importlib.import_module(name)
print(sorted(set(asked)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_process_that_was_forked_off_one_with_a_gpu_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in for what CUDA says is told by the environment, which the forked process has of now."""
    contexts = []

    def seen(modules: object, *, on_cpu: bool, forks: bool = True) -> object:
        contexts.append(forks)
        return context_with((), on_cpu=on_cpu, forks=forks)

    monkeypatch.setattr("crosstask.evaluation.work.context_with", seen)
    monkeypatch.setattr("crosstask.evaluation.work._do_apart", _badly_forked_at_first)
    experiment = fake_experiment(tmp_path / "raw", tmp_path / "results")
    spec = RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))
    in_processes([Work(spec, tmp_path / "tries", _report)])
    assert contexts == [True, False]
    assert (tmp_path / "tries").read_text() == "forkserver spawn "


def _badly_forked_at_first(work: Work, environment: dict[str, str]) -> None:
    method = "forkserver" if any("forkserver" in part for part in sys.orig_argv) else "spawn"
    with work.store.open("a") as tries:
        tries.write(f"{method} ")
    sys.exit(75 if method == "forkserver" else 0)


def _refuse(line: str) -> None:
    raise InputError(line)


def _die() -> None:
    os.kill(os.getpid(), 9)


def test_what_is_raised_apart_is_raised_here() -> None:
    with pytest.raises(InputError, match="no such thing"):
        asked_apart(_refuse, "no such thing")
    asked_apart(print, "")
    if sys.platform != "win32":
        with pytest.raises(CrosstaskError, match="was ended"):
            asked_apart(_die)
