"""Which output formats fit a run."""

from __future__ import annotations

from pathlib import Path

from crosstask.assembly import Assembly
from crosstask.datasets import Cohort, Dataset
from crosstask.datasets.plain import PlainImages
from crosstask.export.cases import CaseWriter, CsvWriter, NpzWriter, OpenKBPWriter, PngWriter
from crosstask.export.overlays import OverlayWriter
from crosstask.export.plans import DicomWriter
from crosstask.export.volumes import NiftiWriter
from crosstask.registry import FORMATS
from crosstask.tasks.segmentation import SegmentationTask


def writers(
    name: str | None,
    folder: Path,
    assembly: Assembly,
    dataset: Dataset,
    model: str = "",
    *,
    probabilities: bool = False,
) -> list[CaseWriter]:
    """The writers of a format; without a name those that fit the run and the data set.

    These are the challenge's format for OpenKBP, DICOM for DICOM-RT, and NIfTI for volumes of cohorts and plain ones;
    otherwise PNG for masks of images (of plain ones with overlays) and NumPy archives for anything else at pixel level;
    and the table for labels of whole cases.

    Args:
        name: of :data:`crosstask.registry.FORMATS`, or None.
        folder: where to write.
        assembly: the tasks that the run predicts.
        dataset: whose cases are predicted.
        model: what predicts, for formats that name it.
        probabilities: also write these, in NIfTI files or else as NumPy archives.

    Raises:
        InputError: the format cannot hold what the run predicts of these cases.
    """
    kinds = _fitting(assembly, dataset) if name is None else [FORMATS.find(name, "--format")]
    if probabilities and not any(kind in (NiftiWriter, NpzWriter) for kind in kinds):
        kinds.append(NpzWriter)
    made = [kind(folder, assembly, dataset, model) for kind in kinds]
    for writer in made:
        writer.probabilities = probabilities
    return made


def _fitting(assembly: Assembly, dataset: Dataset) -> list[type[CaseWriter]]:
    """What fits a run and a data set."""
    pixel = [task for task in assembly.tasks if task.level == "pixel"]
    chosen: list[type[CaseWriter]] = []
    if pixel and not OpenKBPWriter.misfit(assembly, dataset):
        chosen.append(OpenKBPWriter)
    elif pixel and not DicomWriter.misfit(assembly, dataset):
        chosen.append(DicomWriter)
    elif pixel and isinstance(dataset, (Cohort, PlainImages)) and not NiftiWriter.misfit(assembly, dataset):
        chosen.append(NiftiWriter)
    elif pixel and not PngWriter.misfit(assembly, dataset) and all(isinstance(t, SegmentationTask) for t in pixel):
        chosen += [PngWriter, OverlayWriter] if isinstance(dataset, PlainImages) else [PngWriter]
    elif pixel:
        chosen.append(NpzWriter)
    if len(pixel) < len(assembly.tasks):
        chosen.append(CsvWriter)
    return chosen
