"""The OpenKBP challenge: head-and-neck CT, contoured structures and planned dose of 340 patients."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from crosstask.datasets.base import SPLITS, Case, CaseData, Dataset, Issue, Split
from crosstask.datasets.intake import Intake
from crosstask.datasets.plan_tasks import TASKS, plan_task
from crosstask.errors import InputError
from crosstask.functional.openkbp_score import STRUCTURES, dose_score, dvh_errors
from crosstask.geometry import Geometry
from crosstask.io import openkbp_csv
from crosstask.io.openkbp_csv import CT_FILE, DOSE_FILE, REGION_FILE, SPACING_FILE, STRUCTURE_FILES
from crosstask.registry import closest
from crosstask.tasks.base import Task

DEFAULT_CLASSES = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid")
"""The four organs of Kim et al. (2023)."""
CT_LIMITS = (0, 4095)
"""Range of a CT scanner's 12 bits; rare spikes beyond it are clipped."""
SPLIT_FOLDERS: dict[Split, str] = {split: f"{split}-pats" for split in SPLITS}

_REQUIRED = (CT_FILE, REGION_FILE, SPACING_FILE)
_KNOWN = {*_REQUIRED, DOSE_FILE, *STRUCTURE_FILES.values()}
_SPLITS: dict[str, Split | Literal[""]] = {name: split for split, name in SPLIT_FOLDERS.items()}
_PATIENT = re.compile(r"pt_\d+")


def patient_number(name: str) -> int:
    """The N of ``pt_N``: patients are sorted by it."""
    return int(name.removeprefix("pt_"))


def patient_folders(folder: Path) -> list[Path]:
    """Folders ``pt_N`` directly below a folder, sorted by N."""
    found = [child for child in folder.iterdir() if _PATIENT.fullmatch(child.name) and child.is_dir()]
    return sorted(found, key=lambda child: patient_number(child.name))


def split_folders(root: Path) -> dict[Split, Path]:
    """The challenge's folders of splits below a root, or below its ``provided-data``; those that are there."""
    for parent in (root, root / "provided-data"):
        found = {split: parent / name for split, name in SPLIT_FOLDERS.items() if (parent / name).is_dir()}
        if found:
            return found
    return {}


def patients_of(root: Path) -> list[tuple[Split | Literal[""], Path]]:
    """Every folder ``pt_N`` of a root with its split, whole or not; see :class:`OpenKBP` for what a root may be."""
    named = root.absolute()  # "." has a name, too
    if _PATIENT.fullmatch(named.name) and (root / CT_FILE).is_file():
        return [(_SPLITS.get(named.parent.name, ""), named)]
    folders = [(_SPLITS.get(named.name, ""), root), *split_folders(root).items()]
    return [(split, patient) for split, folder in folders for patient in patient_folders(folder)]


def found_twice(folder: Path, other: Path) -> str:
    """What is said of a patient in two folders."""
    return f"{folder}: the patient is in {other.parent} too; remove one of them"


