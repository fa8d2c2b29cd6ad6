"""Named arrays in one file that is memory-mapped, each with a checksum that is looked at when the array is first used.

A file is a line that says what it is, the length of its directory (8 bytes), the directory (JSON: type, number of
values, place and checksum of each array) and the arrays, on places that are multiples of 64. The digest of the
directory, the *root*, so stands for all of the file, and what is never used is never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crosstask.errors import InputError
from crosstask.store.fingerprint import canonical, digest_bytes

_MAGIC = b"crosstask columns 1\n"
_LENGTH = 8
_STEP = 64
_MOST_DISTINCT = np.uint32


def packed(columns: Mapping[str, np.ndarray]) -> tuple[bytes, str]:
    """Arrays of one axis as the bytes of a file, and its root; equal arrays give equal bytes."""
    arrays = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in columns.items()}
    # The directory's length depends on the places in it, which so are counted from its own end.
    directory, place = {}, 0
    for name, array in arrays.items():
        directory[name] = [
            array.dtype.str,
            array.size,
            place,
            digest_bytes(array.data.cast("B") if array.size else b""),
        ]
        place += -(-array.nbytes // _STEP) * _STEP
    text = canonical(directory).encode()
    head = _MAGIC + len(text).to_bytes(_LENGTH, "little") + text
    parts = [head, bytes(-len(head) % _STEP)]
    for array in arrays.values():
        parts += [array.tobytes(), bytes(-array.nbytes % _STEP)]
    return b"".join(parts), digest_bytes(text)


class Columns:
    """The arrays of such a file.

    Args:
        content: its bytes, mapped or in memory.
        path: what the file is called, for messages.
        remedy: what to do if it is damaged.

    Attributes:
        root: digest of the directory.

    Raises:
        InputError: the bytes are no such file.
    """

    def __init__(self, content: np.ndarray, path: object, remedy: str) -> None:
        self._content, self._path, self._remedy = content, path, remedy
        self._checked: dict[str, np.ndarray] = {}
        begin = len(_MAGIC) + _LENGTH
        length = int.from_bytes(content[len(_MAGIC) : begin].tobytes(), "little")
        text = content[begin : begin + length].tobytes()
        self.root = digest_bytes(text)
        try:
            if content[: len(_MAGIC)].tobytes() != _MAGIC:
                raise ValueError
            self._directory: dict[str, tuple[str, int, int, str]] = {
                str(name): (str(kind), int(size), int(place), str(checksum))
                for name, (kind, size, place, checksum) in json.loads(text).items()
            }
        except (ValueError, TypeError, AttributeError) as error:
            raise self._damaged() from error
        self._begin = -(-(begin + length) // _STEP) * _STEP

    @classmethod
    def open(cls, path: Path, remedy: str) -> Columns:
        """Map a file.

        Raises:
            OSError: it is not there, or cannot be read.
            InputError: it is damaged.
        """
        if not path.stat().st_size:
            raise InputError(f"{path}: is damaged: {remedy}")
        return cls(np.memmap(path, np.uint8, "r"), path, remedy)

    @classmethod
    def of(cls, columns: Mapping[str, np.ndarray]) -> Columns:
        """The same without a file."""
        return cls(np.frombuffer(packed(columns)[0], np.uint8), "memory", "")

    def __getitem__(self, name: str) -> np.ndarray:
        """An array, of one axis and read-only.

        Raises:
            InputError: there is none of this name, or its bytes differ from their checksum.
        """
        if name not in self._checked:
            try:
                kind, size, place, checksum = self._directory[name]
                dtype = np.dtype(kind)
                start = self._begin + place
                part = self._content[start : start + size * dtype.itemsize]
                if part.size != size * dtype.itemsize or dtype.hasobject or digest_bytes(part.data) != checksum:
                    raise ValueError
            except (KeyError, ValueError, TypeError) as error:
                raise self._damaged() from error
            array = part.view(np.ndarray).view(dtype)
            array.flags.writeable = False
            self._checked[name] = array
        return self._checked[name]

    def check(self) -> None:
        """Hold all arrays against their checksums.

        Raises:
            InputError: one differs.
        """
        for name in self._directory:
            self[name]

    def _damaged(self) -> InputError:
        return InputError(f"{self._path}: is damaged: {self._remedy}")


# --- texts ---


def text_columns(name: str, texts: Sequence[str | bytes]) -> dict[str, np.ndarray]:
    """Texts, or bytes, as two columns: where each ends, and all of them behind each other."""
    raw = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts]
    ends = np.cumsum([len(text) for text in raw], dtype=np.int64) if raw else np.empty(0, np.int64)
    return {f"{name}.ends": ends, f"{name}.bytes": np.frombuffer(b"".join(raw), np.uint8)}


class Texts:
    """The texts of :func:`text_columns`."""

    def __init__(self, columns: Columns, name: str) -> None:
        self._ends, self._bytes = columns[f"{name}.ends"], columns[f"{name}.bytes"]

    def __len__(self) -> int:
        return len(self._ends)

    def raw(self, row: int) -> bytes:
        """The bytes of a row."""
        start = int(self._ends[row - 1]) if row else 0
        return self._bytes[start : int(self._ends[row])].tobytes()

    def __getitem__(self, row: int) -> str:
        return self.raw(row).decode("utf-8", "surrogatepass")

    def all(self) -> list[str]:
        """The texts of all rows."""
        content, start, found = self._bytes.tobytes(), 0, []
        for end in self._ends.tolist():
            found.append(content[start:end].decode("utf-8", "surrogatepass"))
            start = end
        return found


def coded_columns(name: str, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts of which many are equal as columns: which each is, and the different ones, in the order of their coming."""
    codes: dict[str, int] = {}
    chosen = np.fromiter((codes.setdefault(text, len(codes)) for text in texts), _MOST_DISTINCT, len(texts))
    return {f"{name}.code": chosen, **text_columns(name, list(codes))}


class Coded:
    """The texts of :func:`coded_columns`.

    Attributes:
        codes: which text each row has.
        texts: the different ones.
    """

    def __init__(self, columns: Columns, name: str) -> None:
        self.codes, self.texts = columns[f"{name}.code"], Texts(columns, name)

    def __getitem__(self, row: int) -> str:
        return self.texts[int(self.codes[row])]

    def all(self) -> list[str]:
        """The texts of all rows."""
        texts = self.texts.all()
        return [texts[code] for code in self.codes.tolist()]
