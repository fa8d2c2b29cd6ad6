"""Weights by name and from files: every key, and every way it can go wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from crosstask.errors import InputError
from crosstask.nn import pretrained
from crosstask.nn.encoder import Encoder, build_encoder

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
    assert all(key.endswith("num_batches_tracked") for key in loaded)


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


def test_imagenet_for_volumes_is_refused_before_any_download(server: Path, cache: Path) -> None:
    with pytest.raises(InputError, match="2-D and the encoder is 3-D"):
        build_encoder("resnet18", spatial_dims=3, weights="imagenet")
    assert not cache.exists()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CROSSTASK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert pretrained.cache_folder() == tmp_path / "crosstask"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pretrained.cache_folder() == tmp_path / ".cache" / "crosstask"
