"""Samples of a small prepared phantom and of labelled images, their collation, and those kept in memory."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosstask.assembly import Assembly, assemble
from crosstask.datasets import Phantom
from crosstask.errors import InputError
from crosstask.functional.resize import resize
from crosstask.sample import Sample, collate
from crosstask.store import Store, prepare
from crosstask.training.cache import CachedSamples
from crosstask.training.samples import CaseSamples, NumberedSamples, PatchSamples, SliceSamples, WholeSamples, spread

SIZE = 32
CASES = ("pt_1", "pt_2", "pt_3")
CLASSES = ("Brainstem", "SpinalCord")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three patients: one whole, one without the contour of the brainstem, one without dose."""
    root = tmp_path_factory.mktemp("samples")
    Phantom.generate(root / "raw", train=3, validation=0, test=0, seed=3, size=SIZE)
    (root / "raw" / "train-pats" / "pt_2" / "Brainstem.csv").unlink()
    (root / "raw" / "train-pats" / "pt_3" / "dose.csv").unlink()
    prepare(Phantom(root / "raw"), root / "store", workers=1)
    return Store(root / "store")


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    tasks = {"segmentation": {"classes": list(CLASSES)}, "dose": {}}
    return assemble(Phantom(Path("raw")), tasks, [(0, 2500), (800, 1200)])


def test_places_about_foreground_are_those_of_a_search_through_the_whole_mask(store: Store, assembly: Assembly) -> None:
    classes = [("structures", name) for name in CLASSES]
    samples = PatchSamples(store, CASES, assembly, (16, 16, 16), 6, seed=4, foreground=1.0, classes=classes)

    def searched(case_id: str, generator: np.random.Generator) -> tuple[int, ...] | None:
        case = store.open(case_id)
        there = [name for name in CLASSES if name in case.channels["structures"]]
        for choice in generator.permutation(len(there)):
            mask = case.read("structures", [case.channels["structures"].index(there[choice])])[0]
            hits = np.flatnonzero(mask)
            if hits.size:
                return tuple(int(at) for at in np.unravel_index(generator.choice(hits), mask.shape))
        return None

    for index, case in enumerate(samples.cases):
        one, other = (np.random.default_rng([7, index]) for _ in range(2))
        assert samples._foreground_voxel(case, one) == searched(case, other)
        assert one.random() == other.random(), "the same numbers were drawn"


def equal(one: Sample, other: Sample) -> bool:
    return (
        torch.equal(one.image, other.image)
        and all(torch.equal(one.targets[task], other.targets[task]) for task in one.targets)
        and all(torch.equal(one.present[task], other.present[task]) for task in one.present)
        and (one.region is None) == (other.region is None)
        and (one.region is None or torch.equal(one.region, other.region))
        and (one.case, one.position) == (other.case, other.position)
    )


def check(sample: Sample, size: tuple[int, ...]) -> None:
    """Shapes, types and values that hold for every sample."""
    assert sample.image.shape == (2, *size)
    assert sample.image.dtype == torch.float32
    assert sample.image.min() >= -1 and sample.image.max() <= 1
    masks, dose = sample.targets["segmentation"], sample.targets["dose"]
    assert masks.shape == (2, *size) and dose.shape == (1, *size)
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert dose.min() >= 0
    assert sample.region.shape == (1, *size) and sample.region.dtype == torch.bool
    assert sample.present["segmentation"].tolist() == [sample.case != "pt_2", True]
    assert sample.present["dose"].tolist() == [sample.case != "pt_3"]
    for task, present in sample.present.items():
        assert present.dtype == torch.bool
        assert not sample.targets[task][~present].any()


# Slices


@pytest.mark.parametrize("size", [(32, 32), (16, 24), (48, 40)])
def test_slices(store: Store, assembly: Assembly, size: tuple[int, int]):
    samples = SliceSamples(store, CASES, assembly, size)
    assert len(samples) == 3 * SIZE
    seen = []
    for index in range(0, len(samples), 5):
        sample = samples[index]
        check(sample, size)
        seen.append((sample.case, sample.position))
    assert seen == [(case, (z,)) for case in CASES for z in range(SIZE)][::5]


