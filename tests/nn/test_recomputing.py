"""Activation checkpointing: the same gradients, statistics and draws, and less that is kept."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crosstask.architectures import ARCHITECTURES, build
from crosstask.nn.recomputing import recompute

TASKS = {"masks": ("pixel", 2), "kind": ("image", 3)}


def kept(network: nn.Module, image: Tensor) -> tuple[dict[str, Tensor], int]:
    """Outputs, and how many bytes are kept for the gradient beside the parameters."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = network(image)
    return outputs, sum(sizes.values())


def with_dropout(network: nn.Module) -> nn.Module:
    """A dropout within each residual block of the last stages."""
    for name, module in list(network.named_modules()):
        if name.endswith(("layer3.1", "layer4.1")):
            module.conv2 = nn.Sequential(nn.Dropout(0.3), module.conv2)
    return network


NAMES = [name for name in ARCHITECTURES if name != "auxiliary"]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_statistics_and_draws_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    plain: Any = with_dropout(build(name, encoder="resnet18-narrow", tasks=TASKS))
    spared = copy.deepcopy(plain)
    assert spared.blocks() and len({id(block) for block in spared.blocks()}) == len(spared.blocks())
    recompute(spared.blocks())
    image = torch.randn(4, 1, 48, 48)
    sizes = []
    for network in (plain, spared):
        torch.manual_seed(3)
        for _ in range(2):
            outputs, size = kept(network, image)
            sum(output.square().mean() for output in outputs.values()).backward()
        sizes.append(size)
        network.drawn = torch.rand(1)
    assert sizes[1] < 0.75 * sizes[0]
    assert torch.equal(plain.drawn, spared.drawn)
    for (key, one), other in zip(plain.named_parameters(), spared.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), key
    for (key, one), other in zip(plain.named_buffers(), spared.buffers(), strict=True):
        assert torch.equal(one, other), key
    assert all(int(buffer) == 2 for key, buffer in spared.named_buffers() if "encoder" in key and "tracked" in key)


def test_no_block_is_within_another() -> None:
    for name in NAMES:
        blocks = build(name, encoder="resnet18-narrow", tasks=TASKS).blocks()
        inner = {id(module) for block in blocks for module in block.modules() if module is not block}
        assert not inner & {id(block) for block in blocks}, name


def test_gradients_may_be_asked_for_twice() -> None:
    network = build("ctan", encoder="resnet18-narrow", tasks={"masks": ("pixel", 2)})
    recompute(network.blocks())
    loss = network(torch.randn(2, 1, 32, 32))["masks"].square().mean()
    first, second = (torch.autograd.grad(loss, list(network.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert int(network.get_buffer("encoder.layer2.0.bn1.num_batches_tracked")) == 1


def test_a_copy_has_weights_of_its_own() -> None:
    network = build("hps", encoder="resnet18-narrow", tasks={"kind": ("image", 2)})
    names = list(network.state_dict())
    recompute(network.blocks())
    twin = copy.deepcopy(network)
    assert list(network.state_dict()) == names
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    image = torch.randn(2, 1, 32, 32)
    assert not twin.train()(image)["kind"].any() and network.train()(image)["kind"].any()
    for network_ in (network, twin):
        network_.train()(image)["kind"].sum().backward()
    assert network.get_parameter("encoder.layer1.0.conv1.weight").grad is not None


def test_nothing_is_kept_or_recomputed_without_gradients() -> None:
    network = build("hps", encoder="resnet18-narrow", tasks={"kind": ("image", 2)}).eval()
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = network(image)["kind"]
        recompute(network.blocks())
        assert torch.equal(network(image)["kind"], expected)
