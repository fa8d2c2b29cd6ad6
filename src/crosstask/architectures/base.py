"""What an architecture is: an image in, one raw output per task out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.decoder import ImageDecoder, PixelDecoder
from crosstask.registry import ARCHITECTURES
from crosstask.tasks.base import Head


class Architecture(nn.Module, ABC):
    """Base of all architectures. It knows a task as a name, a level and a number of channels, and nothing else.

    A subclass gives its ``name``, builds its encoder, names it in :attr:`encoder_modules` and calls
    :meth:`add_decoders`; in :meth:`forward` it gives each task's five features to :meth:`decode`. Where modules other
    than the decoder serve one task alone, it names them in :attr:`task_modules`.

    Args:
        tasks: ``{name: Head}``, at least one.

    Attributes:
        name: name in :data:`crosstask.registry.ARCHITECTURES`.
        heads: ``{name: Head}``, in the order of the outputs.
        decoders: one a task.
        encoder_modules: attributes that are the encoder, whatever they are called; they may be trained at a learning
            rate of their own.
        task_modules: attributes that map a task's name to a module that no other task's output depends on.

    Shapes:
        forward: image ``b c *s`` to ``{task: b channels *s}`` at pixel level and ``{task: b channels}`` at image
        level, raw. Any size s of at least 32; where the last stage shrinks to one position, batch normalisation needs
        a batch of two or more to train on.

    Raises:
        InputError: no task at all, or a name that cannot be used.
    """

    name: ClassVar[str]
    registry = ARCHITECTURES
    encoder_modules: ClassVar[tuple[str, ...]] = ()
    task_modules: ClassVar[tuple[str, ...]] = ("decoders",)

    def __init__(self, tasks: Mapping[str, Head]) -> None:
        super().__init__()
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

    def add_decoders(self, channels: Sequence[int], *, spatial_dims: int, upsampling_blocks: int) -> None:
        """One decoder a task, by its level, for features of these channels: stem, stages 1 to 3, bottleneck.

        Raises:
            InputError: a task is at pixel level, and upsampling_blocks is not 3, 4 or 5.
        """
        for task, head in self.heads.items():
            if head.level == "pixel":
                self.decoders[task] = PixelDecoder(
                    channels,
                    head.channels,
                    spatial_dims=spatial_dims,
                    upsampling_blocks=upsampling_blocks,
                    bias=head.bias,
                )
            else:
                self.decoders[task] = ImageDecoder(channels, head.channels, spatial_dims=spatial_dims, bias=head.bias)

    def decode(self, task: str, features: Sequence[Tensor], image: Tensor) -> Tensor:
        """A task's raw output from its five features: ``b channels *s`` at the image's size, or ``b channels``."""
        decoder = self.decoders[task]
        if self.heads[task].level == "pixel":
            output: Tensor = decoder(features, image.shape[2:])
        else:
            output = decoder(features)
        return output

    def describe(self) -> str:
        """What a reader of results should know of its form; empty where there is but one."""
        return ""

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Parameters that this task's output alone depends on."""
        return [parameter for name in self.task_modules for parameter in getattr(self, name)[task].parameters()]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the encoder, or of all encoders; none where the architecture states no encoder.

        Raises:
            InputError: it states a module that it does not have.
        """
        for name in self.encoder_modules:
            if not isinstance(getattr(self, name, None), nn.Module):
                raise InputError(
                    f"architecture: {self.name} states {name!r} among its encoder_modules and has no such module; name "
                    "the attribute that its encoder is"
                )
        return [parameter for name in self.encoder_modules for parameter in getattr(self, name).parameters()]

    def check_encoder_rate(self) -> None:
        """Make sure that a learning rate of the encoder's own would reach an encoder.

        Raises:
            InputError: it would not.
        """
        if not self.encoder_parameters():
            raise InputError(
                f"encoder.learning_rate: {self.name} states no encoder that it could be for; name the encoder in the "
                "architecture's encoder_modules, or leave the key out"
            )

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that the outputs of several tasks depend on: all that are not one task's own."""
        own = {id(parameter) for task in self.heads for parameter in self.task_parameters(task)}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]
