"""Losses by option in a run: they get the masks that they look at, lower what they are about, and resume exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_train import StopError, assert_same_weights, break_after, changed, history, spec_of

from crosstask.assembly import assembly_of, dataset_of
from crosstask.errors import InputError
from crosstask.experiment import AugmentationSection, Experiment
from crosstask.functional.dose_losses import moments
from crosstask.runs import FINAL
from crosstask.sample import collate
from crosstask.store import Store
from crosstask.training.augmentation import Augmentation
from crosstask.training.cache import CachedSamples
from crosstask.training.module import loss_of
from crosstask.training.run import train
from crosstask.training.samples import PatchSamples, SliceSamples

DOSE = {"moments": 0.5, "dvh": {"weight": 2, "step": 5}, "structures": ["PTV70", "Brainstem", "Larynx"]}
MASKS = "dose structures"


def with_tasks(experiment: Experiment, **tasks: dict[str, Any]) -> Experiment:
    return experiment.model_copy(update={"dataset": experiment.dataset.model_copy(update={"tasks": tasks})})


@pytest.fixture
def samples(experiment: Experiment, store: Store) -> SliceSamples:
    experiment = with_tasks(experiment, dose=DOSE)
    return SliceSamples(
        store, [case.id for case in store.cases], assembly_of(experiment, dataset_of(experiment)), (16, 16)
    )


def test_a_sample_carries_the_masks_of_its_slice(samples: SliceSamples, store: Store) -> None:
    case = samples.cases[0]
    there = store.open(case).channels["structures"]
    for z in (4, 16, 27):
        sample = samples[samples.index_of(case, z)]
        assert sample.targets[MASKS].shape == (3, 16, 16)
        assert sample.present[MASKS].tolist() == [name in there for name in DOSE["structures"]]
        assert set(sample.targets[MASKS].unique().tolist()) <= {0.0, 1.0}
        for index, name in enumerate(DOSE["structures"]):
            if name not in there:
                continue
            mask = store.open(case).read("structures", [there.index(name)])[0, z]
            share = float(sample.targets[MASKS][index].mean())
            assert share == pytest.approx(mask.mean(), abs=0.06)
    assert any(samples[i].targets[MASKS][1].any() for i in range(len(samples)))


def test_masks_go_with_the_sample_through_cache_patches_and_augmentation(
    samples: SliceSamples, experiment: Experiment, store: Store
) -> None:
    experiment = with_tasks(experiment, dose=DOSE)
    assembly = assembly_of(experiment, dataset_of(experiment))
    kept = CachedSamples(samples, samples.cases, assembly)
    for _ in range(2):
        assert torch.equal(kept[12].targets[MASKS], samples[12].targets[MASKS])
        assert torch.equal(kept[12].present[MASKS], samples[12].present[MASKS])
    patch = PatchSamples(store, [case.id for case in store.cases], assembly, (40, 16, 16), seed=1)[0]
    assert patch.targets[MASKS].shape == (3, 40, 16, 16)
    turned = Augmentation(AugmentationSection(flip=["y"], rotate=30, scale=0.1), assembly)
    index = next(i for i in range(len(samples)) if samples[i].targets[MASKS].any())
    moved = [turned(samples[index], np.random.default_rng(seed)) for seed in range(6)]
    assert any(not torch.equal(one.targets[MASKS], samples[index].targets[MASKS]) for one in moved)
    assert all(set(one.targets[MASKS].unique().tolist()) <= {0.0, 1.0} for one in moved)


def test_only_training_reads_the_masks(experiment: Experiment) -> None:
    experiment = with_tasks(experiment, segmentation={"classes": ["Brainstem"]}, dose=DOSE)
    assembly = assembly_of(experiment, dataset_of(experiment))
    assert [label.name for label in assembly.labels] == ["segmentation", "dose", MASKS]
    assert [label.name for label in assembly.only(["dose"]).labels] == ["dose", MASKS]
    assert [label.name for label in assembly.only(["segmentation"]).labels] == ["segmentation"]
    assert [label.name for label in assembly.for_scoring().labels] == ["segmentation", "dose"]


def test_the_loss_looks_at_the_masks_of_the_batch(samples: SliceSamples, experiment: Experiment) -> None:
    experiment = with_tasks(experiment, dose={**DOSE, "moments": {"weight": 1, "orders": [1]}, "dvh": None})
    (task,) = assembly_of(experiment, dataset_of(experiment)).tasks
    chosen = [i for i in range(len(samples)) if samples[i].targets[MASKS][1].any()][:4]
    batch = collate([samples[i] for i in chosen])
    dose, masks = batch.targets["dose"][:, 0], batch.targets[MASKS]
    found = loss_of(task, torch.zeros_like(batch.targets["dose"]), batch)
    there = batch.present[MASKS] & masks.flatten(2).any(2)
    means = moments(dose, masks, (1,))[..., 0][there]
    assert float(found) == pytest.approx(float(dose.abs().mean() + means.square().mean()), rel=1e-5)


LOSSES = {
    "moments": ("dose", {"moments": 0.5, "structures": ["PTV70", "Brainstem"]}),
    "dvh": ("dose", {"dvh": 5}),
    "dice of samples": ("segmentation", {"classes": ["Brainstem", "SpinalCord"], "dice": "sample"}),
    "focal": ("segmentation", {"classes": ["Brainstem", "SpinalCord"], "focal": 2}),
    "tversky": ("segmentation", {"classes": ["Brainstem", "SpinalCord"], "tversky": [0.3, 0.7]}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_training_lowers_each_loss(experiment: Experiment, store: Store, tmp_path: Path, name: str) -> None:
    task, options = LOSSES[name]
    foreground = 1.0 if task == "segmentation" else 0.0
    settings = {"epochs": 5, "samples_per_epoch": 24, "foreground": foreground, "learning_rate": 3e-3}
    spec = spec_of(with_tasks(changed(experiment, **settings), **{task: options}), "hps", output=tmp_path / "run")
    train(spec, store)
    losses = history(spec)[f"loss/{task}"].tolist()
    assert len(losses) == 5 and all(np.isfinite(losses))
    assert losses[-1] < 0.9 * losses[0]


def test_a_broken_run_with_terms_of_structures_resumes_to_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = with_tasks(changed(experiment, epochs=2), dose=DOSE)
    whole, broken = spec_of(experiment, output=tmp_path / "whole"), spec_of(experiment, output=tmp_path / "broken")
    train(whole, store)
    with monkeypatch.context() as patch:
        break_after(patch, 1)
        with pytest.raises(StopError):
            train(broken, store)
    train(broken, store)
    assert_same_weights(whole.folder / FINAL, broken.folder / FINAL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moments": 1, "structures": ["PTV77"]}, "dataset.tasks.dose: no structure 'PTV77': did you mean 'PTV70'?"),
        ({"dice": "sample"}, "dataset.tasks.dose: task 'dose' of phantom has no option 'dice'; options: moments"),
        ({"structures": ["PTV70"]}, "dataset.tasks.dose: structures: no term of the loss looks at them"),
        ({"moments": {"weight": -1}}, "dataset.tasks.dose: moments.weight: -1 is not accepted"),
        ({"moments": 1, "structures": []}, "dataset.tasks.dose: structures is empty; name at least one"),
    ],
)
def test_what_a_dose_does_not_take_is_refused_by_its_key(experiment: Experiment, options: dict, said: str) -> None:
    experiment = with_tasks(experiment, dose=options)
    with pytest.raises(InputError) as error:
        assembly_of(experiment, dataset_of(experiment))
    assert str(error.value).startswith(said)


def test_structures_that_a_clinic_has_not_named_cannot_be_looked_at() -> None:
    from crosstask.datasets.plan_tasks import plan_task

    with pytest.raises(
        InputError, match=r"^structures: the data set reads none; name them in dataset\.options\.structures"
    ):
        plan_task("dicom_rt", "dose", {"moments": 1}, (), ())
    assert plan_task("dicom_rt", "dose", {}, (), ()).masks is None
