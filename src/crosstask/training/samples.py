"""Samples of prepared cases: slices or whole cases, resized to one size, or patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from crosstask.assembly import Assembly, Slices
from crosstask.functional.resize import resize
from crosstask.sample import Sample
from crosstask.store import Store
from crosstask.store.foreground import Foreground

_PLACE = 6  # of the random numbers, beside those of the order and of changes


def _sample(
    assembly: Assembly,
    case_id: str,
    store: Store,
    slices: Slices | None,
    position: tuple[int, ...],
    size: Sequence[int] | None,
) -> Sample:
    case = store.open(case_id)

    def tensor(values: np.ndarray) -> Tensor:
        whole = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return whole if size is None else resize(whole[None], size)[0]

    targets, present = {}, {}
    for task in assembly.labels:
        target, labelled = assembly.target(task, case, slices)
        targets[task.name] = torch.from_numpy(target) if task.level == "image" else task.resized(tensor(target))
        present[task.name] = torch.from_numpy(labelled)
    region = assembly.region(case, slices)
    return Sample(
        image=tensor(assembly.image(case, slices)),
        targets=targets,
        present=present,
        region=None if region is None else tensor(region) > 0.5,
        case=case_id,
        position=position,
    )


class CaseSamples(Dataset[Sample]):
    """Samples of cases; the same index always gives the same one.

    Attributes:
        cases: the case of each sample.
    """

    cases: list[str]

    def __len__(self) -> int:
        return len(self.cases)


class SliceSamples(CaseSamples):
    """Every axial slice of the cases, resized to ``size``.

    Args:
        store: the prepared cases.
        case_ids: which of them.
        assembly: how to look at a case.
        size: height and width of a sample.
    """

    def __init__(self, store: Store, case_ids: Sequence[str], assembly: Assembly, size: Sequence[int]) -> None:
        self._store, self._assembly, self._size = store, assembly, tuple(size)
        depths = [shape[0] for shape in store.shapes(case_ids)]
        self.cases = [case for case, depth in zip(case_ids, depths, strict=True) for _ in range(depth)]
        starts = itertools.accumulate(depths, initial=0)
        self._first = dict(zip(case_ids, starts, strict=False))

    def index_of(self, case: str, z: int) -> int:
        """Index of a slice."""
        return self._first[case] + z

    def __getitem__(self, index: int) -> Sample:
        case = self.cases[index]
        z = range(len(self.cases))[index] - self._first[case]
        return _sample(self._assembly, case, self._store, (z,), (z,), self._size)


class WholeSamples(CaseSamples):
    """Each case as a whole, an image or a volume, resized to ``size``.

    Args:
        store: the prepared cases.
        case_ids: which of them.
        assembly: how to look at a case.
        size: of a sample, height and width, or z y x.
    """

    def __init__(self, store: Store, case_ids: Sequence[str], assembly: Assembly, size: Sequence[int]) -> None:
        self._store, self.cases, self._assembly, self._size = store, list(case_ids), assembly, tuple(size)

    def __getitem__(self, index: int) -> Sample:
        return _sample(self._assembly, self.cases[index], self._store, None, (), self._size)


class PatchSamples(CaseSamples):
    """Patches at random places; the same index and draw give the same patch, whoever loads it and whenever.

    Args:
        store: the prepared cases.
        case_ids: which of them.
        assembly: how to look at a case.
        size: voxels of a patch, z y x; a smaller volume is padded with the image's lowest value.
        per_case: patches of each case; None for as many as would tile it.
        seed: of the places.
        foreground: share of the patches that hold a voxel of one of ``classes`` in their middle half.
        classes: (case array, channel name) of what counts as foreground.
    """

    def __init__(
        self,
        store: Store,
        case_ids: Sequence[str],
        assembly: Assembly,
        size: Sequence[int],
        per_case: int | None = None,
        seed: int = 0,
        foreground: float = 0.0,
        classes: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._store, self._assembly, self._size, self._seed = store, assembly, tuple(size), seed
        self._foreground, self._classes, self._places = foreground, tuple(classes), Foreground(store)
        self.cases, self._shapes = [], dict(zip(case_ids, store.shapes(case_ids), strict=True))
        for case in case_ids:
            parts = zip(self._shapes[case], size, strict=True)
            self.cases += [case] * (per_case or math.prod(math.ceil(length / part) for length, part in parts))

    def __getitem__(self, index: int) -> Sample:
        return self._drawn(index, [self._seed, index])

    def drawn(self, index: int, draw: int) -> Sample:
        """A patch of the case of an index, at another place in each draw."""
        return self._drawn(index, [self._seed, index, draw, _PLACE])

    def _drawn(self, index: int, entropy: Sequence[int]) -> Sample:
        case = self.cases[index]
        shape = self._shapes[case]
        generator = np.random.default_rng(entropy)
        room = [max(length - part, 0) for length, part in zip(shape, self._size, strict=True)]
        voxel = self._foreground_voxel(case, generator) if generator.random() < self._foreground else None
        if voxel is None:
            corner = tuple(int(generator.integers(0, most + 1)) for most in room)
        else:
            shift = [int(generator.integers(part // 4, part - part // 4)) for part in self._size]
            corner = tuple(min(max(at - by, 0), most) for at, by, most in zip(voxel, shift, room, strict=True))
        slices = tuple(slice(start, start + part) for start, part in zip(corner, self._size, strict=True))
        sample = _sample(self._assembly, case, self._store, slices, corner, None)
        return self._padded(sample)

    def _foreground_voxel(self, case_id: str, generator: np.random.Generator) -> tuple[int, ...] | None:
        """A random voxel of a random class that the case has; None if it has none."""
        case = self._store.open(case_id)
        there = [(source, name) for source, name in self._classes if name in case.channels.get(source, ())]
        for choice in generator.permutation(len(there)):
            source, name = there[choice]
            index, channel = self._places.of(case_id, source), case.channels[source].index(name)
            if count := int(index.counts[channel]):
                voxel = index.voxel(channel, int(generator.integers(count)))
                return tuple(int(at) for at in np.unravel_index(voxel, self._shapes[case_id]))
        return None

    def _padded(self, sample: Sample) -> Sample:
        missing = [part - have for part, have in zip(self._size, sample.image.shape[1:], strict=True)]
        if not any(missing):
            return sample
        widths = [width for gap in reversed(missing) for width in (0, gap)]
        sample.image = torch.from_numpy(self._assembly.padded(sample.image.numpy(), self._size))
        sample.targets = {
            task: F.pad(target, widths) if target.ndim == sample.image.ndim else target
            for task, target in sample.targets.items()
        }
        if sample.region is not None:
            sample.region = F.pad(sample.region, widths)
        return sample


class _Wrapped(Dataset[Sample]):
    """Other samples, seen otherwise.

    Args:
        samples: the samples.
    """

    def __init__(self, samples: Dataset[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)  # type: ignore[arg-type]


class NumberedSamples(_Wrapped):
    """Samples that know the number of their draw since the first epoch: a patch's place and changes follow from it."""

    def __getitem__(self, draw: tuple[int, int]) -> Sample:
        index, number = draw
        samples = self._samples
        sample = samples.drawn(index, number) if isinstance(samples, PatchSamples) else samples[index]
        return replace(sample, draw=number)


class Unlabelled(_Wrapped):
    """Samples whose labels are all missing."""

    def __getitem__(self, index: int) -> Sample:
        sample = self._samples[index]
        return replace(sample, present={task: torch.zeros_like(own) for task, own in sample.present.items()})


def spread(count: int, wanted: int | None) -> list[int]:
    """Indices of an even choice of ``wanted`` out of ``count`` samples."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [round((index + 0.5) * count / wanted - 0.5) for index in range(wanted)]
