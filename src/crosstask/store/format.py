"""One prepared case on disk: a folder with one Blosc2 file an array, and ``case.json`` that describes them.

Arrays are cut into blocks of one channel and one slice, several slices to a chunk, so that a slice is read by
decompressing exactly one block a channel. On a 128^3 case, chunks of 1 to 16 slices read equally fast; 3-D tiles
read 64^3 patches no faster and slices three times slower.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.store.fingerprint import RawFile, canonical, digest, digest_bytes, digest_file, sealed, unsealed
from crosstask.store.protocols import RawData

CASE_VERSION = 2
READABLE_VERSIONS = (1, CASE_VERSION)
"""Of prepared cases. Version 1 had no checksums of its descriptions; it is read, and prepared anew the next time."""
HEADER_NAME = "case.json"
REMEDY = "run `crosstask prepare --verify` to rebuild it"

_SLICES_PER_CHUNK = 8
_CHUNK_BYTES = 4 << 20
_BLOCK_BYTES = 256 << 10
_LEVEL = 1
"""On OpenKBP level 5 takes 2.5 times as long as level 1 for 4 % fewer bytes; reading takes the same."""
_KINDS = "biuf"
"""NumPy's kinds of types that an array may have: booleans, integers and reals."""
_FRAME_BYTES = 99
_PLAIN_FRAME = re.compile(rb"(?s)\x9e\xa8b2frame\0.{58}\xc2.{18}\x93\xcd..\xde\0\x01\xa4b2nd")
"""How a Blosc2 frame begins that holds nothing but an array: no variable-length metadata, one layer named b2nd."""
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@dataclass(frozen=True)
class ArrayHeader:
    """What ``case.json`` says of one array.

    Attributes:
        dtype: NumPy type string, little-endian, e.g. ``<i2``.
        shape: ``c *s``.
        content: BLAKE2b of the uncompressed values.
        file: name of the file in the case's folder; None for an array without elements and for labels of the whole
            case (an array without spatial axes), which have no file.
        values: such labels, as plain numbers, all finite: a label that is missing has no channel.
        size: bytes of the file.
        checksum: BLAKE2b of the file.
    """

    dtype: str
    shape: tuple[int, ...]
    content: str
    file: str | None
    size: int
    checksum: str
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class CaseHeader:
    """What ``case.json`` says of a case.

    Attributes:
        id: id of the case.
        settings: digest of the read settings under which it was prepared.
        raw: state of the raw files from which it was prepared.
        channels: ``{array: channel names}``.
        geometry: the grid of all arrays.
        information: the case's other facts, as JSON gives them back (tuples have become lists).
        arrays: ``{array: its header}``.
    """

    id: str
    settings: str
    raw: tuple[RawFile, ...]
    channels: dict[str, tuple[str, ...]]
    geometry: Geometry
    information: dict[str, Any]
    arrays: dict[str, ArrayHeader]

    @property
    def checksum(self) -> str:
        """Digest of all that the case holds; the same wherever and with whatever compressor it was prepared."""
        described = self.to_json()
        arrays = {name: [array.dtype, array.shape, array.content] for name, array in sorted(self.arrays.items())}
        return digest([self.id, described["channels"], described["geometry"], described["information"], arrays])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, without the checksum that the file has beside them."""
        return {
            "format": "crosstask case",
            "version": CASE_VERSION,
            "id": self.id,
            "settings": self.settings,
            "raw": [file.to_json() for file in self.raw],
            "channels": {name: list(channels) for name, channels in self.channels.items()},
            "geometry": {
                "shape": [int(size) for size in self.geometry.shape],
                "spacing": [float(step) for step in self.geometry.spacing],
                "origin": [float(place) for place in self.geometry.origin or ()],
                **(
                    {} if self.geometry.aligned else {"direction": [list(row) for row in self.geometry.direction or ()]}
                ),
            },
            "information": self.information,
            "arrays": {
                name: {
                    key: list(value) if isinstance(value, tuple) else value
                    for key, value in vars(array).items()
                    if key != "values" or value is not None
                }
                for name, array in self.arrays.items()
            },
        }

    @classmethod
    def from_json(cls, values: Any) -> CaseHeader:
        """The inverse of :meth:`to_json`, of the values of a file.

        Raises:
            ValueError, KeyError, TypeError, AttributeError, OverflowError: the values are no header of a version that
                can be read, or differ from their checksum.
        """
        values = opened(values, "crosstask case")
        return cls(
            id=values["id"],
            settings=values["settings"],
            raw=tuple(RawFile.from_json(file) for file in values["raw"]),
            channels={name: tuple(channels) for name, channels in values["channels"].items()},
            geometry=geometry_of(values["geometry"]),
            information=values["information"],
            arrays={
                name: ArrayHeader(**{**array, "shape": tuple(array["shape"]), "values": _labels(array)})
                for name, array in values["arrays"].items()
                if _is_ours(array)
            },
        )


def geometry_of(values: Mapping[str, Any]) -> Geometry:
    """A grid, of the values in :meth:`CaseHeader.to_json`."""
    return Geometry(
        tuple(values["shape"]),
        tuple(values["spacing"]),
        tuple(values["origin"]),
        tuple(tuple(row) for row in values["direction"]) if "direction" in values else None,
    )


def opened(values: Any, kind: str, versions: tuple[int, ...] = READABLE_VERSIONS) -> dict[str, Any]:
    """The values of a file of a store, held against their format, version and checksum.

    Args:
        values: as JSON gives them.
        kind: what the file must say that it is.
        versions: which can be read.

    Raises:
        ValueError, KeyError, TypeError: the values are of another kind or version, or differ from their checksum.
    """
    if values["format"] != kind or values["version"] not in versions:
        raise ValueError(f"version {values['version']}, not {CASE_VERSION}")
    return dict(values) if values["version"] == 1 and "checksum" not in values else unsealed(values)


def _is_ours(array: Mapping[str, Any]) -> bool:
    """Whether the description of an array is one that we write: numbers, in a file of the case's own folder.

    Raises:
        ValueError: it is not.
    """
    file = array["file"]
    if np.dtype(array["dtype"]).kind not in _KINDS or (file is not None and Path(file).name != file):
        raise ValueError("an array of another kind, or elsewhere")
    return True


def _labels(array: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Labels of the whole case in the description of an array; their digest must be right, there being no file.

    Raises:
        ValueError: it is not, or there is neither a file nor labels.
    """
    if array.get("values") is None:
        if array["file"] is None and math.prod(array["shape"]):
            raise ValueError("an array without file and labels")
        return None
    values = np.array(array["values"], dtype=np.dtype(array["dtype"]))
    if values.shape != tuple(array["shape"]) or _content(values) != array["content"]:
        raise ValueError("labels that differ from their digest")
    return tuple(array["values"])


