"""MONAI's CNNs in stages give what MONAI's own networks give, where those round sizes up as well."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from crosstask.errors import InputError
from crosstask.nn.encoder import build_encoder
from crosstask.nn.monai_encoders import DENSENETS, EFFICIENTNETS, SE_RESNETS
from crosstask.registry import ENCODERS

# Published, with a classifier of 1000 classes: torchvision's, the authors', and those of Cadene's SE-ResNets.
PARAMETERS = {
    "monai/densenet121": 7_978_856 - 1025 * 1000,
    "monai/densenet201": 20_013_928 - 1921 * 1000,
    "monai/efficientnet-b0": 5_288_548 - 1281 * 1000,
    "monai/efficientnet-b4": 19_341_616 - 1793 * 1000,
    "monai/seresnet50": 28_088_024 - 2049 * 1000,
}


def unsettled(encoder: nn.Module) -> nn.Module:
    """Running statistics off their first values, in evaluation."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return encoder.eval()


def densenet(state: dict[str, Tensor], image: Tensor) -> Tensor:
    dims = image.dim() - 2
    network = nets.DenseNet121(spatial_dims=dims, in_channels=2, out_channels=1).eval()
    network.features.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    return network.features(image).relu()


def efficientnet(state: dict[str, Tensor], image: Tensor) -> Tensor:
    network = nets.EfficientNetBN("efficientnet-b0", False, spatial_dims=image.dim() - 2, in_channels=2).eval()
    missing, unknown = network.load_state_dict(state, strict=False)
    assert missing == ["_fc.weight", "_fc.bias"] and not unknown
    network._avg_pooling, network._dropout, network._fc = nn.Identity(), nn.Identity(), nn.Identity()
    return network(image).reshape(1, 1280, *(side // 32 for side in image.shape[2:]))


def seresnet(state: dict[str, Tensor], image: Tensor) -> Tensor:
    network = nets.SEResNet50(spatial_dims=image.dim() - 2, in_channels=2).eval()
    missing, unknown = network.load_state_dict(state, strict=False)
    assert missing == ["last_linear.weight", "last_linear.bias"] and not unknown
    network.layer0.pool = nn.MaxPool2d(3, 2, 1) if image.dim() == 4 else nn.MaxPool3d(3, 2, 1)
    return network.features(image)


FORWARD = {"densenet121": densenet, "efficientnet-b0": efficientnet, "seresnet50": seresnet}


@pytest.mark.parametrize("name", list(FORWARD))
@pytest.mark.parametrize("size", [(64, 96), (32, 32, 32)])
def test_the_last_feature_is_monai_s(name: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = unsettled(build_encoder(f"monai/{name}", spatial_dims=len(size), in_channels=2))
    image = torch.randn(1, 2, *size)
    with torch.no_grad():
        wanted = FORWARD[name](encoder.state_dict(), image)
        torch.testing.assert_close(encoder(image)[-1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(FORWARD))
@pytest.mark.parametrize("size", [(33, 47), (50, 34), (32, 33, 35)])
def test_every_stage_halves_rounding_up(name: str, size: tuple[int, ...]) -> None:
    encoder = build_encoder(f"monai/{name}", spatial_dims=len(size)).eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 1, *size))
        shared = [encoder.shared(stage, features[stage - 1]).shape for stage in (1, 2, 3, 4)]
    for step, (feature, channels) in enumerate(zip(features, encoder.channels, strict=True), start=1):
        sides = [math.ceil(side / 2**step) for side in size]
        assert feature.shape == (1, channels, *sides)
        if step > 1:
            assert shared[step - 2] == (1, encoder.shared_channels[step - 2], *sides)


def test_every_name_of_the_table_can_be_made() -> None:
    names = [f"monai/{name}" for name in (*DENSENETS, *EFFICIENTNETS, *SE_RESNETS)]
    assert [name for name in ENCODERS if name.startswith("monai/")] == names
    for name in names:
        assert ENCODERS[name].name == name and "MONAI's" in ENCODERS[name].description
    for name, parameters in PARAMETERS.items():
        with torch.device("meta"):
            encoder = ENCODERS[name](spatial_dims=2, in_channels=3)
        assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
        assert encoder.name == name and encoder.has_stages


@pytest.mark.parametrize("name", list(FORWARD))
def test_a_file_of_monai_s_network_loads(tmp_path: Path, name: str) -> None:
    """With its classifier, and with the first convolution for another number of channels."""
    network = {
        "densenet121": lambda: nets.DenseNet121(spatial_dims=2, in_channels=3, out_channels=7),
        "efficientnet-b0": lambda: nets.EfficientNetBN("efficientnet-b0", False, in_channels=3, num_classes=7),
        "seresnet50": lambda: nets.SEResNet50(spatial_dims=2, in_channels=3, num_classes=7),
    }[name]()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = build_encoder(f"monai/{name}", in_channels=1, weights=tmp_path / "weights.pth")
    own, whole = encoder.state_dict(), network.state_dict()
    first = encoder.first_convolution
    torch.testing.assert_close(own.pop(first), whole[first].sum(dim=1, keepdim=True))
    assert own and all(torch.equal(value, whole[key]) for key, value in own.items())


def test_refusals() -> None:
    with pytest.raises(InputError, match="choose 2"):
        build_encoder("monai/densenet121", spatial_dims=4)
    with pytest.raises(InputError, match="no ImageNet weights of monai/seresnet50"):
        build_encoder("monai/seresnet50", weights="imagenet")
    with pytest.raises(InputError, match="did you mean 'monai/densenet121'"):
        build_encoder("monai/densenet12")
    with pytest.raises(InputError, match=r"'timm/resnet50'; timm imports torchvision.* choose one of monai/") as caught:
        build_encoder("timm/resnet50")
    assert "\n" not in str(caught.value)
