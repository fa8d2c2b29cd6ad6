"""What the cases of a benchmark are, for its report: splits, classes, missing labels, sizes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstask.datasets.base import Split
from crosstask.store import Store
from crosstask.store.statistics import labels_of
from crosstask.tasks.base import Task


def describe_data(
    store: Store, splits: Mapping[Split, Sequence[str]], tasks: Sequence[Task], image_array: str
) -> dict[str, Any]:
    """Plain values, for JSON.

    Args:
        store: the prepared cases.
        splits: case ids of each split.
        tasks: the experiment's.
        image_array: name of the images among the arrays.

    Returns:
        ``splits``: per split ``cases`` and ``groups``; ``tasks``: per task ``name``, ``labelled`` (cases of each split
        with a label) and ``classes`` (per class the positive cases of each split, of image-level tasks); ``image``:
        sizes and spacings in words.
    """
    groups = {case.id: case.group for case in store.cases}
    pixel = [task for task in tasks if task.level == "pixel"]
    counts = {task.name: dict.fromkeys(splits, 0) for task in pixel}
    shapes: list[tuple[int, ...]] = []
    spacings: list[tuple[float, ...]] = []
    for name, ids in splits.items():
        for case_id in ids:
            case = store.open(case_id)
            shapes.append(tuple(case.shape(image_array)[1:]))
            spacings.append(tuple(case.geometry.spacing))
            for task in pixel:
                counts[task.name][name] += bool(set(task.classes) & set(case.channels.get(task.scored_array, ())))
    return {
        "splits": {
            name: {"cases": len(ids), "groups": len({groups[case] for case in ids})} for name, ids in splits.items()
        },
        "tasks": [
            *({"name": task.name, "labelled": counts[task.name], "classes": []} for task in pixel),
            *(_of_image_level(store, splits, task) for task in tasks if task.level == "image"),
        ],
        "image": _sizes(shapes, spacings),
    }


def _of_image_level(store: Store, splits: Mapping[Split, Sequence[str]], task: Task) -> dict[str, Any]:
    labelled: dict[str, int] = {}
    positive: dict[str, dict[str, int]] = {name: {} for name in task.classes} if task.values != "quantity" else {}
    for split, ids in splits.items():
        labels = labels_of(store, ids, task.scored_array)
        known = [own for own in labels.values() if set(own) & set(task.classes)]
        labelled[split] = len(known)
        for name, counts in positive.items():
            counts[split] = sum(own.get(name, 0) > 0 for own in known)
    classes = [{"name": name, "positive": counts} for name, counts in positive.items()]
    return {"name": task.name, "labelled": labelled, "classes": classes}


def _sizes(shapes: Sequence[tuple[int, ...]], spacings: Sequence[tuple[float, ...]]) -> str:
    if not shapes:
        return ""
    size = " x ".join(_range([shape[axis] for shape in shapes], "d") for axis in range(len(shapes[0])))
    known = [spacing for spacing in spacings if any(value != 1 for value in spacing)]
    if not known:
        return f"Prepared images: {size} pixels."
    spacing = " x ".join(_range([one[axis] for one in known], ".3g") for axis in range(len(known[0])))
    return f"Prepared images: {size} voxels of {spacing} mm."


def _range(values: Sequence[float], form: str) -> str:
    low, high = min(values), max(values)
    return f"{low:{form}}" if low == high else f"{low:{form}} to {high:{form}}"
