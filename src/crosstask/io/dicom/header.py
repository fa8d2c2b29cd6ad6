"""Guarded reading of DICOM files: whatever is wrong with one, an :class:`InputError` names it.

All that is read of a DICOM file goes through :class:`Header`. A damaged file (truncated, bits flipped, another type of
value than the dictionary says, lengths beyond its end, thousands of nested sequences) gives an InputError: it neither
crashes nor hangs, nor takes more memory than a file of its size can need. Messages name the file and the attribute and
never what stands in it, since that may be a patient's name.
"""

from __future__ import annotations

import logging
import math
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crosstask.errors import InputError
from crosstask.io.dicom import jpeg

LARGEST_FILE = 1 << 31
"""Bytes. RT files and CT slices are a hundredth of it; pydicom holds a file's values in memory."""
LARGEST_SEQUENCE = 100_000
"""Items of one sequence: a structure set with a hundred structures of a thousand contours each."""
UTF8 = "ISO_IR 192"
"""The character set of all files that are written, as DICOM names it."""
MAKER, PREDICTED = "Crosstask", "Predicted, not for clinical use"
"""Manufacturer of all files that are written, and the series description of those that are predicted."""
COPY_AGAIN = "copy it again from the original or leave it out"

_EXPANSION, _SMALL_IMAGE = 200, 1 << 26
"""Compressed pixels may become so many times larger than their file, or so many bytes, whichever is more."""
_PLAIN_SYNTAXES = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
"""Transfer syntax of uncompressed data by (implicit VR, little endian)."""
_UID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Letters are not allowed by the standard, but some programs that remove names write them."""
_T = TypeVar("_T")


class UnusableError(InputError):
    """A file is whole, but what it holds is of a kind that cannot be used: a dose that is not in Gy, no contour."""


def looks_like_dicom(path: Path) -> bool:
    """Whether a regular file begins as DICOM files do, with or (as some old ones) without the 128 bytes before "DICM".

    Raises:
        InputError: the file cannot be opened.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            return False
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    return start[128:] == b"DICM" or _bare(start)


def _bare(start: bytes) -> bool:
    """A data set without preamble begins with a short element of group 2 or 8 that has a low number."""
    if len(start) < 8 or start[0] not in (2, 8) or start[1] != 0 or start[2] > 0x18 or start[3] != 0:
        return False
    return start[4:6].isalpha() or int.from_bytes(start[4:8], "little") <= 1024


