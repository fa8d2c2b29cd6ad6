"""``--dry-run``: what would be done, and that nothing is."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from crosstask.runs import LAST, RECORD


def everything(*folders):
    """Every file and folder below some, with its time and size."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size) for folder in folders for path in sorted(folder.rglob("*"))
    }


def test_before_anything_is_there_nothing_is_written(call, raw, tmp_path, monkeypatch, experiment):
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    store, output = tmp_path / "new-store", tmp_path / "results"
    before = everything(tmp_path, raw)
    shown = call("benchmark", experiment, f"store={store}", "--dry-run")
    assert shown.code == 0, shown.err
    assert everything(tmp_path, raw) == before and not store.exists() and not output.exists()
    assert f"Cases: 0 prepared, 6 to prepare; store {store}" in shown.out
    assert "Splits: are known once the cases are prepared" in shown.out
    assert "Runs: 3 of 3 to do" in shown.out and "Time: unknown" in shown.out
    assert shown.out.splitlines()[-1] == "Nothing was written (--dry-run)."


def test_what_is_done_is_not_to_be_done(call, trained, prepared, tmp_path):
    before = everything(trained.folder, prepared.store)
    shown = call("train", trained.experiment, "--method", "hps", "--dry-run", folder=trained.folder)
    assert shown.code == 0 and "Runs: 0 of 1 to do" in shown.out and "Time" not in shown.out
    command = ("benchmark", trained.experiment, "evaluation.other_epochs=false", "--dry-run", "--json")
    found = json.loads(call(*command, folder=trained.folder).out)
    assert everything(trained.folder, prepared.store) == before
    states = {run["run"]: run["state"] for run in found["runs"]}
    assert states == {"stl/seed0/segmentation": "to do", "stl/seed0/dose": "to do", "hps/seed0": "to score"}
    assert found["cases"] == {"kept": 6, "to_prepare": 0, "to_prepare_again": 0, "to_remove": 0}
    assert found["splits"] == {"0": {"train": 3, "validation": 1, "test": 2}}
    record = json.loads((trained.run / RECORD).read_text())
    parameters = {run["run"]: run["parameters"] for run in found["runs"]}
    assert parameters["hps/seed0"] == record["parameters"] > parameters["stl/seed0/dose"] > 0
    epoch = next(run["seconds_per_epoch"] for run in found["runs"] if run["run"] == "hps/seed0")
    assert found["seconds"] == pytest.approx(2 * epoch), "two runs of an epoch each, timed by the third"
    assert 0 < found["bytes"] < found["bytes_free"]
    two = json.loads(call(*command, "--jobs", "2", folder=trained.folder).out)
    assert two["seconds"] == pytest.approx(epoch) and two["bytes"] > found["bytes"]


def test_a_run_that_was_interrupted_is_to_be_resumed_and_raw_files_that_changed_prepared(call, trained, raw, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained.folder, folder)
    shutil.copytree(raw, folder / "raw")
    run = folder / "results" / "runs" / "hps" / "seed0"
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps({**record, "trained": False}))
    (run / "checksums.json").unlink(missing_ok=True)
    (run / LAST).write_bytes(b"a checkpoint")
    changed = folder / "raw" / "train-pats" / "pt_1" / "dose.csv"
    changed.write_text(changed.read_text() + "0,1.0\n")
    os.utime(changed, (1, 1))
    places = [f"dataset.root={folder / 'raw'}", f"output={folder / 'results'}"]
    shown = call("train", trained.experiment, *places, "--method", "hps", "--dry-run")
    assert shown.code == 0, shown.err
    assert "1 to prepare again" in shown.out and "to resume" in shown.out


def test_what_the_work_would_refuse_is_refused(call, trained):
    shown = call("train", trained.experiment, "training.learning_rate=0.5", "--dry-run", folder=trained.folder)
    assert shown.code == 2 and "was trained with other settings (training.learning_rate)" in shown.error
    shown = call("train", trained.experiment, "--method", "mtan", "--dry-run", folder=trained.folder)
    assert shown.code == 2 and "'mtan' is not among" in shown.error
    shown = call("benchmark", trained.experiment, "training.loggers=[nothing]", "--dry-run", folder=trained.folder)
    assert shown.code == 2 and "training.loggers.nothing" in shown.error


def test_the_table_of_pseudonyms_is_not_written_either(tmp_path):
    from crosstask.datasets.dicom_rt.pseudonyms import pseudonyms
    from crosstask.files import only_looking, write_atomically

    with only_looking():
        assert pseudonyms(["patient"], tmp_path / "folder" / "table.csv")
        write_atomically(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
