"""Predictions for a clinic's DICOM folders: where pseudonyms are kept, and the page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.datasets import CaseData, Dataset, DicomRT, open_dataset
from crosstask.experiment import Experiment

if TYPE_CHECKING:
    from crosstask.assembly import Assembly
    from crosstask.prediction.predictor import Prediction

PAGE = "plan.png"
"""Name of the page in the folder of a case."""


def dataset_to_predict(experiment: Experiment, root: Path, output: Path) -> Dataset:
    """The data set of a run, at another root.

    Of DICOM-RT nothing is written among the input, and the table of pseudonyms lies beside the output, as
    ``OUTPUT.pseudonyms.csv``: new patients are none of those that the run was trained on.

    Raises:
        InputError: the output lies in the folder that is read.
    """
    options = dict(experiment.dataset.options)
    if experiment.dataset.name == DicomRT.name:
        from crosstask.export.output import refuse_input_folder

        refuse_input_folder(output, [root])
        options["pseudonyms"] = str(output.with_name(f"{output.name}.pseudonyms.csv"))
    return open_dataset(experiment.dataset.name, root, **options)


def write_page(folder: Path, assembly: Assembly, prediction: Prediction, case: CaseData, title: str) -> None:
    """Planes, contours, dose and histograms of one predicted patient, as :data:`PAGE`; what was planned beside it.

    Args:
        folder: of the case.
        assembly: the tasks that were predicted.
        prediction: on the case's grid.
        case: its arrays.
        title: the page's.
    """
    from crosstask.export.output import new_file
    from crosstask.functional.body import body_mask
    from crosstask.report.plan_picture import plan_picture
    from crosstask.tasks.segmentation import SegmentationTask

    masks: dict[str, np.ndarray] = {}
    dose: np.ndarray | None = None
    for task in assembly.tasks:
        values = prediction.values[task.name]
        if isinstance(task, SegmentationTask):
            masks |= dict(zip(task.classes, task.to_masks(values).astype(bool), strict=True))
        elif task.source == "dose":
            dose = np.where(body_mask(case.arrays["ct"][0], case.geometry.spacing), values[0], 0).clip(min=0)
    known = dict(zip(case.channels["structures"], case.arrays["structures"].astype(bool), strict=True))
    planned = {name: known[name] for name in (masks or known) if name in known}
    page = plan_picture(
        case.arrays["ct"][0],
        case.geometry,
        masks or planned,
        dose,
        title=title,
        reference_masks=planned or None,
        reference_dose=case.arrays["dose"][0] if dose is not None and case.channels["dose"] else None,
        prescription=case.information.get("prescription_gy"),
    )
    with new_file(folder / PAGE) as part:
        part.write_bytes(page)
