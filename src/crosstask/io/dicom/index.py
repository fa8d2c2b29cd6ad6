"""What lies in a folder of DICOM files, whatever their names and however they are mixed."""

from __future__ import annotations

import filecmp
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from crosstask.errors import CrosstaskError, InputError
from crosstask.io.dicom.header import MAKER, PREDICTED, Header, looks_like_dicom
from crosstask.processes import cores, follow_parent

Progress = Callable[[int, int, str], None]

_FILES_PER_JOB = 200
_FILES_WORTH_WORKERS = 2000
"""Below it the start of worker processes takes longer than the reading."""
_DIRECTORY = "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"
"""What only a DICOMDIR has, which lists files and is none of them."""
_KEYWORDS = [
    _DIRECTORY,
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "PatientID",
    "Manufacturer",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "FrameOfReferenceUID",
    "ReferencedFrameOfReferenceSequence",
    "StructureSetROISequence",
    "ReferencedRTPlanSequence",
    "ReferencedStructureSetSequence",
]


@dataclass(frozen=True)
class DicomFile:
    """What the header of one file says of its place among others.

    Attributes:
        path: the file.
        modality: CT, RTSTRUCT, RTDOSE, RTPLAN and others.
        sop_class, sop_instance: unique identifiers of what it is, and of itself.
        patient_id: as in the file; may be empty.
        study, series: unique identifiers; a study is one visit of a patient in DICOM's sense.
        frame_of_reference: of the positions in it; empty if the file does not say.
        frames: all frames of reference that it names, of which a structure set may have several.
        references: what it was made for: series of an RTSTRUCT, SOP instances of RTPLANs of an RTDOSE, of structure
            sets of an RTPLAN or RTDOSE.
        plans: SOP instances of RTPLANs among them.
        localizer: a planning view of a scanner, no slice.
        predicted: written by this package, as a prediction.
    """

    path: Path
    modality: str
    sop_class: str
    sop_instance: str
    patient_id: str
    study: str
    series: str
    frame_of_reference: str
    frames: frozenset[str]
    references: tuple[str, ...]
    plans: tuple[str, ...]
    localizer: bool
    predicted: bool


@dataclass(frozen=True)
class Duplicate:
    """A file with the SOP instance of another.

    Attributes:
        path: this file, not in the index.
        kept: the one that is, the first by path.
        same: whether the two are equal to the last byte; if not, one of them was changed and kept its identifier.
    """

    path: Path
    kept: Path
    same: bool


@dataclass(frozen=True)
class DicomIndex:
    """The DICOM files of a folder.

    Attributes:
        folder: the folder.
        files: one for each SOP instance, sorted by path.
        duplicates: further files of the same SOP instances.
        unreadable: DICOM files that cannot be read, and folders that cannot be looked into, each with the reason.
        ignored: how many files are no DICOM, or only list others (DICOMDIR).
    """

    folder: Path
    files: tuple[DicomFile, ...]
    duplicates: tuple[Duplicate, ...]
    unreadable: tuple[tuple[Path, str], ...]
    ignored: int

    def patients(self) -> dict[str, dict[str, dict[str, tuple[DicomFile, ...]]]]:
        """Files by patient id, study and series; files without a patient id are together under ``""``."""
        tree: dict[str, dict[str, dict[str, tuple[DicomFile, ...]]]] = {}
        for file in self.files:
            series = tree.setdefault(file.patient_id, {}).setdefault(file.study, {})
            series[file.series] = (*series.get(file.series, ()), file)
        return tree

    def of(self, modality: str, *, patient_id: str | None = None) -> tuple[DicomFile, ...]:
        """Files of a modality (without localizers), of one patient or all."""
        return tuple(
            file
            for file in self.files
            if file.modality == modality and not file.localizer and patient_id in (None, file.patient_id)
        )


def index_folder(folder: Path, *, workers: int | None = None, progress: Progress | None = None) -> DicomIndex:
    """Read the headers of all files in a folder and in those below it.

    Links are followed, each folder is looked into once, and only regular files are opened.

    Args:
        folder: the folder.
        workers: processes that read, by default one a core where there are some thousand files; 1 reads in this one.
        progress: called as ``progress(done, total, name)`` now and then, the name being that of a file just read.

    Raises:
        InputError: no such folder, or no worker at all.
        CrosstaskError: a worker process died.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the path")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    paths, closed = _walk(folder)
    jobs = [paths[start : start + _FILES_PER_JOB] for start in range(0, len(paths), _FILES_PER_JOB)]
    if workers is None:
        workers = 1 if len(paths) < _FILES_WORTH_WORKERS else cores()
    readings: list[_Reading] = []
    for part in _read_here(paths) if workers == 1 else _read_parallel(jobs, workers):
        readings.extend(part)
        if progress is not None:
            progress(len(readings), len(paths), readings[-1].path.name)
    readings.extend(_Reading(path, reason=reason) for path, reason in closed)
    return _index_of(folder, sorted(readings, key=lambda reading: reading.path))


def _walk(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Regular files below a folder, and the folders that cannot be looked into, with the reason.

    A folder that links lead to again is not entered again.
    """
    paths: list[Path] = []
    closed: list[tuple[Path, str]] = []

    def refused(error: OSError) -> None:
        reason = f"{error.filename}: cannot be looked into ({error.strerror}); check the folder and its permissions"
        closed.append((Path(error.filename), reason))

    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, onerror=refused, followlinks=True):
        try:
            state = Path(root).stat()
            if (state.st_dev, state.st_ino) in seen:
                folders.clear()
                continue
            seen.add((state.st_dev, state.st_ino))
            folders.sort()
            paths.extend(path for name in sorted(names) if (path := Path(root, name)).is_file())
        except OSError as error:  # a folder that can be listed but not entered, or that has just gone
            folders.clear()
            refused(error)
    return paths, closed


