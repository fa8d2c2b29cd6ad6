"""The index of where classes are: the same draws as from all voxels, kept by content, whatever becomes of its file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.datasets import Phantom
from crosstask.store import Store, prepare
from crosstask.store.foreground import FOREGROUND_NAME, Foreground, ForegroundIndex, index_of


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.integers(0, 4))
def test_it_has_every_voxel_once_in_order(seed, share, channels):
    masks = (np.random.default_rng(seed).random((channels, 3, 5, 4)) < share).astype(np.uint8)
    index = ForegroundIndex(index_of(masks))
    for channel, mask in enumerate(masks):
        found = [index.voxel(channel, number) for number in range(int(index.counts[channel]))]
        assert found == np.flatnonzero(mask).tolist()
        with pytest.raises(IndexError):
            index.voxel(channel, len(found))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    root = tmp_path_factory.mktemp("foreground")
    Phantom.generate(root / "raw", train=2, validation=0, test=0, seed=3, size=24)
    prepare(Phantom(root / "raw"), root / "store", workers=1)
    return Store(root / "store")


def test_draws_are_uniform_over_the_voxels_of_a_class(store):
    index, case = Foreground(store).of("pt_1", "structures"), store.open("pt_1")
    channel = case.channels["structures"].index("Brainstem")
    voxels = np.flatnonzero(case.read("structures", [channel])[0])
    count = int(index.counts[channel])
    assert count == len(voxels)
    generator = np.random.default_rng(0)
    drawn = [index.voxel(channel, int(generator.integers(count))) for _ in range(50 * count)]
    seen = np.bincount(np.searchsorted(voxels, drawn), minlength=count)
    assert set(drawn) <= set(voxels.tolist())
    chi_square = ((seen - 50) ** 2 / 50).sum()
    assert abs(chi_square - (count - 1)) < 5 * np.sqrt(2 * count)


def test_it_is_made_once_and_mapped(store, monkeypatch):
    first = Foreground(store).of("pt_2", "structures")
    monkeypatch.setattr("crosstask.store.foreground.index_of", lambda masks: pytest.fail("made again"))
    again = pickle.loads(pickle.dumps(Foreground(store))).of("pt_2", "structures")
    base = again.counts
    while not isinstance(base, np.memmap):
        base = base.base
        assert base is not None, "it is not mapped"
    np.testing.assert_array_equal(first.counts, again.counts)


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * len(data)]
)
def test_a_damaged_file_is_made_anew(store, damage):
    whole = Foreground(store).of("pt_1", "structures")
    expected = whole.voxel(0, 3)
    for path in (store.root / FOREGROUND_NAME).glob("*.npy"):
        path.write_bytes(damage(path.read_bytes()))
    assert Foreground(store).of("pt_1", "structures").voxel(0, 3) == expected


def test_where_nothing_can_be_written_it_is_kept_elsewhere(store, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("crosstask.store.derived.is_writable", lambda folder: False)
    assert Foreground(store).of("pt_1", "structures").counts.sum() > 0
    assert list(Path(tmp_path / "cache" / FOREGROUND_NAME).glob("*.npy"))
