"""One slice of a few cases with what a run made of it: what the report's pictures are drawn from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXAMPLES, write_atomically
from crosstask.store import Store


def save_examples(folder: Path, store: Store, case_ids: Sequence[str], *, device: str = "cpu") -> None:
    """Write the slice of each case that holds most of the run's targets: image, target, presence and prediction.

    Arrays are named ``<case>/image``, ``<case>/spacing``, ``<case>/<task>/target`` and so on; masks are probabilities.
    """
    predictor = Predictor(folder, device=device)
    arrays: dict[str, np.ndarray] = {"cases": np.array(list(case_ids))}
    for case_id in case_ids:
        case = store.open(case_id)
        z = _fullest_slice(predictor, store, case_id)
        prediction = predictor.predict(case_id, case, case.geometry)
        arrays[f"{case_id}/image"] = predictor.assembly.image(case, (z,))[0]
        arrays[f"{case_id}/spacing"] = np.array(case.geometry.spacing[1:])
        for task in predictor.tasks:
            target, present = predictor.assembly.target(task, case, (z,))
            arrays[f"{case_id}/{task.name}/target"] = target
            arrays[f"{case_id}/{task.name}/present"] = present
            arrays[f"{case_id}/{task.name}/prediction"] = prediction.values[task.name][:, z]
            arrays[f"{case_id}/{task.name}/classes"] = np.array(task.classes)
            arrays[f"{case_id}/{task.name}/picture"] = np.array([task.picture, task.unit])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / EXAMPLES, buffer.getvalue())


def _fullest_slice(predictor: Predictor, store: Store, case_id: str) -> int:
    """The same slice for every method: by all the experiment's masks where there are any, else by the targets."""
    case = store.open(case_id)
    sources = [predictor.dataset.structure_source, *(task.source for task in predictor.tasks)]
    source = next(name for name in sources if name is not None and case.channels.get(name))
    share = (case.read(source) > 0).mean(axis=(2, 3))
    return int((share / np.maximum(share.max(axis=1, keepdims=True), 1e-9)).sum(0).argmax())
