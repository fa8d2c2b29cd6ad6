"""Write the cases of a data set to a store: in parallel, once, and again only where something changed.

Worker processes read cases and write them to temporary folders. Only this process, which holds the store's lock, gives
a finished folder its final name and enters it in ``store.json``. So a kill at any moment leaves whole cases, no parts.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError, InputError
from crosstask.locks import locked
from crosstask.processes import cores, follow_parent
from crosstask.store.fingerprint import RawFile, digest, fingerprint, same_content, seems_unchanged
from crosstask.store.format import (
    HEADER_NAME,
    CaseHeader,
    check_files,
    folder_names,
    read_header,
    write_case,
)
from crosstask.store.index import CASES_NAME, INDEX_NAME, STATISTICS_NAME, Entry, Index, settings_digest
from crosstask.store.protocols import CaseT, RawCase, Source

Progress = Callable[[int, int, str], None]

_TEMPORARY = re.compile(r"\.tmp-\d+-.+")
_INDEX_TEMPORARY = re.compile(rf"\.{re.escape(INDEX_NAME)}\.\d+\.tmp")
_SECONDS_BETWEEN_INDEX_WRITES = 1.0


LOCK_NAME = "prepare.lock"


@dataclass
class PrepareReport:
    """What became of each case.

    Attributes:
        written: ids of cases that were not in the store.
        kept: ids of cases that were there and are still true.
        rebuilt: ids of cases that were there and were written again: raw files, settings or format changed, or damaged.
        removed: ids of cases that the data set no longer has.
        failed: (case id, message) of cases that could not be read; they are not in the store.
        warned: (case id, message) of what reading a case warned of; of cases that were kept it is not known.
    """

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    warned: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One case for a worker.

    Attributes:
        known: state of the raw files when the prepared case was written; None if it must be written in any case.
        existed: whether there is a prepared case already.
        verify: whether the prepared files are to be held against their checksums.
    """

    case: Any
    folder: str
    known: tuple[RawFile, ...] | None
    existed: bool
    verify: bool


