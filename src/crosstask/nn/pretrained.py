"""Weights from a file into an encoder: ImageNet's by name, or any local file, a run's among them."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from safetensors import SafetensorError
from torch import Tensor

from crosstask.errors import InputError
from crosstask.files import cache_folder
from crosstask.nn.normalisation import Normalisation, changes, figures_of, fitted, with_masks
from crosstask.nn.packaged import PACKAGED, packaged_file
from crosstask.nn.weights_file import load_checked

if TYPE_CHECKING:
    from crosstask.nn.encoder_base import EncoderBase

IMAGENET_URL = "https://download.pytorch.org/models/"
# The digits after the dash are the first of the file's SHA-256.
IMAGENET_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "alexnet": "alexnet-owt-7be5be79.pth",
}
IMAGENET_CLASSES = 1000
LAST_OF_CLASSIFIER = ("fc.weight", "classifier.6.weight", "_fc.weight")  # of a ResNet, AlexNet, an EfficientNet
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 20


def load_weights(
    encoder: EncoderBase,
    weights: str | Path | None,
    *,
    normalisation: Normalisation = "auto",
    masks: int = 0,
) -> None:
    """Load weights into an encoder, key for key, and the normalisation of its input that goes with them.

    The first convolution is adapted to the encoder's channels, so that an image whose channels are all alike gives the
    same features as before (for one channel that is the sum over red, green and blue), and masks behind it change
    nothing at first; see :func:`crosstask.nn.normalisation.fitted`. A file that is not ImageNet's and has as many
    channels as image and masks together was learned on such, and is taken as it is. The classifier (``fc.*``, AlexNet's
    ``classifier.*``, ``_fc.*`` of an EfficientNet) is left out.

    Of a run folder's file (``best.safetensors``, ``final.safetensors``) the encoder is taken. Where every task has an
    encoder of its own, ``FILE#TASK`` names the task.

    Args:
        encoder: what to fill; its input is in [-1, 1].
        weights: None (leave it at random), ``"imagenet"``, or the path of a .pth or .safetensors file.
        normalisation: of the encoder's input. ``auto``: the mean and deviation that go with the encoder's ImageNet
            weights (:attr:`crosstask.nn.encoder_base.EncoderBase.imagenet`) for these, which are asked for by name or
            are a file with a classifier of ImageNet's thousand classes; for those of a run what that run had; none for
            all others. ``imagenet`` and ``none`` have it so whatever the file is.
        masks: how many of the encoder's channels, the last, are masks (or predictions) and no image.

    Raises:
        InputError: the file cannot be had or read, a key is missing or unknown, a shape differs, or it is not plain
            which of several encoders is meant.
    """
    if weights is None:
        return
    state, path = _state_of(encoder, weights)
    by_itself = str(weights) == "imagenet" or _has_thousand(state)
    imagenet = normalisation == "imagenet" or (normalisation == "auto" and by_itself)
    state = {key: value for key, value in state.items() if not key.startswith(encoder.classifier)}
    own = encoder.state_dict()
    # Files from before PyTorch 0.4.1 do not count batches; nothing reads the count.
    state = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")} | state
    kept = {} if normalisation != "auto" else state
    figures = figures_of(kept, _colours(state, encoder), imagenet=encoder.imagenet if imagenet else None)
    state = {key: value for key, value in state.items() if not key.startswith("normalisation.")}
    constant, sign = encoder.first_constant
    if encoder.first_convolution in state:
        first = state[encoder.first_convolution]
        _check_dimensions(first, encoder, path)
        with_such = not by_itself and first.shape[1] == encoder.in_channels  # learned on such channels
        image = encoder.in_channels - masks
        state[encoder.first_convolution], figures, offset = _fitted(first, figures, image, masks, with_such)
        if constant in state and state[constant].shape == offset.shape:
            state[constant] = state[constant] + sign * offset
    _check(state, {key: value for key, value in own.items() if not key.startswith("normalisation.")}, path)
    if changes(figures):
        state |= {"normalisation.mean": figures[0], "normalisation.deviation": figures[1]}
    encoder.load_state_dict(state)


def _fitted(
    first: Tensor, figures: tuple[Tensor, Tensor], image: int, masks: int, with_masks_among: bool
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """A first convolution for an image and masks behind it, whose filters are the file's, or else zero."""
    of_masks = first.new_zeros((len(first), masks, *first.shape[2:]))
    if with_masks_among:
        first, of_masks = first[:, :image], first[:, image:]
        figures = figures[0][:image], figures[1][:image]
    first, figures, offset = fitted(first, figures, image)
    return *with_masks(first, figures, of_masks), offset


