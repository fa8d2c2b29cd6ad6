"""Options that make training faster or smaller change nothing else: packed samples, changes on the device, and more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from crosstask.architectures import build
from crosstask.errors import InputError
from crosstask.experiment import Experiment, TrainingSection, experiment_from
from crosstask.methods import get_method
from crosstask.runs import FINAL, HISTORY, TRANSFER, RunSpec, check_settings
from crosstask.runs.settings import relevant_settings, settings_of
from crosstask.sample import Sample, collate
from crosstask.store import Store
from crosstask.training import compiling, device
from crosstask.training.collating import Collate
from crosstask.training.compiling import compiled
from crosstask.training.module import TrainingModule
from crosstask.training.run import train

AUGMENTATION = {"flip": ["x"], "rotate": 15, "scale": 0.1, "intensity": 0.1, "noise": 0.05}


def planned(experiment: Experiment, out: Path, method: str = "hps", **training: Any) -> RunSpec:
    values = experiment.model_dump(mode="json")
    values["training"] |= {"epochs": 1, **training}
    values["output"] = str(out)
    changed = experiment_from(values)
    return RunSpec(changed, get_method(method), 0, tuple(changed.dataset.tasks))


def result(spec: RunSpec, store: Store, tell: Callable[[str], None] = print) -> tuple[Mapping[str, Any], pd.DataFrame]:
    train(spec, store, tell=tell)
    return load_file(spec.folder / FINAL), pd.read_csv(spec.folder / HISTORY).drop(columns="seconds")


def sample(seed: int) -> Sample:
    draw = np.random.default_rng(seed)
    image = torch.from_numpy(np.clip(draw.normal(size=(2, 8, 9)), -1, 1).astype(np.float32))
    image[0, 0, :3] = torch.tensor([-1.0, 0.0, 1.0])
    targets = {
        "mask": torch.from_numpy(draw.integers(0, 2, (2, 8, 9)).astype(np.float32)),
        "dose": torch.rand(1, 8, 9) * 70,
        "age": torch.tensor([61.5]),
    }
    present = {name: torch.ones(len(target), dtype=torch.bool) for name, target in targets.items()}
    return Sample(image, targets, present, torch.ones(1, 8, 9, dtype=torch.bool), f"c{seed}", (seed,), draw=seed)


def test_packed_batches_are_a_fraction_of_the_bytes_and_nearly_the_same() -> None:
    batch = collate([sample(0), sample(1)])
    packed = Collate(masks=["mask"], packs=True)([sample(0), sample(1)])
    assert packed.image.dtype == torch.int16 and packed.targets["mask"].dtype == torch.uint8
    assert packed.image.nbytes * 2 == batch.image.nbytes
    assert packed.targets["mask"].nbytes * 4 == batch.targets["mask"].nbytes
    again = packed.unpacked()
    assert again.image.dtype == again.targets["mask"].dtype == torch.float32
    assert float((again.image - batch.image).abs().max()) <= 0.5 / 32767 + 1e-7
    assert again.image[0, 0, 0, :3].tolist() == [-1.0, 0.0, 1.0]
    assert torch.equal(again.targets["mask"], batch.targets["mask"])
    assert torch.equal(again.targets["age"], batch.targets["age"]) and again.draws == [0, 1]
    assert batch.unpacked().image is batch.image


def test_batches_know_how_to_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader asks a batch itself; here there may be no GPU, for which alone memory can be pinned."""
    pinned: list[torch.Size] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self.shape) or self.clone())
    batch = collate([sample(0)])
    moved = torch.utils.data._utils.pin_memory.pin_memory(batch)
    assert len(pinned) == 1 + 3 + 3 + 1 and moved.cases == ["c0"] and torch.equal(moved.image, batch.image)


@pytest.mark.parametrize(
    ("asked", "there", "expected"),
    [("auto", True, True), ("gpu", True, True), ("cpu", True, False), ("auto", False, False)],
)
def test_memory_is_pinned_for_gpus_alone(
    monkeypatch: pytest.MonkeyPatch, asked: str, there: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device.is_pinned(TrainingSection(device=asked)) == expected


def test_changes_on_the_device_are_those_of_the_loader(experiment: Experiment, store: Store, tmp_path: Path) -> None:
    seen: list[list[torch.Tensor]] = []
    results = []
    for where in ("loader", "device"):
        images: list[torch.Tensor] = []
        seen.append(images)
        spec = planned(experiment, tmp_path / where, augmentation={**AUGMENTATION, "where": where})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingModule, "training_step", kept_images(TrainingModule.training_step, images))
            results.append(result(spec, store))
    assert len(seen[0]) == len(seen[1]) == 4
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))
    assert all(torch.equal(value, results[1][0][name]) for name, value in results[0][0].items())
    pd.testing.assert_frame_equal(results[0][1], results[1][1])


def kept_images(step: Any, images: list[torch.Tensor]) -> Any:
    def training_step(self: Any, batch: Any, index: int) -> Any:
        images.append(batch.image.clone())
        return step(self, batch, index)

    return training_step


def test_what_goes_beyond_1_is_packed_in_its_own_range_and_no_number_stays_none() -> None:
    """What an earlier run predicts of dose has no bounds; a damaged image is to be refused and not to be learned."""
    batch = collate([sample(0), sample(1)])
    plain = batch.packed([]).unpacked().image
    batch.image[0, 1] *= 2.6
    batch.image[1, 0, 4, 4] = torch.nan
    found = batch.packed([]).unpacked().image
    torch.testing.assert_close(found[0], batch.image[0], rtol=0, atol=2.6 / 65534 + 1e-6)
    assert torch.equal(found[0, 0], plain[0, 0]) and torch.equal(found[1, 1], plain[1, 1])  # others are what they were
    assert found[1, 0].isnan().all()


