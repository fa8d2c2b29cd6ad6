"""What the commands say of a store that is damaged, shared, or of patients who cannot be read any more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Call, write_experiment

from crosstask.store import Store


@pytest.fixture
def own(prepared: Any, raw: Path, tmp_path: Path) -> Path:
    """A copy of data and store, with an experiment."""
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(prepared.store, tmp_path / "store")
    write_experiment(tmp_path, tmp_path / "raw", tmp_path / "store")
    return tmp_path


def truncate(patient: Path) -> None:
    file = patient / "dose.csv"
    file.write_bytes(file.read_bytes()[:-3])


def half(patient: Path) -> None:
    (patient / "ct.csv").unlink()


@pytest.mark.parametrize("change", [truncate, half])
def test_a_patient_who_cannot_be_read_any_more_stays_in_the_store_and_is_told(
    own: Path, raw: Path, call: Call, change: Callable[[Path], None]
) -> None:
    change(own / "raw/train-pats/pt_2")
    for _ in range(2):
        done = call("prepare", "experiment.yaml", "--workers", 1)
        assert done.code == 1
        assert "Kept pt_2 as it was prepared before: " in done.err
        assert "0 failed, 1 kept that cannot be read any more" in done.out
        assert "pt_2 cannot be read any more and stayed as prepared before; fix the files named above" in done.error
        store = Store(own / "store")
        assert len(store) == 6
        store.verify("pt_2")
    shutil.copytree(raw / "train-pats/pt_2", own / "raw/train-pats/pt_2", dirs_exist_ok=True)  # as the line advises
    done = call("prepare", "experiment.yaml", "--workers", 1)
    assert (done.code, "6 kept, 0 removed, 0 failed\n" in done.out) == (0, True)


def test_verify_rebuilds_a_case_whose_structure_names_were_swapped(own: Path, call: Call) -> None:
    path = own / "store/cases/pt_1/case.json"
    before = path.read_text()
    values = json.loads(before)
    values["channels"]["structures"].reverse()
    path.write_text(json.dumps(values))
    done = call("prepare", "experiment.yaml", "--verify", "--workers", 1)
    assert (done.code, "0 written, 1 rebuilt, 5 kept" in done.out) == (0, True)
    assert path.read_text() == before
