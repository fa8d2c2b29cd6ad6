"""The moving average of the weights: against a plain loop, without a trace in training, and over a resume."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.methods import get_method
from crosstask.prediction.predictor import Predictor
from crosstask.runs import AVERAGE, BEST, FINAL, HISTORY, SNAPSHOTS, RunSpec, check_settings
from crosstask.store import Store
from crosstask.training import run as training_run
from crosstask.training.average import decay_per_step
from crosstask.training.module import TrainingModule
from crosstask.training.run import train


class StopError(Exception):
    """What a fault raises in the tests."""


def plan_of(experiment: Experiment, output: Path, **training: object) -> RunSpec:
    values = experiment.model_dump(mode="json")
    values["output"] = str(output)
    values["training"] |= training
    changed = experiment_from(values)
    return RunSpec(changed, get_method("hps"), 0, tuple(changed.dataset.tasks))


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The weights after each step of the optimiser, as they are made."""
    seen: list[dict[str, Tensor]] = []
    step = TrainingModule.optimizer_step

    def watching(self: TrainingModule, *args: object, **kwargs: object) -> None:
        step(self, *args, **kwargs)
        seen.append({name: value.clone() for name, value in self.architecture.state_dict().items()})

    monkeypatch.setattr(TrainingModule, "optimizer_step", watching)
    return seen


def test_the_time_constant_is_in_epochs() -> None:
    assert decay_per_step(1.0, 50) ** 50 == pytest.approx(math.exp(-1))
    assert decay_per_step(2.5, 8) ** 20 == pytest.approx(math.exp(-1))


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 4), (3, 2)])
def test_it_is_what_a_plain_loop_makes_of_the_weights_after_each_step(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int, steps: int
) -> None:
    seen = recorded(monkeypatch)
    plan = plan_of(experiment, tmp_path / "run", average=0.7, accumulate=accumulate)
    train(plan, store)
    assert len(seen) == 3 * steps
    decay = math.exp(-1 / (0.7 * steps))
    average = {name: value.double() for name, value in seen[0].items()}
    for weights in seen[1:]:
        for name, value in weights.items():
            counts = not value.is_floating_point()
            average[name] = value.double() if counts else decay * average[name] + (1 - decay) * value.double()
    written = load_file(plan.folder / AVERAGE)
    assert written.keys() == average.keys()
    assert any(name.endswith("running_var") for name in written)
    for name, value in written.items():
        torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
    final = load_file(plan.folder / FINAL)
    assert any(not torch.equal(written[name], final[name]) for name in final if name.endswith("running_mean"))


def test_training_is_the_same_with_it(experiment: Experiment, store: Store, tmp_path: Path) -> None:
    without, averaged = plan_of(experiment, tmp_path / "a"), plan_of(experiment, tmp_path / "b", average=1.0)
    for plan in (without, averaged):
        train(plan, store)
    assert not (without.folder / AVERAGE).exists()
    for name in (FINAL, BEST):
        assert (without.folder / name).read_bytes() == (averaged.folder / name).read_bytes()
    curves = [pd.read_csv(plan.folder / HISTORY).drop(columns="seconds") for plan in (without, averaged)]
    pd.testing.assert_frame_equal(*curves)
    snapshots = [sorted(path.name for path in (plan.folder / SNAPSHOTS).glob("*")) for plan in (without, averaged)]
    assert snapshots[0] == snapshots[1]


def test_a_broken_run_resumes_to_the_same_average(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (plan_of(experiment, tmp_path / name, average=1.5) for name in ("whole", "broken"))
    train(whole, store)
    step, write = TrainingModule.training_step, training_run.write_record

    def failing(self: TrainingModule, batch: object, index: int) -> object:
        if self.current_epoch == 1 and index == 2:
            raise StopError
        return step(self, batch, index)

    def unwritten(folder: Path, record: dict[str, object]) -> None:
        if record["trained"]:
            raise StopError
        write(folder, record)

    for target, name, fault in ((TrainingModule, "training_step", failing), (training_run, "write_record", unwritten)):
        with monkeypatch.context() as patch, pytest.raises(StopError):
            patch.setattr(target, name, fault)
            train(broken, store)
    (broken.folder / AVERAGE).unlink()  # as if it had been killed after its last epoch, before that was written
    train(broken, store)
    assert (whole.folder / AVERAGE).read_bytes() == (broken.folder / AVERAGE).read_bytes()


def test_a_complete_run_cannot_get_another_average_and_does_where_none_is_asked_for(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    plan = plan_of(experiment, tmp_path / "run", epochs=1)
    train(plan, store)
    later = plan_of(experiment, tmp_path / "run", epochs=1, average=1.0)
    check_settings(later)
    judged = later.experiment.model_copy(
        update={"evaluation": later.experiment.evaluation.model_copy(update={"weights": "average"})}
    )
    with pytest.raises(InputError, match=r"trained without training\.average, and a complete run cannot get another"):
        check_settings(RunSpec(judged, later.method, 0, later.tasks))
    with pytest.raises(InputError, match=r"average\.safetensors: is not there, as the run was trained without"):
        Predictor(plan.folder, weights="average", alone=True)


def test_a_run_that_has_begun_keeps_to_its_average(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TrainingModule.training_step

    def failing(self: TrainingModule, batch: object, index: int) -> object:
        if self.current_epoch == 1:
            raise StopError
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(TrainingModule, "training_step", failing)
        train(plan_of(experiment, tmp_path / "run", average=1.0), store)
    with pytest.raises(InputError, match=r"trained with other settings \(training\.average\)"):
        train(plan_of(experiment, tmp_path / "run", average=2.0), store)


def test_an_average_is_judged_only_where_there_is_one(experiment: Experiment) -> None:
    values = experiment.model_dump(mode="json")
    values["evaluation"]["weights"] = "average"
    with pytest.raises(InputError, match=r"evaluation\.weights: average needs training\.average"):
        experiment_from(values)
    values["training"]["average"] = 1.0
    assert experiment_from(values).judged_weights == "average"
