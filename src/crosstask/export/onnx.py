"""The network of a trained run as an ONNX model, for programs that have no PyTorch."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from crosstask import __version__
from crosstask.devices import CPU
from crosstask.errors import CrosstaskError, InputError
from crosstask.export.output import new_file
from crosstask.prediction.onnx import INPUT, METADATA, NEEDED, OnnxNetwork
from crosstask.prediction.predictor import Predictor

TOLERANCE = 1e-4
"""Largest difference from PyTorch, as a share of the largest value of the output."""
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


def export_onnx(run_folder: Path, output: Path, *, weights: str | None = None, check: bool = True) -> float:
    """Write a trained run's network as one ONNX file.

    Its input is ``image``, ``b c *s`` in 32-bit floats, windowed and resized as :class:`Predictor` does it, with any
    batch ``b``; its outputs are named after the tasks and raw, ``b channels *s`` or ``b channels``: logits of classes,
    quantities in the task's own scale. The model's metadata says which is which; see
    :attr:`crosstask.prediction.onnx.OnnxNetwork.metadata`.

    Args:
        run_folder: a complete run.
        output: the new file, .onnx.
        weights: ``best`` (by validation), ``final`` (the last epoch) or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        check: compare the outputs with PyTorch's on random images before the file gets its name.

    Returns:
        the largest difference between the two, as a share of the largest value of the output; nan without the check.

    Raises:
        InputError: the folder is no complete run, the file is there already or has another ending, or a package is
            not installed.
        CrosstaskError: the network cannot be exported, the two differ by more than :data:`TOLERANCE`, or the disk is
            full.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"export to ONNX needs {', '.join(missing)}; {NEEDED}")
    if output.suffix != ".onnx":
        raise InputError(f"{output}: give a name that ends in .onnx")
    predictor = Predictor(run_folder, weights=weights, device=CPU)  # as ONNX Runtime, with which it is compared
    trained = predictor.network
    assert isinstance(trained, nn.Module)
    network = _Positional(trained, [task.name for task in predictor.tasks]).eval()
    size = (predictor.assembly.in_channels, *predictor.experiment.sample.size)
    with new_file(output) as part:
        _write(part, network, size, _metadata(predictor, size))
        difference = _difference(part, network, size) if check else float("nan")
        if difference > TOLERANCE:
            raise CrosstaskError(
                f"{output}: ONNX Runtime's outputs differ from PyTorch's by {difference:.1e} of their largest value, "
                f"more than {TOLERANCE:.0e}; nothing was written; try another version of torch or onnxruntime"
            )
    return difference


class _Positional(nn.Module):
    """A network with its outputs as a tuple, in the order of the tasks: ONNX has no dictionaries."""

    def __init__(self, network: nn.Module, tasks: list[str]) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        return tuple(outputs[task] for task in self.tasks)


def _metadata(predictor: Predictor, size: tuple[int, ...]) -> dict[str, object]:
    spec = predictor.spec
    return {
        "run": spec.name,
        "method": spec.key,
        "seed": spec.seed,
        "weights": predictor.weights,
        "image": list(size),
        "version": __version__,
        "tasks": [
            {
                "name": task.name,
                "level": task.level,
                "channels": task.head().channels,
                "classes": list(task.classes),
                "unit": task.unit,
            }
            for task in predictor.tasks
        ],
    }


def _write(path: Path, network: _Positional, size: tuple[int, ...], metadata: dict[str, object]) -> None:
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                (torch.zeros(2, *size),),  # a batch of one would be taken for a constant
                input_names=[INPUT],
                output_names=network.tasks,
                dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            shape = program.model.graph.inputs[0].shape
            program.model.metadata_props[METADATA] = json.dumps(metadata)
            program.save(str(path))
    except OSError:
        raise
    except Exception as error:  # whatever the exporter met in the network
        raise CrosstaskError(
            f"the network cannot be exported to ONNX ({_reason(error)}); try another version of torch or another method"
        ) from error
    if shape is None or isinstance(shape[0], int):  # the exporter may take a size that is computed with for a constant
        raise CrosstaskError("the network could only be exported for batches of one size; try another version of torch")


def _reason(error: BaseException) -> str:
    """First line of the error that was at the bottom of it."""
    while (below := error.__cause__) is not None:
        error = below
    return (str(error).splitlines() or [type(error).__name__])[0]


@torch.inference_mode()
def _difference(path: Path, network: _Positional, size: tuple[int, ...]) -> float:
    exported = OnnxNetwork(path)
    largest = 0.0
    for batch in (1, 3):
        image = torch.randn(batch, *size, generator=torch.Generator().manual_seed(batch))
        outputs = exported(image)
        for name, expected in zip(network.tasks, network(image), strict=True):
            scale = expected.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
            largest = max(largest, float((outputs[name] - expected).abs().max() / scale))
    return largest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, and its remarks about itself, from the terminal."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
