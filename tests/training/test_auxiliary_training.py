"""Runs of the auxiliary architecture: resumed bit for bit, judged by their major task, fine-tuned, without labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from crosstask.architectures import build
from crosstask.datasets import DATASETS
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.prediction.predictor import Predictor
from crosstask.runs import BEST, FINAL, HISTORY, RunSpec, read_record, run_specs
from crosstask.store import Store, prepare
from crosstask.tasks import ClassificationTask, ScalarTask
from crosstask.training.module import TrainingModule
from crosstask.training.run import train
from crosstask.weighting import build_weighting
from run_fakes import FAKES, fake_experiment


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, dataset in FAKES.items():
        monkeypatch.setitem(DATASETS._entries, name, dataset)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auxiliary")


@pytest.fixture(scope="module")
def store(root: Path) -> Store:
    fake_experiment(root / "raw", root / "out")  # writes the raw files
    prepare(FAKES["pictures"](root / "raw"), root / "store", workers=1)
    return Store(root / "store")


def plans(root: Path, output: Path, **changes: Any) -> dict[str, RunSpec]:
    """A kind that is helped by signs and an age, some of them missing: single-task learning and auxiliary."""
    values = fake_experiment(
        root / "raw",
        output,
        dataset={"tasks": ["signs", "kind", "age"], "splits": {"rule": "drawn", "fractions": [0.6, 0.3, 0.1]}},
        training={"epochs": 3, "batch_size": 3, "samples_per_epoch": 9, "learning_rate": 1e-3},
    ).model_dump(mode="json")
    values |= {"major": "kind", "methods": ["stl", "auxiliary"], "stl_network": None, "store": str(root / "store")}
    for name, section in changes.items():
        values[name] = {**values[name], **section}
    experiment: Experiment = experiment_from(values)
    return {plan.method.name: plan for plan in run_specs(experiment)}


class StopError(Exception):
    """What the fault raises."""


def test_a_broken_run_resumes_to_the_same_weights(
    root: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (plans(root, tmp_path / name)["auxiliary"] for name in ("whole", "broken"))
    train(whole, store)
    step = TrainingModule.training_step

    def failing(self: TrainingModule, batch: Any, index: int) -> Any:
        if self.current_epoch == 1 and index == 1:
            raise StopError
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", failing)
        with pytest.raises(StopError):
            train(broken, store)
    train(broken, store)
    for name in (FINAL, BEST):
        one, two = load_file(whole.folder / name), load_file(broken.folder / name)
        assert [key for key in one if not torch.equal(one[key], two[key])] == []
    tables = [pd.read_csv(plan.folder / HISTORY).drop(columns="seconds") for plan in (whole, broken)]
    pd.testing.assert_frame_equal(*tables)


def test_what_dropout_leaves_out_follows_from_seed_and_epoch(
    root: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[tuple[int, int], list[torch.Tensor]] = {}
    step = TrainingModule.training_step
    seed = 0

    def drawing(self: TrainingModule, batch: Any, index: int) -> Any:
        drawn.setdefault((seed, self.current_epoch), []).append(torch.rand(4))
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", drawing)
    for seed in (0, 1):
        plan = plans(root, tmp_path / str(seed), training={"epochs": 2})["stl"]
        train(RunSpec(plan.experiment, plan.method, seed, plan.tasks), store)
    draws = torch.stack([value for values in drawn.values() for value in values])
    assert len(draws) == 2 * 2 * 3
    assert len(draws.unique(dim=0)) == len(draws)  # no seed, epoch or batch has what another has


def test_the_best_epoch_is_the_major_task_s(
    root: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skills: dict[str, Iterator[float]] = {"kind": iter([0.1, 0.5, 0.3]), "signs": iter([0.9, 0.0, 0.8])}
    ages = iter([0.2, -3.0, 0.9])
    monkeypatch.setattr(ClassificationTask, "skill", lambda self, tally: next(skills[self.name]))
    monkeypatch.setattr(ScalarTask, "skill", lambda self, tally: next(ages))
    plan = plans(root, tmp_path, training={"smoothing": 1})["auxiliary"]
    record = train(plan, store)
    assert record["training"]["best_epoch"] == 1
    assert record["training"]["best_score"] == 0.5
    table = pd.read_csv(plan.folder / HISTORY)
    assert table["score"].tolist() == table["skill/kind"].tolist() == [0.1, 0.5, 0.3]
    assert table["skill/signs"].tolist() == [0.9, 0.0, 0.8]
    assert table[["loss/kind", "loss/signs", "loss/age"]].notna().all(axis=None)


def test_single_task_learning_is_the_same_network_of_the_major_task_alone(
    root: Path, store: Store, tmp_path: Path
) -> None:
    both = plans(root, tmp_path, training={"epochs": 1})
    keys = {}
    for method, plan in both.items():
        train(plan, store)
        keys[method] = set(load_file(plan.folder / BEST))
    assert both["stl"].tasks == ("kind",)
    assert keys["auxiliary"] - keys["stl"] == {
        *("fc1.0.weight", "fc1.0.bias"),
        *(f"decoders.{task}.{part}" for task in ("signs", "age") for part in ("weight", "bias")),
    }
    assert keys["stl"] < keys["auxiliary"]
    assert read_record(both["stl"].folder)["tasks"] == ["kind"]


def test_an_encoder_is_taken_from_another_run_and_learns_at_its_own_rate(
    root: Path, store: Store, tmp_path: Path
) -> None:
    first = plans(root, tmp_path / "first", training={"epochs": 1})["stl"]
    train(first, store)
    given = load_file(first.folder / BEST)
    learned = [key for key in given if key.startswith("encoder.") and key.endswith("weight")]
    moved = {}
    for rate in (1e-12, None):
        encoder = {"weights": str(first.folder / BEST), "learning_rate": rate}
        plan = plans(root, tmp_path / str(rate), encoder=encoder, training={"epochs": 1})["auxiliary"]
        train(plan, store)
        now = load_file(plan.folder / FINAL)
        moved[rate] = max(float((now[key] - given[key]).abs().max()) for key in learned)
        # the rest starts anew, and learns at its own rate whatever the encoder's
        assert not torch.allclose(now["fc2.0.weight"], given["fc2.0.weight"], atol=1e-2)
        assert now["fc2.0.bias"].abs().max() > 1e-4
    assert moved[1e-12] < 1e-6
    assert moved[None] > 1e-4


@pytest.mark.parametrize(("method", "prefix"), [("auxiliary", "encoder."), ("hps", "encoder."), ("stl", "encoders.")])
def test_the_optimiser_has_the_encoder_s_parameters_in_a_group_of_their_own(method: str, prefix: str) -> None:
    tasks = (ClassificationTask("kind", "kind", ["a", "b"], exclusive=True), ScalarTask("age", "age", "years"))
    own = {"major": "kind"} if method == "auxiliary" else {}
    network = build(method, encoder="resnet18", tasks=tasks, **own)
    settings = TrainingSection()
    weighting = build_weighting("equal", ["kind", "age"])
    module = TrainingModule(network, tasks, weighting, settings, encoder_learning_rate=2e-4)
    rates = {
        id(parameter): group["lr"]
        for group in module.configure_optimizers().param_groups
        for parameter in group["params"]
    }
    expected = {
        id(parameter): 2e-4 if name.startswith(prefix) else settings.learning_rate
        for name, parameter in network.named_parameters()
    }
    assert rates == expected


def test_a_prediction_needs_no_label(root: Path, store: Store, tmp_path: Path) -> None:
    plan = plans(root, tmp_path, training={"epochs": 1})["auxiliary"]
    train(plan, store)
    values = []
    for labelled in (True, False):
        dataset = FAKES["pictures"](root / "raw", labelled=labelled)  # type: ignore[call-arg]
        predictor = Predictor(plan.folder, dataset=dataset)
        case = dataset.read(dataset.cases()[2])
        assert ("kind" in case.channels) == labelled
        values.append(predictor.predict("c2", case, case.geometry).values)
    assert {name: value.shape for name, value in values[0].items()} == {"signs": (2,), "kind": (3,), "age": (1,)}
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])