@dataclass(frozen=True)
class _Reading:
    """One file: its place among others, the reason why it cannot be read, or neither if it is to be ignored."""

    path: Path
    file: DicomFile | None = None
    reason: str | None = None


def _read(path: Path) -> _Reading:
    try:
        if not looks_like_dicom(path):
            return _Reading(path)
        header = Header.read(path, only=_KEYWORDS)
        return _Reading(path) if header.has(_DIRECTORY) else _Reading(path, file=_file_of(header))
    except InputError as error:
        return _Reading(path, reason=str(error))


def _file_of(header: Header) -> DicomFile:
    return DicomFile(
        path=header.path,
        modality=header.text("Modality"),
        sop_class=header.uid("SOPClassUID"),
        sop_instance=header.uid("SOPInstanceUID"),
        patient_id=header.text("PatientID", ""),
        study=header.uid("StudyInstanceUID"),
        series=header.uid("SeriesInstanceUID"),
        frame_of_reference=frame_of_reference(header),
        frames=frozenset(_frames(header)),
        references=tuple(dict.fromkeys(_references(header))),
        plans=tuple(dict.fromkeys(_instances(header, "ReferencedRTPlanSequence"))),
        localizer="LOCALIZER" in header.text("ImageType", "").split("\\"),
        predicted=_predicted(header),
    )


def _predicted(header: Header) -> bool:
    try:
        return (header.text("Manufacturer", ""), header.text("SeriesDescription", "")) == (MAKER, PREDICTED)
    except InputError:  # a damaged description decides nothing
        return False


def frame_of_reference(header: Header) -> str:
    """Identifier of the space of a file's positions; a structure set names it in a sequence. Empty if it is missing."""
    return next(iter(_frames(header)), "")


def _frames(header: Header) -> list[str]:
    """All that a file names: its own, then those of its structures, then those that it refers to."""
    items = [*header.items("StructureSetROISequence"), *header.items("ReferencedFrameOfReferenceSequence")]
    named = [item.uid("ReferencedFrameOfReferenceUID", "") or item.uid("FrameOfReferenceUID", "") for item in items]
    return [uid for uid in dict.fromkeys((header.uid("FrameOfReferenceUID", ""), *named)) if uid]


def referenced_series(header: Header) -> list[str]:
    """Series that a structure set was drawn on."""
    found = [
        series.uid("SeriesInstanceUID", "")
        for frame in header.items("ReferencedFrameOfReferenceSequence")
        for study in frame.items("RTReferencedStudySequence")
        for series in study.items("RTReferencedSeriesSequence")
    ]
    return [uid for uid in found if uid]


def _references(header: Header) -> Iterable[str]:
    yield from referenced_series(header)
    for keyword in ("ReferencedRTPlanSequence", "ReferencedStructureSetSequence"):
        yield from _instances(header, keyword)


def _instances(header: Header, keyword: str) -> Iterator[str]:
    """SOP instances that the items of a sequence name; an item that names none is passed over."""
    yield from (uid for item in header.items(keyword) if (uid := item.uid("ReferencedSOPInstanceUID", "")))


def _read_here(paths: list[Path]) -> Iterator[list[_Reading]]:
    for path in paths:
        yield [_read(path)]


def _read_job(paths: list[Path]) -> list[_Reading]:
    return [_read(path) for path in paths]


def _read_parallel(jobs: list[list[Path]], workers: int) -> Iterator[list[_Reading]]:
    pool = ProcessPoolExecutor(
        max(1, min(workers, len(jobs))),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=follow_parent,
    )
    try:
        for future in as_completed([pool.submit(_read_job, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool:
        raise CrosstaskError(
            "a worker process died while reading DICOM headers, probably out of memory: run it again with fewer workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _index_of(folder: Path, readings: list[_Reading]) -> DicomIndex:
    kept: dict[str, DicomFile] = {}
    duplicates = []
    for reading in readings:
        if reading.file is None:
            continue
        first = kept.setdefault(reading.file.sop_instance, reading.file)
        if first is not reading.file:
            duplicates.append(Duplicate(reading.path, first.path, _same(reading.path, first.path)))
    return DicomIndex(
        folder=folder,
        files=tuple(kept.values()),
        duplicates=tuple(duplicates),
        unreadable=tuple((reading.path, reading.reason) for reading in readings if reading.reason is not None),
        ignored=sum(reading.file is None and reading.reason is None for reading in readings),
    )


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
