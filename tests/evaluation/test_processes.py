"""Processes of runs: what they have imported, and that they work in the parent's environment of now."""

import json
import os
import sys
from pathlib import Path

import pytest

from crosstask.evaluation.run import in_processes
from crosstask.experiment import Experiment
from crosstask.methods import get_method
from crosstask.processes import context_with
from crosstask.runs import RunSpec
from run_fakes import fake_experiment


def _report(path: Path, tell: object) -> None:
    """What a process finds, before it imports anything itself."""
    heavy = {name: name in sys.modules for name in ("torch", "lightning", "monai")}
    there = {"variable": os.environ.get("CROSSTASK_TEST"), "heavy": heavy, "parent": os.getppid()}
    import torch

    path.write_text(json.dumps(there | {"process": os.getpid(), "threads": torch.get_num_threads()}))


def _said(experiment: Experiment, folder: Path) -> dict[str, object]:
    spec = RunSpec(experiment, get_method("hps"), 0, tuple(experiment.dataset.tasks))
    in_processes([(spec, _report, (folder / "said.json",))])
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


def test_with_a_gpu_processes_are_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert context_with((), on_cpu=False).get_start_method() == "spawn"
    monkeypatch.setattr("sys.platform", "win32")
    assert context_with((), on_cpu=True).get_start_method() == "spawn"
