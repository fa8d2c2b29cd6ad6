"""The clinic's demo: generated patients as DICOM, a network trained on their plans, and a plan for a new CT."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crosstask.cli.demo import compare, demo_experiment
from crosstask.cli.listening import Terminal
from crosstask.cli.showing import show_predicted
from crosstask.cli.terminal import out, progress_bar
from crosstask.export.predicted import must_be_predicted
from crosstask.geometry import Geometry
from crosstask.pipeline.predicting import predict_cases
from crosstask.shipped import config_file

EXPERIMENT = config_file("phantom-dicom")
PATIENTS = 12
SIZE = 48
_SEED = 7
_WATER = 1000
"""CT number of water in the phantoms' scale."""
_WARNING = "Generated, no patient"


def run_dicom_demo(folder: Path, jobs: int) -> None:
    """Generate planned patients and a new one, learn from the first, and predict the other."""
    experiment = demo_experiment(folder, EXPERIMENT)
    plan = folder / "plan"
    must_be_predicted(plan)  # before the training
    with progress_bar("Generating patients") as progress:
        generate_patients(folder, progress)
    out.print(f"DICOM {experiment.dataset.root}: {PATIENTS} planned patients; {folder / 'new'}: a new CT", markup=False)
    compare(experiment, jobs)
    run = experiment.output_folder / "runs" / "ctan" / "seed0"
    show_predicted(predict_cases(run, folder / "new", plan, listener=Terminal()))


def generate_patients(
    folder: Path, progress: Callable[[int, int, str], None] | None = None, *, patients: int = PATIENTS
) -> None:
    """Write what is missing of ``data/PATIENT`` (CT, RTSTRUCT, RTDOSE) and of ``new`` (CT alone)."""
    for number in range(patients + 1):
        new = number == patients
        place = folder / "new" if new else folder / "data" / f"phantom{number + 1:02}"
        if not place.exists():
            part = place.with_name(f".{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # of an interrupted call
            write_phantom(part, number, planned=not new)
            part.replace(place)
        if progress is not None:
            progress(number + 1, patients + 1, place.name)


def write_phantom(folder: Path, number: int, *, planned: bool, size: int = SIZE) -> None:
    """Write a generated head-and-neck patient of ``size`` voxels along each axis: the CT, and the plan if wanted."""
    from crosstask.datasets.phantom_anatomy import generate_patient
    from crosstask.export.ct import write_ct
    from crosstask.export.rtdose import write_rtdose
    from crosstask.export.rtstruct import write_rtstruct

    patient = generate_patient(size, np.random.default_rng([_SEED, number]))
    upright = slice(None, None, -1)  # the phantoms' z runs from the head down
    grid = Geometry(patient.ct.shape, patient.spacing, tuple(-step * size / 2 for step in patient.spacing))
    hu = np.maximum(patient.ct[upright].astype(float) - _WATER, -1024)
    ct = write_ct(folder / "CT", hu, grid, patient=f"Phantom{number + 1:02}")
    if planned:
        masks = {name: mask[upright].astype(bool) for name, mask in patient.structures.items()}
        write_rtstruct(folder / "RTSTRUCT.dcm", ct, masks, model="phantom", warning=_WARNING)
        write_rtdose(folder / "RTDOSE.dcm", ct, patient.dose[upright], grid, model="phantom", warning=_WARNING)
