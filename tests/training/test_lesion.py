"""Patches of lesions: where they lie, what is in them, and how they go through training and prediction."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lesion_fakes import ENDING, GRID, lesion_mask, make_lesions, write_lesion_spec

from crosstask.assembly import Assembly, assemble, assembly_of, dataset_of, lesion_of
from crosstask.datasets import Cohort
from crosstask.errors import InputError
from crosstask.evaluation.examples import save_examples
from crosstask.experiment import Experiment, LesionSection, experiment_from
from crosstask.functional.resize import resize
from crosstask.io.volumes import write_volume
from crosstask.methods import get_method
from crosstask.prediction.predictor import Predictor
from crosstask.runs import EXAMPLES, RunSpec
from crosstask.sample import Sample
from crosstask.store import Store, prepare
from crosstask.training.augmentation import Augmentation
from crosstask.training.cache import CachedSamples
from crosstask.training.lesion import LesionSamples
from crosstask.training.run import _Learned, _loaders, train
from crosstask.training.samples import NumberedSamples
from crosstask.weighting import build_weighting

WINDOWS = ((-800, -200), (-200, 400), (-1000, 400))
TASKS: dict[str, dict[str, Any]] = {"malignant": {}, "margin": {}}
WIDE = 400.0
"""Half the width of the window through which millimetres are read back."""


def prepared(cohort: Path, root: Path) -> Store:
    prepare(Cohort(cohort), root, workers=1)
    return Store(root)


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two cases whose three channels are each voxel's z, y and x in mm."""
    root = tmp_path_factory.mktemp("ruler")
    make_lesions(root, 2, image=[f"{axis}/{{id}}{ENDING}" for axis in "zyx"])
    axes = zip(GRID.shape, GRID.spacing, GRID.origin, strict=True)
    places = np.meshgrid(*(start + step * np.arange(length) for length, step, start in axes), indexing="ij")
    for axis, values in zip("zyx", places, strict=True):
        (root / axis).mkdir()
        for index in range(2):
            write_volume(root / axis / f"c{index}{ENDING}", values.astype(np.float32), GRID)
    return prepared(root / "cohort.yaml", root / "store")


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lesions(tmp_path_factory.mktemp("lesions"))


@pytest.fixture(scope="module")
def store(lesions: Path) -> Store:
    return prepared(lesions, lesions.parent / "store")


@pytest.fixture
def assembly(lesions: Path) -> Assembly:
    return assemble(Cohort(lesions), TASKS, WINDOWS)


def rulers(store: Store, settings: LesionSection, seed: int | None = None, pixels: int = 8) -> LesionSamples:
    """Samples whose pixels say where they lie."""
    whole = assemble(Cohort(store.root.parent / "cohort.yaml"), TASKS, [(-WIDE, WIDE)])
    assert whole.image_channels == 3
    return LesionSamples(store, ["c0", "c1"], whole, (pixels, pixels), settings, seed)


def millimetres(sample: Sample) -> np.ndarray:
    """``3 rows columns``: z, y and x of each pixel."""
    return sample.image.double().numpy() * WIDE


def voxel_of(place: np.ndarray) -> np.ndarray:
    return (place - np.array(GRID.origin)) / np.array(GRID.spacing)


SMALL = LesionSection(pixels=8, spacing=0.5, per_case=40, copies=2, shift=1.5, rotate=60)


def test_training_patches_lie_in_the_three_planes_about_voxels_of_the_lesion(ruler: Store):
    samples = rulers(ruler, SMALL, seed=3)
    assert len(samples) == 2 * 40 * 3
    planes = []
    for index in range(0, len(samples), 3):
        sample = samples[index]
        place = millimetres(sample)
        centre = place.mean((1, 2))
        voxel = voxel_of(centre)
        assert np.abs(voxel - np.rint(voxel)).max() * max(GRID.spacing) < 0.01
        assert lesion_mask(int(sample.case[1:]))[tuple(np.rint(voxel).astype(int))]
        assert sample.position == tuple(np.rint(voxel).astype(int))
        (across,) = np.flatnonzero(np.ptp(place, axis=(1, 2)) < 0.01)
        planes.append(across)
        down, right = (axis for axis in range(3) if axis != across)
        steps = (np.arange(8) - 3.5) * 0.5
        np.testing.assert_allclose(place[down] - centre[down], np.repeat(steps[:, None], 8, 1), atol=0.01)
        np.testing.assert_allclose(place[right] - centre[right], np.repeat(steps[None], 8, 0), atol=0.01)
    counts = np.bincount(planes, minlength=3)
    assert counts.min() > 10, "80 patches, a third each"
    assert len({sample.position for sample in map(samples.__getitem__, range(0, 120, 3))}) > 20


