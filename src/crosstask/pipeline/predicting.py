"""Raw cases to files, by a trained run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from crosstask.datasets import Case, Dataset
from crosstask.datasets.plain import KIND, PlainImages
from crosstask.decisions import is_chosen
from crosstask.devices import AUTO, CPU, describe_device, devices_for, find_device
from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment, with_evaluation
from crosstask.export.cases import CaseWriter
from crosstask.export.formats import writers
from crosstask.export.predicted import PredictionFolder, must_be_predicted
from crosstask.pipeline.batch import Batch, Foreseen, foresee
from crosstask.pipeline.given import cases_to_predict
from crosstask.pipeline.listener import Listener
from crosstask.plugins import load
from crosstask.prediction.ensemble import Ensemble
from crosstask.prediction.predictor import Predictor
from crosstask.registry import FORMATS
from crosstask.runs import learned_tasks, load_spec, read_record, read_thresholds, thresholds_key, weights_path
from crosstask.store.fingerprint import digest_file
from crosstask.tasks.base import Task
from crosstask.workers import Workers

_IMPORTED = ("crosstask.pipeline.predicting", "monai.networks.nets.resnet")


@dataclass(frozen=True)
class Predicted:
    """What became of the cases.

    Attributes:
        folder: where they are.
        done: how many were predicted.
        kept: how many were there already.
        failed: (case id, why) of those that could not be predicted.
    """

    folder: Path
    done: int
    kept: int
    failed: tuple[tuple[str, str], ...]


def predict_cases(
    run: Path | Sequence[Path],
    root: Path | Sequence[Path],
    output: Path,
    *,
    image: str | None = None,
    cases: Sequence[str] = (),
    split: str | None = None,
    kind: str | None = None,
    weights: str | None = None,
    device: str = AUTO,
    onnx: Path | None = None,
    plan: Sequence[str] = (),
    series: Sequence[str] = (),
    tta: bool = False,
    probabilities: bool = False,
    listener: Listener | None = None,
) -> Predicted:
    """Predict raw cases and write them; those that are there already are kept.

    Args:
        run: the run folder; or those of an ensemble, whose mean is written with its spread over the seeds.
        root: what to predict: a raw data set, or image files, folders and tables of them; see
            :func:`crosstask.pipeline.given.cases_to_predict`.
        output: folder of the predictions: new, empty, or of this run.
        image: of plain images which files of a folder, or which column of a table.
        cases: ids; empty for all.
        split: only the cases of this split, or None.
        kind: name of the output format; None for what fits the data set.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: of the network; see :func:`crosstask.devices.find_device`. Several, with commas between, share the
            cases out.
        onnx: the run's network as ONNX, to compute with in its place.
        plan: of a patient's DICOM plans those of these labels or UIDs.
        series: of a patient's CTs those of these descriptions, numbers or UIDs.
        tta: predictions are means over mirrored images, also where the run is not judged so.
        probabilities: also write them.
        listener: told what happens.

    Raises:
        InputError: an option or a folder cannot be used; or no case could be predicted, for what a user can fix.
        CrosstaskError: no case could be predicted, for another reason; or the disk is full.
    """
    listener = listener or Listener()
    if kind is not None:
        FORMATS.find(kind, "--format")
    must_be_predicted(output)  # before a table of pseudonyms is put beside it
    runs = [run] if isinstance(run, Path) else list(run)
    paths = [root] if isinstance(root, Path) else list(root)
    _check_together(runs, split, onnx)
    experiment = load_spec(runs[0]).experiment
    if tta:
        experiment = with_evaluation(experiment, ("evaluation.tta=flips",))
    asked: dict[str, Any] = {"image": image, "plan": plan, "series": series}
    dataset = cases_to_predict(runs[0], experiment, paths, output, **asked, listener=listener)
    chosen = _cases_asked(dataset, experiment, runs[0], paths[0], split=split, cases=cases)
    devices = _devices_of(device, experiment, onnx)
    loading = {"weights": weights, "dataset": dataset, "evaluation": experiment.evaluation}
    loader = _Loader(run, experiment, onnx, loading)
    name, predictor = loader.named(devices[0] if len(devices) == 1 else CPU)
    listener.told(f"Device: {', '.join(_described(predictor, devices))}")
    mirrored = thresholds_key("", experiment.mirrored).removeprefix(", ")
    if mirrored:
        listener.told(f"Every prediction is the mean over images {mirrored}")
    model = f"{experiment.name} {name} ({thresholds_key(predictor.weights, experiment.mirrored)})"
    outputs = writers(kind, output, predictor.assembly, dataset, model, probabilities=probabilities)
    networks = [onnx] if onnx is not None else [weights_path(folder, predictor.weights) for folder in runs]
    with PredictionFolder(output, model, _made_by(name, predictor.tasks, networks, outputs)) as folder:
        _tell_before(runs, paths[0], predictor, listener)
        batch = Batch(predictor, outputs, folder, model, listener)
        if not cases:
            batch.failed += [(name, InputError(reason)) for name, reason in dataset.left_out()]
        with _workers(loader, predictor, devices) as workers:
            _add_all(batch, chosen, workers, listener)
    if isinstance(dataset, PlainImages):
        for what, count in dataset.converted.items():
            listener.warned(f"{count} images were converted from {what}, as in training")
    _must_have_some(batch, paths[0])
    return Predicted(output, batch.done, batch.kept, tuple((name, str(error)) for name, error in batch.failed))


def _cases_asked(
    dataset: Dataset, experiment: Experiment, run: Path, root: Path, *, split: str | None, cases: Sequence[str]
) -> list[Case]:
    """The cases that are asked for.

    Raises:
        InputError: there is none.
    """
    if split is not None and isinstance(dataset, PlainImages):
        raise InputError(
            f"--split: plain images are in no split; leave it out, or give a {experiment.dataset.name} folder"
        )
    given = experiment.dataset.splits.rule == "original"
    chosen = _named(_of_split(dataset, split, read_record(run), given=given), cases, dataset)
    if not chosen:
        raise InputError(f"{root}: has no {split} case; choose another --split")
    return chosen


def _add_all(batch: Batch, cases: Sequence[Case], workers: Workers[Case, Foreseen], listener: Listener) -> None:
    """Predict the cases and write what goes over all of them."""
    try:
        with listener.progress("Predicting") as progress:
            for done, case in enumerate(batch.add_all(cases, workers), 1):
                progress(done, len(cases), case.id)
    finally:  # also of a batch that was stopped
        batch.tell()
    batch.write_tables()


def _must_have_some(batch: Batch, root: Path) -> None:
    """Refuse a batch of which nothing came."""
    if batch.done or batch.kept:
        return
    fixable = all(isinstance(error, InputError) for _, error in batch.failed)
    raise (InputError if fixable else CrosstaskError)(
        f"{root}: no case could be predicted; see the line{'s' if len(batch.failed) > 1 else ''} above"
    )


def _check_together(runs: Sequence[Path], split: str | None, onnx: Path | None) -> None:
    """Refuse what a single run can, and the seeds of an ensemble cannot."""
    if onnx is not None and len(runs) > 1:
        raise InputError("--onnx: is of one network; leave it out of an ensemble, or predict with one run")
    if split is not None and any(_splits_of(run) != _splits_of(runs[0]) for run in runs):
        raise InputError(
            f"--split: every seed has splits of its own, so {split} cases of one have trained another; leave it out, "
            "and give --case or a folder of new cases"
        )


def _predictor_of(
    run: Path | Sequence[Path], experiment: Experiment, onnx: Path | None, loading: dict[str, Any]
) -> tuple[str, Predictor | Ensemble]:
    """What predicts, and its name: a run, or several as an ensemble.

    What the tasks are stands in the runs' records; those of earlier versions ask the data set.
    """
    runs, dataset = [run] if isinstance(run, Path) else list(run), loading["dataset"]
    have, want = dataset.spatial_dims, experiment.sample.case_dims
    if have != want:
        raise InputError(f"{dataset.root}: holds {KIND[have]}, and the run has learned from {KIND[want]}")
    alone = all("assembly" in read_record(folder) for folder in runs)
    if not alone and isinstance(dataset, PlainImages):
        raise InputError(f"{runs[0]}: is of an earlier version, which predicts cases of its own data set alone")
    if isinstance(run, Path):
        predictor = Predictor(run, onnx=onnx, alone=alone, **loading)
        return predictor.spec.name, predictor
    ensemble = Ensemble(runs, alone=alone, least=1, **loading)
    return ensemble.name, ensemble


@dataclass(frozen=True)
class _Loader:
    """Makes what predicts on a device.

    Attributes:
        run: the run folder, or those of an ensemble.
        experiment: how it predicts.
        onnx: a network to compute with.
        loading: how runs are loaded.
    """

    run: Path | Sequence[Path]
    experiment: Experiment
    onnx: Path | None
    loading: dict[str, Any]

    def named(self, device: str) -> tuple[str, Predictor | Ensemble]:
        """Its name, and itself."""
        return _predictor_of(self.run, self.experiment, self.onnx, {**self.loading, "device": device})

    def __call__(self, device: str) -> Callable[[Case], Foreseen]:
        load(self.experiment.plugins)
        return partial(foresee, self.named(device)[1])


def _workers(loader: _Loader, predictor: Predictor | Ensemble, devices: Sequence[str]) -> Workers[Case, Foreseen]:
    """What predicts cases: the predictor that is loaded already, or a process for each device with one of its own."""
    make = loader if len(devices) > 1 else lambda _: partial(foresee, predictor)
    return Workers(make, devices, modules=_IMPORTED, threads=torch.get_num_threads())


def _devices_of(device: str, experiment: Experiment, onnx: Path | None) -> list[str]:
    """Devices that share the cases out: those that are named, or that the run was trained on.

    Raises:
        InputError: one is not there.
    """
    if onnx is not None:
        return [device]
    return list(map(str, devices_for(device, experiment.training.device, experiment.training.devices)))


def _described(predictor: Predictor | Ensemble, devices: Sequence[str]) -> list[str]:
    """Devices as a person wants to read them."""
    if len(devices) == 1:
        return [describe_device(predictor.device)]
    return [describe_device(find_device(name)) for name in devices]


def _splits_of(run: Path) -> Any:
    """Which cases a run trained on, chose by and was to be tested on."""
    return read_record(run).get("data", {}).get("cases", {})


def _tell_before(runs: Sequence[Path], root: Path, predictor: Predictor | Ensemble, listener: Listener) -> None:
    """What is to be known of all cases: files that cannot be read, thresholds that nobody has chosen."""
    dataset = predictor.dataset
    if lost := dataset.unreadable:
        listener.warned(f"{root}: {lost} files cannot be read; see crosstask check {dataset.name} {root}")
    if isinstance(predictor, Ensemble) and predictor.left_out:
        listener.warned(f"Not predicted, since not every seed has learned it: {', '.join(predictor.left_out)}")
    decided = {task.name for task in predictor.tasks if is_chosen(task, predictor.experiment.evaluation)}
    lacking = [run for run in runs if decided & set(learned_tasks(read_record(run))) - _chosen(run, predictor)]
    if lacking:
        listener.warned(
            "No thresholds were chosen on validation cases yet, so 0.5 decides, and of classes that exclude each other "
            "the most probable; see crosstask evaluate"
        )


def _chosen(run: Path, predictor: Predictor | Ensemble) -> set[str]:
    """Tasks whose thresholds were chosen, with test-time augmentation or without."""
    mirrored = predictor.experiment.mirrored
    return set(read_thresholds(run, predictor.weights, mirrored) or read_thresholds(run, predictor.weights))


def _made_by(
    name: str, tasks: Sequence[Task], networks: Sequence[Path], outputs: Sequence[CaseWriter]
) -> dict[str, Any]:
    """What decides what is predicted, and how it is written: one folder holds predictions of one of these."""
    digests = [digest_file(network) for network in networks]
    return {
        "run": name,
        "network": digests[0] if len(digests) == 1 else digests,
        "thresholds": {task.name: task.thresholds for task in tasks},
        "formats": [writer.name for writer in outputs],
        **({"probabilities": True} if any(writer.probabilities for writer in outputs) else {}),
    }


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
