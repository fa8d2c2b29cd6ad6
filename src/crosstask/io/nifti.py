"""What ITK does not say of a NIfTI file: that it is cut off, and which of its values are no numbers.

ITK fills up a truncated file with zeros, and puts a zero wherever a value is NaN or infinite, and says nothing.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.io.declared import refuse_bomb
from crosstask.io.image_files import COPY_AGAIN

_HEADER = 540
_PIECE = 1 << 22
_REST = 1 << 26
"""What may come behind the last voxel; a file that goes on for longer is no image."""
_FLOATS = {16: "f4", 64: "f8"}
"""NIfTI's codes of types -> NumPy's, of those that can hold NaN."""


@dataclass(frozen=True)
class _Layout:
    """Where the values of a file lie.

    Attributes:
        offset: bytes before the first.
        length: bytes of the whole file, at least.
        kind: type of the values; None if it is none that can hold NaN.
    """

    offset: int
    length: int
    kind: np.dtype | None


def strange_values(path: Path) -> np.ndarray:
    """Read a file to its end, and find the values that are NaN or infinite.

    Args:
        path: .nii or .nii.gz.

    Returns:
        flat indices, in the file's own order, the first axis the fastest.

    Raises:
        InputError: the file is damaged, or shorter than its header says.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            header = file.read(_HEADER)
            layout, length = _layout_of(header), len(header)
            end = 0 if layout is None else layout.length
            refuse_bomb(path, [path], end)
            found, index, rest = [], 0, b""
            piece = header
            skip = 0 if layout is None else layout.offset
            while piece:
                if layout is not None and layout.kind is not None:
                    data = rest + piece[max(0, skip) :]
                    skip -= len(piece)
                    whole = len(data) // layout.kind.itemsize * layout.kind.itemsize
                    values = np.frombuffer(data[:whole], layout.kind)
                    found.append(np.flatnonzero(~np.isfinite(values)) + index)
                    index, rest = index + len(values), data[whole:]
                # a damaged .gz shows at its end
                piece = file.read(_PIECE) if length < end + _REST else b""
                length += len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); {COPY_AGAIN}") from None
    if layout is not None and length < layout.length:
        raise InputError(f"{path}: truncated, {length} bytes of {layout.length}; {COPY_AGAIN}")
    indices = np.concatenate(found) if found else np.empty(0, np.int64)
    if layout is None or layout.kind is None:
        return indices
    return indices[indices < (layout.length - layout.offset) // layout.kind.itemsize]


def _layout_of(header: bytes) -> _Layout | None:
    """By the header of NIfTI-1 or NIfTI-2; None if it is none."""
    for order in "<>":
        if header[:4] == struct.pack(order + "i", 348) and len(header) >= 348:
            sizes, (code, bits) = _read(header, order, "8h", 40), _read(header, order, "2h", 70)
            (offset,) = _read(header, order, "f", 108)
        elif header[:4] == struct.pack(order + "i", 540) and len(header) >= 540:
            sizes, (code, bits) = _read(header, order, "8q", 16), _read(header, order, "2h", 12)
            (offset,) = _read(header, order, "q", 168)
        else:
            continue
        if not math.isfinite(offset) or offset < 0:
            return None
        length = int(offset) + math.prod(sizes[1 : 1 + max(0, sizes[0])]) * bits // 8
        kind = np.dtype(order + _FLOATS[code]) if code in _FLOATS else None
        return _Layout(int(offset), length, kind)
    return None


def _read(header: bytes, order: str, form: str, at: int) -> tuple:
    return struct.unpack_from(order + form, header, at)
