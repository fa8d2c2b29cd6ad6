"""What grows with the number of cases, and what must not: counted in operations and bytes, never timed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_fakes import FakeCase, FakeData, FakeDataset, contents, write_raw

import crosstask.store.format as store_format
import crosstask.store.index as store_index
import crosstask.store.reader as store_reader
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare
from crosstask.store.columns import Columns, packed
from crosstask.store.format import folder_names
from crosstask.store.index import Head, read_entries, read_head, write_index
from crosstask.store.journal import Journal, entries
from crosstask.store.statistics import digests_of, labels_of
from crosstask.store.table import Entry, Table

IDS = ["pt_1", "pt_2", "pt_3", "pt_4"]


def test_folders_of_many_ids_that_differ_in_case_cost_one_look_each() -> None:
    ids = [f"{letter}{number}" for number in range(50_000) for letter in "aA"]
    names = folder_names(ids)  # in squares this would be 10^10 comparisons
    assert len({name.casefold() for name in names.values()}) == len(ids)
    assert folder_names(["a", "B", "c"]) == {"a": "a", "B": "B", "c": "c"}
    assert all("-" in name for name in folder_names(["pt_1", "PT_1"]).values())


class Light(FakeDataset):
    """Cases without pixels, as many as are wanted."""

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root)
        self.count = count

    def cases(self) -> list[FakeCase]:
        return [FakeCase(f"case {number:05d}", f"g{number // 2}", "train", ()) for number in range(self.count)]

    def read(self, case: FakeCase) -> FakeData:
        value = np.float32([int(case.id[-5:]) % 2, 1])
        return FakeData({"dx": value}, {"dx": ("nv", "mel")}, Geometry((3, 4), (1.0, 1.0)), {"n": case.id})


def bytes_written(count: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that preparing so many cases writes, the files of the cases apart."""
    written = [0]

    def noting(path: Path, data: bytes) -> None:
        written[0] += len(data)
        path.write_bytes(data)

    add = Journal._write

    def adding(self: Journal, content: bytes) -> None:
        written[0] += len(content)
        add(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(store_index, "write_bytes", noting)
        patch.setattr(store_format, "write_bytes", lambda path, data: path.write_bytes(data))
        patch.setattr(Journal, "_write", adding)
        prepare(Light(folder, count), folder / "store", workers=1)
    return written[0]


def test_preparing_writes_bytes_in_proportion_to_the_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (bytes_written(count, tmp_path / str(count), monkeypatch) for count in (100, 1000))
    assert 5 * few < many < 12 * few
    store = Store(tmp_path / "1000/store")
    assert len(store) == 1000 and store.labels(["case 00007"], "dx") == [{"nv": 1.0, "mel": 1.0}]


def many_entries(count: int) -> list[Entry]:
    model = Entry("", "", "train", "", "", "", "s", '{"dx":["nv"],"image":["i"]}', "", "[5,4,3]", "{}", "{}")
    arrays = '[["dx","<f4",[1],null,true],["image","<i2",[1,5,4,3],"image.b2nd",false]]'
    geometry = '{"origin":[0.0,0.0,0.0],"spacing":[1.0,1.0,1.0]}'
    found = []
    for number in range(count):
        digest = f"{number + 1:032x}"
        found.append(
            model._replace(
                id=f"c{number}",
                group=f"g{number}",
                folder=f"c{number}",
                checksum=digest,
                described=digest,
                arrays=arrays,
                place=geometry,
                contents=bytes.fromhex(digest) * 2,
                sums=bytes.fromhex(digest) * 2,
                sizes=np.array([0, 9], "<i8").tobytes(),
                labels=np.float32([number % 2]).tobytes(),
            )
        )
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of 10,000 cases, of which there is no file at all."""
    root = tmp_path_factory.mktemp("large")
    write_index(root, Head("fake", {}, True), many_entries(10_000))
    return root


def test_what_training_needs_of_all_cases_opens_none(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no cases' files, so a look at any of them would fail."""
    store = Store(large)
    ids = [case.id for case in store.cases]
    assert len(ids) == len(store) == 10_000
    assert store.shapes(ids) == [(5, 4, 3)] * 10_000
    assert labels_of(store, ids, "dx")["c9999"] == {"nv": 1.0}
    assert len(set(digests_of(store, ids, "image").values())) == 10_000
    assert store.channels(["c5"], "image") == [("i",)] and store.channels(["c5"], "none") == [()]
    assert len(store.fingerprint) == 32
    assert store.geometries(["c3"])[0].spacing == (1.0, 1.0, 1.0)


def test_opening_parses_nothing_of_the_cases_and_a_pickle_holds_none(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text, **_: parsed.append(len(text)) or loads(text))
    store = Store(large)
    assert sum(parsed) < 4000  # store.json, and the directory of the columns
    assert len(pickle.dumps(store)) < 1000
    again = pickle.loads(pickle.dumps(store))
    assert again.fingerprint == store.fingerprint and "c77" in again and "c77x" not in again


def test_entries_come_back_as_they_were(large: Path) -> None:
    assert list(read_entries(large, read_head(large)).values()) == many_entries(10_000)
    few = many_entries(3)
    assert Table.of(few).entries(None) == few
    assert len(Table.of([])) == 0 and Table.of([]).row("c1") is None


def test_ids_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstask.store.table._hashes", lambda ids: np.zeros(len(ids), "<u8"))
    table = Table.of(many_entries(5))
    assert [table.row(f"c{number}") for number in range(6)] == [0, 1, 2, 3, 4, None]


def test_descriptions_in_memory_are_the_last_that_were_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_reader, "_OPEN_CASES", 2)
    store = Store(root)
    first = store.open("pt_1")
    store.open("pt_2")
    assert store.open("pt_1") is first
    store.open("pt_3")
    assert list(store._opened) == ["pt_1", "pt_3"]
    assert store.open("pt_1") is first