def test_a_packed_run_learns_the_same(experiment: Experiment, store: Store, tmp_path: Path) -> None:
    plain = result(planned(experiment, tmp_path / "plain"), store)[1]
    packed = result(planned(experiment, tmp_path / "packed", compact=True), store)[1]
    losses = [column for column in plain if column.startswith("loss/")]
    np.testing.assert_allclose(packed[losses], plain[losses], rtol=1e-3)


def test_a_checkpointed_run_is_the_same_to_the_last_bit_and_either_goes_on_from_the_other(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    plain, spared = (
        planned(experiment, tmp_path / name, "ctan", activation_checkpointing=name == "spared", average=1)
        for name in ("plain", "spared")
    )
    weights, rows = result(plain, store)
    others, other_rows = result(spared, store)
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    pd.testing.assert_frame_equal(rows, other_rows)
    assert relevant_settings(settings_of(plain), plain) == relevant_settings(settings_of(spared), spared)
    check_settings(planned(experiment, tmp_path / "plain", "ctan", activation_checkpointing=True, average=1))


def test_compiling_and_checkpointing_exclude_each_other(experiment: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be had together; set one of them false"):
        planned(experiment, tmp_path, compile=True, activation_checkpointing=True)


def test_what_cannot_be_compiled_is_trained_as_it_is(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: nn.Module) -> Any:
        def run(image: torch.Tensor) -> Any:
            torch.rand(3)
            network(image)
            raise RuntimeError("\nNo working C++ compiler found\nand a page of advice")

        return run

    weights, rows = result(planned(experiment, tmp_path / "plain"), store)
    monkeypatch.setattr(torch, "compile", broken)
    lines: list[str] = []
    others, other_rows = result(planned(experiment, tmp_path / "compiled", compile=True), store, lines.append)
    (line,) = [line for line in lines if "compile" in line]
    assert line.endswith("is trained as it is, since it cannot be compiled here (No working C++ compiler found)")
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    pd.testing.assert_frame_equal(rows, other_rows)


def test_a_compiled_network_takes_the_steps_and_nothing_else_changes(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the graph captured and run as it is, which is the compiler's first half and takes seconds, not a minute."""
    steps: list[bool] = []
    real = torch.compile

    def counting(network: nn.Module) -> Any:
        found = real(network, backend="eager")

        def run(image: torch.Tensor) -> Any:
            steps.append(network.training)
            return found(image)

        return run

    weights, rows = result(planned(experiment, tmp_path / "plain"), store)
    monkeypatch.setattr(torch, "compile", counting)
    lines: list[str] = []
    others, other_rows = result(planned(experiment, tmp_path / "compiled", compile=True), store, lines.append)
    assert not [line for line in lines if "compile" in line]
    assert steps == [True] * 5  # a trial and four batches; validation asks the network itself
    assert all(torch.allclose(value, others[name], atol=1e-5) for name, value in weights.items())
    pd.testing.assert_frame_equal(rows, other_rows, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "transfer_every"), [("hps", 2), ("hps+gradnorm", 0), ("hps+nash_mtl", 0), ("ctan", 1)]
)
def test_a_compiled_step_goes_back_once_for_each_task(
    experiment: Experiment,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    transfer_every: int,
) -> None:
    """As far as the graphs forward and backward, which know what may be written over; not to machine code."""
    # Adam moves a weight by its rate, however small the gradient, so what is rounding would grow to a difference
    settings: dict[str, Any] = {"method": method, "transfer_every": transfer_every, "learning_rate": 1e-9}
    plain = planned(experiment, tmp_path / "plain", **settings)
    weights, rows = result(plain, store)
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: real(network, backend="aot_eager"))
    lines: list[str] = []
    spec = planned(experiment, tmp_path / "compiled", compile=True, **settings)
    others, other_rows = result(spec, store, lines.append)
    assert not [line for line in lines if "compile" in line]
    assert all(torch.allclose(value, others[name], atol=1e-5) for name, value in weights.items())
    pd.testing.assert_frame_equal(rows, other_rows, rtol=1e-3)
    if transfer_every:
        looked, others_looked = (pd.read_csv(one.folder / TRANSFER) for one in (plain, spec))
        assert looked["steps"].sum() > 0
        columns = [name for name in looked if not name.startswith("below.")]  # signs of what may be all but 0
        pd.testing.assert_frame_equal(looked[columns], others_looked[columns], rtol=0.01, atol=1e-4)


def test_the_compiler_s_trial_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("hps", encoder="resnet18-narrow", tasks={"mask": ("pixel", 1)}).train()
    network.get_parameter("encoder.conv1.weight").grad = torch.ones(16, 1, 7, 7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    monkeypatch.setattr(torch, "compile", lambda one: lambda image: one(image))
    state = torch.get_rng_state()
    lines: list[str] = []
    found = compiled(network, (2, 1, 32, 32), device=torch.device("cpu"), tell=lines.append)
    assert found is not network and not lines and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    gradients = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    assert list(gradients) == ["encoder.conv1.weight"] and bool((gradients["encoder.conv1.weight"] == 1).all())
    assert compiling._is_channels_last(network) is False
    assert compiling._is_channels_last(network.to(memory_format=torch.channels_last)) is True
