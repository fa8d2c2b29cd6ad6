"""What tasks do to each other, looked at in training: against plain autograd, and without a trace in the weights."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from test_train import StopError, assert_same_weights, break_after, history
from torch import Tensor, nn

import crosstask as ct
from crosstask.architectures import Architecture, build
from crosstask.architectures.base import Architecture as Base
from crosstask.errors import InputError
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.functional.gradients import STEP
from crosstask.registry import WEIGHTINGS
from crosstask.runs import BEST, FINAL, LAST, TRANSFER, RunSpec, check_settings, run_specs
from crosstask.seals import seals_of
from crosstask.store import Store
from crosstask.tasks.base import Head
from crosstask.training import run
from crosstask.training.checkpoint import read_checkpoint
from crosstask.training.module import TrainingModule
from crosstask.training.run import train
from crosstask.training.transfer import Probe
from crosstask.transfer import Figure, read_transfer
from crosstask.weighting import build_weighting


def spec_of(experiment: Experiment, output: Path, method: str = "hps+equal", **training: Any) -> RunSpec:
    values = experiment.model_dump(mode="json")
    values |= {"methods": [method], "output": str(output)}
    values["training"] |= {"epochs": 2, **training}
    return run_specs(experiment_from(values))[0]


def figures(spec: RunSpec, kind: str) -> dict[tuple[int, str, str, str], Figure]:
    found = read_transfer(spec.folder / TRANSFER)
    return {(one.epoch, one.part, one.task, one.other): one for one in found if one.kind == kind}


class Toy(Base):
    """A linear layer of all tasks, and a linear output a task."""

    name = "toy"

    def __init__(self, tasks: dict[str, Head], parts: Any = None) -> None:
        super().__init__(tasks, parts)
        self.body = nn.Linear(3, 4, bias=False)
        self.rest = nn.ModuleList([nn.BatchNorm1d(4), nn.Dropout(0.3)])
        self.decoders.update({task: nn.Linear(4, 1, bias=False) for task in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.body(image)
        for layer in self.rest:
            features = layer(features)
        return {task: decoder(features) for task, decoder in self.decoders.items()}


def toy(*tasks: str, plain: bool = False) -> Toy:
    torch.manual_seed(3)
    network = Toy({task: Head("image", 1) for task in tasks})
    if plain:
        network.rest = nn.ModuleList()
    return network.train()


def squared(network: Base, image: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        task: (output - targets[task]).square().mean() for task, output in network(image).items() if task in targets
    }


def looked(network: Base, losses: dict[str, Tensor], scale: float = 1.0, ahead: Any = None) -> dict[str, Any]:
    probe = Probe(network, every=1)
    probe.start_epoch()
    factor = torch.tensor(scale)
    probe.begin(factor)
    probe.differentiate(losses, factor)
    probe.finish({task: loss.item() for task, loss in losses.items()}, {}, ahead)
    return probe.row(0)


class TestOneBatch:
    """Against plain autograd, on networks that can be followed by hand."""

    @pytest.mark.parametrize("scale", [1.0, 0.25, 1024.0])
    def test_norms_and_cosines_are_those_of_plain_gradients(self, scale: float) -> None:
        network = toy("a", "b", "c")
        image, targets = torch.randn(6, 3), {task: torch.randn(6, 1) for task in "abc"}
        losses = squared(network, image, targets)
        row = looked(network, losses, scale)
        parts = {"body": list(network.body.parameters()), "rest 1": list(network.rest[0].parameters())}
        parts["all"] = parts["body"] + parts["rest 1"]
        for part, parameters in parts.items():
            own = {
                task: torch.cat(
                    [g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]
                ).double()
                for task, loss in losses.items()
            }
            for task, gradient in own.items():
                assert row[f"norm.{part}.{task}"] == pytest.approx(float(gradient.norm()), rel=1e-6)
            for one, other in ("ab", "ac", "bc"):
                cosine = float(own[one] @ own[other] / own[one].norm() / own[other].norm())
                assert row[f"cosine.{part}.{one}.{other}"] == pytest.approx(cosine, abs=1e-6)
                assert row[f"below.{part}.{one}.{other}"] == float(cosine < 0)
        assert row["steps"] == row["together.a.b"] == row["together.c.c"] == 1
        assert list(row) == Probe(network).columns

    def test_opposite_targets_are_minus_one_the_same_are_one(self) -> None:
        network = toy("a", "b", "c", plain=True)
        for decoder in network.decoders.values():
            decoder.load_state_dict(network.decoders["a"].state_dict())
        image = torch.randn(5, 3)
        outputs = network(image)
        losses = {"a": outputs["a"].mean(), "b": -outputs["b"].mean(), "c": outputs["c"].mean()}
        row = looked(network, losses)
        assert row["cosine.all.a.b"] == pytest.approx(-1, abs=1e-6) and row["below.body.a.b"] == 1
        assert row["cosine.all.a.c"] == pytest.approx(1, abs=1e-6) and row["below.body.a.c"] == 0

    def test_tasks_that_use_other_features_are_at_right_angles(self) -> None:
        network = toy("a", "b", plain=True)
        with torch.no_grad():
            network.decoders["a"].weight.copy_(torch.tensor([[1.0, 2.0, 0.0, 0.0]]))
            network.decoders["b"].weight.copy_(torch.tensor([[0.0, 0.0, -1.0, 3.0]]))
        image = torch.randn(5, 3)
        row = looked(network, squared(network, image, {task: torch.randn(5, 1) for task in "ab"}))
        assert row["cosine.body.a.b"] == 0 and row["below.body.a.b"] == 0
        assert row["norm.body.a"] > 0 and row["norm.body.b"] > 0

    def test_a_task_without_a_label_is_in_no_figure(self) -> None:
        network = toy("a", "b", "c")
        row = looked(network, squared(network, torch.randn(6, 3), {task: torch.randn(6, 1) for task in "ac"}))
        assert row["steps"] == row["together.a.c"] == row["together.a.a"] == 1
        assert row["together.a.b"] == row["together.b.b"] == 0
        assert row["norm.all.b"] == row["cosine.all.a.b"] == row["affinity.b.a"] == "" and row["norm.all.c"] > 0

    def test_what_one_of_two_tasks_reaches_is_in_no_cosine(self) -> None:
        network = toy("a", "b")
        features = network.body(torch.randn(5, 3))
        losses = {"a": network.rest[0](features).square().sum() + features.sum(), "b": features.square().mean()}
        row = looked(network, losses)
        assert row["cosine.rest 1.a.b"] == "" and row["norm.rest 1.b"] == 0 and row["norm.rest 1.a"] > 0
        assert row["cosine.all.a.b"] == pytest.approx(row["cosine.body.a.b"], rel=1e-12)

    def test_gradients_that_are_not_finite_are_no_step(self) -> None:
        network = toy("a", "b")
        losses = squared(network, torch.randn(6, 3), {task: torch.randn(6, 1) for task in "ab"})
        row = looked(network, losses | {"b": losses["b"] * math.nan})
        assert row["steps"] == 0 and row["norm.all.a"] == row["cosine.all.a.b"] == ""

    def test_affinity_is_that_of_a_look_ahead_by_hand(self) -> None:
        network, image = toy("a", "b"), torch.randn(8, 3)
        targets = {task: torch.randn(8, 1) for task in "ab"}
        module = module_of(network, targets)
        state = torch.get_rng_state()
        module._drawn, module._looked_at = (state, None), SimpleNamespace(image=image)
        buffers = {name: own.clone() for name, own in network.named_buffers()}
        torch.set_rng_state(state)
        losses = squared(network, image, targets)
        after_forward = {name: own.clone() for name, own in network.named_buffers()}
        drawn = torch.get_rng_state()
        row = looked(network, losses, 4.0, module._losses_with)
        assert torch.equal(torch.get_rng_state(), drawn)
        assert all(torch.equal(own, after_forward[name]) for name, own in network.named_buffers())

        shared = [network.body.weight, network.rest[0].weight, network.rest[0].bias]
        gradients = {task: torch.autograd.grad(loss, shared, retain_graph=True) for task, loss in losses.items()}
        total = sum(loss.item() for loss in losses.values())
        rate = STEP * total / sum(float(one.square().sum()) for own in gradients.values() for one in own)
        kept = [parameter.detach().clone() for parameter in shared]
        for task, own in gradients.items():
            with torch.no_grad():
                for parameter, gradient, value in zip(shared, own, kept, strict=True):
                    parameter.copy_(value - rate * gradient)
                for name, value in buffers.items():
                    network.get_buffer(name).copy_(value)
                torch.set_rng_state(state)
                ahead = squared(network, image, targets)
            for other, loss in losses.items():
                expected = 1 - ahead[other].item() / loss.item()
                assert row[f"affinity.{task}.{other}"] == pytest.approx(expected, abs=2e-6)
        assert row["affinity.a.a"] > 0 and row["affinity.b.b"] > 0

    def test_a_step_that_helps_the_one_hurts_its_opposite(self) -> None:
        network, image = toy("a", "b", "c", plain=True), torch.randn(8, 3)
        for decoder in network.decoders.values():
            decoder.load_state_dict(network.decoders["a"].state_dict())
        target = 5 + torch.randn(8, 1)
        targets = {"a": target, "b": -target, "c": target}
        module = module_of(network, targets)
        module._drawn, module._looked_at = (torch.get_rng_state(), None), SimpleNamespace(image=image)
        row = looked(network, squared(network, image, targets), ahead=module._losses_with)
        assert row["affinity.a.b"] < 0 < row["affinity.a.c"] == pytest.approx(row["affinity.a.a"])


def module_of(network: Base, targets: dict[str, Tensor]) -> TrainingModule:
    """A training module whose losses are squared errors of these targets."""
    module = TrainingModule(network, (), build_weighting("equal", list(targets)), TrainingSection())
    module._losses_from = lambda outputs, batch: (  # type: ignore[method-assign]
        {task: (outputs[task] - target).square().mean() for task, target in targets.items()},
        {},
    )
    module.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    return module


STAGES = ["stem", *(f"stage {stage}" for stage in (1, 2, 3, 4))]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("hps", []),
        ("mtan", ["carry 1", "carry 2", "carry 3"]),
        ("ctan", [*(f"attention {stage}" for stage in (1, 2, 3, 4)), "bottleneck"]),
        ("ctan-gated", [*(f"attention {stage}" for stage in (1, 2, 3, 4)), "bottleneck"]),
        ("cross_stitch", [f"unit {level}" for level in (1, 2, 3, 4, 5)]),
        ("nddr", [f"reduction {level}" for level in (1, 2, 3, 4)]),
    ],
)
def test_parts_are_the_stages_and_what_else_is_shared(name: str, more: list[str]) -> None:
    network: Architecture = build(name, encoder="resnet18-narrow", tasks={"a": ("pixel", 2), "b": ("pixel", 1)})
    parts = network.shared_parts()
    assert list(parts) == [*STAGES, *more]
    assert {id(one) for own in parts.values() for one in own} == {id(one) for one in network.shared_parameters()}
    assert sum(map(len, parts.values())) == len(network.shared_parameters())


def test_an_encoder_of_blocks_has_the_same_parts_and_one_without_stages_is_one() -> None:
    lite = build("hps", encoder="efficientnet-lite0", tasks={"a": ("image", 2), "b": ("image", 1)}, in_channels=3)
    assert list(lite.shared_parts()) == STAGES
    alex = build("auxiliary", encoder="alexnet", tasks={"a": ("image", 2), "b": ("image", 1)}, major="a", in_channels=3)
    assert list(alex.shared_parts()) == ["encoder", "decoders", "fc1"]


@pytest.mark.parametrize(("name", "tasks"), [("hps", ["a"]), ("sequential", ["a", "b"])])
def test_one_task_or_tasks_that_share_nothing_are_not_looked_at(name: str, tasks: list[str]) -> None:
    network = build(name, encoder="resnet18-narrow", tasks={task: ("pixel", 1) for task in tasks})
    assert not Probe(network).sees_anything


def test_which_batches_are_looked_at_follows_from_their_number() -> None:
    network = toy("a", "b")
    assert Probe(network).every == 100 and Probe(toy("a", "b", "c")).every == 150
    probe = Probe(network, every=7)
    due = [number for number in range(40) if probe.is_due(number)]
    assert due == [6, 13, 20, 27, 34]  # never more than one of seven so far
    assert not Probe(network, every=0).sees_anything


@pytest.mark.parametrize("weighting", ["equal", "gradnorm", "famo", "pcgrad"])
def test_training_is_the_same_to_the_bit_with_and_without(
    experiment: Experiment, store: Store, tmp_path: Path, weighting: str
) -> None:
    options = {"accumulate": 2, "gradient_clip": 0.5, "epochs": 2}
    specs = [
        spec_of(experiment, tmp_path / str(every), f"hps+{weighting}", transfer_every=every, **options)
        for every in (0, 1)
    ]
    assert_the_same(specs, store)
    assert not (specs[0].folder / TRANSFER).exists()
    cosines = figures(specs[1], "cosine")
    assert {part for _, part, _, _ in cosines} == {"all", *STAGES}
    assert all(one.steps == 4 and -1 <= one.value <= 1 for one in cosines.values())


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ctan-gated+equal", {}),
        ("ctan+pcgrad", {"precision": "bf16-mixed"}),
        ("hps+equal", {"precision": "bf16-mixed", "channels_last": True}),
        ("nddr+dwa", {"average": 1.0}),
    ],
)
def test_also_with_attention_bfloat16_and_averages(
    experiment: Experiment, store: Store, tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    specs = [spec_of(experiment, tmp_path / str(every), method, transfer_every=every, **options) for every in (0, 1)]
    assert_the_same(specs, store)
    affinities = figures(specs[1], "affinity")
    assert len(affinities) == 2 * 4 and all(affinities[epoch, "", "dose", "dose"].value > 0 for epoch in (0, 1))


def assert_the_same(specs: list[RunSpec], store: Store) -> None:
    states = []
    for spec in specs:
        train(spec, store)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    for name in (FINAL, BEST):
        assert_same_weights(*(spec.folder / name for spec in specs))
    pd.testing.assert_frame_equal(*map(history, specs))


def test_also_where_labels_are_missing(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_from = TrainingModule._losses_from

    def partly(self: TrainingModule, outputs: Any, batch: Any) -> Any:
        found = losses_from(self, outputs, batch)
        if len(set(batch.cases)) == 1:
            return found
        return tuple({task: one for task, one in part.items() if task != "dose"} for part in found)

    monkeypatch.setattr(TrainingModule, "_losses_from", partly)
    for weighting in ("equal", "pcgrad"):
        specs = [
            spec_of(
                experiment, tmp_path / f"{weighting}{every}", f"hps+{weighting}", batch_size=2, transfer_every=every
            )
            for every in (0, 1)
        ]
        assert_the_same(specs, store)
        table = pd.read_csv(specs[1].folder / TRANSFER)
        assert (table["together.segmentation.segmentation"] == 8).all()
        assert ((table["together.segmentation.dose"] < 8) & (table["together.segmentation.dose"] > 0)).all()
        assert (table["together.segmentation.dose"] == table["together.dose.dose"]).all()


def test_a_run_that_goes_on_has_the_same_table_and_the_checkpoints_the_same_state(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"epochs": 4, "transfer_every": 3}  # of four batches an epoch: 1, 1, 1, 1 with other numbers
    whole, broken, without = (
        spec_of(experiment, tmp_path / name, **options | more)
        for name, more in (("whole", {}), ("broken", {}), ("without", {"transfer_every": 0}))
    )
    train(whole, store)
    checkpoints = []
    for spec in (broken, without):
        with monkeypatch.context() as patch:
            break_after(patch, 2)
            with pytest.raises(StopError):
                train(spec, store)
        checkpoints.append(read_checkpoint(spec.folder / LAST))
        assert (spec.folder / TRANSFER).exists() is (spec is broken)
    one, two = checkpoints
    assert_equal_trees(one["optimizer_states"], two["optimizer_states"])
    assert_equal_trees(one["state_dict"], two["state_dict"])
    train(broken, store)
    assert (whole.folder / TRANSFER).read_bytes() == (broken.folder / TRANSFER).read_bytes()
    assert pd.read_csv(whole.folder / TRANSFER)["steps"].tolist() == [1, 1, 2, 1]
    assert_same_weights(whole.folder / FINAL, broken.folder / FINAL)
    assert TRANSFER in seals_of(whole.folder)
    train(spec_of(experiment, tmp_path / "without", **options), store)  # begun before anybody looked
    assert_same_weights(whole.folder / FINAL, without.folder / FINAL)
    assert pd.read_csv(without.folder / TRANSFER)["epoch"].tolist() == [2, 3]


def assert_equal_trees(one: Any, two: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal_trees(one[key], two[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            assert_equal_trees(*pair)
    else:
        assert one == two


def test_a_gradient_method_shows_its_own_gradients_and_one_that_does_not_is_helped(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstask.weighting.aggregators import PCGrad

    class Silent(PCGrad):
        name = "silent"

        def backward(self, losses: Any, step: Any) -> Any:
            from dataclasses import replace

            return super().backward(losses, replace(step, look=None))

    assert PCGrad.shows_gradients and not Silent.shows_gradients and not WEIGHTINGS["equal"].shows_gradients
    asked = []
    differentiate = Probe.differentiate
    monkeypatch.setattr(Probe, "differentiate", lambda *given: (asked.append(1), differentiate(*given))[1])
    ct.register(Silent)
    try:
        specs = [spec_of(experiment, tmp_path / name, f"hps+{name}", transfer_every=1) for name in ("pcgrad", "silent")]
        train(specs[0], store)
        assert not asked
        train(specs[1], store)
        assert len(asked) == 8
    finally:
        WEIGHTINGS.remove("silent")
    tables = [pd.read_csv(spec.folder / TRANSFER) for spec in specs]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weighting", "start", "steps"),
    [
        pytest.param("equal", 2.0**10, 4, marks=pytest.mark.long),
        ("pcgrad", 2.0**10, 4),
        ("pcgrad", 2.0**40, 0),
    ],
)
def test_half_precision_is_looked_at_without_its_factor_and_where_gradients_are_finite(
    experiment: Experiment,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    weighting: str,
    start: float,
    steps: int,
) -> None:
    opened = run.open_trainer

    def halved(settings: object, **options: Any) -> object:
        scaler = torch.amp.GradScaler("cpu", init_scale=start)
        plugins = [*options["plugins"], MixedPrecision("16-mixed", "cpu", scaler=scaler)]
        return opened(settings, **options | {"precision": None, "plugins": plugins})

    monkeypatch.setattr(run, "open_trainer", halved)
    specs = [
        spec_of(experiment, tmp_path / str(every), f"hps+{weighting}", epochs=1, transfer_every=every)
        for every in (0, 1)
    ]
    assert_the_same(specs, store)
    table = pd.read_csv(specs[1].folder / TRANSFER)
    assert table["steps"].tolist() == [steps]
    if steps:
        assert float(table["norm.all.dose"].iloc[0]) < 10 and float(table["affinity.dose.dose"].iloc[0]) > 0
    else:  # the factor is too large
        assert table.filter(like="norm.").isna().all(axis=None)


def test_how_often_it_is_looked_is_no_setting_of_the_run(experiment: Experiment, store: Store, tmp_path: Path) -> None:
    train(spec_of(experiment, tmp_path, epochs=1, transfer_every=1), store)
    check_settings(spec_of(experiment, tmp_path, epochs=1))
    with pytest.raises(InputError, match=r"training\.epochs"):
        check_settings(spec_of(experiment, tmp_path, epochs=3))


def test_a_loss_that_is_no_number_is_the_run_s_own_error(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses_from = TrainingModule._losses_from

    def broken(self: TrainingModule, outputs: Any, batch: Any) -> Any:
        losses, counts = losses_from(self, outputs, batch)
        return {task: loss * (math.nan if task == "dose" else 1) for task, loss in losses.items()}, counts

    monkeypatch.setattr(TrainingModule, "_losses_from", broken)
    for weighting in ("equal", "pcgrad"):
        spec = spec_of(experiment, tmp_path / weighting, f"hps+{weighting}", transfer_every=1)
        with pytest.raises(InputError, match=r"training\.learning_rate: .* not finite"):
            train(spec, store)
