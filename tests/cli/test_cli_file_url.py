"""A store at ``file://``: prepared, and trained from."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import Call, write_experiment

pytest.importorskip("fsspec")


def test_a_run_learns_from_a_store_that_is_prepared_at_an_address_of_this_machine(
    raw: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    file = write_experiment(tmp_path, raw, f"file://{tmp_path}/stores/small")  # type: ignore[arg-type]
    prepared = call("prepare", file, "--workers", "1")
    assert prepared.code == 0, prepared.err
    assert (tmp_path / "stores" / "small" / "store.json").is_file()
    trained = call("train", file, "--method", "hps")
    assert trained.code == 0, trained.err
    assert (tmp_path / "results" / "runs" / "hps" / "seed0" / "run.json").is_file()
