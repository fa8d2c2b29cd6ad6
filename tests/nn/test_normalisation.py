"""Inputs of ImageNet's weights have ImageNet's mean and deviation; inputs of other weights stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crosstask.nn.encoder import Encoder, EncoderBase, Staged, build_extractor
from crosstask.nn.normalisation import describe_normalisation
from crosstask.nn.pretrained import load_weights

State = dict[str, Tensor]
NAMES = ("resnet18-narrow", "alexnet", "efficientnet-lite0")
TORCHVISION = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
TENSORFLOW = torch.full((3,), 127 / 255), torch.full((3,), 128 / 255)
FIGURES = {"efficientnet-lite0": TENSORFLOW}
LAST = {"alexnet": "classifier.6.weight", "efficientnet-lite0": "_fc.weight"}


def imagenet_file(path: Path, name: str, *, classes: int = 1000, channels: int = 3) -> tuple[Path, State]:
    """Random weights with a classifier of so many classes behind them, as the original files have one."""
    torch.manual_seed(0)
    state = build_extractor(name, in_channels=channels).state_dict()
    for value in state.values():
        if value.is_floating_point():
            value += 0.3 * torch.rand(value.shape)
    torch.save({**state, LAST.get(name, "fc.weight"): torch.zeros(classes, 4)}, path)
    return path, state


def colour(size: int = 64) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))  # in [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_imagenet_s_weights_see_the_input_as_they_were_learned(tmp_path: Path, name: str) -> None:
    path, state = imagenet_file(tmp_path / "weights.pth", name)
    plain = build_extractor(name, in_channels=3)
    plain.load_state_dict(state)
    image = colour()
    mean, deviation = FIGURES.get(name, TORCHVISION)
    wanted = plain.eval()((image - mean.view(3, 1, 1)) / deviation.view(3, 1, 1))
    found = build_extractor(name, in_channels=3, weights=path).eval()(2 * image - 1)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def first(encoder: EncoderBase, image: Tensor) -> Tensor:
    """The first convolution's output away from the border, normalised where the encoder does that."""
    output = encoder.stem(image) if isinstance(encoder, Staged) else encoder.features[0](encoder.normalisation(image))
    return output[:, :, 4:-4, 4:-4]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_grey_image_is_the_same_in_any_number_of_channels(tmp_path: Path, name: str, channels: int) -> None:
    path, _ = imagenet_file(tmp_path / "weights.pth", name)
    grey = 2 * torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(2)) - 1
    wanted = first(build_extractor(name, in_channels=3, weights=path).eval(), grey.expand(-1, 3, -1, -1))
    found = first(build_extractor(name, in_channels=channels, weights=path).eval(), grey.expand(-1, channels, -1, -1))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_only_imagenet_s_weights_are_normalised_by_themselves(tmp_path: Path) -> None:
    """By their thousand classes, or where the user says so; random weights and other files are not."""

    def figures(file: Path | None, **options: str) -> dict[str, list[float]] | None:
        encoder = Encoder("resnet18-narrow", in_channels=3)
        load_weights(encoder, file, **options)  # type: ignore[arg-type]
        return describe_normalisation(encoder)

    imagenet = {"mean": [-0.03, -0.088, -0.188], "deviation": [0.458, 0.448, 0.45]}
    path, _ = imagenet_file(tmp_path / "imagenet.pth", "resnet18-narrow")
    other, _ = imagenet_file(tmp_path / "other.pth", "resnet18-narrow", classes=14)
    assert figures(path) == imagenet
    assert figures(path, normalisation="none") is None
    assert figures(other) is None
    assert figures(other, normalisation="imagenet") == imagenet
    assert figures(None) is None
    one, _ = imagenet_file(tmp_path / "grey.pth", "resnet18-narrow", channels=1)
    assert figures(one) == {"mean": [-0.102] * 3, "deviation": [0.452] * 3}


def test_masks_among_the_channels_keep_their_0_and_1(tmp_path: Path) -> None:
    path, _ = imagenet_file(tmp_path / "weights.pth", "resnet18-narrow")
    encoder = Encoder("resnet18-narrow", in_channels=4)
    load_weights(encoder, path, masks=2)
    image = torch.ones(1, 4, 8, 8)
    assert torch.equal(encoder.normalisation(image)[:, 2:], image[:, 2:])
    assert not torch.equal(encoder.normalisation(image)[:, :2], image[:, :2])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "masks"), [(3, 2), (3, 4), (1, 1), (1, 2), (1, 4), (2, 1), (2, 4)])
