"""Of several DICOM files that could make a patient's case: their order, their names, and what is to be said of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from crosstask.errors import InputError
from crosstask.io.dicom.header import Header
from crosstask.io.dicom.index import DicomFile

T = TypeVar("T")

_WHEN = {
    "RTPLAN": ("RTPlanDate", "RTPlanTime"),
    "RTSTRUCT": ("StructureSetDate", "StructureSetTime"),
    "RTDOSE": ("InstanceCreationDate", "InstanceCreationTime"),
}
_STATUS = {"REJECTED": 0, "APPROVED": 2}
"""All others, and none, are between them."""
_SHORTEST = 3
"""Letters of a part of a name that count as the patient's: shorter ones are in every label."""
_LONGEST, _LISTED = 40, 12
"""Letters of a label, and labels of all patients, that are shown."""
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")


@dataclass(frozen=True)
class Remark:
    """One line on what was chosen or left out.

    Attributes:
        text: holds nothing of what the files say in free text, so it may be kept.
        warning: something was chosen that the files do not decide, or a label was lost.
        more: names of what there is to choose from, and how; for the terminal alone.
    """

    text: str
    warning: bool = False
    more: str = ""

    @property
    def line(self) -> str:
        """All of it."""
        return f"{self.text}; {self.more}" if self.more else self.text


@dataclass
class Remarks:
    """Remarks on one patient, as they come up."""

    all: list[Remark] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say what follows from the files."""
        self.all.append(Remark(text))

    def warn(self, text: str, more: str = "") -> None:
        """Say what the files do not decide, or what is lost."""
        self.all.append(Remark(text, True, more))

    def left_out(self, what: str, number: int, total: int, why: str, *, warning: bool = True) -> None:
        """Say how many files of a kind are passed over; nothing if it is none."""
        if number:
            self.all.append(Remark(f"{number} of {total} {what} left out: {why}", warning))


@dataclass(frozen=True)
class Names(Generic[T]):
    """How candidates are called.

    Attributes:
        given: by which one can be asked for.
        shown: in quotes, in messages; empty if there is none that may be shown.
    """

    given: Callable[[T], Iterable[str]]
    shown: Callable[[T], str]


def text_of(file: DicomFile, keyword: str) -> str:
    """An attribute that decides between files; a damaged one decides nothing, and is told when the file is read."""
    try:
        return Header.read(file.path, only=[keyword]).text(keyword, "")
    except InputError:
        return ""


def together(one: DicomFile, other: DicomFile) -> bool:
    """Whether positions in two files can be in the same space; a file that does not say is believed."""
    return not one.frames or not other.frames or bool(one.frames & other.frames)


def best(what: str, files: Sequence[DicomFile], remarks: Remarks, *, more: str = "") -> DicomFile | None:
    """The approved file before others, then the latest by the date in it, then the last by its identifier.

    Args:
        what: the files are.
        files: any number of them.
        remarks: take a warning where the choice is between several.
        more: to go on with there.
    """
    if len(files) < 2:
        return files[0] if files else None
    ranked = sorted(files, key=_rank)
    remarks.warn(f"the {what} is one of {len(files)}: {_reason(_rank(ranked[-1]), _rank(ranked[-2]))}", more)
    return ranked[-1]


def files_of(files: Sequence[DicomFile]) -> str:
    """What there is to choose from where nothing but the files' names tells one from another."""
    return f"there are {', '.join(sorted(file.path.name for file in files))}; take out of the folder what is not meant"


def _rank(file: DicomFile) -> tuple[int, str, str]:
    """Approval, date and time, identifier."""
    date, time = (text_of(file, keyword) for keyword in _WHEN[file.modality])
    return _STATUS.get(text_of(file, "ApprovalStatus"), 1), f"{date} {time}", file.sop_instance


def _reason(first: tuple[int, str, str], second: tuple[int, str, str]) -> str:
    if first[0] != second[0]:
        return "the approved one" if first[0] == _STATUS["APPROVED"] else "the one that is not rejected"
    return "the latest" if first[1] != second[1] else "none is later or approved, so the last by identifier"


def matching(candidates: Sequence[T], wanted: Sequence[str], names: Callable[[T], Iterable[str]]) -> list[T]:
    """Candidates that the first of the wanted names fits that fits any.

    A name fits as it is written but for case, or else as a pattern with ``*`` and ``?``.

    Args:
        candidates: to choose from.
        wanted: names, in their order.
        names: of a candidate.
    """
    theirs = [[name.casefold() for name in names(one) if name] for one in candidates] if wanted else []
    for name in wanted:
        plain = name.casefold().strip()
        for fits in (str.__eq__, fnmatch.fnmatchcase):
            found = [one for one, its in zip(candidates, theirs, strict=True) if any(fits(each, plain) for each in its)]
            if found:
                return found
    return []


def of_one_patient(wanted: Sequence[str]) -> bool:
    """Whether all that is asked for are UIDs, which are never meant for another patient."""
    return all(_UID.fullmatch(name) for name in wanted)


def check_fit(option: str, what: str, candidates: Sequence[T], wanted: Sequence[str], names: Names[T]) -> None:
    """Make sure that every name fits something of some patient.

    Args:
        option: that gives the names.
        what: the candidates are.
        candidates: of all patients.
        wanted: names.
        names: of a candidate, and how it is shown.

    Raises:
        InputError: one fits nothing; the message lists what there is.
    """
    for name in wanted:
        if not matching(candidates, [name], names.given):
            there = sorted({names.shown(one) for one in candidates} - {""})
            more = ", ..." if len(there) > _LISTED else ""
            raise InputError(f"{option}={name}: fits no {what}; there are {', '.join(there[:_LISTED]) or 'none'}{more}")


def shown(file: DicomFile, keyword: str) -> str:
    """A label or description to show, in quotes; empty if there is none, or if it holds the patient's name or id."""
    try:
        header = Header.read(file.path, only=[keyword, "PatientName", "PatientID", "PatientBirthDate"])
        label = header.text(keyword, "")
        secrets = [part for one in ("PatientName", "PatientID", "PatientBirthDate") for part in _parts(header, one)]
    except InputError:
        return ""
    if not label or not label.isprintable() or any(part in label.casefold() for part in secrets):
        return ""
    return f"'{label[:_LONGEST]}'"


def _parts(header: Header, keyword: str) -> Iterator[str]:
    """An identifier and the words in it, of those that are long enough to tell one patient from another."""
    whole = header.text(keyword, "").casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in whole).split()
    yield from (part for part in {whole, *words} if len(part) >= _SHORTEST)
