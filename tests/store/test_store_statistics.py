"""Streamed figures equal NumPy's on all values at once."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_fakes import SHAPE, FakeCase, FakeData, FakeDataset, arrays, write_raw

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.store import CaseArrays, Store, prepare
from crosstask.store.statistics import _keys, _value, channel_statistics, digests_of, labels_of

IDS = ["pt_1", "pt_2", "pt_3", "pt_4"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    prepare(FakeDataset(write_raw(tmp_path / "raw", 5)), tmp_path / "store", workers=1)
    return Store(tmp_path / "store")


def reference(source: str, name: str, region: bool) -> dict[str, float]:
    """The same figures of whole arrays in memory."""
    every, inside, cases = [], [], 0
    for case_id in IDS:
        data = arrays(int(case_id[3:]))
        if name in data.channels[source]:
            values = data.arrays[source][data.channels[source].index(name)]
            every.append(values.ravel())
            inside.append(values[data.arrays["region"][0]] if region else values.ravel())
            cases += 1
    voxels, chosen = np.concatenate(every), np.concatenate(inside).astype(np.float64)
    return {
        "count": voxels.size,
        "positive": (voxels > 0).sum(),
        "mean": chosen.mean(),
        "std": chosen.std(),
        "median": np.median(chosen),
        "cases": cases,
    }


@pytest.mark.parametrize("region", [False, True])
@pytest.mark.parametrize(
    ("source", "classes"),
    [("ct", ["ct"]), ("dose", ["dose"]), ("organs", ["parotid", "cord"]), ("region", ["region"])],
)
def test_equal_to_numpy(store: Store, source: str, classes: list[str], region: bool) -> None:
    found = channel_statistics(store, IDS, source, classes, "region" if region else None)
    assert list(found) == classes
    for name in classes:
        assert found[name] == pytest.approx(reference(source, name, region), rel=1e-12)


def test_missing_labels_are_left_out(store: Store) -> None:
    found = channel_statistics(store, IDS, "organs", ["cord", "parotid", "larynx"])
    voxels = math.prod(SHAPE)
    assert (found["cord"]["cases"], found["cord"]["count"]) == (4, 4 * voxels)
    assert (found["parotid"]["cases"], found["parotid"]["count"]) == (2, 2 * voxels)
    assert (found["larynx"]["cases"], found["larynx"]["count"], found["larynx"]["positive"]) == (0, 0, 0)
    assert all(math.isnan(found["larynx"][figure]) for figure in ("mean", "std", "median"))


def test_kept_and_found_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = channel_statistics(store, IDS, "dose", ["dose"], "region")
    other = channel_statistics(store, IDS[:2], "dose", ["dose"], "region")
    assert first != other
    assert len(list((store.root / "statistics").iterdir())) == 2

    def unread(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(CaseArrays, "read", unread)
    assert channel_statistics(store, IDS[::-1], "dose", ["dose"], "region") == first
    monkeypatch.undo()
    for file in (store.root / "statistics").iterdir():
        file.write_text("{")
    assert channel_statistics(store, IDS, "dose", ["dose"], "region") == first
    prepare(FakeDataset(store.root.parent / "raw"), store.root, workers=1)  # its folder is no hindrance
    (store.root.parent / "raw/pt_1.txt").write_text("11")
    prepare(FakeDataset(store.root.parent / "raw"), store.root, workers=1)
    assert channel_statistics(Store(store.root), IDS, "dose", ["dose"], "region") != first


def test_region_of_several_channels_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="case pt_1: array 'organs' has 3 channels: a region needs exactly one"):
        channel_statistics(store, IDS, "dose", ["dose"], "organs")
    with pytest.raises(InputError, match="has no case 'pt_9'"):
        channel_statistics(store, ["pt_9"], "dose", ["dose"])


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(width=32, allow_nan=False)))
def test_keys_are_ordered_as_the_values(values: np.ndarray) -> None:
    keys = _keys(values)
    np.testing.assert_array_equal(np.array([_value(int(key)) for key in np.sort(keys)], np.float32), np.sort(values))


# Labels of whole cases


class Labelled(FakeDataset):
    """Cases with an image and labels of all types; every third case lacks its age, case 4 all labels."""

    name = "labelled"

    def cases(self) -> list[FakeCase]:
        return [FakeCase(str(number), str(number), "", ()) for number in range(7)]

    def read(self, case: FakeCase) -> FakeData:
        number = int(case.id)
        data = FakeData({}, {}, Geometry((2, 2), (1.0, 1.0)))

        def add(name: str, values: np.ndarray, *channels: str) -> None:
            data.arrays[name], data.channels[name] = values, channels

        if number != 6:
            add("image", np.full((1, 2, 2), number // 2, np.uint8), "grey")
        if number != 4:
            add("diagnosis", np.eye(3, dtype=np.uint8)[number % 3], "nv", "mel", "df")
            if number % 3:
                add("age", np.float32([20.1 + number]), "age")
            else:
                add("age", np.zeros(0, np.float32))
        return data


@pytest.fixture
def labelled(tmp_path: Path) -> Store:
    prepare(Labelled(tmp_path), tmp_path / "labels", workers=1)
    return Store(tmp_path / "labels")


ALL = [str(number) for number in range(7)]


def test_labels_by_case(labelled: Store) -> None:
    found = labels_of(labelled, ALL, "diagnosis")
    assert found["1"] == {"nv": 0, "mel": 1, "df": 0}
    assert found["4"] == {}
    assert sorted(found) == ALL
    ages = labels_of(labelled, ALL, "age")
    assert ages["2"] == {"age": float(np.float32(22.1))}
    assert ages["0"] == ages["3"] == ages["4"] == ages["6"] == {}
    assert labels_of(labelled, ["1"], "age") == {"1": ages["1"]}
    assert labels_of(labelled, ALL, "colour") == {case: {} for case in ALL}


def test_labels_and_digests_are_kept_and_found_again(labelled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = labels_of(labelled, ALL, "age"), labels_of(labelled, ALL, "diagnosis"), digests_of(labelled, ALL, "image")

    def unopened(*_: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr(Store, "open", unopened)
    again = labels_of(labelled, ALL[::-1], "age"), labels_of(labelled, ALL, "diagnosis")
    assert (*again, digests_of(labelled, ALL, "image")) == first


def test_digests_are_equal_where_the_pixels_are(labelled: Store) -> None:
    found = digests_of(labelled, ALL, "image")
    assert sorted(found) == ALL[:6]
    assert found["0"] == found["1"] != found["2"] == found["3"] != found["4"] == found["5"]
    assert digests_of(labelled, ALL, "dose") == {}


def test_pixels_are_no_labels(labelled: Store) -> None:
    with pytest.raises(InputError, match="case 0: 'image' is an array of pixels: name one of labels of whole cases"):
        labels_of(labelled, ALL, "image")
    with pytest.raises(InputError, match="has no case '9'"):
        labels_of(labelled, ["9"], "age")


@pytest.mark.parametrize("region", [None, "image"])
def test_each_case_is_a_voxel_of_its_labels(labelled: Store, region: str | None) -> None:
    found = channel_statistics(labelled, ALL, "diagnosis", ["nv", "mel", "df"], region)
    assert [found[name]["positive"] for name in ("nv", "mel", "df")] == [3, 1, 2]
    assert {figures["count"] for figures in found.values()} == {figures["cases"] for figures in found.values()} == {6}
    assert found["nv"]["mean"] == pytest.approx(0.5)
    (age,) = channel_statistics(labelled, ALL, "age", ["age"], region).values()
    values = np.float32([21.1, 22.1, 25.1]).astype(float)
    assert age == pytest.approx(
        {
            "count": 3,
            "positive": 3,
            "cases": 3,
            "mean": values.mean(),
            "std": values.std(),
            "median": np.median(values),
        }
    )