@dataclass(frozen=True)
class _Outcome:
    """What a worker did: kept (no ``temporary``), built (in ``temporary``) or failed (with a ``message``)."""

    raw: tuple[RawFile, ...] = ()
    checksum: str = ""
    temporary: Path | None = None
    message: str | None = None
    warnings: tuple[str, ...] = ()


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

    Args:
        dataset: the data set; with more than one worker it must pickle.
        root: folder of the store; made if missing.
        workers: processes that read cases, by default one a core; 1 reads in this process.
        verify: also hold prepared files against their checksums, and rebuild damaged cases. Without it only their
            lengths are looked at.
        progress: called as ``progress(done, total, case_id)`` after each case, kept ones too.

    Raises:
        InputError: the folder holds something else, or another data set; two cases share an id.
        CrosstaskError: another process prepares this store, the disk is full, or a worker process died. Finished cases
            stay, and the next call goes on from there.
    """
    root = Path(root)
    if workers is None:
        workers = cores()
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    _check_root(root)
    cases = list(dataset.cases())
    for case_id, times in Counter(case.id for case in cases).items():
        if times > 1:
            raise InputError(f"data set {dataset.name}: {times} cases have the id {case_id!r}: make the ids unique")
    with _write_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with locked(root, LOCK_NAME, "prepared"):
            _check_root(root)
            return _Preparation(dataset, root, verify, progress).run(cases, workers)


class _Preparation:
    """One call of :func:`prepare`, under the lock."""

    def __init__(self, dataset: Source[Any], root: Path, verify: bool, progress: Progress | None) -> None:
        self.dataset, self.root, self.verify, self.progress = dataset, root, verify, progress
        self.folder = root / CASES_NAME
        settings = dict(dataset.read_settings())
        self.settings = settings_digest(dataset.name, settings)
        self.index = Index(dataset.name, settings)
        self.report = PrepareReport()
        self.total = 0
        self.done = 0
        self.last_write = 0.0

    def run(self, cases: list[Any], workers: int) -> PrepareReport:
        before = self._earlier_index()
        self.folder.mkdir(exist_ok=True)
        self._sweep()
        folders = folder_names(case.id for case in cases)
        self.total = len(cases)
        self.cases = {case.id: case for case in cases}
        self.folders = folders
        jobs = [job for case in cases if (job := self._plan(case, folders[case.id], before)) is not None]
        # From here until the end the index holds nothing stale, whatever happens.
        self._write_index()
        self._remove_vanished(before)
        for case_id in self.report.kept:
            self._tell(case_id)
        try:
            if workers == 1:
                self._run_here(jobs)
            elif jobs:
                self._run_parallel(jobs, min(workers, len(jobs)))
        except BaseException:
            with suppress(OSError):  # what stopped us, a full disk perhaps, is the error to tell
                self._sweep()
                self._write_index()
            raise
        self._sweep()
        self._order_report()
        self._write_index(complete=True)
        return self.report

    def _earlier_index(self) -> dict[str, Entry]:
        """Entries of the store as it was; none if there was no store, or if ``store.json`` is damaged or older."""
        try:
            index = Index.read(self.root)
        except InputError:
            return {}
        if index.dataset != self.dataset.name:
            raise InputError(
                f"{self.root}: holds data set {index.dataset}, not {self.dataset.name}: choose another folder"
            )
        return index.entries

    def _plan(self, case: RawCase, folder: str, before: dict[str, Entry]) -> _Job | None:
        """Keep a case at a glance (None), or say what a worker has to do."""
        entry = before.get(case.id)
        try:
            header = read_header(self.folder / folder)
            check_files(self.folder / folder, header, content=False)
        except InputError:
            existed = entry is not None or (self.folder / folder).exists()
            return _Job(case, folder, None, existed, self.verify)
        if header.id != case.id or header.settings != _settings_of(case, self.settings):
            return _Job(case, folder, None, True, self.verify)
        # A kill can fall between the naming of a folder and its entry in the index: then the folder's own word counts.
        known = entry.raw if entry is not None and entry.checksum == header.checksum else header.raw
        if self.verify or not seems_unchanged(case.files, known):
            return _Job(case, folder, known, True, self.verify)
        self._enter(case, folder, known, header.checksum)
        self.report.kept.append(case.id)
        return None

    def _remove_vanished(self, before: dict[str, Entry]) -> None:
        """Remove the prepared cases that the data set no longer has."""
        wanted = set(self.folders.values())
        vanished = set(before)
        ours = {entry.folder for entry in before.values()}
        for folder in sorted(self.folder.iterdir()):
            if folder.name in wanted or not folder.is_dir() or _TEMPORARY.fullmatch(folder.name):
                continue
            if folder.name in ours or (folder / HEADER_NAME).is_file():
                vanished.update(_id_of(folder))
                self._discard(folder)
        self.report.removed.extend(sorted(vanished - set(self.cases)))

    def _run_here(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._settle(job, _work(self.dataset, self.folder, self.settings, job))

    def _run_parallel(self, jobs: list[_Job], workers: int) -> None:
        queue, pending = deque(jobs), dict[Future[_Outcome], _Job]()
        lost: list[_Job] = []
        error: CrosstaskError | None = None
        pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self.dataset, self.folder, self.settings),
        )
        try:
            while queue or pending:
                # No more jobs than workers at a time, so that those lost with a dead worker are known.
                while queue and len(pending) < workers:
                    try:
                        pending[pool.submit(_work_in_worker, queue[0])] = queue[0]
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
                f"a worker process died while preparing {names}, probably for want of memory: "
                "run it again with fewer workers; finished cases are kept"
            )

    def _settle(self, job: _Job, outcome: _Outcome) -> None:
        """Make a worker's outcome part of the store."""
        case, final = job.case, self.folder / job.folder
        if outcome.message is not None:
            self._discard(final)
            self.report.failed.append((case.id, outcome.message))
        else:
            if outcome.temporary is None:
                self.report.kept.append(case.id)
            else:
                self._discard(final)
                outcome.temporary.rename(final)
                (self.report.rebuilt if job.existed else self.report.written).append(case.id)
            self.report.warned += [(case.id, warning) for warning in outcome.warnings]
            self._enter(case, job.folder, outcome.raw, outcome.checksum)
            if time.monotonic() - self.last_write > _SECONDS_BETWEEN_INDEX_WRITES:
                self._write_index()
        self._tell(case.id)

    def _enter(self, case: RawCase, folder: str, raw: tuple[RawFile, ...], checksum: str) -> None:
        self.index.entries[case.id] = Entry(case.id, case.group, str(case.split), folder, raw, checksum)

    def _write_index(self, *, complete: bool = False) -> None:
        entries = {case_id: self.index.entries[case_id] for case_id in self.cases if case_id in self.index.entries}
        self.index = replace(self.index, complete=complete, entries=entries)
        self.index.write(self.root)
        self.last_write = time.monotonic()

    def _order_report(self) -> None:
        """The data set's order, not that in which the workers finished."""
        place = {case_id: number for number, case_id in enumerate(self.cases)}
        for ids in (self.report.written, self.report.kept, self.report.rebuilt):
            ids.sort(key=place.__getitem__)
        for told in (self.report.failed, self.report.warned):
            told.sort(key=lambda pair: place[pair[0]])

    def _tell(self, case_id: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, case_id)

    def _discard(self, folder: Path) -> None:
        """Remove a case's folder; it loses its name first, so that a kill leaves no part of it under that name."""
        if folder.exists():
            temporary = _temporary(self.folder, f"{folder.name}.old")
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


