"""Streamed figures equal NumPy's on all values at once."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_fakes import SHAPE, FakeDataset, arrays, write_raw

from crosstask.errors import InputError
from crosstask.store import CaseArrays, Store, prepare
from crosstask.store.statistics import _keys, _value, channel_statistics

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
