"""What a header declares, held against what its file holds, before memory of that size is asked for."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstask.errors import InputError
from crosstask.io.image_files import COPY_AGAIN

MOST_BYTES = 2**30
"""Beyond this an image must take up a hundredth of its size on disk; a mask of 512 x 512 x 4096 voxels is as large."""
_PACKED = 100
_DEFLATE = 1040
"""More than zlib and gzip can make of one byte (1032)."""
_HEADER = 1 << 20
_PIECE = 1 << 22
_LOCAL = "local"


def refuse_bomb(path: Path, files: Sequence[Path], needed: int) -> None:
    """Refuse an image that takes gigabytes in memory and next to nothing on disk.

    Args:
        path: the image, for the message.
        files: what it consists of.
        needed: bytes of its values in memory.

    Raises:
        InputError: more than :data:`MOST_BYTES`, and less than a hundredth of it on disk.
    """
    held = sum(file.stat().st_size for file in files if file.is_file())
    if needed > MOST_BYTES and held * _PACKED < needed:
        raise InputError(
            f"{path}: declares {needed / 1e9:.1f} GB of values and takes up {held / 1e6:.1f} MB, as no image does; if "
            "it is sound, save it uncompressed, else leave the case out"
        )


def check_length(path: Path, needed: int) -> None:
    """Check that an .mha, .mhd or .nrrd file holds as many bytes as its header declares.

    ITK asks for the memory first, and fills up what a compressed .mha lacks without a word.

    Args:
        path: the file.
        needed: bytes of its values.

    Raises:
        InputError: its data are shorter, or cannot hold as much even if compressed.
    """
    meta = path.suffix.lower() != ".nrrd"
    fields, begin = (_meta_header if meta else _nrrd_header)(path)
    name = fields.get("elementdatafile" if meta else "datafile", _LOCAL)
    data = path if name.lower() == _LOCAL else path.parent / name
    if not data.is_file():  # missing, or several of them by a list or pattern: ITK's own matter
        return
    begin = begin if data == path else 0
    held = data.stat().st_size - begin
    encoding = fields.get("encoding", "raw").lower()
    packed = fields.get("compresseddata", "")[:1] in tuple("Tt1") if meta else encoding in ("gz", "gzip")
    binary = fields.get("binarydata", "t")[:1] in tuple("Tt1") if meta else encoding == "raw"
    if binary and not packed and held < needed:
        raise InputError(f"{path}: truncated, {held} bytes of values where its header says {needed}; {COPY_AGAIN}")
    if packed and held * _DEFLATE < needed:
        raise InputError(f"{path}: its header declares {needed} bytes, more than its {held} can hold; {COPY_AGAIN}")
    refuse_bomb(path, [data], needed)
    if packed and meta:
        _unpacks_to(path, data, begin, needed)


def _unpacks_to(path: Path, data: Path, begin: int, needed: int) -> None:
    """Check that compressed data give so many bytes; they are looked at piece by piece."""
    unpacked = zlib.decompressobj(32 + zlib.MAX_WBITS)  # zlib or gzip
    length = 0
    try:
        with data.open("rb") as file:
            file.seek(begin)
            while length < needed and not unpacked.eof:
                piece = unpacked.unconsumed_tail or file.read(_PIECE)
                if not piece:
                    break
                length += len(unpacked.decompress(piece, _PIECE))
    except (OSError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); {COPY_AGAIN}") from None
    if length < needed:
        raise InputError(f"{path}: truncated, {length} bytes of values where its header says {needed}; {COPY_AGAIN}")


def _meta_header(path: Path) -> tuple[Mapping[str, str], int]:
    """Fields of an .mha or .mhd header by their names in lower case, and where it ends."""
    return _header(path, r"(?im)^[ \t]*ElementDataFile[ \t]*=[^\n]*\n?", "=")


def _nrrd_header(path: Path) -> tuple[Mapping[str, str], int]:
    """Fields of an .nrrd header, likewise; ``data file`` and ``datafile`` are one."""
    return _header(path, r"\r?\n\r?\n", ":")


def _header(path: Path, last: str, mark: str) -> tuple[Mapping[str, str], int]:
    """Fields of a header of text, split at a mark, and where it ends: behind what matches ``last``."""
    with path.open("rb") as file:
        text = file.read(_HEADER).decode("latin-1")
    found = re.search(last, text)
    end = found.end() if found else len(text)
    return _fields(text[:end], mark), end


def _fields(text: str, mark: str) -> dict[str, str]:
    pairs = (line.partition(mark) for line in text.splitlines())
    return {name.strip().lower().replace(" ", ""): value.strip() for name, found, value in pairs if found}
