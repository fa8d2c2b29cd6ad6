"""The CSV layout of the OpenKBP challenge: bytes <-> arrays.

A patient is a folder ``pt_N`` of small CSV files. ``ct.csv`` and ``dose.csv`` list ``index,value`` with the header
``,data``; the index counts the voxels of the grid in C order, and voxels that are not listed are zero.
``possible_dose_mask.csv`` and the structure files list indexes only: their ``data`` column is empty. A file
``voxel_dimensions.csv`` has three lines in mm and no header.

Axes:
    The file's axes are ``y x z``: y runs from anterior to posterior, x from the patient's right to the left, z from
    superior (head) to inferior (feet), and z is the slice axis. Arrays here are ``z y x`` with the same directions,
    so a slice ``volume[k]`` is the axial picture as a radiologist sees it: nose up, the patient's right at the
    left. Writing is the exact inverse of reading. ``voxel_dimensions.csv`` is in the file's order, y x z; spacing
    here is z y x.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.errors import CrosstaskError, InputError
from crosstask.functional.openkbp_score import STRUCTURES

SHAPE = (128, 128, 128)
"""Grid of every OpenKBP patient, z y x."""
MAXIMUM_DOSE = 200.0
"""No dose of a head-and-neck plan comes near to this, in Gy; a larger value is a fault or another unit."""
SPACING_LIMITS = (0.1, 20.0)
"""Sides of a voxel that are taken for real, in mm."""
CT_FILE, DOSE_FILE, REGION_FILE, SPACING_FILE = "ct.csv", "dose.csv", "possible_dose_mask.csv", "voxel_dimensions.csv"
STRUCTURE_FILES = {name: f"{name}.csv" for name in STRUCTURES}

_COPY = "unpack or copy it again from the original"
_INTEGER = re.compile(rb"[+-]?\d{1,18}(\.0*)?")
Grid = tuple[int, int, int]


def read_sparse(
    path: Path,
    voxels: int,
    *,
    quantity: str = "value",
    low: float = -math.inf,
    high: float = math.inf,
    mask: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a sparse CSV file, as they stand there.

    Values and indexes may be written as integers or as floats. Indexes may come in any order.

    Args:
        path: the file.
        voxels: number of voxels of the grid; indexes run from 0 to ``voxels - 1``.
        quantity: what the values are, for messages.
        low: smallest value that is accepted.
        high: largest value that is accepted.
        mask: the file lists voxels: the value may be empty (or ``nan``), and is then 1. An explicit 0 is a voxel
            outside.

    Returns:
        index (``n``, int64, flat in the file's axes y x z) and value (``n``, float64).

    Raises:
        InputError: the file cannot be read, has no header ``,data``, ends in the middle of a line, or has a line
            whose index is not an integer, outside the grid or listed before, or whose value is missing, no finite
            number or out of ``low .. high``. The message names the file and the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_COPY}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    header, newline, body = content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    names = [name.strip().strip(b'"') for name in header.split(b",")]
    if len(names) != 2 or names[1] != b"data":
        shown = header[:40].decode("utf-8", "replace").strip()
        raise InputError(f"{path}, line 1: the header is {shown!r} instead of ',data'; {_COPY}")
    if not newline or (body and not body.endswith(b"\n")):
        last = content.count(b"\n") + 1
        raise InputError(f"{path}, line {last}: the file ends in the middle of a line, it is truncated; {_COPY}")
    parsed = _parse_fast(body)
    if parsed is None or not _rows_are_valid(*parsed, voxels, low, high, mask):
        # Rare: rows that only the tolerant parser understands, or a fault, whose line it finds.
        parsed = _parse_with_care(path, body, voxels, quantity, low, high, mask)
    index, value = parsed
    return index, np.where(np.isnan(value), 1.0, value) if mask else value


def _parse_fast(body: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Index and value (NaN where empty) of well-formed rows, or None."""
    # Most files of a data set are read by worker processes: those that never come here need not pay for the import.
    import pyarrow as pa
    from pyarrow import csv

    if not body.strip():
        return np.empty(0, np.int64), np.empty(0, np.float64)
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            read_options=csv.ReadOptions(use_threads=False, column_names=["index", "data"]),
            convert_options=csv.ConvertOptions(
                column_types={"index": pa.int64(), "data": pa.float64()}, null_values=[""]
            ),
        )
    except pa.ArrowInvalid:
        return None
    index, value = table.column("index"), table.column("data")
    if index.null_count:
        return None
    return index.to_numpy(), value.to_numpy()


def _rows_are_valid(index: np.ndarray, value: np.ndarray, voxels: int, low: float, high: float, mask: bool) -> bool:
    """Whether :func:`_parse_with_care` would accept these rows; a vector operation instead of a loop."""
    if index.size == 0:
        return True
    rising = bool((index[1:] > index[:-1]).all())
    low_index, high_index = (index[0], index[-1]) if rising else (index.min(), index.max())
    if low_index < 0 or high_index >= voxels:
        return False
    if not rising and np.unique(index).size != index.size:
        return False
    if mask:
        return bool(not np.isinf(value).any())
    return bool(np.isfinite(value).all() and value.min() >= low and value.max() <= high)


