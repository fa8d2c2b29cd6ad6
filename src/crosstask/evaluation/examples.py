"""A few test cases with what a run made of them: what the report's pictures are drawn from."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crosstask.assembly import Assembly, Readable, Slices, assembly_of, lesion_of
from crosstask.devices import AUTO
from crosstask.files import write_atomically
from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXAMPLES, read_record
from crosstask.seals import seal
from crosstask.store import Store
from crosstask.store.statistics import labels_of

_FEWEST, _MOST = 2, 4


def choose_examples(store: Store, case_ids: Sequence[str], assembly: Assembly) -> list[str]:
    """Two to four of the cases, always the same: of different classes where there are any, well labelled ones first.

    The classes are those of the first classification, the more common ones first.

    Args:
        store: the prepared cases.
        case_ids: the cases to choose from.
        assembly: the experiment's tasks.
    """
    strata = dict.fromkeys(case_ids, "")
    for task in assembly.tasks:
        if task.level == "image" and task.values != "quantity":
            labels = labels_of(store, case_ids, task.array)
            strata = {case: _stratum(labels[case]) for case in case_ids}
            break
    counts = Counter(strata.values())
    order = {case: index for index, case in enumerate(case_ids)}
    best = sorted(case_ids, key=lambda case: (-_labelled(store.open(case), assembly), order[case]))
    firsts: dict[str, str] = {}
    for case in best:
        firsts.setdefault(strata[case], case)
    common = sorted(firsts, key=lambda label: (-counts[label], label))
    chosen = [firsts[label] for label in common[:_MOST]]
    chosen += [case for case in best if case not in chosen][: max(0, _FEWEST - len(chosen))]
    return sorted(chosen, key=order.__getitem__)


def _stratum(labels: Mapping[str, float]) -> str:
    return "+".join(sorted(name for name, value in labels.items() if value > 0)) if labels else "unknown"


def _labelled(case: Readable, assembly: Assembly) -> int:
    """Number of tasks that a case has a label of."""
    return sum(bool(set(task.classes) & set(case.channels.get(task.scored_array, ()))) for task in assembly.tasks)


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

    Of a volume it is one slice; where patches of lesions are learned from, the patch by which the case is judged. Of
    several windows it is the widest.

    Arrays are named ``<case>/image`` (``y x``, or ``3 y x`` in colour, in [-1, 1]), ``<case>/spacing``,
    ``<case>/<task>/target`` and so on; masks are probabilities.

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
        plane: Slices = () if len(case.geometry.shape) == 2 else (_fullest_slice(whole, case),)
        prediction = predictor.predict(case_id, case, case.geometry)
        image, spacing = whole.image(case, plane), case.geometry.spacing[-2:]
        if sample.kind == "lesion":
            lesion = lesion_of(case_id, case, case.geometry, whole.image_array, sample.lesion)
            image, spacing = whole.windowed(lesion.middle_patch(sample.lesion)), (sample.lesion.spacing,) * 2
        arrays[f"{case_id}/image"] = _shown(whole, image)
        arrays[f"{case_id}/spacing"] = np.array(spacing)
        for task in predictor.tasks:
            if tasks is not None and task.name not in tasks:
                continue
            target, present = scored.target(task, case, plane)
            values = prediction.values[task.name]
            if task.level == "pixel":
                part = (slice(None), *plane)
                values = values[part]
            else:
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


def _fullest_slice(assembly: Assembly, case: Readable) -> int:
    """The slice where the experiment's masks, or else its other targets, are fullest; without any the middle one."""
    depth = case.shape(assembly.image_array)[1]
    tasks = [task for task in assembly.tasks if task.level == "pixel" and case.channels.get(task.array)]
    tasks = [task for task in tasks if task.foreground] or tasks
    share = np.zeros(depth)
    for source in dict.fromkeys(task.array for task in tasks):
        part = (case.read(source) > 0).mean(axis=(2, 3))
        share += (part / np.maximum(part.max(axis=1, keepdims=True), 1e-9)).sum(0)
    return int(share.argmax()) if share.any() else depth // 2