# --- in the worker ---

_WORKER: tuple[Source[Any], Path, str] | None = None


def _start_worker(dataset: Source[Any], folder: Path, settings: str) -> None:
    global _WORKER
    _WORKER = (dataset, folder, settings)
    follow_parent()


def _work_in_worker(job: _Job) -> _Outcome:
    assert _WORKER is not None
    return _work(*_WORKER, job)


def _work(dataset: Source[Any], folder: Path, settings: str, job: _Job) -> _Outcome:
    """Keep, build or fail one case; nothing under its final name is touched.

    Raises:
        CrosstaskError: the case cannot be written, or the reader has a fault that is not the input's.
    """
    case = job.case
    try:
        raw = job.known if job.known is not None and seems_unchanged(case.files, job.known) else fingerprint(case.files)
        header = _still_true(folder / job.folder, job, raw)
        if header is not None:
            return _Outcome(raw, header.checksum)
        data = dataset.read(case)
        if not seems_unchanged(case.files, raw):
            raise InputError("its raw files changed while they were read: run `crosstask prepare` again")
    except InputError as error:
        return _Outcome(message=str(error))
    except OSError as error:
        return _Outcome(message=f"{error.filename or 'its raw files'}: {error.strerror or error}: make it readable")
    except MemoryError as error:
        raise CrosstaskError(f"case {case.id}: not enough memory to read it: run it with fewer workers") from error
    except CrosstaskError:
        raise
    except Exception as error:
        raise CrosstaskError(f"case {case.id}: cannot be read: {_line(error)}") from error
    temporary = _temporary(folder, job.folder)
    try:
        with _write_errors(folder.parent):
            temporary.mkdir()
            header = write_case(temporary, case.id, data, settings=_settings_of(case, settings), raw=raw)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, MemoryError):
            raise CrosstaskError(f"case {case.id}: not enough memory to write it: run it with fewer workers") from error
        if isinstance(error, Exception) and not isinstance(error, CrosstaskError):
            raise CrosstaskError(f"case {case.id}: cannot be written: {_line(error)}") from error
        raise
    warnings = tuple(finding.message for finding in getattr(data, "findings", ()) if finding.severity == "warning")
    return _Outcome(raw, header.checksum, temporary, warnings=warnings)


def _still_true(folder: Path, job: _Job, raw: tuple[RawFile, ...]) -> CaseHeader | None:
    """The header of the prepared case if it may be kept, else None."""
    if job.known is None or not same_content(raw, job.known):
        return None
    try:
        header = read_header(folder)
        check_files(folder, header, content=job.verify)
    except InputError:
        return None
    return header


# --- small helpers ---


def _settings_of(case: Any, settings: str) -> str:
    """Digest of all but the raw files that a case was read with."""
    facts = getattr(case, "facts", None)
    return digest([settings, facts]) if facts else settings


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
        # A damaged index is mended, but only where all else looks like a store of ours.
        if names - {INDEX_NAME, CASES_NAME, STATISTICS_NAME} or CASES_NAME not in names:
            raise InputError(f"{root}: holds a {INDEX_NAME} that is no store's: choose an empty folder") from error


@contextmanager
def _write_errors(root: Path) -> Iterator[None]:
    """Turn what a disk can refuse into one line that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CrosstaskError(
                f"{root}: the disk is full: free some space and run `crosstask prepare` again; finished cases are kept"
            ) from error
        raise CrosstaskError(
            f"{root}: cannot be written: {_line(error)}: mend this or choose another folder"
        ) from error


def _id_of(folder: Path) -> list[str]:
    try:
        return [read_header(folder).id]
    except InputError:
        return []


def _temporary(folder: Path, name: str) -> Path:
    return folder / f".tmp-{os.getpid()}-{name}"


def _line(error: BaseException) -> str:
    """An error of any kind on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
