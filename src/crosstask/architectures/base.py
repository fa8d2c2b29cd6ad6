"""What an architecture is: an image in, one raw output per task out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.attention import TaskMask
from crosstask.nn.decoder import ImageDecoder, PixelDecoder
from crosstask.nn.encoder_base import EncoderBase
from crosstask.nn.parts import Parts
from crosstask.nn.recomputing import blocks_of
from crosstask.readings import Reading
from crosstask.registry import ARCHITECTURES
from crosstask.tasks.base import Head


class Architecture(nn.Module, ABC):
    """Base of all architectures. It knows a task as a name, a level and a number of channels, and nothing else.

    A subclass gives its ``name``, takes tasks and parts and, as keyword arguments, options of its own, makes its
    encoder with ``parts.encoder()`` and calls :meth:`add_decoders`; in :meth:`forward` it gives each task's five
    features to :meth:`decode`. Where modules other than the decoder serve one task alone, it names them in
    :attr:`task_modules`. An encoder made by the parts may have a learning rate of its own, whatever attribute it is.

    Args:
        tasks: ``{name: Head}``, at least one.
        parts: makes its encoders, and knows what decoders are told.

    Attributes:
        name: name in :data:`crosstask.registry.ARCHITECTURES`.
        heads: ``{name: Head}``, in the order of the outputs.
        decoders: one a task.
        label: how tables write it; by default the name.
        needs_major: it takes ``major``, the name of the task that the others help.
        task_modules: attributes that map a task's name to a module that no other task's output depends on.
        part_names: ``{attribute: what figures call it}``, for :meth:`shared_parts`.

    Shapes:
        forward: image ``b c *s`` to ``{task: b channels *s}`` at pixel level and ``{task: b channels}`` at image
        level, raw. Any size s of at least 32; where the last stage shrinks to one position, batch normalisation needs
        a batch of two or more to train on.

    Raises:
        InputError: no task at all, or a name that cannot be used.
    """

    name: ClassVar[str]
    registry = ARCHITECTURES
    needs_major: ClassVar[bool] = False
    task_modules: ClassVar[tuple[str, ...]] = ("decoders",)
    part_names: ClassVar[Mapping[str, str]] = {}

    def __init__(self, tasks: Mapping[str, Head], parts: Parts | None = None) -> None:
        super().__init__()
        self.parts = Parts() if parts is None else parts
        if not tasks:
            raise InputError("tasks: an architecture needs at least one task")
        reserved = nn.ModuleDict()
        for task in tasks:
            if not task or "." in task or hasattr(reserved, task):
                raise InputError(f"tasks: {task!r} cannot name a task, being a name of PyTorch's own; choose another")
        self.heads = dict(tasks)
        self.decoders = nn.ModuleDict()

    @classmethod
    def faults(cls, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Options whose values are out of their range, each with what to give instead; of the right type they are."""
        blocks = options.get("upsampling_blocks", 3)
        if blocks not in (3, 4, 5):
            yield "upsampling_blocks", f"{blocks!r} is not possible; give 3, 4 or 5"

    @abstractmethod
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Raw output of each task: ``b c *s`` to ``{task: b channels *s}``, at image level ``{task: b channels}``."""

    def add_decoders(self, channels: Sequence[int]) -> None:
        """One decoder a task, by its level, for features of these channels: stem, stages 1 to 3, bottleneck.

        Raises:
            InputError: a task is at pixel level, and upsampling_blocks is not 3, 4 or 5.
        """
        for task, head in self.heads.items():
            if head.level == "pixel":
                self.decoders[task] = PixelDecoder(
                    channels,
                    head.channels,
                    spatial_dims=self.parts.spatial_dims,
                    upsampling_blocks=self.parts.upsampling_blocks,
                    bias=head.bias,
                )
            else:
                self.decoders[task] = ImageDecoder(
                    channels, head.channels, spatial_dims=self.parts.spatial_dims, bias=head.bias
                )

    def pixel_decoders(self) -> dict[str, PixelDecoder]:
        """Decoders of the pixel-level tasks, whose stages may have heads of their own in training.

        Raises:
            InputError: one of them is of another kind.
        """
        found: dict[str, PixelDecoder] = {}
        for task, head in self.heads.items():
            if head.level == "pixel":
                decoder = dict(self.decoders.items()).get(task)
                if not isinstance(decoder, PixelDecoder):
                    raise InputError(
                        f"training.deep_supervision: {self.name} has a decoder of its own kind for {task!r}, and its "
                        "stages are not known; set it 0, or make decoders with add_decoders"
                    )
                found[task] = decoder
        return found

    def decode(self, task: str, features: Sequence[Tensor], image: Tensor) -> Tensor:
        """A task's raw output from its five features: ``b channels *s`` at the image's size, or ``b channels``."""
        decoder = self.decoders[task]
        if self.heads[task].level == "pixel":
            output: Tensor = decoder(features, image.shape[2:])
        else:
            output = decoder(features)
        return output

    def blocks(self) -> list[nn.Module]:
        """Modules, none within another, whose activations need not be kept: see :mod:`crosstask.nn.recomputing`.

        By default those of encoders and decoders, and masks. An architecture whose forward goes around a module's own
        names what it calls instead.
        """
        stages = [
            module
            for encoder in self.all_encoders()
            for part, modules in encoder.divided().items()
            if part != "stem"
            for module in modules
        ]
        decoders = [block for decoder in self.decoders.children() for block in getattr(decoder, "blocks", ())]
        masks = [module for module in self.modules() if isinstance(module, TaskMask)]
        return [*blocks_of(stages), *decoders, *masks]

    def describe(self) -> str:
        """What a reader of results should know of its form; empty where there is but one."""
        return ""

    def readings(self) -> Sequence[Reading]:
        """What the network has learned to do, in small named figures: gates between tasks, say. By default none.

        Each run keeps those of its last epoch (``readings.json``), and the page shows their mean and range over seeds.
        The network may be untrained.
        """
        return ()

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Parameters that this task's output alone depends on."""
        return [parameter for name in self.task_modules for parameter in getattr(self, name)[task].parameters()]

    def all_encoders(self) -> list[EncoderBase]:
        """The encoders that its parts made."""
        return list(self.parts.made)

    def check_parts(self, parts: Parts) -> None:
        """Make sure that it keeps its parts and every encoder that they made, whole: weights are loaded into these.

        Args:
            parts: what it was given.

        Raises:
            InputError: it has others, or an encoder that was copied or taken apart.
        """
        if self.parts is not parts:
            raise InputError(f"architecture: {self.name} loses its parts; hand them on, super().__init__(tasks, parts)")
        there = {id(module) for module in self.modules()}
        if any(id(encoder) not in there for encoder in parts.made):
            raise InputError(
                f"architecture: {self.name} has an encoder made that is no module of it, so weights and a learning "
                "rate would not reach it; keep each as it is, and make another with parts.encoder() instead of a copy"
            )

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the encoder, or of all encoders; none where the parts were not asked for one."""
        return [parameter for encoder in self.all_encoders() for parameter in encoder.parameters()]

    def check_has_encoder(self, key: str) -> None:
        """Make sure that what is given for the encoder would reach one.

        Args:
            key: that gives it, ``weights`` or ``learning_rate``.

        Raises:
            InputError: it would not.
        """
        if not self.encoder_parameters():
            raise InputError(
                f"encoder.{key}: {self.name} has no encoder that it could be for; make the encoder with "
                "parts.encoder() in the architecture, or leave the key out"
            )

    def load_more(self, weights: str | Path | None) -> None:
        """Load what the file of the encoder's weights has for the rest of the network; by default nothing.

        Raises:
            InputError: the weights lack it, or do not fit.
        """

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that the outputs of several tasks depend on: all that are not one task's own."""
        own = {id(parameter) for task in self.heads for parameter in self.task_parameters(task)}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    def shared_parts(self) -> dict[str, list[nn.Parameter]]:
        """The same by part of the network, for figures part by part: those of encoders first, from fine to coarse.

        Encoders are divided as they say (``stem``, ``stage 1``, ...), all of them alike where there are several; what
        they leave out is ``encoder``. Other parts are called by their attribute, or by :attr:`part_names`, those in a
        list with their number.
        """
        names: dict[int, str] = {}
        for encoder in self.all_encoders():
            names |= {id(parameter): "encoder" for parameter in encoder.parameters()}
            for part, modules in encoder.divided().items():
                names |= {id(parameter): part for module in modules for parameter in module.parameters()}
        for name, parameter in self.named_parameters():
            names.setdefault(id(parameter), self._part_of(name))
        parts: dict[str, list[nn.Parameter]] = {part: [] for part in names.values()}
        for parameter in self.shared_parameters():
            parts[names[id(parameter)]].append(parameter)
        return {part: own for part, own in parts.items() if own}

    def _part_of(self, name: str) -> str:
        """The part that a parameter outside the encoders belongs to, by its name."""
        attribute, _, rest = name.partition(".")
        part = self.part_names.get(attribute, attribute)
        listed = isinstance(getattr(self, attribute), nn.ModuleList)
        return f"{part} {int(rest.partition('.')[0]) + 1}" if listed else part
