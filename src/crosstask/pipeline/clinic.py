"""Predictions for a clinic's DICOM folders: where pseudonyms are kept, and the page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstask.datasets import Dataset, DicomRT, open_dataset
from crosstask.datasets.dicom_rt.patient import PatientCase
from crosstask.errors import InputError
from crosstask.experiment import Experiment
from crosstask.export.output import new_file, refuse_input_folder
from crosstask.export.placing import PlacedPlan
from crosstask.report.plan_picture import plan_picture

PAGE = "plan.png"
"""Name of the page in the folder of a case."""


def dataset_to_predict(
    experiment: Experiment,
    root: Path,
    output: Path,
    *,
    plan: Sequence[str] = (),
    series: Sequence[str] = (),
) -> Dataset:
    """The data set of a run, at another root.

    Of DICOM-RT nothing is written among the input, and the table of pseudonyms lies beside the output, as
    ``OUTPUT.pseudonyms.csv``: new patients are none of those that the run was trained on.

    Args:
        experiment: of the run.
        root: what to predict.
        output: where to.
        plan: labels or UIDs of the plans to take of DICOM-RT; without them what the experiment takes, as far as new
            patients have it.
        series: descriptions, numbers or UIDs of the CT series, likewise.

    Raises:
        InputError: the output lies in the folder that is read; there are no plans or series in this data set.
    """
    options = dict(experiment.dataset.options)
    asked = {name: list(value) for name, value in (("plan", plan), ("series", series)) if value}
    if experiment.dataset.name == DicomRT.name:
        refuse_input_folder(output, [root])
        options["pseudonyms"] = str(output.with_name(f"{output.name}.pseudonyms.csv"))
    elif asked:
        raise InputError(f"--{next(iter(asked))}: {experiment.dataset.name} has no DICOM to choose from; leave it out")
    dataset = open_dataset(experiment.dataset.name, root, **{**options, **asked})
    if isinstance(dataset, DicomRT):
        dataset.must_fit = frozenset(asked)
    return dataset


def write_page(folder: Path, title: str, placed: PlacedPlan, case: PatientCase) -> None:
    """Planes, contours, dose and histograms of one predicted patient, as :data:`PAGE`; what was planned beside it.

    All on the CT's own grid, as in the files.

    Args:
        folder: of the case.
        title: the page's.
        placed: what was predicted.
        case: what it was predicted from.
    """
    patient, known = case.patient, case.channels["structures"]
    planned = {name: patient.mask(name) for name in (placed.masks or known) if name in known}
    page = plan_picture(
        patient.ct.hu,
        patient.ct.geometry,
        placed.masks or planned,
        placed.dose,
        title=title,
        reference_masks=planned or None,
        reference_dose=None if placed.dose is None else patient.dose_on_ct(),
        prescription=case.information.get("prescription_gy"),
    )
    with new_file(folder / PAGE) as part:
        part.write_bytes(page)
