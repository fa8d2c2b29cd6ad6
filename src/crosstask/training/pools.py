"""Which samples hold what, for an order that is not left to chance."""

from __future__ import annotations

from collections.abc import Sequence

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.store import Store
from crosstask.store.statistics import labels_of, slices_with
from crosstask.tasks.base import Task
from crosstask.training.samples import CaseSamples, SliceSamples

_CLASSIFICATIONS = ("softmax", "sigmoid")


def balanced_task(whole: Assembly, name: str) -> Task:
    """The task of ``training.balance``, also one that the run does not learn: all methods see the same samples.

    Raises:
        InputError: the experiment has no such task, or it is no classification of whole images.
    """
    fitting = {task.name: task for task in whole.tasks if task.level == "image" and task.values in _CLASSIFICATIONS}
    if name not in fitting:
        known = any(task.name == name for task in whole.tasks)
        fault = "is no classification of whole images" if known else "is no task of the experiment"
        remedy = f"name one of {', '.join(map(repr, fitting))}" if fitting else "there is none to name; leave it out"
        raise InputError(f"training.balance: {name!r} {fault}; {remedy}")
    return fitting[name]


def class_pools(samples: CaseSamples, store: Store, task: Task) -> list[list[int]]:
    """Samples of each class of an image-level classification.

    Classes that exclude each other give one pool each, of cases where every class is labelled; others give two each,
    the positive and the negative. Samples whose labels are missing are in no pool.
    """
    labels = labels_of(store, samples.cases, task.array)
    if task.values == "softmax":
        pools: list[list[int]] = [[] for _ in task.classes]
        for index, case in enumerate(samples.cases):
            if all(name in labels[case] for name in task.classes):
                for pool, name in zip(pools, task.classes, strict=True):
                    if labels[case][name] > 0.5:
                        pool.append(index)
        return pools
    pools = []
    for name in task.classes:
        for side in (True, False):
            known = ((index, labels[case]) for index, case in enumerate(samples.cases) if name in labels[case])
            pools.append([index for index, values in known if (values[name] > 0.5) == side])
    return pools


def labelled_pools(samples: CaseSamples, store: Store, tasks: Sequence[Task]) -> list[list[int]]:
    """Samples whose cases carry a label of each task: any class of it, or all where the classes exclude each other."""
    pools = []
    for task in tasks:
        ids = list(dict.fromkeys(samples.cases))
        channels = zip(ids, store.channels(ids, task.array), strict=True)
        carries = {case: task.is_labelled(there) for case, there in channels}
        pools.append([index for index, case in enumerate(samples.cases) if carries[case]])
    return pools


def foreground_pools(samples: CaseSamples, store: Store, classes: Sequence[tuple[str, str]]) -> list[list[int]]:
    """Samples, slices or whole cases, that hold a voxel of each class.

    Args:
        samples: the samples.
        store: the prepared cases.
        classes: (case array, channel name) of each class.
    """
    cases = list(dict.fromkeys(samples.cases))
    pools: list[list[int]] = []
    for source in dict.fromkeys(source for source, _ in classes):
        names = [name for other, name in classes if other == source]
        found = slices_with(store, cases, source, names)
        for name in names:
            if isinstance(samples, SliceSamples):
                pools.append([samples.index_of(case, z) for case in cases for z in found[case].get(name, ())])
            else:
                pools.append([index for index, case in enumerate(samples.cases) if found[case].get(name)])
    return pools
