"""One preparation of a store on object storage.

Nothing there is ever changed but ``store.json``: a case lies below a name that ends in the digest of its description,
and the columns of the index are named by their content. Workers send cases, ``case.json`` last; a journal in small
objects notes them; at the end the columns are sent, then ``store.json``, and what it no longer names is removed. So
readers have the store before, whole, until they have the new one, whatever happens in between; and what a killed call
had sent is found again by its journal, or by its ``case.json``.

One preparation at a time is held by a *lease*: an object that only one can make (a conditional request), which its
holder renews. Before ``store.json`` is replaced, the lease must still be the own one.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstask.buckets import Bucket
from crosstask.errors import CrosstaskError, InputError
from crosstask.locks import Holder
from crosstask.store import journal
from crosstask.store.columns import Texts
from crosstask.store.fingerprint import RawFile, canonical, digest_bytes, same_content, seems_unchanged
from crosstask.store.format import HEADER_NAME, parsed_header
from crosstask.store.index import (
    CASES_NAME,
    COLUMN_FILE,
    INDEX_NAME,
    INDEX_VERSION,
    LOCK_NAME,
    STATISTICS_NAME,
    Head,
    index_files,
)
from crosstask.store.preparation import NoIndexError, Preparation
from crosstask.store.protocols import RawCase
from crosstask.store.shelf import BucketShelf, bucket_columns
from crosstask.store.table import Entry, entry_of, file_sizes, raw_json
from crosstask.store.work import Job, Outcome, settings_of

JOURNAL_FOLDER = "journal"
_CASES_A_PIECE = 64
_SECONDS_A_PIECE = 5.0
"""After how many cases, or how long, a piece of the journal is sent."""
_SECONDS_TO_RENEW = 20.0
_SECONDS_OF_A_LEASE = 120.0
"""After which a lease that was not renewed is taken over; until then its holder may only be slow."""
_SHORT = 16
"""Digits of a description's digest in the name of a case."""


@dataclass(frozen=True)
class BucketBench:
    """Where workers send cases.

    Attributes:
        place: the store's address.
        scratch: folder of this machine in which cases are written before they are sent.
    """

    place: Bucket
    scratch: Path

    def still_true(self, job: Job, raw: tuple[RawFile, ...]) -> Entry | None:
        """See :class:`crosstask.store.work.Bench`."""
        if job.known is None or not same_content(raw, job.known):
            return None
        return self.found(job.folder, job.case, raw_json(raw), check=job.verify)

    def found(self, folder: str, case: Any, raw: str | None, *, check: bool) -> Entry | None:
        """What there is of a case, if that is whole; of the raw files that it was made of, unless others are given."""
        shelf = BucketShelf(self.place)
        path = shelf.folder(folder)
        try:
            content = self.place.read(shelf.path(path, HEADER_NAME))
            header = parsed_header(content, self.place.at(path))
            described = digest_bytes(content)
            if check:
                shelf.verify(path, header, described)
        except (FileNotFoundError, InputError):
            return None
        if header.id != case.id:
            return None
        return entry_of(case, folder, raw_json(header.raw) if raw is None else raw, header, described)

    def temporary(self, job: Job) -> Path:
        """See :class:`crosstask.store.work.Bench`."""
        return self.scratch / f"{os.getpid()}-{job.folder.partition('/')[0]}"

    def delivered(self, temporary: Path, entry: Entry) -> tuple[Entry, Path | None]:
        """Send a case, its description last; nothing of it stays on this machine."""
        folder = f"{entry.folder.partition('/')[0]}/{entry.described[:_SHORT]}"
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == HEADER_NAME):
            self.place.write(f"{CASES_NAME}/{folder}/{file.name}", file.read_bytes())
        shutil.rmtree(temporary)
        return entry._replace(folder=folder), None


