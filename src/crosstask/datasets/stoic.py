"""STOIC2021: chest CT of patients suspected of COVID-19, with the test's result and the severity after a month."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue
from crosstask.datasets.intake import Intake
from crosstask.datasets.names import natural, refuse_options, unknown_name
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.io.numbers import only_numbers
from crosstask.io.resampling import resample
from crosstask.io.volumes import read_volume
from crosstask.tasks import ClassificationTask, ScalarTask
from crosstask.tasks.base import Task

DEFAULT_SPACING = (5.0, 2.0, 2.0)
"""z y x, mm: a CT of 400 x 512 x 512 voxels (210 MB) becomes one of about 64 x 175 x 175 (4 MB)."""
REFERENCE = Path("metadata", "reference.csv")
SCANS = Path("data", "mha")

_COLUMNS = ("PatientID", "probCOVID", "probSevere")
_OPTIONS = (*ClassificationTask.loss_options, "measure")
_TASK_OPTIONS = {"covid": _OPTIONS, "severity": ("mask_negatives", *_OPTIONS), "sex": _OPTIONS, "age": ()}
_AGE = re.compile(r"\s*(\d{1,3})Y?\s*", re.IGNORECASE)
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_AIR = -500
"""Every chest CT has air; a scan without a value below this is not in HU."""


@dataclass(frozen=True)
class _Row:
    """One line of the reference: 0, 1, or None where it is empty."""

    patient: str
    covid: int | None
    severe: int | None
    line: int


class STOIC(Dataset):
    """The public training set of STOIC2021 (2,000 scans), without splits of its own. A case, and a group, is a patient.

    The root, or a folder directly in it, holds ``metadata/reference.csv`` (PatientID, probCOVID, probSevere) and
    ``data/mha/<PatientID>.mha``.

    =========================== =========== ========================================================================
    ``ct``                      ``1 z y x`` int16, HU, not clipped, at the given spacing; z from feet to head
    ``covid``                   ``1``       1 if the PCR was positive
    ``severe``                  ``1``       1 if intubated or dead within a month
    ``severe_among_positives``  ``1``       the same, but no channel (a missing label) without positive PCR
    ``sex``                     ``1``       channel ``male``: 1 male, 0 female; from the header, if it says so
    ``age``                     ``1``       years; from the header, if it says so. The challenge gives the middle of a
                                            decade, 35 for all below 40 and 85 for all above 80
    =========================== =========== ========================================================================

    ``CaseData.information`` holds ``shape`` and ``spacing`` of the file, and ``age`` and ``sex`` (None if unknown).

    Tasks: ``covid``; ``severity``, which learns and is scored among the positives only, as in the challenge (with
    ``mask_negatives: false`` it learns from all, the negatives being not severe, and is scored among positives still);
    ``sex`` and ``age``. The classifications take the options ``class_weights``, ``focal`` and ``measure``.

    Args:
        root: folder of the data set.
        spacing: z y x, in mm, to which scans are resampled (:func:`crosstask.io.resampling.resample`), or None to leave
            them as they are, which takes 50 times the space.
        fill: HU in the place of voxels that are no numbers (NaN), which are an error without it.
    """

    name = "stoic"
    image_array = "ct"
    image_channels = 1
    spatial_dims = 3
    licence = "CC BY-NC 4.0"
    source = "https://stoic2021.grand-challenge.org"
    citation = (
        "M.-P. Revel, S. Boussouar, C. de Margerie-Mellon, et al. Study of Thoracic CT in COVID-19: The STOIC Project. "
        "Radiology 301(1), 2021, E361-E370."
    )

    def __init__(
        self, root: Path, spacing: Sequence[float] | None = DEFAULT_SPACING, fill: float | None = None
    ) -> None:
        super().__init__(root)
        self.fill = None if fill is None else _fill(fill)
        self.spacing = None if spacing is None else _spacing(spacing)
        self._rows: dict[str, _Row] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(_TASK_OPTIONS)

    def intake(self) -> Intake:
        """Volumes in HU, resampled as the scans are."""
        return Intake(1, 3, spacing=self.spacing, fill=self.fill, remark="Values are taken for CT numbers in HU.")

    def read_settings(self) -> Mapping[str, Any]:
        """The spacing, and the fill where one is given."""
        filled = {} if self.fill is None else {"fill": self.fill}
        return {"spacing": None if self.spacing is None else list(self.spacing), **filled}

    def cases(self) -> list[Case]:
        """All patients with a scan and a valid line of the reference, sorted by id. No scan is opened.

        Raises:
            InputError: root or reference are missing, the reference lacks a column, or no patient has scan and line.
        """
        folder = self._folder()
        self._rows, _ = _read_reference(folder / REFERENCE)
        cases = [
            Case(id=patient, group=patient, split="", files=(_scan(folder, patient), folder / REFERENCE))
            for patient in sorted(self._rows, key=natural)
            if _scan(folder, patient).is_file()
        ]
        if not cases:
            raise InputError(f"{folder / SCANS}: no scan of a patient of {REFERENCE.name}; download the scans again")
        return cases

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        """Patients of the reference without a scan, and scans without a usable line in it."""
        folder = self._folder()
        rows, faults = _read_reference(folder / REFERENCE)
        wrong = {issue.case: issue.message for issue in faults if issue.severity == "error"}
        missing = {patient: _scan(folder, patient) for patient in rows if not _scan(folder, patient).is_file()}
        found = {patient: f"{scan}: no such file; download it again" for patient, scan in missing.items()}
        return {patient: message for patient, message in {**wrong, **found}.items() if patient in case_ids}

    def read(self, case: Case) -> CaseData:
        """All arrays of a patient; see the class for what they are.

        Raises:
            InputError: the scan cannot be read, is a picture, or holds values that are no numbers.
        """
        scan, reference = case.files
        if self._rows is None:
            self._rows, _ = _read_reference(reference)
        if case.id not in self._rows:
            raise InputError(f"{reference}: no usable line for patient {case.id!r}; run the check")
        row = self._rows[case.id]
        ct, geometry, header = _read_scan(scan, self.fill)
        information = {
            "shape": list(geometry.shape),
            "spacing": list(geometry.spacing),
            "age": _age(header),
            "sex": _sex(header),
        }
        if self.spacing is not None:
            try:
                ct, geometry = resample(ct, geometry, self.spacing)
            except InputError as error:
                raise InputError(f"{scan}: {error}") from None
        labels = {
            "covid": ("covid", row.covid),
            "severe": ("severe", row.severe),
            "severe_among_positives": ("severe", row.severe if row.covid == 1 else None),
            "sex": ("male", None if information["sex"] is None else int(information["sex"] == "male")),
            "age": ("age", information["age"]),
        }
        return CaseData(
            arrays={
                "ct": ct[None],
                **{name: np.array([] if value is None else [value], np.float32) for name, (_, value) in labels.items()},
            },
            channels={
                "ct": ("ct",),
                **{name: () if value is None else (channel,) for name, (channel, value) in labels.items()},
            },
            geometry=geometry,
            information=information,
        )

    def check(self) -> Iterator[Issue]:
        """Read every scan, one at a time, and say what is wrong; see the base class."""
        try:
            folder = self._folder()
            rows, faults = _read_reference(folder / REFERENCE)
        except InputError as error:
            yield Issue(str(self.root), "error", str(error))
            return
        yield from faults
        scans = {path.stem: path for path in (folder / SCANS).glob("*.mha") if not path.name.startswith(".")}
        listed = {*rows, *(issue.case for issue in faults)}
        if strange := sorted(set(scans) - listed, key=natural):
            message = f"{scans[strange[0]]}: no line in {REFERENCE.name}, left out, as are {len(strange) - 1} others"
            yield Issue(REFERENCE.name, "warning", message)
        unknown = {"age": 0, "sex": 0}
        seen: dict[bytes, str] = {}
        read = 0
        for patient in sorted(rows, key=natural):
            row, place = rows[patient], f"{folder / REFERENCE}, line {rows[patient].line}"
            if patient not in scans:
                message = f"{_scan(folder, patient)}: no such file, the patient is left out; download it again"
                yield Issue(patient, "error", message)
                continue
            missing = [name for name in ("covid", "severe") if getattr(row, name) is None]
            if missing:
                yield Issue(patient, "note", f"{place}: {' and '.join(missing)} empty, a missing label")
            if row.severe == 1 and row.covid == 0:
                yield Issue(patient, "warning", f"{place}: severe without COVID; only positives count for severity")
            try:
                ct, geometry, header = _read_scan(scans[patient], self.fill)
            except InputError as error:
                yield Issue(patient, "error", str(error))
                continue
            read += 1
            if ct.min() >= _AIR:
                message = f"{scans[patient]}: no value below {_AIR}, so not in HU; the lung window will not fit"
                yield Issue(patient, "warning", message)
            unknown["age"] += _age(header) is None
            unknown["sex"] += _sex(header) is None
            digest = hashlib.blake2b(repr(geometry.shape).encode() + ct.tobytes(), digest_size=16).digest()
            if digest in seen:
                message = f"{scans[patient]}: the same voxels as {seen[digest]}; leave one of them out"
                yield Issue(patient, "warning", message)
            else:
                seen[digest] = patient
        if any(unknown.values()):
            counts = ", ".join(f"{name} of {count}" for name, count in unknown.items() if count)
            yield Issue(self.name, "note", f"{folder / SCANS}: not in the header: {counts} of {read} patients")

    def task(self, name: str, **options: Any) -> Task:
        """One of :attr:`tasks`; see the class for their options.

        Raises:
            InputError: no such task or option.
        """
        if name not in _TASK_OPTIONS:
            raise unknown_name(f"task of {self.name}", name, self.tasks)
        refuse_options(f"task {name!r} of {self.name}", options, _TASK_OPTIONS[name])
        if name == "age":
            return ScalarTask(name, "age", "years", minimum=0.0)
        if name == "sex":
            return ClassificationTask(name, "sex", ("male",), exclusive=False, **options)
        if name == "covid":
            return ClassificationTask(name, "covid", ("covid",), exclusive=False, **options)
        masked = options.pop("mask_negatives", True)
        if not isinstance(masked, bool):
            raise InputError(f"mask_negatives is {masked!r}; give true or false")
        positives = "severe_among_positives"
        source, scored = (positives, None) if masked else ("severe", positives)
        task = ClassificationTask(name, source, ("severe",), exclusive=False, scored_array=scored, **options)
        task.labelled_array = "severe"  # negatives lack no label, they are not asked
        return task

    def _folder(self) -> Path:
        """The folder that holds the reference."""
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; give the folder that holds {REFERENCE.as_posix()}")
        for folder in (self.root, *sorted(child for child in self.root.iterdir() if child.is_dir())):
            if (folder / REFERENCE).is_file():
                return folder
        raise InputError(f"{self.root}: no {REFERENCE.as_posix()} in it; give the folder that holds it")


def _scan(folder: Path, patient: str) -> Path:
    return folder / SCANS / f"{patient}.mha"


def _read_scan(path: Path, fill: float | None) -> tuple[np.ndarray, Geometry, dict[str, str]]:
    """CT ``z y x``, int16, its grid and its header."""
    values, geometry, header = read_volume(path)
    values = only_numbers(path, values, fill, "give the data set's option fill, HU in their place")
    if values.min() == values.max():
        raise InputError(f"{path}: every voxel is {values.min()}; download it again or leave the patient out")
    if values.dtype != np.int16:
        limits = np.iinfo(np.int16)
        values = np.clip(np.rint(values), limits.min, limits.max).astype(np.int16)
    return values, geometry, header


def _read_reference(path: Path) -> tuple[dict[str, _Row], list[Issue]]:
    """Valid lines by patient, and what is wrong with the others.

    Raises:
        InputError: the file cannot be read as text, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download it again") from None
    table = csv.DictReader(text.splitlines())
    missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; the columns are {', '.join(_COLUMNS)}")
    rows: dict[str, _Row] = {}
    faults: list[Issue] = []
    for values in table:
        place = f"{path}, line {table.line_num}"
        patient = (values["PatientID"] or "").strip()
        if not patient or Path(patient).name != patient:
            faults.append(Issue(path.name, "error", f"{place}: {patient!r} is no PatientID; correct the line"))
            continue
        try:
            row = _Row(patient, _binary(values["probCOVID"]), _binary(values["probSevere"]), table.line_num)
        except ValueError as error:
            faults.append(Issue(patient, "error", f"{place}: {error}, the patient is left out; correct the line"))
            continue
        before = rows.setdefault(patient, row)
        if before is row:
            continue
        if (before.covid, before.severe) == (row.covid, row.severe):
            faults.append(Issue(patient, "warning", f"{place}: {patient} is listed before, with the same values"))
        else:
            message = f"{place}: {patient} is listed before with other values, left out; remove one line"
            faults.append(Issue(patient, "error", message))
    wrong = {issue.case for issue in faults if issue.severity == "error"}
    return {patient: row for patient, row in rows.items() if patient not in wrong}, faults


