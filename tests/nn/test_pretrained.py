"""Weights by name and from files: every key, and every way it can go wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from crosstask.errors import InputError
from crosstask.files import cache_folder
from crosstask.nn import pretrained
from crosstask.nn.alexnet import AlexNet
from crosstask.nn.encoder import Encoder, build_encoder, build_extractor

State = dict[str, Tensor]


def imagenet_shaped(name: str, *, classes: int = 1000) -> State:
    """Random weights with the names and shapes of torchvision's file."""
    encoder = Encoder(name, in_channels=3)
    state = {key: torch.randn(value.shape) for key, value in encoder.state_dict().items()}
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    return state | {"fc.weight": torch.randn(classes, encoder.channels[-1]), "fc.bias": torch.randn(classes)}


@pytest.fixture(scope="module")
def small() -> State:
    return imagenet_shaped("resnet18", classes=10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CROSSTASK_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: State) -> Path:
    """A folder in place of the download server, with a file of ResNet-18 that has its hash in its name."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(small, folder / "whole")
    digest = hashlib.sha256((folder / "whole").read_bytes()).hexdigest()
    path = (folder / "whole").rename(folder / f"resnet18-{digest[:8]}.pth")
    monkeypatch.setattr(pretrained, "IMAGENET_URL", folder.as_uri() + "/")
    monkeypatch.setitem(pretrained.IMAGENET_FILES, "resnet18", path.name)
    return path


def save(state: State, path: Path) -> Path:
    torch.save(state, path)
    return path


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_key_of_an_imagenet_shaped_resnet50_is_loaded(tmp_path: Path) -> None:
    state = imagenet_shaped("resnet50")
    learned = {key: value for key, value in state.items() if "running" not in key}
    assert sum(value.numel() for value in learned.values()) == 25_557_032
    loaded = build_encoder("resnet50", in_channels=3, weights=save(state, tmp_path / "weights.pth")).state_dict()
    for key, value in state.items():
        if not key.startswith("fc."):
            assert torch.equal(loaded.pop(key), value), key
    assert all(key.endswith("num_batches_tracked") or key.startswith("normalisation.") for key in loaded)


def test_safetensors_and_files_with_batch_counts(tmp_path: Path, small: State) -> None:
    counted = Encoder("resnet18", in_channels=3).state_dict()
    save_file(counted, tmp_path / "weights.safetensors")
    loaded = build_encoder("resnet18", in_channels=3, weights=tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(loaded[key], counted[key]) for key in counted)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_first_convolution_fits_any_number_of_channels(tmp_path: Path, small: State, channels: int) -> None:
    path = save(small, tmp_path / "weights.pth")
    encoder = build_encoder("resnet18", in_channels=channels, weights=path)
    grey = torch.randn(1, 1, 32, 32)
    as_colour = torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), small["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(encoder.conv1(grey.repeat(1, channels, 1, 1)), as_colour, rtol=1e-4, atol=1e-4)
    if channels == 1:
        torch.testing.assert_close(encoder.conv1.weight.data, small["conv1.weight"].sum(dim=1, keepdim=True))


def test_wrong_keys_and_shapes(tmp_path: Path, small: State) -> None:
    def message(state: State, **options: int) -> str:
        with pytest.raises(InputError) as caught:
            build_encoder("resnet18", weights=save(state, tmp_path / "weights.pth"), **options)
        text = one_line(caught)
        assert str(tmp_path / "weights.pth") in text
        return text

    fewer = {key: value for key, value in small.items() if not key.startswith("layer4.1.bn")}
    assert "lacks layer4.1.bn1.weight (8 missing" in message(fewer)
    assert "unknown extra.weight (1 in all)" in message(small | {"extra.weight": torch.zeros(1)})
    misshapen = small | {"bn1.weight": torch.zeros(3), "bn1.bias": torch.zeros(3)}
    assert "bn1.weight is (3,) and not (64,) (2 wrong shapes" in message(misshapen)
    assert "2-D weights and the encoder is 3-D" in message(small, spatial_dims=3)
    assert "lacks conv1.weight" in message({key: value for key, value in small.items() if key != "conv1.weight"})
    assert "does not map names to tensors" in message({"state_dict": small})  # type: ignore[dict-item]


def alexnet_shaped() -> State:
    """Random weights with the names of torchvision's file; of the fully connected layers the names matter alone."""
    state = {key: torch.randn(value.shape) for key, value in AlexNet(in_channels=3).state_dict().items()}
    dense = {f"classifier.{layer}.{part}": torch.randn(3) for layer in (1, 4, 6) for part in ("weight", "bias")}
    return state | dense


