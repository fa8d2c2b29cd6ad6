"""What was read of a store on object storage, on this machine's disk: bounded, and shared by all its processes.

A file there is sparse: as long as the object, with the pages that were fetched on their places, so that Blosc2 maps it
as any other. Beside it lies a map with a checksum of each page that is there; all of it has its place on the disk
before it is mapped, as a full disk would end a process that writes to a hole of it by SIGBUS. Files are named by the
checksum of what they hold, so nothing in the cache is ever out of date, and two processes that fetch the same page
write the same bytes. When there is more than the bound, those that were not used for the longest go.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from crosstask.buckets import Bucket
from crosstask.errors import CrosstaskError
from crosstask.files import cache_folder
from crosstask.locks import locked

PAGE = 64 << 10
"""Bytes that are fetched at the least: on object storage a request costs as much as 1 MB."""
WHOLE = 256 << 10
"""A file of no more than this is fetched at once."""
_MAP = ".map"
_SHARE_LEFT = 0.9
"""Of the bound, what is left after a clearance."""
_LOCK = "clear.lock"
_GB = 10**9


class Cache:
    """The cache of one process.

    Args:
        limit: bytes of disk that it may take.
        folder: by default ``store`` in the user's cache (:func:`crosstask.files.cache_folder`).
    """

    def __init__(self, limit: float, folder: Path | None = None) -> None:
        self.limit, self.folder = limit, folder or cache_folder() / "store"
        self._since_look = limit  # so that the first fetch looks at what others have left

    def file(self, bucket: Bucket, name: str, size: int, checksum: str) -> CachedFile:
        """A file of a bucket.

        Args:
            bucket: where it is.
            name: what it is called there.
            size: its bytes.
            checksum: of its content.
        """
        with writing_cache(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            return CachedFile(self, bucket, name, size, self.folder / checksum)

    def added(self, count: int) -> None:
        """Note that bytes were fetched, and make room if that is too much."""
        self._since_look += count
        if self._since_look >= self.limit / 50:
            self._since_look = 0
            with suppress(OSError, CrosstaskError), locked(self.folder, _LOCK, "cleared"):  # another one does it
                self._clear()

    def _clear(self) -> None:
        found = []
        for path in self.folder.iterdir():
            if path.suffix == _MAP or path.name == _LOCK or path.name.startswith("."):
                continue
            with suppress(FileNotFoundError):
                state, used = path.stat(), path.with_name(path.name + _MAP)
                taken = getattr(state, "st_blocks", state.st_size // 512) * 512
                found.append(((used if used.exists() else path).stat().st_mtime, taken, path))
        total = sum(taken for _, taken, _ in found)
        if total <= self.limit:
            return
        for _, taken, path in sorted(found):
            with suppress(OSError):  # Windows removes no file that is open
                path.with_name(path.name + _MAP).unlink(missing_ok=True)
                path.unlink()
                total -= taken
            if total <= _SHARE_LEFT * self.limit:
                return


@contextmanager
def writing_cache(folder: Path) -> Iterator[None]:
    """Say in one line that the cache cannot be written.

    Raises:
        CrosstaskError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CrosstaskError(
            f"{folder}: what is read of the store cannot be kept ({error.strerror or error}); free space, set a "
            "smaller store_cache, or another folder with $CROSSTASK_CACHE"
        ) from error


