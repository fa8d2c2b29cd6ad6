"""Raw cases predicted one after the other: what is wrong with one of them keeps no other back."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from crosstask.datasets import Case
from crosstask.datasets.dicom_rt.patient import PatientCase
from crosstask.errors import CrosstaskError, InputError
from crosstask.export.cases import CaseWriter
from crosstask.export.placing import PlacedPlan
from crosstask.export.plans import DicomWriter
from crosstask.export.predicted import PredictionFolder
from crosstask.pipeline.clinic import write_page
from crosstask.pipeline.listener import Listener
from crosstask.prediction.ensemble import Ensemble
from crosstask.prediction.predictor import Predictor

_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "failed to allocate", "bad_alloc")
_OF_A_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


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
        self._remarks += [f"{case.id}: {issue.message}" for issue in data.issues]
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
