"""Stores at ``file://``: a folder, such as a mounted bucket, laid out as on object storage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from store_fakes import FakeDataset

from crosstask.buckets import Bucket
from crosstask.store import Store, prepare

pytest.importorskip("fsspec")
IDS = ["pt_1", "pt_2", "pt_3", "pt_4"]


def test_a_folder_by_its_address_is_a_store_too(
    raw: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/my stores/one"
    assert prepare(FakeDataset(raw), url, workers=2).written == IDS
    assert prepare(FakeDataset(raw), url, workers=1, verify=True).kept == IDS
    there, here = Store(url), Store(root)
    assert there.fingerprint == here.fingerprint
    np.testing.assert_array_equal(there.open("pt_1").read("ct"), here.open("pt_1").read("ct"))
    left = {path.name for path in (tmp_path / "my stores" / "one").rglob("*") if path.is_file()}
    assert "store.json" in left and not {name for name in left if name.endswith((".part", ".lock"))}


def test_a_file_there_is_whole_or_not_there_and_one_alone_makes_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(f"file://{tmp_path}/deep/below")
    assert not bucket.exists() and bucket.names() == set()
    assert bucket.write_new("a/lease", b"mine") and not bucket.write_new("a/lease", b"yours")
    assert bucket.read("a/lease") == b"mine"
    bucket.write("a/lease", b"renewed")
    assert bucket.read("a/lease") == b"renewed" and bucket.sizes() == {"a/lease": 7}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        bucket.write("a/lease", b"half")
    assert bucket.read("a/lease") == b"renewed" and bucket.sizes() == {"a/lease": 7}
    bucket.remove(["a/lease", "a/none"])
    assert bucket.sizes() == {}


def test_a_new_file_is_that_of_one_alone_without_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", none)
    bucket = Bucket(f"file://{tmp_path}")
    assert bucket.write_new("lease", b"mine") and not bucket.write_new("lease", b"yours")
    assert bucket.read("lease") == b"mine" and bucket.names() == {"lease"}
