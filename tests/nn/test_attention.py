"""The attention modules against a plain reference in raw torch operations, and their properties."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosstask.functional.attention import cross_task_attention
from crosstask.nn.attention import CrossTaskBottleneck, CrossTaskPool, TaskMask, others, together


def randomised(module: nn.Module) -> nn.Module:
    """Evaluation mode, with statistics, gains and biases that are not the neutral ones."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.dtype.is_floating_point:
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor))
    return module.double().eval()


def conv_norm(layers: nn.Sequential, features: Tensor) -> Tensor:
    """Reference: 1x1 convolution as a matrix product over channels, batch normalisation written out."""
    convolution, norm = layers[0], layers[1]
    weight = convolution.weight.flatten(1)
    output = torch.einsum("oc,bc...->bo...", weight, features)
    column = (1, -1) + (1,) * (features.dim() - 2)
    if convolution.bias is not None:
        output = output + convolution.bias.view(column)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (output - norm.running_mean.view(column)) * scale.view(column) + norm.bias.view(column)


def size(spatial_dims: int) -> tuple[int, ...]:
    return (5, 4, 3)[:spatial_dims]


@pytest.mark.parametrize("positions", [1, 7])
def test_literal_attention_is_eq_2_entry_by_entry(positions: int) -> None:
    embedding, other = torch.randn(2, positions, 3).double(), torch.randn(2, positions, 3).double()
    expected = torch.zeros_like(embedding)
    for b in range(2):
        for n in range(positions):
            for c in range(3):
                for d in range(3):
                    relation = sum(other[b, m, d] * embedding[b, m, c] for m in range(positions))
                    expected[b, n, c] += embedding[b, n, d] * relation
    torch.testing.assert_close(cross_task_attention(embedding, other, scaled=False), expected)


def test_scaled_attention_is_a_softmax_over_the_own_positions() -> None:
    embedding, other = torch.randn(2, 7, 3).double(), torch.randn(2, 7, 3).double()
    expected = torch.zeros_like(embedding)
    for b in range(2):
        for n in range(7):
            logits = torch.stack([(other[b, n] * embedding[b, m]).sum() / 3**0.5 for m in range(7)])
            weights = logits.exp() / logits.exp().sum()
            expected[b, n] = sum(weights[m] * embedding[b, m] for m in range(7))
    actual = cross_task_attention(embedding, other, scaled=True)
    torch.testing.assert_close(actual, expected)
    assert (actual <= embedding.amax(dim=1, keepdim=True) + 1e-12).all()
    assert (actual >= embedding.amin(dim=1, keepdim=True) - 1e-12).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_attention_moves_with_the_positions(scaled: bool) -> None:
    embedding, other = torch.randn(2, 7, 3).double(), torch.randn(2, 7, 3).double()
    order = torch.randperm(7)
    moved = cross_task_attention(embedding[:, order], other[:, order], scaled=scaled)
    torch.testing.assert_close(moved, cross_task_attention(embedding, other, scaled=scaled)[:, order])


