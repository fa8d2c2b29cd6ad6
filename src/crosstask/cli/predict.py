"""``crosstask predict``: raw cases to files."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosstask.cli.clinic import dataset_to_predict, write_page
from crosstask.cli.terminal import err, out, progress_bar
from crosstask.cli.work import one_of
from crosstask.datasets import SPLITS
from crosstask.errors import CrosstaskError, InputError

if TYPE_CHECKING:
    from crosstask.datasets import Case, Dataset
    from crosstask.datasets.dicom_rt.patient import PatientCase
    from crosstask.export.cases import CaseWriter
    from crosstask.export.placing import PlacedPlan
    from crosstask.export.predicted import PredictionFolder
    from crosstask.prediction.predictor import Predictor

SOME_SKIPPED = 3
"""Exit code where some cases are predicted and others could not be."""
_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "failed to allocate", "bad_alloc")
_OF_A_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


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
) -> bool:
    """Predict raw cases and write them; those that are there already are kept.

    Returns:
        whether all of them are predicted.

    Raises:
        InputError: an option or a folder cannot be used; or no case could be predicted, for what a user can mend.
        CrosstaskError: no case could be predicted, for another reason; or the disk is full.
    """
    one_of("--weights", weights, ("best", "final"))
    if split is not None:
        one_of("--split", split, SPLITS)
    from crosstask.devices import describe_device
    from crosstask.export.formats import FORMATS, writers
    from crosstask.export.predicted import PredictionFolder, must_be_predicted
    from crosstask.prediction.predictor import Predictor
    from crosstask.runs import load_plan, read_record, read_thresholds

    if kind is not None:
        one_of("--format", kind, tuple(FORMATS))
    must_be_predicted(output)  # before a table of pseudonyms is put beside it
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
    with PredictionFolder(output, model, _made_by(run, predictor, weights, onnx, outputs)) as folder:
        if lost := dataset.unreadable:
            err.print(f"{root}: {lost} files cannot be read; see crosstask check {dataset.name} {root}", markup=False)
        batch = _Batch(predictor, outputs, folder, model)
        if not cases:
            batch.failed += [(name, InputError(reason)) for name, reason in dataset.left_out()]
        chosen_later = experiment.evaluation.fixed_threshold is None and not read_thresholds(run, weights)
        if chosen_later and any(task.thresholds is not None for task in predictor.tasks):
            err.print("No thresholds were chosen on validation cases yet, so 0.5 decides; see crosstask evaluate")
        try:
            with progress_bar("Predicting") as progress:
                for done, case in enumerate(chosen, 1):
                    batch.add(case)
                    progress(done, len(chosen), case.id)
        finally:  # also of a batch that was stopped
            batch.tell()
        batch.write_tables()
    if not batch.done and not batch.kept:
        mendable = all(isinstance(error, InputError) for _, error in batch.failed)
        raise (InputError if mendable else CrosstaskError)(
            f"{root}: no case could be predicted; see the line{'s' if len(batch.failed) > 1 else ''} above"
        )
    there = f", {batch.kept} were there already" if batch.kept else ""
    left = f", {len(batch.failed)} skipped" if batch.failed else ""
    out.print(f"{batch.done} cases predicted{there}{left}: {output}", markup=False)
    return not batch.failed


def _made_by(
    run: Path, predictor: Predictor, weights: str, onnx: Path | None, outputs: Sequence[CaseWriter]
) -> dict[str, Any]:
    """What decides what is predicted, and how it is written: one folder holds predictions of one of these."""
    from crosstask.runs import BEST, FINAL
    from crosstask.store.fingerprint import digest_file

    network = onnx or run / {"best": BEST, "final": FINAL}[weights]
    return {
        "run": predictor.plan.name,
        "network": digest_file(network),
        "thresholds": {task.name: task.thresholds for task in predictor.tasks},
        "formats": [writer.name for writer in outputs],
    }


class _Batch:
    """Cases that are predicted one after the other; what is wrong with one is told, and does not keep others back.

    Args:
        predictor: the network, and the data set of the cases.
        outputs: a writer of each format.
        folder: where to write.
        model: what predicts, in words.

    Attributes:
        failed: ids of cases that could not be predicted, and why.
        done, kept: how many were predicted, and were there already.
    """

    def __init__(
        self, predictor: Predictor, outputs: Sequence[CaseWriter], folder: PredictionFolder, model: str
    ) -> None:
        from crosstask.export.plans import DicomWriter

        self._predictor, self._outputs, self._folder, self._model = predictor, outputs, folder, model
        self.failed: list[tuple[str, CrosstaskError]] = []
        self.done = self.kept = 0
        self._remarks: list[str] = []
        for writer in outputs:
            if isinstance(writer, DicomWriter):
                writer.draw = self._draw

    def add(self, case: Case) -> None:
        """Predict a case, unless it is there.

        Raises:
            CrosstaskError: the disk is full or cannot be written, which would end all others the same way.
        """
        remarks = len(self._remarks)
        try:
            if self._folder.has(case):
                self.kept += 1
            else:
                self._predict(case)
                self.done += 1
            return
        except CrosstaskError as error:
            if _of_the_disk(error):
                raise
            failure = error
        except Exception as error:  # whatever a library raises on one patient's files
            failure = unforeseen(error, self._predictor.device.type)
        del self._remarks[remarks:]
        self.failed.append((case.id, failure))

    def _predict(self, case: Case) -> None:
        data, without = self._predictor.dataset.read_to_predict(case)
        self._remarks += [f"{case.id}: {finding.message}" for finding in data.findings]
        self._remarks += [f"{case.id}: predicted without a label, {message}" for message in without]
        prediction = self._predictor.predict(case.id, data, data.geometry)
        with self._folder.adding(case, self._rows_of(case.id)) as part:
            for writer in self._outputs:
                writer.write(prediction, data, into=part)

    def _rows_of(self, case_id: str) -> Callable[[], dict[str, list[list[str]]]]:
        return lambda: {writer.name: writer.rows[case_id] for writer in self._outputs if case_id in writer.rows}

    def _draw(self, folder: Path, name: str, placed: PlacedPlan, case: PatientCase) -> None:
        write_page(folder, f"{name}: {self._model}", placed, case)
        if empty := [label for label, mask in placed.masks.items() if not mask.any()]:
            self._remarks.append(f"{name}: no voxel of {', '.join(empty)} is predicted")

    def tell(self) -> None:
        """Say what is to be known of each case, and which were skipped."""
        notes = [note for writer in self._outputs for note in writer.notes]
        for remark in (*self._remarks, *notes, *self._folder.notes):
            err.print(remark, markup=False)
        for case_id, error in self.failed:
            reason = " ".join(str(error).split()).removeprefix(f"{case_id}: ")
            err.print(f"Skipped {case_id}: {reason}", markup=False)

    def write_tables(self) -> None:
        """Write what only all cases together have, those of earlier calls among them.

        Raises:
            InputError: somebody has changed the table.
            CrosstaskError: the disk is full.
        """
        for writer in self._outputs:
            writer.rows = self._folder.rows(writer.name)
            if writer.table is not None:
                self._folder.refuse_changed(writer.table)
                writer.finish()
                self._folder.table_written(writer.table)


def unforeseen(error: Exception, device: str) -> CrosstaskError:
    """What is said of an exception that nobody raised on purpose: its kind and place, and never its message.

    A library's message may quote a header, and so a patient.

    Args:
        error: the exception.
        device: that computes: ``cpu``, ``cuda`` or another.
    """
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        other = "" if device == "cpu" else ", or add --device cpu"
        return CrosstaskError(f"needs more memory than there is; free some{other}, then run the same command again")
    frames = traceback.extract_tb(error.__traceback__)
    home = Path(__file__).parents[1]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(home)]
    place = f"{Path(own[-1].filename).relative_to(home).as_posix()}, line {own[-1].lineno}" if own else "a library"
    return CrosstaskError(
        f"cannot be predicted: an unforeseen {type(error).__name__} in {place}; run crosstask check on its folder, and "
        "if nothing is wrong there, please report this line"
    )


def _of_the_disk(error: CrosstaskError) -> bool:
    """Whether writing failed for a reason that is none of the case's own, such as a long name."""
    cause = error.__cause__
    return isinstance(cause, OSError) and not isinstance(error, InputError) and cause.errno not in _OF_A_NAME


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
