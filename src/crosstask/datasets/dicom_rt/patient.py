"""One patient's CT and plan as their files hold them, before anything is brought to a case's grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from crosstask.datasets.base import CaseData
from crosstask.datasets.dicom_rt.choice import Choice
from crosstask.errors import InputError
from crosstask.functional.body import body_mask
from crosstask.functional.structure_samples import Ends
from crosstask.io.dicom.ct import CtSeries, read_ct
from crosstask.io.dicom.header import UnusableError
from crosstask.io.dicom.rt import DoseGrid, Plan, read_doses, read_plan
from crosstask.io.dicom.structures import Structure, match_names, read_structures, shares_of
from crosstask.io.grids import regrid

_F = TypeVar("_F")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patient:
    """A patient's files, read.

    Attributes:
        ct: the series.
        body: bool ``z y x`` of the CT's grid.
        structures: as contoured, by their names in the table of structures and in its order.
        dose: the planned one on its own grid; None if there is none.
        plan: None if there is none.
        ends: how far structures go beyond their outermost contours (:func:`crosstask.io.dicom.structures.shares_of`).
    """

    ct: CtSeries
    body: np.ndarray
    structures: Mapping[str, Structure]
    dose: DoseGrid | None
    plan: Plan | None
    ends: Ends = "half"

    def mask(self, name: str) -> np.ndarray:
        """A structure on the CT's grid, bool ``z y x``; drawn anew at each call, as all of them are large.

        Raises:
            InputError: its contours do not lie on the CT's slices, or in its frame of reference.
        """
        return self.shares(name) > 0

    def shares(self, name: str) -> np.ndarray:
        """The share of each voxel of the CT's grid in a structure, float32 ``z y x``; drawn anew at each call.

        Raises:
            InputError: as :meth:`mask`.
        """
        structure, frame = self.structures[name], self.ct.frame_of_reference
        return shares_of(structure, self.ct.geometry, frame_of_reference=frame, ends=self.ends)

    def dose_on_ct(self) -> np.ndarray | None:
        """The planned dose in Gy on the CT's grid, ``z y x``, 0 beyond the dose grid; None if there is none."""
        return None if self.dose is None else regrid(self.dose.dose, self.dose.geometry, self.ct.geometry)


@dataclass
class PatientCase(CaseData):
    """A case, and the patient that it was made from.

    Attributes:
        patient: on the CT's own grid.
    """

    patient: Patient = field(kw_only=True)


@dataclass
class Lost:
    """Labels that a case goes without, since what holds them cannot be used or read.

    Attributes:
        damaged: whether a damaged file costs its label alone; else it is an error of the case. A file that is whole but
            of no use (a dose that is not in Gy, a structure set without contours) costs its label in any case.
        messages: why each is lost; they name files.
    """

    damaged: bool
    messages: list[str] = field(default_factory=list)

    def tried(self, read: Callable[[_F], _T], what: _F | None) -> _T | None:
        """What a file or some files hold; None without one, or if the label is lost.

        Args:
            read: gives it, or raises an InputError.
            what: to read.
        """
        if not what:
            return None
        try:
            return read(what)
        except InputError as error:
            if not self.damaged and not isinstance(error, UnusableError):
                raise
            self.messages.append(str(error))
            return None


def read_patient(choice: Choice, synonyms: Mapping[str, Sequence[str]], lost: Lost, ends: Ends = "half") -> Patient:
    """Read the files of a case.

    Args:
        choice: which.
        synonyms: names of the structures to read, and what they are called in the files.
        lost: takes why plan, dose or structures are left out.
        ends: how far structures go beyond their outermost contours.

    Raises:
        InputError: a file is damaged, or of a kind that cannot be read; there is no body in the CT.
    """
    ct = read_ct(choice.ct)
    body = body_mask(ct.hu, ct.geometry.spacing)
    if not body.any():
        raise InputError(f"{ct.files[0].parent}: no body in the CT (no voxel above -300 HU); check its rescale values")

    def contoured(file: Path) -> dict[str, Structure]:
        drawn = [structure for structure in read_structures(file).structures if structure.contours]
        if not drawn:
            raise UnusableError(f"{file}: none of its structures has a contour; export it again, with contours")
        names = match_names([structure.name for structure in drawn], synonyms)
        found = {structure.name: structure for structure in drawn}
        return {name: found[names[name]] for name in synonyms if name in names}

    def computed(files: Sequence[Path]) -> DoseGrid:
        dose = read_doses(files)
        if not dose.dose.any():
            raise UnusableError(f"{dose.file}: the dose is zero everywhere; compute and export it again")
        return dose

    return Patient(
        ct=ct,
        body=body,
        structures=lost.tried(contoured, choice.structures) or {},
        dose=lost.tried(computed, choice.doses),
        plan=lost.tried(read_plan, choice.plan),
        ends=ends,
    )
