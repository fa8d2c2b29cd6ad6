"""Augmentation: image, masks, quantities and region stay together, and the rest stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from crosstask.assembly import Assembly
from crosstask.errors import InputError
from crosstask.experiment import AugmentationSection
from crosstask.sample import Sample, collate
from crosstask.tasks import ClassificationTask, RegressionTask, SegmentationTask
from crosstask.training.augmentation import (
    Augmentation,
    Change,
    SeededAugmentation,
    check_augmentation,
    lookup_of,
)
from crosstask.training.samples import NumberedSamples

TASKS = (
    SegmentationTask("mask", "masks", ["ball", "unlabelled"]),
    RegressionTask("dose", "dose", ["dose"], "Gy"),
    ClassificationTask("diagnosis", "diagnosis", ["a", "b"], exclusive=True),
)
ASSEMBLY = Assembly(TASKS, "image", "region", ((0.0, 1.0),), structure_array="masks", structures=("ball",))


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> torch.Tensor:
    grids = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
    away = torch.stack([grid - at for grid, at in zip(grids, centre, strict=True)]).pow(2).sum(0)
    return (away <= radius**2).float()[None]


def phantom(shape: tuple[int, ...] = (40, 48)) -> Sample:
    """A ball off the middle that is image, structure, mask, dose and region at once."""
    body = ball(shape, tuple(length * 0.4 for length in shape), min(shape) * 0.25)
    return Sample(
        image=torch.cat([2 * body - 1, body]),
        targets={"mask": torch.cat([body, torch.zeros_like(body)]), "dose": 60 * body, "diagnosis": torch.eye(2)[1]},
        present={
            "mask": torch.tensor([True, False]),
            "dose": torch.tensor([True]),
            "diagnosis": torch.tensor([True, True]),
        },
        region=body > 0,
        case="c",
        position=(3,),
    )


def augmented(sample: Sample, seed: int = 0, assembly: Assembly = ASSEMBLY, **settings: Any) -> Sample:
    return Augmentation(AugmentationSection(**settings), assembly)(sample, np.random.default_rng(seed))


def same(one: Sample, other: Sample) -> bool:
    pairs = [(one.image, other.image), (one.region, other.region)]
    pairs += [(one.targets[task], other.targets[task]) for task in one.targets]
    pairs += [(one.present[task], other.present[task]) for task in one.present]
    return all(torch.equal(first, second) for first, second in pairs)


SHAPES = [(40, 48), (16, 40, 48)]
SPATIAL = {"flip": ["x", "y"], "rotate": 30, "scale": 0.2}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_everything_on_the_grid_moves_together(shape: tuple[int, ...], seed: int):
    sample = phantom(shape)
    untouched = {name: tensor.clone() for name, tensor in {"image": sample.image, **sample.targets}.items()}
    moved = augmented(sample, seed, **SPATIAL)
    body, mask = (moved.image[:1] + 1) / 2, moved.targets["mask"][:1]
    assert not torch.equal(mask, sample.targets["mask"][:1])
    assert mask.sum() > 50
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close((body > 0.5).float(), mask)
    torch.testing.assert_close(body, moved.image[1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.targets["dose"], 60 * body, atol=1e-3, rtol=0)
    assert torch.equal(moved.region, mask > 0.5) and moved.region.dtype == torch.bool
    assert torch.equal(moved.targets["diagnosis"], sample.targets["diagnosis"])
    assert not moved.targets["mask"][1].any() and moved.present["mask"].tolist() == [True, False]
    assert (moved.case, moved.position) == ("c", (3,))
    assert all(
        torch.equal(tensor, {"image": sample.image, **sample.targets}[name]) for name, tensor in untouched.items()
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_to_change_changes_nothing(shape: tuple[int, ...]):
    sample = phantom(shape)
    assert same(augmented(sample), sample)
    assert not Augmentation(AugmentationSection(), ASSEMBLY).changes
    for settings in ({"flip": ["x"]}, {"rotate": 1}, {"scale": 0.1}, {"intensity": 0.1}, {"noise": 0.1}):
        assert Augmentation(AugmentationSection(**settings), ASSEMBLY).changes
    still = augmented(sample, rotate=1e-9, scale=1e-9)
    torch.testing.assert_close(still.image, sample.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(still.targets["dose"], sample.targets["dose"], atol=2e-4, rtol=0)
    assert torch.equal(still.targets["mask"], sample.targets["mask"])


@pytest.mark.parametrize(
    ("axis", "shape"), [("x", (40, 48)), ("y", (40, 48)), ("z", (16, 20, 24)), ("x", (16, 20, 24))]
)
def test_flips_keep_every_value(axis: str, shape: tuple[int, ...]):
    sample = phantom(shape)
    sample.targets["dose"] = 80 * torch.rand(1, *shape)
    dims = {"x": -1, "y": -2, "z": -3}[axis]
    flipped = [augmented(sample, seed, flip=[axis]) for seed in range(40)]
    changed = [not same(each, sample) for each in flipped]
    assert 8 < sum(changed) < 32
    mirrored = flipped[changed.index(True)]
    assert torch.equal(mirrored.targets["dose"], sample.targets["dose"].flip(dims))
    assert torch.equal(mirrored.image, sample.image.flip(dims))
    assert torch.equal(mirrored.region, sample.region.flip(dims))


def test_rotation_is_in_plane_and_round_the_middle():
    shape = (16, 41, 41)
    sample = phantom(shape)
    sample.image = torch.cat([2 * ball(shape, (7, 20, 32), 5) - 1] * 2)
    reached = []
    for seed in range(12):
        body = augmented(sample, seed, rotate=90).image[0] + 1
        weight = body.sum()
        grids = torch.meshgrid(*(torch.arange(length) for length in shape), indexing="ij")
        z, y, x = (float((grid * body).sum() / weight) for grid in grids)
        assert z == pytest.approx(7, abs=0.05)
        assert np.hypot(y - 20, x - 20) == pytest.approx(12, abs=0.2)
        reached.append(np.degrees(np.arctan2(y - 20, x - 20)))
    assert max(reached) > 30 and min(reached) < -30 and max(map(abs, reached)) <= 90


@pytest.mark.parametrize("shape", [(64, 64), (32, 32, 32)])
def test_scale_is_the_change_of_length(shape: tuple[int, ...]):
    sample = phantom(shape)
    sample.targets["mask"][:1] = ball(shape, tuple((length - 1) / 2 for length in shape), min(shape) / 4)
    before = float(sample.targets["mask"].sum())
    lengths = [
        (float(augmented(sample, seed, scale=0.3).targets["mask"].sum()) / before) ** (1 / len(shape))
        for seed in range(20)
    ]
    assert 0.68 < min(lengths) < 0.85 and 1.15 < max(lengths) < 1.32


def test_what_comes_in_from_outside_is_empty():
    sample = phantom()
    sample.image = torch.ones_like(sample.image)
    sample.region = torch.ones_like(sample.region)
    sample.targets = {name: torch.ones_like(target) for name, target in sample.targets.items()}
    moved = augmented(sample, 5, rotate=45)
    corner = (slice(None), 0, 0)
    assert moved.image[corner].tolist() == [-1, 0]
    assert not moved.region[corner] and not moved.targets["dose"][corner].any()
    assert moved.image.min() >= -1 and moved.image.max() <= 1
    assert moved.image[:, 20, 24].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("settings", [{"intensity": 0.5}, {"noise": 0.3}, {"intensity": 0.3, "noise": 0.1}])
def test_intensity_and_noise_are_of_the_image_alone(settings: dict[str, float]):
    sample = phantom()
    sample.image[0] = torch.rand(40, 48) - 0.5
    changed = augmented(sample, 2, **settings)
    assert not torch.equal(changed.image[0], sample.image[0])
    assert changed.image.min() >= -1 and changed.image.max() <= 1
    assert torch.equal(changed.image[1], sample.image[1])
    assert same(replace(changed, image=sample.image), sample)


def test_intensity_and_noise_are_as_large_as_they_say():
    sample = phantom()
    sample.image[0] = 0.2 * (torch.rand(40, 48) - 0.5)
    noise = torch.cat([augmented(sample, seed, noise=0.1).image[0] - sample.image[0] for seed in range(10)])
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05) and abs(float(noise.mean())) < 0.005
    seen = [augmented(sample, seed, intensity=0.2).image[0] for seed in range(60)]
    contrast = np.array([float(image.std() / sample.image[0].std()) for image in seen])
    assert 0.64 <= contrast.min() < 0.8 and 1.2 < contrast.max() <= 1.44  # brightness times contrast
    brightness = np.array([float((image.mean() + 1) / (sample.image[0].mean() + 1)) for image in seen])
    assert 0.8 <= brightness.min() < 0.85 and 1.15 < brightness.max() <= 1.2


def test_colour_channels_keep_their_hue_and_place():
    assembly = Assembly(TASKS[:1], "image", None, ((0.0, 255.0),), image_channels=3)
    body = ball((40, 48), (15, 20), 10)
    image = torch.cat([body - 1, 0.5 * body - 1, 0.25 * body - 1])
    sample = replace(
        phantom(), image=image, region=None, targets={"mask": torch.cat([body, 0 * body])},
        present={"mask": torch.tensor([True, False])},
    )  # fmt: skip
    moved = augmented(sample, 5, assembly, **SPATIAL)
    assert moved.region is None
    torch.testing.assert_close((moved.image[0] > -0.5).float(), moved.targets["mask"][0])
    torch.testing.assert_close(moved.image[1] + 1, (moved.image[0] + 1) / 2, atol=1e-5, rtol=0)


def test_a_change_depends_on_seed_and_draw_alone():
    samples: Any = NumberedSamples([phantom(), phantom((40, 48))])  # type: ignore[arg-type]
    augmentation = Augmentation(AugmentationSection(**SPATIAL, intensity=0.2, noise=0.1), ASSEMBLY)
    one, other = (SeededAugmentation(augmentation, seed) for seed in (1, 2))
    torch.manual_seed(3)
    first = one(collate([samples[0, 7], samples[1, 8]]))
    torch.manual_seed(4)
    np.random.seed(4)
    again = one(collate([samples[1, 8], samples[0, 7], samples[0, 9]]))
    assert len(samples) == 2 and again.draws == [8, 7, 9]
    for name in ("image", "region"):
        values, others = getattr(first, name), getattr(again, name)
        assert torch.equal(values[0], others[1]) and torch.equal(values[1], others[0])
    assert torch.equal(first.targets["dose"][0], again.targets["dose"][1])
    assert not torch.equal(again.image[2], again.image[1])
    assert not torch.equal(other(collate([samples[0, 7]])).image[0], first.image[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_is_changed_alike_alone_and_among_others(shape: tuple[int, ...]):
    augmentation = Augmentation(AugmentationSection(**SPATIAL, intensity=0.2, noise=0.1), ASSEMBLY)
    samples = [phantom(shape) for _ in range(3)]
    for sample in samples:
        sample.image[0] = torch.rand(shape) - 0.5
    batch = augmentation.changed(collate(samples), [np.random.default_rng(seed) for seed in range(3)])
    for seed, sample in enumerate(samples):
        alone = augmentation(sample, np.random.default_rng(seed))
        torch.testing.assert_close(batch.image[seed], alone.image, rtol=0, atol=1e-6)
        assert torch.equal(batch.targets["mask"][seed], alone.targets["mask"])
        assert torch.equal(batch.region[seed], alone.region)


@pytest.mark.parametrize("shape", [(40, 48), (12, 20, 24)])
def test_flips_rotation_and_scale_are_those_of_scipy(shape: tuple[int, ...]):
    """Against a resampling of its own, by matrix, from the same draws in the same order."""
    from scipy.ndimage import affine_transform

    sample = phantom(shape)
    sample.targets["dose"] = 80 * torch.rand(1, *shape)
    settings = {"flip": ["y", "x"], "rotate": 40, "scale": 0.3}
    for seed in range(4):
        draws = np.random.default_rng(seed)
        flips = [axis for axis in (-2, -1) if draws.random() < 0.5]
        angle, scale = np.radians(40) * draws.uniform(-1, 1), 1 + 0.3 * draws.uniform(-1, 1)
        values = sample.targets["dose"][0].numpy()
        turn = np.eye(len(shape))
        turn[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        middle = (np.array(shape) - 1) / 2
        matrix = turn / scale
        expected = affine_transform(
            np.flip(values, flips), matrix, middle - matrix @ middle, order=1, mode="grid-constant", cval=0
        )
        found = augmented(sample, seed, **settings).targets["dose"][0].numpy()
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("shape", [(40, 48), (12, 20, 24)])
def test_rotation_and_scale_are_those_of_earlier_versions(shape: tuple[int, ...]):
    """These asked MONAI; old seeds give the same pictures but for rounding."""
    from monai.transforms import Affine

    dims, values = len(shape), torch.rand(2, *shape)
    change = Change((), angle=0.4, scale=1.2, brightness=1.0, contrast=1.0)
    turn = Affine(
        rotate_params=(0.4, 0.0, 0.0) if dims == 3 else 0.4,
        scale_params=(1 / 1.2,) * dims,
        mode="bilinear",
        padding_mode="zeros",
        image_only=True,
    )
    grid = torch.nn.functional.affine_grid(
        torch.from_numpy(lookup_of(change, shape)[None]).float(), [1, 2, *shape], align_corners=False
    )
    found = torch.nn.functional.grid_sample(values[None], grid, align_corners=False)[0]
    torch.testing.assert_close(found, turn(values).as_tensor(), atol=2e-5, rtol=0)


def names(*classes: str) -> Assembly:
    return replace(ASSEMBLY, tasks=(SegmentationTask("mask", "masks", classes),), structures=())


@pytest.mark.parametrize(
    ("classes", "sided"),
    [
        (("Brainstem", "LeftParotid", "RightParotid"), ("LeftParotid", "RightParotid")),
        (("lung_left", "lung_right"), ("lung_left", "lung_right")),
        (("Parotid_L", "Brainstem", "Parotid_R"), ("Parotid_L", "Parotid_R")),
        (("LeftParotid", "Larynx"), ("LeftParotid",)),
    ],
)
def test_flips_that_would_teach_wrong_sides_are_refused(classes: tuple[str, ...], sided: tuple[str, ...]):
    with pytest.raises(InputError, match=r"^training\.augmentation\.flip: ") as error:
        check_augmentation(AugmentationSection(flip=["x"]), names(*classes), 2)
    assert all(repr(name) in str(error.value) for name in sided) and "Larynx" not in str(error.value)
    check_augmentation(AugmentationSection(flip=["y"], rotate=10), names(*classes), 2)


def test_other_flips_are_accepted():
    everywhere = AugmentationSection(flip=["x", "y"])
    check_augmentation(everywhere, names("Brainstem", "Cleft", "Upright", "Grade L"), 2)
    with pytest.raises(InputError, match=r"training\.augmentation\.flip: .*z"):
        check_augmentation(AugmentationSection(flip=["z"]), names("Brainstem"), 2)
    check_augmentation(AugmentationSection(flip=["z"]), names("Brainstem"), 3)
    with pytest.raises(InputError, match="LeftParotid"):
        check_augmentation(everywhere, replace(names("Brainstem"), structures=("LeftParotid", "RightParotid")), 2)


SIDES = ("Left eye", "Brain", "Right eye")


def test_left_and_right_change_places_in_samples_that_are_flipped_along_x():
    """Inputs, masks, findings, and which of them are labelled; in a flipped sample, and in no other of the batch."""
    findings = ("cataract of the right eye", "cataract of the left eye", "tumour")
    tasks = (
        SegmentationTask("mask", "masks", SIDES),
        RegressionTask("dose", "dose", ["dose"], "Gy"),
        ClassificationTask("findings", "findings", findings, exclusive=False),
    )
    assembly = replace(ASSEMBLY, tasks=tasks, structures=SIDES)
    random = np.random.default_rng(0)
    drawn = torch.from_numpy((random.random((4, 3, 6, 8)) > 0.5).astype(np.float32))
    samples = [
        Sample(
            image=torch.cat([2 * masks[:1] - 1, masks]),
            targets={"mask": masks, "dose": masks[1:2], "findings": torch.tensor([1.0, 0.0, 0.0])},
            present={
                "mask": torch.tensor([True, True, False]),
                "dose": torch.tensor([True]),
                "findings": torch.tensor([False, True, True]),
            },
            region=masks[0:1] > 0,
            case=str(number),
            position=(0,),
        )
        for number, masks in enumerate(drawn)
    ]
    change = Augmentation(AugmentationSection(flip=["x", "y"], exchange_sides=True), assembly)
    generators = [np.random.default_rng(seed) for seed in range(4)]
    flips = [tuple(bool(draw < 0.5) for draw in np.random.default_rng(seed).random(2)) for seed in range(4)]
    batch = change.changed(collate(samples), generators)
    assert {along_x for along_x, _ in flips} == {True, False}
    for row, (sample, (along_x, along_y)) in enumerate(zip(samples, flips, strict=True)):
        axes = [-1] * along_x + [-2] * along_y
        order = [2, 1, 0] if along_x else [0, 1, 2]
        assert torch.equal(batch.image[row], sample.image.flip(axes)[[0, *(1 + place for place in order)]])
        assert torch.equal(batch.targets["mask"][row], sample.targets["mask"].flip(axes)[order])
        assert torch.equal(batch.targets["dose"][row], sample.targets["dose"].flip(axes))
        assert torch.equal(batch.region[row], sample.region.flip(axes))
        assert batch.present["mask"][row].tolist() == [[True, True, False][place] for place in order]
        assert batch.targets["findings"][row].tolist() == ([0.0, 1.0, 0.0] if along_x else [1.0, 0.0, 0.0])
        assert batch.present["findings"][row].tolist() == ([True, False, True] if along_x else [False, True, True])
