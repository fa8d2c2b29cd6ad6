"""Which plan of a patient makes the case, and which dose is that plan's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from crosstask.datasets.dicom_rt.candidates import (
    Names,
    Remarks,
    best,
    files_of,
    matching,
    of_one_patient,
    shown,
    text_of,
    together,
)
from crosstask.errors import InputError
from crosstask.io.dicom.header import Header
from crosstask.io.dicom.index import DicomFile
from crosstask.io.dicom.rt import Beam, beams_of_dose, beams_of_plan, read_plan, unusable_dose

HOW = "choose with plan=LABEL or its UID (predict: --plan)"
_WHOLE_PLAN = ("PLAN", "")
"""Dose summation types of a dose of all beams and fractions; few programs leave it out."""
_TREATS = ("CURATIVE", "PALLIATIVE", "PROPHYLACTIC", "")
"""Intents of plans that a patient is treated by; others are for verification on a phantom, for machines, for trials."""
_CHECKS = re.compile(
    r"(?<![a-z])(d?qa|psqa|verif\w*|phantom|delta4?|arccheck|mapcheck|octavius)(?![a-z])", re.IGNORECASE
)
"""In labels of plans for verification."""


@dataclass(frozen=True)
class Planned:
    """One plan and its dose.

    Attributes:
        plan: None if there is none.
        doses: one, or several that are to be added up; none if there is no dose of a whole plan.
        aside: plans and doses of another intent than to treat the patient, who need not even be in them.
    """

    plan: DicomFile | None
    doses: tuple[DicomFile, ...]
    aside: tuple[DicomFile, ...]


def plan_and_doses(
    plans: Sequence[DicomFile],
    doses: Sequence[DicomFile],
    slices: Sequence[DicomFile],
    wanted: Sequence[str],
    remarks: Remarks,
) -> Planned:
    """Steps 1 and 2 of the rule of :func:`crosstask.datasets.dicom_rt.choice.choose`."""
    asked = matching(plans, wanted, PLAN_NAMES.given)
    if plans and not asked and not of_one_patient(wanted):
        remarks.warn(f"none of {len(plans)} plans is the one asked for, so the rule chooses", _listed(plans))
    refused = {} if asked else _refused(plans, remarks)
    usable = _usable(doses, slices, remarks)
    own = [dose for dose in usable if not dose.plans or not set(dose.plans) <= set(refused)]
    remarks.left_out("doses", len(usable) - len(own), len(doses), "of a plan that is left out")
    kept = asked or [plan for plan in plans if plan.sop_instance not in refused]
    plan, chosen = _matched(kept, own, {file.sop_instance for file in plans}, len(doses), remarks)
    phantoms = {uid for uid, why in refused.items() if why != _REJECTED}
    aside = [file for file in plans if file.sop_instance in phantoms]
    aside += [dose for dose in doses if dose.plans and set(dose.plans) <= phantoms]
    return Planned(plan, tuple(chosen), tuple(aside))


PLAN_NAMES = Names[DicomFile](
    given=lambda plan: (plan.sop_instance, text_of(plan, "RTPlanLabel"), text_of(plan, "RTPlanName")),
    shown=lambda plan: shown(plan, "RTPlanLabel"),
)

_REJECTED = f"ApprovalStatus is REJECTED; {HOW} if it is meant"


def _refused(plans: Sequence[DicomFile], remarks: Remarks) -> dict[str, str]:
    """SOP instances of the plans that are not to be learned from, and why."""
    refused = {plan.sop_instance: why for plan in plans if (why := _why_not(plan))}
    for why, number in Counter(refused.values()).items():
        remarks.left_out("plans", number, len(plans), why)
    return refused


def _why_not(plan: DicomFile) -> str:
    """Why a plan is not to be learned from unless it is asked for; empty if it may be."""
    intent = text_of(plan, "PlanIntent").upper()
    if _verifies(plan):
        intent = "VERIFICATION"
    if intent not in _TREATS:
        known = intent if intent in ("VERIFICATION", "MACHINE_QA", "RESEARCH", "SERVICE") else "another one"
        return f"the intent is {known}, not to treat; {HOW} if it is meant"
    return _REJECTED if text_of(plan, "ApprovalStatus") == "REJECTED" else ""


def _verifies(plan: DicomFile) -> bool:
    """Whether a plan says of another one that it verifies it."""
    try:
        others = Header.read(plan.path, only=["ReferencedRTPlanSequence"]).items("ReferencedRTPlanSequence")
        return any(other.text("RTPlanRelationship", "") == "VERIFIED_PLAN" for other in others)
    except InputError:
        return False


def _usable(doses: Sequence[DicomFile], slices: Sequence[DicomFile], remarks: Remarks) -> list[DicomFile]:
    """Doses that can be read, in the space of a CT as long as there is one."""
    reasons = {dose.sop_instance: unusable_dose(dose.path) for dose in doses}
    for why in dict.fromkeys(filter(None, reasons.values())):
        remarks.left_out("doses", list(reasons.values()).count(why), len(doses), why)
    sound = [dose for dose in doses if not reasons[dose.sop_instance]]
    first_of_frames = {file.frames: file for file in slices}.values()
    near = [dose for dose in sound if any(together(dose, file) for file in first_of_frames)]
    if near:
        remarks.left_out("doses", len(sound) - len(near), len(doses), "in another frame of reference than any CT")
    return near or sound  # if it is none, that is told of the CT that is chosen


@dataclass(frozen=True)
class _Doses:
    """Doses by what they are the sum of.

    Attributes:
        whole: of one whole plan.
        parts: of beams or fraction groups of one plan.
        several: of several plans together.
    """

    whole: list[DicomFile]
    parts: list[DicomFile]
    several: list[DicomFile]

    @classmethod
    def of(cls, doses: Sequence[DicomFile]) -> _Doses:
        """Tell them apart."""
        sums = {dose.path: text_of(dose, "DoseSummationType") for dose in doses}
        several = [dose for dose in doses if len(dose.plans) > 1 or sums[dose.path] == "MULTI_PLAN"]
        single = [dose for dose in doses if dose not in several]
        whole = [dose for dose in single if sums[dose.path] in _WHOLE_PLAN]
        return cls(whole, [dose for dose in single if dose not in whole], several)

    def of_plan(self, plan: DicomFile, remarks: Remarks) -> list[DicomFile]:
        """Doses of a whole plan, or the parts that make it up; none if there is neither."""
        return [dose for dose in self.whole if plan.sop_instance in dose.plans] or _parts(plan, self.parts, remarks)


def _matched(
    plans: Sequence[DicomFile], doses: Sequence[DicomFile], known: set[str], total: int, remarks: Remarks
) -> tuple[DicomFile | None, list[DicomFile]]:
    """The plan among those that may be it, and its dose.

    Args:
        plans: that may be it.
        doses: that may be its.
        known: SOP instances of all plans of the patient.
        total: number of all doses of the patient.
        remarks: to go on with.
    """
    of = _Doses.of(doses)
    plan = _one_of([plan for plan in plans if of.of_plan(plan, Remarks())] or plans, remarks)
    found = [] if plan is None else of.of_plan(plan, remarks)
    chosen = [dose for dose in found if dose in of.parts]
    if chosen:
        remarks.note(f"the dose is the sum of {len(chosen)}, of single beams or fraction groups")
    else:
        loose = [dose for dose in of.whole if not known & set(dose.plans)]  # of a plan that is not here
        one = best("dose", found or loose, remarks, more=files_of(found or loose))
        chosen = [] if one is None else [one]
        if plan is not None and one is not None and one.plans and not found:
            remarks.warn("the dose names a plan that is not among the files; it is taken for that of the plan")
    remarks.left_out("doses", len(of.several), total, "of several plans together")
    unused = len([dose for dose in of.parts if dose not in chosen])
    remarks.left_out("doses", unused, total, "not of a whole plan (DoseSummationType)")
    return plan, chosen


def _one_of(plans: Sequence[DicomFile], remarks: Remarks) -> DicomFile | None:
    """The best plan, of those whose labels are not those of plans for verification, as not all of them say what for."""
    kept = [plan for plan in plans if not _CHECKS.search(text_of(plan, "RTPlanLabel"))] or plans
    more = f"{_listed(plans)}; {HOW}" if len(plans) > 1 else ""
    if len(kept) == 1 < len(plans):
        remarks.warn(f"the plan is one of {len(plans)}: the others are labelled as for verification", more)
        return kept[0]
    return best("plan", kept, remarks, more=more)


def _parts(plan: DicomFile, doses: Sequence[DicomFile], remarks: Remarks) -> list[DicomFile]:
    """Doses of beams or fraction groups that make up a plan's dose, each beam once; none if they do not."""
    try:
        beams = beams_of_plan(plan.path)
        of_beams: dict[frozenset[Beam], list[DicomFile]] = {}
        for dose in doses:
            if plan.sop_instance in dose.plans and (its := beams_of_dose(dose.path, beams)):
                of_beams.setdefault(its, []).append(dose)
    except InputError:  # a damaged file decides nothing, and is told when it is read
        return []
    covered = [beam for its in of_beams for beam in its]
    if not beams or sorted(covered) != sorted(beams):
        return []
    chosen = [best("dose of some beams", same, remarks, more=files_of(same)) for same in of_beams.values()]
    return sorted((dose for dose in chosen if dose is not None), key=lambda dose: dose.path)


def _listed(plans: Sequence[DicomFile]) -> str:
    """Plans as a physicist knows them."""
    names = [PLAN_NAMES.shown(plan) for plan in plans]
    return "there are " + ", ".join(
        _described(plan, name if names.count(name) == 1 else "") for plan, name in zip(plans, names, strict=True)
    )


def _described(plan: DicomFile, name: str) -> str:
    """Label, prescription and approval; the file's name where no label tells the plan from others."""
    try:
        read = read_plan(plan.path)
        facts = [] if read.prescription is None else [f"{read.prescription:g} Gy"]
        facts += [] if read.fractions is None else [f"{read.fractions} fractions"]
    except InputError:
        facts = []
    status = text_of(plan, "ApprovalStatus")
    facts += [status.lower()] if status in ("APPROVED", "UNAPPROVED", "REJECTED") else []
    called = name or f"{PLAN_NAMES.shown(plan)} {plan.path.name}".strip()
    return f"{called} ({', '.join(facts)})" if facts else called
