"""Arrays that were computed of prepared cases and are dear to compute again: kept beside them, by what they depend on.

Each case has a folder like one of the store, with checksums, below a folder of whatever computed them. Their names are
digests of both, so that what has become stale is never found; and nothing is lost with them but the time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.buckets import Place
from crosstask.errors import InputError
from crosstask.files import cache_folder, is_writable, put_files, writing
from crosstask.geometry import Geometry
from crosstask.store.fingerprint import digest
from crosstask.store.format import HEADER_NAME, read_header, write_case
from crosstask.store.reader import CaseArrays, Store
from crosstask.store.shelf import FolderShelf

DERIVED_NAME = "derived"


@dataclass
class _Arrays:
    """A case to write: what was computed alone."""

    arrays: dict[str, np.ndarray]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, Any] = field(default_factory=dict)


def folder_beside(root: Place) -> Path:
    """Where is kept what was computed of a store: its folder, or the user's caches where nothing may be written."""
    return root if isinstance(root, Path) and is_writable(root) else cache_folder()


class Derived:
    """What one computation made of the cases of a store.

    Args:
        root: of the store; see :func:`folder_beside`.
        key: digest of all that the computation depends on, but the cases.
    """

    def __init__(self, root: Place, key: str) -> None:
        self.folder = folder_beside(root) / DERIVED_NAME / key[:32]

    def _of(self, case: CaseArrays) -> Path:
        content = [case.geometry.shape, case.geometry.spacing, case.geometry.origin, case.geometry.direction]
        return self.folder / digest([content, *((name, case.digest(name)) for name in sorted(case.names))])[:32]

    def find(self, case: CaseArrays) -> CaseArrays | None:
        """What is kept of a case, or None.

        Raises:
            InputError: it is damaged.
        """
        folder = self._of(case)
        if not (folder / HEADER_NAME).exists():
            return None
        try:
            return CaseArrays(FolderShelf(self.folder), str(folder), read_header(folder), check=True)
        except InputError as error:
            path = str(error).partition(":")[0]
            raise InputError(f"{path}: is damaged; remove {self.folder}, and it is computed anew") from None

    def keep(self, case: CaseArrays, arrays: Mapping[str, np.ndarray], channels: Mapping[str, tuple[str, ...]]) -> None:
        """Keep what was computed of a case; whole, or not at all.

        Raises:
            CrosstaskError: the disk is full.
        """
        with self._room(self._of(case).name) as made:
            write_case(made, case.id, _Arrays(dict(arrays), dict(channels), case.geometry), settings="", raw=())

    def names(self) -> frozenset[str]:
        """Names of what is kept, each that of a case's content: the same wherever it is kept."""
        try:
            return frozenset(path.parent.name for path in self.folder.glob(f"*/{HEADER_NAME}"))
        except OSError:
            return frozenset()

    def files(self, name: str) -> dict[str, bytes]:
        """What is kept under a name, file by file."""
        folder = self.folder / name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def put(self, name: str, files: Mapping[str, bytes]) -> None:
        """Keep what was kept under a name elsewhere; whole, or not at all.

        Raises:
            CrosstaskError: the disk is full.
        """
        with self._room(name) as made:
            put_files(made, files)

    @contextlib.contextmanager
    def _room(self, name: str) -> Iterator[Path]:
        """A folder to fill, which then is what is kept under a name, unless there is something by now."""
        folder = self.folder / name
        with writing(folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new", dir=self.folder) as part:
                made = Path(part) / "case"
                made.mkdir()
                yield made
                try:
                    made.rename(folder)
                except OSError:
                    if not folder.exists():
                        raise


class CompletedStore(Store):
    """A store whose cases also have what was computed of them.

    Args:
        root: of the store.
        key: of the computation; see :class:`Derived`.
        check: as of :class:`Store`.
    """

    def __init__(self, root: Place | str, key: str, *, check: bool = True) -> None:
        super().__init__(root, check=check)
        self._derived = Derived(self.root, key)

    def _arrays_of(self, case_id: str) -> CaseArrays:
        own = super()._arrays_of(case_id)
        further = self._derived.find(own)
        return own if further is None else CompletedCase(own, further)


class CompletedCase(CaseArrays):
    """A case with further arrays.

    Args:
        inner: the case.
        further: what has the further arrays, on the same grid.
    """

    def __init__(self, inner: CaseArrays, further: CaseArrays) -> None:
        self.id, self.geometry, self.information = inner.id, inner.geometry, inner.information
        self.channels = {**inner.channels, **further.channels}
        self._inner, self._further = inner, further

    def _with(self, name: str) -> CaseArrays:
        return self._further if name in self._further else self._inner

    def __contains__(self, name: object) -> bool:
        return name in self._inner or name in self._further

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the case's own arrays, by which it is known."""
        return self._inner.names

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape ``c *s`` of an array; see :meth:`CaseArrays.shape`."""
        return self._with(name).shape(name)

    def digest(self, name: str) -> str:
        """Digest of an array; see :meth:`CaseArrays.digest`."""
        return self._with(name).digest(name)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array; see :meth:`CaseArrays.dtype`."""
        return self._with(name).dtype(name)

    def read(
        self, name: str, channels: Sequence[int] | None = None, slices: Sequence[slice | int] | None = None
    ) -> np.ndarray:
        """Values of an array; see :meth:`CaseArrays.read`."""
        return self._with(name).read(name, channels, slices)
