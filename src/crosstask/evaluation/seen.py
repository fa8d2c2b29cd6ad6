"""Which external cases a run has met, whatever they are called: by their pixels. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crosstask.buckets import Place
from crosstask.errors import listed
from crosstask.evaluation.coverage import is_own_store
from crosstask.evaluation.translated import TranslatedStore
from crosstask.runs import load_spec, read_images, read_record
from crosstask.store import Store
from crosstask.store.statistics import digests_of
from crosstask.store.thumbnails import thumbnails_of

ALIKE = 0.995
"""Correlation of two thumbnails above which one image may be a copy of the other, saved anew."""
_LEARNED = ("train", "validation")
_MOST = 5
"""Names that a sentence holds."""


@dataclass(frozen=True)
class Met:
    """The images that some runs have met.

    Attributes:
        learned: ``{digest of the pixels: case}`` of those that trained a run or chose its best epoch and thresholds.
        tested: the same of those that it was tested on.
        ids: ids of the first.
        pictures: thumbnails of the first.
        unknown: names of runs of which it cannot be told.
        unseen: whether thumbnails are lacking of some run, whose prepared cases are gone.
    """

    learned: Mapping[str, str]
    tested: Mapping[str, str]
    ids: frozenset[str]
    pictures: Mapping[str, np.ndarray]
    unknown: tuple[str, ...] = ()
    unseen: bool = False


def met_by(folders: Sequence[Path], image_array: str, store: Place | None = None) -> Met:
    """The images that runs have met: by the digests that they kept, or from their prepared cases.

    Args:
        folders: the run folders.
        image_array: case array of the image.
        store: prepared cases of the runs, if not where they were.
    """
    learned: dict[str, str] = {}
    tested: dict[str, str] = {}
    pictures: dict[str, np.ndarray] = {}
    ids: set[str] = set()
    unknown: list[str] = []
    unseen = False
    known: set[tuple[str, ...]] = set()
    for folder in folders:
        cases = read_record(folder).get("data", {}).get("cases", {})
        key = tuple(f"{split}/{case}" for split, own in cases.items() for case in own)
        if key and key in known:
            continue
        known.add(key)
        own = [case for split in _LEARNED for case in cases.get(split, ())]
        prepared = own_store(folder, store)
        digests = read_images(folder)
        if digests is None and prepared is not None:
            every = [case for own in cases.values() for case in own]
            digests = digests_of(prepared, every, image_array)
        ids.update(own)
        if digests is None:
            unknown.append(load_spec(folder).name)
        for split, named in cases.items():
            into = learned if split in _LEARNED else tested
            into.update({digests[case]: case for case in named if digests and case in digests})
        if prepared is None:
            unseen = True
        else:
            pictures.update(thumbnails_of(prepared, own, image_array))
    return Met(learned, tested, frozenset(ids), pictures, tuple(unknown), unseen)


def own_store(folder: Path, store: Place | None) -> Store | None:
    """The run's prepared cases as they were when it was trained; None where they are gone or are others now."""
    cases = read_record(folder).get("data", {}).get("cases", {})
    ids = [case for own in cases.values() for case in own]
    root = store or load_spec(folder).experiment.store_folder
    if not ids or not root.exists():
        return None
    found = Store(root)
    return found if all(case in found for case in ids) and is_own_store(folder, found) else None


@dataclass(frozen=True)
class Overlap:
    """What of external cases the runs have met.

    Attributes:
        refused: ``{their case: ours}``: the same pixels, which a run learned from.
        tested: ``{their case: ours}``: the same pixels, which the runs were tested on.
        alike: ``{their case: ours}``: other pixels, but so much alike that one may be a copy of the other.
        named: cases that share no more than the id with one that a run learned from.
        met: what the runs have met.
    """

    refused: Mapping[str, str]
    tested: Mapping[str, str]
    alike: Mapping[str, str]
    named: Sequence[str]
    met: Met = field(repr=False)

    def remarks(self, total: int) -> list[str]:
        """What must be said, a sentence each.

        Args:
            total: number of external cases.
        """
        said = []
        if self.refused:
            said.append(
                f"Warning: {len(self.refused)} of {total} cases are refused, since the same pixels trained a run or "
                f"chose its best epoch: {_pairs(self.refused)}."
            )
        if self.met.unknown:
            said.append(
                f"Warning: it cannot be told which cases trained {listed(self.met.unknown, _MOST)}: the runs kept no "
                "digests of their images, and their prepared cases are gone; if some of these are among them, the "
                "figures are no test."
            )
        if self.alike:
            said.append(
                f"Warning: {len(self.alike)} cases look like cases that trained a run, saved anew (correlation of "
                f"small grey pictures above {ALIKE:g}), and are not refused: {_pairs(self.alike)}. Look at "
                "them, and take copies out."
            )
        elif self.met.unseen and not self.met.unknown:
            said.append(
                "Copies that were saved anew (JPEG, another size) were not looked for: the runs' prepared cases are "
                "gone."
            )
        if self.named:
            said.append(
                f"{len(self.named)} cases have the id of a case that trained a run but other pixels, and are scored: "
                f"{listed(self.named, _MOST)}."
            )
        if self.tested:
            said.append(f"{len(self.tested)} of {total} cases are test cases of the runs too: {_pairs(self.tested)}.")
        return said


def overlap(store: TranslatedStore, met: Met, image_array: str) -> Overlap:
    """What of the cases of a store some runs have met.

    Args:
        store: the external cases.
        met: by the runs.
        image_array: our case array of the image.
    """
    ids = [case.id for case in store.cases]
    digests = digests_of(store, ids, image_array)
    refused = {case: met.learned[digests[case]] for case in ids if digests.get(case) in met.learned}
    rest = [case for case in ids if case not in refused]
    tested = {case: met.tested[digests[case]] for case in rest if digests.get(case) in met.tested}
    alike = _alike(thumbnails_of(store, rest, image_array), met.pictures) if met.pictures else {}
    named = [case for case in rest if case in met.ids and case not in alike]
    return Overlap(refused, tested, alike, named, met)


def _alike(theirs: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> dict[str, str]:
    """``{their case: the case of ours}`` whose thumbnails are nearly the same."""
    names = list(ours)
    if not names or not theirs:
        return {}
    known = np.stack([ours[name] for name in names])
    found = {}
    for case, picture in theirs.items():
        likeness = known @ picture
        best = int(likeness.argmax())
        if likeness[best] > ALIKE:
            found[case] = names[best]
    return found


def _pairs(pairs: Mapping[str, str]) -> str:
    return listed((case if case == ours else f"{case} ({ours})" for case, ours in pairs.items()), _MOST)
