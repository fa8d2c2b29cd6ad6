"""A clinic's own radiotherapy plans: any folder of DICOM CT, RTSTRUCT, RTDOSE and RTPLAN files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue
from crosstask.datasets.dicom_rt.candidates import check_fit
from crosstask.datasets.dicom_rt.choice import Choice, choose
from crosstask.datasets.dicom_rt.images import SERIES_NAMES, all_series
from crosstask.datasets.dicom_rt.options import length_of, names_of, synonyms_of, three_lengths
from crosstask.datasets.dicom_rt.patient import Lost, Patient, PatientCase, read_patient
from crosstask.datasets.dicom_rt.plans import PLAN_NAMES
from crosstask.datasets.dicom_rt.pseudonyms import pseudonyms
from crosstask.datasets.intake import Intake
from crosstask.datasets.names import natural
from crosstask.datasets.plan_tasks import TASKS, plan_task
from crosstask.errors import InputError
from crosstask.functional.dvh import dvh_metrics
from crosstask.functional.structure_samples import ENDS, Ends
from crosstask.geometry import Geometry
from crosstask.io.dicom.index import DicomIndex, index_folder
from crosstask.io.grids import covered, regrid
from crosstask.tasks.base import Task

AIR = -1024
"""HU beyond the CT."""
_RULES = 2
"""Counted up whenever other arrays are made of the same files, so that those of a store are made anew."""


class DicomRT(Dataset):
    """Folders of DICOM-RT, however the files are named and mixed. A case, and a group, is a patient with one plan.

    Which of several CT series, structure sets, doses and plans makes the case is chosen by the rule of
    :func:`crosstask.datasets.dicom_rt.choice.choose`; ``crosstask check`` tells what was chosen (``--notes``).

    ============== ======= ===========================================================================================
    ``ct``         int16   HU, -1024 beyond the scan
    ``structures`` uint8   one channel per contoured structure of the table, in its order; they can overlap
    ``dose``       float32 planned dose in Gy; no channel where there is no dose of a whole plan
    ``region``     uint8   the body, as far as the dose grid reaches: where the dose is learned and scored
    ============== ======= ===========================================================================================

    The grid of a case is a box around the body. Its axes run along the CT's own, named and turned so that z goes to the
    head, y to the back and x to the patient's left as nearly as they do; an oblique CT keeps its angle, nothing is
    interpolated to be rid of it. CT, masks and dose are brought to that grid, each in one step from its own.

    Patients are known by pseudonyms alone: ids stay in one table, and nothing else of a header leaves this module but
    numbers that a task needs. ``CaseData.information`` holds ``prescription_gy`` and ``fractions`` (None if unknown),
    ``not_contoured`` and ``choice``, the notes of the rule.

    Tasks: ``segmentation`` (option ``classes``: structures of the table, default all) and ``dose``.

    Args:
        root: the folder.
        structures: ``{name: [synonyms]}``, or a YAML file that holds it: the structures to read and what they are
            called in the files, case and punctuation ignored. A name is a synonym of itself.
        spacing: z y x in mm of a case's grid; None for the CT's own.
        margin: mm around the body that the grid keeps; None keeps the whole CT.
        plan: label or UID of the plan that makes a patient's case, ``*`` and ``?`` standing for any letters; or
            several, of which the first that a patient has is taken. Other patients' plans are chosen by the rule.
        series: description, number or UID of the CT series, likewise.
        ends: how far structures go beyond their outermost contours, along the slices' normal: ``half`` a slice, or
            ``none``, as some planning systems count (:func:`crosstask.io.dicom.structures.shares_of`).
        pseudonyms: CSV table of pseudonyms and patient ids; default ``ROOT.pseudonyms.csv`` beside the folder. It may
            be deleted at any time (see :func:`crosstask.datasets.dicom_rt.pseudonyms.pseudonyms`).

    Raises:
        InputError: an option is of the wrong kind, or the table of structures is.

    Attributes:
        must_fit: of the options ``plan`` and ``series`` those whose names must each fit some patient.
    """

    name = "dicom_rt"
    image_array = "ct"
    region_array = "region"
    structure_array = "structures"
    licence = "as the owner of the data says"
    source = "the user's own files"
    citation = "none"

    def __init__(
        self,
        root: Path,
        structures: Mapping[str, Sequence[str]] | str | Path | None = None,
        spacing: Sequence[float] | None = None,
        margin: float | None = 10.0,
        plan: str | Sequence[str] | None = None,
        series: str | Sequence[str] | None = None,
        ends: str = "half",
        pseudonyms: str | None = None,
    ) -> None:
        super().__init__(root)
        self.synonyms = synonyms_of(structures)
        self.structures = tuple(self.synonyms)
        self.spacing = None if spacing is None else three_lengths(spacing)
        self.margin = None if margin is None else length_of("margin", margin)
        self.plan, self.series = names_of("plan", plan), names_of("series", series)
        self.ends = _ends(ends)
        self.must_fit = frozenset({"plan", "series"})
        self.table = Path(pseudonyms) if pseudonyms else self.root.with_name(f"{self.root.name}.pseudonyms.csv")
        self._index: DicomIndex | None = None
        self._choices: dict[str, Choice] = {}
        self._left_out: list[tuple[str, str]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Without the index: processes that read cases need the choices alone."""
        return {**self.__dict__, "_index": None}

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    def read_settings(self) -> Mapping[str, Any]:
        """All options but where the pseudonyms are, and the number of the rules by which files are read."""
        asked = {"plan": list(self.plan), "series": list(self.series)}
        return {
            "structures": {name: list(others) for name, others in self.synonyms.items()},
            "spacing": self.spacing,
            "margin": self.margin,
            "ends": self.ends,
            "rules": _RULES,
            **{option: names for option, names in asked.items() if names},
        }

    def find(self, progress: Callable[[int, int, str], None] | None = None) -> None:
        """Read the headers of all files, once; see the base class."""
        count = None if progress is None else lambda done, total, _: progress(done, total, "")  # names may tell whose
        self._index = index_folder(self.root, progress=count)

    def cases(self) -> list[Case]:
        """All patients with a CT, by pseudonym. Headers of all files are read, the pixels of none.

        Raises:
            InputError: no such folder, or no patient with a CT in it; the table of pseudonyms is damaged.
            CrosstaskError: the table of pseudonyms cannot be written.
        """
        index = self._index or index_folder(self.root)
        cases, left_out = [], []
        for name, choice in self._chosen(index).items():
            if isinstance(choice, Choice):
                self._choices[name] = choice
                cases.append(Case(id=name, group=name, split="", files=tuple(sorted(choice.files))))
            else:
                left_out.append((name, str(choice)))
        self._left_out = left_out
        if not cases:
            there = f"{len(index.files)} DICOM files, {len(index.unreadable)} unreadable, {index.ignored} others"
            raise InputError(
                f"{self.root}: no patient with a CT series in it ({there}); give the folder of DICOM files"
            )
        return cases

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Patients of whom no case can be made; where files cannot be read, also those of whom no file was found."""
        index = self._index or index_folder(self.root)
        chosen = self._chosen(index)
        found = {name: str(why) for name, why in chosen.items() if isinstance(why, InputError) and name in case_ids}
        if index.unreadable:
            message = (
                f"{self.root}: no file of it, but {len(index.unreadable)} files cannot be read, which may be its own; "
                f"see crosstask check {self.name}"
            )
            found |= {name: message for name in case_ids if name not in chosen}
        return found

    def left_out(self) -> list[tuple[str, str]]:
        """Patients without a CT; see the base class."""
        return self._left_out

    @property
    def unreadable(self) -> int:
        """DICOM files whose headers cannot be read; see the base class."""
        return 0 if self._index is None else len(self._index.unreadable)

    def _chosen(self, index: DicomIndex) -> dict[str, Choice | InputError]:
        """By pseudonym: the files of a patient's case, or why there is none.

        Raises:
            InputError: a plan or series that is asked for is nobody's.
        """
        if "plan" in self.must_fit:
            check_fit("plan", "plan", index.of("RTPLAN"), self.plan, PLAN_NAMES)
        if "series" in self.must_fit:
            check_fit("series", "CT series", all_series(index.of("CT")), self.series, SERIES_NAMES)
        patients: dict[str, list[Any]] = {}
        for file in index.files:
            # without a patient id, files of one DICOM study are taken for one patient's
            patients.setdefault(file.patient_id or file.study, []).append(file)
        names = pseudonyms(patients, self.table)
        found: dict[str, Choice | InputError] = {}
        for patient, files in sorted(patients.items(), key=lambda item: natural(names[item[0]])):
            try:
                found[names[patient]] = choose(files, plan=self.plan, series=self.series)
            except InputError as error:
                found[names[patient]] = error
        return found

    def choice(self, case_id: str) -> Choice:
        """What the rule chose for a case.

        Raises:
            InputError: as :meth:`cases`, or its files are no longer there.
        """
        if case_id not in self._choices:
            self.cases()
        if case_id not in self._choices:
            raise InputError(f"{self.root}: no files of {case_id} any more; prepare the cases again")
        return self._choices[case_id]

    def read(self, case: Case) -> PatientCase:
        """All arrays of a case; see the class for what they are.

        Raises:
            InputError: a file is damaged, or of a kind that cannot be read; one line that names it and the remedy.
        """
        lost = Lost(damaged=False)
        data = self._read(case, lost)
        told = tuple(Issue(case.id, "warning", message) for message in lost.messages)
        return replace(data, issues=data.issues + told)

    def intake(self) -> Intake:
        """None: a CT's scale, frame of reference and table are in its DICOM files alone."""
        return Intake(1, 3, refusal="the run has learned from DICOM; give a folder with the DICOM files of the CT")

    def read_to_predict(self, case: Case) -> tuple[PatientCase, list[str]]:
        """A case as far as its CT; structures, dose and plan are left out where they cannot be read.

        Raises:
            InputError: the CT cannot be read.
        """
        lost = Lost(damaged=True)
        return self._read(case, lost), lost.messages

    def _read(self, case: Case, lost: Lost) -> PatientCase:
        choice = self.choice(case.id)
        patient = read_patient(choice, self.synonyms, lost, self.ends)
        ct = patient.ct
        grid = case_grid(ct.geometry, patient.body, self.spacing, self.margin)
        masks = self._masks(patient, grid, lost)
        region = regrid(patient.body, ct.geometry, grid, mask=True)
        doses = []
        if patient.dose is not None:
            doses.append(regrid(patient.dose.dose, patient.dose.geometry, grid))
            region &= covered(patient.dose.geometry, grid)
        return PatientCase(
            arrays={
                "ct": np.clip(regrid(ct.hu, ct.geometry, grid, outside=AIR), -32768, 32767).astype(np.int16)[None],
                "structures": np.array(list(masks.values()), np.uint8).reshape(-1, *grid.shape),
                "dose": np.array(doses, np.float32).reshape(-1, *grid.shape),
                "region": region.astype(np.uint8)[None],
            },
            channels={
                "ct": ("ct",),
                "structures": tuple(masks),
                "dose": ("dose",) * len(doses),
                "region": ("region",),
            },
            geometry=grid,
            information={
                "prescription_gy": None if patient.plan is None else patient.plan.prescription,
                "fractions": None if patient.plan is None else patient.plan.fractions,
                "not_contoured": [name for name in self.structures if name not in masks],
                "choice": list(choice.notes),
            },
            issues=(*_issues_of(case.id, choice), *_copied(case.id, patient)),
            patient=patient,
        )

    def _masks(self, patient: Patient, grid: Geometry, lost: Lost) -> dict[str, np.ndarray]:
        """Contoured structures of the table on the case's grid; one without a voxel is not contoured."""
        masks = {}
        for name in patient.structures:
            drawn = lost.tried(patient.shares, name)
            if drawn is None:
                continue
            mask = regrid(drawn, patient.ct.geometry, grid, mask=True)
            if mask.any():
                masks[name] = mask
        return masks

    def check(self) -> Iterator[Issue]:
        """Read every file and every patient and say what is wrong; see the base class."""
        try:
            index = self._index or index_folder(self.root)
            chosen = self._chosen(index)
        except InputError as error:
            yield Issue(str(self.root), "error", str(error))
            return
        for path, reason in index.unreadable:
            yield Issue(path.name, "error", reason)
        for copy in index.duplicates:
            what = "is a copy of" if copy.same else "has other content but the same SOP instance UID as"
            message = f"{copy.path}: {what} {copy.kept}; it is ignored"
            yield Issue(copy.path.name, "note" if copy.same else "warning", message)
        if index.ignored:
            yield Issue(self.root.name, "note", f"{self.root}: {index.ignored} files are no DICOM images or RT objects")
        for name, choice in chosen.items():
            if isinstance(choice, InputError):
                yield Issue(name, "error", f"{choice}; the patient is skipped")
                continue
            self._choices[name] = choice
            yield from self._check_case(name, choice)

    def _check_case(self, name: str, choice: Choice) -> Iterator[Issue]:
        try:
            case = self.read(Case(id=name, group=name, split="", files=choice.files))
        except InputError as error:
            yield from _issues_of(name, choice)
            yield Issue(name, "error", str(error))
            return
        yield from case.issues
        missing = case.information["not_contoured"]
        if choice.structures is None:
            yield Issue(name, "note", "no structure set; all structures are missing labels")
        elif missing:
            yield Issue(name, "note", f"not contoured: {', '.join(missing)}")
        if not choice.doses:
            yield Issue(name, "note", "no dose; it is a missing label")

    def task(self, name: str, **options: Any) -> Task:
        """``segmentation`` (option ``classes``: structures of the table, or ``"all"``) or ``dose``; see `plan_task`.

        Raises:
            InputError: no such task, option or structure.
        """
        if name == "segmentation" and not self.structures:
            raise InputError("dataset.options.structures: no structure to segment; give {name: [synonyms], ...}")
        return plan_task(self.name, name, options, self.structures, self.structures)

    def scores(
        self, case: CaseData, predictions: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, str, str, float]]:
        """Errors of the DVH of a predicted dose: rows of (dose, structure, dvh_error_<figure>, value), in Gy.

        The figures are those of :func:`crosstask.functional.dvh.dvh_metrics`, in the part of the structure that lies in
        the region.
        """
        if "dose" not in predictions or not case.channels["dose"]:
            return []
        reference, region = case.arrays["dose"][0], case.arrays["region"][0].astype(bool)
        predicted = np.asarray(predictions["dose"])[0]
        rows = []
        for name, mask in zip(case.channels["structures"], case.arrays["structures"], strict=True):
            inside = mask.astype(bool) & region
            if not inside.any():
                continue
            planned = dvh_metrics(reference, inside, case.geometry.voxel_volume)
            given = dvh_metrics(predicted, inside, case.geometry.voxel_volume)
            rows += [("dose", name, f"dvh_error_{key}", abs(given[key] - planned[key])) for key in planned]
        return rows


