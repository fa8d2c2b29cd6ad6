"""Each architecture: what all must do, and its own figure against a plain reference."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from architecture_tester import PIXEL, ArchitectureTester, Levels, loss, shapes
from torch import Tensor, nn
from torch.nn import functional as F

from crosstask.architectures import ARCHITECTURES, Architecture, build
from crosstask.architectures.options import check_options
from crosstask.errors import InputError
from crosstask.nn.encoder import Encoder
from crosstask.tasks.base import Head, Level


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


def view(own: Tensor, other: list[Tensor], gates: list[float], choice: list[float]) -> Tensor:
    """Reference of what a task sees: each other task with its gate and its part of a softmax, the rest its own."""
    weights = [math.exp(20 * value) for value in choice]
    whole = own
    for value, gate, weight in zip(other, gates, weights, strict=True):
        whole = whole + gate * weight / sum(weights) * (value - own)
    return whole


def gated_reference(
    network: Architecture, image: Tensor, gates: dict[str, list[list[float]]], choices: dict[str, list[list[float]]]
) -> dict[str, Tensor]:
    """The gated figure in plain operations, gates and choices given by task, level and other task."""
    names = list(network.heads)
    others = {task: [name for name in names if name != task] for task in names}
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
            ours = gates[task][number], choices[task][number]
            seen = view(masks[task], [masks[name] for name in others[task]], *ours) * state
            features[task].append(seen)
            pool = stage.pool.pool
            if number < 3:
                seen, pool = F.max_pool2d(seen, 2, ceil_mode=True), pool[1]
            attended[task] = F.relu(conv_norm(pool, seen))
    maps = {task: conv_norm(network.bottleneck.embeddings[task], attended[task]) for task in names}
    tokens = {task: value.flatten(2).mT for task, value in maps.items()}
    outputs = {}
    for task in names:
        e = tokens[task]
        relations = [torch.softmax(tokens[name] @ e.mT / e.shape[2] ** 0.5, dim=2) @ e for name in others[task]]
        looked = view(torch.zeros_like(e), relations, gates[task][4], choices[task][4])
        bottleneck = (e + looked).mT.reshape(maps[task].shape)
        outputs[task] = network.decode(task, [*features[task][:-1], bottleneck], image)
    return outputs


def set_gates(network: Architecture, logit: float) -> None:
    """Every gate's parameter; the choice among the others stays even."""
    with torch.no_grad():
        for gates in network.gates.values():
            for level in gates:
                level.logits.fill_(logit)


OPEN, CLOSED = 1e3, -1e3


