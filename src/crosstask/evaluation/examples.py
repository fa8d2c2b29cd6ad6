"""A few test cases with what a run made of them: what the report's pictures are drawn from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crosstask.assembly import Assembly, Readable, Slices, assembly_of, lesion_of
from crosstask.devices import AUTO
from crosstask.evaluation.kept import has_examples
from crosstask.files import write_atomically
from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXAMPLES, read_record
from crosstask.seals import seal
from crosstask.store import Store
from crosstask.tasks.base import Task

MOST_SLICES = 16
"""Of a volume, evenly between the first and the last that show something."""


def keep_examples(folder: Path, store: Store, case_ids: Sequence[str], *, into: Path | None = None, **how: Any) -> None:
    """Make sure that a run has examples of these cases and no others; those that are there stay.

    Args:
        folder: the run folder.
        store: the prepared cases.
        case_ids: which.
        into: the folder that has them; by default that of the run.
        how: as of :func:`save_examples`.
    """
    if not has_examples(into or folder, case_ids):
        save_examples(folder, store, case_ids, into=into, **how)


def save_examples(
    folder: Path,
    store: Store,
    case_ids: Sequence[str],
    *,
    device: str = AUTO,
    weights: str | None = None,
    into: Path | None = None,
    tasks: Sequence[str] | None = None,
) -> None:
    """Write of each case image, target, presence, prediction and decision, the same image for all runs.

    Of a volume these are at most :data:`MOST_SLICES` slices; where patches of lesions are learned from, the patch by
    which the case is judged. Of several windows it is the widest.

    Arrays are named ``<case>/image`` (``s y x``, or ``s 3 y x`` in colour, in [-1, 1]), ``<case>/spacing``,
    ``<case>/slices`` (their numbers), ``<case>/fullest`` (which of them shows most), ``<case>/<task>/target`` (of pixel
    tasks ``c s y x``) and so on; masks are probabilities.

    Args:
        folder: the run folder.
        store: the prepared cases.
        case_ids: which.
        device: of the network.
        weights: which; by default those by which the run is judged.
        into: the folder to write to; by default that of the run.
        tasks: which of the run's; by default all.
    """
    predictor = Predictor(
        folder, weights=weights, device=device, alone=into is not None and "assembly" in read_record(folder)
    )
    whole = assembly_of(predictor.experiment, predictor.dataset) if into is None else predictor.assembly
    into = into or folder
    scored, sample = predictor.assembly.for_scoring(), predictor.experiment.sample
    arrays: dict[str, np.ndarray] = {"cases": np.array(list(case_ids))}
    for case_id in case_ids:
        case = store.open(case_id)
        flat = len(case.geometry.shape) == 2
        fullest, slices = (0, [0]) if flat else _slices_to_show(whole, case)
        planes: list[Slices] = [()] if flat else [(number,) for number in slices]
        prediction = predictor.predict(case_id, case, case.geometry)
        shown, spacing = [_shown(whole, whole.seen(case, plane)) for plane in planes], case.geometry.spacing[-2:]
        if sample.kind == "lesion":
            lesion = lesion_of(case_id, case, case.geometry, whole.image_array, sample.lesion)
            patch = whole.windowed(lesion.middle_patch(sample.lesion))
            shown, spacing = [_shown(whole, patch)], (sample.lesion.spacing,) * 2
            fullest, slices = 0, [0]
        arrays[f"{case_id}/image"] = np.stack(shown).astype(np.float16)
        arrays[f"{case_id}/spacing"] = np.array(spacing)
        arrays[f"{case_id}/slices"] = np.array(slices)
        arrays[f"{case_id}/fullest"] = np.array(slices.index(fullest))
        for task in predictor.tasks:
            if tasks is not None and task.name not in tasks:
                continue
            values = prediction.values[task.name]
            if task.level == "pixel":
                target, present = _stacked(scored, task, case, planes)
                values = values[:, None] if flat else values[:, slices]
                target, values = target.astype(np.float16), values.astype(np.float16)
            else:
                target, present = scored.target(task, case, planes[0])
                arrays[f"{case_id}/{task.name}/decision"] = task.decide(values)
            arrays[f"{case_id}/{task.name}/target"] = target
            arrays[f"{case_id}/{task.name}/present"] = present
            arrays[f"{case_id}/{task.name}/prediction"] = values
            arrays[f"{case_id}/{task.name}/classes"] = np.array(task.classes)
            arrays[f"{case_id}/{task.name}/values"] = np.array(task.values)
            arrays[f"{case_id}/{task.name}/picture"] = np.array([task.picture, task.unit])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(into / EXAMPLES, buffer.getvalue())
    seal(into, EXAMPLES)


def _shown(assembly: Assembly, image: np.ndarray) -> np.ndarray:
    """``y x``, or ``3 y x`` in colour, of the network's input, in the widest window."""
    widths = [high - low for low, high in assembly.windows]
    channels = assembly.image_channels
    shown = image[channels * int(np.argmax(widths)) :][:channels]
    return shown if channels == 3 else shown[0]


def _stacked(scored: Assembly, task: Task, case: Readable, planes: Sequence[Slices]) -> tuple[np.ndarray, np.ndarray]:
    """Target of a pixel task on some planes, ``c s y x``, and which channels are known."""
    parts = [scored.target(task, case, plane) for plane in planes]
    return np.stack([target for target, _ in parts], axis=1), parts[0][1]


def _slices_to_show(assembly: Assembly, case: Readable) -> tuple[int, list[int]]:
    """The slice where the experiment's masks, or else its other targets, are fullest, and slices around it.

    Without any targets all slices count, and the middle one is the fullest.
    """
    depth = case.shape(assembly.image_array)[1]
    tasks = [task for task in assembly.tasks if task.level == "pixel" and case.channels.get(task.array)]
    tasks = [task for task in tasks if task.foreground] or tasks
    share = np.zeros(depth)
    for source in dict.fromkeys(task.array for task in tasks):
        learned = {name for task in tasks if task.array == source for name in task.classes}
        channels = [place for place, name in enumerate(case.channels[source]) if name in learned]
        if not channels:
            continue
        part = (case.read(source, channels) > 0).mean(axis=(2, 3))
        share += (part / np.maximum(part.max(axis=1, keepdims=True), 1e-9)).sum(0)
    fullest = int(share.argmax()) if share.any() else depth // 2
    inside = np.flatnonzero(share) if share.any() else np.arange(depth)
    evenly = np.linspace(inside[0], inside[-1], min(MOST_SLICES, inside[-1] - inside[0] + 1)).round().astype(int)
    chosen = sorted({int(number) for number in evenly})
    if fullest not in chosen:
        chosen[int(np.abs(np.array(chosen) - fullest).argmin())] = fullest
    return fullest, chosen
