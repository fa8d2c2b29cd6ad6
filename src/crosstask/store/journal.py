"""What a preparation has finished since the index was written: lines that are only ever added, each with a checksum.

A line that a kill has cut, or that is damaged, is left out and takes no other with it: the case's own folder still says
what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from crosstask.store.fingerprint import canonical, digest_bytes
from crosstask.store.table import Entry

JOURNAL_NAME = "journal.jsonl"
_SEPARATOR = b" "


def line(values: Any) -> bytes:
    """A line of a journal."""
    text = canonical(values).encode()
    return digest_bytes(text).encode() + _SEPARATOR + text + b"\n"


def lines(content: bytes) -> Iterator[Any]:
    """The values of the lines of a journal that are whole."""
    for one in content.split(b"\n"):
        checksum, _, text = one.partition(_SEPARATOR)
        if text and digest_bytes(text).encode() == checksum:
            yield json.loads(text)


def entries(content: bytes, base: str) -> dict[str, Entry]:
    """The entries of a journal, the last of each case; none if it does not belong to the index.

    Args:
        content: bytes of the journal.
        base: digest of the head of the index that it goes on from.
    """
    found: dict[str, Entry] = {}
    belongs = False
    for values in lines(content):
        if isinstance(values, dict):
            belongs = values.get("base") == base
        elif belongs:
            try:
                entry = Entry.from_json(values)
            except (ValueError, TypeError):
                continue
            found[entry.id] = entry
    return found


class Journal:
    """The journal of a preparation in a folder; what was in it before is dropped.

    Args:
        root: folder of the store.
        base: digest of the head of the index that it goes on from.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, root: Path, base: str) -> None:
        self._file = (root / JOURNAL_NAME).open("wb")
        self._write(line({"base": base}))

    def add(self, entry: Entry) -> None:
        """Note that a case is finished.

        Raises:
            OSError: the disk is full.
        """
        self._write(line(entry.to_json()))

    def _write(self, content: bytes) -> None:
        # Not waited for until it is on the disk: after a fall of the machine the folders themselves say what is there.
        self._file.write(content)
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
