"""Where in a ``.b2nd`` file lies what a selection needs: places of chunks and blocks, by the cframe format of Blosc2.

A frame is a header, chunks, the (compressed) places of the chunks, and a trailer; a chunk is a header of 32 bytes,
where each of its blocks begins, and the blocks. https://www.blosc.org/c-blosc2/format/ describes both.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator

import blosc2
import numpy as np

FRAME_BYTES = 128
"""Enough of a frame's beginning to know its parts."""
_CHUNK_HEADER = 32
_COPIED = 2
"""Flag of a chunk that is stored as it is, without places of blocks."""
Range = tuple[int, int]
Read = Callable[[int, int], bytes]


class Frame:
    """The parts of one array's file.

    Args:
        read: gives the bytes between two places of the file, which are fetched if need be.
        size: bytes of the file.

    Raises:
        ValueError: it is no such frame.
    """

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        head = read(0, min(size, FRAME_BYTES))
        (self._begin,) = struct.unpack(">i", head[11:15])
        (compressed,) = struct.unpack(">q", head[39:47])
        self.table: Range = (self._begin + compressed, size)
        """Places of the chunks, and the trailer: what Blosc2 reads first, beside the header."""
        if not FRAME_BYTES // 2 < self._begin <= self.table[0] < size:
            raise ValueError("a frame whose parts lie nowhere")
        start = self.table[0]
        (length,) = struct.unpack("<i", read(start + 12, start + 16))
        places = blosc2.decompress2(read(start, start + length))
        self._places = np.frombuffer(places, "<i8")

    @property
    def header(self) -> Range:
        """The frame's header."""
        return 0, self._begin

    def hold(self, shape: tuple[int, ...], chunk: tuple[int, ...], block: tuple[int, ...]) -> None:
        """Take in how the array is cut: its shape, that of a chunk, and that of a block.

        Raises:
            ValueError: the file has another number of chunks.
        """
        self._chunk, self._block = chunk, block
        self._chunks = [math.ceil(whole / part) for whole, part in zip(shape, chunk, strict=True)]
        self._blocks = [math.ceil(whole / part) for whole, part in zip(chunk, block, strict=True)]
        if len(self._places) != math.prod(self._chunks):
            raise ValueError("a frame with another number of chunks")

    def needed(self, start: tuple[int, ...], stop: tuple[int, ...]) -> Iterator[Range]:
        """Parts of the file that hold a block of the array; what tells where they are is read on the way."""
        for chunk in _covering(start, stop, self._chunk):
            place = int(self._places[_number(chunk, self._chunks)])
            if place < 0:  # one value throughout, which is said here
                continue
            first = self._begin + place
            yield first, first + _CHUNK_HEADER
            head = self._read(first, first + _CHUNK_HEADER)
            size, block_bytes, compressed = struct.unpack("<iii", head[4:16])
            count = -(-size // block_bytes) if size else 0
            if compressed <= _CHUNK_HEADER + 8 or not count:  # one value throughout, which is said there
                yield first, first + compressed
                continue
            corner = [number * part for number, part in zip(chunk, self._chunk, strict=True)]
            low = [max(0, begin - at) for begin, at in zip(start, corner, strict=True)]
            high = [min(part, end - at) for end, at, part in zip(stop, corner, self._chunk, strict=True)]
            numbers = [_number(block, self._blocks) for block in _covering(tuple(low), tuple(high), self._block)]
            if head[2] & _COPIED:
                for number in numbers:
                    at = first + _CHUNK_HEADER + number * block_bytes
                    yield at, min(at + block_bytes, first + compressed)
                continue
            table = first + _CHUNK_HEADER, first + _CHUNK_HEADER + 4 * count
            yield table
            begins = np.frombuffer(self._read(*table), "<i4")
            ends = np.append(np.sort(begins), compressed)
            for number in numbers:
                begin = int(begins[number])
                yield first + begin, first + int(ends[np.searchsorted(ends, begin, side="right")])


def _covering(start: tuple[int, ...], stop: tuple[int, ...], part: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Numbers along each axis of the parts that a block of an array touches."""
    spans = zip(start, stop, part, strict=True)
    return itertools.product(*(range(low // size, -(-high // size)) for low, high, size in spans))


def _number(place: tuple[int, ...], counts: list[int]) -> int:
    """A place in a grid as one number, the last axis running fastest."""
    number = 0
    for index, count in zip(place, counts, strict=True):
        number = number * count + index
    return number
