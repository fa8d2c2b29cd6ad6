"""Which CT series, structure set, dose and plan of a patient belong together: one of each makes a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.datasets.dicom_rt.candidates import Remark, Remarks, together
from crosstask.datasets.dicom_rt.images import Series, ct_of, series_of, structure_set, without_phantoms
from crosstask.datasets.dicom_rt.plans import plan_and_doses
from crosstask.io.dicom.index import DicomFile


@dataclass(frozen=True)
class Choice:
    """The files of one case.

    Attributes:
        ct: slices of one series, in no order.
        structures, plan: one file each, or None.
        doses: one file, or several that are to be added up; none if there is no dose of a whole plan.
        remarks: what was chosen among several and what was left out, and why.
    """

    ct: tuple[Path, ...]
    structures: Path | None
    doses: tuple[Path, ...]
    plan: Path | None
    remarks: tuple[Remark, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.ct, *self.doses, *(path for path in (self.structures, self.plan) if path is not None))

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks without the names that the files give: no identifier is in them."""
        return tuple(remark.text for remark in self.remarks)


def choose(files: Sequence[DicomFile], *, plan: Sequence[str] = (), series: Sequence[str] = ()) -> Choice:
    """One plan of a patient with its dose, its structures and its CT.

    What this package predicted is left out. The rule, step by step; of several that fit, an APPROVED one comes before
    others, then the latest by the date in the file, then the last by its identifier, and that is a warning:

    1. *Plan*: the one that is asked for; else one to treat the patient by (PlanIntent CURATIVE, PALLIATIVE,
       PROPHYLACTIC or none), not rejected, that a dose of a whole plan was computed for; without such a dose, any.
    2. *Dose*: of that plan, if there is a plan; physical, in Gy, with summation type PLAN. Without one, doses of single
       beams or fraction groups are added up if together they are of every beam that treats, each once; else the dose is
       a missing label.
    3. *Structures*: with contours, in the frame of reference of a CT: the set that the plan was made on, else the one
       that the dose names, else one in the frame of reference of plan or dose, else any; one that was drawn on a CT
       before one that was drawn on another image.
    4. *CT*: the series that is asked for; else that which the structures were drawn on, else one in the frame of
       reference of structures, dose and plan: one that does not call itself a cone-beam CT before others, then one of
       the same visit, then the one with the most slices. A series that is asked for brings the structures drawn on it.
    5. What lies in another frame of reference than the CT is left out. A structure set and a CT that only plans of
       another intent than to treat have to do with (a phantom) are no candidates.

    Args:
        files: all files of the patient.
        plan: labels or UIDs of plans; the first that is there is taken.
        series: descriptions, numbers or UIDs of CT series, likewise.

    Raises:
        InputError: there is no CT.
    """
    remarks = Remarks()
    of = _by_kind(files, remarks)
    candidates = series_of(of["CT"], series, remarks)
    slices = [file for one in candidates for file in one.slices]
    planned = plan_and_doses(of["RTPLAN"], of["RTDOSE"], slices, plan, remarks)
    doses = planned.doses
    named_by = [file for file in (planned.plan, *doses) if file is not None]
    sets = of["RTSTRUCT"]
    if planned.aside and not series:
        candidates, sets = without_phantoms(candidates, sets, planned.aside, named_by, remarks)
    structures = structure_set(sets, candidates, named_by, remarks, asked=bool(series))
    ct = ct_of(candidates, structures, named_by, remarks)
    if ct.cone_beam and not series and (structures is None or ct.uid not in structures.references):
        remarks.warn("the CT calls itself a cone-beam CT; is the planning CT in the folder?")
    doses = _in_space("dose", doses, ct, remarks)
    drawn = _in_space("structure set", [structures] if structures else [], ct, remarks)
    return Choice(
        ct=tuple(file.path for file in ct.slices),
        structures=drawn[0].path if drawn else None,
        doses=tuple(file.path for file in doses),
        plan=planned.plan.path if planned.plan else None,
        remarks=tuple(remarks.all),
    )


def _by_kind(files: Sequence[DicomFile], remarks: Remarks) -> dict[str, list[DicomFile]]:
    """Files by their modality, without localizers and without what was predicted, which is never to be learned from."""
    kinds = {"CT": "", "RTSTRUCT": "structure sets", "RTDOSE": "doses", "RTPLAN": "plans"}
    of = {kind: [file for file in files if file.modality == kind and not file.localizer] for kind in kinds}
    for kind, what in kinds.items():
        if what:
            made = [file for file in of[kind] if not file.predicted]
            remarks.left_out(what, len(of[kind]) - len(made), len(of[kind]), "predicted, not planned")
            of[kind] = made
    return of


def _in_space(what: str, files: Sequence[DicomFile], ct: Series, remarks: Remarks) -> tuple[DicomFile, ...]:
    """The files, or none where one lies in another space than the CT."""
    if all(together(file, ct.slices[0]) for file in files):
        return tuple(files)
    remarks.warn(f"the {what} left out: it lies in another frame of reference than the CT")
    return ()
