"""What every architecture must do. A new one inherits :class:`ArchitectureTester` and gives its name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crosstask.architectures import Architecture, build
from crosstask.nn.encoder import EncoderBase, build_extractor
from crosstask.tasks.base import Head, Level

Levels = Literal["pixel", "image", "mixed"]

PIXEL = {
    "organs": Head("pixel", 7, bias=(-3.0, 0.0, 2.0, -7.0, -5.0, -1.0, 1.0)),
    "dose": Head("pixel", 1, bias=(5.0,)),
    "edges": Head("pixel", 2),
    "lesion": Head("pixel", 1),
    "vessels": Head("pixel", 2),
}
IMAGE = {
    "diagnosis": Head("image", 7, bias=(-0.4, -2.2, -2.2, -3.0, -3.3, -4.2, -4.3), values="softmax"),
    "age": Head("image", 1, bias=(50.0,)),
    "grade": Head("image", 2, values="softmax"),
    "infection": Head("image", 1, values="sigmoid"),
    "signs": Head("image", 2, values="sigmoid"),
}
MIXED = {name: (PIXEL | IMAGE)[name] for name in ("organs", "diagnosis", "dose", "age", "grade")}
HEADS: dict[Levels, dict[str, Head]] = {"pixel": PIXEL, "image": IMAGE, "mixed": MIXED}


def tasks(number: int, levels: Levels = "mixed") -> dict[str, Head]:
    return dict(list(HEADS[levels].items())[:number])


def loss(outputs: dict[str, Tensor]) -> Tensor:
    return torch.stack([output.square().mean() for output in outputs.values()]).sum()


def shapes(number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Squares, discs and crosses of random place, size and brightness in noise: image, mask and kind."""
    y, x = (axis.float() for axis in torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij"))
    kinds = torch.arange(number) % 3
    masks = []
    for kind in kinds.tolist():
        (dy, dx), radius = torch.randint(-5, 6, (2,)).tolist(), int(torch.randint(7, 11, ()))
        u, v = (y - 16 - dy).abs(), (x - 16 - dx).abs()
        square = torch.maximum(u, v) <= radius
        masks.append((square, u.square() + v.square() <= radius**2, square & (torch.minimum(u, v) <= 2))[kind])
    mask = torch.stack(masks)[:, None].float()
    brightness = 0.5 + torch.rand(number, 1, 1, 1)
    return mask * brightness + 0.2 * torch.randn(number, 1, 32, 32), mask, kinds


def area(mask: Tensor) -> Tensor:
    """Area of each shape: about zero on average and one in deviation."""
    return (mask.flatten(1).mean(dim=1) - 0.23) / 0.09


class ArchitectureTester:
    """Properties of all architectures: one to five tasks of either level or both, in 2-D and 3-D.

    Attributes:
        name: name in the table.
        encoder: that it is tried with; a narrow one where every task has its own.
        flat: the encoder is for 2-D alone, so an image takes a volume's place.
        learner, steps: encoder and steps of the test in which it learns.
        image_only: it has tasks at image level alone, and gets those whatever levels a test asks for.
        has_major: its first task is its major one, and no other has parameters of its own.
        side: of the images of a training step, the smallest at which every parameter moves.
    """

    name: str
    encoder = "resnet18-narrow"
    flat = False
    learner: ClassVar[dict[str, str]] = {"encoder": "resnet18-narrow"}
    steps = 32
    image_only = False
    has_major = False
    side = 32

    def tasks(self, number: int, levels: Levels) -> dict[str, Head]:
        return tasks(number, "image" if self.image_only else levels)

    def size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        return size[:2] if self.flat else size

    def network(self, number: int = 2, levels: Levels = "mixed", **options: int | float | str | Path) -> Architecture:
        torch.manual_seed(0)
        heads = self.tasks(number, levels)
        if self.has_major:
            options = {"major": next(iter(heads)), **options}
        return build(self.name, **{"encoder": self.encoder, "tasks": heads, **options})  # type: ignore[arg-type]

    # Chosen by pairs: levels with number of tasks, with dimensions, and with even and odd sizes.
    @pytest.mark.parametrize(
        ("levels", "number", "size"),
        [
            ("pixel", 1, (32, 33, 32)),
            ("pixel", 2, (32, 32)),
            ("pixel", 3, (33, 47)),
            ("pixel", 5, (50, 66)),
            ("image", 1, (33, 47)),
            ("image", 2, (32, 34, 50)),
            ("image", 4, (64, 32)),
            ("image", 5, (35, 65)),
            ("mixed", 2, (33, 32, 35)),
            ("mixed", 3, (32, 50)),
            ("mixed", 4, (33, 33)),
            ("mixed", 5, (64, 64)),
        ],
    )
    def test_shapes(self, levels: Levels, number: int, size: tuple[int, ...]) -> None:
        size = self.size(size)
        network = self.network(number, levels, spatial_dims=len(size), in_channels=3).eval()
        with torch.no_grad():
            outputs = network(torch.randn(2, 3, *size))
        assert list(outputs) == list(network.heads)
        assert {task: output.shape for task, output in outputs.items()} == {
            task: (2, head.channels, *size) if head.level == "pixel" else (2, head.channels)
            for task, head in self.tasks(number, levels).items()
        }
        assert all(output.isfinite().all() for output in outputs.values())

    @pytest.mark.parametrize(
        ("levels", "number", "blocks", "size"),
        [
            ("pixel", 2, 4, (50, 66)),
            ("pixel", 3, 5, (64, 64)),
            ("image", 1, 3, (64, 64)),
            ("image", 2, 3, (50, 66)),
            ("image", 2, 3, (50, 32, 32)),
            ("mixed", 2, 3, (50, 32, 32)),
            ("mixed", 3, 4, (50, 66)),
            ("mixed", 5, 5, (64, 64)),
        ],
    )
    def test_every_parameter_gets_a_gradient(
        self, levels: Levels, number: int, blocks: int, size: tuple[int, ...]
    ) -> None:
        size = self.size(size)
        network = self.network(number, levels, spatial_dims=len(size), upsampling_blocks=blocks).train()
        loss(network(torch.randn(2, 1, *size))).backward()
        assert self.without_gradient(network) == []

    @staticmethod
    def without_gradient(network: Architecture) -> list[str]:
        return [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]

    @pytest.mark.parametrize(("levels", "number"), [("pixel", 2), ("image", 2), ("mixed", 5)])
    def test_own_parameters_hear_their_own_task_alone_and_shared_ones_several(
        self, levels: Levels, number: int
    ) -> None:
        network = self.network(number, levels).train()
        heard: dict[int, set[str]] = {id(parameter): set() for parameter in network.parameters()}
        outputs = network(torch.randn(2, 1, 64, 64))
        parameters = list(network.parameters())
        for task, output in outputs.items():
            gradients = torch.autograd.grad(output.square().mean(), parameters, retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    heard[id(parameter)].add(task)
        for index, task in enumerate(network.heads):
            assert bool(network.task_parameters(task)) == (index == 0 or not self.has_major)
            assert all(heard.pop(id(parameter)) == {task} for parameter in network.task_parameters(task))
        shared = network.shared_parameters()
        assert {id(parameter) for parameter in shared} == set(heard)
        assert all(len(heard[id(parameter)]) > 1 for parameter in shared)

    @pytest.mark.parametrize(("levels", "number"), [("image", 2), ("mixed", 3)])
    def test_a_step_without_labels_of_a_task_leaves_its_own_parameters_untouched(
        self, levels: Levels, number: int
    ) -> None:
        network = self.network(number, levels).train()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.01)  # off zero: a gradient of nothing but weight decay is to move it as well
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, weight_decay=1e-2, fused=True)

        def step(labelled: list[str]) -> None:
            outputs = network(torch.randn(2, 1, self.side, self.side))
            # A task without labels has a constant zero for its loss.
            losses = [outputs[task].square().mean() if task in labelled else torch.zeros(()) for task in outputs]
            optimizer.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()
            optimizer.step()

        step(list(network.heads))  # gives Adam its momenta, which must not move anything either
        for missing in network.heads:
            before = {key: value.clone() for key, value in network.named_parameters()}
            step([task for task in network.heads if task != missing])
            own = {id(parameter) for parameter in network.task_parameters(missing)}
            for key, value in network.named_parameters():
                assert torch.equal(value, before[key]) == (id(value) in own), key

    def test_save_and_load(self, tmp_path: Path) -> None:
        network = self.network()
        image = torch.randn(2, 1, 33, 50)
        network(image)  # moves the running statistics
        torch.save(network.state_dict(), tmp_path / "state.pt")
        other = self.network()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1.0)
        other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        self.assert_same(network.eval(), other.eval(), image)

    def test_one_seed_gives_one_network(self) -> None:
        self.assert_same(self.network().train(), self.network().train(), torch.randn(2, 1, 50, 64))

    @staticmethod
    def assert_same(one: Architecture, other: Architecture, image: Tensor) -> None:
        outputs = []
        for network in (one, other):
            torch.manual_seed(1)  # of dropout
            with torch.no_grad():
                outputs.append(network(image))
        expected, actual = outputs
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[task], actual[task]) for task in expected)

    @pytest.mark.parametrize("levels", ["pixel", "image"])
    def test_outputs_start_near_their_bias(self, levels: Levels) -> None:
        with torch.no_grad():
            outputs = self.network(3, levels).train()(torch.randn(4, 1, 64, 64))
        for task, output in outputs.items():
            head = self.tasks(3, levels)[task]
            bias = torch.tensor(head.bias or (0.0,) * head.channels)
            torch.testing.assert_close(output.transpose(0, 1).flatten(1).mean(dim=1), bias, rtol=0, atol=0.2)

    def test_an_image_in_evaluation_does_not_depend_on_its_batch(self) -> None:
        network = self.network().eval()
        images = torch.randn(3, 1, 50, 64)
        with torch.no_grad():
            together, alone = network(images), network(images[1:2])
        for task, output in alone.items():
            torch.testing.assert_close(together[task][1:2], output, rtol=1e-4, atol=1e-5)

    def test_channels_may_come_last_in_memory(self) -> None:
        network, image = self.network().eval(), torch.randn(2, 1, 50, 64)
        with torch.no_grad():
            before = network(image)
            after = network.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
        for task, output in before.items():
            torch.testing.assert_close(after[task], output, rtol=1e-3, atol=1e-4)

    def test_it_trains_on_a_batch_of_one_where_the_last_stage_has_several_positions(self) -> None:
        outputs = self.network().train()(torch.randn(1, 1, 33, 32))
        assert all(output.isfinite().all() for output in outputs.values())

    @pytest.mark.slow
    def test_a_mixed_pair_learns_more_than_a_constant(self) -> None:
        """Outline a shape and name it: after few steps both are far better than the best constants on new pictures.

        Without pixel-level tasks it is asked for the shape's area instead of its outline.
        """
        torch.manual_seed(0)
        extent: tuple[Level, int] = ("image" if self.image_only else "pixel", 1)
        major = {"major": "kind"} if self.has_major else {}
        pair: dict[str, tuple[Level, int]] = {"extent": extent, "kind": ("image", 3)}
        network = build(self.name, **self.learner, tasks=pair, **major).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3, fused=True)
        for _ in range(self.steps):
            image, mask, kind = shapes(16)
            outputs = network(image)
            error = self.error(outputs["extent"], mask) + F.cross_entropy(outputs["kind"], kind)
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        # So early the running statistics are still those of the first steps.
        torch.optim.swa_utils.update_bn([shapes(60)[0], shapes(60)[0]], network)
        image, mask, kind = shapes(60)
        with torch.no_grad():
            outputs = network.eval()(image)
        assert self.error(outputs["extent"], mask) < 0.5 * self.constant_error(mask)
        assert F.cross_entropy(outputs["kind"], kind) < 0.8 * math.log(3)

    def error(self, output: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy of the outline, or squared error of the area in standard deviations."""
        if self.image_only:
            return F.mse_loss(output[:, 0], area(mask))
        return F.binary_cross_entropy_with_logits(output, mask)

    def constant_error(self, mask: Tensor) -> Tensor:
        if self.image_only:
            return area(mask).var(unbiased=False)
        return F.binary_cross_entropy(mask.mean().expand_as(mask), mask)

    def test_encoder_weights_are_loaded(self, tmp_path: Path) -> None:
        weights = tmp_path / "weights.pth"
        state = build_extractor(self.encoder).state_dict()
        torch.save(state, weights)
        network = self.network(weights=weights)
        encoders = [module for module in network.modules() if isinstance(module, EncoderBase)]
        assert encoders
        for encoder in encoders:
            assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
