"""AlexNet's convolutions, the encoder of Fang et al. (2019)."""

from __future__ import annotations

from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.encoder_base import EncoderBase

# Below it nothing is left for the last pooling, whatever the other side is.
SMALLEST = 63


class AlexNet(EncoderBase):
    """The five convolutions of AlexNet in its one-column form (Krizhevsky, 2014), in 2-D.

    Names and shapes of parameters are torchvision's, so its ImageNet file loads as it is; the fully connected layers
    of the file are left out, as they belong to its thousand classes. There is no normalisation.

    It starts with Gaussian weights, as in Fang et al. (2019, section 2.3), who do not print their deviation. Ours is
    He's (2015), which keeps the variance of the features from layer to layer; biases start at zero.

    Args:
        spatial_dims: 2; there is no AlexNet for volumes.
        in_channels: channels of the image.

    Attributes:
        channels: of the features.

    Raises:
        InputError: spatial_dims is not 2.
    """

    name = "alexnet"
    smallest = SMALLEST
    positions = 6
    first_convolution = "features.0.weight"
    first_constant = ("features.0.bias", 1)
    classifier = "classifier."

    def __init__(self, *, spatial_dims: int = 2, in_channels: int = 1) -> None:
        super().__init__(spatial_dims=spatial_dims, in_channels=in_channels)
        if spatial_dims != 2:
            raise InputError(f"encoder: alexnet is 2-D and the samples are {spatial_dims}-D; choose a ResNet for them")
        self.channels = (256,)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> list[Tensor]:
        """The one feature ``b 256 h w`` of an image ``b c *s``: 6 x 6 of 224 x 224, 1 x 1 of 63 x 63.

        Raises:
            InputError: a side of the image has fewer than 63 pixels.
        """
        size = tuple(image.shape[2:])
        if min(size) < SMALLEST:
            shown = " x ".join(map(str, size))
            raise InputError(
                f"sample.size: alexnet needs sides of at least {SMALLEST} pixels and not {shown}; the original has 224"
            )
        return [self.features(self.normalisation(image))]
