"""An architecture by its name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from crosstask.architectures.base import Architecture
from crosstask.errors import InputError
from crosstask.nn.parts import Parts
from crosstask.registry import ARCHITECTURES
from crosstask.tasks.base import Head, Level

COMMON = ("encoder", "spatial_dims", "in_channels", "weights", "upsampling_blocks")
"""Options of :func:`build` that are the same for all architectures."""


class HasHead(Protocol):
    """What is read of a task: see :class:`crosstask.tasks.base.Task`."""

    name: str

    def head(self) -> Head: ...


def build(
    name: str,
    *,
    encoder: str = "resnet50",
    tasks: Mapping[str, Head | tuple[Level, int] | int] | Iterable[HasHead],
    spatial_dims: int = 2,
    in_channels: int = 1,
    weights: str | Path | None = None,
    upsampling_blocks: int = 3,
    **options: Any,
) -> Architecture:
    """An architecture: image ``b c *s`` to ``{task: b channels *s}``, or ``{task: b channels}`` at image level, raw.

    Args:
        name: a name of :data:`crosstask.registry.ARCHITECTURES`.
        encoder: a name of :data:`crosstask.registry.ENCODERS`; one without stages is for ``auxiliary`` alone.
        tasks: tasks, or ``{name: Head}``; for short ``{name: (level, channels)}`` or, at pixel level,
            ``{name: channels}``.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        weights: of the encoder: None (random), ``"imagenet"``, or the path of a .pth or .safetensors file, which may
            be a run folder's; see :func:`crosstask.nn.pretrained.load_weights`.
        upsampling_blocks: of the pixel decoders: 3 (the paper's, to 1/4 of the size), 4 or 5 (to full size).
        **options: the architecture's own; ``ctan`` has ``scaled_bottleneck`` and ``open_masks``, ``mtan`` has
            ``open_masks``; ``auxiliary`` needs ``major``, its major task, and has ``form``, ``fc1``, ``fc2``,
            ``dropout``, ``positions`` and ``fully_connected``.

    Raises:
        InputError: unknown architecture, option or encoder, an option that is needed and not there, tasks that cannot
            be built, or weights that do not fit.
    """
    architecture: type[Architecture] = ARCHITECTURES.find(name)
    accepted = own_options(architecture)
    for key in options:
        if key not in accepted:
            raise InputError(
                f"architecture: {name} has no option {key!r}; it accepts {', '.join((*COMMON, *accepted))}"
            )
    for key, option in accepted.items():
        if option.default is option.empty and key not in options:
            raise InputError(f"architecture: {name} needs the option {key}; give {key}=...")
    parts = Parts(encoder, spatial_dims, in_channels, weights, upsampling_blocks)
    found = heads(tasks)
    try:
        inspect.signature(architecture).bind(found, parts, **options)
    except TypeError:
        raise InputError(f"architecture: the constructor of {name} must take tasks and parts, in this order") from None
    network = architecture(found, parts, **options)
    network.check_parts(parts)
    if weights is not None:
        network.check_has_encoder("weights")
    return network


def own_options(architecture: type[Architecture]) -> dict[str, inspect.Parameter]:
    """Options that an architecture's constructor takes beside tasks and parts."""
    parameters = inspect.signature(architecture).parameters
    return {name: option for name, option in parameters.items() if option.kind is option.KEYWORD_ONLY}


def heads(tasks: Mapping[str, Head | tuple[Level, int] | int] | Iterable[HasHead]) -> dict[str, Head]:
    """``{name: Head}`` from any of the forms that :func:`build` takes.

    Raises:
        InputError: two tasks of one name, or something that is no head.
    """
    if isinstance(tasks, Mapping):
        return {name: _head(name, given) for name, given in tasks.items()}
    found: dict[str, Head] = {}
    for task in tasks:
        if task.name in found:
            raise InputError(f"tasks: {task.name!r} is there twice; give each task a name of its own")
        found[task.name] = task.head()
    return found


def _head(name: str, given: Head | tuple[Level, int] | int) -> Head:
    if isinstance(given, Head):
        return given
    try:
        if isinstance(given, int):
            return Head("pixel", given)
        level, channels = given
        return Head(level, channels)
    except (TypeError, ValueError):
        raise InputError(f"tasks: {name!r} is {given!r}; give a Head, (level, channels) or a channel count") from None
