"""Write the cases of a data set to a store: in parallel, once, and again only where something changed.

Worker processes read cases and write them to temporary folders. Only this process, which holds the store's lock, gives
a finished folder its name and enters it in ``store.json``. So a kill at any moment leaves whole cases, no parts.

A store that is whole stays so while others read it: cases that replace older ones are put aside under a name of their
own, and take their place together at the end, which is a matter of moments. Where nothing has to be written nothing is
locked, so a store that cannot be written to can be used.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError, InputError
from crosstask.files import is_writable
from crosstask.locks import locked
from crosstask.processes import context_of_now, cores
from crosstask.store.fingerprint import RawFile, seems_unchanged
from crosstask.store.format import (
    FORMAT_VERSION,
    HEADER_NAME,
    READABLE_VERSIONS,
    CaseHeader,
    check_files,
    folder_names,
    read_header,
)
from crosstask.store.index import (
    CASES_NAME,
    INDEX_NAME,
    LOCK_NAME,
    STATISTICS_NAME,
    Entry,
    Index,
    settings_digest,
)
from crosstask.store.protocols import CaseT, RawCase, Source
from crosstask.store.work import (
    Job,
    Outcome,
    settings_of,
    start_worker,
    temporary_folder,
    work,
    work_in_worker,
    write_errors,
)

Progress = Callable[[int, int, str], None]

_TEMPORARY = re.compile(r"\.tmp-\d+-.+")
_ASIDE = ".new-"
"""Begins the name of a finished folder that is to replace the one that readers still use."""
_INDEX_TEMPORARY = re.compile(rf"\.{re.escape(INDEX_NAME)}\.\d+\.tmp")
_SECONDS_BETWEEN_INDEX_WRITES = 1.0
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


def prepare(
    dataset: Source[CaseT],
    root: Path | str,
    *,
    workers: int | None = None,
    verify: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Bring a store up to date with a data set.

    Cases that are there and whose raw files and read settings have not changed are kept. Raw files count as unchanged
    if size and time of change are as before, or else if their content is. An interrupted call is taken up by the next.
    A case that cannot be read any more is kept as it was prepared, and reported.

    Args:
        dataset: the data set; with more than one worker it must pickle.
        root: folder of the store; made if missing. One that cannot be written to is used as it is if nothing changed.
        workers: processes that read cases; 1 reads in this process. By default one a core, which begin where cases
            are left that this process would need longer for than they to start.
        verify: also hold prepared files against their checksums, and rebuild damaged cases. Without it only their
            lengths are looked at, and the checksums of descriptions.
        progress: called as ``progress(done, total, case_id)`` after each case, kept ones too.

    Raises:
        InputError: the folder holds something else, or another data set; two cases share an id.
        CrosstaskError: another process prepares this store, the disk is full, the folder cannot be written and would
            have to be, or a worker process died. Finished cases stay, and the next call goes on from there.
    """
    root = Path(root)
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    _check_root(root)
    cases = list(dataset.cases())
    for case_id, times in Counter(case.id for case in cases).items():
        if times > 1:
            raise InputError(f"data set {dataset.name}: {times} cases have the id {case_id!r}: make the ids unique")
    preparation = _Preparation(dataset, root, cases, verify, progress)
    with write_errors(root):
        if preparation.nothing_to_do():
            preparation.tell_kept()
            return preparation.finish()
        root.mkdir(parents=True, exist_ok=True)
        if not is_writable(root):
            return _Preparation(dataset, root, cases, verify, progress, fixed=True).run(workers)
        with locked(root, LOCK_NAME, "prepared"):
            _check_root(root)
            return _Preparation(dataset, root, cases, verify, progress).run(workers)


@dataclass(frozen=True)
class Outlook:
    """What :func:`prepare` would do, at a glance: a case whose raw files changed their time alone may be kept yet.

    Attributes:
        kept: ids of cases that are there and are still true.
        written: ids of cases that are not in the store.
        rebuilt: ids of cases that are there, and whose raw files, settings or format seem to have changed.
        removed: ids of cases that the data set no longer has.
        whole: whether the store is there and would stay as it is.
    """

    kept: list[str]
    written: list[str]
    rebuilt: list[str]
    removed: list[str]

    @property
    def whole(self) -> bool:
        return bool(self.kept) and not (self.written or self.rebuilt or self.removed)


