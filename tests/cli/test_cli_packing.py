"""``pack``, and ``predict`` with what came of it and on plain volumes, of a run that was really trained."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from crosstask.datasets import Phantom
from crosstask.io.volumes import read_volume, write_volume


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    from crosstask.pipeline.packing import pack_runs

    return pack_runs(trained.run, tmp_path_factory.mktemp("packed") / "model", licence="mit").folder


def test_a_packed_run_predicts_as_the_run_itself(trained, raw, call, tmp_path, packed):
    record = json.loads((trained.run / "run.json").read_text())
    assert record["intake"]["dims"] == 3 and len(record["data"]["spacing"]) == 2
    moved = shutil.copytree(packed, tmp_path / "moved")
    alone = call("predict", trained.run, raw, "-o", tmp_path / "alone", "--case", "pt_241")
    shown = call("predict", moved, raw, "-o", tmp_path / "out", "--case", "pt_241")
    assert (alone.code, shown.code) == (0, 0), shown.err
    assert "Packed model " in shown.out and "read as phantom, 6 cases" in shown.out
    names = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.csv"))
    assert names and all((tmp_path / "out" / n).read_bytes() == (tmp_path / "alone" / n).read_bytes() for n in names)
    assert all(case not in (packed / "models" / "seed0" / "run.json").read_text() for case in ("pt_1", "pt_241"))
    again = call("pack", trained.run, "-o", packed)
    assert again.code == 2 and "exists and is not empty" in again.error
    twice = call("pack", packed)
    assert twice.code == 2 and "is packed already" in twice.error


def test_a_plain_volume_is_predicted_on_its_own_grid(raw, call, tmp_path, packed):
    data = Phantom(raw)
    case = next(case for case in data.cases() if case.id == "pt_241")
    arrays = data.read(case)
    ct = arrays.arrays["ct"][0]
    (tmp_path / "in").mkdir()
    write_volume(tmp_path / "in" / "ct.nii.gz", ct, arrays.geometry)
    shown = call("predict", packed, tmp_path / "in", "-o", tmp_path / "out", "--probabilities")
    assert shown.code == 0, shown.err
    assert "1 case, read as volumes. Values are taken for OpenKBP's CT numbers" in shown.out
    dose, grid, _ = read_volume(tmp_path / "out" / "dose" / "ct.nii.gz")
    assert dose.shape == ct.shape and np.isfinite(dose).all()
    np.testing.assert_allclose(grid.spacing, arrays.geometry.spacing, rtol=1e-5)
    assert list((tmp_path / "out" / "probabilities" / "segmentation").iterdir())
    refused = call("predict", packed, tmp_path / "in", "-o", tmp_path / "out2", "--tta")
    assert refused.code == 2 and "which has none, so that the network has never seen a mirrored image" in refused.error