def test_copies_are_shifted_and_turned_in_the_plane_of_their_patch(ruler: Store):
    samples = rulers(ruler, SMALL, seed=3)
    shifts, angles = [], []
    for index in range(0, 120, 3):
        patch = millimetres(samples[index])
        (across,) = np.flatnonzero(np.ptp(patch, axis=(1, 2)) < 0.01)
        down, right = (axis for axis in range(3) if axis != across)
        for copy in (millimetres(samples[index + 1]), millimetres(samples[index + 2])):
            moved = copy.mean((1, 2)) - patch.mean((1, 2))
            assert abs(moved[across]) < 0.01 and np.ptp(copy[across]) < 0.01
            shifts += [moved[down], moved[right]]
            along = (copy[:, -1, 0] - copy[:, 0, 0])[[down, right]]  # one column, 7 pixels of 0.5 mm
            beside = (copy[:, 0, -1] - copy[:, 0, 0])[[down, right]]
            assert np.hypot(*along) == pytest.approx(3.5, abs=0.01)
            assert along @ beside == pytest.approx(0, abs=0.05)
            angles.append(math.degrees(math.atan2(along[1], along[0])))
    assert np.abs(shifts).max() <= 1.51 and min(shifts) < -1 and max(shifts) > 1
    assert np.abs(angles).max() <= 60.5 and min(angles) < -30 and max(angles) > 30


def test_the_settings_of_copies_are_heeded(ruler: Store):
    still = rulers(ruler, LesionSection(pixels=8, per_case=3, copies=1, shift=0, rotate=0), seed=1)
    assert len(still) == 2 * 3 * 2
    assert all(torch.equal(still[index].image, still[index + 1].image) for index in range(0, 12, 2))
    assert len(rulers(ruler, LesionSection(pixels=8, per_case=3, copies=0), seed=1)) == 6


def test_evaluation_takes_one_axial_patch_about_the_middle(ruler: Store):
    samples = rulers(ruler, SMALL)
    assert samples.cases == ["c0", "c1"]
    for index in range(2):
        place = millimetres(samples[index])
        mass = np.argwhere(lesion_mask(index)).mean(0)
        expected = np.array(GRID.origin) + mass * np.array(GRID.spacing)
        np.testing.assert_allclose(place.mean((1, 2)), expected, atol=0.01)
        assert np.ptp(place[0]) < 0.01
        assert np.ptp(place[1], axis=0) == pytest.approx(np.full(8, 3.5), abs=0.01)
    assert samples[-1].case == "c1"


def test_a_seed_and_an_index_give_one_patch_whoever_loads_it(store: Store, assembly: Assembly):
    def samples(seed: int = 5, **options: Any) -> LesionSamples:
        return LesionSamples(store, ["c0", "c1", "c2"], assembly, (16, 16), SMALL, seed, **options)

    first = samples()
    order = [17, 200, 3, 101, 17]
    images = [first[index].image for index in order]
    copied = pickle.loads(pickle.dumps(first))
    for other in (samples(), copied, samples(kept_bytes=0)):
        for index, image in zip(order[::-1], images[::-1], strict=True):
            assert torch.equal(other[index].image, image)
    assert torch.equal(first[17 - len(first)].image, images[0])
    assert not torch.equal(samples(6)[17].image, images[0])
    with pytest.raises(IndexError):
        first[len(first)]


