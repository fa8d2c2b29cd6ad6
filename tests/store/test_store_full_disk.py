"""What is kept of a store on object storage, on a disk that is full: one line, and no page that is not there."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crosstask.buckets import Bucket
from crosstask.errors import CrosstaskError
from crosstask.store import cache
from crosstask.store.cache import PAGE, Cache, CachedFile

pytest.importorskip("fsspec")
SIZE = 3 * PAGE + 5
CONTENT = bytes(range(256)) * (SIZE // 256 + 1)
_NUMBERS = itertools.count()


@pytest.fixture
def open_file(tmp_path: Path) -> Callable[[], CachedFile]:
    bucket = Bucket(f"memory://full/{next(_NUMBERS)}")
    bucket.write("big", CONTENT[:SIZE])
    return lambda: Cache(10**9, tmp_path / "kept").file(bucket, "big", SIZE, "0" * 32)


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_part_that_the_disk_takes_in_pieces_is_whole(
    open_file: Callable[[], CachedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(cache.os, "write", lambda file, data: write(file, data[:1000]))
    assert open_file().read(0, SIZE) == CONTENT[:SIZE]
    assert open_file().read(0, SIZE) == CONTENT[:SIZE]


@pytest.mark.parametrize("at_the_end", [_full, lambda *_: 0])
def test_a_part_that_the_disk_has_no_room_for_is_one_line_and_not_marked(
    open_file: Callable[[], CachedFile], monkeypatch: pytest.MonkeyPatch, at_the_end: Callable[..., int]
) -> None:
    write, room = os.write, [1000]

    def filling(file: int, data: bytes) -> int:
        return write(file, data[: room.pop()]) if room else at_the_end()

    with monkeypatch.context() as full:
        full.setattr(cache.os, "write", filling)
        with pytest.raises(CrosstaskError, match="cannot be kept") as error:
            open_file().read(0, SIZE)
    assert "\n" not in str(error.value) and "No space left on device" in str(error.value)
    assert "$CROSSTASK_CACHE" in str(error.value)
    assert open_file().read(0, SIZE) == CONTENT[:SIZE]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="has no posix_fallocate")
def test_a_map_that_the_disk_has_no_room_for_is_one_line(
    open_file: Callable[[], CachedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.os, "posix_fallocate", _full)
    with pytest.raises(CrosstaskError, match=r"cannot be kept \(No space left on device"):
        open_file()


@pytest.mark.parametrize("number", [None, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_map_has_its_place_where_the_system_cannot_be_asked_for_it(
    open_file: Callable[[], CachedFile], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int | None
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(number, "cannot")

    if number is None:
        monkeypatch.delattr(cache.os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(cache.os, "posix_fallocate", unknown, raising=False)
    assert open_file().read(0, PAGE) == CONTENT[:PAGE]
    (beside,) = (tmp_path / "kept").glob("*.map")
    before = beside.read_bytes()
    assert len(before) == 4 * 4 and any(before[:4]) and not any(before[4:])
    assert open_file()._is_there(0) and beside.read_bytes() == before
