"""A trained run in Python: its network, its tasks, and predictions of plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from crosstask.datasets.base import CaseData
from crosstask.devices import AUTO
from crosstask.errors import InputError
from crosstask.evaluation.kept import history_of
from crosstask.experiment import Experiment
from crosstask.geometry import Geometry
from crosstask.prediction.ensemble import Ensemble
from crosstask.prediction.predictor import Predictor
from crosstask.runs import is_packed, trained_record, unpacked
from crosstask.tasks.base import Task
from crosstask.tasks.segmentation import SegmentationTask

_NAME = "array"


@dataclass(frozen=True)
class ArrayPrediction:
    """What a run makes of an image or a volume.

    Attributes:
        values: ``{task: array}``, float32: at pixel level ``c *s`` on the image's own grid, at image level ``c``;
            probabilities, or quantities in their unit.
        tasks: the tasks, by name.
    """

    values: Mapping[str, np.ndarray]
    tasks: Mapping[str, Task]

    def __getitem__(self, task: str) -> np.ndarray:
        return self.values[task]

    def masks(self, task: str) -> dict[str, np.ndarray]:
        """``{structure: mask *s}`` (bool) of a segmentation, decided as for the scores.

        Raises:
            InputError: the task is no segmentation.
        """
        found = self.tasks.get(task)
        if not isinstance(found, SegmentationTask):
            raise InputError(f"{task!r} is no segmentation of this run; its tasks are {', '.join(self.tasks)}")
        decided = found.to_masks(self.values[task]).astype(bool)
        return dict(zip(found.classes, decided, strict=True))

    @cached_property
    def labels(self) -> pd.DataFrame:
        """Image-level predictions, one row a task and class with its value, what it amounts to, and its unit."""
        rows = []
        for name, task in self.tasks.items():
            if task.level == "image":
                decisions = task.decide(self.values[name])
                rows += [
                    (name, label, float(value), float(decision), task.unit)
                    for label, value, decision in zip(task.classes, self.values[name], decisions, strict=True)
                ]
        return pd.DataFrame(rows, columns=["task", "class", "prediction", "decision", "unit"])

    def _repr_html_(self) -> str:
        kinds = [(name, task.kind, str(self.values[name].shape), task.unit) for name, task in self.tasks.items()]
        arrays = pd.DataFrame(kinds, columns=["task", "kind", "shape", "unit"])
        html: str = arrays.to_html(index=False)
        return html + (self.labels.to_html(index=False) if len(self.labels) else "")


class TrainedRun:
    """A trained run, or a packed model, loaded without its data.

    A packed model of several seeds predicts the mean of all of them.

    Args:
        folder: the run folder, or that of a packed model.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: ``auto``, ``cpu``, ``cuda``, ...; see :func:`crosstask.devices.find_device`.

    Attributes:
        folder: the run folder.
        record: what ``run.json`` says.

    Raises:
        InputError: the folder is no complete run, or a file of it is damaged.
    """

    def __init__(self, folder: str | Path, *, weights: str | None = None, device: str = AUTO) -> None:
        self.folder = Path(folder)
        runs = unpacked(self.folder) if is_packed(self.folder) else self.folder
        self._predictor: Predictor | Ensemble
        if isinstance(runs, Path):
            self._run = runs
            self._predictor = Predictor(runs, weights=weights, device=device, alone=True)
        else:
            self._run = runs[0]
            self._predictor = Ensemble(runs, weights=weights, device=device, alone=True, least=1)
        self.record = trained_record(self._run)

    @property
    def name(self) -> str:
        """``METHOD/seedN``, with the task of a single-task run; of several seeds the method with all of them."""
        return self._predictor.name if isinstance(self._predictor, Ensemble) else self._predictor.spec.name

    @property
    def experiment(self) -> Experiment:
        """The experiment that it is of."""
        return self._predictor.spec.experiment

    @property
    def network(self) -> nn.Module:
        """Image ``b c *s``, windowed and resized to ``sample.size``, to raw outputs by task; in evaluation mode."""
        if isinstance(self._predictor, Ensemble):
            raise InputError(f"{self.folder}: has several networks; load_run of a folder below models gives each")
        network = self._predictor.network
        assert isinstance(network, nn.Module)
        return network

    @property
    def tasks(self) -> dict[str, Task]:
        """The tasks that it predicts, by name."""
        return {task.name: task for task in self._predictor.tasks}

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch, with losses, weights, skills and score; empty where it is lost, or did not go along."""
        found = history_of(self._run)
        return pd.DataFrame() if found is None else found

    def predict(
        self,
        image: np.ndarray,
        *,
        spacing: float | Sequence[float] = 1.0,
        structures: Mapping[str, np.ndarray] | None = None,
        lesion: np.ndarray | None = None,
    ) -> ArrayPrediction:
        """Predict an image or a volume, in the values that the run learned from (CT numbers, grey values, ...).

        Args:
            image: ``*s``, or ``c *s`` where it has channels: ``y x`` or ``3 y x`` (also ``y x 3``) of an image, ``z y
                x`` of a volume.
            spacing: of its voxels in mm, along each axis or the same along all; it matters to patches of lesions.
            structures: ``{name: mask *s}``, where the run takes structures as input, or beams aimed at them; those
                that are not given are taken for not drawn.
            lesion: mask ``*s`` of the lesion, where the run looks at patches of one.

        Raises:
            InputError: the array does not fit the run, or holds what is no number.
        """
        assembly, sample = self._predictor.assembly, self.experiment.sample
        values = _channels_first(np.asarray(image), assembly.image_channels, sample.case_dims)
        shape = values.shape[1:]
        steps = (float(spacing),) * len(shape) if np.isscalar(spacing) else tuple(spacing)  # type: ignore[arg-type]
        try:
            geometry = Geometry(shape, steps)
        except ValueError as error:
            raise InputError(f"spacing: {error}") from None
        arrays = {assembly.image_array: values}
        channels = {assembly.image_array: tuple(map(str, range(len(values))))}
        if structures is not None:
            source = assembly.structure_array or (None if assembly.beams is None else assembly.beams.array)
            if source is None:
                raise InputError(f"structures: {self.name} does not take them as input; leave them out")
            arrays[source] = _masks(structures, shape, "structures")
            channels[source] = tuple(structures)
        if lesion is not None:
            arrays[sample.lesion.outline] = _masks({"lesion": lesion}, shape, "lesion")
            channels[sample.lesion.outline] = ("lesion",)
        prediction = self._predictor.predict(_NAME, CaseData(arrays, channels, geometry), geometry)
        return ArrayPrediction(prediction.values, self.tasks)

    def __repr__(self) -> str:
        return f"<run {self.name}: {', '.join(self.tasks)}; {self.folder}>"


def _channels_first(image: np.ndarray, channels: int, dims: int) -> np.ndarray:
    """``c *s`` of an array that may have its channels last, or none where there is one."""
    if channels == 1 and image.ndim == dims:
        found = image[None]
    elif image.ndim == dims + 1 and len(image) == channels:
        found = image
    elif image.ndim == dims + 1 and dims == 2 and image.shape[-1] == channels:
        found = np.moveaxis(image, -1, 0)
    else:
        form = {2: "y x", 3: "z y x"}[dims]
        wanted = form if channels == 1 else f"{channels} {form}"
        raise InputError(f"image: shape {image.shape} does not fit; this run takes {wanted}")
    if not np.issubdtype(found.dtype, np.number) or not np.isfinite(found).all():
        raise InputError("image: holds NaN, infinite or other values that are no numbers; replace them first")
    return found


def _masks(given: Mapping[str, np.ndarray], shape: Sequence[int], key: str) -> np.ndarray:
    for name, mask in given.items():
        if np.shape(mask) != tuple(shape):
            raise InputError(
                f"{key}: {name!r} has shape {np.shape(mask)} and the image {tuple(shape)}; make them alike"
            )
    return np.stack([np.asarray(mask) > 0 for mask in given.values()]).astype(np.uint8)
