"""AlexNet against its published sizes and a forward pass from the names of its weights, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.nn.alexnet import AlexNet
from crosstask.nn.encoder import RESNETS, build_encoder, build_extractor
from crosstask.registry import ENCODERS

# torchvision's: 61,100,840 parameters, less its three fully connected layers.
PARAMETERS = 61_100_840 - (9216 + 1) * 4096 - (4096 + 1) * 4096 - (4096 + 1) * 1000
# Name: shape of the weight, stride, padding, and whether a 3 x 3 pooling of stride 2 follows.
LAYERS = {
    "features.0": ((64, 3, 11, 11), 4, 2, True),
    "features.3": ((192, 64, 5, 5), 1, 2, True),
    "features.6": ((384, 192, 3, 3), 1, 1, False),
    "features.8": ((256, 384, 3, 3), 1, 1, False),
    "features.10": ((256, 256, 3, 3), 1, 1, True),
}


def test_features_equal_a_plain_alexnet() -> None:
    torch.manual_seed(0)
    encoder = AlexNet(in_channels=3).double()
    state = encoder.state_dict()
    assert set(state) == {f"{name}.{part}" for name in LAYERS for part in ("weight", "bias")}
    assert sum(value.numel() for value in state.values()) == PARAMETERS
    image = torch.randn(2, 3, 224, 224).double()
    expected = image
    for name, (shape, stride, padding, pooled) in LAYERS.items():
        assert state[f"{name}.weight"].shape == shape
        state[f"{name}.bias"].uniform_(-1, 1)
        expected = F.conv2d(expected, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding).relu()
        expected = F.max_pool2d(expected, 3, 2) if pooled else expected
    with torch.no_grad():
        (actual,) = encoder(image)
    assert actual.shape == (2, *encoder.channels, 6, 6)
    torch.testing.assert_close(actual, expected)


def test_weights_start_gaussian_and_keep_the_size_of_features() -> None:
    torch.manual_seed(0)
    encoder = AlexNet(in_channels=3)
    for name in LAYERS:
        weight = encoder.get_parameter(f"{name}.weight").detach()
        z = weight.flatten() / (2 / weight[0].numel()) ** 0.5
        assert z.square().mean().item() == pytest.approx(1, abs=0.05)
        assert z.pow(4).mean().item() == pytest.approx(3, abs=0.2)  # a uniform distribution has 1.8
        assert not encoder.get_parameter(f"{name}.bias").any()
    with torch.no_grad():
        (features,) = encoder(torch.randn(2, 3, 128, 128))
    assert 0.1 < features.square().mean().sqrt() < 10


@pytest.mark.parametrize("size", [(63, 63), (63, 200)])
def test_the_smallest_image(size: tuple[int, int]) -> None:
    assert AlexNet()(torch.zeros(1, 1, *size))[0].shape[2] == 1


@pytest.mark.parametrize("size", [(62, 63), (63, 62), (32, 32)])
def test_images_that_are_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(InputError) as caught:
        AlexNet()(torch.zeros(1, 1, *size))
    message = str(caught.value)
    assert f"{size[0]} x {size[1]}" in message and "63" in message and "sample.size" in message and "\n" not in message
    with pytest.raises(RuntimeError):  # what the guard stands for: the layers themselves have no output
        AlexNet().features(torch.zeros(1, 1, *size))


def test_names() -> None:
    assert list(ENCODERS)[: len(RESNETS) + 1] == [*RESNETS, "alexnet"]
    assert isinstance(build_extractor("alexnet"), AlexNet)
    assert build_extractor("resnet18", spatial_dims=3).spatial_dims == 3
    with pytest.raises(InputError, match=r"no encoder 'alexnt'; did you mean 'alexnet'.*resnet101, alexnet"):
        build_extractor("alexnt")
    with pytest.raises(InputError, match="alexnet is 2-D and the samples are 3-D"):
        build_extractor("alexnet", spatial_dims=3)
    with pytest.raises(InputError, match="alexnet has no stages"):
        build_encoder("alexnet")
