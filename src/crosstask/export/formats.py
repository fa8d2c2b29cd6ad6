"""Which output formats fit a run."""

from __future__ import annotations

from pathlib import Path

from crosstask.assembly import Assembly
from crosstask.datasets import Dataset
from crosstask.export.cases import CaseWriter, CsvWriter, NpzWriter, OpenKBPWriter, PngWriter
from crosstask.export.plans import DicomWriter
from crosstask.registry import FORMATS
from crosstask.tasks.segmentation import SegmentationTask


def writers(name: str | None, folder: Path, assembly: Assembly, dataset: Dataset, model: str = "") -> list[CaseWriter]:
    """The writers of a format; without a name those that fit the run and the data set.

    These are the challenge's format for OpenKBP and DICOM for DICOM-RT, otherwise PNG for masks of images and NumPy
    archives for anything else at pixel level; and the table for labels of whole cases.

    Args:
        name: of :data:`crosstask.registry.FORMATS`, or None.
        folder: where to write.
        assembly: the tasks that the run predicts.
        dataset: whose cases are predicted.
        model: what predicts, for formats that name it.

    Raises:
        InputError: the format cannot hold what the run predicts of these cases.
    """
    if name is not None:
        return [FORMATS.find(name, "--format")(folder, assembly, dataset, model)]
    pixel = [task for task in assembly.tasks if task.level == "pixel"]
    chosen: list[type[CaseWriter]] = []
    if pixel and not OpenKBPWriter.misfit(assembly, dataset):
        chosen.append(OpenKBPWriter)
    elif pixel and not DicomWriter.misfit(assembly, dataset):
        chosen.append(DicomWriter)
    elif pixel and not PngWriter.misfit(assembly, dataset) and all(isinstance(t, SegmentationTask) for t in pixel):
        chosen.append(PngWriter)
    elif pixel:
        chosen.append(NpzWriter)
    if len(pixel) < len(assembly.tasks):
        chosen.append(CsvWriter)
    return [writer(folder, assembly, dataset, model) for writer in chosen]