def test_attention_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="b n c"):
        cross_task_attention(torch.zeros(1, 2, 3), torch.zeros(1, 3, 3), scaled=True)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_mask_is_conv_norm_relu_conv_norm_sigmoid(spatial_dims: int) -> None:
    mask = randomised(TaskMask(12, 8, spatial_dims=spatial_dims))
    features = torch.randn(2, 12, *size(spatial_dims)).double()
    hidden = conv_norm(mask.embedding.layers, features).clamp(min=0)
    expected = 1 / (1 + torch.exp(-conv_norm(mask.attention.layers, hidden)))
    assert hidden.shape[1] == 2  # a quarter of the channels of P
    torch.testing.assert_close(mask(features), expected)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_open_masks_begin_by_letting_nearly_everything_through(spatial_dims: int) -> None:
    features = torch.randn(8, 12, *(8, 8, 8)[:spatial_dims])
    values = TaskMask(12, 64, spatial_dims=spatial_dims, starts_open=True)(features).flatten()
    assert 0.93 < values.mean() < 0.96
    assert values.quantile(0.02) > 0.85 and values.max() < 1  # not so far that a sigmoid has no gradient left
    usual = TaskMask(12, 64, spatial_dims=spatial_dims)(features).flatten()
    assert abs(usual.mean() - 0.5) < 0.03 and usual.quantile(0.02) < 0.2


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("tasks", ["a", "ab", "abc"])
def test_cross_task_pool_is_eq_1(spatial_dims: int, tasks: str) -> None:
    module = randomised(CrossTaskPool(6, 4, spatial_dims=spatial_dims))
    masks = {task: torch.rand(2, 6, *size(spatial_dims)).double() for task in tasks}
    shared = torch.randn(2, 6, *size(spatial_dims)).double()
    skips, attended = module(masks, shared)
    seen = {
        "a": {"a": masks["a"]},
        "ab": {"a": masks.get("b"), "b": masks["a"]},
        "abc": {
            "a": (masks.get("b", 0) + masks.get("c", 0)) / 2,
            "b": (masks["a"] + masks.get("c", 0)) / 2,
            "c": (masks["a"] + masks.get("b", 0)) / 2,
        },
    }[tasks]
    pool = F.max_pool2d if spatial_dims == 2 else F.max_pool3d
    for task in tasks:
        product = seen[task] * shared
        torch.testing.assert_close(skips[task], product)
        torch.testing.assert_close(
            attended[task], conv_norm(module.pool[1], pool(product, 2, ceil_mode=True)).clamp(min=0)
        )


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("tasks", ["a", "ab", "abc"])
@pytest.mark.parametrize("scaled", [False, True])
def test_cross_task_bottleneck_is_eq_2_on_embeddings(spatial_dims: int, tasks: str, scaled: bool) -> None:
    module = randomised(CrossTaskBottleneck(tasks, 6, 4, spatial_dims=spatial_dims, scaled=scaled))
    features = {task: torch.randn(2, 6, *size(spatial_dims)).double() for task in tasks}
    maps = {task: conv_norm(module.embeddings[task], features[task]) for task in tasks}
    tokens = {task: value.flatten(2).mT for task, value in maps.items()}
    outputs = module(features)
    for task in tasks:
        attended = []
        for other in [name for name in tasks if name != task] or [task]:
            if scaled:
                weights = torch.softmax(tokens[other] @ tokens[task].mT / 4**0.5, dim=-1)
                attended.append(weights @ tokens[task])
            else:
                attended.append(tokens[task] @ (tokens[other].mT @ tokens[task]) / tokens[task].shape[1])
        attention = sum(attended) / len(attended)
        if not scaled:
            centred = attention - attention.mean(dim=2, keepdim=True)
            variance = attention.var(dim=2, keepdim=True, correction=0)
            attention = centred / torch.sqrt(variance + 1e-5)
        expected = (tokens[task] + attention).mT.reshape(maps[task].shape)
        torch.testing.assert_close(outputs[task], expected)


def test_literal_bottleneck_does_not_blow_up() -> None:
    torch.manual_seed(0)
    module = CrossTaskBottleneck("ab", 16, 16, spatial_dims=2, scaled=False)
    features = {task: 1000 * torch.randn(2, 16, 8, 8) for task in "ab"}
    for output in module(features).values():
        assert output.abs().max() < 20


def test_others() -> None:
    assert others(["a", "b", "c"], "b") == ["a", "c"]
    assert others(["a"], "a") == ["a"]


def test_together_normalises_all_tasks_as_one_batch() -> None:
    norm = nn.BatchNorm2d(1, affine=False)
    outputs = together(norm, {"a": torch.zeros(2, 1, 2, 2), "b": torch.ones(2, 1, 2, 2)})
    torch.testing.assert_close(outputs["a"], torch.full((2, 1, 2, 2), -1.0), rtol=0, atol=1e-4)
    torch.testing.assert_close(outputs["b"], torch.full((2, 1, 2, 2), 1.0), rtol=0, atol=1e-4)
