"""What a store is told by: damaged descriptions, earlier versions, files that hold more than numbers."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from store_fakes import FakeDataset, arrays, as_earlier, contents

from crosstask.errors import InputError
from crosstask.store import Store, StoredCase, prepare
from crosstask.store.fingerprint import digest, digest_bytes, sealed
from crosstask.store.format import read_description, read_header
from crosstask.store.index import read_entries, read_head, write_index
from crosstask.store.table import entry_of

IDS = ["pt_1", "pt_2", "pt_3"]
DAMAGED = "is damaged or of another version: run `crosstask prepare --verify` to rebuild it"


def edited(path: Path, change: Callable[[dict[str, Any]], None], *, seal: bool = False) -> None:
    """Change a file of JSON, with a new checksum if ``seal``."""
    values = json.loads(path.read_text())
    change(values)
    if seal:
        values.pop("checksum")
        values = sealed(values)
    path.write_text(json.dumps(values))


def swapped(values: dict[str, Any]) -> None:
    values["channels"]["organs"][:2] = values["channels"]["organs"][1::-1]


def stretched(values: dict[str, Any]) -> None:
    values["geometry"]["spacing"][0] += 2.0**-8


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("change", [swapped, stretched])
def test_a_header_with_swapped_names_or_another_spacing_is_damaged_and_its_case_rebuilt(
    raw: Path, root: Path, change: Callable[[dict[str, Any]], None], verify: bool
) -> None:
    before = contents(root)
    edited(root / "cases/pt_1/case.json", change)
    with pytest.raises(InputError, match=rf"pt_1/case\.json: {DAMAGED}"):
        Store(root).open("pt_1")
    assert prepare(FakeDataset(raw), root, workers=1, verify=verify).rebuilt == ["pt_1"]
    assert contents(root) == before


@pytest.mark.parametrize("name", ["store.json", "cases/pt_1/case.json"])
def test_no_flipped_bit_of_a_description_goes_unnoticed(root: Path, name: str) -> None:
    path = root / name
    before = path.read_bytes()
    values = json.loads(before)
    noticed = 0
    for place in range(0, len(before), 7):
        flipped = bytearray(before)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            same = json.loads(flipped) == values
        except ValueError:
            same = False
        if same:  # space between words
            continue
        noticed += 1
        with pytest.raises(InputError, match=r"is damaged|has version"):
            read_head(root) if name == "store.json" else read_header(path.parent)
    assert noticed > 40


def test_a_damaged_index_is_mended_and_never_believed(raw: Path, root: Path) -> None:
    before = contents(root)
    edited(root / "store.json", lambda values: values["settings"].update(scale=2.0))
    with pytest.raises(InputError, match=r"store\.json: is damaged: run `crosstask prepare` again to fix it"):
        Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert contents(root) == before


def test_a_store_of_the_first_version_is_read_as_it_is_and_prepared_anew(raw: Path, root: Path) -> None:
    before, fingerprint = contents(root), Store(root).fingerprint
    dose = Store(root).open("pt_2").read("dose")
    as_earlier(root, 1)
    store = Store(root)
    np.testing.assert_array_equal(store.open("pt_2").read("dose"), dose)
    assert store.fingerprint == fingerprint  # runs that were trained on it still know it
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == IDS
    assert contents(root) == before
    assert Store(root).fingerprint == fingerprint


def test_a_case_of_the_first_version_that_cannot_be_read_again_is_kept(raw: Path, root: Path) -> None:
    as_earlier(root, 1)
    report = prepare(FakeDataset(raw, bad=("pt_2",)), root, workers=1)
    assert (report.rebuilt, [case for case, _ in report.outdated], report.failed) == (["pt_1", "pt_3"], ["pt_2"], [])
    assert Store(root).open("pt_2").information["seed"] == 2


def columns_of(root: Path, kind: str) -> Path:
    return next(root.glob(f"{kind}-*.bin"))


@pytest.mark.parametrize("kind", ["index", "raw"])
def test_no_flipped_bit_of_the_columns_goes_unnoticed_and_all_are_mended(raw: Path, root: Path, kind: str) -> None:
    before, path = contents(root), columns_of(root, kind)
    whole = path.read_bytes()
    expected = read_entries(root, read_head(root))
    silent = 0
    for place in range(0, len(whole), 41):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            assert read_entries(root, read_head(root)) == expected
            silent += 1  # between two columns, or in the order by hash, which preparing does not use
        except InputError as error:
            assert f"{path.name}: is damaged: run `crosstask prepare` again to fix it" in str(error)
    assert silent < len(whole) / 41 / 2
    path.write_bytes(whole[: len(whole) // 2] if kind == "raw" else bytes([whole[0] ^ 1]) + whole[1:])
    if kind == "index":
        with pytest.raises(InputError, match=r"index-.*\.bin: is damaged: run `crosstask prepare` again"):
            Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert contents(root) == before


def test_columns_of_a_reader_are_held_against_their_checksums_when_they_are_used(root: Path) -> None:
    path = columns_of(root, "index")
    content = path.read_bytes()
    place = content.index(b'"note":')  # in what is known of a case beside its arrays
    path.write_bytes(content[:place] + b"X" + content[place + 1 :])
    store = Store(root)
    assert [case.id for case in store.cases] == IDS
    assert store.shapes(IDS) == [(6, 10, 9)] * 3
    with pytest.raises(InputError, match=r"index-.*\.bin: is damaged: run `crosstask prepare` again to fix it"):
        store.open("pt_1")


def test_an_emptied_or_missing_file_of_columns_is_one_line(raw: Path, root: Path) -> None:
    path = columns_of(root, "index")
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is damaged: run `crosstask prepare` again to fix it"):
        Store(root)
    path.unlink()
    with pytest.raises(InputError, match="is missing: run `crosstask prepare` again to fix it"):
        Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert len(Store(root)) == 3


# Stores of version 2, as it wrote them


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A store of the three cases of ``raw`` that version 2 wrote."""
    with zipfile.ZipFile(Path(__file__).with_name("version_2.zip")) as archive:
        archive.extractall(tmp_path / "earlier")
    return tmp_path / "earlier"