def test_mapped_arrays_are_bounded_by_their_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = store_reader._OpenArrays(100)
    monkeypatch.setattr(store_reader, "_arrays", arrays)
    monkeypatch.setattr(store_reader, "_OPEN_BYTES", 350 << 10)
    store = Store(root)
    for case in store.cases * 2:
        for name in ("ct", "dose"):
            store.open(case.id).read(name, slices=(1,))
        assert arrays.taken == sum(taken for _, _, taken in arrays.arrays.values()) <= 350 << 10
    assert 1 < len(arrays.arrays) < 8


# The journal


def journalled(root: Path, raw: Path, done: int) -> None:
    """A store whose preparation was stopped after some cases."""

    def stop(count: int, *_: object) -> None:
        if count == done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(FakeDataset(raw), root, workers=1, progress=stop)


@pytest.mark.parametrize("damage", ["none", "torn", "flipped", "emptied", "gone", "garbage", "of another"])
def test_a_journal_is_believed_as_far_as_it_is_whole_and_nothing_is_lost(
    raw: Path, tmp_path: Path, damage: str
) -> None:
    root, path = tmp_path / "new", tmp_path / "new/journal.jsonl"
    journalled(root, raw, 3)
    whole = path.read_bytes()
    base = read_head(root).base
    assert list(entries(whole, base)) == IDS[:3]
    match damage:
        case "torn":
            path.write_bytes(whole[:-40])
        case "flipped":
            path.write_bytes(whole.replace(b"pt_2", b"pt_7", 1))
        case "emptied":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
        case "garbage":
            path.write_bytes(b"\x00\xff" * 200 + b"\n\n" + whole)
        case "of another":
            path.write_bytes(whole.replace(base.encode(), b"0" * 32))
    if path.exists():
        left = {"none": 3, "torn": 2, "flipped": 2, "garbage": 3}.get(damage, 0)
        assert len(read_entries(root, read_head(root))) == left
    log = tmp_path / "log"
    log.mkdir()
    report = prepare(FakeDataset(raw, log=log), root, workers=1)
    assert (report.kept, report.written) == (IDS[:3], IDS[3:])
    assert [file.name.split("-")[0] for file in log.iterdir()] == ["pt_4"]
    assert not path.exists()
    prepare(FakeDataset(raw), tmp_path / "unbroken", workers=1)
    assert contents(root) == contents(tmp_path / "unbroken")


def test_no_flipped_bit_of_a_journal_gives_another_entry(raw: Path, tmp_path: Path) -> None:
    root = tmp_path / "new"
    journalled(root, raw, 2)
    whole, base = (root / "journal.jsonl").read_bytes(), read_head(root).base
    expected = entries(whole, base)
    for place in range(0, len(whole), 13):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for case_id, entry in entries(bytes(flipped), base).items():
            assert entry == expected[case_id]


def test_columns_are_what_they_were_made_of() -> None:
    given: dict[str, Any] = {"a": np.arange(5, dtype=">i4"), "b": np.empty(0, np.uint8), "c": np.float64([1.5])}
    content, root = packed(given)
    assert packed(given) == (content, root)
    columns = Columns(np.frombuffer(content, np.uint8), "x", "y")
    assert columns.root == root
    for name, values in given.items():
        np.testing.assert_array_equal(columns[name], values)
        with pytest.raises(ValueError, match="read-only"):
            columns[name][...] = 0


def test_ids_that_differ_in_case_alone_are_two_cases(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", 1)

    class Twins(FakeDataset):
        def cases(self) -> list[FakeCase]:
            file = self.root / "pt_1.txt"
            return [FakeCase(name, name, "train", (file,)) for name in ("Case", "CASE", "case")]

    prepare(Twins(raw), tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert [store.open(name).id for name in ("Case", "CASE", "case")] == ["Case", "CASE", "case"]
    assert len({path.name.casefold() for path in (tmp_path / "store/cases").iterdir()}) == 3
