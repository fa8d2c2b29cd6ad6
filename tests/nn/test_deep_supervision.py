"""Heads on coarser stages of decoders: what they compute, and that the network is the same with them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from crosstask.architectures import ARCHITECTURES, build
from crosstask.nn.decoder import OUTPUT_GAIN, OUTPUT_STD, PixelDecoder
from crosstask.nn.deep_supervision import DeepSupervision, halving_mean, stages_below_the_last
from crosstask.tasks.base import Head

CHANNELS = (8, 8, 12, 16, 24)
HEADS = {"organs": Head("pixel", 3, (-2.0, 0.5, 1.0), "sigmoid"), "dose": Head("pixel", 1), "sex": Head("image", 1)}
METHODS = sorted(name for name in ARCHITECTURES if name != "auxiliary")


def features(size: int = 64, dims: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, *(size >> i + 1,) * dims, generator=generator) for i, c in enumerate(CHANNELS)]


@pytest.mark.parametrize(("dims", "blocks", "stages"), [(2, 3, 2), (2, 5, 4), (2, 5, 1), (3, 4, 3)])
def test_heads_look_at_the_stages_below_the_last(dims: int, blocks: int, stages: int):
    decoder = PixelDecoder(CHANNELS, 3, spatial_dims=dims, upsampling_blocks=blocks)
    assert stages_below_the_last(decoder) == blocks - 1
    supervision = DeepSupervision({"organs": decoder}, stages, {"organs": (-2.0, 0.5, 1.0)})
    given = features(64 if dims == 2 else 32, dims)
    size = given[0].shape[2] * 2
    supervision.begin()
    decoder(given, (size,) * dims)
    found = supervision.outputs("organs", (size,) * dims)
    *skips, decoded = given
    expected = []
    for block in decoder.blocks[:-1]:
        skip = skips.pop()
        decoded = block(decoded, skip, skip.shape[2:])
        expected.append(decoded)
    assert len(found) == stages
    mode = "bilinear" if dims == 2 else "trilinear"
    for output, head, stage in zip(found, supervision.heads["organs"], reversed(expected), strict=False):
        raw = interpolate(head(OUTPUT_GAIN * stage), (size,) * dims, mode=mode, align_corners=False)
        torch.testing.assert_close(output, raw, atol=1e-4, rtol=1e-4)
        assert head.bias.tolist() == [-2.0, 0.5, 1.0] and head.weight.std() < 2 * OUTPUT_STD


def test_only_training_is_looked_at_and_the_last_batch_forgotten():
    decoder = PixelDecoder(CHANNELS, 1)
    supervision = DeepSupervision({"dose": decoder}, 1, {"dose": None})
    decoder.eval()(features(), (64, 64))
    with pytest.raises(ValueError, match="zip"):
        supervision.outputs("dose", (64, 64))
    decoder.train()
    for _ in range(3):
        supervision.begin()
        decoder(features(), (64, 64))
        assert len(supervision.outputs("dose", (64, 64))) == 1
    with pytest.raises(ValueError, match="less than 3 stages"):
        DeepSupervision({"dose": decoder}, 3, {"dose": None})


@pytest.mark.parametrize("name", METHODS)
def test_every_architecture_is_the_same_with_heads(name: str):
    torch.manual_seed(0)
    network = build(name, encoder="resnet18-narrow", tasks=HEADS).train()
    decoders = network.pixel_decoders()
    assert list(decoders) == ["organs", "dose"]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    supervision = DeepSupervision(decoders, 2, {task: HEADS[task].bias for task in decoders})
    assert network.state_dict().keys() == before.keys()
    supervision.begin()
    image = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    outputs = network(image)
    coarser = {task: supervision.outputs(task, image.shape[2:]) for task in decoders}
    for task in decoders:
        assert all(one.shape == outputs[task].shape for one in coarser[task])
    loss = sum(value.square().mean() for values in coarser.values() for value in values)
    loss.backward()
    for decoder in decoders.values():
        assert all(parameter.grad is None for parameter in decoder.output.parameters())
        assert all(parameter.grad is None for parameter in decoder.blocks[-1].parameters())
        assert all(parameter.grad is not None for parameter in decoder.blocks[:-1].parameters())
    assert all(parameter.grad is not None for parameter in supervision.parameters())
    other = copy.deepcopy(network).eval()  # as a moving average of the weights has one
    other(image)
    assert len(supervision.outputs("dose", (64, 64))) == 2


def test_each_loss_has_half_the_weight_of_the_one_before():
    losses = [torch.tensor(value) for value in (8.0, 2.0, 4.0)]
    assert float(halving_mean(losses)) == pytest.approx((8 + 2 / 2 + 4 / 4) / (1 + 1 / 2 + 1 / 4))
    assert float(halving_mean(losses[:1])) == 8
    assert float(halving_mean([torch.tensor(3.0)] * 4)) == pytest.approx(3)