def test_a_store_of_version_2_is_read_and_gets_the_new_index_without_a_case_being_prepared(
    raw: Path, earlier: Path, root: Path, tmp_path: Path
) -> None:
    cases = contents(earlier / "cases")
    old, new = Store(earlier), Store(root)
    assert [vars_of(case) for case in old.cases] == [vars_of(case) for case in new.cases]
    assert old.fingerprint == new.fingerprint
    for name in ("ct", "dose", "organs", "region", "targets"):
        assert old.digests(IDS, name) == new.digests(IDS, name) == [old.open(case).digest(name) for case in IDS]
        assert old.channels(IDS, name) == new.channels(IDS, name) == [old.open(case).channels[name] for case in IDS]
        for case_id in IDS:
            np.testing.assert_array_equal(old.open(case_id).read(name), new.open(case_id).read(name))
    (tmp_path / "log").mkdir()
    report = prepare(FakeDataset(raw, log=tmp_path / "log"), earlier, workers=1)
    assert (report.kept, report.rebuilt, report.written) == (IDS, [], [])
    assert not list((tmp_path / "log").iterdir())
    assert contents(earlier / "cases") == cases
    assert json.loads((earlier / "store.json").read_text())["version"] == 3
    assert Store(earlier).fingerprint == new.fingerprint
    assert pickle.loads(pickle.dumps(old)).fingerprint == new.fingerprint
    shown = contents(earlier)
    assert prepare(FakeDataset(raw), earlier, workers=1).kept == IDS
    assert contents(earlier) == shown


def vars_of(case: StoredCase) -> tuple[str, str, str]:
    return case.id, case.group, case.split