def _state_of(encoder: EncoderBase, weights: str | Path) -> tuple[dict[str, Tensor], Path]:
    """Names and tensors of the encoder's weights, a classifier among them, and the file that they come from."""
    task = None
    if str(weights) == "imagenet":
        if encoder.spatial_dims != 2:
            raise InputError(
                "encoder.weights: the ImageNet weights are 2-D and the encoder is 3-D; leave the weights out,"
                " or give a file of 3-D weights by encoder.weights=PATH"
            )
        path = imagenet_file(encoder.name)
    else:
        path, task = _path_and_task(weights)
    return _encoder_of_run(read_weights(path), path, task), path


def _has_thousand(state: dict[str, Tensor]) -> bool:
    """Whether weights end in a classifier of ImageNet's thousand classes, as the original files do."""
    last = [state[key] for key in LAST_OF_CLASSIFIER if key in state]
    return any(weight.dim() == 2 and weight.shape[0] == IMAGENET_CLASSES for weight in last)


def _colours(state: dict[str, Tensor], encoder: EncoderBase) -> int:
    """Number of channels that an encoder's weights were learned on."""
    first = state.get(encoder.first_convolution)
    return encoder.in_channels if first is None or first.dim() < 2 else first.shape[1]


def of_imagenet(weights: str | Path | None) -> bool:
    """Whether weights are ImageNet's by themselves; see :func:`load_weights`.

    Raises:
        InputError: a file cannot be read.
    """
    if weights is None or str(weights) == "imagenet":
        return weights is not None
    return _has_thousand(read_weights(_path_and_task(weights)[0]))


def check_weights_there(weights: str | Path | None, encoder: str) -> None:
    """Tell of weights that are not there before anything needs them; nothing is downloaded.

    Args:
        weights: as of :func:`load_weights`.
        encoder: name of the encoder.

    Raises:
        InputError: there is no such file, there are no ImageNet weights of this encoder, or their package is missing.
    """
    if weights is None:
        return
    if str(weights) != "imagenet":
        _must_be_there(_path_and_task(weights)[0])
    elif encoder in PACKAGED:
        packaged_file(encoder)
    else:
        _must_have_file(encoder)


def fully_connected_weights(weights: str | Path, encoder: str) -> tuple[list[tuple[Tensor, Tensor]], Path]:
    """Weight and bias of AlexNet's two fully connected layers before its classes, and the file that has them.

    Args:
        weights: ``"imagenet"``, or the path of a file like torchvision's.
        encoder: name of the encoder.

    Raises:
        InputError: the file cannot be had or read, or has no such layers.
    """
    path = imagenet_file(encoder) if str(weights) == "imagenet" else _path_and_task(weights)[0]
    state = read_weights(path)
    names = [(f"classifier.{layer}.weight", f"classifier.{layer}.bias") for layer in (1, 4)]
    if missing := next((name for pair in names for name in pair if name not in state), None):
        raise InputError(
            f"architecture.auxiliary.fully_connected: {path} lacks {missing}, so it is no whole AlexNet of ImageNet; "
            "set it random, or give such a file by encoder.weights"
        )
    return [(state[weight], state[bias]) for weight, bias in names], path


def imagenet_file(name: str) -> Path:
    """Path of an encoder's ImageNet file: in an installed package, or torchvision's in the cache.

    The latter is downloaded where it is not there yet.

    Raises:
        InputError: there is none; it can be neither found nor downloaded, or is not the file that its name promises.
    """
    if name in PACKAGED:
        path = packaged_file(name)
        if not _is_whole(path):
            package, _ = PACKAGED[name]
            raise InputError(
                f"{path}: damaged (its SHA-256 does not fit its name); run pip install --force-reinstall {package}"
            )
        return path
    _must_have_file(name)
    file_name = IMAGENET_FILES[name]
    path = cache_folder() / file_name
    if not path.is_file():
        _download(IMAGENET_URL + file_name, path)
    elif not _is_whole(path):
        raise InputError(f"{path}: damaged (its SHA-256 does not fit its name); delete it and run again")
    return path