def _binary(text: str | None) -> int | None:
    """0 or 1; None where nothing is given.

    Raises:
        ValueError: something else.
    """
    text = (text or "").strip()
    if text.lower() in ("", "nan", "na"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if value not in (0.0, 1.0):
        raise ValueError(f"{text!r} is neither 0 nor 1")
    return int(value)


def _age(header: Mapping[str, str]) -> float | None:
    """Age in years, of ``065Y``."""
    match = _AGE.fullmatch(header.get("PatientAge", ""))
    return float(match[1]) if match else None


def _sex(header: Mapping[str, str]) -> str | None:
    return _SEXES.get(header.get("PatientSex", "").strip().lower())


def _spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    """A checked spacing.

    Raises:
        InputError: it is not three positive numbers.
    """
    try:
        steps = tuple(float(step) for step in spacing)
    except (TypeError, ValueError):
        steps = ()
    if len(steps) != 3 or not all(math.isfinite(step) and step > 0 for step in steps):
        raise InputError(f"dataset.options.spacing: {spacing!r} is not three lengths z y x in mm; or give null")
    return steps


def _fill(fill: Any) -> float:
    """A checked value in Hounsfield units.

    Raises:
        InputError: it is none.
    """
    if isinstance(fill, bool) or not isinstance(fill, int | float) or not -32768 <= fill <= 32767:
        raise InputError(f"dataset.options.fill: {fill!r} is no value in HU, such as -1024; or give null")
    return float(fill)
