"""Samples of generated pictures with partial labels, as a run takes them: balanced, augmented, kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosstask.assembly import assembly_of, dataset_of
from crosstask.datasets import DATASETS, Case, CaseData, Dataset, Issue
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from
from crosstask.geometry import Geometry
from crosstask.methods import get_method
from crosstask.runs import HISTORY, RunSpec, read_record
from crosstask.sample import Batch
from crosstask.splits import splits_of
from crosstask.store import Store, prepare
from crosstask.tasks import ClassificationTask, ScalarTask, SegmentationTask
from crosstask.tasks.base import Task
from crosstask.training.run import _Learned, _loaders, train
from crosstask.training.samples import NumberedSamples, PatchSamples, SliceSamples, WholeSamples
from crosstask.weighting import build_weighting

DIAGNOSES = ("benign", "malignant", "other")
FINDINGS = ("round", "dark")
COUNT = 40


class Pictures(Dataset):
    """Colour pictures of a disc: diagnosis by its colour, some masks, findings and ages missing."""

    name = "pictures"
    image_array = "image"
    image_channels = 3
    spatial_dims = 2
    licence = source = citation = "generated"

    def cases(self) -> list[Case]:
        splits = ["train"] * (COUNT - 10) + ["validation"] * 5 + ["test"] * 5
        return [Case(f"p{i:02d}", f"p{i:02d}", split, (self.root / "seed",)) for i, split in enumerate(splits)]

    def read(self, case: Case) -> CaseData:
        number = int(case.id[1:])
        generator = np.random.default_rng(number)
        diagnosis = 0 if number % 5 < 3 else 1 if number % 5 < 4 else 2  # 3 : 1 : 1
        radius = 5 + number % 6
        y, x = np.mgrid[:24, :32]
        disc = (y - 12) ** 2 + (x - generator.integers(12, 20)) ** 2 <= radius**2
        image = generator.integers(0, 40, (3, 24, 32)).astype(np.uint8)
        image[diagnosis, disc] = 220
        labels = {
            "masks": (("disc",), disc[None].astype(np.uint8), number % 3 > 0),
            "diagnosis": (DIAGNOSES, np.eye(3, dtype=np.float32)[diagnosis], number % 4 > 0),
            "findings": (("dark",), np.array([float(number % 2)], np.float32), number % 7 > 0),
            "age": (("age",), np.array([20.0 + number], np.float32), number == 9),
        }
        there = {name: (channels, values) for name, (channels, values, known) in labels.items() if known}
        if number % 10 == 1 and "findings" in there:
            there["findings"] = (FINDINGS, np.array([1.0, float(number % 2)], np.float32))
        return CaseData(
            arrays={"image": image, **{name: values for name, (_, values) in there.items()}},
            channels={"image": ("r", "g", "b"), **{name: channels for name, (channels, _) in there.items()}},
            geometry=Geometry((24, 32), (1.0, 1.0)),
        )

    def check(self) -> Iterator[Issue]:
        return iter(())

    def task(self, name: str, **options: Any) -> Task:
        if name == "mask":
            return SegmentationTask("mask", "masks", ["disc"])
        if name == "age":
            return ScalarTask("age", "age", "years")
        exclusive = name == "diagnosis"
        return ClassificationTask(name, name, DIAGNOSES if exclusive else FINDINGS, exclusive=exclusive)

    @property
    def tasks(self) -> tuple[str, ...]:
        return ("mask", "diagnosis", "findings", "age")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("pictures")
    (root / "seed").write_text("0")
    prepare(Pictures(root), root / "store", workers=1)
    return Store(root / "store")


@pytest.fixture
def plan(pictures: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    monkeypatch.setitem(DATASETS._entries, "pictures", Pictures)
    values = {
        "name": "small",
        "dataset": {
            "name": "pictures",
            "root": str(pictures.root.parent),
            "tasks": ["mask", "diagnosis"],
            "windows": [[0, 255]],
        },
        "sample": {"kind": "image", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {"epochs": 2, "batch_size": 6, "samples_per_epoch": 18, "threads": 1},
        "output": str(tmp_path / "results"),
    }
    return spec_of(experiment_from(values))


def spec_of(experiment: Experiment, *tasks: str, seed: int = 0) -> RunSpec:
    return RunSpec(experiment, get_method("hps"), seed, tasks or tuple(experiment.dataset.tasks))


def changed(plan: RunSpec, *tasks: str, names: list[str] | None = None, **training: Any) -> RunSpec:
    values = plan.experiment.model_dump(mode="json")
    values["training"] |= training
    if names:
        values["dataset"]["tasks"] = names
    return spec_of(experiment_from(values), *tasks, seed=plan.seed)


def loaders(plan: RunSpec, store: Store) -> tuple[Any, Any]:
    experiment = plan.experiment
    dataset = dataset_of(experiment)
    whole = assembly_of(experiment, dataset)
    splits = splits_of(store, experiment.dataset, dataset.image_array)
    weighting = build_weighting("equal", list(plan.tasks))
    return _loaders(plan, _Learned(store, dataset, splits, None, weighting, whole, whole.only(plan.tasks)))


def epochs(loader: Any, count: int) -> list[list[Batch]]:
    batches = []
    for epoch in range(count):
        loader.batch_sampler.sampler.set_epoch(epoch)
        batches.append(list(loader))
    return batches


def diagnosis_of(case: str) -> int:
    number = int(case[1:])
    return -1 if number % 4 == 0 else [0, 0, 0, 1, 2][number % 5]


def test_whole_pictures_and_their_labels(plan: RunSpec, pictures: Store):
    plan = changed(plan, names=["mask", "diagnosis", "findings", "age"])
    assembly = assembly_of(plan.experiment, dataset_of(plan.experiment))
    samples = WholeSamples(pictures, ["p01", "p08", "p09"], assembly, (24, 32))
    for index, case_id in enumerate(samples.cases):
        sample, case = samples[index], pictures.open(case_id)
        number = int(case_id[1:])
        np.testing.assert_allclose(sample.image, case.read("image") * (2 / 255) - 1, atol=1e-6)
        assert sample.region is None and sample.position == ()
        assert {task: tuple(target.shape) for task, target in sample.targets.items()} == {
            "mask": (1, 24, 32), "diagnosis": (3,), "findings": (2,), "age": (1,)
        }  # fmt: skip
        assert sample.present["mask"].all() == (number % 3 > 0)
        assert sample.present["diagnosis"].tolist() == [number % 4 > 0] * 3
        assert sample.present["findings"].tolist() == [number == 1, True]
        assert sample.present["age"].all() == (number == 9)
        if number % 4:
            assert sample.targets["diagnosis"].argmax() == diagnosis_of(case_id)
    assert samples[2].targets["age"].tolist() == [29]
    assert all(not target[~sample.present[task]].any() for task, target in sample.targets.items())
    small = WholeSamples(pictures, ["p08"], assembly, (16, 16))[0]
    assert small.image.shape == (3, 16, 16) and set(small.targets["mask"].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("tasks", [("mask", "diagnosis"), ("mask",)])
def test_classes_are_drawn_equally_often_for_every_method(plan: RunSpec, pictures: Store, tasks: tuple[str, ...]):
    training, _ = loaders(changed(plan, *tasks, balance="diagnosis", samples_per_epoch=24), pictures)
    for batches in epochs(training, 4):
        counts = Counter(diagnosis_of(case) for batch in batches for case in batch.cases)
        labelled = [counts[index] for index in range(3)]
        assert max(labelled) - min(labelled) <= 1
        assert 3 <= counts[-1] <= 9  # a quarter has no diagnosis, and still may have a mask


def test_sides_of_a_finding_are_drawn_equally_often(plan: RunSpec, pictures: Store):
    settings = {"names": ["mask", "findings"], "balance": "findings", "samples_per_epoch": 30}
    training, _ = loaders(changed(plan, **settings), pictures)
    from_each: Counter[str] = Counter()
    for batches in epochs(training, 10):
        for batch in batches:
            from_each.update(batch.cases)
    rare = [f"p{i:02d}" for i in range(1, 30, 10) if i % 7]  # those that have the first finding, always positive
    labelled = [f"p{i:02d}" for i in range(30) if i % 7]
    share = sum(from_each[case] for case in rare) / sum(from_each[case] for case in labelled)
    dark = sum(from_each[case] for case in labelled if int(case[1:]) % 2)
    assert 0.3 < share < 0.55  # a third from their own pool, and their part of the others
    assert dark / sum(from_each[case] for case in labelled) > 0.5


def test_a_rare_label_is_in_every_epoch_of_every_method(plan: RunSpec, pictures: Store):
    plan = changed(plan, "mask", names=["mask", "diagnosis", "age"], samples_per_epoch=6)
    training, _ = loaders(plan, pictures)
    for batches in epochs(training, 8):
        assert "p09" in [case for batch in batches for case in batch.cases]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("mask", "'mask' is no classification of whole images; name one of 'diagnosis'"),
        ("age", "'age' is no task of the experiment; name one of 'diagnosis'"),
    ],
)
def test_only_a_classification_can_be_balanced(plan: RunSpec, pictures: Store, name: str, fault: str):
    with pytest.raises(InputError) as error:
        loaders(changed(plan, balance=name), pictures)
    assert str(error.value) == f"training.balance: {fault}"


def test_foreground_and_balance_together(plan: RunSpec, pictures: Store):
    training, _ = loaders(changed(plan, balance="diagnosis", foreground=1.0, samples_per_epoch=24), pictures)
    for batches in epochs(training, 3):
        cases = [case for batch in batches for case in batch.cases]
        counts = Counter(map(diagnosis_of, cases))
        assert max(counts[i] for i in range(3)) - min(counts[i] for i in range(3)) <= 1
        assert all(int(case[1:]) % 3 for case in cases)  # every one has a mask to show


def test_augmented_and_cached_loading_repeats_in_any_process(plan: RunSpec, pictures: Store):
    augmentation = {"flip": ["x"], "rotate": 20, "scale": 0.1, "intensity": 0.1, "noise": 0.05}
    settings = {"augmentation": augmentation, "samples_per_epoch": 12, "balance": "diagnosis"}
    here = epochs(loaders(changed(plan, **settings), pictures)[0], 3)
    cached = epochs(loaders(changed(plan, **settings, cache=True), pictures)[0], 3)
    resumed, _ = loaders(changed(plan, **settings), pictures)
    resumed.batch_sampler.sampler.set_epoch(2)
    elsewhere, _ = loaders(changed(plan, **settings, cache=True, loader_workers=1), pictures)
    elsewhere.batch_sampler.sampler.set_epoch(2)
    for again in (cached[2], list(resumed), list(elsewhere)):
        for batch, other in zip(here[2], again, strict=True):
            assert batch.cases == other.cases
            assert torch.equal(batch.image, other.image)
            assert torch.equal(batch.targets["mask"], other.targets["mask"])
    kept = elsewhere.dataset._samples._state  # what the other process loaded is here, too
    assert {elsewhere.dataset._samples._cases[i] for i in kept.nonzero().flatten()} >= set(here[2][0].cases)
    assert not torch.equal(here[0][0].image, here[2][0].image)


def test_validation_samples_are_never_changed(plan: RunSpec, pictures: Store):
    augmentation = {"flip": ["x", "y"], "rotate": 45, "intensity": 0.5, "noise": 0.3}
    training, validation = loaders(changed(plan, augmentation=augmentation, cache=True), pictures)
    _, plain = loaders(plan, pictures)
    assert isinstance(training.dataset, NumberedSamples)
    for _ in range(2):
        for batch, other in zip(validation, plain, strict=True):
            assert torch.equal(batch.image, other.image)
            assert torch.equal(batch.targets["mask"], other.targets["mask"])


def test_z_is_no_axis_of_pictures(plan: RunSpec, pictures: Store):
    with pytest.raises(InputError, match=r"training\.augmentation\.flip"):
        loaders(changed(plan, augmentation={"flip": ["z"]}), pictures)


def test_a_run_on_augmented_balanced_pictures(plan: RunSpec, pictures: Store):
    augmentation = {"flip": ["x", "y"], "rotate": 10, "scale": 0.1, "intensity": 0.1, "noise": 0.02}
    plan = changed(plan, augmentation=augmentation, balance="diagnosis", cache=True, foreground=0.3)
    record = train(plan, pictures)
    assert record["training"]["epochs"] == 2 and read_record(plan.folder)["trained"]
    assert "nan" not in (plan.folder / HISTORY).read_text().lower()


def test_a_run_on_augmented_slices(experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch):
    from crosstask.training.module import TrainingModule

    seen: dict[str, list[Batch]] = {"training": [], "validation": []}
    for name, batches in seen.items():
        step = getattr(TrainingModule, f"{name}_step")

        def kept(self: Any, batch: Batch, index: int, step: Any = step, batches: list[Batch] = batches) -> Any:
            batches.append(batch)
            return step(self, batch, index)

        monkeypatch.setattr(TrainingModule, f"{name}_step", kept)
    values = experiment.model_dump(mode="json")
    values["training"] |= {"epochs": 1, "augmentation": {"flip": ["x"], "rotate": 15, "scale": 0.1, "noise": 0.05}}
    plan = spec_of(experiment_from(values))
    train(plan, store)
    assembly = assembly_of(plan.experiment, dataset_of(plan.experiment))
    for name, batches in seen.items():
        cases = list(dict.fromkeys(case for batch in batches for case in batch.cases))
        samples = SliceSamples(store, cases, assembly, (32, 32))
        equal = [
            torch.equal(batch.image[i], samples[samples.index_of(case, z)].image)
            for batch in batches
            for i, (case, (z,)) in enumerate(zip(batch.cases, batch.positions, strict=True))
        ]
        assert all(equal) if name == "validation" else not any(equal)
        assert len(equal) >= 8


def test_patches_carry_labels_of_the_whole_case(store: Store, experiment: Experiment):
    class Labelled:
        """A case with a diagnosis beside its volumes."""

        def __init__(self, case: Any) -> None:
            self.case, self.geometry = case, case.geometry
            self.channels = {**case.channels, "diagnosis": DIAGNOSES}

        def shape(self, name: str) -> tuple[int, ...]:
            return (3,) if name == "diagnosis" else self.case.shape(name)

        def read(self, name: str, channels: Any = None, slices: Any = None) -> np.ndarray:
            if name == "diagnosis":
                return np.eye(3, dtype=np.float32)[2][list(channels)]
            return self.case.read(name, channels, slices)

    class Labels(Store):
        def open(self, case_id: str) -> Labelled:
            return Labelled(super().open(case_id))

    assembly = assembly_of(experiment, dataset_of(experiment))
    task = ClassificationTask("diagnosis", "diagnosis", DIAGNOSES, exclusive=True)
    assembly = type(assembly)(**{**vars(assembly), "tasks": (*assembly.tasks, task)})
    case_id = store.cases[0].id
    for size in [(16, 16, 16), (48, 16, 40)]:  # the second must be padded
        sample = PatchSamples(Labels(store.root), [case_id], assembly, size)[0]
        assert sample.targets["diagnosis"].tolist() == [0, 0, 1]
        assert sample.present["diagnosis"].tolist() == [True] * 3
        assert sample.image.shape[1:] == sample.targets["dose"].shape[1:] == size