def test_a_slice_of_the_same_size_is_the_slice_of_the_case(store: Store, assembly: Assembly):
    sample = SliceSamples(store, ("pt_2", "pt_1"), assembly, (SIZE, SIZE))[SIZE + 12]
    case = store.open("pt_1")
    assert (sample.case, sample.position) == ("pt_1", (12,))
    np.testing.assert_array_equal(sample.image, assembly.image(case)[:, 12])
    np.testing.assert_array_equal(sample.targets["dose"], case.read("dose")[:, 12])
    names = case.channels["structures"]
    masks = case.read("structures", [names.index(name) for name in CLASSES])[:, 12]
    np.testing.assert_array_equal(sample.targets["segmentation"], masks)
    np.testing.assert_array_equal(sample.region, case.read("region")[:, 12] > 0)


def test_labels_are_there_in_some_slices(store: Store, assembly: Assembly):
    slices = SliceSamples(store, ("pt_1",), assembly, (SIZE, SIZE))
    batch = collate([slices[z] for z in range(len(slices))])
    assert all(target.amax((0, 2, 3)).gt(0).all() for target in batch.targets.values())


def test_resizing_keeps_what_is_measured(store: Store, assembly: Assembly):
    whole = SliceSamples(store, ("pt_1",), assembly, (SIZE, SIZE))
    half = SliceSamples(store, ("pt_1",), assembly, (SIZE // 2, SIZE // 2))
    place = max(range(SIZE), key=lambda z: float(whole[z].targets["segmentation"][1].sum()))
    large, small = whole[place], half[place]
    assert small.targets["dose"].mean() == pytest.approx(large.targets["dose"].mean().item(), rel=0.05)
    assert small.region.float().mean() == pytest.approx(large.region.float().mean().item(), abs=0.05)
    area = large.targets["segmentation"][1].sum().item() / 4
    assert area > 0
    assert small.targets["segmentation"][1].sum().item() == pytest.approx(area, rel=0.5, abs=2)


# Patches


@pytest.mark.parametrize("size", [(16, 16, 16), (8, 32, 20)])
def test_patches(store: Store, assembly: Assembly, size: tuple[int, int, int]):
    samples = PatchSamples(store, CASES, assembly, size, per_case=3, seed=1)
    assert len(samples) == 9
    for index in range(len(samples)):
        sample = samples[index]
        check(sample, size)
        assert sample.case == CASES[index // 3]
        case, at = store.open(sample.case), tuple(map(slice, sample.position, np.add(sample.position, size)))
        np.testing.assert_array_equal(sample.image, assembly.image(case)[(slice(None), *at)])
        if sample.present["dose"].all():
            np.testing.assert_array_equal(sample.targets["dose"], case.read("dose")[(slice(None), *at)])
    assert len({samples[index].position for index in range(9)}) > 5


def test_patches_of_each_case_would_tile_it(store: Store, assembly: Assembly):
    assert len(PatchSamples(store, CASES, assembly, (16, 32, 20))) == 3 * 2 * 1 * 2
    assert len(PatchSamples(store, CASES[:1], assembly, (48, 48, 48))) == 1


def test_patches_reach_every_corner(store: Store, assembly: Assembly):
    only = replace(assembly, tasks=())
    corners = [PatchSamples(store, CASES[:1], only, (30, 32, 31), per_case=40, seed=3)[i].position for i in range(40)]
    assert set(corners) == {(z, 0, x) for z in range(3) for x in range(2)}


@pytest.mark.parametrize("size", [(40, 32, 32), (16, 48, 33), (48, 48, 48)])
def test_a_patch_larger_than_the_volume_is_padded(store: Store, assembly: Assembly, size: tuple[int, int, int]):
    sample = PatchSamples(store, ("pt_1",), assembly, size)[0]
    check(sample, size)
    inside = tuple(slice(0, min(part, SIZE)) for part in size)
    case, at = store.open("pt_1"), tuple(map(slice, sample.position, np.add(sample.position, size)))
    values = {"image": (sample.image, assembly.image(case), -1.0), "region": (sample.region, case.read("region"), 0)}
    values["dose"] = (sample.targets["dose"], case.read("dose"), 0.0)
    for padded, whole, fill in values.values():
        np.testing.assert_array_equal(padded[(slice(None), *inside)], whole[(slice(None), *at)])
        outside = torch.ones(size, dtype=torch.bool)
        outside[inside] = False
        assert outside.any()
        assert (padded[:, outside] == fill).all()
    assert not sample.targets["segmentation"][:, outside].any()


def test_the_same_index_gives_the_same_patch_whoever_loads_it(store: Store, assembly: Assembly):
    samples = PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2, seed=7)
    elsewhere = pickle.loads(pickle.dumps(samples))
    for index in (5, 0, 3, 5):
        assert equal(samples[index], elsewhere[index])
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(samples[4], PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2, seed=7)[4])
    other = PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2, seed=8)
    assert [samples[i].position for i in range(6)] != [other[i].position for i in range(6)]


