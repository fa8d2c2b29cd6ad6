"""Raw cases predicted one after the other: what is wrong with one of them keeps no other back."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.datasets import Case, CaseData
from crosstask.datasets.dicom_rt.patient import PatientCase
from crosstask.errors import CrosstaskError, InputError
from crosstask.export.cases import CaseWriter
from crosstask.export.placing import PlacedPlan
from crosstask.export.plans import DicomWriter
from crosstask.export.predicted import PredictionFolder
from crosstask.pipeline.clinic import write_page
from crosstask.pipeline.listener import Listener
from crosstask.prediction.ensemble import Ensemble
from crosstask.prediction.predictor import Prediction, Predictor
from crosstask.workers import Workers

_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "failed to allocate", "bad_alloc")
_OF_A_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class Foreseen:
    """What became of a case: the case as it was read, and its prediction; or why there is none."""

    read: tuple[CaseData, list[str]] | None = None
    prediction: Prediction | None = None
    failure: CrosstaskError | None = None


def foresee(predictor: Predictor | Ensemble, case: Case) -> Foreseen:
    """Read a case and predict it; what is wrong with it is given back, since it concerns no other."""
    try:
        read = predictor.dataset.read_to_predict(case)
        return Foreseen(read, predictor.predict(case.id, read[0], read[0].geometry))
    except CrosstaskError as error:
        return Foreseen(failure=error)
    except Exception as error:  # whatever a library raises on one patient's files
        return Foreseen(failure=unforeseen(error, predictor.device.type))


class Batch:
    """Cases that are predicted one after the other; what is wrong with one is told, and does not keep others back.

    Args:
        predictor: the network, and the data set of the cases.
        outputs: a writer of each format.
        folder: where to write.
        model: what predicts, in words.
        listener: told what is to be known of each case.

    Attributes:
        failed: ids of cases that could not be predicted, and why.
        done, kept: how many were predicted, and were there already.
    """

    def __init__(
        self,
        predictor: Predictor | Ensemble,
        outputs: Sequence[CaseWriter],
        folder: PredictionFolder,
        model: str,
        listener: Listener,
    ) -> None:
        self._listener = listener
        self._predictor, self._outputs, self._folder, self._model = predictor, outputs, folder, model
        self.failed: list[tuple[str, CrosstaskError]] = []
        self.done = self.kept = 0
        self._remarks: list[str] = []
        for writer in outputs:
            if isinstance(writer, DicomWriter):
                writer.draw = self._draw

    def add_all(self, cases: Sequence[Case], workers: Workers[Case, Foreseen]) -> Iterator[Case]:
        """Predict the cases, unless they are there; gives each of them once it is done with, in their order.

        Raises:
            CrosstaskError: the disk is full or cannot be written, which would end all others the same way.
        """
        known: dict[int, bool | CrosstaskError] = {}

        def wanted(index: int) -> bool | CrosstaskError:
            if index not in known:
                known[index] = self._wanted(cases[index])
            return known[index]

        found = workers.each(case for index, case in enumerate(cases) if wanted(index) is True)
        for index, case in enumerate(cases):
            asked = wanted(index)
            if asked is True:
                self._write(case, next(found))
            elif asked is False:
                self.kept += 1
            else:
                self._fail(case, asked)
            yield case

    def _wanted(self, case: Case) -> bool | CrosstaskError:
        """Whether a case is to be predicted, or why that cannot be said."""
        try:
            return not self._folder.has(case)
        except CrosstaskError as error:
            return error
        except Exception as error:
            return unforeseen(error, self._predictor.device.type)

    def _fail(self, case: Case, error: CrosstaskError) -> None:
        if _of_the_disk(error):
            raise error
        self.failed.append((case.id, error))

    def _write(self, case: Case, foreseen: Foreseen) -> None:
        remarks = len(self._remarks)
        try:
            if foreseen.failure is not None:
                raise foreseen.failure
            self._write_files(case, foreseen)
            self.done += 1
            return
        except CrosstaskError as error:
            failure = error
        except Exception as error:  # whatever a library raises on one patient's files
            failure = unforeseen(error, self._predictor.device.type)
        del self._remarks[remarks:]
        self._fail(case, failure)

    def _write_files(self, case: Case, foreseen: Foreseen) -> None:
        assert foreseen.read is not None and foreseen.prediction is not None
        (data, without), prediction = foreseen.read, foreseen.prediction
        self._remarks += [f"{case.id}: {issue.message}" for issue in data.issues]
        self._remarks += [f"{case.id}: predicted without a label, {message}" for message in without]
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
            self._listener.warned(remark)
        for case_id, error in self.failed:
            reason = " ".join(str(error).split()).removeprefix(f"{case_id}: ")
            self._listener.warned(f"Skipped {case_id}: {reason}")

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
