"""Which epoch's weights a run keeps, and when it stops, for validation scores that are given."""

import copy
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from crosstask.experiment import TrainingSection
from crosstask.runs import BEST, CANDIDATES, HISTORY, SNAPSHOTS
from crosstask.training.module import TrainingModule
from crosstask.training.recorder import Recorder
from crosstask.weighting import build_weighting

RISING = [-1.5, -1.0, -0.6, -0.3, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
PEAK = [0.2, 0.5, 0.8, 0.8, 0.3]


class Run:
    """A run without training: its weights are the number of the epoch, its scores are given."""

    def __init__(self, folder: Path, scores: list[float], **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.scores, self.options = folder, scores, options
        self.module = TrainingModule(nn.Linear(1, 1), (), build_weighting("equal", []), TrainingSection())
        optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1)
        self.trainer = SimpleNamespace(is_global_zero=True, optimizers=[optimizer], save_checkpoint=self.save)
        self.saved: list[dict] = []
        self.recorder = Recorder(folder, **options)

    def save(self, path: Path) -> None:
        path.write_bytes(b"")
        self.saved.append(copy.deepcopy(self.recorder.state_dict()))

    def go(self, start: int = 0) -> "Run":
        for epoch in range(start, len(self.scores)):
            nn.init.constant_(self.module.architecture.weight, epoch)
            self.module.score = self.scores[epoch]
            self.trainer.current_epoch, self.trainer.should_stop = epoch, False
            self.recorder.on_train_epoch_start(self.trainer, self.module)
            self.recorder.on_train_epoch_end(self.trainer, self.module)
            if self.trainer.should_stop:
                break
        return self

    @property
    def kept(self) -> int:
        return int(load_file(self.folder / BEST)["weight"])


@pytest.mark.parametrize(
    ("scores", "options", "best", "epochs"),
    [
        (RISING, {"smoothing": 5, "patience": 3}, 10, 11),
        (PEAK, {"smoothing": 5}, 3, 5),
        (PEAK, {"smoothing": 100}, 3, 5),
        (PEAK, {"smoothing": 1}, 2, 5),
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], {"smoothing": 3, "patience": 2}, 0, 5),
        ([0.1, 0.2, 0.3, 0.2, 0.1, 0.0, -0.1, -0.2], {"smoothing": 3, "patience": 2}, 2, 6),
        ([math.nan, 0.2, 0.8, math.nan, 0.3], {"smoothing": 3}, 2, 5),
        ([math.nan, math.nan, math.nan], {"smoothing": 3, "patience": 1}, 2, 3),
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(tmp_path, scores, options, best, epochs):
    run = Run(tmp_path, scores, **options).go()
    assert (run.recorder.best_epoch, run.recorder.epochs, run.kept) == (best, epochs, best)
    table = pd.read_csv(tmp_path / HISTORY)
    assert table["score"].tolist() == pytest.approx(scores[:epochs], nan_ok=True)


@pytest.mark.parametrize("scores", [RISING, PEAK, PEAK[::-1], [0.5, math.nan, 0.8, 0.4, math.nan, 0.4, 0.2, 0.9, 0.1]])
@pytest.mark.parametrize("back", [0, 1])
def test_a_resumed_run_keeps_the_same_epoch_from_whichever_of_its_checkpoints(tmp_path, scores, back):
    """``back`` is the number of checkpoints that are damaged, so that the one before them serves."""
    whole = Run(tmp_path / "whole", scores, smoothing=3, patience=4).go()
    for stop in range(1 + back, whole.recorder.epochs):
        broken = Run(tmp_path / f"broken{stop}", scores[:stop], smoothing=3, patience=4).go()
        resumed = Run(broken.folder, scores, smoothing=3, patience=4)
        resumed.recorder.load_state_dict(broken.saved[-1 - back])
        resumed.go(stop - back)
        assert (resumed.recorder.best_epoch, resumed.kept) == (whole.recorder.best_epoch, whole.kept)
        assert resumed.recorder.epochs == whole.recorder.epochs


def test_a_complete_run_keeps_no_weights_that_did_not_become_the_best(tmp_path):
    run = Run(tmp_path, PEAK[::-1], smoothing=5).go()
    assert len(list((tmp_path / CANDIDATES).iterdir())) < 5
    run.recorder.clean()
    assert not (tmp_path / CANDIDATES).exists() and (tmp_path / BEST).exists()


def snapshots(folder: Path) -> dict[int, int]:
    """The epochs whose weights are kept, and the epochs that the weights are of."""
    return {int(path.stem): int(load_file(path)["weight"]) for path in (folder / SNAPSHOTS).glob("*.safetensors")}


def test_the_weights_of_a_grid_of_epochs_are_kept(tmp_path):
    run = Run(tmp_path, RISING, smoothing=3, snapshots=[1, 4, 7]).go()
    assert snapshots(tmp_path) == {1: 1, 4: 4, 7: 7}
    run.recorder.clean(kept=[4, 10])
    assert snapshots(tmp_path) == {4: 4}
    run.recorder.clean()
    assert not (tmp_path / SNAPSHOTS).exists()


def test_of_a_complete_run_what_is_the_best_or_the_last_is_not_kept_twice(tmp_path):
    run = Run(tmp_path, PEAK, smoothing=1, snapshots=[0, 1, 2, 3, 4]).go()
    run.recorder.clean(kept=[0, 2, 4])
    assert run.kept == 2 and snapshots(tmp_path) == {0: 0}


@pytest.mark.parametrize("back", [0, 1])
def test_a_resumed_run_has_the_same_grid(tmp_path, back):
    for stop in range(1 + back, len(RISING)):
        broken = Run(tmp_path / f"broken{stop}", RISING[:stop], snapshots=[1, 4, 7]).go()
        resumed = Run(broken.folder, RISING, snapshots=[1, 4, 7])
        resumed.recorder.load_state_dict(broken.saved[-1 - back])
        resumed.go(stop - back)
        assert snapshots(broken.folder) == {1: 1, 4: 4, 7: 7}


def test_a_run_of_a_version_that_kept_one_epoch_goes_on_with_that_one(tmp_path):
    old = Run(tmp_path, [0.2, 0.5, 0.4], smoothing=1).go()
    shutil.rmtree(tmp_path / CANDIDATES, ignore_errors=True)
    new = Run(tmp_path, [0.2, 0.5, 0.4, 0.3, 0.2], smoothing=3)
    new.recorder.load_state_dict({"rows": old.saved[-1]["rows"], "best": 0.5, "best_epoch": 1})
    new.go(3)
    assert new.kept == new.recorder.best_epoch == 1