def _must_have_file(name: str) -> None:
    if name not in IMAGENET_FILES:
        raise InputError(
            f"encoder.weights: there are no ImageNet weights of {name}; choose one of "
            f"{', '.join([*IMAGENET_FILES, *PACKAGED])}, or leave the weights out"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a .pth file, which is read without running code from it.

    Raises:
        InputError: there is no such file, or it does not hold tensors by name.
    """
    _must_be_there(path)
    try:
        if path.suffix == ".safetensors":
            return load_checked(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, LookupError, ValueError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise InputError(
            f"encoder.weights: cannot read {path} ({_reason(error)}); give a whole file of weights"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"encoder.weights: {path} does not map names to tensors; save encoder.state_dict() alone")
    return dict(state)


def _must_be_there(path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"encoder.weights: there is no file {path}; give 'imagenet' or the path of a .pth or .safetensors file"
        )


def _path_and_task(weights: str | Path) -> tuple[Path, str | None]:
    """``FILE#TASK`` in its parts; a file may have the mark in its own name."""
    path = Path(weights).expanduser()
    file, mark, task = str(path).rpartition("#")
    return (path, None) if not mark or path.is_file() else (Path(file), task)


def _encoder_of_run(state: dict[str, Tensor], path: Path, task: str | None) -> dict[str, Tensor]:
    """The encoder's part of a whole network's weights; weights of an encoder alone as they are.

    Shared encoders are ``encoder.*``, those of single tasks ``encoders.TASK.*``.
    """
    tasks = list(dict.fromkeys(key.split(".")[1] for key in state if key.startswith("encoders.")))
    if not tasks:
        if task is not None:
            raise InputError(f"encoder.weights: {path} has no encoder for each task; leave out #{task}")
        shared = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
        return shared or state
    if task is None and len(tasks) > 1:
        choices = ", ".join(f"{path}#{name}" for name in tasks)
        raise InputError(f"encoder.weights: {path} has an encoder for each task; name one of {choices}")
    task = tasks[0] if task is None else task
    if task not in tasks:
        raise InputError(f"encoder.weights: {path} has no encoder of a task {task!r}; it has {', '.join(tasks)}")
    prefix = f"encoders.{task}."
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _check_dimensions(weight: Tensor, encoder: EncoderBase, path: Path) -> None:
    """Whether a first convolution ``64 k *7`` (AlexNet's has sides of 11) has as many axes as the encoder's."""
    dimensions = weight.dim() - 2
    if dimensions != encoder.spatial_dims:
        raise InputError(
            f"encoder.weights: {path} holds {dimensions}-D weights and the encoder is {encoder.spatial_dims}-D;"
            " leave the weights out, or give a file that fits"
        )


def _check(state: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Every key there, none too many, every shape right; else an error that names the first that is not."""
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    misshapen = [key for key in own if key in state and state[key].shape != own[key].shape]
    remedy = "give a file of the same encoder"
    if missing:
        raise InputError(f"encoder.weights: {path} lacks {missing[0]} ({len(missing)} missing in all); {remedy}")
    if unexpected:
        raise InputError(f"encoder.weights: {path} has an unknown {unexpected[0]} ({len(unexpected)} in all); {remedy}")
    if misshapen:
        key = misshapen[0]
        raise InputError(
            f"encoder.weights: in {path}, {key} is {tuple(state[key].shape)} and not {tuple(own[key].shape)}"
            f" ({len(misshapen)} wrong shapes in all); {remedy}"
        )


def _download(url: str, path: Path) -> None:
    """Write a file whole or not at all; several processes may do so at once."""
    remedy = f"download {url} by hand, then put it at {path} or give encoder.weights=PATH"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial_name = tempfile.mkstemp(prefix=f"{path.stem}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write to {path.parent} ({_reason(error)}); {remedy}") from None
    partial = Path(partial_name)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            total = int(response.headers.get("Content-Length") or 0) or None
            with _progress() as progress:
                bar = progress.add_task(path.name, total=total)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    progress.advance(bar, len(chunk))
        if not _is_whole(partial, name=path.name):
            raise InputError(f"{url}: the download is damaged (its SHA-256 does not fit its name); {remedy}")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"cannot download {url} ({_reason(error)}); {remedy}") from None
    finally:
        partial.unlink(missing_ok=True)


def _progress() -> Progress:
    """A bar with rate and remaining time on a terminal's standard error; silent elsewhere."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _is_whole(path: Path, name: str | None = None) -> bool:
    """Whether the file's SHA-256 begins with the digits that its name promises."""
    promised = Path(name or path.name).stem.rpartition("-")[2]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest().startswith(promised)


def _reason(error: BaseException) -> str:
    """First line of an error's message."""
    return (str(getattr(error, "reason", "") or error) or type(error).__name__).splitlines()[0]
