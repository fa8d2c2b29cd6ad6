"""What a store is told by: damaged descriptions, earlier versions, files that hold more than numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from store_fakes import FakeDataset, contents

from crosstask.errors import InputError
from crosstask.store import Store, prepare
from crosstask.store.fingerprint import digest, digest_bytes, sealed
from crosstask.store.format import read_header
from crosstask.store.index import Index, settings_digest

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
            Index.read(root) if name == "store.json" else read_header(path.parent)
    assert noticed > 50


def test_a_damaged_index_is_mended_and_never_believed(raw: Path, root: Path) -> None:
    before = contents(root)
    edited(root / "store.json", lambda values: values["cases"][0].update(split="test"))
    with pytest.raises(InputError, match=r"store\.json: is damaged: run `crosstask prepare` again to fix it"):
        Store(root)
    assert prepare(FakeDataset(raw), root, workers=1).kept == IDS
    assert contents(root) == before


def as_version_1(root: Path) -> None:
    """Make a store what the version before this one wrote."""
    old = settings_digest("fake", {"scale": 1.0}, 1)

    def older(values: dict[str, Any]) -> None:
        values["version"] = 1
        del values["checksum"]
        if "settings_hash" in values:
            values["settings_hash"] = old
        else:
            values["settings"] = old

    for path in [root / "store.json", *root.glob("cases/*/case.json")]:
        edited(path, older)


def test_a_store_of_the_version_before_is_read_as_it_is_and_prepared_anew(raw: Path, root: Path) -> None:
    before, fingerprint = contents(root), Store(root).fingerprint
    dose = Store(root).open("pt_2").read("dose")
    as_version_1(root)
    store = Store(root)
    np.testing.assert_array_equal(store.open("pt_2").read("dose"), dose)
    assert store.fingerprint == fingerprint  # runs that were trained on it still know it
    assert prepare(FakeDataset(raw), root, workers=1).rebuilt == IDS
    assert contents(root) == before
    assert Store(root).fingerprint == fingerprint


def test_a_case_of_the_version_before_that_cannot_be_read_again_is_kept(raw: Path, root: Path) -> None:
    as_version_1(root)
    report = prepare(FakeDataset(raw, bad=("pt_2",)), root, workers=1)
    assert (report.rebuilt, [case for case, _ in report.outdated], report.failed) == (["pt_1", "pt_3"], ["pt_2"], [])
    assert Store(root).open("pt_2").information["seed"] == 2


# Files that hold more than numbers


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
