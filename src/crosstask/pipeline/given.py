"""What is to be predicted: cases in the layout of a run's own data set, or images of which nothing else is known."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crosstask.assembly import dataset_of
from crosstask.datasets import Cohort, Dataset, DicomRT
from crosstask.datasets.cohort.dataset import COHORT_FILE
from crosstask.datasets.intake import Intake
from crosstask.datasets.plain import (
    KIND,
    Found,
    Outlook,
    PlainImages,
    find_plain,
)
from crosstask.errors import InputError
from crosstask.experiment import Experiment
from crosstask.io.image_files import IMAGE_ENDINGS, ending
from crosstask.pipeline.clinic import dataset_to_predict
from crosstask.pipeline.listener import Listener
from crosstask.runs import RECORD, earlier_runs, load_spec, read_record
from crosstask.shipped import find_config
from crosstask.store import Store
from crosstask.store.statistics import spacing_range

_LOOKED_AT = 50


def cases_to_predict(
    run: Path,
    experiment: Experiment,
    paths: Sequence[Path],
    output: Path,
    *,
    image: str | None = None,
    plan: Sequence[str] = (),
    series: Sequence[str] = (),
    listener: Listener,
) -> Dataset:
    """The cases that paths name, as a data set that has been looked through; how they are read is told.

    One path may be a data set in the layout of the run's own. Anything else are plain images: files, folders, and
    tables with a row a case.

    Args:
        run: a run folder, for what it knows of its images.
        experiment: of the run.
        paths: what to predict.
        output: where to.
        image: which files of a folder, or which column of a table; see :func:`crosstask.datasets.plain.find_plain`.
        plan: of DICOM-RT; see :func:`crosstask.pipeline.clinic.dataset_to_predict`.
        series: likewise.
        listener: told what is read.

    Raises:
        InputError: there is nothing to predict, or none of it is what the run can take.
    """
    name = experiment.dataset.name
    fault: InputError | None = None
    if len(paths) == 1 and image is None and _may_be(name, paths[0]):
        try:
            dataset = dataset_to_predict(experiment, paths[0], output, plan=plan, series=series)
            with listener.progress("Looking", at_once=False) as looking:
                dataset.find(looking)
            count = len(dataset.cases())
        except InputError as error:
            if name == DicomRT.name or not paths[0].is_dir() or (paths[0] / COHORT_FILE).is_file():
                raise
            fault = error
        else:
            listener.told(f"{paths[0]}: read as {name}, {count} case{'s' * (count != 1)}")
            return dataset
    if plan or series:
        raise InputError(f"--{'plan' if plan else 'series'}: plain images have no DICOM to choose from; leave it out")
    intake = intake_of(run, experiment)
    found = find_plain(paths, intake, image, besides=output)
    if fault is not None and not found.files:
        raise InputError(f"{paths[0]}: no image in it, and it is not laid out as {name} ({fault})")
    if fault is not None:
        listener.told(f"{paths[0]}: is not laid out as {name}, so its images are read as plain ones ({fault})")
    _tell(found, paths, intake, listener)
    assembly = read_record(run).get("assembly", {})
    if experiment.sample.kind == "lesion" or _takes_structures(run, experiment):
        what = "the outline of a lesion" if experiment.sample.kind == "lesion" else "structures as input"
        raise InputError(
            f"{paths[0]}: the run takes {what} beside the image, which plain images have not; give a data set"
        )
    outlook = Outlook(experiment.dataset.windows, _spacing_of(run, experiment) if intake.spacing is None else None)
    array = assembly.get("image_array") or dataset_of(experiment).image_array
    return PlainImages(paths[0], intake, array, found, outlook)


def _takes_structures(run: Path, experiment: Experiment) -> bool:
    """Whether a run, or one whose predictions are its input, takes structures or beams aimed at them."""
    assembly = read_record(run).get("assembly", {})
    if assembly.get("structure_array") or assembly.get("beams"):
        return True
    before = earlier_runs(experiment, run)
    return before is not None and any(_takes_structures(one, load_spec(one).experiment) for one in before.folders)


def _may_be(name: str, path: Path) -> bool:
    """Whether a path may be a data set of that name: a folder, or of cohorts their file or a name that comes along."""
    if name == Cohort.name and not path.is_dir():
        return ending(path) in (".yaml", ".yml") or find_config(path).is_file()
    return path.is_dir() or name == DicomRT.name


def _tell(found: Found, paths: Sequence[Path], intake: Intake, listener: Listener) -> None:
    """What is read, how many, and what was skipped.

    Raises:
        InputError: there is no image.
    """
    for note in found.notes:
        listener.told(note)
    if not found.files:
        where = ", ".join(map(str, paths[:3]))
        raise InputError(f"{where}: no image in it; {KIND[intake.dims]} are {', '.join(IMAGE_ENDINGS)}")
    kinds = f"{KIND[intake.dims]} of {intake.files} files each" if intake.files > 1 else KIND[intake.dims]
    how = f", resampled to {' x '.join(f'{step:g}' for step in intake.spacing)} mm" if intake.spacing else ""
    listener.told(
        f"{len(found.files)} case{'s' * (len(found.files) != 1)}, read as {kinds}{how}. {intake.remark}".rstrip()
    )


def intake_of(run: Path, experiment: Experiment) -> Intake:
    """How a run's images were read, by its record; of runs from before they kept it, by their data set.

    Raises:
        InputError: the data set is gone.
    """
    record: Mapping[str, Any] = read_record(run)
    if "intake" in record:
        try:
            return Intake.described(record["intake"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{run / RECORD}: is damaged; remove the folder and train the run anew") from None
    try:
        return dataset_of(experiment).intake()
    except InputError as error:
        raise InputError(
            f"{run}: is of an earlier version and does not say how its images were read, and its data set does not "
            f"either ({error}); put that back"
        ) from None


def _spacing_of(run: Path, experiment: Experiment) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Smallest and largest spacing of the training cases; None where nobody knows."""
    data = read_record(run).get("data") or {}
    known = data.get("spacing")
    if known is None and experiment.sample.case_dims == 3:
        with contextlib.suppress(InputError, OSError, KeyError):
            cases = data.get("cases", {}).get("train", [])
            store = Store(experiment.store_folder)
            known = spacing_range(store, cases[:: max(1, len(cases) // _LOOKED_AT)])
    return None if not known else (tuple(known[0]), tuple(known[1]))