def test_patches_are_at_another_place_in_each_draw_the_same_for_whoever_loads_it(store: Store, assembly: Assembly):
    samples = PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2, seed=7)
    numbered = NumberedSamples(samples)
    places = {numbered[0, draw].position for draw in range(20)}
    assert len(places) > 15
    assert {numbered[0, draw].case for draw in range(3)} == {samples[0].case}
    assert equal(numbered[3, 5], pickle.loads(pickle.dumps(numbered))[3, 5])
    assert numbered[3, 5].draw == 5
    other = NumberedSamples(PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2, seed=8))
    assert {other[0, draw].position for draw in range(20)} != places


def test_foreground_patches_hold_their_class_in_the_middle(store: Store, assembly: Assembly):
    size = (8, 12, 10)
    classes = [("structures", name) for name in CLASSES]
    options = {"per_case": 20, "seed": 5, "classes": classes}
    aimed = PatchSamples(store, CASES[1:2], assembly, size, foreground=1.0, **options)  # the brainstem is missing
    for index in range(len(aimed)):
        sample = aimed[index]
        check(sample, size)
        assert sample.targets["segmentation"][1].any()
        assert equal(sample, aimed[index])

    def share(foreground: float, chosen: list[tuple[str, str]] = classes) -> float:
        samples = PatchSamples(
            store, CASES[:1], assembly, size, foreground=foreground, **{**options, "classes": chosen}
        )
        return float(np.mean([samples[i].targets["segmentation"].any().item() for i in range(len(samples))]))

    assert share(1.0) == 1
    assert share(0.0) < share(0.5) < 1
    assert share(1.0, [("structures", "Nothing")]) == share(1.0, []) < 1  # nothing to aim at: random places


def test_the_index_of_a_slice(store: Store, assembly: Assembly):
    samples = SliceSamples(store, ("pt_3", "pt_1"), assembly, (16, 16))
    for case, z in (("pt_3", 0), ("pt_3", 31), ("pt_1", 0), ("pt_1", 7)):
        sample = samples[samples.index_of(case, z)]
        assert (sample.case, sample.position) == (case, (z,))


@pytest.mark.parametrize("slices", [True, False])
def test_without_a_region(store: Store, assembly: Assembly, slices: bool):
    without = replace(assembly, region_array=None)
    kind = SliceSamples if slices else PatchSamples
    size = (16, 16) if slices else (40, 16, 16)
    sample = kind(store, ("pt_1",), without, size)[0]
    assert sample.region is None
    assert collate([sample, sample]).region is None


# Batches


def test_collation(store: Store, assembly: Assembly):
    samples = [SliceSamples(store, CASES, assembly, (16, 24))[index] for index in (5, 40, 70)]
    batch = collate(samples).to("cpu", dtype=None)
    assert batch.image.shape == (3, 2, 16, 24)
    assert batch.region.shape == (3, 1, 16, 24)
    assert batch.cases == ["pt_1", "pt_2", "pt_3"]
    assert batch.positions == [(5,), (8,), (6,)]
    assert batch.present["segmentation"].tolist() == [[True, True], [False, True], [True, True]]
    assert batch.present["dose"].tolist() == [[True], [True], [False]]
    for index, sample in enumerate(samples):
        assert torch.equal(batch.image[index], sample.image)
        assert all(torch.equal(batch.targets[task][index], target) for task, target in sample.targets.items())


def test_a_sample_without_region_has_it_everywhere_in_a_batch_that_has_one(store: Store, assembly: Assembly):
    samples = SliceSamples(store, ("pt_1",), assembly, (16, 16))
    assert collate([samples[0], samples[1]]).region is not None
    mixed = collate([samples[0], replace(samples[1], region=None)]).region
    assert mixed is not None and torch.equal(mixed[0], samples[0].region) and mixed[1].all()
    assert collate([replace(samples[0], region=None), replace(samples[1], region=None)]).region is None


# Choice


@given(st.integers(1, 500), st.one_of(st.none(), st.integers(1, 600)))
def test_an_even_choice(count, wanted):
    chosen = spread(count, wanted)
    assert len(chosen) == min(count, wanted or count)
    assert chosen == sorted(set(chosen))
    assert chosen[0] >= 0 and chosen[-1] < count
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1 + 1  # both ends of a gap are rounded
    assert abs(chosen[0] - (count - 1 - chosen[-1])) <= 1


# Change of grid


