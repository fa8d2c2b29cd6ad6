"""Cases shared out over two devices: the same scores and files, to the last bit and in the same order."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml


@pytest.mark.parametrize("split", ["test", "all"])
def test_scores_of_two_devices_are_those_of_one(trained, call, tmp_path, split):
    tables = []
    for device in ("cpu", "cpu,cpu"):
        table = tmp_path / f"{len(tables)}.csv"
        done = call("evaluate", trained.run, "--split", split, "--device", device, "--output", table)
        assert done.code == 0, done.err
        assert f"Device: {device.replace(',', ', ')}" in done.out
        tables.append(table.read_bytes())
    assert tables[0] == tables[1]


def test_a_run_of_two_devices_is_scored_on_two(trained, call, tmp_path):
    run_copy = tmp_path / "run"
    shutil.copytree(trained.run, run_copy)
    settings = yaml.safe_load((run_copy / "experiment.yaml").read_text())
    settings["training"] |= {"device": "cpu", "devices": 2}
    (run_copy / "experiment.yaml").write_text(yaml.safe_dump(settings))
    done = call("evaluate", run_copy, "--output", tmp_path / "scores.csv")
    assert done.code == 0, done.err
    assert "Device: cpu, cpu" in done.out


def test_a_device_that_is_not_there_is_told(trained, call, tmp_path):
    done = call("evaluate", trained.run, "--device", "cpu,nonsense", "--output", tmp_path / "scores.csv")
    assert done.code == 2
    assert "--device: 'nonsense' cannot be used" in done.err


def files_in(folder: Path) -> list[Path]:
    return sorted(
        path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != ".predicted.jsonl"
    )


@pytest.mark.parametrize("kind", ["npz", "openkbp"])
def test_predictions_of_two_devices_are_those_of_one(trained, raw, call, tmp_path, kind):
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        done = call("predict", trained.run, raw, "-o", tmp_path / name, "--format", kind, "--device", device)
        assert done.code == 0, done.err
    names = files_in(tmp_path / "one")
    assert names == files_in(tmp_path / "two") and len(names) >= 6
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        if name.suffix != ".npz":
            assert one.read_bytes() == two.read_bytes(), name
            continue
        with np.load(one) as first, np.load(two) as second:
            assert all(np.array_equal(first[key], second[key]) for key in first.files)
    again = call("predict", trained.run, raw, "-o", tmp_path / "two", "--format", kind, "--device", "cpu")
    assert again.code == 0 and "6" in again.out