class Header:
    """The attributes of one DICOM file, or of an item of one of its sequences.

    Attributes are named by their DICOM keywords. Every method raises an :class:`InputError` that names the file and
    the attribute where a value is missing without a default, or damaged.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, dataset: Any) -> None:
        self.path, self._dataset = path, dataset

    @classmethod
    def read(cls, path: Path, *, pixels: bool = False, only: list[str] | None = None) -> Header:
        """Read a file's attributes.

        Args:
            path: the file.
            pixels: read the pixel data as well; without it the header ends before them.
            only: keywords of the attributes that are wanted, which makes it faster; default all.

        Raises:
            InputError: the file cannot be read as DICOM, or is larger than :data:`LARGEST_FILE`.
        """
        import pydicom

        path = Path(path)
        if not looks_like_dicom(path):
            raise InputError(f"{path}: not a DICOM file; {COPY_AGAIN}")
        with _guarded(path, "the file"), _Bounded(path) as file:
            dataset = pydicom.dcmread(
                file,
                force=True,
                stop_before_pixels=not pixels,
                specific_tags=None if only is None else list(only),
            )
            if file.truncated:
                raise InputError(f"{path}: truncated; {COPY_AGAIN}")
            if "TransferSyntaxUID" not in dataset.file_meta:
                # A file without preamble: pydicom has found out for itself how to read it.
                implicit, little = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(_PLAIN_SYNTAXES[bool(implicit), bool(little)])
        return cls(path, dataset)

    def values(self, keyword: str) -> list[Any]:
        """The values of an attribute that is there, as pydicom makes them, whether or not its kind allows them."""

        def read(value: Any) -> list[Any]:
            if isinstance(value, bytes | bytearray):
                raise TypeError
            # a person's name can be gone through, letter by letter, but is one value
            several = hasattr(value, "__iter__") and not isinstance(value, str) and not hasattr(value, "family_name")
            return list(value) if several else [value]

        return self._get(keyword, read, [])

    def has(self, keyword: str) -> bool:
        """Whether the attribute is there and not empty."""
        with _guarded(self.path, keyword):
            # Not by its value: pydicom would convert it for good, and of long lists of numbers that is slow.
            value = self._dataset.get_item(keyword).value if keyword in self._dataset else None
            return not _empty(value.strip(b" ") if isinstance(value, bytes) else value)

    def text(self, keyword: str, default: str | None = None) -> str:
        """A string, without spaces around it; several values are joined by a backslash, as in the file."""

        def read(value: Any) -> str:
            if isinstance(value, bytes | bytearray | float):
                raise TypeError
            single = isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "family_name")
            values = [value] if single else value  # a name of a person gives its letters one by one
            return "\\".join(str(part) for part in values).strip(" \0")

        return self._get(keyword, read, default)

    def uid(self, keyword: str, default: str | None = None) -> str:
        """A unique identifier."""

        def read(value: Any) -> str:
            if not isinstance(value, str) or not _UID.fullmatch(value):
                raise ValueError
            return str(value)

        return self._get(keyword, read, default)

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A whole number."""

        def read(value: Any) -> int:
            number = int(value)
            if isinstance(value, str | bytes) or number != value or abs(number) > 2**32:
                raise ValueError
            return number

        return self._get(keyword, read, default)

    def number(self, keyword: str, default: float | None = None) -> float:
        """A finite number."""

        def read(value: Any) -> float:
            if isinstance(value, str | bytes) or not math.isfinite(value):
                raise ValueError
            return float(value)

        return self._get(keyword, read, default)

    def numbers(self, keyword: str, count: int | None = None) -> np.ndarray:
        """Finite numbers, float64: ``count`` of them, or as many as there are (at least one)."""

        def read(value: Any) -> np.ndarray:
            found = np.atleast_1d(np.array(value, dtype=float))
            if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
                raise ValueError
            if count is not None and len(found) != count:
                raise ValueError
            return found

        return self._get(keyword, read, None, raw=True)

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence; none if it is missing or empty."""

        def read(value: Any) -> list[Header]:
            from pydicom.sequence import Sequence as DicomSequence

            if not isinstance(value, DicomSequence) or len(value) > LARGEST_SEQUENCE:
                raise ValueError
            return [Header(self.path, item) for item in value]

        return self._get(keyword, read, [])

    def _get(self, keyword: str, read: Callable[[Any], _T], default: _T | None, *, raw: bool = False) -> _T:
        """One attribute, read by ``read``; the default where it is missing or empty."""
        with _guarded(self.path, keyword):
            value = self._decimals(keyword) if raw else self._dataset.get(keyword)
            if not _empty(value):
                return read(value)
        if default is None:
            raise InputError(f"{self.path}: has no {keyword}; export it again, with this attribute, or leave it out")
        return default

    def _decimals(self, keyword: str) -> Any:
        """Numbers as they stand in the file: pydicom's own way over one object a number takes ten times as long."""
        from pydicom.datadict import dictionary_VR
        from pydicom.dataelem import RawDataElement

        if keyword not in self._dataset:
            return None
        element = self._dataset.get_item(keyword)
        if isinstance(element, RawDataElement) and dictionary_VR(keyword) == "DS" and element.VR in (None, "DS", "UN"):
            text = (element.value or b"").decode("ascii").strip(" \0")
            return np.array(text.split("\\"), dtype=float) if text else None
        return self._dataset.get(keyword)

    def pixels(self, frames: int = 1) -> np.ndarray:
        """Stored values of a grey image, without any rescale, ``frames y x``, in an integer type that holds them.

        Args:
            frames: how many the image must have.

        Raises:
            InputError: the header was read without pixels, they are damaged, of another size than the header says,
                or compressed in a way for which no decoder is installed.
        """
        rows, columns = self.whole("Rows"), self.whole("Columns")
        bits, stored = self.whole("BitsAllocated"), self.whole("BitsStored")
        told = self.whole("NumberOfFrames", 1)
        if min(rows, columns, frames) < 1 or told != frames or bits not in (8, 16, 32) or not 0 < stored <= bits:
            raise InputError(
                f"{self.path}: {told} frames of {rows} x {columns} pixels of {bits} bits cannot be read; {COPY_AGAIN}"
            )
        if self.whole("SamplesPerPixel", 1) != 1 or self.text("PhotometricInterpretation") != "MONOCHROME2":
            raise InputError(f"{self.path}: not a grey image (MONOCHROME2); export it as one")
        self._check_length(frames * rows * columns * bits // 8)
        with _guarded(self.path, "PixelData"):
            values: np.ndarray = (
                jpeg.decode(self._dataset, frames)
                if self._by_gdcm()
                else self._dataset.pixel_array.reshape(frames, rows, columns)
            )
        return values

    def _by_gdcm(self) -> bool:
        """Whether the pixels are of a kind that pydicom cannot decode, but we can."""
        from pydicom.pixels import get_decoder

        syntax = self._dataset.file_meta.TransferSyntaxUID
        return syntax in jpeg.SYNTAXES and not get_decoder(syntax).is_available

    def _check_length(self, needed: int) -> None:
        """Hold what the header says of the size against what there is, before memory is taken for it."""
        with _guarded(self.path, "PixelData"):
            syntax = self._dataset.file_meta.TransferSyntaxUID
            compressed, name = bool(syntax.is_compressed), str(syntax.name)
            there = len(self._dataset.PixelData)
        if not compressed and there < needed:
            raise InputError(f"{self.path}: has {there} bytes of pixels, not {needed}: truncated; {COPY_AGAIN}")
        if not compressed:
            return
        if needed > max(_SMALL_IMAGE, _EXPANSION * there):
            raise InputError(f"{self.path}: {there} bytes cannot hold {needed} bytes of pixels; {COPY_AGAIN}")
        with _guarded(self.path, "TransferSyntaxUID"):
            from pydicom.pixels import get_decoder

            available = self._by_gdcm() or get_decoder(syntax).is_available
        if not available:
            raise InputError(
                f"{self.path}: is compressed as {name}, for which no decoder is installed; run 'pip install pylibjpeg "
                "pylibjpeg-libjpeg pylibjpeg-openjpeg', or export it uncompressed"
            )


class _Bounded(BufferedReader):
    """A file that is never read past its end: a damaged length would take that much memory before it fails.

    Attributes:
        truncated: a value or a sequence ended with the file, which pydicom takes without a word. (Values of up to eight
            bytes do not count: it looks so far ahead for the next attribute at the end of every file, but once.)
    """

    def __init__(self, path: Path) -> None:
        raw = FileIO(str(path))
        self._size = os.fstat(raw.fileno()).st_size
        self.truncated = False
        self._ended = False
        super().__init__(raw)
        if self._size > LARGEST_FILE:
            self.close()
            raise InputError(f"{path}: {self._size} bytes are too many for a DICOM image or RT file; leave it out")

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            # Only data that were compressed as a whole are read so; a small file may hold any number of bytes.
            raise _DeflatedError
        left = self._size - self.tell()
        self.truncated |= left < 0 or 8 < size > left or (self._ended and size > 0)
        self._ended = left <= 0
        return super().read(max(0, min(size, left)))


class _DeflatedError(Exception):
    """The data set is compressed as a whole (Deflated Explicit VR Little Endian)."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what pydicom and highdicom say, since they quote values of headers, which may be names."""
    logs = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.CRITICAL + 1)  # those below them have no level of their own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


@contextmanager
def _guarded(path: Path, what: str) -> Iterator[None]:
    """Turn every failure of pydicom, which lets through whatever it met in a damaged file, into one line."""
    try:
        with quiet():
            yield
    except InputError:
        raise
    except _DeflatedError:
        raise InputError(f"{path}: is deflated; export it uncompressed") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'no such data'}); {COPY_AGAIN}") from None
    except Exception as error:  # the message may quote the file, so only its kind is told
        raise InputError(f"{path}: {what} is damaged or truncated ({type(error).__name__}); {COPY_AGAIN}") from None


def _empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)
