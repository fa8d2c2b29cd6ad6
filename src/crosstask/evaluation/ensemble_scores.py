"""An ensemble of seeds on test cases: its scores beside those of each seed, calibration, and what its spread says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crosstask.assembly import Assembly
from crosstask.datasets.base import CaseData, Dataset
from crosstask.evaluation.ensembles import ENSEMBLE
from crosstask.evaluation.evaluate import arrays_of, score_case
from crosstask.evaluation.scores import score_table
from crosstask.functional.uncertainty import RunningSpread, error_within_spread, voxel_calibration
from crosstask.prediction.ensemble import Ensemble
from crosstask.store import Store
from crosstask.tasks.regression import RegressionTask
from crosstask.tasks.segmentation import SegmentationTask

_UNITS = {"calibration_error": "%", "brier": "", "within_1sd": "%", "within_2sd": "%", "error_spread_correlation": ""}
Row = tuple[str, str, str, float, str, bool]


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
    ensemble: Ensemble, store: Store, cases: Sequence[str], *, progress: Callable[[int, int, str], None] | None = None
) -> PixelScores:
    """Predict cases with every seed and score both, seed by seed, so that only one prediction is in memory.

    Calibration is that of single voxels in the case's region, or everywhere where it has none.

    Args:
        ensemble: the seeds.
        store: the prepared cases.
        cases: which.
        progress: told (done, total, case) after each case.
    """
    pixel = [task.name for task in ensemble.tasks if task.level == "pixel"]
    assembly = ensemble.assembly.only(pixel).for_scoring()
    together: list[tuple[object, ...]] = []
    alone: list[tuple[object, ...]] = []
    key = ensemble.spec.key
    for done, case_id in enumerate(cases if pixel else (), 1):
        arrays, case = store.open(case_id), arrays_of(store, case_id)
        sums = {name: RunningSpread() for name in pixel}
        for seed, values in ensemble.each(case_id, arrays, arrays.geometry, tasks=pixel):
            alone += [(key, seed, case_id, *row) for row in _rows(ensemble.dataset, assembly, case, values)]
            for name, predicted in values.items():
                sums[name].add(predicted)
        means, spreads = ({name: getattr(sums[name], what) for name in pixel} for what in ("mean", "spread"))
        rows = [*_rows(ensemble.dataset, assembly, case, means), *_spread_rows(assembly, case, means, spreads)]
        together += [(key, ENSEMBLE, case_id, *row) for row in rows]
        if progress:
            progress(done, len(cases), case_id)
    return PixelScores(score_table(together), score_table(alone))


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