@pytest.mark.parametrize("channels", [1, 3])
def test_an_imagenet_shaped_alexnet(tmp_path: Path, channels: int) -> None:
    state = alexnet_shaped()
    path = save(state, tmp_path / "weights.pth")
    loaded = build_extractor("alexnet", in_channels=channels, weights=path).state_dict()
    first = loaded.pop("features.0.weight")
    whole = state["features.0.weight"]
    torch.testing.assert_close(first, whole if channels == 3 else whole.sum(dim=1, keepdim=True))
    assert len(loaded) == 9
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_alexnet_s_imagenet_file_is_asked_for_by_its_name(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pretrained.IMAGENET_FILES["alexnet"] == "alexnet-owt-7be5be79.pth"
    state = alexnet_shaped()
    digest = hashlib.sha256(save(state, tmp_path / "weights.pth").read_bytes()).hexdigest()
    name = f"alexnet-{digest[:8]}.pth"
    cache.mkdir()
    (tmp_path / "weights.pth").rename(cache / name)
    monkeypatch.setitem(pretrained.IMAGENET_FILES, "alexnet", name)
    encoder = build_extractor("alexnet", in_channels=3, weights="imagenet")
    assert torch.equal(encoder.state_dict()["features.10.weight"], state["features.10.weight"])


def test_weights_of_another_encoder(tmp_path: Path, small: State) -> None:
    with pytest.raises(InputError, match=r"lacks features\.0\.weight \(10 missing"):
        build_extractor("alexnet", weights=save(small, tmp_path / "resnet.pth"))
    with pytest.raises(InputError, match=r"lacks conv1\.weight"):
        build_encoder("resnet18", weights=save(alexnet_shaped(), tmp_path / "alexnet.pth"))


def of_run(**encoders: State) -> State:
    """Weights as a run folder holds them: encoders by the beginnings of their names, and a decoder."""
    state = {f"{name.replace('_', '.')}.{key}": value for name, part in encoders.items() for key, value in part.items()}
    return state | {"decoders.mask.output.weight": torch.zeros(3)}


def encoder_state(name: str = "resnet18", **options: int) -> State:
    encoder = build_extractor(name, **options)
    return {key: torch.rand(value.shape) for key, value in encoder.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet18", {"spatial_dims": 3, "in_channels": 2}),
        ("alexnet", {"in_channels": 3}),
        ("efficientnet-lite0", {}),
        ("monai/efficientnet-b0", {"spatial_dims": 3}),
    ],
)
@pytest.mark.parametrize("prefix", ["encoder", "encoders_mask"])
def test_the_encoder_of_a_run(tmp_path: Path, name: str, options: dict[str, int], prefix: str) -> None:
    state = encoder_state(name, **options)
    save_file(of_run(**{prefix: state}), tmp_path / "best.safetensors")
    loaded = build_extractor(name, weights=str(tmp_path / "best.safetensors"), **options).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("architecture", ["stl", "hps", "mtan", "ctan", "ctan-gated", "auxiliary"])
def test_the_weights_of_every_architecture_are_those_of_a_run(tmp_path: Path, architecture: str) -> None:
    from crosstask.architectures import build

    own = {"major": "mask"} if architecture == "auxiliary" else {}
    network = build(architecture, encoder="resnet18", tasks={"mask": ("image", 2)}, in_channels=3, **own)
    save_file(network.state_dict(), tmp_path / "best.safetensors")
    encoder = next(module for module in network.modules() if isinstance(module, Encoder))
    loaded = build_encoder("resnet18", weights=tmp_path / "best.safetensors").state_dict()
    first = loaded.pop("conv1.weight")
    torch.testing.assert_close(first, encoder.conv1.weight.detach().sum(dim=1, keepdim=True))
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in loaded.items())


