"""A store that others use: opened while it is prepared, never written to without need, and nothing of it lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from store_fakes import FakeCase, FakeDataset, arrays, contents

import crosstask.store.reader as store_reader
from crosstask.errors import CrosstaskError, InputError
from crosstask.store import Store, prepare
from crosstask.store.preparation import Preparation
from crosstask.store.statistics import channel_statistics

IDS = ["pt_1", "pt_2", "pt_3", "pt_4"]


@pytest.fixture
def fixed(root: Path) -> Iterator[Path]:
    """The store, which nobody may write to, as one that is shared."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield root
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize("verify", [False, True])
def test_a_store_can_be_opened_while_a_preparation_runs_that_changes_nothing(
    raw: Path, root: Path, verify: bool
) -> None:
    seen = []

    def look(*_: object) -> None:
        seen.append(len(Store(root)))
        assert (root / "prepare.lock").exists() == verify

    assert prepare(FakeDataset(raw), root, workers=1, verify=verify, progress=look).kept == IDS
    assert seen == [4, 4, 4, 4]


def test_a_store_can_be_opened_and_read_while_cases_are_added_rebuilt_and_removed(
    raw: Path, root: Path, tmp_path: Path
) -> None:
    (raw / "pt_2.txt").write_text("22")
    (raw / "pt_4.txt").unlink()
    (raw / "pt_9.txt").write_text("9")
    seen = []

    def look(done: int, *_: object) -> None:
        store = Store(root)
        assert [case.id for case in store.cases] == IDS  # as it was
        for case_id in IDS:
            store.verify(case_id)
        np.testing.assert_array_equal(store.open("pt_2").read("dose"), arrays(2).arrays["dose"])
        seen.append(done)

    report = prepare(FakeDataset(raw), root, workers=1, progress=look)
    assert seen == [1, 2, 3, 4]
    assert (report.rebuilt, report.written, report.removed) == (["pt_2"], ["pt_9"], ["pt_4"])
    prepare(FakeDataset(raw), tmp_path / "anew", workers=1)
    assert contents(root) == contents(tmp_path / "anew")


def test_what_a_stopped_preparation_has_finished_is_not_done_again(raw: Path, root: Path, tmp_path: Path) -> None:
    for name in ("pt_1", "pt_2"):
        (raw / f"{name}.txt").write_text("33")
    before = contents(root)

    def stop(done: int, _: int, case_id: str) -> None:
        if case_id == "pt_1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FakeDataset(raw), root, workers=1, progress=stop)
    assert {name: content for name, content in contents(root).items() if ".new-" not in name} == before
    (tmp_path / "log").mkdir()
    report = prepare(FakeDataset(raw, log=tmp_path / "log"), root, workers=1)
    assert [path.name.split("-")[0] for path in (tmp_path / "log").iterdir()] == ["pt_2"]
    assert report.rebuilt == ["pt_2"]
    assert Store(root).open("pt_1").information["seed"] == 33
    assert not list((root / "cases").glob(".*"))


def test_what_was_put_aside_is_dropped_where_it_is_no_longer_true(raw: Path, root: Path) -> None:
    before = contents(root)
    (raw / "pt_1.txt").write_text("33")

    def stop(done: int, _: int, case_id: str) -> None:
        if case_id == "pt_1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FakeDataset(raw), root, workers=1, progress=stop)
    (raw / "pt_1.txt").write_text("1")
    prepare(FakeDataset(raw), root, workers=1)
    assert [name for name in contents(root) if "bin" not in name] == [name for name in before if "bin" not in name]
    assert Store(root).open("pt_1").information["seed"] == 1


