"""Dice: its conventions, in numpy and torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from crosstask.functional import dice

KINDS = [np.asarray, torch.tensor]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("prediction", "target", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], 1.0),  # two empty masks agree
        ([0, 0, 0], [0, 1, 1], 0.0),  # a missed structure
        ([1, 0, 0], [0, 0, 0], 0.0),  # one that is not there
        ([1, 1, 0], [0, 1, 1], 0.5),
        ([1, 1, 1], [0, 1, 0], 0.5),
        ([1, 1, 0], [1, 1, 0], 1.0),
    ],
)
def test_values_by_hand(kind, prediction, target, expected):
    value = dice(kind(prediction), kind(target))
    assert type(value) is float
    assert value == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [((3,), (4,)), ((2, 3), (6,)), ((2, 3), (3, 2)), ((1, 3), (3,))])
def test_shapes_must_agree(kind, shapes):
    first, second = (kind(np.ones(shape)) for shape in shapes)
    with pytest.raises(ValueError, match="different shape"):
        dice(first, second)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_types_of_masks_do_not_matter(dtype):
    rng = np.random.default_rng(0)
    prediction, target = rng.random((2, 8, 9)) > 0.5
    expected = dice(prediction, target)
    assert dice(prediction.astype(dtype), target) == expected
    assert dice(torch.from_numpy(prediction.astype(dtype)), torch.from_numpy(target)) == expected


def test_many_voxels_do_not_overflow_a_byte():
    mask = np.ones((40, 40), dtype=np.uint8)
    assert dice(mask, mask) == 1.0
    assert dice(torch.from_numpy(mask), torch.from_numpy(mask)) == 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40).flatmap(lambda n: st.tuples(*[arrays.arrays(bool, n)] * 2)))
def test_symmetric_in_the_unit_interval_and_equal_to_the_sets(masks):
    prediction, target = masks
    value = dice(prediction, target)
    first, second = set(np.flatnonzero(prediction)), set(np.flatnonzero(target))
    expected = 2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0
    assert value == dice(target, prediction) == expected
    assert value == dice(torch.from_numpy(prediction), torch.from_numpy(target))
    assert 0 <= value <= 1


def test_the_name_stays_the_function_whatever_is_imported():
    # the module has the function's name, and must not take its place in the package
    code = (
        "import crosstask.functional.dice, crosstask.functional as f; from crosstask.functional import dice; "
        "import sys; assert callable(dice) and callable(f.dice) and dice is f.dice; "
        "assert 'torch' not in sys.modules; assert all(callable(getattr(f, name)) for name in 2 * f.__all__); "
        "assert not hasattr(f, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
