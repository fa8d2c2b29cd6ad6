"""Lossless JPEG in DICOM files, decoded by the GDCM library in a process of its own.

pydicom itself cannot decode this kind of JPEG, in which many archives keep CT. SimpleITK brings GDCM, which can; but a
damaged stream can end the process that decodes it. So that is a child: it takes names of files on its standard input,
gives their pixels on its standard output, and ends when the input does, hence with its parent.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

SYNTAXES = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""Transfer syntaxes: JPEG Lossless, of any predictor and of the first."""

_LONGEST = 60.0
"""Seconds for one file; a slice takes hundredths of one."""
_LOSSLESS_FRAME = 0xC3
_BITS = 16
_ONE_FRAME, _FRAMES = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7.3"
"""Classes of images that GDCM takes with one frame and with several."""
_PROGRAM = (
    "import sys; sys.path = [path for path in sys.path if path]; from crosstask.io.dicom.jpeg import serve; serve()"
)
"""Of the child, which must not import what happens to lie in the present folder."""


class DecodingError(Exception):
    """The pixels cannot be decoded."""


def decode(dataset: Any, frames: int) -> np.ndarray:
    """Stored values of a grey image of 8 or 16 bits, ``frames y x``.

    Args:
        dataset: of pydicom, with its pixels, in one of :data:`SYNTAXES`.
        frames: how many there are.

    Raises:
        DecodingError: the pixels are damaged, or of another size than the header says.
    """
    from pydicom.encaps import generate_frames

    if int(dataset.BitsAllocated) not in (8, _BITS):
        raise DecodingError("no lossless JPEG has so many bits")
    shape = (int(dataset.Rows), int(dataset.Columns))
    for stream in generate_frames(dataset.PixelData, number_of_frames=frames):
        if _size(stream) != shape:
            raise DecodingError("the compressed image has another size than the header says")
    with _copied(dataset, frames) as path:
        values = _CHILD.decode(path)
    if values.shape != (frames, *shape):
        raise DecodingError("the decoded image has another size than the header says")
    return _stored(values, int(dataset.BitsStored), signed=bool(dataset.PixelRepresentation))


def _size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns as the JPEG stream itself says; it is these that memory is taken for."""
    place = 2
    while stream[:2] == b"\xff\xd8" and place + 9 <= len(stream) and stream[place] == 0xFF:
        if stream[place + 1] == _LOSSLESS_FRAME:
            rows, columns = stream[place + 5 : place + 7], stream[place + 7 : place + 9]
            return int.from_bytes(rows, "big"), int.from_bytes(columns, "big")
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big") if stream[place + 1] != 0xFF else 1
    return None


@contextlib.contextmanager
def _copied(dataset: Any, frames: int) -> Iterator[Path]:
    """A file of the pixels alone, without any rescale, as unsigned numbers: what they mean is the caller's matter."""
    from pydicom.dataset import Dataset, FileMetaDataset

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = _ONE_FRAME if frames == 1 else _FRAMES
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if frames > 1:
        made.NumberOfFrames = frames
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.Rows, made.Columns, made.BitsAllocated = dataset.Rows, dataset.Columns, dataset.BitsAllocated
    made.BitsStored, made.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
    made.PixelData = dataset.PixelData
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pixels.dcm")
        made.save_as(path, enforce_file_format=True)
        yield path


def _stored(values: np.ndarray, bits: int, *, signed: bool) -> np.ndarray:
    """Numbers of so many low bits."""
    shift = _BITS - bits
    shifted = values.astype(np.uint16) << shift
    return (shifted.view(np.int16) if signed else shifted) >> shift


class _Child:
    """The process that decodes; started at the first file, and anew after one that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def decode(self, path: Path) -> np.ndarray:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            late = threading.Timer(_LONGEST, process.kill)
            late.start()
            try:
                process.stdin.write(f"{path}\n".encode())
                process.stdin.flush()
                return _received(process.stdout)
            except OSError as error:  # it has ended
                raise DecodingError("the compressed image is damaged") from error
            finally:
                late.cancel()

    def _start(self) -> None:
        self.stop()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def forget(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._process, self._lock = None, threading.Lock()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            self._process.kill()
            self._process.wait()
            self._process = None


_CHILD = _Child()
atexit.register(_CHILD.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CHILD.forget)


def _received(stream: IO[bytes]) -> np.ndarray:
    """An array as :func:`serve` gives it."""
    words = stream.readline().split()
    if not words or words[0] != b"pixels":
        raise DecodingError("the compressed image is damaged")
    shape = tuple(int(word) for word in words[2:])
    kind = np.dtype(words[1].decode())
    content = stream.read(int(np.prod(shape)) * kind.itemsize)
    return np.frombuffer(content, kind).reshape(shape)


def serve() -> None:
    """Decode files whose names come on standard input, one a line, until it ends."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for line in sys.stdin.buffer:
        try:
            reader.SetFileName(os.fsdecode(line.rstrip(b"\n")))
            values = np.asarray(sitk.GetArrayFromImage(reader.Execute()))
            values = values.reshape(-1, *values.shape[-2:])
            answer = f"pixels {values.dtype.str} {' '.join(map(str, values.shape))}\n".encode() + values.tobytes()
        except Exception:  # whatever it is, the caller tells it of the file
            answer = b"damaged\n"
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
