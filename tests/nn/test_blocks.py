"""Networks given as blocks: how they are divided, that trying them leaves no trace, and what cannot be divided."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from crosstask.architectures import build
from crosstask.errors import InputError
from crosstask.nn.blocks import BlockEncoder
from crosstask.registry import ENCODERS


def block(channels: int, out: int, stride: int = 1, *, pooled: bool = False) -> nn.Sequential:
    """Halves by its convolution, which rounds up, or by a pooling, which rounds down."""
    step, pool = (1, nn.AvgPool2d(stride)) if pooled else (stride, nn.Identity())
    return nn.Sequential(nn.Conv2d(channels, out, 3, step, 1), nn.BatchNorm2d(out), nn.ReLU(), pool)


class Plain(BlockEncoder):
    """Two blocks at 1/4 to 1/32, the stem of one, or what a test asks for."""

    name = "plain"

    def __init__(self, strides: tuple[int, ...] = (2, 2, 1, 2, 1, 2, 1, 2, 1), *, pooled: bool = False) -> None:
        super().__init__(spatial_dims=2, in_channels=1)
        widths = [1, *range(4, 4 + len(strides))]
        self.layers = nn.ModuleList(
            block(wide, out, stride, pooled=pooled)
            for wide, out, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.divide(list(self.layers))


def test_stages_are_the_blocks_of_one_size() -> None:
    encoder = Plain((1, 2, 1, 2, 1, 1, 2, 1, 2, 1, 2, 1, 1)).eval()
    assert encoder.channels == (6, 9, 11, 13, 16)
    assert encoder.shared_channels == (8, 10, 12, 15)
    image = torch.randn(1, 1, 40, 50)
    ends = (3, 6, 8, 10, 13)
    with torch.no_grad():
        features = encoder(image)
        for feature, end in zip(features, ends, strict=True):
            torch.testing.assert_close(feature, nn.Sequential(*encoder.layers[:end])(image))
        torch.testing.assert_close(encoder.stem(image), features[0])
        shared = encoder.shared(4, features[3])
        torch.testing.assert_close(shared, nn.Sequential(*encoder.layers[:12])(image))


def test_the_trial_leaves_no_trace() -> None:
    torch.manual_seed(0)
    encoder = Plain()
    after = torch.rand(1)
    torch.manual_seed(0)
    nn.ModuleList(block(*pair) for pair in zip([1, *range(4, 12)], range(4, 13), strict=True))
    assert torch.equal(after, torch.rand(1))
    assert encoder.training and all(module.training for module in encoder.modules())
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(not norm.num_batches_tracked and not norm.running_mean.any() for norm in norms)
    with torch.device("meta"):
        assert Plain().channels == encoder.channels


def test_a_copy_is_whole() -> None:
    """Its stages are its own layers, not the first one's."""
    encoder = Plain().eval()
    image = torch.randn(1, 1, 40, 40)
    with torch.no_grad():
        before = encoder(image)[-1]
        other = copy.deepcopy(encoder)
        for parameter in other.parameters():
            parameter.zero_()
        assert not other(image)[-1].any()
        torch.testing.assert_close(encoder(image)[-1], before)
    assert not [key for key in encoder.state_dict() if not key.startswith("layers.")]


@pytest.mark.parametrize(
    ("strides", "pooled"),
    [
        ((2, 2, 1, 2, 1, 2, 1), False),  # ends at 1/16
        ((2, 2, 1, 2, 1, 2, 2, 1), False),  # a single block at 1/16
        ((2, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1), False),  # goes on to 1/64
        ((4, 1, 2, 1, 2, 1, 2, 1), False),  # nothing at 1/2
        ((2, 2, 1, 2, 1, 2, 1, 2, 1), True),  # rounds down
    ],
)
def test_what_cannot_be_divided(strides: tuple[int, ...], pooled: bool) -> None:
    with pytest.raises(InputError) as caught:
        Plain(strides, pooled=pooled)
    message = str(caught.value)
    assert "encoder plain: its blocks give sides of" in message and "\n" not in message
    assert "gives 17, 9, 5, 3, 2, each but the first by at least two blocks" in message


def test_the_example_of_the_documentation_is_an_encoder() -> None:
    text = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    try:
        exec(compile(example, "docs/encoders.md", "exec"), {"__name__": "example"})
        network = build("ctan", encoder="small", tasks={"outline": 2}, in_channels=3).eval()
        assert network.encoder.channels == (16, 32, 64, 128, 256)
        with torch.no_grad():
            assert network(torch.randn(1, 3, 33, 50))["outline"].shape == (1, 2, 33, 50)
    finally:
        ENCODERS.remove("small")
