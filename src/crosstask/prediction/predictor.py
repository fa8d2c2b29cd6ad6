"""Predictions of a trained run: pixel-level ones on the case's own grid, image-level ones for the whole case."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crosstask.assembly import Assembly, Readable, assembly_from, assembly_of, dataset_of, lesion_of
from crosstask.datasets import Dataset
from crosstask.decisions import is_chosen, settle
from crosstask.devices import AUTO, CPU, find_device
from crosstask.errors import InputError
from crosstask.experiment import EvaluationSection, Experiment
from crosstask.functional.resize import resize
from crosstask.functional.sides import other_sides
from crosstask.geometry import Geometry
from crosstask.network import build_architecture, precision_of
from crosstask.nn.weights_file import load_checked
from crosstask.prediction.cascade import EarlierPredictor
from crosstask.prediction.onnx import OnnxNetwork
from crosstask.prediction.ready import Ready
from crosstask.registry import ENCODERS
from crosstask.runs import (
    RECORD,
    THRESHOLDS,
    RunSpec,
    check_earlier,
    earlier_runs,
    learned_tasks,
    load_spec,
    read_record,
    read_thresholds,
    weights_path,
)
from crosstask.sample import AXES
from crosstask.tasks.base import Level, Task


@dataclass
class Prediction:
    """Decoded output of one case.

    Attributes:
        case: id of the case.
        values: ``{task: c *s}``, float32, in physical units (probabilities for classes), on the case's grid;
            ``{task: c}`` at image level.
        geometry: that grid.
        spread: of an ensemble, ``{task: standard deviation of the values over its seeds}``; empty of one run.
    """

    case: str
    values: dict[str, np.ndarray]
    geometry: Geometry
    spread: dict[str, np.ndarray] = field(default_factory=dict)


class Predictor:
    """A trained run, ready to predict.

    Args:
        folder: the run folder.
        weights: ``best`` (by validation), ``final`` (the last epoch) or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: of the network; see :func:`crosstask.devices.find_device`. ONNX Runtime computes on the CPU, which is
            its ``auto``.
        dataset: the data set, if not where the run was trained on it.
        alone: look at no data set at all: what it would say stands in the run's record. It predicts arrays, or with
            ``dataset`` its raw cases, whatever labels these have; scores need a data set.
        onnx: the run's network as :func:`crosstask.export.onnx.export_onnx` wrote it, to compute with in the place of
            its weights.
        evaluation: how predictions are pooled and decided; by default as the run's own settings have it.

    Attributes:
        weights: name of the weights.
        network: image ``b c *s``, windowed and resized, to raw outputs by task; what computes predictions is made of it
            (:class:`crosstask.prediction.ready.Ready`).

    Raises:
        InputError: the folder is no complete run, its weights are missing or do not fit, there is no such device, or
            the ONNX model is none of this run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        weights: str | None = None,
        device: str = AUTO,
        dataset: Dataset | None = None,
        onnx: Path | None = None,
        evaluation: EvaluationSection | None = None,
        alone: bool = False,
    ) -> None:
        self.spec: RunSpec = load_spec(folder)
        record = read_record(folder)
        if not record.get("trained"):
            raise InputError(f"{folder}: the run is not complete; train it to its end first")
        experiment = self.spec.experiment
        if evaluation is not None:
            experiment = experiment.model_copy(update={"evaluation": evaluation})
        self.weights: str = weights or experiment.judged_weights
        path = weights_path(folder, self.weights)
        self.assembly: Assembly
        if alone:
            self.assembly = recorded_assembly(folder, record, experiment.evaluation)
            if dataset is not None:
                self.dataset = dataset
        else:
            self.dataset = dataset or dataset_of(experiment)
            self.assembly = assembly_of(experiment, self.dataset).only(learned_tasks(record))
        load_states(self.assembly, folder, record)
        thresholds = self._thresholds(folder, experiment.mirrored)
        for task in self.assembly.tasks:
            if task.name in thresholds and is_chosen(task, experiment.evaluation):
                if len(thresholds[task.name]) != len(task.classes):
                    raise InputError(
                        f"{folder / THRESHOLDS}: does not have one threshold a class of {task.name!r}; remove it, and "
                        "evaluate chooses the thresholds again"
                    )
                task.thresholds = thresholds[task.name]
        self.experiment: Experiment = experiment
        self.device = find_device(CPU if onnx is not None and device == AUTO else device)
        self._earlier = self._before(folder, record)
        self.network: nn.Module | OnnxNetwork
        self._ready = Ready(ENCODERS[experiment.encoder.name].smallest)
        if onnx is None:
            self.network = self._trained(path)
        else:
            self.network = OnnxNetwork(onnx)
            size = (self.assembly.in_channels, *experiment.sample.size)
            self.network.check([task.name for task in self.tasks], size, self.spec.name, self.weights)

    dataset: Dataset
    """Absent of one that predicts arrays alone."""

    def _before(self, folder: Path, record: Mapping[str, Any]) -> EarlierPredictor | None:
        """What predicts the input that a run takes from an earlier one."""
        if self.assembly.earlier is None:
            return None
        runs = earlier_runs(self.spec.experiment, folder)
        assert runs is not None
        check_earlier(folder, record, runs.key)
        return EarlierPredictor(runs, lambda run: Predictor(run, device=self.device.type, alone=True))

    def _thresholds(self, folder: Path, mirrored: Sequence[str]) -> dict[str, list[float]]:
        """Those of the same test-time augmentation; before these are chosen, those without any."""
        return read_thresholds(folder, self.weights, mirrored) or read_thresholds(folder, self.weights)

    def _trained(self, path: Path) -> nn.Module:
        """The run's network with the weights of a file."""
        network = build_architecture(self.spec, self.assembly, pretrained=False)
        remedy = f"remove {path.parent} and train the run anew"
        try:
            network.load_state_dict(load_checked(path))
        except FileNotFoundError:
            raise InputError(f"{path}: is missing; {remedy}") from None
        except ValueError as error:
            raise InputError(f"{path}: is damaged ({error}); copy it again, or {remedy}") from None
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
            raise InputError(f"{path}: does not hold this network's weights ({line}); {remedy}") from None
        return network.to(self.device).eval()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the run predicts."""
        return self.assembly.tasks

    @torch.inference_mode()
    def predict(self, case_id: str, case: Readable, geometry: Geometry) -> Prediction:
        """Predict one case.

        Args:
            case_id: its id.
            case: its arrays, raw or prepared.
            geometry: its grid.

        Raises:
            InputError: patches of a lesion are asked for, and the case has no outline of one; or what is predicted is
                no number, which is never scored or written as if it were one.
        """
        if self._earlier is not None:
            case = self._earlier.completed(case_id, case, geometry, self.experiment.store_folder)
        kind = self.experiment.sample.kind
        if kind == "slice":
            values = self._by_slice(case, geometry)
        elif kind == "patch":
            values = self._by_patch(case)
        elif kind == "lesion":
            values = self._of_lesion(case_id, case, geometry)
        else:
            values = self._whole(case, geometry)
        for name, predicted in values.items():
            if not np.isfinite(predicted).all():
                raise InputError(f"case {case_id}: the prediction of {name!r} is no number, {self._reason(case)}")
        return Prediction(case_id, values, geometry)

    def _reason(self, case: Readable) -> str:
        """Why a prediction is NaN or infinite, and what to do."""
        if not np.isfinite(case.read(self.assembly.image_array).astype(np.float64)).all():
            return "since its image holds NaN or infinite values; run crosstask prepare again, or leave the case out"
        return "though its image is sound; take the run's other --weights, or train it with a lower learning rate"

    def _at(self, level: Level) -> list[Task]:
        return [task for task in self.assembly.tasks if task.level == level]

    def _whole(self, case: Readable, geometry: Geometry) -> dict[str, np.ndarray]:
        image = torch.from_numpy(self.assembly.image(case))[None]
        decoded = self.decoded(resize(image, self.experiment.sample.size).to(self.device))
        values = {task.name: resize(decoded[task.name], geometry.shape) for task in self._at("pixel")}
        values |= {task.name: decoded[task.name] for task in self._at("image")}
        return {task.name: values[task.name][0].cpu().numpy() for task in self.assembly.tasks}

    def _of_lesion(self, case_id: str, case: Readable, geometry: Geometry) -> dict[str, np.ndarray]:
        """From the one axial patch about the lesion's middle."""
        sample = self.experiment.sample
        lesion = lesion_of(case_id, case, geometry, self.assembly.image_array, sample.lesion)
        image = torch.from_numpy(self.assembly.windowed(lesion.middle_patch(sample.lesion)))[None]
        decoded = self.decoded(resize(image, sample.size).to(self.device))
        return {task.name: decoded[task.name][0].float().cpu().numpy() for task in self._at("image")}

    def _pooled(self, parts: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
        """Image-level predictions of the case from those of its slices or patches.

        The largest of several quantities says nothing of the case: where ``max`` is asked for, they are averaged.
        """
        values = {}
        for task in self._at("image"):
            each = torch.cat([part[task.name] for part in parts]).float()
            pooling = self.experiment.evaluation.pooling
            if pooling == "max" and task.values != "quantity":
                pooled = each.amax(0)
            elif pooling == "median":
                pooled = each.quantile(0.5, dim=0)
            else:
                pooled = each.mean(0)
            if task.values == "softmax":
                pooled = pooled / pooled.sum()  # median and max of shares do not add up to one
            values[task.name] = pooled.cpu().numpy()
        return values

    def decoded(self, image: Tensor) -> dict[str, Tensor]:
        """Decoded output of samples ``b c *s``, windowed and resized: the mean over all ways to mirror them.

        Each is mirrored back; where training exchanged sides along x, so are those of inputs and predictions. Without
        test-time augmentation there is one way, which is none.
        """
        ways = [way for count in range(len(self._axes) + 1) for way in itertools.combinations(self._axes, count)]
        total: dict[str, Tensor] = {}
        for way in ways:
            decoded = self._decoded(self._forward(self._mirrored_input(image, way)))
            for name, values in self._upright(decoded, way).items():
                total[name] = total[name] + values if name in total else values
        return {name: values / len(ways) for name, values in total.items()} if len(ways) > 1 else total

    def _exchanges(self, way: tuple[int, ...]) -> bool:
        """Whether left and right change places in an image that is mirrored along some axes."""
        augmentation = self.experiment.training.augmentation
        return augmentation is not None and augmentation.exchange_sides and AXES["x"] in way

    def _mirrored_input(self, image: Tensor, way: tuple[int, ...]) -> Tensor:
        if not way:
            return image
        return (image[:, self.assembly.other_sides()] if self._exchanges(way) else image).flip(way)

    def _upright(self, decoded: dict[str, Tensor], way: tuple[int, ...]) -> dict[str, Tensor]:
        """Predictions of a mirrored image, mirrored back."""
        if not way:
            return decoded
        upright = {}
        for task in self.assembly.tasks:
            values = decoded[task.name].flip(way) if task.level == "pixel" else decoded[task.name]
            upright[task.name] = values[:, other_sides(task.classes)] if self._exchanges(way) else values
        return upright

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(AXES[axis] for axis in self.experiment.mirrored)

    def _decoded(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {task.name: task.decode(outputs[task.name]) for task in self.assembly.tasks}

    def _by_slice(self, case: Readable, geometry: Geometry) -> dict[str, np.ndarray]:
        depth, *plane = geometry.shape
        step = self.experiment.evaluation.batch_size
        values = {
            task.name: np.empty((len(task.classes), *geometry.shape), dtype=np.float32) for task in self._at("pixel")
        }
        parts = []
        for start in range(0, depth, step):
            part = slice(start, min(start + step, depth))
            image = torch.from_numpy(self.assembly.image(case, (part,))).transpose(0, 1)
            decoded = self.decoded(resize(image, self.experiment.sample.size).to(self.device))
            parts.append({task.name: decoded[task.name] for task in self._at("image")})
            for name, whole in values.items():
                whole[:, part] = resize(decoded[name], plane).transpose(0, 1).cpu().numpy()
        return values | self._pooled(parts)

    def _by_patch(self, case: Readable) -> dict[str, np.ndarray]:
        # MONAI costs seconds to import
        from monai.inferers import sliding_window_inference

        whole = self.assembly.image(case)
        inside = tuple(slice(0, length) for length in whole.shape[1:])
        image = torch.from_numpy(self.assembly.padded(whole, self.experiment.sample.size))[None].to(self.device)
        parts: list[dict[str, Tensor]] = []

        def predict(patch: Tensor) -> dict[str, Tensor]:
            decoded = self.decoded(patch)
            parts.append({task.name: decoded.pop(task.name) for task in self._at("image")})
            return decoded or {"": patch[:, :1]}  # something must be stitched

        decoded: Any = sliding_window_inference(
            image,
            self.experiment.sample.size,
            self.experiment.evaluation.batch_size,
            predict,
            overlap=self.experiment.evaluation.overlap,
            mode="gaussian",
        )
        selection = (slice(None), *inside)
        values = {task.name: decoded[task.name][0].cpu().numpy()[selection] for task in self._at("pixel")}
        return values | self._pooled(parts)

    def _forward(self, image: Tensor) -> dict[str, Tensor]:
        precision = precision_of(self.experiment, self.device)
        mixed = precision != "32" and not (precision == "16-mixed" and self.device.type == "cpu")
        kind = torch.float16 if precision == "16-mixed" else torch.bfloat16
        with torch.autocast(self.device.type, dtype=kind, enabled=mixed):
            return self.network(image) if isinstance(self.network, OnnxNetwork) else self._ready(self.network, image)


def load_states(assembly: Assembly, folder: Path, record: Mapping[str, Any]) -> None:
    """Let the tasks know what they learned from the run's training cases.

    Raises:
        InputError: the record is damaged.
    """
    for task in assembly.tasks:
        try:
            task.load_state(record["task_state"][task.name])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{folder / RECORD}: is damaged; remove the folder and train the run anew") from None


def recorded_assembly(folder: Path, record: Mapping[str, Any], evaluation: EvaluationSection) -> Assembly:
    """How a run looks at a case, by its record, and how the section says that it decides.

    Raises:
        InputError: the record is damaged, or from before it said so.
    """
    if "assembly" not in record:
        raise InputError(
            f"{folder / RECORD}: is of an earlier version and does not say how the run looks at a case; predict with "
            "crosstask predict, or train the run anew"
        )
    try:
        assembly = assembly_from(record["assembly"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / RECORD}: is damaged; remove the folder and train the run anew") from None
    settle(assembly.tasks, evaluation)
    return assembly