class BucketPreparation(Preparation):
    """One call of :func:`crosstask.store.prepare` for a store on object storage; see the module.

    Args:
        bucket: of the store.
        scratch: a folder of this machine.
        lease: that is held; None where nothing may be written.
        dataset, cases, verify, progress: as :class:`crosstask.store.preparation.Preparation`.
    """

    def __init__(
        self,
        dataset: Any,
        bucket: Bucket,
        cases: list[Any],
        verify: bool,
        progress: Any,
        *,
        scratch: Path,
        lease: Lease | None,
    ) -> None:
        self.bucket, self.lease = bucket, lease
        super().__init__(dataset, scratch, cases, verify, progress, fixed=lease is None, place=bucket)
        self.bench = self._bench = BucketBench(bucket, scratch)
        self._sizes: dict[str, int] | None = None
        """Bytes of each file of a case in the store; None where that was not looked for."""
        self._noted: dict[str, Entry] = {}
        self._piece: list[bytes] = []
        self._pieces, self._sent = 0, time.monotonic()

    # --- what is there ---

    def _read_head(self) -> Head:
        try:
            return Head.from_bytes(self.bucket.read(INDEX_NAME), self.bucket.at(INDEX_NAME))
        except (InputError, FileNotFoundError) as error:
            if isinstance(error, InputError) and "damaged" not in str(error) and "has version" not in str(error):
                raise
            raise NoIndexError from error

    def _read_entries(self, head: Head) -> dict[str, Entry]:
        try:
            raw = Texts(bucket_columns(self.bucket, "raw", head.raw or ""), "raw")
            return {entry.id: entry for entry in BucketShelf(self.bucket).table(head).entries(raw)}
        except (InputError, FileNotFoundError) as error:
            raise NoIndexError from error

    def nothing_to_do(self) -> bool:
        """Whether the store is as it should be by its index, which names whole cases alone."""
        return not self.verify and self.whole and not self._plan() and self._unchanged()

    def _unchanged(self) -> bool:
        same = list(self.entries.values()) == list(self.before.values())
        return self.whole and same and self.head is not None and self.head.version == INDEX_VERSION

    def _tidy(self) -> None:
        """Look at what is there: cases, and the journals of calls that were killed."""
        self._sizes = self.bucket.sizes(CASES_NAME)
        for name in sorted(self.bucket.sizes(JOURNAL_FOLDER)):
            with suppress(FileNotFoundError):
                self._noted |= journal.entries(self.bucket.read(name), self.settings)

    def _look_around(self) -> None:
        self._strays: dict[str, list[str]] = {}
        for name in self._sizes or ():
            folder, _, file = name.removeprefix(f"{CASES_NAME}/").rpartition("/")
            if file == HEADER_NAME:
                self._strays.setdefault(folder.partition("/")[0], []).append(folder)
        self.there = set(self._strays)

    def _found(self, case: RawCase, folder: str, entry: Entry | None) -> Entry | None:
        known = [one for one in (entry, self._noted.get(case.id)) if one is not None and self._has(one)]
        for one in itertools.chain(known, self._strays_of(case, folder, {one.folder for one in known})):
            if one.settings == settings_of(case, self.settings) and seems_unchanged(case.files, one.raw_files):
                return one
        return known[0] if known else None

    def _has(self, entry: Entry) -> bool:
        """Whether the files of an entry are there, where that was looked for."""
        if self._sizes is None:
            return True
        files = [(HEADER_NAME, None), *file_sizes(entry)]
        found = [(self._sizes.get(f"{CASES_NAME}/{entry.folder}/{file}"), size) for file, size in files]
        return all(there is not None and size in (None, there) for there, size in found)

    def _strays_of(self, case: RawCase, folder: str, known: set[str]) -> Iterator[Entry]:
        """Forms of a case that a killed call had sent and not noted."""
        for name in self._strays.get(folder, ()):
            entry = self._bench.found(name, case, None, check=False) if name not in known else None
            if entry is not None and self._has(entry):
                yield entry

    def _good(self, folder: str, case: RawCase | Entry) -> Entry | None:
        """The case as it was prepared before."""
        entry = self.before.get(case.id)
        if entry is None or not self._has(entry):
            return None
        return self._bench.found(entry.folder, case, entry.raw, check=True) if self.verify else entry

    def _final(self, case: RawCase, folder: str) -> str:
        return folder

    def _take(self, job: Job, outcome: Outcome) -> str:
        assert outcome.entry is not None
        return outcome.entry.folder

    # --- what is done ---

    def _begin(self) -> None:
        """Nothing: readers have the store before until the end."""

    def _note(self, entry: Entry) -> None:
        known = self.before.get(entry.id)
        if self.lease is None or entry == known or self._noted.get(entry.id) == entry:
            return
        self._piece.append(journal.line(entry.to_json()))
        if len(self._piece) >= _CASES_A_PIECE or time.monotonic() - self._sent > _SECONDS_A_PIECE:
            self._send_piece()

    def _send_piece(self) -> None:
        if self._piece and self.lease is not None:
            self._pieces += 1
            head = journal.line({"base": self.settings})
            name = f"{JOURNAL_FOLDER}/{self.lease.token}-{self._pieces:06d}.jsonl"
            self.bucket.write(name, head + b"".join(self._piece))
            self._piece = []
        self._sent = time.monotonic()

    def _leave(self) -> None:
        with suppress(CrosstaskError):
            self._send_piece()

    def _conclude(self) -> None:
        """Let readers have what was found and made of the cases, and remove what is of no use any more."""
        self._order()
        if self.lease is None:
            raise CrosstaskError(f"{self.bucket}: is not held by this process")
        told = {case_id for case_id, _ in self.report.failed}
        if not self._unchanged():
            self._send_piece()
            head = Head(self.dataset.name, self.read_settings, True)
            files, head, content = index_files(head, list(self.entries.values()))
            for name, data in files.items():
                self.bucket.write(name, data)
            self.lease.must_be_held()
            self.bucket.write(INDEX_NAME, content)
            kept = head.files
        else:
            kept = self.head.files if self.head is not None else set()
        earlier = self.head.files if self.head is not None else set()
        old = [name for name in self.bucket.names() if COLUMN_FILE.fullmatch(name) and name not in kept | earlier]
        named = {entry.folder for entry in self.entries.values()}
        named |= {self.before[case_id].folder for case_id in told if case_id in self.before}
        stale = [
            name
            for name in self.bucket.sizes(CASES_NAME)
            if name.removeprefix(f"{CASES_NAME}/").rpartition("/")[0] not in named
        ]
        self.bucket.remove([*self.bucket.sizes(JOURNAL_FOLDER), *stale, *old])
        self.report.removed = sorted(set(self.before) - set(self.cases) - set(self.entries) - told)


