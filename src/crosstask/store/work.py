"""What one process does with one case: read it and write it to a temporary folder, or see that it may be kept."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from crosstask.errors import CrosstaskError, InputError
from crosstask.processes import begin
from crosstask.store.fingerprint import RawFile, digest, fingerprint, same_content, seems_unchanged
from crosstask.store.format import check_files, read_description, write_case
from crosstask.store.protocols import RawData, Source
from crosstask.store.table import Entry, entry_of, raw_json


@dataclass(frozen=True)
class Job:
    """One case for a worker.

    Attributes:
        case: the data set's.
        folder: name of the prepared case's folder, which is there or will be.
        known: state of the raw files when the prepared case was written; None if it must be written in any case.
        existed: whether there is a prepared case already.
        verify: whether the prepared files are to be held against their checksums.
        fixed: the store cannot be written, so the case must be as it is.
    """

    case: Any
    folder: str
    known: tuple[RawFile, ...] | None
    existed: bool
    verify: bool
    fixed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a worker did: kept or built (with an ``entry``), or failed (with a ``message``).

    Attributes:
        entry: what there is of the case.
        built: whether it was built, and not kept.
        temporary: folder of a case that was built here.
        message: why the case cannot be read.
        warnings: what reading a case that was built warned of.
    """

    entry: Entry | None = None
    built: bool = False
    temporary: Path | None = None
    message: str | None = None
    warnings: tuple[str, ...] = ()


class Bench(Protocol):
    """Where workers put what they build, and look at what is there."""

    @property
    def place(self) -> object:
        """Of the store, for messages."""

    def still_true(self, job: Job, raw: tuple[RawFile, ...]) -> Entry | None:
        """What there is of a prepared case if it may be kept, else None."""

    def temporary(self, job: Job) -> Path:
        """A folder that is not there yet, to write a case to."""

    def delivered(self, temporary: Path, entry: Entry) -> tuple[Entry, Path | None]:
        """A case that was written: its entry, and where it lies if it is yet to get its name."""


@dataclass(frozen=True)
class FolderBench:
    """The folder of all prepared cases."""

    folder: Path

    @property
    def place(self) -> Path:
        """Of the store."""
        return self.folder.parent

    def still_true(self, job: Job, raw: tuple[RawFile, ...]) -> Entry | None:
        """See :class:`Bench`."""
        if job.known is None or not same_content(raw, job.known):
            return None
        try:
            header, described = read_description(self.folder / job.folder)
            check_files(self.folder / job.folder, header, content=job.verify)
        except InputError:
            return None
        return entry_of(job.case, job.folder, raw_json(raw), header, described)

    def temporary(self, job: Job) -> Path:
        """See :class:`Bench`."""
        return temporary_folder(self.folder, job.folder)

    def delivered(self, temporary: Path, entry: Entry) -> tuple[Entry, Path | None]:
        """See :class:`Bench`; only the preparation itself gives names."""
        return entry, temporary


_WORKER: tuple[Source[Any], Bench, str] | None = None


def start_worker(dataset: Source[Any], bench: Bench, settings: str, environment: Mapping[str, str]) -> None:
    """Begin a process that does :func:`work_in_worker`; see :func:`crosstask.processes.begin`."""
    global _WORKER
    begin(environment)
    _WORKER = (dataset, bench, settings)


def work_in_worker(job: Job) -> Outcome:
    """:func:`work` with what :func:`start_worker` was given."""
    assert _WORKER is not None
    return work(*_WORKER, job)


def work(dataset: Source[Any], bench: Bench, settings: str, job: Job) -> Outcome:
    """Keep, build or fail one case; nothing under its final name is touched.

    Args:
        dataset: reads the case.
        bench: where prepared cases are put.
        settings: digest of the read settings.
        job: the case.

    Raises:
        CrosstaskError: the case cannot be written, or the reader has a fault that is not the input's.
    """
    case = job.case
    try:
        raw = job.known if job.known is not None and seems_unchanged(case.files, job.known) else fingerprint(case.files)
        kept = bench.still_true(job, raw)
        if kept is not None:
            return Outcome(kept)
        if job.fixed:
            raise CrosstaskError(
                f"{bench.place}: cannot be written, and case {case.id} must be prepared anew; make the folder "
                "writable, or give another store="
            )
        data = dataset.read(case)
        _must_be_numbers(data)
        if not seems_unchanged(case.files, raw):
            raise InputError("its raw files changed while they were read: run `crosstask prepare` again")
    except InputError as error:
        return Outcome(message=str(error))
    except OSError as error:
        return Outcome(message=f"{error.filename or 'its raw files'}: {error.strerror or error}: make it readable")
    except MemoryError as error:
        raise CrosstaskError(f"case {case.id}: not enough memory to read it: run it with fewer workers") from error
    except CrosstaskError:
        raise
    except Exception as error:
        raise CrosstaskError(f"case {case.id}: cannot be read: {line_of(error)}") from error
    temporary = bench.temporary(job)
    try:
        with write_errors(bench.place):
            temporary.mkdir()
            header, described = write_case(temporary, case.id, data, settings=settings_of(case, settings), raw=raw)
            entry, left = bench.delivered(temporary, entry_of(case, job.folder, raw_json(raw), header, described))
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, MemoryError):
            raise CrosstaskError(f"case {case.id}: not enough memory to write it: run it with fewer workers") from error
        if isinstance(error, Exception) and not isinstance(error, CrosstaskError):
            raise CrosstaskError(f"case {case.id}: cannot be written: {line_of(error)}") from error
        raise
    warnings = tuple(issue.message for issue in getattr(data, "issues", ()) if issue.severity == "warning")
    return Outcome(entry, True, left, warnings=warnings)


def _must_be_numbers(data: RawData) -> None:
    """Refuse voxels that are NaN or infinite, which would spread through every network that sees the case.

    Data sets have rules of their own for them; this is for those that a rule did not see.

    Raises:
        InputError: an array holds one.
    """
    for name, array in data.arrays.items():
        if array.ndim > 1 and array.dtype.kind == "f" and not np.isfinite(array).all():
            count = array.size - int(np.count_nonzero(np.isfinite(array)))
            raise InputError(
                f"{count} of {array.size} values of its {name!r} are no finite numbers (NaN or infinite); fix its "
                "files, or take the case out"
            )


def settings_of(case: Any, settings: str) -> str:
    """Digest of all but the raw files that a case was read with."""
    facts = getattr(case, "facts", None)
    return digest([settings, facts]) if facts else settings


@contextmanager
def write_errors(root: object) -> Iterator[None]:
    """Turn what a disk can refuse into one line that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CrosstaskError(
                f"{root}: the disk is full: free some space and run `crosstask prepare` again; finished cases are kept"
            ) from error
        raise CrosstaskError(
            f"{root}: cannot be written: {line_of(error)}: fix this or choose another folder"
        ) from error


def temporary_folder(folder: Path, name: str) -> Path:
    """Folder of this process for what has no name yet, or no longer."""
    return folder / f".tmp-{os.getpid()}-{name}"


def line_of(error: BaseException) -> str:
    """An error of any kind on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
