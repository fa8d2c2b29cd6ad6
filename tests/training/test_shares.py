"""A batch that two processes share: losses, gradients, statistics and draws are those of one process with all of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crosstask import ranks
from crosstask.architectures import build
from crosstask.experiment import TrainingSection
from crosstask.nn.shared_norm import SharedBatchNorm, _Normalise, share_batch_norms
from crosstask.sample import Batch
from crosstask.tasks import ClassificationTask, RegressionTask, ScalarTask, SegmentationTask, Task
from crosstask.training.module import TrainingModule
from crosstask.training.sampler import EpochSampler, NumberedSampler, ShareOfBatches
from crosstask.training.shares import GradientSums
from crosstask.training.transfer import Probe
from crosstask.weighting import build_weighting
from together import together

CLASSES = ("a", "b")
FIGURES = {"count": 100, "positive": 30, "cases": 5, "mean": 1.0, "std": 2.0, "median": 0.5}


class Worst(SegmentationTask):
    """A kind of somebody else: its loss is that of the worst sample, which is no function of sums."""

    kind = "worst"

    def loss(self, output: Tensor, target: Tensor, present: Tensor, region: Tensor | None, **_: Any) -> Tensor:
        each = F.binary_cross_entropy_with_logits(output, target, reduction="none").flatten(1).mean(1)
        each = each[self.counted(present)]
        return each.max() if len(each) else output.sum() * 0


def tasks_of(kinds: str) -> tuple[Task, ...]:
    every: dict[str, Task] = {
        "masks": SegmentationTask("masks", "structures", CLASSES),
        "organs": SegmentationTask("organs", "structures", CLASSES, exclusive=True, dice="sample", focal=1.0),
        "overlap": SegmentationTask("overlap", "structures", CLASSES, tversky=(0.3, 0.7)),
        "dose": RegressionTask(
            "dose", "dose", ("dose",), "Gy", structure_array="structures", structures=CLASSES, dvh=0.5
        ),
        "findings": ClassificationTask("findings", "findings", CLASSES, exclusive=False),
        "diagnosis": ClassificationTask("diagnosis", "diagnosis", CLASSES, exclusive=True, class_weights=[1.0, 3.0]),
        "age": ScalarTask("age", "age"),
        "worst": Worst("worst", "structures", CLASSES),
    }
    chosen = tuple(every[name] for name in kinds.split())
    for task in chosen:
        task.fit({name: FIGURES for name in task.classes})
    return chosen


def batch_of(tasks: tuple[Task, ...], size: int = 6) -> Batch:
    """Samples of which some lack labels; the labels of the last task are all in samples 0, 2, 4."""
    generator = torch.Generator().manual_seed(3)
    targets, present = {}, {}
    labels = [*tasks, *(task.masks for task in tasks if task.masks is not None)]
    for task in labels:
        shape = (16, 16) if task.level == "pixel" else ()
        values = torch.rand((size, len(task.classes), *shape), generator=generator)
        if isinstance(task, SegmentationTask):
            values = (values > 0.6).float() * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1) ** torch.arange(size).view(
                -1, 1, 1, 1
            ).remainder(2)
        if isinstance(task, ClassificationTask):
            values = F.one_hot((values[:, 0] > 0.5).long(), 2).float()
        targets[task.name] = values
        present[task.name] = torch.rand((size, len(task.classes)), generator=generator) > 0.3
    alone = tasks[-1].name
    present[alone] = torch.zeros_like(present[alone])
    present[alone][::2] = True
    region = torch.rand((size, 1, 16, 16), generator=generator) > 0.2
    image = torch.rand((size, 1, 16, 16), generator=generator)
    return Batch(image, targets, present, region, [str(index) for index in range(size)], [()] * size)


def share_of(batch: Batch) -> Batch:
    own = slice(ranks.rank(), None, ranks.world_size())
    return Batch(
        batch.image[own],
        {name: values[own] for name, values in batch.targets.items()},
        {name: values[own] for name, values in batch.present.items()},
        None if batch.region is None else batch.region[own],
        batch.cases[own],
        batch.positions[own],
    )


def two_steps(kinds: str, weighting: str, every: int = 0, **settings: Any) -> dict[str, Any]:
    """Losses, weights and gradients of two accumulated batches, the second of them in another order."""
    tasks = tasks_of(kinds)
    torch.manual_seed(0)
    network = build(
        "hps", encoder="resnet18-narrow", tasks=tasks, spatial_dims=2, in_channels=1, upsampling_blocks=3
    ).train()
    if ranks.world_size() > 1:
        share_batch_norms(network, torch.device("cpu"))
    section = TrainingSection(accumulate=2, device="cpu", **settings)
    probe = Probe(network, every) if every else None
    module = TrainingModule(
        network, tasks, build_weighting(weighting, [task.name for task in tasks]), section, probe=probe
    )
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        is_last_batch=False, current_epoch=0, num_training_batches=2, precision="32", global_rank=ranks.rank()
    )
    module.weighting.start_epoch()
    module._weights = {task.name: [] for task in tasks}
    module._sums = {task.name: [] for task in tasks}
    batch = batch_of(tasks)
    for index in range(2):
        module.on_train_batch_start(batch, index)
        loss = module.training_step(share_of(batch), index)
        assert loss is not None
        module.backward(loss / 2)
        batch = batch_of(tasks, 5)
    learned = [] if not module.weighting.parameters() else [one.grad for one in module.weighting.parameters()]
    return {
        "losses": {name: torch.stack(sums) for name, sums in module._sums.items()},
        "weights": {name: torch.stack(found) if found else torch.zeros(0) for name, found in module._weights.items()},
        "gradients": {name: one.grad for name, one in network.named_parameters()},
        "buffers": {name: one for name, one in network.named_buffers() if one.is_floating_point()},
        "learned": learned,
        "row": None if probe is None else probe.row(0),
    }


def assert_alike(found: Any, wanted: Any, what: str = "") -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), what
        for name in wanted:
            assert_alike(found[name], wanted[name], f"{what}.{name}")
    elif isinstance(wanted, list):
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_alike(one, other, f"{what}[{index}]")
    elif wanted is None or isinstance(wanted, str | int):
        assert found == wanted, what
    elif isinstance(wanted, float):  # of the table of looks: cosines and affinities of steps that are rounded
        assert found == pytest.approx(wanted, rel=2e-2, abs=1e-3), what
    else:
        one, other = torch.as_tensor(found).double(), torch.as_tensor(wanted).double()
        scale = float(other.abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(
            one, other, rtol=2e-3, atol=2e-4 * max(scale, 1e-6), msg=lambda text: f"{what}: {text}"
        )


CASES = [
    ("masks dose", "equal", {}),
    ("masks dose findings age", "dwa", {}),
    ("organs overlap diagnosis", "uncertainty", {}),
    ("masks diagnosis", "pcgrad", {}),
    ("masks dose age", "gradnorm", {}),
    ("dose findings", "rlw", {}),
    ("masks dose", "equal", {"every": 2}),
    ("masks age", "mgda", {"every": 1}),
    ("worst dose", "stch", {}),
    ("masks worst", "cagrad", {}),
]


def _all_cases() -> list[Any]:
    return [two_steps(kinds, weighting, **options) for kinds, weighting, options in CASES]


@pytest.fixture(scope="module")
def both() -> list[Any]:
    return together(_all_cases)


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: " ".join(CASES[index][:2]))
def test_losses_gradients_and_statistics_are_those_of_one_process(both: list[Any], index: int):
    kinds, weighting, options = CASES[index]
    wanted = two_steps(kinds, weighting, **options)
    assert any(float(one.abs().max()) > 0 for one in wanted["gradients"].values() if one is not None)
    for rank, found in enumerate(both):
        assert_alike(found[index], wanted, f"rank {rank}")


def _normalised(values: Tensor, upstream: Tensor) -> list[Tensor]:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
    share_batch_norms(norm, torch.device("cpu"))
    assert isinstance(norm, SharedBatchNorm)
    own = slice(ranks.rank(), None, ranks.world_size())
    x = values[own].clone().requires_grad_()
    out = norm(x)
    (out * upstream[own]).sum().backward()
    return [out.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]  # type: ignore[list-item]


def test_batch_normalisation_is_that_of_the_whole_batch():
    torch.manual_seed(1)
    values = 100 + torch.randn(5, 3, 4, 4)  # far from zero, where a variance by sums of squares would be lost
    upstream = torch.randn(5, 3, 4, 4)
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
    x = values.clone().requires_grad_()
    wanted = norm(x)
    (wanted * upstream).sum().backward()
    found = together(_normalised, values, upstream)
    assert x.grad is not None
    for rank, (out, gradient, _, _, mean, variance) in enumerate(found):
        own = slice(rank, None, 2)
        torch.testing.assert_close(out, wanted[own].detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient, x.grad[own], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close((mean, variance), (norm.running_mean, norm.running_var))
    torch.testing.assert_close(found[0][2] + found[1][2], norm.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0][3] + found[1][3], norm.bias.grad, rtol=1e-4, atol=1e-4)


def test_shared_normalisation_of_one_process_is_the_plain_one():
    torch.manual_seed(1)
    x, plain, shared = torch.randn(4, 3, 2, 2), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    share_batch_norms(shared, torch.device("cpu"))
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(plain.eval()(x), shared.eval()(x))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_formula_of_shared_normalisation(kind: torch.dtype, layout: torch.memory_format):
    torch.manual_seed(1)
    norm = SharedBatchNorm(3)
    values = (2 + torch.randn(4, 3, 5, 5)).to(kind).contiguous(memory_format=layout)
    upstream = torch.randn(4, 3, 5, 5).to(kind)
    gradients = []
    for shared in (False, True):
        x = values.clone().requires_grad_()
        norm.zero_grad()
        if shared:
            mean, variance, count = norm._statistics(x)
            out = _Normalise.apply(x, norm.weight, norm.bias, mean, variance, count, norm.eps)
        else:
            out = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
        out.backward(upstream)
        assert x.grad is not None and x.grad.dtype == kind and out.dtype == kind
        gradients.append([out.detach().float(), x.grad.float(), norm.weight.grad, norm.bias.grad])
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    for wanted, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, **close)


def _twice() -> list[Tensor]:
    """A weighting that goes back several times: what was sent after the first is not the sum."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    unused = nn.Linear(2, 2)
    sums = GradientSums([*layers.parameters(), *unused.parameters()])
    x = torch.arange(8.0).view(2, 4) + ranks.rank()
    sums.begin()
    for factor in (1.0, 3.0):
        (factor * layers(x).sum()).backward()
    sums.finish()
    assert all(one.grad is None for one in unused.parameters())
    return [one.grad for one in layers.parameters()]  # type: ignore[misc]


def test_gradients_that_come_twice_are_added_up_once_all_are_there():
    first, second = together(_twice)
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    for rank in range(2):
        (4 * layers(torch.arange(8.0).view(2, 4) + rank).sum()).backward()
    for one, other, parameter in zip(first, second, layers.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad)
        assert torch.equal(one, other)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_together_see_the_batches_of_one(world: int):
    order = NumberedSampler(
        EpochSampler(50, 23, 4, strata=[range(10), range(10, 50)], labelled=[range(5)], foreground=0.3, pools=[[1, 2]])
    )
    order.set_epoch(2)
    whole = list(ShareOfBatches(order, 5))
    draws = list(order)
    assert [draw for batch in whole for draw in batch] == draws[:20]
    shares = [list(ShareOfBatches(order, 5, rank, world)) for rank in range(world)]
    for index, batch in enumerate(whole):
        parts = [share[index] for share in shares]
        assert {len(part) for part in parts} <= {5 // world, -(-5 // world)}
        assert sorted(draw for part in parts for draw in part) == sorted(batch)
    assert np.array_equal([len(share) for share in shares], [4] * world)