def test_masks_behind_an_image_leave_its_features_what_they_are(
    tmp_path: Path, name: str, channels: int, masks: int
) -> None:
    """Whatever the masks are, and also where image and masks have as many channels together as the file."""
    path, _ = imagenet_file(tmp_path / "weights.pth", name)
    alone, both = (build_extractor(name, in_channels=number) for number in (channels, channels + masks))
    load_weights(alone, path)
    load_weights(both, path, masks=masks)
    image = 2 * torch.rand(1, channels, 96, 96, generator=torch.Generator().manual_seed(2)) - 1
    behind = torch.cat([image, (torch.rand(1, masks, 96, 96) > 0.5).float()], 1)
    torch.testing.assert_close(first(both.eval(), behind), first(alone.eval(), image), rtol=1e-4, atol=1e-4)
    filters = both.get_parameter(both.first_convolution)
    first(both, behind).square().sum().backward()
    assert filters.grad is not None and bool((filters.grad[:, channels:].abs().amax((0, 2, 3)) > 0).all())


def test_weights_that_were_learned_with_masks_are_taken_as_they_are(tmp_path: Path) -> None:
    path, _ = imagenet_file(tmp_path / "weights.pth", "resnet18-narrow")
    learned = Encoder("resnet18-narrow", in_channels=3)
    load_weights(learned, path, masks=2)
    nn.init.normal_(learned.get_parameter(learned.first_convolution))
    save_file(learned.state_dict(), tmp_path / "learned.safetensors")
    other = Encoder("resnet18-narrow", in_channels=3)
    load_weights(other, tmp_path / "learned.safetensors", masks=2)
    for one, wanted in zip(other.state_dict().values(), learned.state_dict().values(), strict=True):
        assert torch.equal(one, wanted)
    grey, more = (Encoder("resnet18-narrow", in_channels=number) for number in (1, 3))
    nn.init.normal_(grey.get_parameter(grey.first_convolution))
    save_file(grey.state_dict(), tmp_path / "grey.safetensors")
    load_weights(more, tmp_path / "grey.safetensors", masks=2)
    filters = more.get_parameter(more.first_convolution)
    assert torch.equal(filters[:, :1], grey.get_parameter(grey.first_convolution)) and not filters[:, 1:].any()


class Network(nn.Module):
    """What a run keeps of a network, as far as it matters here."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.encoder = Encoder("resnet18-narrow", in_channels=channels)


def test_weights_of_a_run_bring_the_normalisation_that_the_run_had(tmp_path: Path) -> None:
    path, _ = imagenet_file(tmp_path / "weights.pth", "resnet18-narrow")
    network = Network()
    load_weights(network.encoder, path)
    save_file(network.state_dict(), tmp_path / "best.safetensors")
    with_it, without = Encoder("resnet18-narrow", in_channels=3), Encoder("resnet18-narrow", in_channels=3)
    load_weights(with_it, tmp_path / "best.safetensors")
    assert describe_normalisation(with_it) == describe_normalisation(network) is not None
    old = {key: value for key, value in load_file(tmp_path / "best.safetensors").items() if "normalisation" not in key}
    save_file(old, tmp_path / "old.safetensors")
    load_weights(without, tmp_path / "old.safetensors")
    assert describe_normalisation(without) is None
    image = 2 * colour(96) - 1
    grey = Encoder("resnet18-narrow", in_channels=1)
    load_weights(grey, tmp_path / "best.safetensors")
    wanted = first(with_it.eval(), image[:, :1].expand(-1, 3, -1, -1))
    torch.testing.assert_close(first(grey.eval(), image[:, :1]), wanted, rtol=1e-4, atol=1e-4)


def test_a_network_from_before_takes_its_input_as_it_is(tmp_path: Path) -> None:
    """Also where it is loaded into one that was made with ImageNet's weights, as a resumed run is."""
    path, _ = imagenet_file(tmp_path / "weights.pth", "resnet18-narrow")
    old, resumed = Network(), Network()
    assert not [key for key in old.state_dict() if "normalisation" in key]
    load_weights(resumed.encoder, path)
    resumed.load_state_dict(old.state_dict())
    image = 2 * colour() - 1
    for one, other in zip(resumed.eval().encoder(image), old.eval().encoder(image), strict=True):
        assert torch.equal(one, other)
