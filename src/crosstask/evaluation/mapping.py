"""Which tasks and classes of other people's cases are which of ours: stated, never guessed. No torch here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crosstask.datasets.base import Dataset
from crosstask.errors import InputError, listed
from crosstask.registry import did_you_mean
from crosstask.tasks.base import Task

Pairs = Mapping[str, str]
"""``{theirs: ours}``."""


@dataclass(frozen=True)
class TaskMap:
    """One task of ours and what it is judged by there.

    Attributes:
        ours: our task.
        theirs: their task.
        known: their classes.
        classes: ``{their class: ours}``.
        stated: their classes that are mapped by a statement; the others have the same name.
    """

    ours: Task
    theirs: Task
    known: tuple[str, ...]
    classes: Pairs
    stated: frozenset[str] = frozenset()

    def sources(self, name: str) -> tuple[str, ...]:
        """Their classes that are one of ours."""
        return tuple(theirs for theirs, ours in self.classes.items() if ours == name)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(Their class, ours), in the order of ours."""
        return tuple((theirs, ours) for ours in self.ours.classes for theirs in self.sources(ours))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Their classes that are none of ours."""
        return tuple(name for name in self.known if name not in self.classes)

    @property
    def without(self) -> tuple[str, ...]:
        """Our classes that are none of theirs."""
        return tuple(name for name in self.ours.classes if not self.sources(name))

    @property
    def excludes(self) -> bool:
        """Whether each case there is of exactly one class, so that one of an unknown class is none of ours."""
        return self.theirs.level == "image" and self.theirs.values == "softmax"


@dataclass(frozen=True)
class LabelMap:
    """All tasks that can be judged there.

    Attributes:
        tasks: of ours that have labels there.
        reasons: ``{our task: why it is not judged}``.
        strangers: their tasks that are none of ours.
    """

    tasks: tuple[TaskMap, ...]
    reasons: Mapping[str, str]
    strangers: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of our tasks that are judged."""
        return tuple(one.ours.name for one in self.tasks)

    def described(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """Plain values that tell one mapping from another."""
        return [(one.ours.name, one.theirs.name, sorted(one.classes.items())) for one in self.tasks]


def map_labels(
    ours: Sequence[Task], dataset: Dataset, tasks: Pairs | None = None, classes: Mapping[str, Pairs] | None = None
) -> LabelMap:
    """Which of their tasks and classes are which of ours.

    What has the same name, to the letter, is the same; everything else is stated, or it is another.

    Args:
        ours: the tasks of the runs.
        dataset: theirs.
        tasks: ``{their task: ours}`` where the names differ.
        classes: ``{our task: {their class: ours}}`` where the names differ. Several of theirs may be one of ours.

    Raises:
        InputError: a name that there is not on its side, a pair that cannot be the same, or nothing that matches.
    """
    own = {task.name: task for task in ours}
    tasks, classes = dict(tasks or {}), dict(classes or {})
    pairs = _task_pairs(own, dataset, tasks)
    stated = _stated(own, pairs, tasks, classes)
    found: list[TaskMap] = []
    reasons = {name: f"{dataset.name} there has no task of that name" for name in own if name not in pairs}
    for name, theirs in pairs.items():
        fault = _unlike(own[name], theirs)
        if fault and (theirs.name in tasks or name in stated):
            raise InputError(f"task {theirs.name}={name}: {fault}")
        if not fault:
            one = _classes(own[name], theirs, _classes_of(dataset, theirs), stated.get(name, {}))
            if one.classes:
                found.append(one)
                continue
            fault = f"none of their classes ({_list(one.known)}) is one of ours ({_list(one.ours.classes)})"
            fault += _advice(name, one.known, one.ours.classes)
        reasons[name] = fault
    strangers = tuple(name for name in dataset.tasks if name not in {theirs.name for theirs in pairs.values()})
    if not found:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise InputError(
            f"{dataset.root}: nothing there can be scored: {told}. Their tasks are {_list(dataset.tasks)}; say what is "
            "what with --task THEIRS=OURS and --class TASK.THEIRS=OURS (external.NAME.tasks and .classes)"
        )
    _same_labels(found)
    return LabelMap(tuple(found), reasons, strangers)


def _task_pairs(own: Mapping[str, Task], dataset: Dataset, stated: Pairs) -> dict[str, Task]:
    """``{our task: theirs}``: those stated, and of the others those of the same name."""
    pairs: dict[str, Task] = {}
    for theirs, name in stated.items():
        if theirs not in dataset.tasks:
            near = did_you_mean(theirs, dataset.tasks)
            raise InputError(
                f"task {theirs}={name}: {dataset.root} has no task {theirs!r}; {near}its tasks are "
                f"{_list(dataset.tasks)}"
            )
        if name not in own:
            raise InputError(
                f"task {theirs}={name}: the run has no task {name!r}; {did_you_mean(name, own)}it has {_list(own)}"
            )
        if name in pairs:
            raise InputError(f"task {theirs}={name}: {pairs[name].name!r} is {name!r} already; give one of the two")
        pairs[name] = dataset.task(theirs)
    for name in own:
        if name not in pairs and name in dataset.tasks and name not in stated:
            pairs[name] = dataset.task(name)
    return {name: pairs[name] for name in own if name in pairs}


def _stated(
    own: Mapping[str, Task], pairs: Mapping[str, Task], tasks: Pairs, classes: Mapping[str, Pairs]
) -> dict[str, dict[str, str]]:
    """The stated classes by our task; a task may be called by their name too, where that is none of ours."""
    found: dict[str, dict[str, str]] = {}
    for key, wanted in classes.items():
        name = key if key in own else tasks.get(key, key)
        if name not in own:
            raise InputError(
                f"classes of {key}: the run has no task {key!r}; {did_you_mean(key, own)}it has {_list(own)}"
            )
        if name not in pairs:
            raise InputError(
                f"classes of {key}: there is no task {name!r} there; say which of theirs it is with "
                f"--task THEIRS={name} (external.NAME.tasks)"
            )
        for theirs, ours in wanted.items():
            if found.setdefault(name, {}).setdefault(theirs, ours) != ours:
                raise InputError(
                    f"class {key}.{theirs}={ours}: it is {found[name][theirs]!r} already; one of theirs is one of ours "
                    "(several of theirs may be the same of ours)"
                )
    return found


def _unlike(ours: Task, theirs: Task) -> str:
    """Why two tasks cannot be of the same thing; empty where they can."""
    if ours.level != theirs.level:
        words = {"pixel": "of pixels", "image": "of whole cases"}
        return f"ours has labels {words[ours.level]}, theirs {words[theirs.level]}"
    if (ours.values == "quantity") != (theirs.values == "quantity"):
        return (
            "ours is a quantity, theirs of classes"
            if ours.values == "quantity"
            else "ours is of classes, theirs a quantity"
        )
    if ours.values == "quantity" and ours.unit != theirs.unit:
        return (
            f"ours is in {ours.unit or 'no unit'}, theirs in {theirs.unit or 'no unit'}; convert theirs, and give it "
            "the same unit"
        )
    if ours.level == "image" and (ours.values, theirs.values) == ("softmax", "sigmoid"):
        return (
            "our classes exclude each other, theirs are findings that may go together; describe theirs as classes "
            "(kind: classes in the cohort file)"
        )
    return ""


def _classes_of(dataset: Dataset, theirs: Task) -> tuple[str, ...]:
    """Their classes: those of the task, and structures that it can have but has not by default."""
    more = dataset.structures if theirs.array == dataset.structure_array and theirs.values != "quantity" else ()
    return tuple(dict.fromkeys((*theirs.classes, *more)))


def _classes(ours: Task, theirs: Task, known: tuple[str, ...], stated: Pairs) -> TaskMap:
    """The classes of one task: the one of a quantity, those stated, those of the same name."""
    for name, target in stated.items():
        pair = f"class {ours.name}.{name}={target}"
        if name not in known:
            near = did_you_mean(name, known)
            raise InputError(f"{pair}: there is no class {name!r} there; {near}there are {_list(known, 20)}")
        if target not in ours.classes:
            near = did_you_mean(target, ours.classes)
            raise InputError(f"{pair}: the run has no class {target!r}; {near}it has {_list(ours.classes, 20)}")
    if ours.values == "quantity" and len(known) == len(ours.classes) == 1:
        return TaskMap(ours, theirs, known, {known[0]: ours.classes[0]}, frozenset(stated))
    pairs = {name: stated.get(name, name) for name in known if name in stated or name in ours.classes}
    taken = list(pairs.values())
    if ours.values == "quantity" and len(set(taken)) < len(taken):
        raise InputError(f"classes of {ours.name}: several of theirs cannot be one quantity of ours; give one of them")
    return TaskMap(ours, theirs, known, pairs, frozenset(stated))


def _same_labels(tasks: Sequence[TaskMap]) -> None:
    """Tasks of ours that look at the same labels must say the same of them."""
    said: dict[tuple[str, str], tuple[str, tuple[str, ...], str]] = {}
    arrays: dict[str, TaskMap] = {}
    for one in tasks:
        first = arrays.setdefault(one.ours.array, one)
        if first.theirs.array != one.theirs.array:
            raise InputError(
                f"task {one.theirs.name}={one.ours.name}: {first.ours.name} has the same labels as {one.ours.name}, "
                f"and is {first.theirs.name!r} there; give both the same of theirs"
            )
        for name in one.ours.classes:
            mine = (one.theirs.array, one.sources(name), one.ours.name)
            other = said.setdefault((one.ours.array, name), mine)
            if other[:2] != mine[:2] and other[1] and mine[1]:
                raise InputError(
                    f"classes of {one.ours.name}: {name!r} is the label {name!r} of {other[2]} too; map both alike"
                )


def _advice(task: str, theirs: Sequence[str], ours: Sequence[str]) -> str:
    """A statement that may be meant, where names differ by case and signs alone."""
    plain = {_plain(name): name for name in ours}
    meant = [f"{task}.{name}={plain[_plain(name)]}" for name in theirs if _plain(name) in plain]
    found = [f"--class {shlex.quote(text)}" for text in meant]
    return f"; if it is meant, say {' '.join(found[:3])}" if found else ""


def suggestions(one: TaskMap) -> str:
    """What may be meant of the names that were left without a match; empty where nothing is near."""
    return _advice(one.ours.name, one.unknown, one.without)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _list(names: Iterable[str], most: int = 8) -> str:
    return listed(names, most) or "none"
