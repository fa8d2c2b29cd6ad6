"""From the arrays of a case to input channels, targets, present labels and region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosstask.assembly import assemble
from crosstask.datasets.base import Case, CaseData, Dataset, Issue
from crosstask.errors import InputError
from crosstask.geometry import Geometry
from crosstask.tasks import RegressionTask, SegmentationTask, Task

SHAPE = (3, 4, 5)
WINDOWS = [(0.0, 2000.0), (900.0, 1100.0)]
PARTS = [None, (1,), (slice(0, 2),), (slice(1, 3), slice(0, 9), slice(4, 9)), (2, slice(1, 3)), (-1, slice(None), 3)]


class Patients(Dataset):
    """A data set that defines tasks; its cases are made below."""

    name = "patients"
    image_array = "ct"
    region_array = "region"
    structure_array = "structures"
    structures = ("Brainstem", "Larynx")
    licence = source = citation = ""

    tasks = ("organs", "dose")

    def cases(self) -> list[Case]:
        return []

    def read(self, case: Case) -> CaseData:
        raise NotImplementedError

    def check(self) -> Iterator[Issue]:
        yield from ()

    def task(self, name: str, **options: Any) -> Task:
        if name == "organs":
            return SegmentationTask("organs", "structures", options.get("classes", self.structures))
        if name == "dose":
            return RegressionTask("dose", "dose", ("dose",), "Gy")
        raise InputError(f"no task {name!r}")


class Pictures(Patients):
    """A data set without region and structures."""

    name = "pictures"
    region_array = None
    structure_array = None
    structures = ()


def case(structures: Sequence[str] = ("Brainstem", "Larynx"), *, dose: bool = True, region: bool = True) -> CaseData:
    rng = np.random.default_rng(0)
    arrays = {
        "ct": rng.integers(0, 3000, (1, *SHAPE), dtype=np.int16),
        "structures": rng.integers(0, 2, (len(structures), *SHAPE), dtype=np.uint8),
        "dose": rng.uniform(0, 70, (int(dose), *SHAPE)).astype(np.float32),
        "region": rng.integers(0, 2, (int(region), *SHAPE), dtype=np.uint8),
    }
    channels = {
        "ct": ("ct",),
        "structures": tuple(structures),
        "dose": ("dose",) * dose,
        "region": ("region",) * region,
    }
    return CaseData(arrays, channels, Geometry(SHAPE, (3.0, 2.0, 2.0)))


def assembly(**options: Any) -> Any:
    return assemble(Patients(Path("raw")), {"organs": {}, "dose": {}}, WINDOWS, **options)


def test_windows_become_channels_from_minus_one_to_one():
    values = case()
    image = assembly().image(values)
    assert image.dtype == np.float32
    assert image.shape == (2, *SHAPE)
    ct = values.arrays["ct"][0].astype(np.float64)
    np.testing.assert_allclose(image[0], np.interp(ct, [0, 2000], [-1, 1]), atol=1e-6)
    np.testing.assert_allclose(image[1], np.interp(ct, [900, 1100], [-1, 1]), atol=1e-5)
    assert assembly().in_channels == 2


def test_structures_as_input():
    whole = assembly(structure_input=True)
    assert whole.in_channels == 4
    image = whole.image(case())
    np.testing.assert_array_equal(image[2:], case().arrays["structures"])
    partial = case(["Larynx"])
    image = whole.image(partial)
    assert not image[2].any()  # a structure that is not contoured
    np.testing.assert_array_equal(image[3], partial.arrays["structures"][0])


def test_some_structures_as_input():
    """In the data set's order, and no more than were named: targets stay out where contours of organs are asked for."""
    first, second = assembly(structure_input=True).structures
    assert assembly(structure_input=[second]).structures == (second,)
    assert assembly(structure_input=[second, first, second]).structures == (first, second)
    chosen = assembly(structure_input=[second])
    assert chosen.in_channels == 3
    np.testing.assert_array_equal(chosen.image(case())[2], case().arrays["structures"][1])
    with pytest.raises(InputError, match=r"^dataset\.structure_input: 'Larinx' is no structure; did you mean .*Larynx"):
        assembly(structure_input=["Larinx"])


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("values", [case(), case(["Larynx"], dose=False), case([])])
def test_a_part_is_the_part_of_the_whole(parts, values):
    whole = assembly(structure_input=True)
    selection = (slice(None), *(parts or ()))
    np.testing.assert_array_equal(whole.image(values, parts), whole.image(values)[selection])
    np.testing.assert_array_equal(whole.region(values, parts), whole.region(values)[selection])
    for task in whole.tasks:
        target, present = whole.target(task, values, parts)
        full, there = whole.target(task, values)
        np.testing.assert_array_equal(target, full[selection])
        np.testing.assert_array_equal(present, there)


