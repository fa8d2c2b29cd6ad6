"""What a store knows of its cases, in columns: opened at once however many there are, and read by the row."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from crosstask.geometry import Geometry
from crosstask.store.columns import Coded, Columns, Texts, coded_columns, text_columns
from crosstask.store.fingerprint import RawFile, canonical
from crosstask.store.format import ArrayHeader, CaseHeader, geometry_of

_DIGEST = 16
_TEXTS = ("id", "folder", "information")
CODED = ("group", "split", "settings", "channels", "arrays", "grid", "place")
_BYTES = ("contents", "sums", "sizes", "labels")
_DIGESTS = ("checksum", "described")


class Entry(NamedTuple):
    """One prepared case: what the index says of it, and all that ``case.json`` does. Texts in JSON are canonical.

    Attributes:
        id, group, split: as the data set gives them.
        folder: of the case, below that of all cases.
        checksum: digest of its content (:attr:`CaseHeader.checksum`).
        described: digest of the bytes of its ``case.json``; empty where that could not be read.
        settings: digest of the read settings.
        channels: ``{array: names}``, JSON.
        arrays: ``[[name, type, shape, file, whether it is labels of the whole case], ...]``, JSON.
        grid: shape of the grid, JSON.
        place: spacing, origin and direction of the grid, JSON.
        information: JSON.
        contents, sums: digests of each array's values and of its file, 16 bytes each.
        sizes: bytes of each file, as 8 bytes.
        labels: values of labels of the whole case, each array's in its own type.
        raw: states of its raw files, JSON; only preparing reads them.
    """

    id: str
    group: str
    split: str
    folder: str
    checksum: str
    described: str
    settings: str = ""
    channels: str = "{}"
    arrays: str = "[]"
    grid: str = "[]"
    place: str = "[]"
    information: str = "{}"
    contents: bytes = b""
    sums: bytes = b""
    sizes: bytes = b""
    labels: bytes = b""
    raw: str = "[]"

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        """States of its raw files."""
        return tuple(RawFile.from_json(file) for file in json.loads(self.raw))

    def to_json(self) -> list[Any]:
        """As plain JSON values."""
        return [value.hex() if isinstance(value, bytes) else value for value in self]

    @classmethod
    def from_json(cls, values: Sequence[str]) -> Entry:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError, TypeError: they are no entry.
        """
        if len(values) != len(cls._fields) or not all(isinstance(value, str) for value in values):
            raise ValueError("no entry")
        named: dict[str, Any] = dict(zip(cls._fields, values, strict=True))
        named |= {name: bytes.fromhex(named[name]) for name in _BYTES}
        return cls(**named)


def raw_json(raw: Iterable[RawFile]) -> str:
    """States of raw files as an entry has them."""
    return canonical([file.to_json() for file in raw])


def entry_of(case: Any, folder: str, raw: str, header: CaseHeader, described: str) -> Entry:
    """The entry of a case.

    Args:
        case: the data set's: id, group and split.
        folder: of the prepared case.
        raw: states of its raw files, JSON.
        header: what ``case.json`` says.
        described: digest of its bytes.
    """
    values = header.to_json()
    arrays = sorted(header.arrays.items())
    shape, place = values["geometry"].pop("shape"), values["geometry"]
    labels = [np.array(array.values, array.dtype).tobytes() for _, array in arrays if array.values is not None]
    return Entry(
        id=case.id,
        group=case.group,
        split=str(case.split),
        folder=folder,
        checksum=header.checksum,
        described=described,
        settings=header.settings,
        channels=canonical(values["channels"]),
        arrays=canonical(
            [[name, array.dtype, list(array.shape), array.file, array.values is not None] for name, array in arrays]
        ),
        grid=canonical(shape),
        place=canonical(place),
        information=canonical(header.information),
        contents=b"".join(bytes.fromhex(array.content) for _, array in arrays),
        sums=b"".join(bytes.fromhex(array.checksum) for _, array in arrays),
        sizes=np.array([array.size for _, array in arrays], "<i8").tobytes(),
        labels=b"".join(labels),
        raw=raw,
    )


def unknown_entry(values: dict[str, Any]) -> Entry:
    """An entry of the index of an earlier version whose ``case.json`` cannot be read."""
    kept: dict[str, Any] = {name: str(values[name]) for name in ("id", "group", "split", "folder", "checksum")}
    return Entry(**kept, described="", raw=canonical(values["raw"]))


