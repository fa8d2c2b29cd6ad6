"""Predictions to files: the OpenKBP submission format, NumPy archives, PNG masks, and a table of labels."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly
from crosstask.csv_cells import csv_text
from crosstask.datasets import Dataset, OpenKBP
from crosstask.datasets.base import CaseData
from crosstask.errors import CrosstaskError, InputError
from crosstask.export.output import new_file
from crosstask.export.predicted import move_into, refuse_others
from crosstask.files import file_name, write_atomically, writing
from crosstask.io import openkbp_csv
from crosstask.prediction.ensemble import entropy_of, most_entropy
from crosstask.prediction.predictor import Prediction
from crosstask.registry import FORMATS
from crosstask.tasks.base import Task
from crosstask.tasks.segmentation import SegmentationTask

TABLE = "predictions.csv"
_COLUMNS = ("case", "task", "class", "prediction", "decision", "unit")
_UNCERTAINTY = ("spread", "entropy")
UNCERTAINTY = "uncertainty"
"""Folder of what an ensemble of seeds says of its own certainty."""


class CaseWriter(ABC):
    """One format: each predicted case is handed over once, and :meth:`finish` is called at the end.

    Args:
        folder: where to write; made when there is something to write.
        assembly: the tasks that the run predicts.
        dataset: whose cases are predicted.
        model: what predicts, for formats that name it.

    Attributes:
        name: name of the format in :data:`crosstask.registry.FORMATS`, and of ``predict --format``.
        rows: by case, the lines of the table that :meth:`finish` writes; those of earlier calls may be put in.
        notes: what is to be said of the cases that were written; no identifier is in it.
        probabilities: also write them, for formats that write what is decided by them.

    Raises:
        InputError: the format cannot hold what the run predicts of these cases.
    """

    name: str
    registry = FORMATS
    rows: dict[str, list[list[str]]]
    notes: list[str]
    probabilities: bool = False

    def __init__(self, folder: Path, assembly: Assembly, dataset: Dataset, model: str = "") -> None:
        self.folder, self.assembly, self.model = folder, assembly, model
        self.rows, self.notes = {}, []
        reason = self.misfit(assembly, dataset)
        if reason:
            raise InputError(f"--format {self.name}: {reason}")

    @classmethod
    @abstractmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Why the format cannot hold the predictions, and which can; empty if it can."""

    def write(self, prediction: Prediction, case: CaseData, into: Path | None = None) -> None:
        """Write a case, all of its files or none.

        Args:
            prediction: what was predicted of it.
            case: what it was predicted from.
            into: an empty folder to write to, by a caller who brings the files to their places; else they are written
                aside and moved to the writer's own.

        Raises:
            InputError: there is a file of that name; nothing is overwritten.
            CrosstaskError: a predicted value is not finite, or the disk is full.
        """
        _all_finite(prediction)
        if into is not None:
            self._write(into, prediction, case)
            return
        _made(self.folder)  # now, not at the end of hours, where it cannot be made
        with writing(self.folder), tempfile.TemporaryDirectory(prefix=".part", dir=self.folder) as part:
            self._write(Path(part), prediction, case)
            refuse_others(Path(part), self.folder)
            move_into(Path(part), self.folder)

    @abstractmethod
    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None: ...

    @property
    def table(self) -> Path | None:
        """The table of all cases that :meth:`finish` writes; None if the format has none, or there is no line."""
        return None

    def finish(self) -> None:
        """Write the table, which only all cases together have, in the place of an earlier one.

        Raises:
            CrosstaskError: the disk is full.
        """
        if self.table is not None:
            _made(self.folder)
            lines = [row for rows in self.rows.values() for row in rows]
            more = len(lines[0]) - len(_COLUMNS) if lines else 0
            write_atomically(self.table, csv_text([(*_COLUMNS, *_UNCERTAINTY[:more]), *lines]))