def test_one_of_several_encoders_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "a#b" / "final.safetensors"
    path.parent.mkdir()
    states = {"mask": encoder_state(), "mask2": encoder_state()}
    save_file(of_run(**{f"encoders_{task}": state for task, state in states.items()}), path)
    for task, state in states.items():
        loaded = build_encoder("resnet18", weights=f"{path}#{task}").state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in state.items())
    with pytest.raises(InputError) as caught:
        build_encoder("resnet18", weights=path)
    assert f"name one of {path}#mask, {path}#mask2" in one_line(caught)
    with pytest.raises(InputError) as caught:
        build_encoder("resnet18", weights=f"{path}#dose")
    assert "no encoder of a task 'dose'; it has mask, mask2" in one_line(caught)


def test_faults_of_a_run_s_weights(tmp_path: Path, small: State) -> None:
    def message(state: State, task: str = "", **options: int) -> str:
        path = tmp_path / "best.safetensors"
        save_file(state, path)
        with pytest.raises(InputError) as caught:
            build_encoder("resnet18", weights=f"{path}{task}", **options)
        text = one_line(caught)
        assert str(path) in text
        return text

    run = of_run(encoder=encoder_state())
    assert "has no encoder for each task; leave out #mask" in message(run, "#mask")
    assert "has no encoder for each task; leave out #mask" in message(small, "#mask")
    assert "2-D weights and the encoder is 3-D" in message(run, spatial_dims=3)
    volumes = of_run(encoders_mask=encoder_state(spatial_dims=3))
    assert "3-D weights and the encoder is 2-D" in message(volumes)
    del run["encoder.layer1.0.bn1.weight"]
    assert "lacks layer1.0.bn1.weight (1 missing" in message(run)
    with pytest.raises(InputError, match="there is no file"):
        build_encoder("resnet18", weights=str(tmp_path / "nowhere.safetensors#mask"))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"\x80\x02}q\x00."])
def test_broken_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        build_encoder("resnet18", weights=tmp_path / name)
    assert name in one_line(caught)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        build_encoder("resnet18", weights=str(tmp_path / "nowhere.pth"))


def test_imagenet_is_downloaded_once(server: Path, cache: Path, small: State) -> None:
    encoder = build_encoder("resnet18", in_channels=3, weights="imagenet")
    assert torch.equal(encoder.conv1.weight.data, small["conv1.weight"])
    assert [path.name for path in cache.iterdir()] == [server.name]
    server.unlink()
    build_encoder("resnet18", weights="imagenet")


def test_offline_says_which_file_where_to_and_which_option(server: Path, cache: Path) -> None:
    server.unlink()
    with pytest.raises(InputError) as caught:
        build_encoder("resnet18", weights="imagenet")
    text = one_line(caught)
    assert server.as_uri() in text
    assert str(cache / server.name) in text
    assert "encoder.weights=PATH" in text
    assert list(cache.iterdir()) == []


def test_a_damaged_download_is_not_kept(server: Path, cache: Path) -> None:
    server.write_bytes(server.read_bytes()[:-1])
    with pytest.raises(InputError, match="download is damaged"):
        build_encoder("resnet18", weights="imagenet")
    assert list(cache.iterdir()) == []


def test_a_damaged_cached_file_is_not_used(server: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / server.name).write_bytes(b"half")
    with pytest.raises(InputError, match="delete it"):
        build_encoder("resnet18", weights="imagenet")


def test_an_unwritable_cache_is_an_input_error(server: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot write to"):
        build_encoder("resnet18", weights="imagenet")


def test_there_are_no_imagenet_weights_of_a_narrow_network(server: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="no ImageNet weights of resnet18-narrow; choose one of resnet18, "):
        build_encoder("resnet18-narrow", weights="imagenet")
    assert not cache.exists()


def test_imagenet_for_volumes_is_refused_before_any_download(server: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="2-D and the encoder is 3-D"):
        build_encoder("resnet18", spatial_dims=3, weights="imagenet")
    assert not cache.exists()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROSSTASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "crosstask"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "crosstask"
