"""What architectures are made of: encoders by name, all of one kind, and the options of their decoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crosstask.nn.encoder import build_encoder, build_extractor
from crosstask.nn.encoder_base import EncoderBase, Staged
from crosstask.nn.pretrained import load_weights


@dataclass(frozen=True)
class Parts:
    """A factory of encoders, which remembers those that it made, and what decoders are told.

    Args:
        name: name in :data:`crosstask.registry.ENCODERS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        weights: None (random), ``"imagenet"``, or a file; see :func:`crosstask.nn.pretrained.load_weights`.
        upsampling_blocks: of pixel decoders; see :class:`crosstask.nn.decoder.PixelDecoder`.

    Attributes:
        made: the encoders that were made, in their order.
    """

    name: str = "resnet50"
    spatial_dims: int = 2
    in_channels: int = 1
    weights: str | Path | None = None
    upsampling_blocks: int = 3
    made: list[EncoderBase] = field(default_factory=list, init=False, compare=False)

    def encoder(self, *, more_channels: int = 0) -> Staged:
        """A new encoder whose stages can be had one by one; see :class:`crosstask.nn.encoder_base.Staged`.

        Args:
            more_channels: of its input, behind those of the image: predictions, say. Weights take them for masks.

        Raises:
            InputError: there is no such encoder, it has no stages, or weights cannot be had or do not fit.
        """
        if not more_channels:
            encoder = build_encoder(self.name, **self._options)
        else:
            channels = self.in_channels + more_channels
            encoder = build_encoder(self.name, **self._options | {"in_channels": channels, "weights": None})
            load_weights(encoder, self.weights, masks=more_channels)
        self.made.append(encoder)
        return encoder

    def extractor(self) -> EncoderBase:
        """A new encoder for whoever takes its last feature alone: one without stages will do.

        Raises:
            InputError: there is no such encoder, or weights cannot be had or do not fit.
        """
        encoder = build_extractor(self.name, **self._options)
        self.made.append(encoder)
        return encoder

    @property
    def _options(self) -> dict[str, Any]:
        return {"spatial_dims": self.spatial_dims, "in_channels": self.in_channels, "weights": self.weights}
