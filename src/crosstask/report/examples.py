"""Examples of runs, read for pictures: the image, what is true and what each method makes of it. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]
Examples = Mapping[str, Sequence[Arrays]]
"""``{method: arrays of its runs' examples}``, as :func:`crosstask.evaluation.examples.save_examples` writes them."""

CONTOURS, COLOURS, TEXT = "contours", "colours", "text"
_MOST_FINDINGS = 3


@dataclass(frozen=True, eq=False)
class Shown:
    """One task of one case, by one run.

    Attributes:
        task: its name.
        style: how it is drawn: ``contours``, ``colours`` or ``text``.
        unit: of a quantity.
        values: what predictions are: ``softmax``, ``sigmoid`` or ``quantity``.
        classes: names of the channels.
        target, prediction: of pixel tasks ``c s y x``, else ``c``.
        present: which channels are known, ``c``.
        decision: of image-level tasks, ``c``.
    """

    task: str
    style: str
    unit: str
    values: str
    classes: tuple[str, ...]
    target: np.ndarray
    prediction: np.ndarray
    present: np.ndarray
    decision: np.ndarray | None


@dataclass(frozen=True, eq=False)
class ExampleCase:
    """A case as the report shows it.

    Attributes:
        case: its id.
        image: ``s y x``, or ``s 3 y x`` in colour, in [-1, 1].
        aspect: height of a pixel over its width.
        slices: numbers of the slices in their volume.
        fullest: index of the slice that shows most.
        methods: ``{method: {task: what it makes of it}}``.
    """

    case: str
    image: np.ndarray
    aspect: float
    slices: tuple[int, ...]
    fullest: int
    methods: Mapping[str, Mapping[str, Shown]]

    @property
    def tasks(self) -> dict[str, Shown]:
        """Of each task what any method makes of it, for what all share."""
        found: dict[str, Shown] = {}
        for own in self.methods.values():
            for name, shown in own.items():
                found.setdefault(name, shown)
        return found

    @property
    def colour(self) -> bool:
        """Whether the image is in colour."""
        return self.image.ndim == 4


def read_cases(runs: Examples) -> Iterator[ExampleCase]:
    """The cases that runs have examples of."""
    every = [arrays for files in runs.values() for arrays in files]
    for case in map(str, every[0]["cases"]) if every else ():
        own = next((arrays for arrays in every if f"{case}/image" in arrays), None)
        if own is None:
            continue
        height, width = own[f"{case}/spacing"]
        yield ExampleCase(
            case,
            own[f"{case}/image"].astype(np.float32),
            float(height / width),
            tuple(map(int, own[f"{case}/slices"])),
            int(own[f"{case}/fullest"]),
            {
                method: {shown.task: shown for arrays in files for shown in _tasks(arrays, case)}
                for method, files in runs.items()
            },
        )


def _tasks(arrays: Arrays, case: str) -> Iterator[Shown]:
    start, end = f"{case}/", "/picture"
    for key in arrays:
        if not (key.startswith(start) and key.endswith(end)):
            continue
        task = key[len(start) : -len(end)]
        part = {name: arrays.get(f"{case}/{task}/{name}") for name in ("target", "prediction", "present", "decision")}
        target, prediction, present = part["target"], part["prediction"], part["present"]
        if target is None or prediction is None or present is None:
            continue
        yield Shown(
            task,
            str(arrays[key][0]),
            str(arrays[key][1]),
            str(arrays[f"{case}/{task}/values"]),
            tuple(map(str, arrays[f"{case}/{task}/classes"])),
            target.astype(np.float32),
            prediction.astype(np.float32),
            present,
            part["decision"],
        )


def said_of(shown: Shown, *, reference: bool) -> tuple[str, bool]:
    """What the reference or a run says of a case in a task of whole cases, and whether the run decides as that does."""
    target, present, prediction = shown.target, shown.present, shown.prediction
    decision = np.zeros_like(target) if shown.decision is None else shown.decision
    names = shown.classes
    if reference and not present.any():
        return "not known", True
    if shown.values == "quantity":
        return f"{float((target if reference else prediction)[0]):.3g} {shown.unit}".rstrip(), True
    shares = None if reference else prediction
    right = reference or bool(((decision > 0.5) == (target > 0.5))[present].all())
    if shown.values == "softmax":
        return _share(names, shares, int((target if reference else prediction).argmax())), right
    positive = (target > 0.5) & present if reference else decision > 0.5
    if len(names) == 1:
        yes, no = ("yes", "no") if names[0] == shown.task else (names[0], f"not {names[0]}")
        return (yes if positive[0] else no) + ("" if reference else f" ({prediction[0]:.0%})"), right
    found = [_share(names, shares, int(index)) for index in np.flatnonzero(positive)]
    more = f" + {len(found) - _MOST_FINDINGS}" if len(found) > _MOST_FINDINGS else ""
    return (", ".join(found[:_MOST_FINDINGS]) or "none") + more, right


def _share(names: Sequence[str], shares: np.ndarray | None, index: int) -> str:
    """A class, and how sure a run is of it; the reference is, and says no share."""
    return names[index] if shares is None else f"{names[index]} {shares[index]:.0%}"


def inside_of(image: np.ndarray) -> tuple[slice, slice]:
    """The part of grey images that is not empty, with a margin: air around a head is not worth looking at.

    Args:
        image: ``s y x``.
    """
    inside = (image > image.min() + 0.05 * (image.max() - image.min())).any(axis=0)
    parts = []
    for axis in (0, 1):
        hits = np.flatnonzero(inside.any(axis=1 - axis))
        margin = max(2, inside.shape[axis] // 20)
        first, last = (hits[0], hits[-1]) if hits.size else (0, inside.shape[axis] - 1)
        parts.append(slice(max(0, int(first) - margin), min(inside.shape[axis], int(last) + margin + 1)))
    return parts[0], parts[1]
