"""Preparing: what is kept, what is rebuilt, and what a kill, a full disk or a dead worker leaves behind."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_fakes import FakeCase, FakeDataset, contents, write_raw

import crosstask.store.format as store_format
import crosstask.store.index as store_index
from crosstask.errors import CrosstaskError, InputError
from crosstask.store import Store, prepare

IDS = [f"pt_{number}" for number in range(1, 7)]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_first_call_writes_all_and_second_keeps_all(raw: Path, root: Path) -> None:
    told: list[tuple[int, int, str]] = []
    report = prepare(FakeDataset(raw), root, workers=1, progress=lambda *args: told.append(args))
    assert report.written == IDS
    assert not (report.kept or report.rebuilt or report.removed or report.failed)
    assert told == [(place + 1, 6, case_id) for place, case_id in enumerate(IDS)]
    before = contents(root)
    assert sorted(before)[-1] == "store.json"
    assert {re.sub("-[0-9a-f]{32}", "", Path(name).parts[0]) for name in before} == {
        *("cases", "store.json", "index.bin", "raw.bin")
    }
    report = prepare(FakeDataset(raw, bad=tuple(IDS)), root, workers=1, progress=lambda *args: told.append(args))
    assert report.kept == IDS
    assert not (report.written or report.rebuilt or report.failed)
    assert told[6:] == told[:6]
    assert contents(root) == before


def test_workers_write_the_same_bytes(raw: Path, root: Path, tmp_path: Path) -> None:
    prepare(FakeDataset(raw), tmp_path / "one", workers=1)
    report = prepare(FakeDataset(raw), root, workers=2)
    assert report.written == IDS
    assert contents(root) == contents(tmp_path / "one")


@pytest.mark.parametrize(("seconds", "here"), [(1e9, 6), (0.0, 1)])
def test_processes_begin_where_they_pay(
    raw: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, here: int
) -> None:
    """The first case is always read in this process: it says how long the others take."""
    module = importlib.import_module("crosstask.store.preparation")
    monkeypatch.setattr(module, "_SECONDS_OF_A_START", seconds)
    monkeypatch.setattr(module, "cores", lambda: 2)
    work, read = module.work, []
    monkeypatch.setattr(module, "work", lambda *arguments: read.append(arguments[-1].case.id) or work(*arguments))
    assert prepare(FakeDataset(raw), root).written == IDS
    assert read == IDS[:here]
    monkeypatch.undo()
    prepare(FakeDataset(raw), tmp_path / "one", workers=1)
    assert contents(root) == contents(tmp_path / "one")


def test_changed_file_rebuilds_its_case_only(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    before = Store(root)
    (raw / "pt_3.txt").write_text("33")
    report = prepare(FakeDataset(raw), root, workers=1)
    assert (report.rebuilt, report.kept) == (["pt_3"], [case for case in IDS if case != "pt_3"])
    after = Store(root)
    assert after.open("pt_3").information["seed"] == 33
    assert after.fingerprint != before.fingerprint
    assert after.fingerprint_of(["pt_1", "pt_2"]) == before.fingerprint_of(["pt_2", "pt_1"])


def test_change_that_keeps_size_and_time_apart_from_nanoseconds_is_seen(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    stat = (raw / "pt_3.txt").stat()
    (raw / "pt_3.txt").write_text("9")
    os.utime(raw / "pt_3.txt", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == ["pt_3"]


def test_touched_or_copied_files_rebuild_nothing(raw: Path, root: Path, tmp_path: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    cases = contents(root / "cases")
    fingerprint = Store(root).fingerprint
    for file in raw.iterdir():
        os.utime(file, ns=(1, 1))
    log = tmp_path / "log"
    log.mkdir()
    assert prepare(FakeDataset(raw, log=log), root, workers=1).kept == IDS
    shutil.copytree(raw, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert prepare(FakeDataset(tmp_path / "elsewhere", log=log), root, workers=1).kept == IDS
    assert not list(log.iterdir())
    assert contents(root / "cases") == cases
    assert Store(root).fingerprint == fingerprint


def test_changed_settings_rebuild_all(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    dose = Store(root).open("pt_1").read("dose")
    report = prepare(FakeDataset(raw, scale=2.0), root, workers=1)
    assert report.rebuilt == IDS
    assert not report.kept
    store = Store(root)
    assert store.settings == {"scale": 2.0}
    np.testing.assert_allclose(store.open("pt_1").read("dose"), 2 * dose, rtol=1e-6)


def test_changed_format_version_rebuilds_all(raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    for module in (store_format, store_index):
        monkeypatch.setattr(module, "CASE_VERSION", 7)
        monkeypatch.setattr(module, "READABLE_VERSIONS", (7,))
    monkeypatch.setattr(store_index, "INDEX_VERSION", 8)
    with pytest.raises(InputError, match=r"store\.json: has version 3, not 8: run `crosstask prepare` again"):
        Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == IDS
    assert len(Store(root)) == 6


def test_vanished_case_is_removed(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    (raw / "pt_2.txt").unlink()
    report = prepare(FakeDataset(raw), root, workers=1)
    assert report.removed == ["pt_2"]
    assert not (root / "cases" / "pt_2").exists()
    assert "pt_2" not in Store(root)


def test_group_and_split_follow_the_data_set_without_a_rebuild(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    assert [case.split for case in Store(root).cases][:3] == ["train", "validation", "test"]
    (raw / "pt_1.txt").unlink()  # shifts the splits of all others
    report = prepare(FakeDataset(raw), root, workers=1)
    assert report.kept == IDS[1:]
    first = Store(root).cases[0]
    assert (first.id, first.group, first.split) == ("pt_2", "patient pt_2", "train")


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_case_is_skipped_and_named(raw: Path, root: Path, workers: int) -> None:
    report = prepare(FakeDataset(raw, bad=("pt_4",)), root, workers=workers)
    assert report.failed == [("pt_4", f"{raw / 'pt_4.txt'}: is bad: fix it")]
    assert report.written == [case for case in IDS if case != "pt_4"]
    assert "pt_4" not in Store(root)
    report = prepare(FakeDataset(raw), root, workers=1)
    assert (report.written, len(report.kept)) == (["pt_4"], 5)


def test_missing_raw_file_fails_its_case(raw: Path, root: Path) -> None:
    class Forgetful(FakeDataset):
        def cases(self) -> list[FakeCase]:
            return [*super().cases(), FakeCase("pt_9", "p", "test", (self.root / "pt_9.txt",))]

    report = prepare(Forgetful(raw), root, workers=1)
    assert [case for case, _ in report.failed] == ["pt_9"]
    assert "pt_9.txt: No such file" in report.failed[0][1]


def test_fault_of_the_reader_is_one_line_that_names_the_case(raw: Path, root: Path) -> None:
    (raw / "pt_2.txt").write_text("no\nnumber")
    with pytest.raises(CrosstaskError, match="case pt_2: cannot be read: ValueError: invalid literal") as caught:
        prepare(FakeDataset(raw), root, workers=1)
    assert "\n" not in str(caught.value)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_fakes import FakeDataset
from crosstask.store import prepare
if __name__ == "__main__":
    dataset = FakeDataset(Path(sys.argv[2]), pause=float(sys.argv[4]))
    prepare(dataset, sys.argv[3], workers=int(sys.argv[5]), progress=lambda *args: print(args[0], flush=True))
"""


