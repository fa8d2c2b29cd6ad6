"""Which CT series, structure set, dose and plan of a patient belong together: one of each makes a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.errors import InputError
from crosstask.io.dicom import Header
from crosstask.io.dicom_index import DicomFile
from crosstask.io.dicom_rt import Beam, beams_of_dose, beams_of_plan

_WHEN = {
    "RTPLAN": ("RTPlanDate", "RTPlanTime"),
    "RTSTRUCT": ("StructureSetDate", "StructureSetTime"),
    "RTDOSE": ("InstanceCreationDate", "InstanceCreationTime"),
}
_WHOLE_PLAN = "PLAN"
"""Dose summation type of a dose of all beams and fractions."""


@dataclass(frozen=True)
class Choice:
    """The files of one case.

    Attributes:
        ct: slices of one series, in no order.
        structures, plan: one file each, or None.
        doses: one file, or several that are to be added up; none if there is no dose of a whole plan.
        notes: what was chosen among several and what was left out, and why; no identifier is in them.
    """

    ct: tuple[Path, ...]
    structures: Path | None
    doses: tuple[Path, ...]
    plan: Path | None
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.ct, *self.doses, *(path for path in (self.structures, self.plan) if path is not None))


def choose(files: Sequence[DicomFile]) -> Choice:
    """One plan of a patient with its dose, its structures and its CT.

    Structure sets and doses that this package predicted are left out. The rule, step by step; of several that fit, an
    APPROVED one comes before others, then the latest by the date in the file, then the last by its identifier:

    1. *Plan*: one that a dose of a whole plan was computed for; without such a dose, any.
    2. *Dose*: of that plan, if there is a plan; with summation type PLAN. Without one, doses of single beams or
       fraction groups are added up if together they are of every beam that treats, each once; else the dose is a
       missing label.
    3. *Structures*: the set that the plan was made on, else the one that the dose names, else one in the dose's frame
       of reference, else any.
    4. *CT*: the series that the structures were drawn on, else the one with the most slices in the frame of reference
       of structures or dose, else that with the most slices of all.
    5. What lies in another frame of reference than the CT is left out.

    Args:
        files: all files of the patient.

    Raises:
        InputError: there is no CT.
    """
    notes: list[str] = []
    of = {kind: [file for file in files if file.modality == kind and not file.localizer] for kind in ("CT", *_WHEN)}
    for kind, what in (("RTSTRUCT", "structure sets"), ("RTDOSE", "doses")):
        planned = [file for file in of[kind] if not file.predicted]  # never to be learned from
        if left := len(of[kind]) - len(planned):
            notes.append(f"{left} of {len(of[kind])} {what} left out: predicted, not planned")
        of[kind] = planned
    plan, doses = _plan_and_doses(of["RTPLAN"], of["RTDOSE"], notes)
    dose = doses[0] if doses else None
    named = [file for file in (plan, dose) if file is not None]
    sets = next(
        (
            found
            for found in (
                *([one for one in of["RTSTRUCT"] if one.sop_instance in file.references] for file in named),
                [one for one in of["RTSTRUCT"] if dose is not None and _together(one, dose)],
                of["RTSTRUCT"],
            )
            if found
        ),
        [],
    )
    structures = _best("structure set", sets, notes)
    ct = _series(of["CT"], structures, dose, notes)
    if not all(_together(file, ct[0]) for file in doses):
        doses = []
        notes.append("the dose left out: it lies in another frame of reference than the CT")
    if structures is not None and not _together(structures, ct[0]):
        structures = None
        notes.append("the structure set left out: it lies in another frame of reference than the CT")
    return Choice(
        ct=tuple(file.path for file in ct),
        structures=structures.path if structures else None,
        doses=tuple(file.path for file in doses),
        plan=plan.path if plan else None,
        notes=tuple(notes),
    )


def _plan_and_doses(
    plans: Sequence[DicomFile], doses: Sequence[DicomFile], notes: list[str]
) -> tuple[DicomFile | None, list[DicomFile]]:
    """Steps 1 and 2 of the rule."""
    whole = [dose for dose in doses if _text(dose, "DoseSummationType") in (_WHOLE_PLAN, "")]
    parts = [dose for dose in doses if dose not in whole]
    summed = {} if whole else {plan.sop_instance: _parts(plan, parts, notes) for plan in plans}
    computed = [
        plan
        for plan in plans
        if summed.get(plan.sop_instance) or any(plan.sop_instance in dose.references for dose in whole)
    ]
    plan = _best("plan", computed or plans, notes)
    chosen = [] if plan is None else summed.get(plan.sop_instance, [])
    if chosen:
        notes.append(f"the dose is the sum of {len(chosen)}, of single beams or fraction groups")
    else:
        own = [dose for dose in whole if plan is None or not computed or plan.sop_instance in dose.references]
        best = _best("dose", own, notes)
        chosen = [] if best is None else [best]
    if left := len([dose for dose in parts if dose not in chosen]):
        notes.append(f"{left} of {len(doses)} doses left out: not of a whole plan (DoseSummationType)")
    return plan, chosen


def _parts(plan: DicomFile, doses: Sequence[DicomFile], notes: list[str]) -> list[DicomFile]:
    """Doses of beams or fraction groups that make up a plan's dose, each beam once; none if they do not."""
    try:
        beams = beams_of_plan(plan.path)
        of_beams: dict[frozenset[Beam], list[DicomFile]] = {}
        for dose in doses:
            if plan.sop_instance in dose.references and (its := beams_of_dose(dose.path, beams)):
                of_beams.setdefault(its, []).append(dose)
    except InputError:  # a damaged file decides nothing, and is told when it is read
        return []
    covered = [beam for its in of_beams for beam in its]
    if not beams or sorted(covered) != sorted(beams):
        return []
    chosen = [_best("dose of some beams", same, notes) for same in of_beams.values()]
    return sorted((dose for dose in chosen if dose is not None), key=lambda dose: dose.path)