class OpenKBPWriter(CaseWriter):
    """Dose as ``pt_N.csv``, the OpenKBP challenge's submission format, and masks as ``masks/pt_N/<structure>.csv``.

    Dose is zero outside the case's ``possible_dose_mask``, as the challenge asks. Of an ensemble ``uncertainty`` holds
    in the same form the standard deviation over seeds: of the dose in Gy, of the structures' probabilities.
    """

    name = "openkbp"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Another data set, or neither dose nor structures."""
        if not isinstance(dataset, OpenKBP):
            return f"{dataset.name} is not in that layout; leave --format out, or use npz"
        if not any(isinstance(task, SegmentationTask) or task.array == "dose" for task in assembly.tasks):
            return "the run predicts neither dose nor structures; use --format npz"
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        region = self.assembly.region(case)
        for task in self.assembly.tasks:
            values = prediction.values[task.name]
            if isinstance(task, SegmentationTask):
                target = _made(folder / "masks" / file_name(prediction.case))
                for name, mask in zip(task.classes, task.to_masks(values), strict=True):
                    openkbp_csv.write_mask(target / f"{file_name(name)}.csv", mask)
            elif task.array == "dose":
                dose = values[0] if region is None else values[0] * region[0]
                openkbp_csv.write_dose(folder / f"{file_name(prediction.case)}.csv", dose)
            self._write_spread(folder / UNCERTAINTY, prediction, task, region)

    def _write_spread(self, folder: Path, prediction: Prediction, task: Task, region: np.ndarray | None) -> None:
        if task.name not in prediction.spread:
            return
        spread, case = prediction.spread[task.name], file_name(prediction.case)
        if isinstance(task, SegmentationTask):
            target = _made(folder / "masks" / case)
            for name, values in zip(task.classes, spread, strict=True):
                openkbp_csv.write_dose(target / f"{file_name(name)}.csv", values)
        elif task.array == "dose":
            openkbp_csv.write_dose(
                _made(folder) / f"{case}.csv", spread[0] if region is None else spread[0] * region[0]
            )


class NpzWriter(CaseWriter):
    """All decoded values as ``<case>.npz``: one array ``c *s`` or ``c`` per task, and the spacing in mm.

    Of an ensemble also ``<task>_spread``, the standard deviation over seeds, and of probabilities ``<task>_entropy`` of
    the mean in bits: of each class, or one where classes exclude each other.
    """

    name = "npz"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """It holds everything."""
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        path = folder / f"{file_name(prediction.case)}.npz"
        classes = {f"classes_{task.name}": np.array(task.classes) for task in self.assembly.tasks}
        uncertain = {f"{name}_spread": spread for name, spread in prediction.spread.items()}
        for task in self.assembly.tasks if uncertain else ():
            bits = entropy_of(task, prediction.values[task.name])
            uncertain |= {} if bits is None else {f"{task.name}_entropy": bits}
        arrays = {**prediction.values, **uncertain, **classes, "spacing": np.array(case.geometry.spacing)}
        with new_file(path) as part:
            np.savez_compressed(part, **arrays)  # type: ignore[arg-type]


class PngWriter(CaseWriter):
    """Masks of images as 8-bit PNG of the image's own size.

    ``<task>/<class>/<case>.png`` is 255 inside and 0 outside; of classes that exclude each other one
    ``<task>/<case>.png`` holds 0 for the background, 1 for the first class and so on, and ``<task>/classes.csv`` says
    which is which. Of an ensemble ``uncertainty`` holds the entropy of the mean probability in the same form: 0 is
    certain, 255 the highest that there can be (of two sides that are as likely, 1 bit).
    """

    name = "png"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Volumes, no masks, or more classes than 8 bits count."""
        masks = [task for task in assembly.tasks if isinstance(task, SegmentationTask)]
        if dataset.spatial_dims != 2:
            return f"{dataset.name} has volumes; use --format npz"
        if not masks:
            return "the run predicts no masks; use --format npz or csv"
        if any(task.exclusive and len(task.classes) > 255 for task in masks):
            return "there are more than 255 classes; use --format npz"
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        for task in self.assembly.tasks:
            if not isinstance(task, SegmentationTask):
                continue
            place = folder / file_name(task.name)
            name = f"{file_name(prediction.case)}.png"
            masks = task.to_masks(prediction.values[task.name])
            if prediction.spread:
                self._write_entropy(folder / UNCERTAINTY / file_name(task.name), name, task, prediction)
            if task.exclusive:
                labels = (masks * np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]).sum(0, dtype=np.uint8)
                write_png(place / name, labels)
                rows = [("label", "class"), (0, "background"), *enumerate(task.classes, 1)]
                write_text(place / "classes.csv", csv_text(rows))  # the same for every case
                continue
            for label, mask in zip(task.classes, masks, strict=True):
                write_png(place / file_name(label) / name, mask * np.uint8(255))

    def _write_entropy(self, place: Path, name: str, task: SegmentationTask, prediction: Prediction) -> None:
        bits = entropy_of(task, prediction.values[task.name])
        assert bits is not None  # of probabilities there is one
        labels = [""] if task.exclusive else [file_name(label) for label in task.classes]
        for label, values in zip(labels, bits, strict=True):
            write_png(place / label / name, np.rint(255 * np.clip(values / most_entropy(task), 0, 1)))


