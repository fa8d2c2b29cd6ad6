"""Any data set with some of its labels hidden: what does it cost if they were never there?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crosstask.datasets.base import Case, CaseData, Dataset, Issue
from crosstask.datasets.intake import Intake
from crosstask.tasks.base import Task


class HiddenLabels(Dataset):
    """A data set whose labels are missing at random, in all splits alike.

    A label of the whole case is hidden whole, of masks and quantities each channel for itself. What is hidden depends
    on the seed and the names of case and label alone.

    Args:
        dataset: the data set.
        share: of the labels to hide, 0 to 1.
        seed: random seed of the choice.
    """

    def __init__(self, dataset: Dataset, share: float, seed: int = 0) -> None:
        super().__init__(dataset.root)
        self._dataset, self._share, self._seed = dataset, share, seed
        self.name, self.licence = dataset.name, dataset.licence
        self.source, self.citation = dataset.source, dataset.citation
        self.image_array, self.region_array = dataset.image_array, dataset.region_array
        self.image_channels, self.spatial_dims = dataset.image_channels, dataset.spatial_dims
        self.structure_array, self.structures = dataset.structure_array, dataset.structures

    @property
    def tasks(self) -> tuple[str, ...]:
        return self._dataset.tasks

    def task(self, name: str, **options: Any) -> Task:
        return self._dataset.task(name, **options)

    def find(self, progress: Callable[[int, int, str], None] | None = None) -> None:
        self._dataset.find(progress)

    def cases(self) -> list[Case]:
        return self._dataset.cases()

    def intake(self) -> Intake:
        return self._dataset.intake()

    def read_to_predict(self, case: Case) -> tuple[CaseData, list[str]]:
        return self._dataset.read_to_predict(case)

    def unusable(self, case_ids: Collection[str]) -> Mapping[str, str]:
        return self._dataset.unusable(case_ids)

    def check(self) -> Iterator[Issue]:
        return self._dataset.check()

    def scores(
        self, case: CaseData, predictions: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
    ) -> list[tuple[str, str, str, float]]:
        return self._dataset.scores(case, predictions, classes)

    def read_settings(self) -> Mapping[str, Any]:
        return {**self._dataset.read_settings(), "hidden labels": [self._share, self._seed]}

    def read(self, case: Case) -> CaseData:
        data = self._dataset.read(case)
        tasks = [self._dataset.task(name) for name in self.tasks]
        arrays, channels = dict(data.arrays), dict(data.channels)
        for name in {source for task in tasks for source in (task.array, task.scored_array)} & set(arrays):
            whole = arrays[name].ndim == 1
            keys = [name if whole else f"{name}/{channel}" for channel in channels[name]]
            kept = [index for index, key in enumerate(keys) if not self._hides(case.id, key)]
            arrays[name] = arrays[name][kept]
            channels[name] = tuple(channels[name][index] for index in kept)
        return replace(data, arrays=arrays, channels=channels)

    def _hides(self, case: str, label: str) -> bool:
        key = f"{self._seed}/{case}/{label}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") < self._share * 2**64
