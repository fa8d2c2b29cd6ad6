"""Runs with a weighting of each kind: resumed to the bit, also where accumulated batches lack labels."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from safetensors.torch import load_file

from crosstask.architectures import build
from crosstask.errors import InputError
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.registry import WEIGHTINGS
from crosstask.runs import FINAL, HISTORY, LAST, LOCK, RunSpec, is_trained, run_specs
from crosstask.sample import Batch
from crosstask.store import Store
from crosstask.tasks import RegressionTask, SegmentationTask
from crosstask.training import run
from crosstask.training.check import check_specs
from crosstask.training.module import TrainingModule
from crosstask.training.run import train
from crosstask.weighting import build_weighting


def spec_of(experiment: Experiment, weighting: str, output: Path, **training: object) -> RunSpec:
    values = experiment.model_dump(mode="json")
    values |= {"methods": [f"hps+{weighting}"], "output": str(output)}
    values["training"] |= {"epochs": 2, "samples_per_epoch": 16, "accumulate": 2, **training}
    (plan,) = run_specs(experiment_from(values))
    return plan


def history(plan: RunSpec) -> pd.DataFrame:
    return pd.read_csv(plan.folder / HISTORY).drop(columns="seconds")


# Those that go on from nothing but the network and its optimiser, as PCGrad does, which draws an order besides.
_LIKE_PCGRAD = ("cagrad", "mgda", "imtl_g", "aligned_mtl", "upgrad")


@pytest.mark.parametrize(
    "weighting",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in _LIKE_PCGRAD))
        for name in WEIGHTINGS
        if name not in ("fixed", "spearman")
    ],
)
def test_a_broken_run_resumes_to_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    whole, broken = (spec_of(experiment, weighting, tmp_path / name) for name in ("whole", "broken"))
    step = TrainingModule.training_step

    def copying(self: TrainingModule, batch: object, index: int) -> object:
        if self.current_epoch == 1 and index == 3:  # what a run that dies here leaves behind
            shutil.copytree(whole.folder, broken.folder, ignore=shutil.ignore_patterns(LOCK))
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", copying)
        train(whole, store, tell=lambda line: None)
    assert not is_trained(broken) and (broken.folder / LAST).exists()
    assert train(broken, store, tell=lambda line: None)["training"]["epochs"] == 2
    one, two = load_file(whole.folder / FINAL), load_file(broken.folder / FINAL)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not any("weighting" in key or "logits" in key or "variance" in key for key in one)
    pd.testing.assert_frame_equal(history(whole), history(broken))
    weights = history(whole).filter(like="weight/")
    assert weights.shape == (2, 2) and weights.notna().all(axis=None)


@pytest.mark.parametrize("weighting", ["pcgrad", "famo"])
def test_a_step_is_taken_where_the_last_accumulated_batch_has_no_label(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    step, losses_of = TrainingModule.training_step, TrainingModule._losses_of

    def numbered(self: TrainingModule, batch: object, index: int) -> object:
        self.without = index % 2 == 1
        found = step(self, batch, index)
        self.without = False
        return found

    def unlabelled(self: TrainingModule, batch: object) -> object:
        return ({}, {}) if self.without else losses_of(self, batch)

    monkeypatch.setattr(TrainingModule, "training_step", numbered)
    monkeypatch.setattr(TrainingModule, "_losses_of", unlabelled)
    plan = spec_of(experiment, weighting, tmp_path, epochs=1)
    train(plan, store, tell=lambda line: None)
    assert history(plan).filter(like="weight/").notna().all(axis=None)


def test_the_history_has_the_weights_of_an_epoch_to_the_last_digit(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    plan = spec_of(experiment, "dwa", tmp_path, epochs=3)
    train(plan, store, tell=lambda line: None)
    found = history(plan)
    losses = found.filter(like="loss/")
    rates = (losses.iloc[1] / losses.iloc[0]).to_numpy() / 2.0
    expected = 2 * torch.softmax(torch.from_numpy(rates), 0)
    assert found.filter(like="weight/").iloc[2].tolist() == pytest.approx(expected.tolist(), rel=1e-14)


def test_half_precision_steps_where_gradients_are_finite_and_not_where_they_are_not(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, found = run.open_trainer, {}
    for start in (2.0**40, 2.0**10):
        scaler = torch.amp.GradScaler("cpu", init_scale=start)

        def halved(settings: object, scaler: object = scaler, **options: object) -> object:
            options["precision"] = None
            options["plugins"] = [*options["plugins"], _half(scaler)]
            return opened(settings, **options)

        monkeypatch.setattr(run, "open_trainer", halved)
        plan = spec_of(experiment, "pcgrad", tmp_path / str(start), epochs=1, gradient_clip=1.0)
        train(plan, store, tell=lambda line: None)
        found[start] = load_file(plan.folder / FINAL)["encoder.conv1.weight"]
        assert scaler.get_scale() == start * (0.25 if start == 2.0**40 else 1.0)  # halved for each step left out
    assert all(torch.isfinite(weights).all() for weights in found.values())
    assert not torch.equal(*found.values())


def _half(scaler: torch.amp.GradScaler) -> MixedPrecision:
    return MixedPrecision("16-mixed", "cpu", scaler=scaler)


def test_single_task_learning_is_trained_once_for_all_weightings(experiment: Experiment) -> None:
    values = experiment.model_dump(mode="json")
    values["methods"] = ["stl", "hps", "hps+pcgrad", "ctan", "ctan+uncertainty"]
    plans = run_specs(experiment_from(values))
    assert [plan.name for plan in plans] == [
        "stl/seed0/segmentation",
        "stl/seed0/dose",
        "hps/seed0",
        "hps+pcgrad/seed0",
        "ctan/seed0",
        "ctan+uncertainty/seed0",
    ]
    assert [plan.weighting for plan in plans] == ["equal", "equal", "dwa", "pcgrad", "dwa", "uncertainty"]


def test_a_solver_that_is_missing_is_told_before_training(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "quadprog" else there(name))
    with pytest.raises(InputError, match=r"'upgrad' needs quadprog; run pip install 'crosstask\[gradients\]'"):
        check_specs([spec_of(experiment, "upgrad", tmp_path)])
    check_specs([spec_of(experiment, "mgda", tmp_path)])


def test_the_second_look_of_famo_leaves_running_statistics_alone() -> None:
    tasks = (RegressionTask("dose", "dose", ["dose"], "Gy"), SegmentationTask("masks", "structures", ["a"]))
    network = build("hps", encoder="resnet18-narrow", tasks=tasks)
    module = TrainingModule(network, tasks, build_weighting("famo", ["dose", "masks"]), TrainingSection())
    module._batch = Batch(
        image=torch.randn(2, 1, 32, 32),
        targets={"dose": torch.rand(2, 1, 32, 32), "masks": torch.zeros(2, 1, 32, 32)},
        present={"dose": torch.ones(2, 1, dtype=torch.bool), "masks": torch.ones(2, 1, dtype=torch.bool)},
        region=None,
        cases=["a", "b"],
        positions=[(0,), (0,)],
    )
    module.trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    before = {name: value.clone() for name, value in network.named_buffers()}
    losses = module._losses_again()
    assert set(losses) == {"dose", "masks"} and not any(loss.requires_grad for loss in losses.values())
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
