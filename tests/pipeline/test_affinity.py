"""``crosstask.affinity`` on more than two tasks, at pixel and image level, some without labels; it goes on."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

import crosstask as ct
from crosstask.datasets import DATASETS
from crosstask.errors import InputError
from crosstask.functional.grouping import group_affinity, partitions
from crosstask.training.module import TrainingModule
from run_fakes import FAKES, fake_experiment

TASKS = ("lesion", "kind", "signs", "age")
LOOK = {"epochs": 1, "seeds": 2, "every": 1}


class StopError(Exception):
    """What a fault raises in the tests."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """An experiment of four tasks on generated pictures."""
    folder = tmp_path_factory.mktemp("affinity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._entries, "pictures", FAKES["pictures"])
        training = {"batch_size": 4, "samples_per_epoch": 16, "learning_rate": 1e-3}
        yield fake_experiment(folder / "raw", folder / "results", training={**training, "device": "cpu"})


def test_tasks_are_divided_by_what_was_measured_and_an_interrupted_look_goes_on(pictures, monkeypatch):
    step = TrainingModule.training_step

    def failing(self, batch, index):
        if self._seed == 1:
            raise StopError
        return step(self, batch, index)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(TrainingModule, "training_step", failing)
        ct.affinity(pictures, **LOOK, groups=2)
    folder = pictures.output_folder / "affinity" / "hps+equal-epochs1-every1"
    first = folder / "runs" / "hps+equal" / "seed0" / "transfer.csv"
    before = first.stat().st_mtime_ns
    assert not (folder / "affinity.json").exists()

    found = ct.affinity(pictures, **LOOK, groups=2)
    assert first.stat().st_mtime_ns == before
    assert found.folder == folder and found.tasks == TASKS
    assert len(found.affinities) == 16 and set(found.affinities["seeds"]) == {2}
    z = {(row.task, row.other): row.value for row in found.affinities.itertuples()}
    assert all(z[task, task] > 0 for task in TASKS)
    totals = [sum(group_affinity(group, z) for group in groups) for groups in partitions(TASKS, 2)]
    assert found.total == pytest.approx(max(totals))
    assert sum(group_affinity(group, z) for group in found.groups) == pytest.approx(found.total)
    assert sorted(task for group in found.groups for task in group) == sorted(TASKS) and len(found.groups) <= 2
    assert "the highest total affinity has the division into" in found.sentence
    assert found.sentence in str(found) and "Step for" in str(found)
    steps = {(row.task, row.other): row.steps for row in found.affinities.itertuples()}
    assert steps["lesion", "age"] == steps["age", "lesion"] <= min(steps["lesion", "lesion"], steps["age", "age"]) <= 8
    assert len(found.cosines) == 6 * (1 + 5)
    everyone = ct.affinity(pictures, **LOOK, groups=1)
    assert everyone.groups == (TASKS,)
    assert set(z) == set(product(TASKS, TASKS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "--epochs: 0 is not accepted; give a whole number from 1 on"),
        ({"every": 2.5}, "--every: 2.5 is not accepted"),
        ({"groups": 0}, "--groups: 0 is not accepted"),
        ({"seeds": True}, "--seeds: True is not accepted"),
    ],
)
def test_what_is_no_number_is_refused(pictures, options, said):
    with pytest.raises(InputError, match=said):
        ct.affinity(pictures, **options)


def test_a_loss_that_is_no_number_is_told_in_one_line(pictures, monkeypatch, tmp_path: Path):
    losses_from = TrainingModule._losses_from

    def broken(self, outputs, batch):
        losses, counts = losses_from(self, outputs, batch)
        return {task: loss * float("nan") for task, loss in losses.items()}, counts

    monkeypatch.setattr(TrainingModule, "_losses_from", broken)
    with pytest.raises(
        InputError, match=r"training\.learning_rate: what is predicted of task 'lesion' .* not finite"
    ) as caught:
        ct.affinity(pictures, [f"output={tmp_path}"], **LOOK)
    assert "\n" not in str(caught.value)
