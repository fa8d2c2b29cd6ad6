"""An architecture, a weighting and a data set for Crosstask: what importing this module registers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import crosstask as ct
from crosstask.nn.parts import Parts
from crosstask.weighting.scalar import EpochWeighting


@ct.register
class Gated(ct.Architecture):
    """Hard parameter sharing in which each task opens or closes the channels of every feature by gates of its own.

    Args:
        tasks: ``{name: Head}``.
        parts: makes its encoder.
        opening: of the gates at the start, before the sigmoid.
    """

    name = "gated"
    label = "Gated"
    task_modules = ("gates", "decoders")

    def __init__(self, tasks: Mapping[str, ct.Head], parts: Parts, *, opening: float = 2.0) -> None:
        super().__init__(tasks, parts)
        self.backbone = parts.encoder()
        shapes = [(width, *(1,) * parts.spatial_dims) for width in self.backbone.channels]
        self.gates = nn.ModuleDict(
            {task: nn.ParameterList(torch.full(shape, opening) for shape in shapes) for task in tasks}
        )
        self.add_decoders(self.backbone.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.backbone(image)
        outputs = {}
        for task, gates in self.gates.items():
            own = [feature * gate.sigmoid() for feature, gate in zip(features, gates, strict=True)]
            outputs[task] = self.decode(task, own, image)
        return outputs

    def readings(self) -> list[ct.Reading]:
        rows = {
            task: {f"feature {place}": gate.sigmoid().mean().item() for place, gate in enumerate(gates)}
            for task, gates in self.gates.items()
        }
        return [ct.Reading("Gates of the channels", "How far they are open, mean over the channels.", rows)]


@ct.register
class Inverse(EpochWeighting):
    """Each loss by the inverse of its mean in the epoch before, so that all weigh about the same.

    Args:
        tasks: names of the tasks.
        power: 1 for the inverse, 0 for equal weights.
    """

    name = "inverse"

    def __init__(self, tasks: Sequence[str], *, power: float = 1.0) -> None:
        super().__init__(tasks)
        self.power = power
        self._last = dict.fromkeys(self.tasks, 1.0)

    def weights(self) -> dict[str, float]:
        return {task: loss**-self.power for task, loss in self._last.items()}

    def end_epoch(self, losses: Mapping[str, float]) -> None:
        self._last |= {task: loss for task, loss in losses.items() if loss > 0}  # one without labels is NaN

    def state_dict(self) -> dict[str, Any]:
        return {"last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last = dict(state["last"])


@ct.register
class Arrays(ct.Dataset):
    """Pictures in NumPy archives: each ``CASE.npz`` has ``image`` and ``mask`` (``y x``) and ``bright`` (0 or 1)."""

    name = "arrays"
    image_array = "image"
    spatial_dims = 2
    licence, source, citation = "your own", "your own", "your own"
    tasks = ("mask", "bright")

    def cases(self) -> list[ct.Case]:
        found = [ct.Case(path.stem, path.stem, "", (path,)) for path in sorted(self.root.glob("*.npz"))]
        if not found:
            raise ct.InputError(f"{self.root}: no .npz file in it; give another dataset.root")
        return found

    def read(self, case: ct.Case) -> ct.CaseData:
        with np.load(Path(case.files[0])) as file:
            arrays = {"image": file["image"][None], "mask": file["mask"][None], "bright": file["bright"].reshape(1)}
        channels = {"image": ("grey",), "mask": ("mask",), "bright": ("bright",)}
        return ct.CaseData(arrays, channels, ct.Geometry(arrays["image"].shape[1:], (1.0, 1.0)))

    def check(self) -> Iterator[Any]:
        yield from ()

    def task(self, name: str, **options: Any) -> ct.Task:
        if name == "mask":
            return ct.SegmentationTask(name, name, [name], **options)
        return ct.ClassificationTask(name, name, [name], exclusive=False, **options)
