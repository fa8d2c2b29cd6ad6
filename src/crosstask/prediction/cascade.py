"""What the earlier run of a cascade predicts of a case, as input of the later one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crosstask.buckets import Bucket, Place
from crosstask.datasets.base import CaseData
from crosstask.geometry import Geometry
from crosstask.inputs import PREDICTED, Readable, Slices
from crosstask.runs import EarlierRuns
from crosstask.store import CaseArrays
from crosstask.store.derived import Derived
from crosstask.store.format import digest_of_array

if TYPE_CHECKING:
    from crosstask.prediction.predictor import Predictor


class EarlierPredictor:
    """Earlier runs, ready to predict what a later one takes as input.

    A case is predicted by the runs that have not learned from its image, by their mean; where all have, by all. Values
    are kept in half precision, and are the same whether they were kept or are computed here.

    Args:
        runs: the runs.
        load: makes a predictor of a run folder.
    """

    def __init__(self, runs: EarlierRuns, load: Callable[[Path], Predictor]) -> None:
        self.runs = runs
        self._load = lru_cache(maxsize=None)(load)

    def predict(self, case_id: str, case: Readable, geometry: Geometry) -> np.ndarray:
        """What the runs predict of a case, ``c *s``, half precision, in physical units.

        Raises:
            InputError: see :meth:`crosstask.prediction.predictor.Predictor.predict`.
        """
        chosen = self.runs.of(self._pixels(case))
        total: np.ndarray | None = None
        for index in chosen:
            values = self._load(self.runs.folders[index]).predict(case_id, case, geometry).values
            stacked = np.concatenate([values[task] for task in self._tasks])
            total = stacked if total is None else total + stacked
        assert total is not None
        return (total / len(chosen)).astype(np.float16)

    @property
    def _tasks(self) -> list[str]:
        """The tasks of the channels, in order."""
        return list(dict.fromkeys(name.split("/", 1)[0] for name in self.runs.inputs.channels))

    def _pixels(self, case: Readable) -> str | None:
        """Digest of a case's image; of a single run nobody asks."""
        if len(self.runs.folders) == 1:
            return None
        source = self._load(self.runs.folders[0]).assembly.image_array
        return case.digest(source) if isinstance(case, CaseArrays) else digest_of_array(case.read(source))

    def completed(self, case_id: str, case: Readable, geometry: Geometry, store: Place | None) -> Readable:
        """A case with the predictions that are kept beside its store, or that are made now.

        Args:
            case_id: its id.
            case: its arrays, raw or prepared.
            geometry: its grid.
            store: where predictions of prepared cases may be kept.
        """
        if PREDICTED in case.channels:
            return case
        if isinstance(case, CaseArrays) and store is not None and (isinstance(store, Bucket) or store.is_dir()):
            kept = Derived(store, self.runs.key).find(case)
            if kept is not None:
                return Completed(case, kept)
        values = self.predict(case_id, case, geometry)
        return Completed(case, CaseData({PREDICTED: values}, {PREDICTED: self.runs.inputs.channels}, geometry))


class Completed:
    """A case with further arrays, for as long as it is predicted.

    Args:
        inner: the case.
        further: what has the further arrays, on the same grid.
    """

    def __init__(self, inner: Readable, further: Readable) -> None:
        self.channels = {**inner.channels, **further.channels}
        self.geometry = inner.geometry
        self._inner, self._further = inner, further

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape ``c *s`` of an array."""
        return (self._further if name in self._further.channels else self._inner).shape(name)

    def read(self, name: str, channels: Sequence[int] | None = None, slices: Slices | None = None) -> np.ndarray:
        """Part of an array."""
        return (self._further if name in self._further.channels else self._inner).read(name, channels, slices)


def keep_predictions(
    store_root: Place,
    cases: Sequence[CaseArrays],
    predictor: EarlierPredictor,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Predict prepared cases by the earlier runs, and keep it beside the store; what is kept already stays.

    Args:
        store_root: of the store.
        cases: of it.
        predictor: the earlier runs.
        progress: told (done, total, case) after each case.

    Returns:
        how many were predicted now.
    """
    kept = Derived(store_root, predictor.runs.key)
    missing = [case for case in cases if kept.find(case) is None]
    for done, case in enumerate(missing, 1):
        values = predictor.predict(case.id, case, case.geometry)
        kept.keep(case, {PREDICTED: values}, {PREDICTED: predictor.runs.inputs.channels})
        if progress:
            progress(done, len(missing), case.id)
    return len(missing)