class CsvWriter(CaseWriter):
    """Labels of whole cases as one ``predictions.csv``: case, task, class, prediction, decision, unit.

    Predictions are probabilities, decided by the thresholds of the run (0 or 1), or quantities in their unit. Of an
    ensemble there are two more columns: spread, the standard deviation over seeds, and entropy of the mean in bits, of
    probabilities (of classes that exclude each other that of all of them).
    """

    name = "csv"

    @classmethod
    def misfit(cls, assembly: Assembly, dataset: Dataset) -> str:
        """Nothing but what is predicted pixel by pixel."""
        if not any(task.level == "image" for task in assembly.tasks):
            return "the run predicts no label of whole cases; use --format npz"
        return ""

    def _write(self, folder: Path, prediction: Prediction, case: CaseData) -> None:
        rows = self.rows[prediction.case] = []
        for task in self.assembly.tasks:
            if task.level != "image":
                continue
            values = prediction.values[task.name]
            decisions = task.decide(values)
            for index, (name, value, decision) in enumerate(zip(task.classes, values, decisions, strict=True)):
                decided = "" if task.values == "quantity" else int(decision)
                row = [prediction.case, task.name, name, f"{value:.7g}", str(decided), task.unit]
                rows.append([*row, *_uncertainty(task, prediction, index)])

    @property
    def table(self) -> Path | None:
        """``predictions.csv``, if there is a case."""
        return self.folder / TABLE if any(self.rows.values()) else None


def _uncertainty(task: Task, prediction: Prediction, index: int) -> list[str]:
    """Spread and entropy of a class, as cells; none of one run."""
    if task.name not in prediction.spread:
        return []
    bits = entropy_of(task, prediction.values[task.name])
    entropy = "" if bits is None else f"{bits[min(index, len(bits) - 1)]:.7g}"
    return [f"{prediction.spread[task.name][index]:.7g}", entropy]


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write 8-bit pixels ``y x`` or ``y x 3`` as a new file."""
    # a light command line must not pay for Pillow
    from PIL import Image

    with new_file(path) as part:
        Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)).save(part)


def write_text(path: Path, text: str) -> None:
    """Write a text as a new file; one of several cases' folders that has it already has the same."""
    with new_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _made(folder: Path) -> Path:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _all_finite(prediction: Prediction) -> None:
    for task, values in (*prediction.values.items(), *prediction.spread.items()):
        if not np.isfinite(values).all():
            raise CrosstaskError(
                f"{prediction.case}: the network's {task} is not finite everywhere; train with a lower learning rate "
                "or precision 32"
            )
