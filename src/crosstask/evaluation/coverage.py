"""Which cases of a store can be scored, by which labels, and what is not scored and why. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstask.assembly import Assembly
from crosstask.errors import InputError, listed
from crosstask.experiment import Experiment, SplitSection
from crosstask.runs import read_record
from crosstask.store import Store
from crosstask.tasks.base import Task

_MOST_NAMES = 6


@dataclass(frozen=True)
class Coverage:
    """What of some cases can be scored.

    Attributes:
        scored: ``{task: number of cases that count}``.
        remarks: what is not scored and why; a sentence each.
    """

    scored: dict[str, int]
    remarks: tuple[str, ...]


def coverage(store: Store, assembly: Assembly, case_ids: Sequence[str]) -> Coverage:
    """What of some cases the tasks can be scored on; a class that is named otherwise is another class.

    Args:
        store: the prepared cases.
        assembly: the tasks, looking at what scores look at.
        case_ids: the cases.
    """
    scored: dict[str, int] = {}
    remarks: list[str] = []
    for task in assembly.tasks:
        labels = [_Labels(store, case_id, task, scoring=assembly.scoring) for case_id in case_ids]
        scored[task.name] = sum(one.counts for one in labels)
        remarks += _unscored(task, labels)
    return Coverage(scored, tuple(remarks))


def can_be_scored(store: Store, assembly: Assembly, case_ids: Sequence[str]) -> dict[str, bool]:
    """Whether any of some cases counts, for each task; arguments as of :func:`coverage`, which looks at all of them."""
    return {
        task.name: any(_Labels(store, case_id, task, scoring=assembly.scoring).counts for case_id in case_ids)
        for task in assembly.tasks
    }


class _Labels:
    """The labels of one case for one task."""

    def __init__(self, store: Store, case_id: str, task: Task, *, scoring: bool) -> None:
        case = store.open(case_id)
        source = task.scored_array if scoring else task.array
        self.names: tuple[str, ...] = tuple(case.channels.get(source, ()))
        self.true: list[str] = []
        if task.values == "softmax" and task.level == "image" and self.names:
            self.true = [name for name, value in zip(self.names, case.read(source), strict=True) if value > 0.5]
        self.lacking = [name for name in task.classes if name not in self.names]
        self.counts = len(self.lacking) < len(task.classes)
        if task.values == "softmax" and task.level == "image":
            self.counts = not self.lacking and any(name in task.classes for name in self.true)


def _unscored(task: Task, labels: Sequence[_Labels]) -> list[str]:
    """What to say of the cases that do not count, and of classes that no case has."""
    there = Counter(name for one in labels for name in one.names)
    never = [name for name in task.classes if name not in there]
    strange = {name: count for name, count in there.items() if name not in task.classes}
    reasons = [f"no case has {_list(never)}{_alike(never, strange)}"] if never and labels else []
    if unlabelled := sum(not one.names for one in labels):
        reasons.append(f"{unlabelled} without any label of it")
    aside = [one for one in labels if not one.counts]
    reasons += _reasons_aside(aside, by_every_class=task.values == "softmax" and not never)
    number = len(labels) - len(aside)
    return [f"{task.name}: {number} of {len(labels)} cases scored ({'; '.join(reasons)})."] if reasons else []


def _reasons_aside(aside: Sequence[_Labels], *, by_every_class: bool) -> list[str]:
    """Why cases with labels do not count: they are of other classes, or lack the label of one where all are needed."""
    reasons = []
    if others := Counter(" and ".join(one.true) for one in aside if one.true and not one.lacking):
        found = _list([f"{name} ({count})" for name, count in others.most_common()])
        reasons.append(f"{others.total()} of none of its classes, but {found}")
    rest = [one for one in aside if one.names and (one.lacking or not one.true)]
    if rest and by_every_class:
        reasons.append(f"{len(rest)} without a label of every class")
    return reasons


def _alike(never: Sequence[str], strange: Mapping[str, int]) -> str:
    """Names in the store that could be meant."""
    if not strange:
        return ""
    plain = {_plain(name): name for name in strange}
    pairs = [f"{name} is {plain[_plain(name)]} there" for name in never if _plain(name) in plain]
    if pairs:
        return f": {_list(pairs)}; names must be the same to the letter, so rename them in the description of the cases"
    return f", but {_list(list(strange))}"


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _list(names: Sequence[str]) -> str:
    return listed(names, _MOST_NAMES)


def check_images(store: Store, assembly: Assembly, spatial_dims: int, case_ids: Sequence[str]) -> None:
    """Refuse cases whose images are none that the run's network can take.

    Raises:
        InputError: the first such case.
    """
    for case_id in case_ids:
        case = store.open(case_id)
        if assembly.image_array not in case:
            raise InputError(
                f"{store.root}: case {case_id} has no image {assembly.image_array!r} as the run was trained on, but "
                f"{', '.join(case.names)}; give a store of such cases"
            )
        channels, *shape = case.shape(assembly.image_array)
        if channels != assembly.image_channels or len(shape) != spatial_dims:
            raise InputError(
                f"{store.root}: the image of case {case_id} has {channels} channels and {len(shape)} axes, and those "
                f"that the run was trained on {assembly.image_channels} and {spatial_dims}; give a store of such cases"
            )


def one_sided(
    store: Store, assembly: Assembly, case_ids: Sequence[str], split: str, rule: SplitSection | None = None
) -> list[str]:
    """What to say of a split in which a classification has one class alone, or lacks some: a sentence each task.

    Args:
        store: the prepared cases.
        assembly: the tasks, looking at what scores look at.
        case_ids: of the split.
        split: its name.
        rule: how it was drawn, to say what would fix it; None where it is not to be drawn anew.
    """
    found = []
    for task in assembly.tasks:
        if task.level != "image" or task.values == "quantity":
            continue
        positive, negative = Counter[str](), Counter[str]()
        for case_id in case_ids:
            target, present = assembly.target(task, store.open(case_id))
            if task.values == "softmax" and not (present.all() and (target > 0.5).any()):
                continue
            for name, value, there in zip(task.classes, target, present, strict=True):
                if there:
                    (positive if value > 0.5 else negative)[name] += 1
        sentence = _sentence(task, positive, negative, split)
        if sentence:
            found.append(sentence + _remedy(task, rule))
    return found


def _sentence(task: Task, positive: Counter[str], negative: Counter[str], split: str) -> str:
    """The classes that are alone or missing; empty where none is, or there is no label at all."""
    if not positive and not negative:
        return ""
    lost = (
        "accuracy, AUC and the like are not defined there"
        if split != "validation"
        else "the best epoch cannot be chosen by them"
    )
    if task.values == "softmax":
        missing = [name for name in task.classes if not positive[name]]
        if len(positive) == 1:
            (name,) = positive
            return f"{task.name}: every labelled {split} case is {name}, so {lost}"
        return f"{task.name}: no {split} case is {_list(missing)}" if missing else ""
    alone = [f"every one is {name}" for name in task.classes if positive[name] and not negative[name]]
    alone += [f"none is {name}" for name in task.classes if negative[name] and not positive[name]]
    return f"{task.name}: of the labelled {split} cases {_list(alone)}, so {lost}" if alone else ""


def _remedy(task: Task, rule: SplitSection | None) -> str:
    if rule is None:
        return "."
    if rule.rule in ("drawn", "folds"):
        if rule.stratify == task.array:
            return "; give more cases of the rare class, or set another dataset.splits.seed."
        return f"; set dataset.splits.stratify={task.array}, or another dataset.splits.seed."
    return "; fix the split, or set dataset.splits.rule=drawn."


def is_own_store(folder: Path, store: Store) -> bool:
    """Whether a store has the cases that a run was trained on, as they were; also where that cannot be told."""
    data = read_record(folder).get("data", {})
    ids = [case for cases in data.get("cases", {}).values() for case in cases]
    if "fingerprint" not in data or not ids:
        return True
    return all(case in store for case in ids) and store.fingerprint_of(ids) == data["fingerprint"]


def of_other_store(experiment: Experiment, store: Store, split: str, number: int) -> list[str]:
    """What to say of a store that is not the one the run was trained on."""
    remarks = []
    if store.dataset != experiment.dataset.name:
        remarks.append(
            f"{store.root} holds cases of {store.dataset}, and the run was trained on {experiment.dataset.name}: their "
            "images and labels need not mean the same."
        )
    if split != "all":
        rule = experiment.dataset.splits.rule
        remarks.append(
            f"{number} of the {len(store)} cases of {store.root} are its {split} cases by the run's rule of splits "
            f"({rule}); --split all scores every case."
        )
    return remarks


def seen_in_training(folder: Path, cases: Sequence[str], split: str) -> list[str]:
    """What to say of cases that carry the id of one that trained the run or chose its best epoch."""
    known = read_record(folder).get("data", {}).get("cases", {})
    seen = {case for name in ("train", "validation") if name != split for case in known.get(name, ())}
    found = [case for case in cases if case in seen]
    if split == "train" or not found:
        return []
    return [
        f"{len(found)} of {len(cases)} cases have ids of cases that trained the run or chose its best epoch ({found[0]}"
        f"{', ...' * (len(found) > 1)}): if they are the same, the figures are no test."
    ]
