"""Each architecture: what all must do, and its own figure against a plain reference."""

from __future__ import annotations

import pytest
import torch
from architecture_tester import ArchitectureTester, Levels, loss
from torch import Tensor, nn
from torch.nn import functional as F

from crosstask.architectures import Architecture


def conv_norm(layers: nn.Sequential, features: Tensor, padding: int = 0) -> Tensor:
    """Reference in evaluation mode: the weights of a convolution and of its normalisation, in raw operations."""
    convolution, norm = layers[0], layers[1]
    output = F.conv2d(features, convolution.weight, convolution.bias, padding=padding)
    return F.batch_norm(output, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def mask(module: nn.Module, features: Tensor) -> Tensor:
    """Reference of MTAN's attention module."""
    hidden = F.relu(conv_norm(module.embedding.layers, features))
    return torch.sigmoid(conv_norm(module.attention.layers, hidden))


def stages(network: Architecture, image: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Stem, and U^j and P^j of every stage, by the blocks of MONAI's ResNet."""
    encoder = network.encoder
    stem = F.relu(encoder.bn1(encoder.conv1(image)))
    state = F.max_pool2d(stem, 3, stride=2, padding=1)
    pairs = []
    for layer in (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4):
        shared = nn.Sequential(*list(layer)[:-1])(state)
        state = layer[-1](shared)
        pairs.append((shared, state))
    return stem, pairs


def trained_a_little(network: Architecture) -> Architecture:
    """Running statistics, gains and biases off their neutral values; evaluation mode, double precision."""
    network.train()
    network(torch.randn(2, 1, 64, 64))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return network.double().eval()


class TestSTL(ArchitectureTester):
    name = "stl"

    def test_tasks_share_nothing(self) -> None:
        network = self.network(3)
        assert network.shared_parameters() == []
        own = [{id(parameter) for parameter in network.task_parameters(task)} for task in network.heads]
        assert not (own[0] & own[1] or own[0] & own[2] or own[1] & own[2])


class TestHPS(ArchitectureTester):
    name = "hps"

    def test_is_one_encoder_and_a_decoder_per_task(self) -> None:
        network = self.network(2).eval()
        image = torch.randn(1, 1, 50, 64)
        stem, pairs = stages(network, image)
        features = [stem, *(state for _, state in pairs)]
        for task, output in network(image).items():
            torch.testing.assert_close(output, network.decode(task, features, image))


class TestMTAN(ArchitectureTester):
    name = "mtan"

    def test_equals_a_plain_reference(self) -> None:
        network = trained_a_little(self.network(3))
        image = torch.randn(2, 1, 50, 64).double()
        stem, pairs = stages(network, image)
        outputs = network(image)
        for task in network.heads:
            features = [stem]
            for number, (shared, state) in enumerate(pairs):
                if number:
                    bottleneck = network.carry[number - 1][0]
                    x = F.relu(conv_norm(bottleneck.residual[0], features[-1]))
                    x = F.relu(conv_norm(bottleneck.residual[1], x, padding=1))
                    x = F.relu(conv_norm(bottleneck.residual[2], x) + conv_norm(bottleneck.shortcut, features[-1]))
                    shared = torch.cat([shared, F.max_pool2d(x, 2, ceil_mode=True)], dim=1)
                features.append(mask(network.masks[task][number], shared) * state)
            torch.testing.assert_close(outputs[task], network.decode(task, features, image))

    def test_masks_are_each_task_s_own(self) -> None:
        network = self.network(2)
        one, other = (set(network.masks[task].parameters()) for task in network.heads)
        assert not one & other

    def test_a_task_s_output_does_not_change_with_the_other_tasks(self) -> None:
        network = self.network(2).train()
        image = torch.randn(2, 1, 64, 64)
        with torch.no_grad():
            before = network(image)["organs"]
            for parameter in network.task_parameters("diagnosis"):
                parameter.add_(1.0)
            assert torch.equal(network(image)["organs"], before)


def ctan_reference(network: Architecture, image: Tensor, *, scaled: bool) -> dict[str, Tensor]:
    """Eq. (1) at every stage and eq. (2) at the bottleneck, for two tasks or three."""
    names = list(network.heads)
    stem, pairs = stages(network, image)
    features: dict[str, list[Tensor]] = {task: [stem] for task in names}
    attended: dict[str, Tensor] = {}
    for number, (shared, state) in enumerate(pairs):
        stage = network.stages[number]
        masks = {
            task: mask(stage.masks[task], torch.cat([shared, attended[task]], 1) if number else shared)
            for task in names
        }
        for task in names:
            other = [masks[name] for name in names if name != task]
            crossed = sum(other) / len(other) * state
            features[task].append(crossed)
            pool = stage.pool.pool
            if number < 3:
                crossed, pool = F.max_pool2d(crossed, 2, ceil_mode=True), pool[1]
            attended[task] = F.relu(conv_norm(pool, crossed))
    maps = {task: conv_norm(network.bottleneck.embeddings[task], attended[task]) for task in names}
    tokens = {task: value.flatten(2).mT for task, value in maps.items()}
    outputs = {}
    for task in names:
        e = tokens[task]
        relations = []
        for other in (tokens[name] for name in names if name != task):
            if scaled:
                relations.append(torch.softmax(other @ e.mT / e.shape[2] ** 0.5, dim=2) @ e)
            else:
                relations.append(e @ (other.mT @ e) / e.shape[1])
        attention = sum(relations) / len(relations)
        if not scaled:
            attention = F.layer_norm(attention, attention.shape[2:])
        bottleneck = (e + attention).mT.reshape(maps[task].shape)
        outputs[task] = network.decode(task, [*features[task][:-1], bottleneck], image)
    return outputs


class TestCTAN(ArchitectureTester):
    name = "ctan"

    @pytest.mark.parametrize("scaled", [True, False])
    @pytest.mark.parametrize("number", [2, 3])
    def test_equals_a_plain_reference(self, number: int, scaled: bool) -> None:
        network = trained_a_little(self.network(number, scaled_bottleneck=scaled))
        image = torch.randn(2, 1, 50, 64).double()
        outputs, expected = network(image), ctan_reference(network, image, scaled=scaled)
        for task in network.heads:
            torch.testing.assert_close(outputs[task], expected[task])

    @pytest.mark.parametrize(("levels", "number"), [("mixed", 1), ("mixed", 3), ("image", 2)])
    def test_every_parameter_gets_a_gradient_through_the_poster_s_form(self, levels: Levels, number: int) -> None:
        network = self.network(number, levels, scaled_bottleneck=True).train()
        loss(network(torch.randn(2, 1, 64, 64))).backward()
        assert self.without_gradient(network) == []
