"""Checkpoints: nothing in them is run, damage is found, the one before serves, and a full disk takes nothing away."""

import errno
import hashlib
import io
import itertools
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crosstask.errors import CrosstaskError, InputError
from crosstask.experiment import Experiment
from crosstask.files import link_atomically
from crosstask.methods import get_method
from crosstask.runs import BEST, FINAL, LAST, PREVIOUS, RunSpec, is_trained
from crosstask.store import Store
from crosstask.training.checkpoint import RunCheckpoints, _Sealing, checkpoint_bytes, read_checkpoint
from crosstask.training.module import TrainingModule
from crosstask.training.run import train


def small(epoch: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, epoch)
    rest = {key: {} for key in ("loops", "callbacks", "optimizer_states", "lr_schedulers", "weighting")}
    return network, {"state_dict": network.state_dict(), "epoch": epoch, **rest}


def saved(folder: Path, epochs: int) -> RunCheckpoints:
    checkpoints = RunCheckpoints(folder)
    for epoch in range(epochs):
        checkpoints.save_checkpoint(small(epoch)[1], folder / LAST)
    return checkpoints


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("checked", [True, False])
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, checked: bool) -> None:
    network, checkpoint = small()
    evil = {**checkpoint, "callbacks": Evil(tmp_path / "hacked")}
    if checked:
        (tmp_path / LAST).write_bytes(checkpoint_bytes(evil))
    else:
        torch.save(evil, tmp_path / LAST)
    with pytest.raises(InputError, match=r"last\.ckpt: holds more than weights .*; remove last\.ckpt from"):
        RunCheckpoints(tmp_path).find(network, 5, print)
    assert not (tmp_path / "hacked").exists()


def test_any_flipped_bit_and_any_cut_is_found(tmp_path: Path) -> None:
    whole, path = checkpoint_bytes(small()[1]), tmp_path / LAST
    path.write_bytes(whole)
    read_checkpoint(path)
    draw = random.Random(3)
    places = [*range(len(whole) - 110, len(whole)), *draw.sample(range(len(whole)), 150)]  # the end has the checksum
    mutations = [whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :] for at in places]
    mutations += [whole[:at] for at in (0, 1, 22, 1000, len(whole) - 81, len(whole) - 1)] + [b"{}", whole + b"\0"]
    for mutation in mutations:
        path.write_bytes(mutation)
        with pytest.raises(InputError, match="is damaged"):
            read_checkpoint(path)


def test_a_checkpoint_from_before_there_were_checksums_is_read_and_its_damage_found(tmp_path: Path) -> None:
    torch.save(small(2)[1], tmp_path / LAST)
    assert read_checkpoint(tmp_path / LAST)["epoch"] == 2
    data = bytearray((tmp_path / LAST).read_bytes())
    at = data.index(small(2)[0].weight.detach().numpy().tobytes())
    data[at] ^= 1
    (tmp_path / LAST).write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        read_checkpoint(tmp_path / LAST)