def _together(one: DicomFile, other: DicomFile) -> bool:
    """Whether two files' positions are in the same space; one that does not say is believed to be."""
    frames = {one.frame_of_reference, other.frame_of_reference} - {""}
    return len(frames) < 2


def _text(file: DicomFile, keyword: str) -> str:
    """An attribute that decides between files; a damaged one decides nothing, and is told when the file is read."""
    try:
        return Header.read(file.path, only=[keyword]).text(keyword, "")
    except InputError:
        return ""


def _best(what: str, files: Sequence[DicomFile], notes: list[str]) -> DicomFile | None:
    if len(files) < 2:
        return files[0] if files else None
    ranked = sorted(files, key=_rank)
    notes.append(f"the {what} is one of {len(files)}: {_reason(_rank(ranked[-1]), _rank(ranked[-2]))}")
    return ranked[-1]


def _rank(file: DicomFile) -> tuple[bool, str, str]:
    """Approved, date and time, identifier."""
    date, time = (_text(file, keyword) for keyword in _WHEN[file.modality])
    return _text(file, "ApprovalStatus") == "APPROVED", f"{date} {time}", file.sop_instance


def _reason(first: tuple[bool, str, str], second: tuple[bool, str, str]) -> str:
    if first[0] != second[0]:
        return "the approved one"
    return "the latest" if first[1] != second[1] else "none is later or approved, so the last by identifier"


def _series(
    slices: Sequence[DicomFile], structures: DicomFile | None, dose: DicomFile | None, notes: list[str]
) -> list[DicomFile]:
    series: dict[str, list[DicomFile]] = {}
    for file in slices:
        series.setdefault(file.series, []).append(file)
    if not series:
        raise InputError("no CT series; add the planning CT's files to the folder")
    drawn = [] if structures is None else [series[uid] for uid in structures.references if uid in series]
    near = [
        found
        for found in series.values()
        if all(_together(found[0], file) for file in (structures, dose) if file is not None)
    ]
    why = "the structures were drawn on it" if drawn else "it has the most slices"
    chosen = max(drawn or near or list(series.values()), key=lambda found: (len(found), found[0].series))
    if len(series) > 1:
        notes.append(f"the CT is one of {len(series)} series: {why}")
    return chosen