def test_targets_in_the_order_of_the_tasks_classes_whatever_the_cases():
    values = case(["Larynx", "Brainstem"])
    organs, dose = assembly().tasks
    target, present = assembly().target(organs, values)
    assert target.dtype == np.float32 and present.tolist() == [True, True]
    np.testing.assert_array_equal(target, values.arrays["structures"][[1, 0]])
    target, present = assembly().target(dose, values)
    np.testing.assert_array_equal(target, values.arrays["dose"])
    assert present.tolist() == [True]


@pytest.mark.parametrize(("structures", "expected"), [(["Larynx"], [False, True]), (["Brainstem"], [True, False])])
def test_a_structure_that_is_not_contoured_is_missing_not_empty(structures, expected):
    values = case(structures)
    target, present = assembly().target(assembly().tasks[0], values)
    assert present.tolist() == expected
    assert target.shape == (2, *SHAPE)
    np.testing.assert_array_equal(target[expected], values.arrays["structures"])
    assert not target[~present].any()


def test_an_empty_organ_is_a_label():
    values = case()
    values.arrays["structures"][:] = 0
    target, present = assembly().target(assembly().tasks[0], values)
    assert present.all() and not target.any()


def test_an_array_that_is_missing_or_has_no_channel_is_a_missing_label():
    dose = assembly().tasks[1]
    for values in (case(dose=False), case()):
        values.arrays.pop("dose", None) if values.channels["dose"] else None
        values.channels = {**values.channels, "dose": ()}
        target, present = assembly().target(dose, values)
        assert target.shape == (1, *SHAPE)
        assert not target.any() and present.tolist() == [False]
    del values.channels["dose"]
    assert assembly().target(dose, values)[1].tolist() == [False]


def test_region():
    values = case()
    region = assembly().region(values)
    assert region.dtype == bool
    np.testing.assert_array_equal(region, values.arrays["region"] == 1)
    assert assembly().region(case(region=False)) is None
    pictures = assemble(Pictures(Path("raw")), {"dose": {}}, WINDOWS)
    assert pictures.region(values) is None


def test_some_of_the_tasks():
    whole = assembly(structure_input=True)
    dose = whole.only(["dose"])
    assert [task.name for task in dose.tasks] == ["dose"]
    assert [task.name for task in whole.only(["dose", "organs"]).tasks] == ["organs", "dose"]
    np.testing.assert_array_equal(dose.image(case()), whole.image(case()))
    assert dose.in_channels == whole.in_channels
    assert dose.region(case()) is not None


def test_options_of_tasks_reach_the_data_set():
    chosen = assemble(Patients(Path("raw")), {"organs": {"classes": ["Larynx"]}}, [(0, 1)])
    assert chosen.tasks[0].classes == ("Larynx",)
    assert chosen.windows == ((0.0, 1.0),)


def test_structures_that_are_not_there_are_refused():
    with pytest.raises(InputError, match=r"dataset\.structure_input: pictures has no structures.*set it false"):
        assemble(Pictures(Path("raw")), {"dose": {}}, WINDOWS, structure_input=True)


@pytest.mark.parametrize(
    ("shape", "spacing", "origin"),
    [
        ((3, 4), (1.0,), None),
        ((3, 4), (1.0, 1.0), (0.0,)),
        ((3, 4), (1.0, 0.0), None),
        ((3, 4), (1.0, -2.0), None),
        ((3, 4), (1.0, float("nan")), None),
        ((3, 4), (float("inf"), 1.0), None),
    ],
)
def test_a_grid_that_cannot_be(shape, spacing, origin):
    with pytest.raises(ValueError, match="spacing"):
        Geometry(shape, spacing, origin)


def test_a_grid():
    grid = Geometry((2, 3, 4), (3.0, 2.0, 0.5))
    assert grid.origin == (0.0, 0.0, 0.0)
    assert grid.voxel_volume == 3.0
    assert grid == Geometry((2, 3, 4), (3.0, 2.0, 0.5), (0.0, 0.0, 0.0))
    assert Geometry((2, 3), (3.0, 2.0), (1.0, 2.0)).origin == (1.0, 2.0)