def test_pytorch_reads_a_checkpoint_as_any_other(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    assert torch.load(tmp_path / LAST, weights_only=True)["epoch"] == 2


def test_the_checkpoint_before_a_damaged_one_serves_and_is_not_lost_by_the_next(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    (tmp_path / LAST).write_bytes(b"")
    told: list[str] = []
    checkpoints = RunCheckpoints(tmp_path)
    assert checkpoints.find(small()[0], 5, told.append) == 2
    assert told == [f"{tmp_path / LAST}: is damaged; the run goes on from the checkpoint before it, of epoch 2"]
    assert checkpoints.load_checkpoint(tmp_path / LAST)["epoch"] == 1
    checkpoints.save_checkpoint(small(2)[1], tmp_path / LAST)
    assert [read_checkpoint(tmp_path / name)["epoch"] for name in (LAST, PREVIOUS)] == [2, 1]


def test_a_kill_between_the_two_names_loses_nothing(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    (tmp_path / LAST).replace(tmp_path / PREVIOUS)
    assert RunCheckpoints(tmp_path).find(small()[0], 5, pytest.fail) == 2


@pytest.mark.parametrize("other", [nn.Linear(3, 4), nn.Sequential(nn.Linear(3, 2))])
def test_weights_of_another_network_are_refused(tmp_path: Path, other: nn.Module) -> None:
    with pytest.raises(InputError, match="holds the weights of another network"):
        saved(tmp_path, 1).find(other, 5, print)


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 2)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CrosstaskError, match=r"last\.ckpt: cannot be written \(No space left"):
        checkpoints.save_checkpoint(small(2)[1], tmp_path / LAST)
    assert [read_checkpoint(tmp_path / name)["epoch"] for name in (LAST, PREVIOUS)] == [1, 0]
    assert {path.name for path in tmp_path.iterdir()} == {LAST, PREVIOUS}


def test_a_run_with_damaged_checkpoints_ends_with_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_in(name: str) -> RunSpec:
        own = experiment.model_copy(update={"output": tmp_path / name})
        return RunSpec(own, get_method("hps"), 0, tuple(experiment.dataset.tasks))

    def same(name: str) -> bool:
        return all(
            (plan_in("whole").folder / file).read_bytes() == (plan_in(name).folder / file).read_bytes()
            for file in (BEST, FINAL)
        )

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no room for temporary files"))
    train(plan_in("whole"), store)
    step = TrainingModule.training_step

    def failing(self: TrainingModule, batch: Any, index: int) -> Any:
        if self.current_epoch == 2:
            raise KeyError
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(TrainingModule, "training_step", failing)
        train(plan_in("last"), store)
    shutil.copytree(tmp_path / "last", tmp_path / "both")
    for name, files in {"last": [LAST], "both": [LAST, PREVIOUS]}.items():
        for file in files:
            path = plan_in(name).folder / file
            path.write_bytes(path.read_bytes()[:-7])
    leftover = plan_in("last").folder / f".{LAST}.4711.part"
    leftover.write_bytes(b"of a process that was killed")

    told: list[str] = []
    train(plan_in("last"), store, tell=told.append)
    told = [line for line in told if not line.startswith(("hps/seed0: ", "Warning: hps/seed0: never predicted"))]
    assert len(told) == 1
    assert "last.ckpt: is damaged; the run goes on from the checkpoint before it, of epoch 1" in told[0]
    assert same("last")
    assert {path.suffix for path in plan_in("last").folder.iterdir()} == {".yaml", ".json", ".csv", ".safetensors"}

    with pytest.raises(InputError, match=r"remove last\.ckpt and previous\.ckpt from .* from its first epoch"):
        train(plan_in("both"), store)
    for file in (LAST, PREVIOUS):
        (plan_in("both").folder / file).unlink()
    train(plan_in("both"), store)
    assert is_trained(plan_in("both"))
    assert same("both")


@pytest.mark.parametrize("sizes", [[1], [2], [3, 1, 1, 5], [1000, 1], [10**9]])
def test_the_seal_does_not_depend_on_how_the_archive_comes(sizes: list[int], tmp_path: Path) -> None:
    """PyTorch writes records of any length, single bytes among them."""
    raw = io.BytesIO()
    torch.save(small(3)[1], raw)
    file, rest, turn = io.BytesIO(), raw.getvalue(), itertools.cycle(sizes)
    sealing = _Sealing(file)  # type: ignore[arg-type]
    while rest:
        part, rest = rest[: (size := next(turn))], rest[size:]
        assert sealing.write(part) == len(part)
    sealing.finish()
    digest = hashlib.sha256(raw.getvalue()[:-2]).hexdigest().encode()
    assert file.getvalue() == raw.getvalue()[:-2] + b"\x51\0crosstask sha256 " + digest
    (tmp_path / LAST).write_bytes(file.getvalue())
    assert read_checkpoint(tmp_path / LAST)["epoch"] == 3


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_a_second_name_in_the_place_of_what_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on some network drives

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    one, other, name = (tmp_path / part for part in ("1.safetensors", "2.safetensors", "best.safetensors"))
    one.write_bytes(b"one")
    other.write_bytes(b"two")
    for source in (one, one, other):
        link_atomically(name, source)
        assert name.read_bytes() == source.read_bytes()
    other.unlink()
    assert name.read_bytes() == b"two" and one.read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.safetensors", "best.safetensors"]
