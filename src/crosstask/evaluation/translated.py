"""Prepared cases of other people in the words of ours: a store whose arrays and channels have our names. No torch here.

Nothing is written: a mapping that changes costs no preparation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosstask.assembly import Assembly
from crosstask.buckets import Place
from crosstask.datasets.base import Dataset
from crosstask.evaluation.mapping import LabelMap, TaskMap
from crosstask.store import CaseArrays, Store
from crosstask.store.fingerprint import digest
from crosstask.store.reader import no_label

Channels = tuple[tuple[str, tuple[int, ...]], ...]
"""Our channels, each with the channels of theirs of which it is the union."""


@dataclass(frozen=True)
class Arrays:
    """What arrays that are no labels are called there, ``{ours: theirs}``: image, region, structures.

    Attributes:
        whole: taken as they are.
        structures: our array of structures that are input, or None.
        names: its channels; what is called otherwise there is not seen.
    """

    whole: Mapping[str, str]
    structures: tuple[str, str] | None = None
    names: Mapping[str, tuple[str, ...]] | None = None


def arrays_between(assembly: Assembly, dataset: Dataset, mapping: LabelMap) -> Arrays:
    """Which of their arrays are our image, region and structures.

    Args:
        assembly: how the run looks at a case.
        dataset: theirs.
        mapping: the labels; structures that are input are called as those that are predicted.
    """
    whole = {assembly.image_array: dataset.image_array}
    if assembly.region_array is not None and dataset.region_array is not None:
        whole[assembly.region_array] = dataset.region_array
    aimed = () if assembly.beams is None else assembly.beams.targets
    ours = assembly.structure_array or (None if assembly.beams is None else assembly.beams.array)
    if ours is None or dataset.structure_array is None:
        return Arrays(whole)
    named = next((one for one in mapping.tasks if one.ours.array == ours), None)
    wanted = dict.fromkeys((*assembly.structures, *aimed))
    names = {name: (named.sources(name) if named else ()) or (name,) for name in wanted}
    return Arrays(whole, (ours, dataset.structure_array), names)


class TranslatedStore(Store):
    """A store as our tasks look at it.

    Args:
        root: of their store.
        mapping: which labels are which.
        arrays: what else is called otherwise.
        case_ids: the cases that it has; by default all.
    """

    def __init__(
        self, root: Place | str, mapping: LabelMap, arrays: Arrays, case_ids: Iterable[str] | None = None
    ) -> None:
        super().__init__(root, case_ids=case_ids)
        self._mapping, self._arrays = mapping, arrays

    def only(self, case_ids: Iterable[str]) -> TranslatedStore:
        """The same with some of its cases."""
        return TranslatedStore(self.root, self._mapping, self._arrays, case_ids)

    def raw(self, case_id: str) -> CaseArrays:
        """A case in their own words."""
        return super()._arrays_of(case_id)

    def _arrays_of(self, case_id: str) -> CaseArrays:
        return TranslatedCase(super()._arrays_of(case_id), self._mapping, self._arrays)

    def channels(self, case_ids: Sequence[str], name: str) -> list[tuple[str, ...]]:
        """Channel names of an array in each case, in our words."""
        return [self.open(case_id).channels.get(name, ()) for case_id in case_ids]

    def digests(self, case_ids: Sequence[str], name: str) -> list[str]:
        """Digest of an array in each case, in our words; empty where the case lacks it."""
        cases = map(self.open, case_ids)
        return [case.digest(name) if name in case else "" for case in cases]

    def labels(self, case_ids: Sequence[str], name: str) -> list[dict[str, float]]:
        """Labels of each whole case, in our words."""
        found = []
        for case_id in case_ids:
            case = self.open(case_id)
            names = case.channels.get(name, ())
            if names and len(case.shape(name)) > 1:
                raise no_label(case_id, name)
            values = case.read(name).astype(float).tolist() if names else []
            found.append(dict(zip(names, values, strict=True)))
        return found

    def fingerprint_of(self, case_ids: Iterable[str]) -> str:
        """Digest of some cases and of what their labels are taken as."""
        return digest([super().fingerprint_of(case_ids), self._mapping.described(), sorted(self._arrays.whole.items())])


class TranslatedCase(CaseArrays):
    """A case whose arrays and channels have our names; what has no other name keeps its own.

    Args:
        inner: the case.
        mapping: which labels are which.
        arrays: what else is called otherwise.
    """

    def __init__(self, inner: CaseArrays, mapping: LabelMap, arrays: Arrays) -> None:
        self.id, self.geometry, self.information = inner.id, inner.geometry, inner.information
        self._inner = inner
        self._source: dict[str, tuple[str, Channels | None]] = {name: (name, None) for name in inner.names}
        for ours, theirs in arrays.whole.items():
            self._put(ours, theirs, None)
        if arrays.structures is not None:
            ours, theirs = arrays.structures
            self._put(ours, theirs, self._union(theirs, arrays.names or {}))
        labels: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {}
        for one in mapping.tasks:
            for ours, theirs in _label_arrays(one).items():
                kept = labels.setdefault(ours, (theirs, {}))[1]
                kept.update(self._labels(one, theirs))
        for ours, (theirs, channels) in labels.items():
            self._put(ours, theirs, tuple(channels.items()))
        self.channels = {
            name: tuple(inner.channels.get(theirs, ())) if channels is None else tuple(one for one, _ in channels)
            for name, (theirs, channels) in self._source.items()
        }

    def _put(self, ours: str, theirs: str, channels: Channels | None) -> None:
        if theirs in self._inner:
            self._source[ours] = (theirs, channels)
        else:
            self._source.pop(ours, None)

    def _union(self, theirs: str, names: Mapping[str, Sequence[str]]) -> Channels:
        there = {name: index for index, name in enumerate(self._inner.channels.get(theirs, ()))}
        return tuple(
            (ours, tuple(there[name] for name in wanted))
            for ours, wanted in names.items()
            if wanted and all(name in there for name in wanted)
        )

    def _labels(self, one: TaskMap, source: str) -> dict[str, tuple[int, ...]]:
        """Our channels that are known of this case, each with theirs; see :meth:`read`."""
        there = {name: index for index, name in enumerate(self._inner.channels.get(source, ()))}
        if not there:
            return {}
        if one.theirs.level == "pixel" or one.ours.values == "quantity":
            return dict(self._union(source, {ours: one.sources(ours) for ours in one.ours.classes}))
        sources = {ours: tuple(there[name] for name in one.sources(ours) if name in there) for ours in one.ours.classes}
        positive = self._inner.read(source) > 0.5
        if one.ours.values == "softmax":
            known = any(positive[index] for own in sources.values() for index in own)
            return sources if known else {}
        if one.excludes:
            return {ours: own for ours, own in sources.items() if one.sources(ours)}
        return _known_findings(one, sources, positive)

    def __contains__(self, name: object) -> bool:
        return name in self._source

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._source)

    def _of(self, name: str) -> tuple[str, Channels | None]:
        if name not in self._source:
            self._inner.shape(name)  # says that there is none, and what there is
        return self._source[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape ``c *s`` of an array; see :meth:`crosstask.store.CaseArrays.shape`."""
        theirs, channels = self._of(name)
        shape = self._inner.shape(theirs)
        return shape if channels is None else (len(channels), *shape[1:])

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of an array."""
        return self._inner.dtype(self._of(name)[0])

    def digest(self, name: str) -> str:
        """Digest of an array's values and, of labels, of what they are taken as."""
        theirs, channels = self._of(name)
        own = self._inner.digest(theirs)
        return own if channels is None else digest([own, channels])

    def read(
        self, name: str, channels: Sequence[int] | None = None, slices: Sequence[slice | int] | None = None
    ) -> np.ndarray:
        """Values of an array; a class of ours is where any of theirs is, and nowhere if none of theirs is it.

        Args, returns and errors are those of :meth:`crosstask.store.CaseArrays.read`.
        """
        theirs, union = self._of(name)
        if union is None:
            return self._inner.read(theirs, channels, slices)
        wanted = [union[index] for index in (range(len(union)) if channels is None else channels)]
        values = self._inner.read(theirs, None, slices)
        parts = [values[list(own)].max(0) if own else np.zeros_like(values[0]) for _, own in wanted]
        return np.stack(parts) if parts else np.empty((0, *values.shape[1:]), values.dtype)


def _known_findings(
    one: TaskMap, sources: Mapping[str, tuple[int, ...]], positive: np.ndarray
) -> dict[str, tuple[int, ...]]:
    """Our findings that are known of a case: one of theirs that is there tells; else all of them must lack.

    Args:
        one: the task.
        sources: their channels of each of ours.
        positive: of each channel of theirs, whether the case has it.
    """
    found = {}
    for ours, own in sources.items():
        there = tuple(index for index in own if positive[index])
        if there or (own and len(own) == len(one.sources(ours))):
            found[ours] = there or own
    return found


def _label_arrays(one: TaskMap) -> dict[str, str]:
    """``{our array: theirs}`` of a task: what is scored by goes first, where ours makes no difference."""
    ours, theirs = one.ours, one.theirs
    return {
        ours.labelled_array: theirs.labelled_array,
        ours.array: theirs.array,
        ours.scored_array: theirs.scored_array,
    }