@pytest.mark.parametrize(("workers", "finished"), [(1, 1), (1, 4), (2, 3)])
def test_killed_preparation_is_taken_up(raw: Path, root: Path, tmp_path: Path, workers: int, finished: int) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, str(script), here, str(raw), str(root), "0.2", str(workers)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(finished):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    with pytest.raises(InputError, match="was not prepared to the end: run `crosstask prepare` again"):
        Store(root)
    log = tmp_path / "log"
    log.mkdir()
    # Temporary folders of a dead process and of a foreign one, and the lock that the kill left, are no hindrance.
    for pid in (process.pid, 1):
        (root / "cases" / f".tmp-{pid}-pt_6").mkdir(exist_ok=True)
    report = prepare(FakeDataset(raw, log=log), root, workers=1)
    assert len(report.kept) >= finished
    assert not report.rebuilt
    assert len(list(log.iterdir())) == len(report.written) == 6 - len(report.kept)
    prepare(FakeDataset(raw), tmp_path / "unbroken", workers=1)
    assert contents(root) == contents(tmp_path / "unbroken")


def test_kill_between_any_two_steps_leaves_whole_cases_only(
    raw: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops a rebuild before its n-th change on disk, for every n, and looks at what a later call makes of it."""

    class Stop(BaseException):
        pass

    steps = 0

    def stopping(call: Any, limit: int) -> Any:
        def stopped(*args: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > limit:
                raise Stop
            return call(*args, **options)

        return stopped

    write_raw(raw, 3)
    for file in sorted(raw.iterdir())[3:]:
        file.unlink()
    prepare(FakeDataset(raw), tmp_path / "old", workers=1)
    (raw / "pt_2.txt").write_text("22")
    prepare(FakeDataset(raw), tmp_path / "new", workers=1)
    expected = contents(tmp_path / "new")
    limit, stopped = 0, True
    while stopped:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(tmp_path / "old", root)
        steps = 0
        with monkeypatch.context() as patch:
            for name in ("rename", "replace", "mkdir"):
                patch.setattr(Path, name, stopping(getattr(Path, name), limit))
            patch.setattr(os, "fsync", stopping(os.fsync, limit))
            patch.setattr(shutil, "rmtree", stopping(shutil.rmtree, limit))
            try:
                prepare(FakeDataset(raw), root, workers=1)
                stopped = False
            except Stop:
                pass
        if stopped:
            try:
                store = Store(root)
            except InputError as error:
                assert "not prepared to the end" in str(error)
            else:
                for case in store.cases:
                    store.verify(case.id)
        report = prepare(FakeDataset(raw), root, workers=1)
        assert not report.failed
        assert contents(root) == expected, limit
        limit += 1
    assert limit > 12


@pytest.mark.parametrize(("module", "written"), [(store_format, 6), (store_index, 3), (store_index, 5)])
def test_full_disk_names_the_folder_and_leaves_no_part(
    raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch, module: Any, written: int
) -> None:
    whole = store_format.write_bytes
    calls = 0

    def full(path: Path, data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > written:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, data)

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(CrosstaskError, match="the disk is full: free some space") as caught:
        prepare(FakeDataset(raw), root, workers=1)
    assert str(root) in str(caught.value)
    assert caught.value.exit_code == 1
    assert not [path for path in root.rglob("*") if "tmp" in path.name]
    monkeypatch.undo()
    for folder in (root / "cases").iterdir():
        store_format.check_files(folder, store_format.read_header(folder), content=True)
    report = prepare(FakeDataset(raw), root, workers=1)
    assert report.kept
    assert len(report.kept) + len(report.written) == 6


def test_killed_worker_names_the_cases_in_flight(raw: Path, root: Path) -> None:
    with pytest.raises(CrosstaskError, match=r"a worker process died while preparing .*pt_5.*fewer workers") as caught:
        prepare(FakeDataset(raw, killed=("pt_5",)), root, workers=2)
    assert not isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    assert not list((root / "cases").glob(".tmp*"))
    report = prepare(FakeDataset(raw), root, workers=1)
    assert len(report.kept) >= 3
    assert "pt_5" in report.written


def test_two_at_once_are_refused_and_a_dead_lock_is_taken_over(raw: Path, root: Path) -> None:
    errors: list[str] = []

    def again(*_: object) -> None:
        with pytest.raises(CrosstaskError, match=f"is being prepared by process {os.getpid()}: wait") as caught:
            prepare(FakeDataset(raw), root, workers=1)
        errors.append(str(caught.value))

    prepare(FakeDataset(raw), root, workers=1, progress=again)
    assert len(errors) == 6
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (root / "prepare.lock").write_text(f"{dead.pid}\n")
    (raw / "pt_6.txt").write_text("66")
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == ["pt_6"]
    assert not (root / "prepare.lock").exists()


def test_foreign_folder_is_not_touched(raw: Path, root: Path) -> None:
    root.mkdir()
    (root / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"is not empty and holds no store\.json"):
        prepare(FakeDataset(raw), root, workers=1)
    (root / "store.json").write_text("{}")
    with pytest.raises(InputError, match="that is no store's"):
        prepare(FakeDataset(raw), root, workers=1)
    assert contents(root) == {"store.json": b"{}", "thesis.txt": b"precious"}
    with pytest.raises(InputError, match="is a file"):
        prepare(FakeDataset(raw), root / "thesis.txt", workers=1)


def test_other_data_set_is_refused(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    before = contents(root)
    other = FakeDataset(raw)
    other.name = "other"
    with pytest.raises(InputError, match="holds data set fake, not other"):
        prepare(other, root, workers=1)
    assert contents(root) == before


def test_damaged_index_is_mended_without_reading_again(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    before = contents(root)
    (root / "store.json").write_bytes(before["store.json"][:100])
    with pytest.raises(InputError, match=r"store\.json: is damaged: run `crosstask prepare`"):
        Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert contents(root) == before


def test_truncated_file_is_rebuilt_and_a_flipped_byte_with_verify(raw: Path, root: Path) -> None:
    prepare(FakeDataset(raw), root, workers=1)
    before = contents(root)
    (root / "cases/pt_1/dose.b2nd").write_bytes(before["cases/pt_1/dose.b2nd"][:-1])
    (root / "cases/pt_2/case.json").write_text("{}")
    (root / "cases/pt_3/ct.b2nd").unlink()
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == ["pt_1", "pt_2", "pt_3"]
    assert contents(root) == before
    flipped = bytearray(before["cases/pt_4/ct.b2nd"])
    flipped[len(flipped) // 2] ^= 1
    (root / "cases/pt_4/ct.b2nd").write_bytes(flipped)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert prepare(FakeDataset(raw), root, workers=1, verify=True).rebuilt == ["pt_4"]
    assert contents(root) == before


def test_ids_that_no_file_system_likes(root: Path, tmp_path: Path) -> None:
    ids = ["../x", "a/b", "a_b", "Case", "case", "CON", "", ".hidden", "ü", "x" * 300, "a\nb", "-f"]
    file = tmp_path / "raw.txt"
    file.write_text("1")

    class Odd(FakeDataset):
        def cases(self) -> list[FakeCase]:
            return [FakeCase(case_id, case_id, "train", (file,)) for case_id in ids]

    prepare(Odd(tmp_path), root, workers=1)
    store = Store(root)
    assert [case.id for case in store.cases] == ids
    folders = [path.name for path in (root / "cases").iterdir()]
    assert len({name.casefold() for name in folders}) == len(ids)
    assert all(name.isascii() and "/" not in name and name[0] not in ".-" and len(name) < 100 for name in folders)
    assert {path.name for path in tmp_path.iterdir()} == {"raw.txt", "store"}
    for case_id in ids:
        store.verify(case_id)
    assert prepare(Odd(tmp_path), root, workers=1).kept == ids


def test_repeated_id_and_no_workers_are_refused(raw: Path, root: Path) -> None:
    class Twice(FakeDataset):
        def cases(self) -> list[FakeCase]:
            return super().cases() * 2

    with pytest.raises(InputError, match="2 cases have the id 'pt_1'"):
        prepare(Twice(raw), root, workers=1)
    with pytest.raises(InputError, match="workers must be at least 1, not 0"):
        prepare(FakeDataset(raw), root, workers=0)
    assert not root.exists()


def test_interrupt_keeps_what_is_finished(raw: Path, root: Path) -> None:
    def interrupt(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FakeDataset(raw), root, workers=1, progress=interrupt)
    assert not (root / "prepare.lock").exists()
    report = prepare(FakeDataset(raw), root, workers=1)
    assert (report.kept, report.written) == (IDS[:3], IDS[3:])