def outlook(dataset: Source[CaseT], root: Path | str) -> Outlook:
    """What :func:`prepare` would do; nothing is written, and nothing is locked.

    Args:
        dataset: the data set.
        root: folder of the store, there or not.

    Raises:
        InputError: the folder holds something else, or another data set.
    """
    root = Path(root)
    _check_root(root)
    preparation = _Preparation(dataset, root, list(dataset.cases()), False, None, fixed=True)
    jobs = preparation._plan()
    return Outlook(
        preparation.report.kept,
        [job.case.id for job in jobs if not job.existed],
        [job.case.id for job in jobs if job.existed],
        [case_id for case_id in preparation.before.entries if case_id not in preparation.cases],
    )


class _Preparation:
    """One call of :func:`prepare`. What it does beyond looking is done under the lock.

    Args:
        dataset, root, verify, progress: of :func:`prepare`.
        cases: of the data set.
        fixed: the folder cannot be written to.
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
    ) -> None:
        self.dataset, self.root, self.verify, self.progress, self.fixed = dataset, root, verify, progress, fixed
        self.folder = root / CASES_NAME
        settings = dict(dataset.read_settings())
        self.settings = settings_digest(dataset.name, settings)
        self.accepted = {settings_digest(dataset.name, settings, version) for version in READABLE_VERSIONS}
        self.index = Index(dataset.name, settings)
        self.report = PrepareReport()
        self.cases = {case.id: case for case in cases}
        self.folders = folder_names(self.cases)
        self.before = self._earlier_index()
        self.aside: dict[str, str] = {}
        """Folders of finished cases that are to replace older ones, by case."""
        self.extra: set[str] = set()
        """Folders of cases that the data set still has, but cannot list."""
        self.total, self.done = len(cases), 0
        self.last_write = 0.0

    @property
    def whole(self) -> bool:
        """Whether the store is as its readers may see it until this call has come to its end."""
        before = self.before
        same = settings_digest(before.dataset, before.settings) == self.settings and before.version == FORMAT_VERSION
        return before.complete and same

    def nothing_to_do(self) -> bool:
        """Whether the store is as it should be, at a glance; enters what is kept."""
        if self.verify or not self.whole or not self.folder.is_dir() or any(self.folder.glob(f"{_ASIDE}*")):
            return False
        return not self._plan() and self._unchanged()

    def _unchanged(self) -> bool:
        """Whether the index need not be written."""
        return self.whole and list(self.index.entries.items()) == list(self.before.entries.items())

    def run(self, workers: int | None) -> PrepareReport:
        """Do all that there is to do."""
        if not self.fixed:
            self.folder.mkdir(exist_ok=True)
            self._sweep()
            if not self.whole:
                self._drop_aside(None)
                self._put_in_place()
        jobs = self._plan()
        if not self.whole and not self.fixed:
            # From here until the end the index holds nothing stale, whatever happens.
            self._write_index()
            self._remove_vanished()
        self.tell_kept()
        try:
            if workers is None:
                workers, jobs = cores(), self._run_briefly(jobs)
            if workers == 1:
                self._run_here(jobs)
            elif jobs:
                self._run_parallel(jobs, min(workers, len(jobs)))
        except BaseException:
            if not self.fixed:
                with suppress(OSError):  # what stopped us, a full disk perhaps, is the error to tell
                    self._sweep()
                    if not self.whole:
                        self._write_index()
            raise
        self._conclude()
        return self.finish()

    def _conclude(self) -> None:
        """Let the store be what was found and made of its cases."""
        self._order_index()
        if self.fixed:
            if _without_raw(self.index.entries) != _without_raw(self.before.entries) or not self.whole:
                raise CrosstaskError(
                    f"{self.root}: cannot be written, and its cases, groups or splits are no longer those of the data "
                    "set; make the folder writable, or give another store="
                )
            return
        self._sweep()
        self._drop_aside(self.aside)
        swap = self.whole and (self.aside or set(self.before.entries) - set(self.index.entries))
        if swap:
            self._write_index(without=self.aside)
            self._put_in_place()
            self._remove_vanished()
        if swap or not self._unchanged():
            self._write_index(complete=True)

    def finish(self) -> PrepareReport:
        """The report, in the data set's order and not that in which the workers finished."""
        place = {case_id: number for number, case_id in enumerate(self.cases)}
        for ids in (self.report.written, self.report.kept, self.report.rebuilt):
            ids.sort(key=place.__getitem__)
        for told in (self.report.failed, self.report.outdated, self.report.warned):
            told.sort(key=lambda entry: place.get(entry[0], len(place)))
        return self.report

    def _earlier_index(self) -> Index:
        """The store's index as it was; an empty one if there was no store, or if ``store.json`` is damaged."""
        try:
            index = Index.read(self.root)
        except InputError:
            return Index(self.dataset.name, {})
        if index.dataset != self.dataset.name:
            raise InputError(
                f"{self.root}: holds data set {index.dataset}, not {self.dataset.name}: choose another folder"
            )
        return index

    def _plan(self) -> list[Job]:
        """Enter the cases that are kept at a glance, and say what is to be done for the others."""
        jobs = [job for case in self.cases.values() if (job := self._job(case, self.folders[case.id])) is not None]
        self._keep_unusable()
        self._order_index()
        return jobs

    def _job(self, case: RawCase, folder: str) -> Job | None:
        """Keep a case at a glance (None), or say what a worker has to do."""
        entry = self.before.entries.get(case.id)
        aside = f"{_ASIDE}{folder}"
        if not self.fixed and (self.folder / aside).is_dir():  # a call that was killed has finished it
            entry, there = None, aside
        else:
            there = folder
        try:
            header = read_header(self.folder / there)
            check_files(self.folder / there, header, content=False)
        except InputError:
            existed = entry is not None or (self.folder / folder).exists()
            return Job(case, there, None, existed, self.verify, self.fixed)
        if header.id != case.id or header.settings != settings_of(case, self.settings):
            return Job(case, there, None, True, self.verify, self.fixed)
        # A kill can fall between the naming of a folder and its entry in the index: then the folder's own word counts,
        # which has a checksum of its own.
        known = entry.raw if entry is not None and entry.checksum == header.checksum else header.raw
        if self.verify or not seems_unchanged(case.files, known):
            return Job(case, there, known, True, self.verify, self.fixed)
        self._enter(case, there, known, header.checksum)
        self.report.kept.append(case.id)
        return None

    def _keep_unusable(self) -> None:
        """Keep what the store has of cases that are still there, but that the data set leaves out of its list."""
        lacking = [case_id for case_id in self.before.entries if case_id not in self.cases]
        find = getattr(self.dataset, "unusable", None)
        for case_id, message in (find(lacking) if find is not None and lacking else {}).items():
            entry = self.before.entries[case_id]
            self.extra.add(entry.folder)
            kept = self.whole and self._good(entry.folder, case_id) is not None
            if kept:
                self.index.entries[case_id] = entry
            (self.report.outdated if kept else self.report.failed).append((case_id, message))

    def _good(self, folder: str, case_id: str) -> CaseHeader | None:
        """The header of a prepared case that is whole, else None."""
        try:
            header = read_header(self.folder / folder)
            check_files(self.folder / folder, header, content=self.verify)
        except InputError:
            return None
        return header if header.id == case_id else None

    def _remove_vanished(self) -> None:
        """Remove the prepared cases that the data set no longer has."""
        wanted = {*self.folders.values(), *self.extra}
        vanished = set(self.before.entries)
        ours = {entry.folder for entry in self.before.entries.values()}
        for folder in sorted(self.folder.iterdir()):
            if folder.name in wanted or not folder.is_dir() or _TEMPORARY.fullmatch(folder.name):
                continue
            if folder.name in ours or (folder / HEADER_NAME).is_file():
                vanished.update(_id_of(folder))
                self._discard(folder)
        told = {case_id for case_id, _ in self.report.failed}
        self.report.removed = sorted(vanished - set(self.cases) - set(self.index.entries) - told)

    def _run_here(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._settle(job, work(self.dataset, self.folder, self.settings, job))

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
            initargs=(self.dataset, self.folder, self.settings),
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
        case = job.case
        if outcome.message is not None:
            self._settle_unreadable(job, outcome.message)
        elif outcome.temporary is None:
            self.report.kept.append(case.id)
            self._enter(case, job.folder, outcome.raw, outcome.checksum)
        else:
            folder = self.folders[case.id]
            if self.whole and case.id in self.before.entries:
                folder = f"{_ASIDE}{folder}"
            self._discard(self.folder / folder)
            outcome.temporary.rename(self.folder / folder)
            (self.report.rebuilt if job.existed else self.report.written).append(case.id)
            self.report.warned += [(case.id, warning) for warning in outcome.warnings]
            self._enter(case, folder, outcome.raw, outcome.checksum)
        if not (self.whole or self.fixed) and time.monotonic() - self.last_write > _SECONDS_BETWEEN_INDEX_WRITES:
            self._write_index()
        self._tell(case.id)

    def _settle_unreadable(self, job: Job, message: str) -> None:
        """Keep what was prepared before of a case that cannot be read, if it is of the same settings and whole.

        Of other settings it is not entered, but left where it is: it is all that there is of the case.
        """
        case, folder = job.case, self.folders[job.case.id]
        header = self._good(folder, case.id)
        if header is None or header.settings not in {settings_of(case, settings) for settings in self.accepted}:
            self.report.failed.append((case.id, message))
            return
        entry = self.before.entries.get(case.id)
        raw = entry.raw if entry is not None and entry.checksum == header.checksum else header.raw
        self._enter(case, folder, raw, header.checksum)
        self.report.outdated.append((case.id, message))

    def _enter(self, case: RawCase, folder: str, raw: tuple[RawFile, ...], checksum: str) -> None:
        final = self.folders[case.id]
        if folder != final:
            self.aside[case.id] = folder
        self.index.entries[case.id] = Entry(case.id, case.group, str(case.split), final, raw, checksum)

    def _order_index(self) -> None:
        """The data set's order, then cases that it cannot list."""
        entries, cases = self.index.entries, self.cases
        ids = [*(case_id for case_id in cases if case_id in entries), *(name for name in entries if name not in cases)]
        self.index.entries = {case_id: entries[case_id] for case_id in ids}

    def _write_index(self, *, complete: bool = False, without: Mapping[str, str] | None = None) -> None:
        self._order_index()
        entries = {case_id: entry for case_id, entry in self.index.entries.items() if case_id not in (without or {})}
        replace(self.index, complete=complete, entries=entries).write(self.root)
        self.last_write = time.monotonic()

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
        for folder in sorted(self.folder.glob(f"{_ASIDE}*")):
            final = self.folder / folder.name.removeprefix(_ASIDE)
            self._discard(final)
            folder.rename(final)

    def _drop_aside(self, wanted: Mapping[str, str] | None) -> None:
        """Remove folders that a killed call has put aside: all but those wanted, or those that are not whole."""
        for folder in sorted(self.folder.glob(f"{_ASIDE}*")):
            if folder.name not in wanted.values() if wanted is not None else not _id_of(folder):
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
            if _TEMPORARY.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.iterdir():
            if _INDEX_TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


# --- small helpers ---


def _without_raw(entries: Mapping[str, Entry]) -> list[Entry]:
    """Entries as their readers see them: where the raw files lie, and since when, is of no matter to them."""
    return [replace(entry, raw=()) for entry in entries.values()]


def _check_root(root: Path) -> None:
    """Refuse a folder that holds something else than a store, before anything in it is touched."""
    if not root.exists():
        return
    if not root.is_dir():
        raise InputError(f"{root}: is a file: name a folder for the store")
    names = {path.name for path in root.iterdir()} - {LOCK_NAME}
    names = {name for name in names if not _INDEX_TEMPORARY.fullmatch(name)}
    if not names:
        return
    if INDEX_NAME not in names:
        raise InputError(f"{root}: is not empty and holds no {INDEX_NAME}: choose an empty folder for the store")
    try:
        Index.read(root)
    except InputError as error:
        # A damaged index is fixed, but only where all else looks like a store of ours.
        if names - {INDEX_NAME, CASES_NAME, STATISTICS_NAME} or CASES_NAME not in names:
            raise InputError(f"{root}: holds a {INDEX_NAME} that is no store's: choose an empty folder") from error


def _id_of(folder: Path) -> list[str]:
    try:
        return [read_header(folder).id]
    except InputError:
        return []