class CachedFile:
    """A file of a bucket, as far as it was fetched; see :class:`Cache`.

    Attributes:
        path: of the file on this machine.
    """

    def __init__(self, cache: Cache, bucket: Bucket, name: str, size: int, path: Path) -> None:
        self._cache, self._bucket, self._name, self._size, self.path = cache, bucket, name, size, path
        self._lock = threading.Lock()
        pages = -(-size // PAGE)
        self._file = _opened(path)
        try:
            os.ftruncate(self._file, size)
            with os.fdopen(_opened(path.with_name(path.name + _MAP)), "r+b") as beside:
                _take_place(beside, 4 * pages)
                self._map = mmap.mmap(beside.fileno(), 4 * pages)
        except BaseException:
            os.close(self._file)
            raise
        self._there = np.frombuffer(self._map, np.uint32)
        self._seen = np.zeros(pages, bool)
        """Pages that this process has held against their checksum."""

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self._file)

    def is_at(self, path: Path) -> bool:
        """Whether this still is the file of that name, and not one that was cleared away."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), path.stat())
        return False

    def read(self, start: int, stop: int) -> bytes:
        """Bytes between two places, fetched if they are not there."""
        self.fetch([(start, stop)])
        with self._lock:
            os.lseek(self._file, start, os.SEEK_SET)
            return os.read(self._file, stop - start)

    def fetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """See to it that parts are there, in pages; all that are missing come in one go.

        Raises:
            FileNotFoundError, InputError, CrosstaskError: the bucket does not give them, or the disk is full.
        """
        wanted: set[int] = set()
        for start, stop in ranges:
            wanted.update(range(start // PAGE, -(-stop // PAGE)))
        if all(self._seen[page] for page in wanted):
            return
        with self._lock, writing_cache(self._cache.folder):
            missing = [page for page in sorted(wanted) if not self._is_there(page)]
            if not missing:
                return
            runs = [[missing[0], missing[0] + 1]]
            for page in missing[1:]:
                if page == runs[-1][1]:
                    runs[-1][1] += 1
                else:
                    runs.append([page, page + 1])
            spans = [(first * PAGE, min(last * PAGE, self._size)) for first, last in runs]
            try:
                contents = self._bucket.read_ranges(self._name, spans)
            except FileNotFoundError as error:
                raise _GoneError(self._bucket.at(self._name)) from error
            for (start, _), content in zip(spans, contents, strict=True):
                self._write(start, content)
                for offset in range(0, len(content), PAGE):
                    page = (start + offset) // PAGE
                    self._there[page] = _mark(content[offset : offset + PAGE])
                    self._seen[page] = True
            with suppress(OSError):
                os.utime(self.path.with_name(self.path.name + _MAP))
        self._cache.added(sum(map(len, contents)))

    def _write(self, start: int, content: bytes) -> None:
        """All of a part: a disk that is about to be full takes the beginning of it, and says so by a number alone."""
        os.lseek(self._file, start, os.SEEK_SET)
        left = memoryview(content)
        while left:
            written = os.write(self._file, left)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left = left[written:]

    def _is_there(self, page: int) -> bool:
        """Whether a page is there, and whole: a machine may have fallen between the page and its mark."""
        if not self._seen[page] and self._there[page]:
            start = page * PAGE
            os.lseek(self._file, start, os.SEEK_SET)
            self._seen[page] = _mark(os.read(self._file, min(PAGE, self._size - start))) == self._there[page]
        return bool(self._seen[page])


class _GoneError(CrosstaskError):
    """An object that the index names is not there."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address}: is missing: the store was prepared anew since it was opened, or damaged; run the same command "
            "again, or `crosstask prepare --verify`"
        )


def _opened(path: Path) -> int:
    """A file to be read and written, made if there is none."""
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)


def _take_place(file: BinaryIO, size: int) -> None:
    """Make a file as long as that, with nothing of it a hole.

    Raises:
        OSError: the disk is full.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # of file systems that cannot
                raise
        else:
            return
    content = file.read(size)
    file.seek(0)  # what other processes mark meanwhile is lost at worst, so that they fetch a page again
    file.write(content.ljust(size, b"\0"))
    file.flush()


def _mark(content: bytes) -> int:
    """Checksum of a page; never 0, which means that there is none."""
    return zlib.crc32(content) or 1


_CACHES: dict[tuple[int, float, str], Cache] = {}


def cache_of(bucket: Bucket) -> Cache:
    """This process's cache for a bucket."""
    key = (os.getpid(), bucket.cache_gb, str(cache_folder()))
    if key not in _CACHES:
        _CACHES[key] = Cache(bucket.cache_gb * _GB)
    return _CACHES[key]


def whole_file(bucket: Bucket, name: str) -> tuple[Path, bool]:
    """A file of a bucket that is named by its content, whole on this machine; and whether it came just now.

    Raises:
        FileNotFoundError: there is none.
        InputError, CrosstaskError: the storage refuses it, or the disk is full.
    """
    cache = cache_of(bucket)
    path = cache.folder / name
    if path.exists():
        with suppress(OSError):
            os.utime(path)
        return path, False
    content = bucket.read(name)
    with writing_cache(cache.folder):
        cache.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{name}.{os.getpid()}.{time.monotonic_ns()}.part")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    cache.added(len(content))
    return path, True