def table_columns(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """Entries as columns, without the states of raw files: see :func:`raw_columns`."""
    columns: dict[str, np.ndarray] = {}
    for name in (*_TEXTS, *_BYTES):
        columns |= text_columns(name, [getattr(entry, name) for entry in entries])
    for name in CODED:
        columns |= coded_columns(name, [getattr(entry, name) for entry in entries])
    for name in _DIGESTS:
        raw = b"".join(bytes.fromhex(getattr(entry, name) or "00" * _DIGEST) for entry in entries)
        columns[name] = np.frombuffer(raw, np.uint8)
    hashes = _hashes([entry.id for entry in entries])
    order = np.argsort(hashes, kind="stable")
    return {**columns, "hash": hashes[order], "row": order.astype(np.int32)}


def raw_columns(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    """States of the raw files of entries, as columns."""
    return text_columns("raw", [entry.raw for entry in entries])


def _hashes(ids: Sequence[str]) -> np.ndarray:
    raw = (hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids)
    return np.frombuffer(b"".join(raw), "<u8")


class Table:
    """The cases of a store, by row.

    Args:
        columns: of :func:`table_columns`.

    Attributes:
        columns: the same.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.count = len(columns["checksum"]) // _DIGEST
        self._texts: dict[str, Texts] = {}
        self._coded: dict[str, Coded] = {}

    def __len__(self) -> int:
        return self.count

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Table:
        """A table that is in no file."""
        return cls(Columns.of(table_columns(entries)))

    def texts(self, name: str) -> Texts:
        """A column of texts, or of bytes."""
        if name not in self._texts:
            self._texts[name] = Texts(self.columns, name)
        return self._texts[name]

    def coded(self, name: str) -> Coded:
        """A column of texts of which many are equal."""
        if name not in self._coded:
            self._coded[name] = Coded(self.columns, name)
        return self._coded[name]

    def digest(self, name: str, row: int) -> str:
        """A digest of a case, ``checksum`` or ``described``; that of zeros is none."""
        raw = self.columns[name][row * _DIGEST : (row + 1) * _DIGEST].tobytes()
        return raw.hex() if any(raw) else ""

    def digests(self, name: str, rows: np.ndarray) -> list[str]:
        """The same of several cases."""
        text = self.columns[name].reshape(-1, _DIGEST)[rows].tobytes().hex()
        return [text[start : start + 2 * _DIGEST] for start in range(0, len(text), 2 * _DIGEST)]

    def row(self, case_id: object) -> int | None:
        """The row of a case, or None."""
        if not isinstance(case_id, str):
            return None
        hashes, ids = self.columns["hash"], self.texts("id")
        wanted = _hashes([case_id])[0]
        place = int(np.searchsorted(hashes, wanted))
        while place < self.count and hashes[place] == wanted:
            row = int(self.columns["row"][place])
            if ids[row] == case_id:
                return row
            place += 1
        return None

    def header(self, row: int) -> CaseHeader:
        """What ``case.json`` says of a case, without its raw files."""
        layout = _layout(self.coded("arrays")[row])
        contents, sums = self.texts("contents").raw(row), self.texts("sums").raw(row)
        sizes = np.frombuffer(self.texts("sizes").raw(row), "<i8").tolist()
        labels, at = self.texts("labels").raw(row), 0
        arrays = {}
        for number, (name, dtype, shape, file, is_label) in enumerate(layout):
            part = slice(number * _DIGEST, (number + 1) * _DIGEST)
            values = None
            if is_label:
                found = np.frombuffer(labels, dtype, math.prod(shape), at)
                values, at = tuple(found.tolist()), at + found.nbytes
            arrays[name] = ArrayHeader(
                dtype, shape, contents[part].hex(), file, sizes[number], sums[part].hex(), values
            )
        return CaseHeader(
            id=self.texts("id")[row],
            settings=self.coded("settings")[row],
            raw=(),
            channels=dict(_channels(self.coded("channels")[row])),
            geometry=self.geometry(row),
            information=json.loads(self.texts("information")[row]),
            arrays=arrays,
        )

    def geometry(self, row: int) -> Geometry:
        """The grid of a case."""
        return _geometry(self.coded("grid")[row], self.coded("place")[row])

    def entries(self, raw: Texts | None) -> list[Entry]:
        """All rows, with the states of raw files if these are given."""
        named: dict[str, list[Any]] = {name: self.coded(name).all() for name in CODED}
        named |= {name: self.texts(name).all() for name in _TEXTS}
        named |= {name: [self.texts(name).raw(row) for row in range(self.count)] for name in _BYTES}
        every = np.arange(self.count)
        named |= {name: self.digests(name, every) if self.count else [] for name in _DIGESTS}
        named["described"] = [value if value.strip("0") else "" for value in named["described"]]
        named["raw"] = raw.all() if raw is not None else ["[]"] * self.count
        columns: list[list[Any]] = [named[name] for name in Entry._fields]
        return [Entry(*values) for values in zip(*columns, strict=True)]

    # --- columns of many cases, without a look at each ---

    def shapes(self, rows: np.ndarray) -> list[tuple[int, ...]]:
        """Shape of the grid of each case."""
        grid = self.coded("grid")
        shapes = [tuple(json.loads(text)) for text in grid.texts.all()]
        return [shapes[code] for code in grid.codes[rows].tolist()]

    def channels(self, rows: np.ndarray, array: str) -> list[tuple[str, ...]]:
        """Channel names of an array in each case; none where the case lacks it."""
        channels = self.coded("channels")
        names = [_channels(text).get(array, ()) for text in channels.texts.all()]
        return [names[code] for code in channels.codes[rows].tolist()]

    def contents(self, rows: np.ndarray, array: str) -> list[tuple[str, tuple[int, ...], str] | None]:
        """Type, shape and digest of the values of an array in each case; None where the case lacks it."""
        found: list[tuple[str, tuple[int, ...], str] | None] = [None] * len(rows)
        for layout, places in self._by_layout(rows):
            number = next((number for number, one in enumerate(layout) if one[0] == array), None)
            if number is not None:
                _, dtype, shape, _, _ = layout[number]
                digests = self._gathered("contents", rows[places], number * _DIGEST, _DIGEST).tobytes().hex()
                for count, place in enumerate(places.tolist()):
                    found[place] = (dtype, shape, digests[2 * _DIGEST * count : 2 * _DIGEST * (count + 1)])
        return found

    def labels(self, rows: np.ndarray, array: str) -> list[list[float] | None]:
        """Values of an array of labels of the whole case; None where the case has none of that name, or pixels."""
        found: list[list[float] | None] = [None] * len(rows)
        for layout, places in self._by_layout(rows):
            at = 0
            for name, dtype, shape, _, is_label in layout:
                width = math.prod(shape) * np.dtype(dtype).itemsize if is_label else 0
                if name == array and (is_label or (len(shape) == 1 and not shape[0])):
                    values = self._gathered("labels", rows[places], at, width)
                    values = values.view(dtype) if width else np.empty((len(places), 0))
                    given = values.astype(np.float64)
                    for number, place in enumerate(places.tolist()):
                        found[place] = given[number].tolist()
                at += width
        return found

    def _by_layout(self, rows: np.ndarray) -> Iterable[tuple[tuple[tuple[Any, ...], ...], np.ndarray]]:
        """The different layouts of arrays among some cases, each with the places in ``rows`` of those that have it."""
        column = self.coded("arrays")
        codes = column.codes[rows]
        order = np.argsort(codes, kind="stable")
        different, starts = np.unique(codes[order], return_index=True)
        for code, places in zip(different.tolist(), np.split(order, starts[1:]), strict=True):
            yield _layout(column.texts[code]), places

    def _gathered(self, name: str, rows: np.ndarray, offset: int, width: int) -> np.ndarray:
        """Bytes of some cases in a column of bytes, from the same offset on: ``n width``."""
        starts = self.columns[f"{name}.ends"][np.maximum(rows - 1, 0)] * (rows > 0) + offset
        return np.ascontiguousarray(self.columns[f"{name}.bytes"][starts[:, None] + np.arange(width)])


@lru_cache(maxsize=512)
def _layout(text: str) -> tuple[tuple[Any, ...], ...]:
    return tuple((name, kind, tuple(shape), file, labels) for name, kind, shape, file, labels in json.loads(text))


@lru_cache(maxsize=512)
def _channels(text: str) -> dict[str, tuple[str, ...]]:
    return {name: tuple(names) for name, names in json.loads(text).items()}


@lru_cache(maxsize=512)
def _geometry(grid: str, place: str) -> Geometry:
    return geometry_of({"shape": json.loads(grid), **json.loads(place)})


def file_sizes(entry: Entry) -> list[tuple[str, int]]:
    """Name and bytes of each file of a case, ``case.json`` apart."""
    sizes = np.frombuffer(entry.sizes, "<i8").tolist()
    return [(file, size) for (_, _, _, file, _), size in zip(_layout(entry.arrays), sizes, strict=True) if file]
