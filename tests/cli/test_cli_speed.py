"""Options of speed and memory as a user gives them on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_runner import Call

OPTIONS = (
    "training.epochs=1",
    "training.compact=true",
    "training.activation_checkpointing=true",
    "training.channels_last=true",
    "training.augmentation.rotate=10",
    "training.augmentation.where=device",
    "architecture.mtan.pool_first=true",
)


def test_all_of_them_at_once_train_predict_and_are_kept(experiment: Path, call: Call, tmp_path: Path) -> None:
    out = f"output={tmp_path / 'results'}"
    shown = call("train", experiment, "methods=[mtan]", "--method", "mtan", out, *OPTIONS)
    assert shown.code == 0, shown.err
    run = tmp_path / "results" / "runs" / "mtan" / "seed0"
    settings = yaml.safe_load((run / "experiment.yaml").read_text())
    assert settings["training"]["compact"] is settings["training"]["activation_checkpointing"] is True
    assert settings["training"]["augmentation"]["where"] == "device"
    assert "pooled before" in json.loads((run / "run.json").read_text())["form"]
    scored = call("evaluate", run)
    assert scored.code == 0, scored.err
    shown = call("train", experiment, "methods=[mtan]", "--method", "mtan", out, *OPTIONS[:-1])
    assert shown.code == 2 and "architecture.mtan" in shown.error
    shown = call(
        "train",
        experiment,
        "methods=[mtan]",
        "--method",
        "mtan",
        out,
        *OPTIONS,
        "training.activation_checkpointing=false",
    )
    assert shown.code == 0, shown.err  # changes no number, so the run is the same


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["training.compile=perhaps"], "training.compile: 'perhaps' is not accepted"),
        (["training.augmentation.where=gpu"], "training.augmentation.where: 'gpu' is not accepted"),
        (["training.compile=true", "training.activation_checkpointing=true"], "set one of them false"),
        (["training.compct=true"], "did you mean 'compact'?"),
        (["architecture.mtan.pool_frist=true"], "pool_first"),
        (["architecture.pool_first=true"], "write architecture.mtan.pool_first"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_give(options: list[str], words: str, experiment: Path, call: Call) -> None:
    shown = call("train", experiment, "methods=[stl,mtan]", "--method", "mtan", *options)
    assert shown.code == 2 and words in shown.error


@pytest.mark.parametrize(
    "key", ["training.compile", "training.activation_checkpointing", "training.compact", "training.augmentation.where"]
)
def test_each_is_explained(key: str, call: Call) -> None:
    shown = call("explain", key)
    assert shown.code == 0 and key in shown.out and "docs/speed.md" in shown.out
