"""Reading: every type comes back, only what is asked for, and damage is an error that names the file."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_fakes import SHAPE, FakeCase, FakeData, FakeDataset, arrays, write_raw

from crosstask.errors import CrosstaskError, InputError
from crosstask.geometry import Geometry
from crosstask.store import Store, prepare, reader
from crosstask.store.format import layout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    prepare(FakeDataset(write_raw(folder / "raw", 4)), folder / "store", workers=1)
    return folder / "store"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    prepare(FakeDataset(write_raw(tmp_path / "raw", 2)), tmp_path / "store", workers=1)
    return tmp_path / "store"


class Given(FakeDataset):
    """A data set of one case that is given."""

    data: FakeData

    def cases(self) -> list[FakeCase]:
        return [FakeCase("only", "only", "train", ())]

    def read(self, case: FakeCase) -> FakeData:
        return self.data


def stored(tmp_path: Path, values: np.ndarray) -> reader.CaseArrays:
    dataset = Given(tmp_path)
    names = tuple(f"c{place}" for place in range(len(values)))
    dataset.data = FakeData({"x": values}, {"x": names}, Geometry(values.shape[1:], (1.0,) * (values.ndim - 1)))
    prepare(dataset, tmp_path / "store", workers=1)
    return Store(tmp_path / "store").open("only")


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "i8", "f2", "f4", "f8", ">i2", ">f4"])
def test_round_trip_of_types(tmp_path: Path, dtype: str) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 100, (2, 9, 5, 7)).astype(dtype)
    case = stored(tmp_path, values)
    read = case.read("x")
    assert read.dtype == np.dtype(dtype).newbyteorder("=") == case.dtype("x")
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("shape", [(2, 5), (1, 33, 17), (3, 20, 40, 31), (2, 3, 4, 5, 6), (1, 2, 700, 900)])
def test_round_trip_of_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    values.reshape(-1)[:3] = [np.finfo(np.float32).max, np.finfo(np.float32).tiny, -0.0]
    np.testing.assert_array_equal(stored(tmp_path, values).read("x"), values)


# Labels of whole cases


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", ">i2", "i4", "u8", "i8", "f2", "f4", "f8", ">f4"])
def test_labels_of_whole_cases(tmp_path: Path, dtype: str) -> None:
    """Extreme values of each type come back to the last bit, without a file."""
    kind = np.dtype(dtype)
    limits = {"?": [0, 1], "f": [-0.0, 1 / 3, 1e-7, 1]}.get(dtype if dtype == "?" else kind.kind)
    if limits is None:
        limits = [np.iinfo(kind).min, 0, 7, np.iinfo(kind).max]
    elif kind.kind == "f":
        limits += [np.finfo(kind).max, np.finfo(kind).tiny]
    values = np.array(limits, kind)
    case = stored(tmp_path, values)
    assert [file.name for file in (tmp_path / "store/cases/only").iterdir()] == ["case.json"]
    assert case.shape("x") == values.shape
    read = case.read("x")
    assert read.dtype == kind.newbyteorder("=") == case.dtype("x")
    assert read.tobytes() == values.astype(read.dtype).tobytes()
    read[:] = 0
    np.testing.assert_array_equal(case.read("x"), values)
    Store(tmp_path / "store").verify("only")


def test_selection_of_labels(tmp_path: Path) -> None:
    case = stored(tmp_path, np.float32([0, 1, 0.5]))
    assert case.read("x", [2, 0]).tolist() == [0.5, 0]
    assert case.read("x", [-1, 1, 1]).tolist() == [0.5, 1, 1]
    assert case.read("x", []).shape == (0,)
    assert case.read("x", slices=()).shape == (3,)
    with pytest.raises(IndexError, match="index 3 is out of range for the channels of array 'x'"):
        case.read("x", [3])
    with pytest.raises(IndexError, match="1 slices for array 'x' with 0 spatial axes"):
        case.read("x", slices=(slice(None),))


def test_labels_of_which_none_is_known(tmp_path: Path) -> None:
    case = stored(tmp_path, np.zeros(0, np.float32))
    assert case.shape("x") == case.read("x").shape == case.read("x", []).shape == (0,)
    assert case.read("x").dtype == case.dtype("x") == np.float32
    assert case.channels == {"x": ()}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_label_that_is_not_finite_is_a_fault_of_the_reader(tmp_path: Path, value: float) -> None:
    """A label that is missing has no channel; NaN would be taken for one."""
    with pytest.raises(CrosstaskError, match=r"case only: .* array 'x': a label is not finite; leave a missing"):
        stored(tmp_path, np.float32([0, value]))


def test_a_case_of_labels_and_pixels(tmp_path: Path) -> None:
    dataset = Given(tmp_path)
    dataset.data = FakeData(
        {"image": np.arange(35, dtype=np.uint8).reshape(1, 5, 7), "dx": np.float32([0, 1]), "age": np.float32([61])},
        {"image": ("grey",), "dx": ("nv", "mel"), "age": ("age",)},
        Geometry((5, 7), (1.0, 1.0)),
    )
    prepare(dataset, tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    case = store.open("only")
    for name, values in dataset.data.arrays.items():
        np.testing.assert_array_equal(case.read(name), values)
    before = store.fingerprint
    dataset.data.arrays["age"] = np.float32([62])
    prepare(dataset, tmp_path / "other", workers=1)
    other = Store(tmp_path / "other")
    assert other.fingerprint != before
    assert other.open("only").digest("image") == case.digest("image") != case.digest("dx")
    assert other.open("only").digest("age") != case.digest("age")


def test_digest_knows_shape_and_type(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8)
    arrays = [values.reshape(1, 3, 4), values.reshape(1, 4, 3), values.view(np.int8).reshape(1, 3, 4)]
    digests = [stored(tmp_path / str(number), array).digest("x") for number, array in enumerate(arrays)]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"values": [0.0, 0.0, 1.0]},
        {"values": [0.0, 1.0]},
        {"values": [[0.0, 1.0, 0.5]]},
        {"values": [0.0, 1.0, "0.5x"]},
        {"values": None},
        {"values": []},
        {"values": [0.0, 1.0, 1e999]},
        {"dtype": "<i1"},
        {"dtype": "<u1", "values": [0, 1, 300]},
        {"shape": [2]},
        {"shape": [3, 1]},
        {"content": "0" * 32},
    ],
)
def test_labels_that_were_tampered_with_are_noticed(tmp_path: Path, change: dict[str, Any]) -> None:
    stored(tmp_path, np.float32([0, 1, 0.5]))
    path = tmp_path / "store/cases/only/case.json"
    header = json.loads(path.read_text())
    header["arrays"]["x"] |= change
    path.write_text(json.dumps(header))
    store = Store(tmp_path / "store")
    for look in (store.open, store.verify):
        with pytest.raises(InputError, match=r"case\.json: is damaged.* run `crosstask prepare --verify`"):
            look("only")


def test_labels_tampered_with_together_with_their_digest_are_noticed(tmp_path: Path) -> None:
    stored(tmp_path, np.float32([0, 1, 0.5]))
    other = stored(tmp_path / "other", np.float32([1, 0, 0.5]))
    assert other.read("x").tolist() == [1, 0, 0.5]
    path = tmp_path / "store/cases/only/case.json"
    path.write_bytes((tmp_path / "other/store/cases/only/case.json").read_bytes())
    store = Store(tmp_path / "store")
    with pytest.raises(InputError, match=r"case\.json: is damaged, or was rebuilt"):
        store.open("only")
    with pytest.raises(InputError, match=r"case\.json: is damaged, or was rebuilt"):
        store.verify("only")


def test_damaged_labels_are_prepared_again(tmp_path: Path) -> None:
    dataset = Given(tmp_path)
    dataset.data = FakeData({"x": np.float32([0, 1])}, {"x": ("a", "b")}, Geometry((), ()))
    root = tmp_path / "store"
    prepare(dataset, root, workers=1)
    path = root / "cases/only/case.json"
    path.write_text(path.read_text().replace("1.0", "2.0"))
    assert prepare(dataset, root, workers=1).rebuilt == ["only"]
    assert Store(root).open("only").read("x").tolist() == [0, 1]


def test_views_that_are_not_contiguous_are_stored_as_they_look(tmp_path: Path) -> None:
    values = np.arange(2 * 6 * 5 * 8, dtype=np.int16).reshape(2, 8, 5, 6).transpose(0, 3, 2, 1)[:, ::-1]
    np.testing.assert_array_equal(stored(tmp_path, values).read("x"), values)


def test_all_of_a_case_comes_back(root: Path) -> None:
    case, expected = Store(root).open("pt_3"), arrays(3)
    assert case.names == tuple(sorted(expected.arrays)) or set(case.names) == set(expected.arrays)
    assert case.channels == expected.channels
    assert case.geometry == expected.geometry
    assert case.information == {"seed": 3, "spacing": 0.5, "note": "ünïcode"}
    assert "ct" in case
    assert "mr" not in case
    for name, values in expected.arrays.items():
        assert case.shape(name) == values.shape
        assert case.read(name).dtype == values.dtype
        np.testing.assert_array_equal(case.read(name), values)
    assert case.read("targets", slices=(slice(0, 1),)).shape == (0, 1, *SHAPE[1:])


bounds = st.one_of(st.none(), st.integers(-12, 12))
parts = st.one_of(st.integers(-6, 5), st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, 3, -1, -2])))


@settings(max_examples=150, deadline=None)
@given(
    channels=st.one_of(st.none(), st.lists(st.integers(-3, 2), max_size=5)),
    slices=st.one_of(st.none(), st.lists(parts, max_size=3)),
)
def test_selection_is_that_of_numpy(root: Path, channels: list[int] | None, slices: list[Any] | None) -> None:
    expected = arrays(3).arrays["organs"]
    expected = expected if channels is None else expected[np.array(channels, int)]
    expected = expected[(slice(None), *(slices or ()))]
    np.testing.assert_array_equal(Store(root).open("pt_3").read("organs", channels, slices), expected)


def test_selection_out_of_range(root: Path) -> None:
    case = Store(root).open("pt_3")
    with pytest.raises(IndexError, match="index 3 is out of range for the channels of array 'organs'"):
        case.read("organs", [3])
    with pytest.raises(IndexError, match="index 6 is out of range for axis 0"):
        case.read("ct", slices=(6,))
    with pytest.raises(IndexError, match="4 slices for array 'ct' with 3 spatial axes"):
        case.read("ct", slices=(0, 0, 0, 0))
    with pytest.raises(InputError, match="case pt_3: has no array 'mr': choose one of"):
        case.read("mr")
    with pytest.raises(InputError, match="has no case 'pt_99'"):
        Store(root).open("pt_99")


def test_what_is_read_is_the_caller_s(root: Path) -> None:
    case = Store(root).open("pt_1")
    case.read("dose")[:] = -1
    np.testing.assert_array_equal(case.read("dose"), arrays(1).arrays["dose"])


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunk", "block"),
    [
        ((1, 128, 128, 128), 2, (1, 8, 128, 128), (1, 1, 128, 128)),
        ((10, 128, 128, 128), 1, (1, 8, 128, 128), (1, 1, 128, 128)),
        ((1, 300, 512, 512), 4, (1, 4, 512, 512), (1, 1, 128, 512)),
        ((3, 450, 600), 1, (1, 450, 600), (1, 436, 600)),
        ((1, 5, 20000, 20000), 4, (1, 1, 52, 20000), (1, 1, 3, 20000)),
    ],
)
def test_one_slice_of_one_channel_is_a_block(
    shape: tuple[int, ...], itemsize: int, chunk: tuple[int, ...], block: tuple[int, ...]
) -> None:
    assert layout(shape, itemsize) == (chunk, block)


def test_a_slice_touches_its_own_block_only(tmp_path: Path) -> None:
    """With all other slices overwritten in the file, the one that is read still comes out right."""
    values = np.random.default_rng(0).integers(0, 30000, (1, 64, 64, 64)).astype(np.int16)
    stored(tmp_path, values)
    path = tmp_path / "store/cases/only/x.b2nd"
    content = bytearray(path.read_bytes())
    start = len(content) // 3
    content[start : 2 * start] = bytes(start)
    path.write_bytes(content)
    case = Store(tmp_path / "store", check=False).open("only")
    for place in (0, 15, 63):
        np.testing.assert_array_equal(case.read("x", slices=(slice(place, place + 1),))[:, 0], values[:, place])


def read_in_child(store: Store) -> int:
    return int(store.open("pt_2").read("ct").astype(int).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_store_goes_to_other_processes(root: Path, method: str) -> None:
    store = Store(root)
    expected = read_in_child(store)  # opened here first, as a DataLoader's parent may have
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert [future.result() for future in [pool.submit(read_in_child, store) for _ in range(4)]] == [expected] * 4
    case = pickle.loads(pickle.dumps(store.open("pt_2")))
    assert int(case.read("ct").astype(int).sum()) == expected


def test_open_arrays_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_arrays", reader._OpenArrays(3))
    store = Store(root)
    for _ in range(2):
        for case in store.cases:
            for name, values in arrays(int(case.id[3:])).arrays.items():
                np.testing.assert_array_equal(store.open(case.id).read(name), values)
    assert len(reader._arrays.arrays) == 3


def test_relative_root_survives_a_change_of_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    store = Store(root.name)
    monkeypatch.chdir("/")
    assert store.open("pt_1").read("ct").shape == (1, *SHAPE)


def test_fingerprint_is_that_of_the_data(root: Path, own: Path, tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "again", 4)
    for file in raw.iterdir():
        os.utime(file, ns=(5, 5))
    prepare(FakeDataset(raw), tmp_path / "store 2", workers=1)
    assert Store(tmp_path / "store 2").fingerprint == Store(root).fingerprint != Store(own).fingerprint


def test_missing_store_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store\.json: no such file: write the store with `crosstask prepare`"):
        Store(tmp_path)


@pytest.mark.parametrize("fault", ["truncated", "emptied", "missing", "flipped", "random", "header"])
def test_damaged_file_is_an_error_that_names_it(own: Path, fault: str) -> None:
    store = Store(own)
    path = own / "cases/pt_1/ct.b2nd"
    content = bytearray(path.read_bytes())
    match fault:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "emptied":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "random":
            path.write_bytes(np.random.default_rng(0).bytes(len(content)))
        case "header":
            path = own / "cases/pt_1/case.json"
            path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(InputError, match="`crosstask prepare") as caught:
        store.open("pt_1").read("ct", slices=(slice(0, 1),))
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="`crosstask prepare") as caught:
        store.verify("pt_1")
    assert str(path) in str(caught.value)
    store.verify("pt_2")
    if fault != "flipped":
        unchecked = Store(own, check=False)
        with pytest.raises(InputError, match="`crosstask prepare"):
            unchecked.open("pt_1").read("ct", slices=(slice(0, 1),))


def test_rebuilt_case_is_not_mixed_with_the_opened_one(own: Path, tmp_path: Path) -> None:
    store = Store(own)
    (tmp_path / "raw/pt_1.txt").write_text("77")
    prepare(FakeDataset(tmp_path / "raw"), own, workers=1)
    with pytest.raises(InputError, match="was rebuilt since the store was opened"):
        store.open("pt_1")
    np.testing.assert_array_equal(Store(own).open("pt_1").read("ct"), arrays(77).arrays["ct"])