def _parse_with_care(
    path: Path, body: bytes, voxels: int, quantity: str, low: float, high: float, mask: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The same line by line, with the line of the first fault."""
    seen: dict[int, int] = {}
    values: list[float] = []
    for number, line in enumerate(body.split(b"\n"), start=2):
        if not line.strip():
            continue
        fields = [field.strip().strip(b'"') for field in line.split(b",")]
        where = f"{path}, line {number}"
        if len(fields) != 2:
            raise InputError(f"{where}: {len(fields)} columns instead of 2 (index, data); {_COPY}")
        text, data = fields[0].decode("utf-8", "replace"), fields[1].decode("utf-8", "replace")
        if not _INTEGER.fullmatch(fields[0]):
            raise InputError(f"{where}: the index {text[:40]!r} is not an integer; {_COPY}")
        index = int(text.partition(".")[0])
        if not 0 <= index < voxels:
            raise InputError(
                f"{where}: the index {index} is outside the grid of {voxels} voxels (0 to {voxels - 1}); {_COPY}"
            )
        if index in seen:
            raise InputError(f"{where}: the index {index} is listed before, in line {seen[index]}; {_COPY}")
        seen[index] = number
        if mask and data.lower() in ("", "nan"):
            values.append(math.nan)
            continue
        try:
            value = math.nan if "_" in data else float(data)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            shown = repr(data[:40]) if data else "missing"
            raise InputError(f"{where}: the {quantity} is {shown}, not a finite number; {_COPY}")
        if not mask and not low <= value <= high:
            raise InputError(f"{where}: the {quantity} {value:g} is not in {low:g} to {high:g}; {_COPY}")
        values.append(value)
    return np.fromiter(seen, np.int64, len(seen)), np.array(values, np.float64)


def _grid_index(index: np.ndarray, shape: Grid) -> np.ndarray:
    """Flat index in the file's axes y x z -> flat index in z y x."""
    depth, height, width = shape
    columns, slices = np.divmod(index.astype(np.int32) if math.prod(shape) < 1 << 31 else index, depth)
    found: np.ndarray = slices * (height * width) + columns
    return found


def _file_index(volume: np.ndarray) -> np.ndarray:
    """Flat indexes in the file's axes of the nonzero voxels of ``z y x``, rising."""
    return np.flatnonzero(np.moveaxis(volume, 0, -1))


def read_ct(path: Path, shape: Grid = SHAPE) -> np.ndarray:
    """CT numbers ``z y x``, float64, in the challenge's offset scale and not clipped; zero outside the body.

    Raises:
        InputError: a fault of the file (see :func:`read_sparse`), or no row.
    """
    return _filled(shape, np.float64, *ct_rows(path, shape))


def read_dose(path: Path, shape: Grid = SHAPE, *, prediction: bool = False) -> np.ndarray:
    """Dose ``z y x`` in Gy, float64.

    Args:
        path: a patient's ``dose.csv``, or a predicted ``pt_N.csv``.
        shape: the grid, z y x.
        prediction: a network's dose may be zero everywhere (no row) and a little below zero.

    Raises:
        InputError: a fault of the file (see :func:`read_sparse`), a dose that is negative or above 200 Gy, or no row.
    """
    return _filled(shape, np.float64, *dose_rows(path, shape, prediction=prediction))


def ct_rows(path: Path, shape: Grid = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of :func:`read_ct` that are listed: flat indexes in z y x, and CT numbers, float64; errors as there."""
    return _value_rows(path, shape, "CT number", -1e6, 1e6, may_be_empty=False)


def dose_rows(path: Path, shape: Grid = SHAPE, *, prediction: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of :func:`read_dose` that are listed: flat indexes in z y x, and doses, float64; errors as there."""
    low = -MAXIMUM_DOSE if prediction else 0.0
    return _value_rows(path, shape, "dose in Gy", low, MAXIMUM_DOSE, may_be_empty=prediction)


def mask_rows(path: Path, shape: Grid = SHAPE) -> np.ndarray:
    """Voxels of :func:`read_mask`: flat indexes in z y x; errors as there."""
    index, value = read_sparse(path, math.prod(shape), quantity="mask value", mask=True)
    return _grid_index(index if value.all() else index[value != 0], shape)


def _value_rows(
    path: Path, shape: Grid, quantity: str, low: float, high: float, *, may_be_empty: bool
) -> tuple[np.ndarray, np.ndarray]:
    index, value = read_sparse(path, math.prod(shape), quantity=quantity, low=low, high=high)
    if index.size == 0 and not may_be_empty:
        raise InputError(f"{path}: no row below the header; {_COPY}")
    return _grid_index(index, shape), value


def _filled(shape: Grid, dtype: type[np.generic], index: np.ndarray, value: Any) -> np.ndarray:
    """A volume of zeros but for the voxels that are listed."""
    volume = np.zeros(math.prod(shape), dtype)
    volume[index] = value
    return volume.reshape(shape)


def read_mask(path: Path, shape: Grid = SHAPE) -> np.ndarray:
    """Voxels of a structure or of ``possible_dose_mask``: ``z y x``, uint8, 1 inside. May be empty.

    Raises:
        InputError: a fault of the file (see :func:`read_sparse`).
    """
    return _filled(shape, np.uint8, mask_rows(path, shape), 1)


def read_spacing(path: Path) -> tuple[float, float, float]:
    """Voxel spacing z y x in mm from ``voxel_dimensions.csv`` (which is in the order y x z).

    Raises:
        InputError: the file cannot be read, or is not three numbers of 0.1 to 20 mm, one a line.
    """
    try:
        fields = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_COPY}") from None
    except UnicodeDecodeError:
        fields = []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    try:
        sides = [float(field) for field in fields]
    except ValueError:
        sides = []
    low, high = SPACING_LIMITS
    if len(sides) != 3 or not all(low <= side <= high for side in sides):
        shown = " ".join(fields)[:60]
        raise InputError(
            f"{path}: the voxel dimensions are {shown!r} instead of 3 numbers of {low:g} to {high:g} mm; {_COPY}"
        )
    height, width, depth = sides
    return depth, height, width


def write_dose(path: Path, volume: np.ndarray) -> None:
    """Write a dose in the challenge's submission format, atomically: nonzero voxels only, all digits.

    Args:
        path: the file, e.g. ``pt_201.csv``.
        volume: dose in Gy, ``z y x``.

    Raises:
        ValueError: the array is not ``z y x`` or has a value that is not finite.
        CrosstaskError: the file cannot be written.
    """
    _write_file(path, _rows(volume, _file_index(volume)))


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask as the challenge writes structures, atomically: the indexes of its voxels, no values.

    Args:
        path: the file, e.g. ``Brainstem.csv``.
        mask: ``z y x``; what is not zero belongs to it.

    Raises:
        ValueError: the array is not ``z y x``.
        CrosstaskError: the file cannot be written.
    """
    _write_file(path, _rows(mask, _file_index(mask), mask=True))


def write_case(
    folder: Path,
    *,
    ct: np.ndarray,
    region: np.ndarray,
    spacing: tuple[float, float, float],
    dose: np.ndarray | None = None,
    structures: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write one patient in the challenge's layout. The folder appears at once and whole, or not at all.

    Args:
        folder: the patient's folder, ``.../pt_N``; must not exist.
        ct: CT numbers ``z y x``; nonzero voxels are written.
        region: ``possible_dose_mask``, ``z y x``.
        spacing: voxel spacing z y x, in mm.
        dose: dose ``z y x`` in Gy, or None for a patient without; written for every voxel of the region, be it zero.
        structures: ``{name: z y x}`` of the contoured structures.

    Raises:
        InputError: the folder exists.
        ValueError: an array is not ``z y x`` or has a value that is not finite.
        CrosstaskError: the folder cannot be written.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already; remove it or choose another folder")
    depth, height, width = spacing
    contents = {
        CT_FILE: _rows(ct, _file_index(ct)),
        REGION_FILE: _rows(region, _file_index(region), mask=True),
        SPACING_FILE: "".join(f"{side:.18e}\n" for side in (height, width, depth)).encode(),
    }
    if dose is not None:
        contents[DOSE_FILE] = _rows(dose, _file_index((region != 0) | (dose != 0)))
    for name, mask in (structures or {}).items():
        contents[f"{name}.csv"] = _rows(mask, _file_index(mask), mask=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for name, content in contents.items():
            (partial / name).write_bytes(content)
        partial.rename(folder)
    except OSError as error:
        raise CrosstaskError(f"{folder}: cannot be written ({error.strerror}); free space or choose another") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rows(volume: np.ndarray, index: np.ndarray, *, mask: bool = False) -> bytes:
    """Bytes of a sparse file with a row for each of these flat indexes (in the file's axes)."""
    import pyarrow as pa
    from pyarrow import csv

    if volume.ndim != 3:
        raise ValueError(f"a volume has the axes z y x, not shape {volume.shape}")
    value = np.moveaxis(volume, 0, -1).reshape(-1)[index]
    if not np.isfinite(value).all():
        raise ValueError("a value that is not finite cannot be written")
    data = pa.nulls(index.size) if mask else pa.array(value)
    buffer = io.BytesIO(b",data\n")
    buffer.seek(0, io.SEEK_END)
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(pa.table({"index": pa.array(index), "data": data}), buffer, options)
    return buffer.getvalue()


def _write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise CrosstaskError(f"{path}: cannot be written ({error.strerror}); free space or choose another") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