def test_a_store_of_version_2_that_cannot_be_written_to_is_used_as_it_is(raw: Path, earlier: Path) -> None:
    before = contents(earlier)
    for file, known in zip(sorted(raw.iterdir()), IDS, strict=True):
        assert file.stem == known
        os.utime(file, ns=(10**18, 10**18))
    folders = [earlier, *(path for path in earlier.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert prepare(FakeDataset(raw), earlier, workers=1).kept == IDS
        assert len(Store(earlier)) == 3
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert contents(earlier) == before


def test_a_damaged_case_of_version_2_costs_no_other(raw: Path, earlier: Path) -> None:
    path = earlier / "cases/pt_2/case.json"
    path.write_text(path.read_text().replace("1.1", "1.2"))
    store = Store(earlier)
    assert store.shapes(["pt_1", "pt_3"]) == [(6, 10, 9)] * 2
    np.testing.assert_array_equal(store.open("pt_1").read("ct"), arrays(1).arrays["ct"])
    for look in (store.open, store.verify, lambda case: store.shapes([case]), lambda case: store.labels([case], "ct")):
        with pytest.raises(InputError, match=rf"pt_2/case\.json: {DAMAGED}"):
            look("pt_2")
    assert prepare(FakeDataset(raw), earlier, workers=1).rebuilt == ["pt_2"]
    assert Store(earlier).shapes(["pt_2"]) == [(6, 10, 9)]


# Files that hold more than numbers


def fit_index(root: Path) -> None:
    """Let the index of a store say what the descriptions of its cases do."""
    head, cases = read_head(root), root / "cases"
    entries = read_entries(root, head).values()
    write_index(root, head, [entry_of(e, e.folder, e.raw, *read_description(cases / e.folder)) for e in entries])


def stored_function(path: Path) -> None:
    """An expression that Blosc2 would compute."""
    operand = path.with_name("operand.b2nd")
    shape = (1, 6, 10, 9)
    array = blosc2.asarray(np.ones(shape, np.float32), urlpath=str(operand), mode="w")
    path.unlink()
    (array + 1).save(urlpath=str(path))


def stored_metadata(path: Path) -> None:
    """An array with metadata of its own."""
    values = np.asarray(blosc2.open(str(path), mode="r")[:])
    path.unlink()
    array = blosc2.asarray(values, urlpath=str(path), mode="w")
    array.schunk.vlmeta["LazyArray"] = {"UDF": "import os; os.system('true')"}


def stored_layer(path: Path) -> None:
    """An array that says that it is a function, as versions before 4.14 wrote them."""
    values = np.asarray(blosc2.open(str(path), mode="r")[:])
    path.unlink()
    blosc2.asarray(values, urlpath=str(path), mode="w", meta={"LazyArray": 1})


@pytest.mark.parametrize("plant", [stored_function, stored_metadata, stored_layer])
def test_an_array_that_holds_a_function_is_refused_before_blosc2_sees_it(
    raw: Path, root: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
) -> None:
    """Even where all checksums were made to fit, as in a store from someone else; preparing makes it whole again."""
    path = root / "cases/pt_1/dose.b2nd"
    before = contents(root)
    plant(path)
    (root / "cases/pt_1/operand.b2nd").unlink(missing_ok=True)

    def fitting(values: dict[str, Any]) -> None:
        values["arrays"]["dose"].update(size=path.stat().st_size, checksum=digest_bytes(path.read_bytes()))

    edited(root / "cases/pt_1/case.json", fitting, seal=True)
    fit_index(root)
    opened: list[str] = []
    monkeypatch.setattr(blosc2, "open", lambda name, **_: opened.append(name))
    with pytest.raises(InputError, match=r"dose\.b2nd: is damaged \(it holds something else than a plain array"):
        Store(root, check=False).open("pt_1").read("dose")
    assert not opened
    monkeypatch.undo()
    assert prepare(FakeDataset(raw), root, workers=1, verify=True).rebuilt == ["pt_1"]
    assert contents(root) == before


@pytest.mark.parametrize(
    "change", [{"dtype": "|O"}, {"dtype": "<c8"}, {"file": "../pt_2/dose.b2nd"}, {"file": "/etc/passwd"}]
)
def test_a_header_that_names_objects_or_files_elsewhere_is_refused(root: Path, change: dict[str, str]) -> None:
    edited(root / "cases/pt_1/case.json", lambda values: values["arrays"]["dose"].update(change), seal=True)
    with pytest.raises(InputError, match=DAMAGED):
        read_header(root / "cases/pt_1")


def test_a_checksum_is_that_of_all_else() -> None:
    assert sealed({"a": 1})["checksum"] == digest({"a": 1})


def test_swapped_folders_are_noticed(raw: Path, root: Path) -> None:
    first, second, third = (root / "cases" / name for name in ("pt_1", "pt_2", "aside"))
    before = contents(root)
    for source, target in ((first, third), (second, first), (third, second)):
        shutil.move(source, target)
    with pytest.raises(InputError, match="is damaged, or was rebuilt"):
        Store(root).open("pt_1")
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == ["pt_1", "pt_2"]
    assert contents(root) == before
