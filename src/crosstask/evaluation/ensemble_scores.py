"""An ensemble of seeds on test cases: its scores beside those of each seed, calibration, and what its spread says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from crosstask.assembly import Assembly
from crosstask.datasets.base import CaseData, Dataset
from crosstask.devices import AUTO, devices_in
from crosstask.evaluation.ensembles import ENSEMBLE
from crosstask.evaluation.evaluate import arrays_of, score_case, workers_of
from crosstask.evaluation.scores import score_table
from crosstask.experiment import EvaluationSection
from crosstask.functional.uncertainty import RunningSpread, error_within_spread, voxel_calibration
from crosstask.plugins import load
from crosstask.prediction.ensemble import Ensemble
from crosstask.runs import load_spec
from crosstask.store import Store
from crosstask.tasks.regression import RegressionTask
from crosstask.tasks.segmentation import SegmentationTask

_UNITS = {"calibration_error": "%", "brier": "", "within_1sd": "%", "within_2sd": "%", "error_spread_correlation": ""}
Row = tuple[str, str, str, float, str, bool]
_Line = tuple[object, ...]
_Found = tuple[str, list[_Line], list[_Line]]


@dataclass(frozen=True)
class PixelScores:
    """Long tables of the pixel-level tasks; see :mod:`crosstask.evaluation.scores`.

    Attributes:
        together: of the ensemble, whose seed is :data:`crosstask.evaluation.ensembles.ENSEMBLE`.
        alone: of each seed.
    """

    together: pd.DataFrame
    alone: pd.DataFrame


def score_ensemble(
    folders: Sequence[Path],
    store: Store,
    cases: Sequence[str],
    *,
    weights: str | None = None,
    device: str = AUTO,
    evaluation: EvaluationSection | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> PixelScores:
    """Predict cases with every seed and score both, seed by seed, so that only one prediction is in memory.

    Calibration is that of single voxels in the case's region, or everywhere where it has none.

    Args:
        folders: the runs; see :class:`crosstask.prediction.ensemble.Ensemble`.
        store: the prepared cases.
        cases: which.
        weights: ``best``, ``final`` or ``average``; None for those by which the runs are judged.
        device: of the networks; see :func:`crosstask.evaluation.evaluate.evaluate_run`.
        evaluation: how; by default as the runs' own settings have it.
        progress: told (done, total, case) after each case.
    """
    devices = devices_in(device)
    make = _Scoring(tuple(folders), store, weights, evaluation)
    experiment = load_spec(folders[0]).experiment
    together: list[_Line] = []
    alone: list[_Line] = []
    with workers_of(make, devices, experiment) as workers:
        for done, (case_id, of_all, of_each) in enumerate(workers.each(cases), 1):
            together += of_all
            alone += of_each
            if progress:
                progress(done, len(cases), case_id)
    return PixelScores(score_table(together), score_table(alone))


@dataclass(frozen=True)
class _Scoring:
    """Makes what scores the cases of a store by all seeds, on a device."""

    folders: tuple[Path, ...]
    store: Store
    weights: str | None
    evaluation: EvaluationSection | None

    def __call__(self, device: str) -> Callable[[str], _Found]:
        load(load_spec(self.folders[0]).experiment.plugins)
        ensemble = Ensemble(self.folders, weights=self.weights, device=device, evaluation=self.evaluation)
        pixel = [task.name for task in ensemble.tasks if task.level == "pixel"]
        return partial(_scored, ensemble, ensemble.assembly.only(pixel).for_scoring(), self.store)


def _scored(ensemble: Ensemble, assembly: Assembly, store: Store, case_id: str) -> _Found:
    """Lines of a case: of the ensemble, and of each seed; none where not every seed has a task at pixel level."""
    pixel, key = [task.name for task in assembly.tasks], ensemble.spec.key
    if not pixel:
        return case_id, [], []
    arrays, case = store.open(case_id), arrays_of(store, case_id)
    sums = {name: RunningSpread() for name in pixel}
    alone: list[_Line] = []
    for seed, values in ensemble.each(case_id, arrays, arrays.geometry, tasks=pixel):
        alone += [(key, seed, case_id, *row) for row in _rows(ensemble.dataset, assembly, case, values)]
        for name, predicted in values.items():
            sums[name].add(predicted)
    means, spreads = ({name: getattr(sums[name], what) for name in pixel} for what in ("mean", "spread"))
    rows = [*_rows(ensemble.dataset, assembly, case, means), *_spread_rows(assembly, case, means, spreads)]
    return case_id, [(key, ENSEMBLE, case_id, *row) for row in rows], alone


def _rows(dataset: Dataset, assembly: Assembly, case: CaseData, values: dict[str, np.ndarray]) -> Iterator[Row]:
    """Scores of a case, and of each structure the calibration of its probabilities."""
    yield from score_case(dataset, assembly, case, values)
    inside = _inside(assembly, case)
    for task in assembly.tasks:
        if isinstance(task, SegmentationTask):
            target, present = assembly.target(task, case)
            for index in np.flatnonzero(present):
                found = voxel_calibration(values[task.name][index][inside], target[index][inside])
                for metric, value in found.items():
                    yield task.name, task.classes[index], metric, value, _UNITS[metric], False


def _spread_rows(
    assembly: Assembly, case: CaseData, means: dict[str, np.ndarray], spreads: dict[str, np.ndarray]
) -> Iterator[Row]:
    """What the spread of a quantity says of its error, in the region."""
    inside = _inside(assembly, case)
    for task in assembly.tasks:
        if isinstance(task, RegressionTask):
            target, present = assembly.target(task, case)
            for index in np.flatnonzero(present):
                error = means[task.name][index] - target[index]
                for metric, value in error_within_spread(error[inside], spreads[task.name][index][inside]).items():
                    yield task.name, task.classes[index], metric, value, _UNITS[metric], True


def _inside(assembly: Assembly, case: CaseData) -> np.ndarray:
    """The voxels that count, ``*s``, bool."""
    region = assembly.region(case)
    return np.ones(case.geometry.shape, dtype=bool) if region is None else np.asarray(region[0], dtype=bool)
