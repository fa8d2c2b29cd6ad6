"""``crosstask predict``: raw cases to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstask.cli.clinic import dataset_to_predict, write_page
from crosstask.cli.terminal import err, out, progress_bar
from crosstask.cli.work import one_of
from crosstask.datasets import SPLITS
from crosstask.errors import InputError
from crosstask.export.output import must_be_new

if TYPE_CHECKING:
    from crosstask.datasets import Case, Dataset
    from crosstask.datasets.dicom_patient import PatientCase
    from crosstask.export.placing import PlacedPlan


def predict_cases(
    run: Path,
    root: Path,
    output: Path,
    cases: Sequence[str] | None,
    split: str | None,
    kind: str | None,
    weights: str,
    device: str,
    onnx: Path | None = None,
    *,
    plan: Sequence[str] | None = None,
    series: Sequence[str] | None = None,
) -> None:
    """Predict raw cases and write them."""
    one_of("--weights", weights, ("best", "final"))
    if split is not None:
        one_of("--split", split, SPLITS)
    must_be_new(output)
    from crosstask.devices import describe_device
    from crosstask.export.formats import FORMATS, writers
    from crosstask.export.plans import DicomWriter
    from crosstask.prediction.predictor import Predictor
    from crosstask.runs import load_plan, read_record, read_thresholds

    if kind is not None:
        one_of("--format", kind, tuple(FORMATS))
    experiment = load_plan(run).experiment
    dataset = dataset_to_predict(experiment, root, output, plan=plan, series=series)
    with progress_bar("Looking", at_once=False) as looking:
        dataset.find(looking)
    chosen = _of_split(dataset, split, read_record(run), given=experiment.dataset.splits.rule == "original")
    chosen = _named(chosen, cases, dataset)
    if not chosen:
        raise InputError(f"{root}: has no {split} case; choose another --split")
    predictor = Predictor(run, weights=weights, device=device, dataset=dataset, onnx=onnx)
    out.print(f"Device: {describe_device(predictor.device)}", markup=False)
    model = f"{experiment.name} {predictor.plan.name} ({weights})"
    outputs = writers(kind, output, predictor.assembly, dataset, model)
    remarks: list[str] = []

    def draw(folder: Path, name: str, placed: PlacedPlan, case: PatientCase) -> None:
        write_page(folder, f"{name}: {model}", placed, case)
        if empty := [label for label, mask in placed.masks.items() if not mask.any()]:
            remarks.append(f"{name}: no voxel of {', '.join(empty)} is predicted")

    for writer in outputs:
        if isinstance(writer, DicomWriter):
            writer.draw = draw
    chosen_later = experiment.evaluation.fixed_threshold is None and not read_thresholds(run, weights)
    if chosen_later and any(task.thresholds is not None for task in predictor.tasks):
        err.print("No thresholds were chosen on validation cases yet, so 0.5 decides; see crosstask evaluate")
    failed: list[tuple[str, str]] = []
    with progress_bar("Predicting") as progress:
        for done, case in enumerate(chosen, 1):
            try:
                data, without = dataset.read_to_predict(case)
                remarks += [f"{case.id}: {finding.message}" for finding in data.findings]
                remarks += [f"{case.id}: predicted without a label, {message}" for message in without]
                prediction = predictor.predict(case.id, data, data.geometry)
                for writer in outputs:
                    writer.write(prediction, data)
            except InputError as error:
                failed.append((case.id, str(error)))
            progress(done, len(chosen), case.id)
    for writer in outputs:
        writer.finish()
    for remark in remarks:
        err.print(remark, markup=False)
    for case_id, message in failed:
        err.print(f"Skipped {case_id}: {message}", markup=False)
    if len(failed) == len(chosen):
        raise InputError(f"{root}: no case could be predicted; see the lines above")
    out.print(f"{len(chosen) - len(failed)} cases predicted: {output}", markup=False)


def _of_split(dataset: Dataset, split: str | None, record: dict[str, Any], *, given: bool) -> list[Case]:
    """Cases of a split: that of the data set if the run used it, else that in which the run saw a case.

    Where one of them says nothing of a case, the other does.
    """
    seen = {case: name for name, cases in record.get("data", {}).get("cases", {}).items() for case in cases}
    cases = dataset.cases()
    if given:
        return [case for case in cases if split in (None, case.split or seen.get(case.id))]
    return [case for case in cases if split in (None, seen.get(case.id, case.split))]


def _named(cases: list[Case], names: Sequence[str] | None, dataset: Dataset) -> list[Case]:
    """Those of these names, in their order; all if none is named."""
    if not names:
        return cases
    known = {case.id: case for case in cases}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"--case: {dataset.root} has no usable case {missing[0]!r}; see crosstask check {dataset.name}"
        )
    return [known[name] for name in dict.fromkeys(names)]
