"""The order in which training sees its samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Sampler

_FOREGROUND, _STRATA, _STRATUM, _LABELS = 1, 2, 3, 4  # of the random numbers for each purpose


class EpochSampler(Sampler[int]):
    """An endless shuffled order of all samples, cut into epochs.

    Epoch k sees the k-th stretch of one long sequence of permutations, so epochs shorter than the data still see
    every sample equally often; and the order of an epoch depends on seed and epoch alone, so that a resumed run goes
    on as the unbroken one would. Three things may then change single places of an epoch, in this order:

    1. ``strata``: each place whose sample is in a stratum is given to one of the strata instead, all equally often,
       and takes that stratum's next sample. Samples in no stratum (their label is missing) keep their places.
    2. ``foreground``: a share of the places takes a sample of one of ``pools``, each pool as often, and of the place's
       own stratum, so that strata stay equally frequent; where a stratum has no sample in any pool, nothing changes.
    3. ``labelled``: where a task has no sample in the epoch, or fewer than its share of all samples (rounded up), other
       samples at random places give way, but none that another task cannot spare, unless the new one carries that too.
       What only tops up a share keeps strata as they are; a task that would be missing altogether goes before that.

    Args:
        count: number of samples there are.
        per_epoch: number of samples an epoch takes; None for all.
        seed: of all that is drawn.
        foreground: share of the samples that are taken from ``pools``.
        pools: indexes of the samples that hold each class of the foreground; empty ones are left out.
        strata: indexes of the samples of each class that is to be drawn equally often; they may overlap, and empty
            ones are left out.
        labelled: indexes of the samples that carry a label of each task; empty ones are left out. In an epoch of fewer
            samples than tasks some may still be missing.
    """

    def __init__(
        self,
        count: int,
        per_epoch: int | None,
        seed: int,
        *,
        foreground: float = 0.0,
        pools: Sequence[Sequence[int]] = (),
        strata: Sequence[Sequence[int]] = (),
        labelled: Sequence[Sequence[int]] = (),
    ) -> None:
        self._count, self._per_epoch, self._seed, self.epoch = count, per_epoch or count, seed, 0
        self._pools, self._strata, self._labelled = _filled(pools), _filled(strata), _filled(labelled)
        self._foreground = foreground if self._pools else 0.0
        self._in_stratum = np.zeros(count, dtype=bool)
        for stratum in self._strata:
            self._in_stratum[stratum] = True
        self._groups = [*self._strata, np.flatnonzero(~self._in_stratum)]
        self._carries = np.zeros((len(self._labelled), count), dtype=bool)
        for task, indexes in enumerate(self._labelled):
            self._carries[task, indexes] = True
        self._aimed: dict[tuple[int, int], np.ndarray] = {}
        self._found: dict[tuple[int, tuple[int, ...], int], np.ndarray] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._per_epoch

    def __iter__(self) -> Iterator[int]:
        order = self._stretch(self._count, self.epoch * self._per_epoch, self._per_epoch)
        groups = self._balance(order)
        self._aim(order, groups)
        self._complete(order, groups)
        return iter(order.tolist())

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self.epoch, *purpose])

    def _stretch(self, count: int, start: int, length: int, *purpose: int) -> np.ndarray:
        """Part of an endless sequence of permutations of ``count`` numbers."""
        rounds = range(start // count, (start + length - 1) // count + 1) if length else range(0)
        parts = [np.random.default_rng([self._seed, r, *purpose]).permutation(count) for r in rounds]
        offset = start - rounds[0] * count if length else 0
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])[offset : offset + length]

    def _balance(self, order: np.ndarray) -> np.ndarray:
        """Give the places of labelled samples to the strata alike; returns the group of each place."""
        groups = np.full(len(order), len(self._strata))
        if not self._strata:
            return groups
        generator, number = self._generator(_STRATA), len(self._strata)
        places = np.flatnonzero(self._in_stratum[order])
        groups[places] = generator.permutation((np.arange(len(places)) + generator.integers(number)) % number)
        quota = -(-self._per_epoch // number)  # the most that a stratum can get, so no two epochs' stretches overlap
        for index, stratum in enumerate(self._strata):
            own = np.flatnonzero(groups == index)
            order[own] = stratum[self._stretch(len(stratum), self.epoch * quota, len(own), _STRATUM, index)]
        return groups

    def _aim(self, order: np.ndarray, groups: np.ndarray) -> None:
        """Take a share of the samples from the pools."""
        if not self._foreground:
            return
        generator = self._generator(_FOREGROUND)
        for place in np.flatnonzero(generator.random(len(order)) < self._foreground):
            first = int(generator.integers(len(self._pools)))
            candidates = self._within(first, int(groups[place]))
            if not candidates.size:
                pools = generator.permutation(len(self._pools)).tolist()
                others = [self._within(pool, int(groups[place])) for pool in pools]
                candidates = next((other for other in others if other.size), candidates)
            if candidates.size:
                order[place] = generator.choice(candidates)

    def _complete(self, order: np.ndarray, groups: np.ndarray) -> None:
        """Bring every task into the epoch, by its share."""
        if not self._labelled:
            return
        generator = self._generator(_LABELS)
        shares = np.array([-(-self._per_epoch * len(indexes) // self._count) for indexes in self._labelled])
        one = np.ones_like(shares)
        for wanted, anywhere in ((one, False), (one, True), (shares, False)):
            for task in np.argsort(shares, kind="stable"):
                self._add(order, groups, int(task), wanted, generator, anywhere=anywhere)

    def _add(
        self,
        order: np.ndarray,
        groups: np.ndarray,
        task: int,
        wanted: np.ndarray,
        generator: np.random.Generator,
        *,
        anywhere: bool,
    ) -> None:
        """Replace samples until a task has as many as wanted; ``anywhere``: by those of other strata, too."""
        counts = self._carries[:, order].sum(1)
        if counts[task] >= wanted[task]:
            return
        for place in generator.permutation(len(order)):
            carried = self._carries[:, order[place]]
            if carried[task]:
                continue
            needed = tuple(np.flatnonzero(carried & (counts <= wanted)).tolist())  # must not become fewer
            candidates = self._substitutes(task, needed, -1 if anywhere else int(groups[place]))
            if candidates.size:
                order[place] = generator.choice(candidates)
                counts += self._carries[:, order[place]].astype(counts.dtype) - carried
                if counts[task] >= wanted[task]:
                    return

    def _within(self, pool: int, group: int) -> np.ndarray:
        """Samples of a pool that are in a group, too."""
        if (pool, group) not in self._aimed:
            indexes = self._pools[pool]
            self._aimed[pool, group] = indexes[np.isin(indexes, self._groups[group])] if self._strata else indexes
        return self._aimed[pool, group]

    def _substitutes(self, task: int, needed: tuple[int, ...], group: int) -> np.ndarray:
        """Samples that carry a task and all those needed, of one group or (-1) of any."""
        key = (task, needed, group if self._strata else -1)
        if key not in self._found:
            indexes = self._labelled[task]
            if key[2] >= 0:
                indexes = indexes[np.isin(indexes, self._groups[group])]
            self._found[key] = indexes[self._carries[list(needed)][:, indexes].all(0)]
        return self._found[key]


class NumberedSampler(Sampler[tuple[int, int]]):
    """Indexes of samples with the number of each draw since the first epoch, from which a random change may follow.

    Args:
        order: the order of the samples.
    """

    def __init__(self, order: EpochSampler) -> None:
        self._order = order

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self._order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        first = self._order.epoch * len(self._order)
        return ((index, first + place) for place, index in enumerate(self._order))


class ShareOfBatches(Sampler[list[Any]]):
    """Batches of an order, or what one of several processes has of each: every so-manyth sample of it.

    So all processes together see the same batches as one alone. Shares differ by one sample where their number does not
    divide a batch; samples that would not fill the last batch are left out.

    Args:
        order: of the samples.
        batch_size: of the batch as a whole.
        rank: number of the process.
        world: how many there are.
    """

    def __init__(self, order: EpochSampler | NumberedSampler, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.sampler = order  # under this name Lightning looks for what has epochs
        self.batch_size, self.drop_last = batch_size, True
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[Any]]:
        draws = iter(self.sampler)
        for _ in range(len(self)):
            yield list(itertools.islice(draws, self.batch_size))[self._rank :: self._world]


def _filled(pools: Sequence[Sequence[int]]) -> list[np.ndarray]:
    return [np.asarray(pool, dtype=np.int64) for pool in pools if len(pool)]