def test_what_is_kept_in_memory_is_bounded(store: Store, assembly: Assembly, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    opens = Store.open
    monkeypatch.setattr(Store, "open", lambda self, case: opened.append(case) or opens(self, case))

    def reads(**options: Any) -> int:
        samples = LesionSamples(store, ["c0", "c1"], assembly, (16, 16), SMALL, 0, **options)
        for index in (0, 150, 1, 151):
            samples[index]
        opened.clear()
        for index in (0, 150, 1, 151):
            samples[index]
        return len(opened)

    assert reads() == 0
    assert reads(kept_bytes=0) == 4
    lesions = [lesion_of(case, store.open(case), GRID, "image", SMALL) for case in ("c0", "c1")]
    sizes = [lesion.image.nbytes + lesion.voxels.nbytes for lesion in lesions]
    assert reads(kept_bytes=sum(sizes)) == 0
    assert reads(kept_bytes=sum(sizes) - 1) == 2, "the first stays, the other is read anew"


def test_windows_are_exact(tmp_path: Path):
    path = make_lesions(tmp_path, 1)
    for value in (-1200, -650, -200, 55, 399):
        write_volume(tmp_path / "volumes" / f"c0{ENDING}", np.full(GRID.shape, value, np.int16), GRID)
        root = tmp_path / f"store{value}"
        samples = LesionSamples(prepared(path, root), ["c0"], assemble(Cohort(path), TASKS, WINDOWS), (20, 20), SMALL)
        image = samples[0].image
        assert image.shape == (3, 20, 20) and image.dtype == torch.float32
        for channel, (low, high) in zip(image, WINDOWS, strict=True):
            expected = min(max((value - low) / (high - low) * 2 - 1, -1), 1)
            assert channel.numpy() == pytest.approx(expected, abs=1e-5)


def test_beyond_the_volume_is_the_lowest_value(store: Store, assembly: Assembly):
    wide = LesionSection(pixels=128, spacing=0.5, per_case=1)  # 64 mm, the volume has 32 x 31
    image = LesionSamples(store, ["c1"], assembly, (128, 128), wide)[0].image
    assert (image[:, :8] == -1).all() and (image[:, :, -8:] == -1).all()
    assert image[1, 64, 64] == pytest.approx((100 + 200) / 600 * 2 - 1, abs=1e-5), "the lesion in the middle"


def test_labels_go_with_the_patch(store: Store, assembly: Assembly):
    samples = LesionSamples(store, ["c3"], assembly, (16, 16), SMALL, 0)
    for index in (0, 7):
        sample = samples[index]
        assert sample.targets["malignant"].tolist() == [1] and sample.present["malignant"].tolist() == [True]
        assert sample.targets["margin"].tolist() == [1, 0, 0, 0] and sample.present["margin"].all()
        assert sample.region is None and sample.case == "c3"


def test_cases_without_an_outline_are_refused_by_name(tmp_path: Path):
    path = make_lesions(tmp_path, 4)
    (tmp_path / "outlines" / f"c1{ENDING}").unlink()
    write_volume(tmp_path / "outlines" / f"c2{ENDING}", np.zeros(GRID.shape, np.uint8), GRID)
    store, assembly = prepared(path, tmp_path / "store"), assemble(Cohort(path), TASKS, WINDOWS)
    assert len(LesionSamples(store, ["c0", "c3"], assembly, (16, 16), SMALL)) == 2
    with pytest.raises(InputError, match=r"^c1, c2: no outline in 'segmentation', or an empty one"):
        LesionSamples(store, ["c0", "c1", "c2", "c3"], assembly, (16, 16), SMALL)
    for other in ("segmentatoin", "malignant"):
        with pytest.raises(InputError, match=f"no masks '{other}'; choose among image, segmentation"):
            LesionSamples(store, ["c0"], assembly, (16, 16), LesionSection(outline=other))


def experiment_of(lesions: Path, store: Store, output: Path, **changes: Any) -> Experiment:
    training = {"epochs": 2, "batch_size": 4, "samples_per_epoch": 16, "learning_rate": 1e-3, "threads": 1}
    values = {
        "name": "lesions",
        "seeds": [0],
        "dataset": {
            "name": "cohort",
            "root": str(lesions),
            "tasks": TASKS,
            "windows": [list(window) for window in WINDOWS],
            "splits": {"rule": "drawn", "fractions": [0.6, 0.2, 0.2]},
            **changes.pop("dataset", {}),
        },
        "sample": {"kind": "lesion", "size": [32, 32], "lesion": {"pixels": 24, "per_case": 5, "copies": 1}},
        "encoder": {"name": "resnet18-narrow"},
        "training": {**training, **changes.pop("training", {})},
        "output": str(output),
        "store": str(store.root),
    }
    return experiment_from({**values, **changes})


def test_pixel_tasks_do_not_go_with_patches_of_lesions(lesions: Path, store: Store, tmp_path: Path):
    experiment = experiment_of(lesions, store, tmp_path, dataset={"tasks": {"malignant": {}, "segmentation": {}}})
    with pytest.raises(InputError, match=r"^dataset\.tasks\.segmentation: patches of a lesion .* leave the task out"):
        assembly_of(experiment, dataset_of(experiment))


def test_structures_as_input_do_not_either(
    lesions: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Cohort, "structure_array", "segmentation")
    monkeypatch.setattr(Cohort, "structures", ("Lesion",))
    experiment = experiment_of(lesions, store, tmp_path, dataset={"structure_input": True})
    with pytest.raises(InputError, match=r"^dataset\.structure_input: patches of a lesion .* have none; set it false"):
        assembly_of(experiment, dataset_of(experiment))


def loaders_of(plan: RunSpec, store: Store, splits: dict[str, list[str]]):
    dataset = dataset_of(plan.experiment)
    whole = assembly_of(plan.experiment, dataset)
    weighting = build_weighting("equal", list(plan.tasks))
    return _loaders(plan, _Learned(store, dataset, splits, None, weighting, whole, whole))


def test_processes_that_load_give_the_patches_of_one(lesions: Path, store: Store, tmp_path: Path):
    splits = {"train": ["c0", "c1", "c2", "c3", "c4", "c5"], "validation": ["c6", "c7"], "test": []}
    images = []
    for workers in (0, 2):
        experiment = experiment_of(lesions, store, tmp_path / str(workers), training={"loader_workers": workers})
        plan = RunSpec(experiment, get_method("hps"), 0, tuple(TASKS))
        images.append(torch.stack([batch.image for batch in loaders_of(plan, store, splits)[0]]))
    assert torch.equal(*images) and len(images[0].unique()) > 100


@pytest.mark.parametrize("cache", [False, True])
def test_a_run_learns_from_patches_and_predicts_what_validation_saw(
    lesions: Path, store: Store, tmp_path: Path, cache: bool
):
    training = {"cache": cache, "balance": "malignant", "augmentation": {"intensity": 0.1, "flip": ["x"]}}
    experiment = experiment_of(lesions, store, tmp_path / "out", training=training)
    plan = RunSpec(experiment, get_method("hps"), 0, tuple(TASKS))
    whole = assembly_of(experiment, dataset_of(experiment))
    splits = {"train": ["c0", "c1", "c2", "c3", "c4", "c5"], "validation": ["c6", "c7"], "test": []}
    loaders = loaders_of(plan, store, splits)
    batches = list(loaders[0])
    assert [batch.image.shape for batch in batches] == [(4, 3, 32, 32)] * 4
    assert isinstance(loaders[0].dataset, NumberedSamples)
    assert isinstance(loaders[0].dataset._samples, CachedSamples) == cache
    assert sum(float(batch.targets["malignant"].sum()) for batch in batches) == 8, "balanced"

    record = train(plan, store)
    assert record["trained"]
    predictor = Predictor(plan.folder)
    samples = LesionSamples(store, ["c6"], whole, (32, 32), experiment.sample.lesion)
    raw = predictor.dataset.read(next(case for case in predictor.dataset.cases() if case.id == "c6"))
    prepared_case = store.open("c6")
    expected = predictor._decoded(predictor._forward(samples[0].image[None]))
    save_examples(plan.folder, store, ["c6"])
    with np.load(plan.folder / EXAMPLES) as shown:
        assert shown["c6/image"].shape == (1, *(experiment.sample.lesion.pixels,) * 2)
        widest = samples[0].image[WINDOWS.index((-1000, 400))]
        seen = resize(torch.from_numpy(shown["c6/image"].astype(np.float32))[None], widest.shape)[0, 0]
        np.testing.assert_allclose(seen, widest, atol=1e-3)
        assert shown["c6/spacing"].tolist() == [experiment.sample.lesion.spacing] * 2
    for case in (raw, prepared_case):
        values = predictor.predict("c6", case, prepared_case.geometry).values
        assert values["malignant"].shape == (1,) and values["margin"].sum() == pytest.approx(1, abs=1e-5)
        for task, found in values.items():
            np.testing.assert_allclose(found, expected[task][0].detach().numpy(), atol=1e-6)
    raw.channels["segmentation"], raw.arrays["segmentation"] = (), raw.arrays["segmentation"][:0]
    with pytest.raises(InputError, match=r"^c6: no outline in 'segmentation'"):
        predictor.predict("c6", raw, prepared_case.geometry)


def test_augmentation_changes_the_patch_alone(store: Store, assembly: Assembly, lesions: Path, tmp_path: Path):
    settings = experiment_of(
        lesions, store, tmp_path, training={"augmentation": {"intensity": 0.3, "noise": 0.1}}
    ).training.augmentation
    assert settings is not None
    sample = LesionSamples(store, ["c1"], assembly, (16, 16), SMALL, 0)[0]
    changed = Augmentation(settings, assembly)(sample, np.random.default_rng(0))
    assert not torch.equal(changed.image, sample.image)
    assert torch.equal(changed.targets["margin"], sample.targets["margin"])
    assert resize(changed.image[None], (16, 16)).shape == (1, 3, 16, 16)


def test_a_cropped_store_gives_the_same_patches(lesions: Path, store: Store, tmp_path: Path, assembly: Assembly):
    spec = write_lesion_spec(tmp_path, folder=str(lesions.parent), crop={"masks": "segmentation", "margin": 8})
    small = prepared(spec, tmp_path / "store")
    assert small.open("c4").geometry.shape < store.open("c4").geometry.shape
    settings = LesionSection(pixels=12, per_case=6, shift=1.0)  # no farther than 5.3 mm
    one, other = (LesionSamples(part, ["c4", "c5"], assembly, (12, 12), settings, 2) for part in (store, small))
    for index in range(0, len(one), 5):
        torch.testing.assert_close(one[index].image, other[index].image, atol=1e-4, rtol=0)