class OpenKBP(Dataset):
    """OpenKBP in the challenge's own CSV layout (:mod:`crosstask.io.openkbp_csv`), with its own splits.

    The root holds ``train-pats``, ``validation-pats`` and ``test-pats`` (any of them may be missing), or a folder
    ``provided-data`` that does. It may also be one of these folders, any other folder of patients ``pt_N``, which have
    no split then, or a patient's own. A case is one patient ``pt_N``.

    Arrays of a case, all ``c z y x`` of 128 x 128 x 128 voxels, with z from head to feet, y from anterior to
    posterior and x from the patient's right to the left (the axial slice as a radiologist sees it):

    ============== ======= ===========================================================================================
    ``ct``         int16   CT numbers in an undocumented offset scale (water near 1000), clipped to 0..4095; 0 outside
                           the body
    ``structures`` uint8   one channel per *contoured* structure, in the order of
                           :data:`~crosstask.functional.openkbp_score.STRUCTURES`; they can overlap
    ``dose``       float32 planned dose in Gy; no channel where the patient has no dose yet
    ``region``     uint8   ``possible_dose_mask``: where a voxel can receive dose
    ============== ======= ===========================================================================================

    A structure without a file is not contoured: an unknown label, never an empty organ. So is one whose file lists
    no voxel. ``CaseData.information`` holds ``clipped_ct`` (number of CT voxels that were out of range),
    ``not_contoured`` and ``empty_structures``.

    Tasks: ``segmentation`` (option ``classes``: names of structures, or ``"all"``; by default the four organs of
    Kim et al., 2023) and ``dose``, with the options of their losses.
    """

    name = "openkbp"
    image_array = "ct"
    region_array = "region"
    structure_array = "structures"
    structures = STRUCTURES
    licence = "MIT (the challenge's repository)"
    source = "https://github.com/ababier/open-kbp"
    citation = (
        "A. Babier, B. Zhang, R. Mahmood, K. L. Moore, T. G. Purdie, A. L. McNiven, T. C. Y. Chan. OpenKBP: The "
        "open-access knowledge-based planning grand challenge and dataset. Medical Physics 48(9), 2021, 5549-5561."
    )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid of every case, z y x."""
        return openkbp_csv.SHAPE

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    def intake(self) -> Intake:
        """Volumes in the challenge's own CT numbers."""
        return Intake(1, 3, remark="Values are taken for OpenKBP's CT numbers: water near 1000, 0 outside the body.")

    def cases(self) -> list[Case]:
        """All usable patients, sorted by number; see :meth:`~crosstask.datasets.base.Dataset.cases`.

        A patient without ``ct.csv``, ``possible_dose_mask.csv`` or ``voxel_dimensions.csv`` is incomplete and left
        out. No file is opened.

        Raises:
            InputError: the root is missing, has no patient or no complete one, or has one patient in two folders.
        """
        cases: dict[str, Case] = {}
        for split, folder in self._patients():
            if folder.name in cases:
                raise InputError(found_twice(folder, cases[folder.name].files[0].parent))
            present = _csv_names(folder)
            if not present.issuperset(_REQUIRED):
                continue
            files = tuple(folder / name for name in sorted(present & _KNOWN))
            cases[folder.name] = Case(id=folder.name, group=folder.name, split=split, files=files)
        if not cases:
            raise InputError(f"{self.root}: no complete patient pt_N in it; run the check and unpack the data again")
        return sorted(cases.values(), key=lambda case: patient_number(case.id))

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Patients whose folder is there, but lacks a file that is needed."""
        found = {}
        for _, folder in self._patients():
            if folder.name in case_ids and (missing := sorted(set(_REQUIRED) - _csv_names(folder))):
                found[folder.name] = f"{folder}: {' and '.join(missing)} missing; unpack it again, or remove the folder"
        return found

    def read(self, case: Case) -> CaseData:
        """All arrays of a patient; see the class for what they are.

        Raises:
            InputError: a file is truncated, has an index outside the grid, a dose that is none, and so on; one line
                that names the file, the line and the remedy.
        """
        files = {file.name: file for file in case.files}
        for name in _REQUIRED:
            if name not in files:
                raise InputError(f"{case.id}: {name} is missing; unpack the patient again or remove its folder")
        geometry = Geometry(shape=self.shape, spacing=openkbp_csv.read_spacing(files[SPACING_FILE]))
        # Files list a tenth of the voxels or less: values are made what they are to be before they fill a volume.
        voxels, ct = openkbp_csv.ct_rows(files[CT_FILE], self.shape)
        low, high = CT_LIMITS
        clipped = int(np.count_nonzero((ct < low) | (ct > high)))
        region = openkbp_csv.mask_rows(files[REGION_FILE], self.shape)
        if not region.size:
            raise InputError(f"{files[REGION_FILE]}: it lists no voxel; unpack the patient again or remove its folder")
        doses = [openkbp_csv.dose_rows(files[DOSE_FILE], self.shape)] if DOSE_FILE in files else []
        masks = {
            name: openkbp_csv.mask_rows(files[file], self.shape)
            for name, file in STRUCTURE_FILES.items()
            if file in files
        }
        contoured = tuple(name for name, mask in masks.items() if mask.size)
        return CaseData(
            arrays={
                "ct": self._volumes(np.int16, [(voxels, np.rint(np.clip(ct, low, high)))]),
                "structures": self._volumes(np.uint8, [(masks[name], 1) for name in contoured]),
                "dose": self._volumes(np.float32, doses),
                "region": self._volumes(np.uint8, [(region, 1)]),
            },
            channels={
                "ct": ("ct",),
                "structures": contoured,
                "dose": ("dose",) * len(doses),
                "region": ("possible_dose_mask",),
            },
            geometry=geometry,
            information={
                "clipped_ct": clipped,
                "not_contoured": [name for name in STRUCTURES if name not in contoured],
                "empty_structures": [name for name in masks if name not in contoured],
            },
        )

    def _volumes(self, dtype: type[np.generic], rows: Sequence[tuple[np.ndarray, Any]]) -> np.ndarray:
        """Volumes ``c z y x`` that are zero but for the voxels that are listed: flat indexes, and values."""
        volumes = np.zeros((len(rows), *self.shape), dtype)
        for volume, (index, value) in zip(volumes, rows, strict=True):
            volume.reshape(-1)[index] = value
        return volumes

    def check(self) -> Iterator[Issue]:
        """Read every patient and say what is wrong, case by case; see the base class."""
        seen: dict[str, Path] = {}
        try:
            patients = self._patients()
        except InputError as error:
            yield Issue(str(self.root), "error", str(error))
            return
        folders = split_folders(self.root)
        for folder in folders.values():
            if not any(patient.parent == folder for _, patient in patients):
                yield Issue(folder.name, "warning", f"{folder}: it holds no patient pt_N")
        for split in SPLITS if folders else ():
            if split not in folders:
                yield Issue(SPLIT_FOLDERS[split], "note", f"{self.root}: there is no {SPLIT_FOLDERS[split]}")
        for given, folder in patients:
            if folder.name in seen:
                yield Issue(folder.name, "error", found_twice(folder, seen[folder.name]))
                continue
            seen[folder.name] = folder
            if folders and not given:
                message = (
                    f"{folder}: beside the folders of splits, so the patient has no split; move it into one of them"
                )
                yield Issue(folder.name, "warning", message)
            yield from self._check_patient(given, folder)

    def _check_patient(self, split: Split | Literal[""], folder: Path) -> Iterator[Issue]:
        present = _csv_names(folder)
        for name in sorted(present - _KNOWN):
            match = closest(name, _KNOWN)
            hint = f"; rename it if {match} is meant" if match else ""
            yield Issue(folder.name, "warning", f"{folder / name}: not a file of this data set, ignored{hint}")
        missing = [name for name in _REQUIRED if name not in present]
        if missing:
            message = f"{folder}: {' and '.join(missing)} missing, the patient is skipped; unpack it again"
            yield Issue(folder.name, "error", message)
            return
        files = tuple(folder / name for name in sorted(present & _KNOWN))
        try:
            case = self.read(Case(id=folder.name, group=folder.name, split=split, files=files))
        except InputError as error:
            yield Issue(folder.name, "error", str(error))
            return
        if clipped := case.information["clipped_ct"]:
            message = f"{folder / CT_FILE}: {clipped} CT voxels out of {CT_LIMITS[0]}..{CT_LIMITS[1]} clipped"
            yield Issue(folder.name, "warning", message)
        empty = case.information["empty_structures"]
        for name in empty:
            message = f"{folder / STRUCTURE_FILES[name]}: it lists no voxel; taken as not contoured"
            yield Issue(folder.name, "warning", message)
        dose, region = case.arrays["dose"], case.arrays["region"]
        if len(dose) == 0:
            yield Issue(folder.name, "note", f"{folder / DOSE_FILE}: no such file; the dose is a missing label")
        elif outside := int(np.count_nonzero(dose[region == 0])):
            message = f"{folder / DOSE_FILE}: {outside} voxels with dose outside {REGION_FILE}"
            yield Issue(folder.name, "warning", message)
        if absent := [name for name in case.information["not_contoured"] if name not in empty]:
            yield Issue(folder.name, "note", f"{folder}: not contoured: {', '.join(absent)}")

    def task(self, name: str, **options: Any) -> Task:
        """``segmentation`` (option ``classes``: structures, or ``"all"``) or ``dose`` (no option).

        Raises:
            InputError: no such task, option or structure.
        """
        return plan_task(self.name, name, options, STRUCTURES, DEFAULT_CLASSES)

    def scores(
        self, case: CaseData, predictions: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, str, str, float]]:
        """The challenge's scores of a predicted dose: rows of (task, structure, figure, value), all in Gy.

        ``dose_score`` is the patient's own; a ``dvh_error_<figure>`` is one cell of the challenge's DVH score, the
        mean of which over all patients and structures is the DVH score.
        """
        if "dose" not in predictions or case.arrays["dose"].shape[0] == 0:
            return []
        reference, region = case.arrays["dose"][0], case.arrays["region"][0]
        predicted = np.asarray(predictions["dose"])[0]
        structures = dict(zip(case.channels["structures"], case.arrays["structures"], strict=True))
        cells = dvh_errors(reference, predicted, region, structures, case.geometry.voxel_volume)
        return [
            ("dose", "", "dose_score", dose_score(reference, predicted, region)),
            *(("dose", name, f"dvh_error_{metric}", value) for (name, metric), value in cells.items()),
        ]

    def _patients(self) -> list[tuple[Split | Literal[""], Path]]:
        """Every folder ``pt_N`` with its split, whole or not."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; give the folder that holds train-pats and validation-pats")
        found = patients_of(self.root)
        if not found and not split_folders(self.root):
            names = ", ".join(SPLIT_FOLDERS.values())
            raise InputError(f"{self.root}: none of {names} in it and no pt_N; give the folder that holds them")
        return found


def _csv_names(folder: Path) -> set[str]:
    return {child.name for child in folder.glob("*.csv")}
