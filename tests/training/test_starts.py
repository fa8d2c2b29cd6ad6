"""Starts of runs: what is refused before anything is there, and what one that failed leaves behind."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from crosstask.architectures import Architecture
from crosstask.errors import InputError
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.nn.parts import Parts
from crosstask.runs import BEST, EXPERIMENT, RECORD, RunSpec, open_run, run_specs, write_record
from crosstask.store import Store
from crosstask.tasks.base import Head
from crosstask.training.check import check_specs
from crosstask.training.device import device_of, open_trainer, processes_of, scoring_device
from crosstask.training.module import TrainingModule
from crosstask.training.run import train
from crosstask.weighting import build_weighting


def changed(experiment: Experiment, **sections: Mapping[str, object]) -> Experiment:
    values = experiment.model_dump(mode="json")
    for name, section in sections.items():
        values[name] = {**values[name], **section}
    return experiment_from(values)


def spec_of(experiment: Experiment) -> RunSpec:
    return next(plan for plan in run_specs(experiment) if plan.method.name == "hps")


def record_as_trained(plan: RunSpec) -> None:
    record = {"method": "hps", "seed": 0, "tasks": list(plan.tasks), "task_state": {}, "trained": True}
    write_record(plan.folder, record)


@pytest.fixture
def quick(experiment: Experiment) -> Experiment:
    small = {"epochs": 1, "samples_per_epoch": 4, "validation_samples": 2, "device": "cpu"}
    return changed(experiment, training=small)


def test_a_start_that_failed_does_not_refuse_the_corrected_command(quick: Experiment, store: Store, tmp_path: Path):
    broken = tmp_path / "broken.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, broken)  # is there, and does not fit
    wrong = changed(quick, encoder={"weights": str(broken)})
    for failing in (wrong, changed(quick, training={"device": "nonsense"})):
        with pytest.raises(InputError, match=r"encoder\.weights|training\.device"):
            train(spec_of(failing), store)
        assert (spec_of(failing).folder / EXPERIMENT).exists()
    assert train(spec_of(quick), store)["trained"]
    with pytest.raises(InputError, match=r"other settings \(encoder\.weights\)"):
        train(spec_of(wrong), store)


@pytest.mark.parametrize("left", [BEST, "last.ckpt", "final.safetensors", "history.csv", "scores.csv", RECORD])
def test_whatever_was_trained_keeps_its_settings(quick: Experiment, left: str):
    plan, other = spec_of(quick), spec_of(changed(quick, training={"learning_rate": 0.5}))
    open_run(plan)
    if left == RECORD:
        record_as_trained(plan)
    else:
        (plan.folder / left).write_text("")
    before = (plan.folder / EXPERIMENT).read_text()
    with pytest.raises(InputError, match=r"other settings \(training\.learning_rate\)"):
        open_run(other)
    assert (plan.folder / EXPERIMENT).read_text() == before


def test_what_a_failed_start_wrote_does_not_outlive_its_settings(quick: Experiment):
    plan, other = spec_of(quick), spec_of(changed(quick, training={"learning_rate": 0.5}))
    open_run(plan)
    (plan.folder / "characteristics.csv").write_text("of other settings")
    (plan.folder / EXPERIMENT).write_text("damaged: [")
    open_run(other)
    assert [path.name for path in plan.folder.iterdir()] == [EXPERIMENT]
    assert "0.5" in (plan.folder / EXPERIMENT).read_text()


WRONG = [
    (
        {"training": {"devices": 9}},
        r"training\.batch_size: 4 samples cannot be shared out over 9 devices; set",
    ),
    ({"training": {"devices": "9"}}, r"training\.batch_size: 4 samples cannot be shared out over 9 devices"),
    ({"training": {"num_nodes": 2}}, r"training\.num_nodes: 2 machines .* with srun or torchrun"),
    ({"training": {"strategy": "fsdp"}}, r"training\.strategy: fsdp has no gradients|is of several devices"),
    ({"training": {"devices": [0, 1]}}, r"training\.device: 'cpu' \(devices \[0, 1\]"),
    ({"training": {"device": "nonsense"}}, r"training\.device: 'nonsense'"),
    ({"training": {"devices": 0}}, r"training\.device: 'cpu' \(devices 0"),
    ({"training": {"devices": "two"}}, r"training\.device: 'cpu' \(devices 'two'"),
    ({"encoder": {"weights": "none.pth"}}, r"encoder\.weights: there is no file none\.pth"),
    ({"encoder": {"weights": "none.safetensors#dose"}}, r"encoder\.weights: there is no file none\.safetensors"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG)
@pytest.mark.parametrize("of", ["all runs", "a variant"])
def test_it_is_told_before_anything_starts(quick: Experiment, wrong: dict[str, dict[str, object]], named: str, of: str):
    variants = {"a": {}, "b": wrong}
    experiment = changed(quick, **wrong) if of == "all runs" else changed(quick, variants=variants)
    experiment = changed(experiment).model_copy(update={"methods": ["hps"]})
    with pytest.raises(InputError, match=named) as refused:
        check_specs(run_specs(experiment))
    assert "\n" not in str(refused.value)
    assert not quick.output_folder.exists()


@pytest.mark.parametrize("device", ["cpu", "auto"])
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_the_processor_is_known_without_lightning(monkeypatch: pytest.MonkeyPatch, device: str, precision: str):
    settings = TrainingSection(device=device)
    asked = open_trainer(settings, precision=precision, enable_progress_bar=False).strategy.root_device
    assert device_of(settings) == asked
    if asked.type == "cpu":
        monkeypatch.setattr("crosstask.training.device.open_trainer", pytest.fail)
        assert device_of(settings) == asked
        assert processes_of(settings, precision) == 1


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSection(device="auto"),  # of a machine with an accelerator
        TrainingSection(device="cuda"),
        TrainingSection(device="cpu", devices=2),
        TrainingSection(device="cpu", devices=[0]),
        TrainingSection(device="nonsense"),
    ],
)
def test_lightning_is_asked_of_all_else(monkeypatch: pytest.MonkeyPatch, settings: TrainingSection):
    asked: list[TrainingSection] = []

    def ask(given: TrainingSection, **_: object) -> SimpleNamespace:
        asked.append(given)
        return SimpleNamespace(num_devices=3, strategy=SimpleNamespace(root_device=torch.device(given_kind)))

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr("crosstask.training.device.open_trainer", ask)
    given_kind = "cuda"
    assert processes_of(settings) == 3
    assert asked == [settings]
    given_kind = "mps"
    with pytest.raises(InputError, match=r"several devices of kind mps .* set training\.devices=1"):
        processes_of(settings)


def test_auto_may_be_several_devices(monkeypatch: pytest.MonkeyPatch):
    from lightning.pytorch.accelerators import CPUAccelerator

    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 4))
    assert open_trainer(TrainingSection(device="cpu", devices="auto")).num_devices == 4


@pytest.mark.parametrize("devices", [1, "1"])
def test_one_device_is_no_several(devices: int | str):
    assert device_of(TrainingSection(device="cpu", devices=devices)) == torch.device("cpu")


@pytest.mark.parametrize(
    "launcher",
    [
        {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"},
        {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "0"},
    ],
)
def test_a_launcher_of_several_processes_leaves_each_with_runs_of_its_own(
    monkeypatch: pytest.MonkeyPatch, launcher: dict[str, str]
):
    for name, value in {**launcher, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    trainer = open_trainer(TrainingSection(device="cpu"), enable_progress_bar=False)
    assert (trainer.world_size, trainer.is_global_zero) == (1, True)


def test_a_run_that_is_done_needs_neither_device_nor_weights(quick: Experiment):
    away = changed(quick, encoder={"weights": "removed.pth"}, training={"device": "nonsense"})
    plan = spec_of(away)
    with pytest.raises(InputError):
        check_specs([plan])
    open_run(plan)
    record_as_trained(plan)
    check_specs([plan])
    assert scoring_device(away.training) == "auto"


class Backbone(Architecture):
    """An encoder under another name than ours have."""

    name = "backbone"

    def __init__(self, tasks: Mapping[str, Head]) -> None:
        super().__init__(tasks)
        self.backbone = nn.Conv2d(1, 4, 3)
        self.rest = nn.Conv2d(4, 1, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"a": self.rest(self.backbone(image))}


class Made(Architecture):
    """Its encoder is made by its parts, and called as nobody would expect."""

    name = "made"

    def __init__(self, tasks: Mapping[str, Head], parts: Parts) -> None:
        super().__init__(tasks, parts)
        self.backbone = parts.encoder()
        self.add_decoders(self.backbone.channels)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {task: self.decode(task, self.backbone(image), image) for task in self.heads}


def module_of(network: Architecture, rate: float | None) -> TrainingModule:
    settings = TrainingSection(learning_rate=0.1)
    return TrainingModule(network, (), build_weighting("equal", []), settings, encoder_learning_rate=rate)


def test_the_encoder_is_what_the_parts_made_and_not_a_name():
    network = Made({"a": Head("pixel", 1)}, Parts("resnet18-narrow"))
    for one in (network, copy.deepcopy(network)):
        groups = module_of(one, 0.01).configure_optimizers().param_groups
        rates = {id(parameter): group["rate"] for group in groups for parameter in group["params"]}
        assert {rates[id(parameter)] for parameter in one.backbone.parameters()} == {0.01}
        assert {rates[id(parameter)] for parameter in one.decoders.parameters()} == {0.1}


def test_a_learning_rate_of_an_encoder_that_no_part_made_is_an_error():
    with pytest.raises(InputError, match=r"encoder\.learning_rate: backbone has no encoder that it could be for"):
        module_of(Backbone({"a": Head("pixel", 1)}), 0.01)


def test_an_architecture_without_an_encoder_trains_at_one_rate():
    (group,) = module_of(Backbone({"a": Head("pixel", 1)}), None).configure_optimizers().param_groups
    assert (group["rate"], len(group["params"])) == (0.1, 4)


def test_it_is_told_before_hours_of_work(quick: Experiment, monkeypatch: pytest.MonkeyPatch):
    from crosstask.architectures.hps import HPS

    monkeypatch.setattr(HPS, "all_encoders", lambda self: [])
    check_specs([spec_of(quick)])
    with pytest.raises(InputError, match=r"encoder\.learning_rate: hps has no encoder"):
        check_specs([spec_of(changed(quick, encoder={"learning_rate": 1e-5}))])