def _content(values: np.ndarray) -> str:
    """Digest of the values of a contiguous array."""
    return digest_bytes(values.data.cast("B") if values.size else b"")


def digest_of_array(values: np.ndarray) -> str:
    """Digest of an array's shape, type and values, as :meth:`crosstask.store.CaseArrays.digest` has it of a case."""
    array = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return digest([array.dtype.str, array.shape, _content(array)])


def safe_name(name: str, *, distinct: bool = False) -> str:
    """A name that any file system takes as one part of a path.

    Letters, digits, ``.``, ``_`` and ``-`` stay. A name that had to be changed, or one for which ``distinct`` is
    asked, ends in a digest of the original, so that different names stay different.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
    usable = safe == name and safe != "" and safe[0] not in ".-" and safe[-1] != "." and not _RESERVED.fullmatch(safe)
    if usable and not distinct:
        return safe
    return f"{safe.lstrip('.-') or '_'}-{digest_bytes(name.encode())[:12]}"


def folder_names(ids: Iterable[str]) -> dict[str, str]:
    """Folder of each case; ids that differ only in upper and lower case get folders that differ on any file system."""
    names = {case: safe_name(case) for case in ids}
    times = Counter(name.casefold() for name in names.values())
    return {
        case: safe_name(case, distinct=True) if times[name.casefold()] > 1 else name for case, name in names.items()
    }


def layout(shape: tuple[int, ...], itemsize: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Chunk and block shape of an array ``c *s``: one channel, one slice (or rows of a large one) a block."""
    chunk, block = [1] * len(shape), [1] * len(shape)
    room, block_room = max(1, _CHUNK_BYTES // itemsize), max(1, _BLOCK_BYTES // itemsize)
    for depth, axis in enumerate(reversed(range(1, len(shape)))):
        limit = shape[axis] if depth < 2 else _SLICES_PER_CHUNK if depth == 2 else 1
        chunk[axis] = min(shape[axis], limit, max(1, room))
        room //= chunk[axis]
        if depth < 2:
            block[axis] = min(chunk[axis], max(1, block_room))
            block_room //= block[axis]
    return tuple(chunk), tuple(block)


def _compress(array: np.ndarray) -> bytes:
    """The array as the bytes of a ``.b2nd`` file; equal arrays give equal bytes."""
    chunks, blocks = layout(array.shape, array.dtype.itemsize)
    how: dict[str, Any] = {
        "chunks": chunks,
        "blocks": blocks,
        "cparams": {
            "codec": blosc2.Codec.ZSTD,
            "clevel": _LEVEL,
            "filters": [blosc2.Filter.SHUFFLE],
            "nthreads": 1,
        },
        "dparams": {"nthreads": 1},
        "contiguous": True,
    }
    if not (_follow_each_other(array.shape, chunks) and _follow_each_other(chunks, blocks)):
        return bytes(blosc2.asarray(array, **how).to_cframe())
    # Each chunk is a piece of the array as it lies in memory, and most of those of masks hold nothing.
    packed = blosc2.zeros(array.shape, array.dtype, **how)
    for number, piece in enumerate(array.reshape(-1, math.prod(chunks))):
        if piece.view(np.uint8).any():  # by its bytes: a negative zero is one, too
            packed.schunk.update_data(number, piece, copy=False)
    return bytes(packed.to_cframe())


def _follow_each_other(shape: tuple[int, ...], part: tuple[int, ...]) -> bool:
    """Whether parts of this shape fill an array, one after the other as its values lie in memory."""
    first = next((axis for axis, size in enumerate(part) if size > 1), len(part) - 1)
    return part[first + 1 :] == shape[first + 1 :] and shape[first] % part[first] == 0


def write_bytes(path: Path, data: bytes) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_case(
    folder: Path, case_id: str, data: RawData, *, settings: str, raw: tuple[RawFile, ...]
) -> tuple[CaseHeader, str]:
    """Write all arrays of a case to a folder that is there and empty, ``case.json`` last.

    Returns:
        What ``case.json`` says, and the digest of its bytes.

    Raises:
        OSError: the disk is full or the folder cannot be written.
        TypeError: an array is not of a boolean, integer or real type, a label of the whole case is not finite, or the
            information has no JSON form.
    """
    arrays = {}
    for name, values in data.arrays.items():
        if values.dtype.kind not in _KINDS:
            raise TypeError(f"array {name!r} is of type {values.dtype}: use a boolean, integer or real type")
        array = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        file, packed, labels = None, b"", None
        if array.ndim == 1:
            if not np.isfinite(array).all():
                raise TypeError(f"array {name!r}: a label is not finite; leave a missing one out")
            labels = tuple(array.tolist())
        elif array.size:
            file, packed = f"{safe_name(name)}.b2nd", _compress(array)
            write_bytes(folder / file, packed)
        arrays[name] = ArrayHeader(
            array.dtype.str, array.shape, _content(array), file, len(packed), digest_bytes(packed), labels
        )
    header = CaseHeader(
        id=case_id,
        settings=settings,
        raw=raw,
        channels={name: tuple(data.channels[name]) for name in data.arrays},
        geometry=data.geometry,
        information=json.loads(canonical(data.information)),
        arrays=arrays,
    )
    text = canonical(sealed(header.to_json()), indent=1).encode()
    write_bytes(folder / HEADER_NAME, text)
    return header, digest_bytes(text)


def read_header(folder: Path) -> CaseHeader:
    """The description of a prepared case; see :func:`read_description`."""
    return read_description(folder)[0]


def read_description(folder: Path) -> tuple[CaseHeader, str]:
    """The description of a prepared case, and the digest of the bytes of its file.

    Raises:
        InputError: ``case.json`` is missing, damaged or of another version.
    """
    path = folder / HEADER_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: {REMEDY}") from error
    return parsed_header(content, path), digest_bytes(content)


def parsed_header(content: bytes, path: object) -> CaseHeader:
    """The description of a prepared case, of the bytes of its ``case.json``.

    Raises:
        InputError: they are damaged or of another version.
    """
    try:
        return CaseHeader.from_json(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: is damaged or of another version: {REMEDY}") from error


def check_files(folder: Path, header: CaseHeader, *, content: bool) -> None:
    """Hold a case's files against its header: their lengths, and with ``content`` also their checksums.

    Raises:
        InputError: a file is missing, or not as it was written; the message names it.
    """
    for array in header.arrays.values():
        if array.file is not None:
            check_file(folder / array.file, array, content=content)


def check_file(path: Path, array: ArrayHeader, *, content: bool) -> None:
    """Hold one array's file against its header.

    Raises:
        InputError: the file is missing, not as it was written, or holds anything but a plain array of numbers.
    """
    try:
        size = path.stat().st_size
        if size != array.size:
            raise InputError(f"{path}: is damaged ({size} bytes, {array.size} were written): {REMEDY}")
        if content and digest_file(path) != array.checksum:
            raise InputError(f"{path}: is damaged (its checksum differs): {REMEDY}")
        _must_be_plain(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}: {REMEDY}") from error


def check_content(content: bytes, path: object, array: ArrayHeader) -> None:
    """Hold the bytes of one array's file against its header.

    Raises:
        InputError: they are not as they were written.
    """
    if digest_bytes(content) != array.checksum:
        raise InputError(f"{path}: is damaged (its checksum differs): {REMEDY}")


def map_array(path: Path, array: ArrayHeader) -> Any:
    """The array of a ``.b2nd`` file that :func:`check_file` passed, mapped: only blocks that are asked for are read.

    Raises:
        InputError: Blosc2 cannot open the file, or it holds another array.
    """
    try:
        mapped = blosc2.open(str(path), mmap_mode="r", dparams={"nthreads": 1})
        matches = tuple(mapped.shape) == array.shape and mapped.dtype == np.dtype(array.dtype)
    except Exception as error:  # Blosc2 gives errors of many types on damaged files
        raise InputError(f"{path}: is damaged ({type(error).__name__}): {REMEDY}") from error
    if not matches:
        raise InputError(f"{path}: is damaged (it holds another array): {REMEDY}")
    return mapped


def _must_be_plain(path: Path) -> None:
    """Refuse what a frame of Blosc2 can hold beside an array, before Blosc2 sees it.

    Stored expressions, functions and references to other arrays or servers are named in the metadata of a frame, and
    some versions of Blosc2 compute or follow them as they open it. What we write has none: one metadata layer, ``b2nd``
    (shape and type), and no metadata of variable length. The places are those of the cframe format.

    Raises:
        InputError: the file is no such frame.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(_FRAME_BYTES)
    if not _PLAIN_FRAME.fullmatch(header):
        raise InputError(f"{path}: is damaged (it holds something else than a plain array of numbers): {REMEDY}")
