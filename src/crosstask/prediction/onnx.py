"""An exported network, run by ONNX Runtime in the place of PyTorch's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosstask.errors import CrosstaskError, InputError

METADATA = "crosstask"
"""Key of the model's metadata under which JSON says what it is; see :attr:`OnnxNetwork.metadata`."""
INPUT = "image"
NEEDED = "run pip install 'crosstask[onnx]'"


class OnnxNetwork:
    """A network that :func:`crosstask.export.onnx.export_onnx` wrote, called as the one that it was made from.

    It computes on the CPU in 32-bit floats, with as many threads as PyTorch is set to.

    Args:
        path: the .onnx file.

    Attributes:
        metadata: ``run``, ``method``, ``seed``, ``weights``, ``image`` (``c *s`` of the input), ``version`` (of
            Crosstask), and ``tasks``: a list of ``name``, ``level``, ``channels``, ``classes`` and ``unit``.
        tasks: their names, in the order of the outputs.

    Shapes:
        image ``b c *s``, of any batch and the size of :attr:`metadata`, to raw outputs ``{task: b channels *s}`` at
        pixel level, ``{task: b channels}`` at image level.

    Raises:
        InputError: ONNX Runtime is not installed; the file is missing, damaged, or not one of ours.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f"{path}: ONNX Runtime is not installed; {NEEDED}") from None
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the path")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            described = json.loads(self._session.get_modelmeta().custom_metadata_map.get(METADATA, "null"))
        except Exception as error:  # of classes of its own, one a kind of damage
            kind = type(error).__name__
            raise InputError(f"{path}: no readable ONNX model ({kind}); export it again") from None
        if not isinstance(described, dict) or not isinstance(described.get("tasks"), list):
            raise InputError(f"{path}: was not exported by crosstask, so its outputs mean nothing here; export a run")
        self.metadata: Mapping[str, Any] = described
        self.tasks: list[str] = [task["name"] for task in described["tasks"]]
        self._path = path

    def check(self, tasks: Sequence[str], image: Sequence[int], run: str, weights: str) -> None:
        """Make sure that the model stands for a run's network.

        Args:
            tasks: names of the run's tasks.
            image: ``c *s`` of what it is given.
            run: name of the run's plan, such as ``ctan/seed0``.
            weights: ``best``, ``final`` or ``average``.

        Raises:
            InputError: it has other tasks or another input, or is of another run or other weights.
        """
        wanted = {"tasks": list(tasks), "image": list(image), "run": run, "weights": weights}
        for what, value in wanted.items():
            own = self.tasks if what == "tasks" else self.metadata.get(what)
            if own != value:
                raise InputError(f"{self._path}: its {what} is {own}, the run's {value}; export this run and use that")

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Raw output of each task, on the image's device.

        Raises:
            CrosstaskError: the image is not of the model's size, or the model cannot be computed.
        """
        pixels = image.detach().to("cpu", torch.float32).contiguous().numpy()
        try:
            outputs = self._session.run(self.tasks, {INPUT: pixels})
        except Exception as error:  # of classes of its own
            raise CrosstaskError(
                f"{self._path}: cannot compute an image of {tuple(image.shape)}, made for batches of "
                f"{self.metadata.get('image')} ({type(error).__name__}); export the run again"
            ) from error
        values = (torch.from_numpy(output).to(image.device) for output in outputs)
        return dict(zip(self.tasks, values, strict=True))