def test_opening_waits_for_the_moment_in_which_cases_are_replaced(
    raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (root / "store.json").read_bytes()
    (raw / "pt_1.txt").write_text("33")
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(Preparation, "_put_in_place", _interrupted)
        prepare(FakeDataset(raw), root, workers=1)
    (root / "prepare.lock").write_text("4711\n")
    monkeypatch.setattr(store_reader, "_SECONDS_TO_WAIT", 0.01)
    with pytest.raises(InputError, match=r"was not prepared to the end: .* again, or wait for process 4711 if that"):
        Store(root)
    monkeypatch.setattr(store_reader.time, "sleep", lambda _: (root / "store.json").write_bytes(text))
    assert len(Store(root)) == 4
    (root / "prepare.lock").unlink()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


# A store that cannot be written to


@pytest.mark.parametrize("verify", [False, True])
def test_a_store_that_cannot_be_written_to_is_prepared_and_read(
    raw: Path, fixed: Path, verify: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    before = contents(fixed)
    for file in raw.iterdir():
        os.utime(file, ns=(1, 1))  # another copy of the data: their time is another
    assert prepare(FakeDataset(raw), fixed, workers=1, verify=verify).kept == IDS
    figures = channel_statistics(Store(fixed), IDS, "dose", ["dose"])
    assert contents(fixed) == before
    assert len(list((tmp_path / "cache/statistics").iterdir())) == 1  # which are not made twice
    assert channel_statistics(Store(fixed), IDS, "dose", ["dose"]) == figures


def test_statistics_of_a_store_that_cannot_be_written_to_need_no_cache(
    fixed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "file" / "cache"))
    assert channel_statistics(Store(fixed), IDS, "dose", ["dose"])["dose"]["cases"] == 4


def test_a_store_that_cannot_be_written_to_and_would_have_to_be_is_refused_in_one_line(raw: Path, fixed: Path) -> None:
    before = contents(fixed)
    (raw / "pt_2.txt").write_text("22")
    with pytest.raises(CrosstaskError, match=r"store: cannot be written, and case pt_2 must be prepared anew; make"):
        prepare(FakeDataset(raw), fixed, workers=1)
    (raw / "pt_2.txt").unlink()
    with pytest.raises(CrosstaskError, match="cannot be written, and its cases, groups or splits are no longer those"):
        prepare(FakeDataset(raw), fixed, workers=1)
    assert contents(fixed) == before
    assert stat.S_IMODE(fixed.stat().st_mode) == 0o555


# Cases that cannot be read any more


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_the_prepared_case_of_a_patient_who_cannot_be_read_any_more_is_kept(raw: Path, root: Path, change: str) -> None:
    class Listing(FakeDataset):
        def cases(self) -> list[FakeCase]:
            return [FakeCase(name, name, "train", (self.root / f"{name}.txt",)) for name in IDS]

    prepare(Listing(raw), root, workers=1)
    before = contents(root / "cases")
    if change == "content":
        (raw / "pt_3.txt").write_text("garbage")
    elif change == "gone":
        (raw / "pt_3.txt").unlink()
    else:
        os.utime(raw / "pt_3.txt", ns=(1, 1))
    report = prepare(Listing(raw, bad=("pt_3",)), root, workers=1)
    if change == "time":  # the same content: it need not be read
        assert report.kept == IDS
    else:
        assert [case_id for case_id, _ in report.outdated] == ["pt_3"]
        assert "pt_3.txt: " in report.outdated[0][1]
    assert not report.failed
    assert contents(root / "cases") == before
    assert [case.id for case in Store(root).cases] == IDS
    assert Store(root).open("pt_3").information["seed"] == 3


def test_the_prepared_case_of_other_settings_is_not_used_but_not_lost_either(raw: Path, root: Path) -> None:
    before = contents(root / "cases/pt_3")
    report = prepare(FakeDataset(raw, scale=2.0, bad=("pt_3",)), root, workers=1)
    assert [case_id for case_id, _ in report.failed] == ["pt_3"]
    assert "pt_3" not in Store(root)
    assert contents(root / "cases/pt_3") == before
    report = prepare(FakeDataset(raw, bad=("pt_3",)), root, workers=1)
    assert (report.kept, report.rebuilt) == (["pt_3"], ["pt_1", "pt_2", "pt_4"])
    assert "pt_3" in Store(root)


def test_a_damaged_prepared_case_of_a_patient_who_cannot_be_read_is_not_used(raw: Path, root: Path) -> None:
    file = root / "cases/pt_3/dose.b2nd"
    file.write_bytes(file.read_bytes()[:-1])
    report = prepare(FakeDataset(raw, bad=("pt_3",)), root, workers=1)
    assert [case_id for case_id, _ in report.failed] == ["pt_3"]
    assert "pt_3" not in Store(root)
    assert file.exists()


def test_a_patient_whom_the_data_set_cannot_list_any_more_is_kept_and_one_who_is_gone_is_not(
    raw: Path, root: Path
) -> None:
    class Unlisting(FakeDataset):
        def unusable(self, case_ids: list[str]) -> Mapping[str, str]:
            return {case_id: "half of its files are missing" for case_id in case_ids if case_id == "pt_3"}

    (raw / "pt_3.txt").unlink()
    (raw / "pt_4.txt").unlink()
    report = prepare(Unlisting(raw), root, workers=1)
    assert report.outdated == [("pt_3", "half of its files are missing")]
    assert report.removed == ["pt_4"]
    store = Store(root)
    assert [case.id for case in store.cases] == ["pt_1", "pt_2", "pt_3"]
    store.verify("pt_3")
    assert prepare(Unlisting(raw), root, workers=1).outdated == report.outdated