class Lease:
    """An object by which one process holds a store; renewed by a thread while it is held.

    Args:
        bucket: of the store.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self.token = bucket, secrets.token_hex(8)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def _content(self) -> bytes:
        here = Holder.here()
        return canonical(
            {"process": here.process, "host": here.host, "token": self.token, "time": time.time()}
        ).encode()

    def take(self) -> None:
        """Take it, or take it over from a process that is gone.

        Raises:
            CrosstaskError: another process holds it.
        """
        for _ in range(2):
            if self.bucket.write_new(LOCK_NAME, self._content()):
                self._thread.start()
                return
            other = self._other()
            if other is not None:
                holder, age = other
                if holder.is_alive is not False and age < _SECONDS_OF_A_LEASE:
                    raise CrosstaskError(
                        f"{self.bucket}: is being prepared by process {holder}, who was heard of {age:.0f} s ago: "
                        f"wait until it has finished, or, if it was killed, {_SECONDS_OF_A_LEASE:.0f} s"
                    )
            self.bucket.remove([LOCK_NAME])
        raise CrosstaskError(f"{self.bucket}: another process has just begun to prepare it: wait until it has finished")

    def _other(self) -> tuple[Holder, float] | None:
        """Who holds it, and how many seconds ago that was renewed; None if it is gone or damaged."""
        try:
            values = json.loads(self.bucket.read(LOCK_NAME))
            return Holder(int(values["process"]), str(values["host"])), max(0.0, time.time() - float(values["time"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def must_be_held(self) -> None:
        """Refuse to go on if another process has taken it.

        Raises:
            CrosstaskError: it has.
        """
        try:
            held = json.loads(self.bucket.read(LOCK_NAME))["token"] == self.token
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            held = False
        if not held:
            raise CrosstaskError(
                f"{self.bucket}: another process has begun to prepare it, since this one was not heard of for "
                f"{_SECONDS_OF_A_LEASE:.0f} s; run it again when that has finished: what was made is kept"
            )

    def _renew(self) -> None:
        while not self._end.wait(_SECONDS_TO_RENEW):
            with suppress(CrosstaskError, OSError):  # the end looks whether it is held
                self.must_be_held()
                self.bucket.write(LOCK_NAME, self._content())

    def let_go(self) -> None:
        """End it."""
        self._end.set()
        self._thread.join()
        with suppress(CrosstaskError, OSError):
            self.must_be_held()
            self.bucket.remove([LOCK_NAME])


@contextmanager
def leased(bucket: Bucket) -> Iterator[Lease]:
    """Hold a store.

    Raises:
        CrosstaskError: another process holds it.
    """
    lease = Lease(bucket)
    lease.take()
    try:
        yield lease
    finally:
        lease.let_go()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this machine for cases on their way."""
    folder = Path(tempfile.mkdtemp(prefix="crosstask-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_bucket(bucket: Bucket) -> None:
    """Refuse an address below which something else lies than a store.

    Raises:
        InputError: it does.
    """
    names = {name for name in bucket.names() if name and not COLUMN_FILE.fullmatch(name)}
    ours = {INDEX_NAME, CASES_NAME, JOURNAL_FOLDER, LOCK_NAME, STATISTICS_NAME}
    if INDEX_NAME not in names and names - ours:
        raise InputError(f"{bucket}: is not empty and holds no {INDEX_NAME}: choose another prefix for the store")
