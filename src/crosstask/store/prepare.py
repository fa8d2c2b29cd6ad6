"""Write the cases of a data set to a store: in parallel, once, and again only where something changed.

Worker processes read cases and write them to temporary folders. Only this process, which holds the store's lock, gives
a finished folder its name and enters it in ``store.json``. So a kill at any moment leaves whole cases, no parts.

A store that is whole stays so while others read it: cases that replace older ones are put aside under a name of their
own, and take their place together at the end, which is a matter of moments. Where nothing has to be written nothing is
locked, so a store that cannot be written to can be used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from crosstask.buckets import Bucket, store_place
from crosstask.errors import InputError
from crosstask.files import is_writable
from crosstask.locks import locked
from crosstask.store.bucket_preparation import BucketPreparation, check_bucket, leased, scratch_folder
from crosstask.store.index import CASES_NAME, COLUMN_FILE, INDEX_NAME, LOCK_NAME, STATISTICS_NAME, read_head
from crosstask.store.journal import JOURNAL_NAME
from crosstask.store.preparation import INDEX_TEMPORARY, Preparation, PrepareReport, Progress
from crosstask.store.protocols import CaseT, Source
from crosstask.store.work import write_errors


def prepare(
    dataset: Source[CaseT],
    root: Path | str | Bucket,
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
            Or its address on object storage, e.g. ``s3://bucket/prefix``.
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
    root = store_place(root)
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    if isinstance(root, Bucket):
        check_bucket(root)
    else:
        _check_root(root)
    cases = list(dataset.cases())
    for case_id, times in Counter(case.id for case in cases).items():
        if times > 1:
            raise InputError(f"data set {dataset.name}: {times} cases have the id {case_id!r}: make the ids unique")
    if isinstance(root, Bucket):
        return _prepare_bucket(dataset, root, cases, workers, verify, progress)
    preparation = Preparation(dataset, root, cases, verify, progress)
    with write_errors(root):
        if preparation.nothing_to_do():
            preparation.tell_kept()
            return preparation.finish()
        root.mkdir(parents=True, exist_ok=True)
        if not is_writable(root):
            return Preparation(dataset, root, cases, verify, progress, fixed=True).run(workers)
        with locked(root, LOCK_NAME, "prepared"):
            _check_root(root)
            return Preparation(dataset, root, cases, verify, progress).run(workers)


def _prepare_bucket(
    dataset: Source[CaseT],
    bucket: Bucket,
    cases: list[CaseT],
    workers: int | None,
    verify: bool,
    progress: Progress | None,
) -> PrepareReport:
    """:func:`prepare` for object storage."""
    with scratch_folder() as scratch, write_errors(bucket):
        preparation = BucketPreparation(dataset, bucket, cases, verify, progress, scratch=scratch, lease=None)
        if preparation.nothing_to_do():
            preparation.tell_kept()
            return preparation.finish()
        with leased(bucket) as lease:
            return BucketPreparation(dataset, bucket, cases, verify, progress, scratch=scratch, lease=lease).run(
                workers
            )


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


def outlook(dataset: Source[CaseT], root: Path | str | Bucket) -> Outlook:
    """What :func:`prepare` would do; nothing is written, and nothing is locked.

    Args:
        dataset: the data set.
        root: folder of the store, or its address on object storage, there or not.

    Raises:
        InputError: the folder holds something else, or another data set.
    """
    root, cases = store_place(root), list(dataset.cases())
    preparation: Preparation
    if isinstance(root, Bucket):
        check_bucket(root)
        preparation = BucketPreparation(dataset, root, cases, False, None, scratch=Path(), lease=None)
    else:
        _check_root(root)
        preparation = Preparation(dataset, root, cases, False, None, fixed=True)
    jobs = preparation._plan()
    return Outlook(
        preparation.report.kept,
        [job.case.id for job in jobs if not job.existed],
        [job.case.id for job in jobs if job.existed],
        [case_id for case_id in preparation.before if case_id not in preparation.cases],
    )


def _check_root(root: Path) -> None:
    """Refuse a folder that holds something else than a store, before anything in it is touched."""
    if not root.exists():
        return
    if not root.is_dir():
        raise InputError(f"{root}: is a file: name a folder for the store")
    names = {path.name for path in root.iterdir()} - {LOCK_NAME}
    names = {name for name in names if not INDEX_TEMPORARY.fullmatch(name)}
    if not names:
        return
    if INDEX_NAME not in names:
        raise InputError(f"{root}: is not empty and holds no {INDEX_NAME}: choose an empty folder for the store")
    try:
        read_head(root)
    except InputError as error:
        # A damaged index is fixed, but only where all else looks like a store of ours.
        names = {name for name in names if not COLUMN_FILE.fullmatch(name)}
        if names - {INDEX_NAME, CASES_NAME, STATISTICS_NAME, JOURNAL_NAME} or CASES_NAME not in names:
            raise InputError(f"{root}: holds a {INDEX_NAME} that is no store's: choose an empty folder") from error