@pytest.mark.parametrize(("size", "target"), [((6, 8), (12, 20)), ((12, 20), (6, 8)), ((4, 6, 8), (6, 9, 4))])
def test_resizing_keeps_constants_and_the_order_of_axes(size: tuple[int, ...], target: tuple[int, ...]):
    constant = torch.full((2, 3, *size), 4.5)
    torch.testing.assert_close(resize(constant, target), torch.full((2, 3, *target), 4.5))
    for axis, length in enumerate(size):
        shape = [1] * len(size)
        shape[axis] = length
        ramp = torch.arange(float(length)).reshape(1, 1, *shape).expand(1, 1, *size)
        moved = resize(ramp, target).movedim(2 + axis, -1)
        assert (moved.diff(dim=-1) > 0).all()
        lines = moved.reshape(-1, moved.shape[-1])
        torch.testing.assert_close(lines, lines[:1].expand_as(lines))
        assert moved.mean() == pytest.approx((length - 1) / 2, rel=0.05)


def test_resizing_to_the_same_size_is_nothing():
    values = torch.randn(1, 2, 5, 7)
    assert resize(values, [5, 7]) is values


def test_halving_a_plane_averages():
    values = torch.zeros(1, 1, 16, 16)
    values[..., ::2] = 1  # stripes of one voxel, which plain interpolation could miss or keep
    assert resize(values, (8, 8))[..., 1:-1].sub(0.5).abs().max() < 0.15


# In memory


class Counting(CaseSamples):
    """Samples that count how often each was loaded."""

    def __init__(self, samples: CaseSamples) -> None:
        self.samples, self.cases, self.loaded = samples, samples.cases, [0] * len(samples)

    def __getitem__(self, index: int) -> Sample:
        self.loaded[index] += 1
        return self.samples[index]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["slice", "patch", "volume"])
def test_samples_in_memory_are_the_samples(store: Store, assembly: Assembly, kind: str, shared: bool):
    if kind == "slice":
        plain: CaseSamples = SliceSamples(store, CASES, assembly, (16, 16))
    elif kind == "patch":
        plain = PatchSamples(store, CASES, assembly, (16, 16, 16), per_case=2)
    else:
        plain = WholeSamples(store, CASES, assembly, (16, 20, 24))
    counting = Counting(plain)
    cached = CachedSamples(counting, counting.cases, assembly, shared=shared)
    assert len(cached) == len(plain)
    for _ in range(2):
        assert all(equal(cached[index], plain[index]) for index in range(0, len(plain), 2))
    assert counting.loaded == [1 - index % 2 for index in range(len(plain))]


def test_samples_in_memory_keep_what_has_no_region(store: Store, assembly: Assembly):
    class Some(Counting):
        def __getitem__(self, index: int) -> Sample:
            return replace(super().__getitem__(index), region=None) if index % 2 else super().__getitem__(index)

    samples = Some(WholeSamples(store, CASES, assembly, (16, 16, 16)))
    cached = CachedSamples(samples, samples.cases, assembly)
    for _ in range(2):
        assert [cached[index].region is None for index in range(3)] == [False, True, False]
    without = replace(assembly, region_array=None)
    assert CachedSamples(WholeSamples(store, CASES, without, (16, 16, 16)), CASES, without)[0].region is None


def test_too_little_memory_to_share_is_told(store: Store, assembly: Assembly, monkeypatch: pytest.MonkeyPatch):
    def full(self: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    samples = WholeSamples(store, CASES, assembly, (16, 16, 16))
    with pytest.raises(InputError, match=r"training\.cache: .*loader_workers=0"):
        CachedSamples(samples, samples.cases, assembly, shared=True)


# Whole volumes


def test_a_whole_volume(store: Store, assembly: Assembly):
    samples = WholeSamples(store, CASES, assembly, (SIZE, SIZE, SIZE))
    assert len(samples) == 3 and samples.cases == list(CASES)
    for index, case_id in enumerate(CASES):
        sample, case = samples[index], store.open(case_id)
        check(sample, (SIZE, SIZE, SIZE))
        assert (sample.case, sample.position) == (case_id, ())
        np.testing.assert_array_equal(sample.image, assembly.image(case))
    small = WholeSamples(store, CASES, assembly, (16, 20, 24))[0]
    check(small, (16, 20, 24))
    assert small.targets["dose"].mean() == pytest.approx(samples[0].targets["dose"].mean().item(), rel=0.1)
    batch = collate([samples[0], samples[1]])
    assert batch.image.shape == (2, 2, SIZE, SIZE, SIZE) and batch.positions == [(), ()]