def _issues_of(case: str, choice: Choice) -> Iterator[Issue]:
    for remark in choice.remarks:
        yield Issue(case, "warning" if remark.warning else "note", remark.line)


def _copied(case: str, patient: Patient) -> Iterator[Issue]:
    for name, structure in patient.structures.items():
        if structure.copies:
            what = "1 contour is" if structure.copies == 1 else f"{structure.copies} contours are"
            yield Issue(case, "warning", f"{name}: {what} a copy of another one and not counted again")


def _ends(given: str) -> Ends:
    found = next((ends for ends in ENDS if ends == given), None)
    if found is None:
        raise InputError(f"dataset.options.ends: {given!r} is not accepted; one of {', '.join(ENDS)}")
    return found


def case_grid(geometry: Geometry, body: np.ndarray, spacing: Sequence[float] | None, margin: float | None) -> Geometry:
    """The grid of a case: a box around the body along the CT's own axes, turned to z y x of the patient.

    Args:
        geometry: grid of the CT.
        body: bool, on it.
        spacing: z y x in mm, or None for the CT's.
        margin: mm around the body, or None for the whole CT.
    """
    matrix = np.asarray(geometry.direction)
    order = max(
        itertools.permutations(range(3)), key=lambda axes: sum(abs(matrix[axis, at]) for at, axis in enumerate(axes))
    )
    signs = [1.0 if matrix[axis, at] > 0 else -1.0 for at, axis in enumerate(order)]
    turned = np.array([sign * matrix[axis] for sign, axis in zip(signs, order, strict=True)])
    own = np.array([geometry.spacing[axis] for axis in order])
    steps = own if spacing is None else np.asarray(spacing, dtype=float)
    if margin is None:
        first, last = np.zeros(3), np.array(geometry.shape) - 1.0
    else:
        found = np.argwhere(body)
        room = margin / np.asarray(geometry.spacing)
        first = np.maximum(found.min(0) - room, 0)
        last = np.minimum(found.max(0) + room, np.array(geometry.shape) - 1)
    corners = geometry.points(np.stack([first - 0.5, last + 0.5])) @ turned.T  # outer edges, along the turned axes
    low, high = corners.min(0), corners.max(0)
    shape = np.maximum(np.ceil((high - low) / steps - 1e-3), 1).astype(int)
    middle = (low + high) / 2  # what the last voxels stick out is shared by both ends
    start = middle - (shape - 1) / 2 * steps
    return Geometry(
        shape=tuple(int(length) for length in shape),
        spacing=tuple(float(step) for step in steps),
        origin=tuple((start @ turned).tolist()),
        direction=tuple(tuple(row) for row in turned.tolist()),
    )
