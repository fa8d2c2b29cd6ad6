"""Every architecture over encoders that are no ResNet: U^j and P^j may have different numbers of channels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from architecture_tester import ArchitectureTester, loss, tasks
from safetensors.torch import save_file

from crosstask.architectures import ARCHITECTURES, build
from crosstask.nn.encoder import EncoderBase, build_encoder

ENCODERS = ("efficientnet-lite0", "monai/densenet121", "monai/efficientnet-b0", "monai/seresnet50")


class TestCTANOverEfficientNetLite(ArchitectureTester):
    name = "ctan"
    encoder = "efficientnet-lite0"
    flat = True
    learner: ClassVar[dict[str, str]] = {"encoder": "efficientnet-lite0", "weights": "imagenet"}
    steps = 18

    @pytest.mark.long
    @pytest.mark.slow
    def test_a_mixed_pair_learns_more_than_a_constant(self) -> None:
        """Over a ResNet it learns every time."""
        super().test_a_mixed_pair_learns_more_than_a_constant()


def options_of(name: str) -> dict[str, object]:
    """All tasks at image level where an architecture has a major one."""
    heads = tasks(2, "image" if ARCHITECTURES[name].needs_major else "mixed")
    return {"tasks": heads, **({"major": next(iter(heads))} if ARCHITECTURES[name].needs_major else {})}


# Every architecture over the encoder of the ImageNet weights; of the others those that use U^j, in either dimension.
PAIRS = [(name, ENCODERS[0], (50, 35)) for name in ARCHITECTURES]
PAIRS += [("ctan", encoder, (50, 35)) for encoder in ENCODERS[1:]]
PAIRS += [("mtan", encoder, (33, 33, 33)) for encoder in ENCODERS[1:3]]


@pytest.mark.parametrize(("name", "encoder", "size"), PAIRS)
def test_every_parameter_takes_part(name: str, encoder: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = build(name, encoder=encoder, spatial_dims=len(size), in_channels=2, **options_of(name)).train()
    outputs = network(torch.randn(2, 2, *size))
    for task, output in outputs.items():
        head = network.heads[task]
        assert output.shape == (2, head.channels, *(size if head.level == "pixel" else ()))
    loss(outputs).backward()
    assert ArchitectureTester.without_gradient(network) == []


@pytest.mark.parametrize("architecture", ["stl", "ctan"])
def test_the_weights_of_a_run_are_a_start_for_another(tmp_path: Path, architecture: str) -> None:
    """With its normalisation, and for images of another number of channels."""
    heads = {"organs": ("pixel", 2), "kind": ("image", 3)}
    run = build(architecture, encoder=ENCODERS[0], tasks=heads, in_channels=3, weights="imagenet")
    save_file(run.state_dict(), tmp_path / "best.safetensors")
    task = "#kind" if architecture == "stl" else ""
    weights = f"{tmp_path / 'best.safetensors'}{task}"
    other = build("hps", encoder=ENCODERS[0], tasks=heads, in_channels=3, weights=weights)
    for one in (module for module in run.modules() if isinstance(module, EncoderBase)):
        wanted = one.state_dict()
        assert "normalisation.mean" in wanted
        found = other.encoder.state_dict()
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
    grey = build_encoder(ENCODERS[0], in_channels=1, weights=weights).eval()
    image = 2 * torch.rand(1, 1, 64, 64) - 1
    with torch.no_grad():
        one, three = grey.stem(image), other.encoder.eval().stem(image.expand(-1, 3, -1, -1))
    torch.testing.assert_close(one[:, :, 2:-2, 2:-2], three[:, :, 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
