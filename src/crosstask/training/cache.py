"""Samples that stay in memory once they were loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.sample import Sample

_REGION_UNKNOWN, _NO_REGION, _REGION = 0, 1, 2


class CachedSamples(Dataset[Sample]):
    """Samples of one shape, kept in memory once they were loaded; treat what it gives as read-only.

    Memory is only taken up as samples are loaded. Shared, it is one for all processes that load samples, whichever of
    them loads a sample first.

    Args:
        samples: the samples; the same index must always give the same one.
        cases: the case of each.
        assembly: how they look at a case.
        shared: keep them in memory that further processes share.

    Raises:
        InputError: there is too little memory to share.
    """

    def __init__(
        self, samples: Dataset[Sample], cases: Sequence[str], assembly: Assembly, *, shared: bool = False
    ) -> None:
        self._samples, self._cases, self._shared = samples, list(cases), shared
        first = samples[0]
        self._state = self._room((), torch.uint8)
        self._image = self._room(first.image.shape, first.image.dtype)
        self._position = self._room((len(first.position),), torch.int64)
        self._targets = {task: self._room(value.shape, value.dtype) for task, value in first.targets.items()}
        self._present = {task: self._room(value.shape, value.dtype) for task, value in first.present.items()}
        region = () if assembly.region_array is None else (1, *first.image.shape[1:])
        self._region = self._room(region, torch.bool)
        self._keep(0, first)

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> Sample:
        if self._state[index] == _REGION_UNKNOWN:
            sample = self._samples[index]
            self._keep(index, sample)
            return sample
        return Sample(
            image=self._image[index],
            targets={task: values[index] for task, values in self._targets.items()},
            present={task: values[index] for task, values in self._present.items()},
            region=self._region[index] if self._state[index] == _REGION else None,
            case=self._cases[index],
            position=tuple(self._position[index].tolist()),
        )

    def _keep(self, index: int, sample: Sample) -> None:
        self._image[index] = sample.image
        self._position[index] = torch.tensor(sample.position, dtype=torch.int64)
        for task in sample.targets:
            self._targets[task][index] = sample.targets[task]
            self._present[task][index] = sample.present[task]
        if sample.region is not None:
            self._region[index] = sample.region
        self._state[index] = _NO_REGION if sample.region is None else _REGION  # last: another process may look

    def _room(self, shape: Sequence[int], dtype: Any) -> Tensor:
        """Zeros for all samples, of which the system takes up pages only when they are written to."""
        whole = (len(self._cases), *shape)
        room = torch.from_numpy(np.zeros(whole, dtype=torch.empty((), dtype=dtype).numpy().dtype))
        if not self._shared:
            return room
        try:
            return room.share_memory_()
        except (RuntimeError, OSError):
            size = math.prod(whole) * room.element_size() / 2**30
            raise InputError(
                f"training.cache: {size:.1f} GiB of shared memory are not to be had; set it false, or set "
                "training.loader_workers=0"
            ) from None
