"""One preparation of a store in a folder: what is kept, built, put aside, swapped and removed, in this order.

Worker processes read cases and write them to temporary folders. Only this process, which holds the store's lock, gives
a finished folder its name and notes it in the journal. So a kill at any moment leaves whole cases, no parts, and n
cases cost n lines, and one index at the end.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError, InputError
from crosstask.files import is_writable
from crosstask.processes import context_of_now, cores
from crosstask.store.fingerprint import digest_bytes, seems_unchanged
from crosstask.store.format import (
    HEADER_NAME,
    READABLE_VERSIONS,
    check_files,
    folder_names,
    read_description,
    read_header,
)
from crosstask.store.index import (
    CASES_NAME,
    COLUMN_FILE,
    INDEX_NAME,
    INDEX_VERSION,
    Head,
    read_entries,
    read_head,
    settings_digest,
    write_index,
)
from crosstask.store.journal import JOURNAL_NAME, Journal
from crosstask.store.protocols import RawCase, Source
from crosstask.store.table import CODED, Entry, entry_of, file_sizes, raw_json
from crosstask.store.work import (
    Bench,
    FolderBench,
    Job,
    Outcome,
    settings_of,
    start_worker,
    temporary_folder,
    work,
    work_in_worker,
)

Progress = Callable[[int, int, str], None]

TEMPORARY = re.compile(r"\.tmp-\d+-.+")
ASIDE = ".new-"
"""Begins the name of a finished folder that is to replace the one that readers still use."""
INDEX_TEMPORARY = re.compile(rf"\.({re.escape(INDEX_NAME)}|{COLUMN_FILE.pattern})\.\d+\.tmp")
_SECONDS_OF_A_START = 2.0
"""What it takes, about, until worker processes read."""


@dataclass
class PrepareReport:
    """What became of each case.

    Attributes:
        written: ids of cases that were not in the store.
        kept: ids of cases that were there and are still true.
        rebuilt: ids of cases that were there and were written again: raw files, settings or format changed, or damaged.
        removed: ids of cases that the data set no longer has.
        failed: (case id, message) of cases that could not be read; they are not in the store.
        outdated: (case id, message) of cases that could not be read either, but that were prepared before with the
            same settings: they are in the store as they were.
        warned: (case id, message) of what reading a case warned of; of cases that were kept it is not known.
    """

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    outdated: list[tuple[str, str]] = field(default_factory=list)
    warned: list[tuple[str, str]] = field(default_factory=list)


class Preparation:
    """One call of :func:`prepare`. What it does beyond looking is done under the lock.

    Args:
        dataset, root, verify, progress: of :func:`prepare`.
        cases: of the data set.
        fixed: the folder cannot be written to.
        place: what the store is called in messages; by default its folder.
    """

    def __init__(
        self,
        dataset: Source[Any],
        root: Path,
        cases: list[Any],
        verify: bool,
        progress: Progress | None,
        *,
        fixed: bool = False,
        place: object = None,
    ) -> None:
        self.dataset, self.root, self.verify, self.progress, self.fixed = dataset, root, verify, progress, fixed
        self.place = root if place is None else place
        self.folder = root / CASES_NAME
        self.bench: Bench = FolderBench(self.folder)
        self.read_settings = dict(dataset.read_settings())
        self.settings = settings_digest(dataset.name, self.read_settings)
        self.accepted = {settings_digest(dataset.name, self.read_settings, version) for version in READABLE_VERSIONS}
        self.report = PrepareReport()
        self.cases = {case.id: case for case in cases}
        self.folders = folder_names(self.cases)
        self.head, self.before = self._earlier()
        self.entries: dict[str, Entry] = {}
        self.there: set[str] = set()
        """Folders of cases, finished or put aside, that a plan has found."""
        self.aside: dict[str, str] = {}
        """Folders of finished cases that are to replace older ones, by case."""
        self.extra: set[str] = set()
        """Folders of cases that the data set still has, but cannot list."""
        self.total, self.done = len(cases), 0
        self.journal: Journal | None = None

    @property
    def whole(self) -> bool:
        """Whether the store is as its readers may see it until this call has come to its end."""
        head = self.head
        return head is not None and head.complete and head.is_current and self._is_of_settings(head)

    def _is_of_settings(self, head: Head) -> bool:
        return settings_digest(head.dataset, head.settings) == self.settings

    def nothing_to_do(self) -> bool:
        """Whether the store is as it should be, at a glance; enters what is kept."""
        if self.verify or not self.whole or not self.folder.is_dir() or any(self.folder.glob(f"{ASIDE}*")):
            return False
        return not self._plan() and self._unchanged()

    def _unchanged(self) -> bool:
        """Whether the index need not be written."""
        if not self.whole or list(self.entries.values()) != list(self.before.values()):
            return False
        return (self.head is not None and self.head.version == INDEX_VERSION) or not is_writable(self.root)

    def run(self, workers: int | None) -> PrepareReport:
        """Do all that there is to do."""
        self._tidy()
        jobs = self._plan()
        self._begin()
        self.tell_kept()
        try:
            if workers is None:
                workers, jobs = cores(), self._run_briefly(jobs)
            if workers == 1:
                self._run_here(jobs)
            elif jobs:
                self._run_parallel(jobs, min(workers, len(jobs)))
        except BaseException:
            with suppress(OSError):  # what stopped us, a full disk perhaps, is the error to tell
                self._leave()
            raise
        self._conclude()
        return self.finish()

    def _tidy(self) -> None:
        """Put in order what a call that was killed has left."""
        if not self.fixed:
            self.folder.mkdir(exist_ok=True)
            self._sweep()
            if not self.whole:
                self._drop_aside(None)
                self._put_in_place()

    def _begin(self) -> None:
        """Before the first case: from here to the end, the index of a store that is not whole holds nothing stale."""
        if not self.whole and not self.fixed:
            head = self._write_index()
            self.journal = Journal(self.root, head.base)
            self._remove_vanished()

    def _leave(self) -> None:
        """Put things in order after what stopped the call."""
        if self.journal is not None:
            self.journal.close()
        if not self.fixed:
            self._sweep()

    def _conclude(self) -> None:
        """Let the store be what was found and made of its cases."""
        self._order()
        if self.fixed:
            if _as_seen(self.entries) != _as_seen(self.before) or not self.whole:
                raise CrosstaskError(
                    f"{self.root}: cannot be written, and its cases, groups or splits are no longer those of the data "
                    "set; make the folder writable, or give another store="
                )
            return
        self._sweep()
        self._drop_aside(self.aside)
        swap = self.whole and (self.aside or set(self.before) - set(self.entries))
        if swap:
            self._write_index(without=self.aside)
            self._put_in_place()
            self._remove_vanished()
        if swap or not self._unchanged():
            head = self._write_index(complete=True)
            if self.journal is not None:
                self.journal.close()
            (self.root / JOURNAL_NAME).unlink(missing_ok=True)
            # Who opened the store before may yet open its index again, in a process of its own.
            earlier = self.head.files if self.head is not None and self.head.complete else set()
            for path in self.root.iterdir():
                if COLUMN_FILE.fullmatch(path.name) and path.name not in head.files | earlier:
                    with suppress(PermissionError):  # Windows removes no file that is mapped somewhere
                        path.unlink()

    def finish(self) -> PrepareReport:
        """The report, in the data set's order and not that in which the workers finished."""
        place = {case_id: number for number, case_id in enumerate(self.cases)}
        for ids in (self.report.written, self.report.kept, self.report.rebuilt):
            ids.sort(key=place.__getitem__)
        for told in (self.report.failed, self.report.outdated, self.report.warned):
            told.sort(key=lambda entry: place.get(entry[0], len(place)))
        return self.report

    def _earlier(self) -> tuple[Head | None, dict[str, Entry]]:
        """The store's index as it was; none if there was no store, or if its index is damaged."""
        try:
            head = self._read_head()
            self._must_be_ours(head)
            return head, self._read_entries(head)
        except NoIndexError:
            return None, {}

    def _must_be_ours(self, head: Head) -> None:
        if head.dataset != self.dataset.name:
            raise InputError(
                f"{self.place}: holds data set {head.dataset}, not {self.dataset.name}: choose another folder"
            )

    def _read_head(self) -> Head:
        try:
            return read_head(self.root)
        except InputError as error:
            raise NoIndexError from error

    def _read_entries(self, head: Head) -> dict[str, Entry]:
        try:
            return read_entries(self.root, head)
        except (InputError, FileNotFoundError) as error:
            raise NoIndexError from error

    def _plan(self) -> list[Job]:
        """Enter the cases that are kept at a glance, and say what is to be done for the others."""
        self._look_around()
        jobs = [job for case in self.cases.values() if (job := self._job(case, self.folders[case.id])) is not None]
        self._keep_unusable()
        self._order()
        return jobs

    def _look_around(self) -> None:
        try:
            self.there = {path.name for path in self.folder.iterdir()}
        except FileNotFoundError:
            self.there = set()

    def _job(self, case: RawCase, folder: str) -> Job | None:
        """Keep a case at a glance (None), or say what a worker has to do."""
        entry = self.before.get(case.id)
        existed = entry is not None or folder in self.there
        if not self.fixed and f"{ASIDE}{folder}" in self.there:  # a call that was killed has finished it
            entry, folder = None, f"{ASIDE}{folder}"
        found = self._found(case, folder, entry)
        if found is None:
            return Job(case, folder, None, existed, self.verify, self.fixed)
        if found.settings != settings_of(case, self.settings):
            return Job(case, found.folder, None, True, self.verify, self.fixed)
        raw = found.raw_files
        if self.verify or not seems_unchanged(case.files, raw):
            return Job(case, found.folder, raw, True, self.verify, self.fixed)
        self._enter(case, found.folder, found)
        self.report.kept.append(case.id)
        return None

    def _found(self, case: RawCase, folder: str, entry: Entry | None) -> Entry | None:
        """What there is of a case, if at a glance it is whole; the index's own entry where it still is true."""
        path = self.folder / folder
        try:
            if entry is not None and entry.folder == folder and entry.described:
                content = (path / HEADER_NAME).read_bytes()
                if digest_bytes(content) == entry.described and all(
                    (path / file).stat().st_size == size for file, size in file_sizes(entry)
                ):
                    return entry
            header, described = read_description(path)
            check_files(path, header, content=False)
        except (InputError, OSError):
            return None
        if header.id != case.id:
            return None
        # A kill can fall between the naming of a folder and its entry in the index: then the folder's own word counts,
        # which has a checksum of its own.
        same = entry is not None and entry.checksum == header.checksum
        raw = entry.raw if entry is not None and same else raw_json(header.raw)
        return entry_of(case, folder, raw, header, described)

    def _keep_unusable(self) -> None:
        """Keep what the store has of cases that are still there, but that the data set leaves out of its list."""
        lacking = [case_id for case_id in self.before if case_id not in self.cases]
        find = getattr(self.dataset, "unusable", None)
        for case_id, message in (find(lacking) if find is not None and lacking else {}).items():
            entry = self.before[case_id]
            self.extra.add(entry.folder)
            kept = self.whole and self._good(entry.folder, entry) is not None
            if kept:
                self.entries[case_id] = entry
            (self.report.outdated if kept else self.report.failed).append((case_id, message))

    def _good(self, folder: str, case: RawCase | Entry) -> Entry | None:
        """What there is of a case, if that is whole, with the raw files that it was made of."""
        try:
            header, described = read_description(self.folder / folder)
            check_files(self.folder / folder, header, content=self.verify)
        except InputError:
            return None
        return entry_of(case, folder, raw_json(header.raw), header, described) if header.id == case.id else None

    def _remove_vanished(self) -> None:
        """Remove the prepared cases that the data set no longer has."""
        wanted = {*self.folders.values(), *self.extra}
        vanished = set(self.before)
        ours = {entry.folder for entry in self.before.values()}
        for folder in sorted(self.folder.iterdir()):
            if folder.name in wanted or not folder.is_dir() or TEMPORARY.fullmatch(folder.name):
                continue
            if folder.name in ours or (folder / HEADER_NAME).is_file():
                vanished.update(id_of(folder))
                self._discard(folder)
        told = {case_id for case_id, _ in self.report.failed}
        self.report.removed = sorted(vanished - set(self.cases) - set(self.entries) - told)

    def _run_here(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._settle(job, work(self.dataset, self.bench, self.settings, job))

    def _run_briefly(self, jobs: list[Job]) -> list[Job]:
        """Do in this process what does not pay for others, as the cases so far have it; the rest of the jobs."""
        begun = time.monotonic()
        for done, job in enumerate(jobs):
            if done and (time.monotonic() - begun) / done * (len(jobs) - done) > _SECONDS_OF_A_START:
                return jobs[done:]
            self._run_here([job])
        return []

    def _run_parallel(self, jobs: list[Job], workers: int) -> None:
        queue, pending = deque(jobs), dict[Future[Outcome], Job]()
        lost: list[Job] = []
        error: CrosstaskError | None = None
        pool = ProcessPoolExecutor(
            workers,
            mp_context=context_of_now(),
            initializer=start_worker,
            initargs=(self.dataset, self.bench, self.settings, dict(os.environ)),
        )
        try:
            while queue or pending:
                # No more jobs than workers at a time, so that those lost with a dead worker are known.
                while queue and len(pending) < workers:
                    try:
                        pending[pool.submit(work_in_worker, queue[0])] = queue[0]
                    except BrokenProcessPool:
                        queue.clear()
                        break
                    queue.popleft()
                for future in wait(pending, return_when=FIRST_COMPLETED).done if pending else ():
                    job = pending.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool:
                        lost.append(job)
                        queue.clear()
                    except CrosstaskError as problem:
                        error = error or problem
                        queue.clear()
                    else:
                        self._settle(job, outcome)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if error is not None:
            raise error
        if lost:
            names = ", ".join(job.case.id for job in lost)
            raise CrosstaskError(
                f"a worker process died while preparing {names}, probably out of memory: "
                "run it again with fewer workers; finished cases are kept"
            )

    def _settle(self, job: Job, outcome: Outcome) -> None:
        """Make a worker's outcome part of the store."""
        case, entry = job.case, outcome.entry
        if entry is None:
            self._settle_unreadable(job, outcome.message or "cannot be read")
        elif not outcome.built:
            self.report.kept.append(case.id)
            self._enter(case, entry.folder, entry)
        else:
            folder = self._take(job, outcome)
            (self.report.rebuilt if job.existed else self.report.written).append(case.id)
            self.report.warned += [(case.id, warning) for warning in outcome.warnings]
            self._enter(case, folder, entry)
        self._tell(case.id)

    def _take(self, job: Job, outcome: Outcome) -> str:
        """Give a case that was built its name, or one aside where readers still use another of that name."""
        assert outcome.temporary is not None
        folder = self.folders[job.case.id]
        if self.whole and job.case.id in self.before:
            folder = f"{ASIDE}{folder}"
        self._discard(self.folder / folder)
        outcome.temporary.rename(self.folder / folder)
        return folder

    def _settle_unreadable(self, job: Job, message: str) -> None:
        """Keep what was prepared before of a case that cannot be read, if it is of the same settings and whole.

        Of other settings it is not entered, but left where it is: it is all that there is of the case.
        """
        case = job.case
        entry = self.before.get(case.id)
        folder = self._final(case, self.folders[case.id] if entry is None else entry.folder)
        found = self._good(folder, case)
        if found is None or found.settings not in {settings_of(case, settings) for settings in self.accepted}:
            self.report.failed.append((case.id, message))
            return
        same = entry is not None and entry.checksum == found.checksum
        self._enter(case, folder, found._replace(raw=entry.raw) if entry is not None and same else found)
        self.report.outdated.append((case.id, message))

    def _enter(self, case: RawCase, folder: str, entry: Entry) -> None:
        final = self._final(case, folder)
        if folder != final:
            self.aside[case.id] = folder
        repeated = {name: sys.intern(getattr(entry, name)) for name in CODED}
        changes: dict[str, Any] = {**repeated, "group": case.group, "split": str(case.split), "folder": final}
        entry = entry._replace(**changes)
        self.entries[case.id] = entry
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        """Keep what is finished, should this call be killed."""
        if self.journal is not None:
            self.journal.add(entry)

    def _final(self, case: RawCase, folder: str) -> str:
        """The name that a case's folder has in the end."""
        return self.folders[case.id]

    def _order(self) -> None:
        """The data set's order, then cases that it cannot list."""
        entries, cases = self.entries, self.cases
        ids = [*(case_id for case_id in cases if case_id in entries), *(name for name in entries if name not in cases)]
        self.entries = {case_id: entries[case_id] for case_id in ids}

    def _write_index(self, *, complete: bool = False, without: Mapping[str, str] | None = None) -> Head:
        self._order()
        head = Head(self.dataset.name, self.read_settings, complete)
        return write_index(
            self.root, head, [entry for case_id, entry in self.entries.items() if case_id not in (without or {})]
        )

    def tell_kept(self) -> None:
        """Tell the cases that are kept at a glance."""
        for case_id in self.report.kept:
            self._tell(case_id)

    def _tell(self, case_id: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, case_id)

    def _put_in_place(self) -> None:
        """Let finished folders take the place of the older ones."""
        for folder in sorted(self.folder.glob(f"{ASIDE}*")):
            final = self.folder / folder.name.removeprefix(ASIDE)
            self._discard(final)
            folder.rename(final)

    def _drop_aside(self, wanted: Mapping[str, str] | None) -> None:
        """Remove folders that a killed call has put aside: all but those wanted, or those that are not whole."""
        for folder in sorted(self.folder.glob(f"{ASIDE}*")):
            if folder.name not in wanted.values() if wanted is not None else not id_of(folder):
                self._discard(folder)

    def _discard(self, folder: Path) -> None:
        """Remove a case's folder; it loses its name first, so that a kill leaves no part of it under that name."""
        if folder.exists():
            temporary = temporary_folder(self.folder, f"{folder.name}.old")
            folder.rename(temporary)
            shutil.rmtree(temporary)

    def _sweep(self) -> None:
        """Remove what was left half-written, by this call or by killed ones.

        Called while no worker of ours runs. Under the lock all other owners are dead or, orphaned by a kill just now,
        about to die; whether a process id is alive would tell less, since a container may never reap its dead.
        """
        for path in self.folder.iterdir():
            if TEMPORARY.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.iterdir():
            if INDEX_TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


class NoIndexError(Exception):
    """There is no index, or none that can be believed."""


def _as_seen(entries: Mapping[str, Entry]) -> list[Entry]:
    """Entries as their readers see them: where the raw files lie, and since when, is of no matter to them."""
    return [entry._replace(raw="", described="") for entry in entries.values()]


def id_of(folder: Path) -> list[str]:
    """Id of the case in a folder; none if its description is damaged."""
    try:
        return [read_header(folder).id]
    except InputError:
        return []