class TestGatedCTAN(ArchitectureTester):
    name = "ctan-gated"
    side = 64  # 2 x 2 positions at the bottleneck: with one there is nothing to choose between the others' attention

    @pytest.mark.parametrize("number", [2, 3])
    def test_equals_a_plain_reference_with_any_gates(self, number: int) -> None:
        network = trained_a_little(self.network(number))
        given: dict[str, dict[str, list[list[float]]]] = {"gates": {}, "choices": {}}
        with torch.no_grad():
            for task, levels in network.gates.items():
                for level in levels:
                    gates, choice = torch.rand(number - 1), torch.randn(number - 1) / 20
                    level.logits.copy_((torch.logit(gates) - 3) / 20)
                    given["gates"].setdefault(task, []).append(gates.tolist())
                    given["choices"].setdefault(task, []).append(choice.tolist())
                    if number > 2:
                        level.choice.copy_(choice)
        image = torch.randn(2, 1, 50, 64).double()
        outputs, expected = network(image), gated_reference(network, image, **given)
        for task in network.heads:
            torch.testing.assert_close(outputs[task], expected[task], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("scaled", [True, False])
    @pytest.mark.parametrize("number", [2, 3])
    def test_with_open_gates_it_is_ctan(self, number: int, scaled: bool) -> None:
        network = trained_a_little(self.network(number, scaled_bottleneck=scaled))
        plain = build("ctan", encoder=self.encoder, tasks=network.heads, scaled_bottleneck=scaled).double().eval()
        left = plain.load_state_dict(network.state_dict(), strict=False)
        assert left.missing_keys == [] and all(key.startswith("gates.") for key in left.unexpected_keys)
        image = torch.randn(2, 1, 50, 64).double()
        expected, ajar = plain(image), network(image)
        set_gates(network, OPEN)
        outputs = network(image)
        for task in network.heads:
            torch.testing.assert_close(outputs[task], expected[task], rtol=1e-12, atol=1e-12)
            assert (ajar[task] - expected[task]).abs().max() > 1e-5  # and gates of 0.95 are not 1
            # Eq. (1) and (2) once more, of the reference that the plain one is held against.
            torch.testing.assert_close(outputs[task], ctan_reference(network, image, scaled=scaled)[task])

    @pytest.mark.parametrize("scaled", [True, False])
    def test_with_closed_gates_no_task_sees_another(self, scaled: bool) -> None:
        """Own masks by own masks, the embedding alone at the bottleneck; the other tasks' layers change nothing."""
        network = trained_a_little(self.network(3, scaled_bottleneck=scaled))
        set_gates(network, CLOSED)
        image = torch.randn(2, 1, 50, 64).double()
        outputs = network(image)
        stem, pairs = stages(network, image)
        for task in network.heads:
            features, attended = [stem], None
            for (shared, state), stage in zip(pairs, network.stages, strict=True):
                inputs = shared if attended is None else torch.cat([shared, attended], 1)
                seen = mask(stage.masks[task], inputs) * state
                features.append(seen)
                pool = stage.pool.pool
                if len(features) < 5:
                    seen, pool = F.max_pool2d(seen, 2, ceil_mode=True), pool[1]
                attended = F.relu(conv_norm(pool, seen))
            embedding = conv_norm(network.bottleneck.embeddings[task], attended)
            torch.testing.assert_close(outputs[task], network.decode(task, [*features[:-1], embedding], image))
        with torch.no_grad():
            for stage in network.stages:
                for parameter in stage.masks["diagnosis"].parameters():
                    parameter.add_(1.0)
            for parameter in network.bottleneck.embeddings["diagnosis"].parameters():
                parameter.add_(1.0)
        after = network(image)
        assert not torch.equal(after["diagnosis"], outputs["diagnosis"])
        assert all(torch.equal(after[task], outputs[task]) for task in ("organs", "dose"))

    @pytest.mark.parametrize("number", [2, 3])
    def test_a_task_s_own_loss_alone_moves_its_gates_and_at_every_level(self, number: int) -> None:
        network = self.network(number, "pixel").train()
        outputs = network(torch.randn(2, 1, 64, 64))
        gates = {task: list(network.gates[task].parameters()) for task in network.heads}
        assert all(len(own) == 5 * (2 if number > 2 else 1) for own in gates.values())
        for task, output in outputs.items():
            every = [gate for own in gates.values() for gate in own]
            found = torch.autograd.grad(output.square().mean(), every, retain_graph=True, allow_unused=True)
            by_gate = dict(zip(map(id, every), found, strict=True))
            for other, own in gates.items():
                for gate in own:
                    gradient = by_gate[id(gate)]
                    assert (gradient is None) == (other != task)
                    assert gradient is None or gradient.all()

    def test_gates_have_the_gradient_of_their_task_s_skips(self) -> None:
        """Against a difference quotient of the decoder's input: the gradient at the start is no vanishing one."""
        network = self.network(2, "pixel").double().train()
        gate = network.gates["organs"][0].logits
        image = torch.randn(2, 1, 64, 64).double()
        taken: dict[str, Tensor] = {}
        network.decoders["organs"].register_forward_pre_hook(lambda _, inputs: taken.update(skip=inputs[0][1]))
        network(image)
        skip, weights = taken["skip"], torch.randn_like(taken["skip"])
        (gradient,) = torch.autograd.grad((skip * weights).sum(), gate)
        quotients = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                gate.add_(step)
                network(image)
                quotients.append((taken["skip"] * weights).sum())
                gate.sub_(step)
        torch.testing.assert_close(gradient[0], (quotients[0] - quotients[1]) / 2e-6, rtol=1e-4, atol=1e-6)

    @pytest.mark.slow
    def test_a_task_closes_its_gates_to_one_whose_masks_hide_everything(self) -> None:
        """Beside a task of drawn labels whose masks are held at 0.002; what that task sees is no worse for it."""
        torch.manual_seed(0)
        pair: dict[str, tuple[Level, int]] = {"outline": ("pixel", 1), "noise": ("image", 3)}
        network = build(self.name, encoder="resnet18-narrow", tasks=pair).train()
        for stage in network.stages:
            stage.masks["noise"].requires_grad_(False).attention.layers[1].bias.fill_(-6.0)
        learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(learned, lr=3e-3)
        for _ in range(40):
            image, outline, _ = shapes(8)
            outputs = network(image)
            error = F.binary_cross_entropy_with_logits(outputs["outline"], outline)
            error = error + F.cross_entropy(outputs["noise"], torch.randint(3, (8,)))
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        gates = network.readings()[0].values
        for stage in ("stage 1", "stage 2"):
            assert gates["outline looks at noise"][stage] < 0.85 < 0.9 < gates["noise looks at outline"][stage]

    @pytest.mark.parametrize("mode", [True, False])
    def test_it_computes_the_same_with_gradients_and_without(self, mode: bool) -> None:
        """With gradients the last stage is computed twice; its running statistics take a batch once all the same."""
        networks, image = [self.network(3).train(mode) for _ in range(2)], torch.randn(2, 1, 64, 64)
        with torch.no_grad():
            without = networks[0](image)
        for task, output in networks[1](image).items():
            assert torch.equal(output, without[task])
        for one, other in zip(networks[0].buffers(), networks[1].buffers(), strict=True):
            assert torch.equal(one, other)

    def test_readings_are_the_gates_and_the_choice_by_direction(self) -> None:
        network = self.network(3)
        with torch.no_grad():
            network.gates["dose"][4].logits[0] = -3 / 20  # organs
            network.gates["dose"][1].choice[1] = math.log(3) / 20  # diagnosis
        gates, choice = network.readings()
        assert list(gates.values) == [
            *("organs looks at diagnosis", "organs looks at dose", "diagnosis looks at organs"),
            *("diagnosis looks at dose", "dose looks at organs", "dose looks at diagnosis"),
        ]
        levels = ["stage 1", "stage 2", "stage 3", "stage 4", "bottleneck"]
        open_ = 1 / (1 + math.exp(-3))
        assert gates.values["dose looks at organs"] == pytest.approx(
            {**dict.fromkeys(levels, open_), "bottleneck": 0.5}
        )
        assert gates.values["organs looks at dose"] == pytest.approx(dict.fromkeys(levels, open_))
        assert choice.values["dose looks at diagnosis"] == pytest.approx(
            {**dict.fromkeys(levels, 0.5), "stage 2": 0.75}
        )
        (alone,) = self.network(2).readings()
        assert alone.title == gates.title
        assert self.network(1).readings() == []


class TestCrossStitch(ArchitectureTester):
    name = "cross_stitch"
    encoder = "resnet18-narrow"

    @pytest.mark.parametrize("units", ["channel", "layer"])
    def test_the_figure_in_plain_operations(self, units: str) -> None:
        network = self.network(2, "pixel", units=units).eval()
        with torch.no_grad():
            for unit in network.units:
                unit.alpha.add_(0.1 * torch.randn_like(unit.alpha))
        image = torch.randn(2, 1, 64, 64)
        one, other = (network.encoders[task] for task in network.heads)
        states = [encoder.stem(image) for encoder in (one, other)]
        features: list[list[Tensor]] = [[], []]
        for stage, unit in enumerate(network.units):
            if stage:
                states = [
                    encoder.last(stage, encoder.shared(stage, state))
                    for encoder, state in zip((one, other), states, strict=True)
                ]
            a = unit.alpha.reshape(2, 2, -1, 1, 1)
            states = [a[0, 0] * states[0] + a[0, 1] * states[1], a[1, 0] * states[0] + a[1, 1] * states[1]]
            for own, state in zip(features, states, strict=True):
                own.append(state)
        outputs = network(image)
        for task, own in zip(network.heads, features, strict=True):
            torch.testing.assert_close(outputs[task], network.decode(task, own, image))

    def test_readings_are_the_units_means_by_direction(self) -> None:
        network = self.network(2, "pixel")
        with torch.no_grad():
            network.units[2].alpha[0, 1] = torch.linspace(0, 1, 32)  # organs takes of dose, after stage 2
        (reading,) = network.readings()
        assert reading.values["organs takes of dose"]["stage 2"] == pytest.approx(0.5)
        assert reading.values["organs takes of organs"]["stage 2"] == pytest.approx(0.9)
        assert reading.values["dose takes of organs"] == pytest.approx(
            dict.fromkeys(["stem", "stage 1", "stage 2", "stage 3", "stage 4"], 0.1)
        )

    def test_units_begin_near_the_identity(self) -> None:
        alpha = self.network(3).units[2].alpha
        assert alpha.shape[2] == 32
        wanted = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
        torch.testing.assert_close(alpha.mean(2), wanted)
        assert self.network(1, units="layer").units[0].alpha.flatten().tolist() == [1.0]


class TestNDDR(ArchitectureTester):
    name = "nddr"
    encoder = "resnet18-narrow"

    def test_a_reduction_in_plain_operations(self) -> None:
        network = self.network(3).eval()
        unit = network.reductions[1]["diagnosis"]
        features = {task: torch.randn(2, 16, 5, 7) for task in network.heads}
        together = torch.cat(list(features.values()), dim=1)
        norm = unit.normalise
        wanted = torch.einsum("oc,bchw->bohw", unit.reduce.weight[:, :, 0, 0], together)
        wanted = F.batch_norm(wanted, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        torch.testing.assert_close(unit(features), F.relu(wanted))

    def test_reductions_begin_diagonal(self) -> None:
        weight = self.network(3, "pixel").reductions[0]["dose"].reduce.weight[:, :, 0, 0]
        blocks = weight.split(16, dim=1)
        for block, share in zip(blocks, (0.05, 0.9, 0.05), strict=True):
            torch.testing.assert_close(block, share * torch.eye(16))


class TestSequential(ArchitectureTester):
    name = "sequential"
    encoder = "resnet18-narrow"

    def test_each_network_sees_the_image_and_what_was_predicted_before_it(self) -> None:
        heads = {"age": Head("image", 1), "dose": Head("pixel", 1), "organs": Head("pixel", 3, values="sigmoid"),
                 "body": Head("pixel", 2, values="softmax")}  # fmt: skip
        network = build("sequential", encoder=self.encoder, tasks=heads, in_channels=2).eval()
        assert network.order == ("organs", "body", "dose", "age")
        assert {task: encoder.in_channels for task, encoder in network.encoders.items()} == {
            "organs": 2, "body": 5, "dose": 7, "age": 8,
        }  # fmt: skip
        image = torch.randn(2, 2, 50, 64)
        outputs = network(image)
        seen = image
        for task, shown in (("organs", torch.sigmoid), ("body", lambda raw: raw.softmax(1)), ("dose", lambda raw: raw)):
            expected = network.decode(task, network.encoders[task](seen), image)
            torch.testing.assert_close(outputs[task], expected)
            seen = torch.cat([seen, shown(expected)], dim=1)
        torch.testing.assert_close(outputs["age"], network.decode("age", network.encoders["age"](seen), image))

    def test_the_first_is_learned_as_alone(self) -> None:
        torch.manual_seed(0)
        network = self.network(2, "pixel").train()
        alone = build("stl", encoder=self.encoder, tasks={"organs": PIXEL["organs"]}).train()
        own = {key: value for key, value in network.state_dict().items() if ".organs." in key}
        alone.load_state_dict(own)
        image = torch.randn(2, 1, 32, 32)
        loss(network(image)).backward()
        loss(alone(image)).backward()
        for key, value in alone.named_parameters():
            torch.testing.assert_close(network.get_parameter(key).grad, value.grad)

    def test_another_order(self) -> None:
        network = self.network(2, "pixel", order=["dose", "organs"])
        assert network.order == ("dose", "organs") and list(network.heads) == ["organs", "dose"]
        assert network.encoders["organs"].in_channels == 2 and network.describe() == "dose, then organs"
        with pytest.raises(InputError, match=r"sequential.order: \['dose'\] is not an order of the tasks organs, dose"):
            self.network(2, "pixel", order=["dose"])
        with pytest.raises(InputError, match=r"sequential.order: 'dose' is not accepted; give a list of names"):
            check_options({"sequential": {"order": "dose"}}, ["sequential"])

    def test_encoder_weights_are_loaded(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        state = Encoder(self.encoder, in_channels=1).state_dict()
        torch.save(state, tmp_path / "weights.pth")
        network = self.network(2, "pixel", weights=tmp_path / "weights.pth")
        for task, encoder in network.encoders.items():
            loaded = encoder.state_dict()
            assert all(torch.equal(value, state[key]) for key, value in loaded.items() if key != "conv1.weight"), task
            image, predictions = loaded["conv1.weight"].split([1, encoder.in_channels - 1], dim=1)
            assert torch.equal(image, state["conv1.weight"]) and not predictions.any()


class TestAuxiliary(ArchitectureTester):
    name = "auxiliary"
    image_only = True
    has_major = True

    def test_equals_a_plain_reference(self) -> None:
        network = trained_a_little(self.network(5))  # one softmax, two sigmoids and a quantity beside the major task
        image = torch.randn(2, 1, 50, 64).double()
        outputs = network(image)
        _, pairs = stages(network, image)
        fc0 = pairs[-1][1].mean(dim=(2, 3))
        fc1 = (fc0 @ network.fc1[0].weight.T + network.fc1[0].bias).clamp(min=0)
        nodes = [(fc0 @ network.fc2[0].weight.T + network.fc2[0].bias).clamp(min=0)]
        meaning = {
            "age": lambda raw: raw,
            "grade": lambda raw: raw.exp() / raw.exp().sum(dim=1, keepdim=True),
            "infection": lambda raw: 1 / (1 + (-raw).exp()),
            "signs": lambda raw: 1 / (1 + (-raw).exp()),
        }
        for task, meant in meaning.items():
            raw = fc1 @ network.decoders[task].weight.T + network.decoders[task].bias
            torch.testing.assert_close(outputs[task], raw)
            nodes.append(meant(raw))
        classifier = network.decoders["diagnosis"]
        torch.testing.assert_close(outputs["diagnosis"], torch.cat(nodes, 1) @ classifier.weight.T + classifier.bias)

    @pytest.mark.parametrize(
        ("options", "nodes"),
        [
            ({}, 512),
            ({"positions": 2}, 512 * 4),
            ({"positions": 2, "spatial_dims": 3}, 512 * 8),
            ({"encoder": "alexnet"}, 256),
            ({"encoder": "alexnet", "positions": 6}, 9216),
        ],
    )
    def test_sizes_of_the_fully_connected_layers(self, options: dict[str, Any], nodes: int) -> None:
        network = self.network(4, **{"encoder": "resnet18", "fc1": 20, "fc2": 30, **options})
        assert network.fc1[0].weight.shape == (20, nodes)
        assert network.fc2[0].weight.shape == (30, nodes)
        sizes = {task: tuple(network.decoders[task].weight.shape) for task in network.heads}
        # FC2 and the nodes of age, grade and infection
        assert sizes == {"diagnosis": (7, 30 + 1 + 2 + 1), "age": (1, 20), "grade": (2, 20), "infection": (1, 20)}
        dims, size = (3, 33) if "spatial_dims" in options else (2, 224)
        fc0 = network.eval().fc0(network.encoder(torch.randn(1, 1, *(size,) * dims))[-1])
        assert fc0.shape == (1, nodes)

    def test_the_paper_s_form_has_alexnet_s_layers_and_its_single_task_is_the_default_alexnet(self) -> None:
        with torch.device("meta"):
            alone = self.network(1, encoder="alexnet", in_channels=3, form="paper")
            whole = self.network(4, encoder="alexnet", in_channels=3, form="paper")
        alexnet = 61_100_840 - (4096 + 1) * 1000  # torchvision's, without its classes
        assert sum(parameter.numel() for parameter in alone.parameters()) == alexnet + (4096 + 1) * 7
        order = ["Dropout", "Linear", "ReLU"]
        assert [type(layer).__name__ for layer in alone.fc2] == 2 * order
        assert [tuple(alone.fc2[at].weight.shape) for at in (1, 4)] == [(4096, 9216), (4096, 4096)]
        for branch in (whole.fc1, whole.fc2):
            assert [type(layer).__name__ for layer in branch] == order
            assert branch[1].weight.shape == (4096, 9216)
        assert whole.decoders["diagnosis"].weight.shape == (7, 4096 + 1 + 2 + 1)
        assert "default AlexNet" in alone.describe() and "FC0 of 9216" in whole.describe()

    def test_the_default_alexnet_computes_what_torchvision_s_does(self) -> None:
        network = self.network(1, encoder="alexnet", in_channels=3, form="paper", fc2=16).eval()
        image = torch.randn(2, 3, 224, 224)
        nodes = network.encoder.features(image).flatten(1)
        assert nodes.shape == (2, 9216)
        for layer in (network.fc2[1], network.fc2[4]):
            nodes = (nodes @ layer.weight.T + layer.bias).clamp(min=0)
        classifier = network.decoders["diagnosis"]
        torch.testing.assert_close(network(image)["diagnosis"], nodes @ classifier.weight.T + classifier.bias)

    @pytest.mark.parametrize("number", [1, 3])
    def test_fully_connected_layers_of_imagenet_s_file_are_taken_where_they_fit(
        self, tmp_path: Path, number: int
    ) -> None:
        small = {"encoder": "alexnet", "in_channels": 3, "form": "paper", "fc1": 16, "fc2": 16, "positions": 1}
        state = dict(self.network(1, **small).encoder.state_dict())
        for layer, size in ((1, 256), (4, 16), (6, 16)):
            rows = 1000 if layer == 6 else 16
            state |= {
                f"classifier.{layer}.weight": torch.randn(rows, size),
                f"classifier.{layer}.bias": torch.randn(rows),
            }
        torch.save(state, tmp_path / "alexnet.pth")
        weights = {"weights": tmp_path / "alexnet.pth", "fully_connected": "imagenet"}
        network = self.network(number, **small, **weights)
        branches = [network.fc2] if number == 1 else [network.fc1, network.fc2]
        for branch in branches:
            assert torch.equal(branch[1].weight, state["classifier.1.weight"])
            assert torch.equal(branch[1].bias, state["classifier.1.bias"])
        if number == 1:
            assert torch.equal(network.fc2[4].weight, state["classifier.4.weight"])
        as_in_the_paper = self.network(number, **small, weights=tmp_path / "alexnet.pth")
        assert not torch.equal(as_in_the_paper.fc2[1].weight, state["classifier.1.weight"])
        with pytest.raises(InputError, match=r"layers of \(16, 256\) and the network of \(20, 256\); leave out fc1"):
            self.network(number, **{**small, "fc1": 20, "fc2": 20}, **weights)
        torch.save({key: value for key, value in state.items() if "classifier" not in key}, tmp_path / "encoder.pth")
        with pytest.raises(InputError, match=r"encoder\.pth lacks classifier\.1\.weight, .* set it random"):
            self.network(number, **small, weights=tmp_path / "encoder.pth", fully_connected="imagenet")

    def test_the_major_loss_reaches_the_auxiliary_branch_and_not_the_other_way(self) -> None:
        network = self.network(3).train()
        outputs = network(torch.randn(4, 1, 64, 64))
        branch = [*network.fc1.parameters(), *(network.decoders[task].weight for task in ("age", "grade"))]
        own = [*network.fc2.parameters(), *network.decoders["diagnosis"].parameters()]
        gradients = torch.autograd.grad(
            F.cross_entropy(outputs["diagnosis"], torch.arange(4)), branch, retain_graph=True
        )
        assert all(gradient.any() for gradient in gradients)
        auxiliary = outputs["age"].square().mean() + outputs["grade"].square().mean()
        assert torch.autograd.grad(auxiliary, own, allow_unused=True) == (None,) * len(own)

    def test_the_major_task_alone_is_the_same_network_without_the_auxiliary_branch(self) -> None:
        alone, whole = self.network(1), self.network(3)
        assert {key.split(".")[0] for key in alone.state_dict()} == {"encoder", "fc2", "decoders"}
        assert alone.decoders["diagnosis"].weight.shape == (7, 128)
        state = {key: value for key, value in whole.state_dict().items() if key in alone.state_dict()}
        state["decoders.diagnosis.weight"] = state["decoders.diagnosis.weight"][:, :128]
        alone.load_state_dict(state)
        with torch.no_grad():
            whole.decoders["diagnosis"].weight[:, 128:] = 0
        image = torch.randn(2, 1, 64, 64)
        torch.testing.assert_close(alone.eval()(image)["diagnosis"], whole.eval()(image)["diagnosis"])

    def test_any_task_may_be_the_major_one_and_the_order_of_outputs_stays(self) -> None:
        network = self.network(3, major="grade")
        assert list(network(torch.randn(2, 1, 64, 64))) == ["diagnosis", "age", "grade"]
        assert network.decoders["grade"].weight.shape == (2, 128 + 7 + 1)
        assert network.task_parameters("diagnosis") == []

    @pytest.mark.parametrize("dropout", [0.0, 0.3])
    def test_dropout_leaves_out_its_share_of_both_layers_in_training_alone(self, dropout: float) -> None:
        network = self.network(2, encoder="resnet18", dropout=dropout, fc1=4000, fc2=4000)
        for layers in (network.fc1, network.fc2):
            with torch.no_grad():
                layers[0].bias.fill_(100.0)  # no node is zero by its ReLU
            nodes = torch.zeros(1, 512)
            assert (layers.train()(nodes) == 0).float().mean().item() == pytest.approx(dropout, abs=0.05)
            assert layers.eval()(nodes).all()

    def test_fully_connected_layers_start_gaussian(self) -> None:
        network = self.network(2, encoder="resnet18", fc1=500, fc2=500)
        for layer in (network.fc1[0], network.fc2[0]):
            z = layer.weight.detach().flatten() / (2 / 512) ** 0.5
            assert z.mean().item() == pytest.approx(0, abs=0.02)
            assert z.square().mean().item() == pytest.approx(1, abs=0.02)
            assert z.pow(4).mean().item() == pytest.approx(3, abs=0.1)  # a uniform distribution has 1.8
            assert not layer.bias.any()

    @pytest.mark.parametrize("number", [1, 3])
    def test_every_parameter_of_alexnet_gets_a_gradient(self, number: int) -> None:
        network = self.network(number, encoder="alexnet", in_channels=3).train()
        loss(network(torch.randn(4, 3, 96, 70))).backward()
        assert self.without_gradient(network) == []

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"tasks": PIXEL}, ["'organs' is at pixel level", "image level alone"]),
            ({"major": "stage"}, ["major: 'stage' is no task", "diagnosis, age"]),
            ({"major": None}, ["major: None is no task"]),
            ({"fc1": 0}, ["architecture.auxiliary.fc1: 0", "1 or more"]),
            ({"fc2": 1.5}, ["architecture.auxiliary.fc2: 1.5"]),
            ({"positions": "6x6"}, ["architecture.auxiliary.positions: '6x6'"]),
            ({"dropout": 1.0}, ["architecture.auxiliary.dropout: 1.0", "below 1"]),
            ({"dropout": "half"}, ["architecture.auxiliary.dropout: 'half'"]),
            ({"encoder": "alexnet", "spatial_dims": 3}, ["alexnet is 2-D", "3-D", "ResNet"]),
            (
                {"form": "paper"},
                ["form: the paper's has the fully connected layers of AlexNet", "encoder.name=alexnet"],
            ),
            ({"form": ["paper"]}, ["architecture.auxiliary.form: ['paper']", "pooled or paper"]),
            ({"fully_connected": "imagenet"}, ["fully_connected: ImageNet's layers fit the form paper"]),
            ({"fully_connected": True}, ["fully_connected: True", "random or imagenet"]),
            ({"encoder": "resnet"}, ["there is no encoder 'resnet'", "resnet18", "alexnet"]),
        ],
    )
    def test_refused_in_one_line(self, options: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(InputError) as caught:
            self.network(2, **options)
        message = str(caught.value)
        assert "\n" not in message
        for word in words:
            assert word in message


def test_every_architecture_of_the_table_is_tested() -> None:
    tested = {tester.name for tester in ArchitectureTester.__subclasses__()}
    assert {name for name in ARCHITECTURES if ARCHITECTURES.is_built_in(name)} <= tested
