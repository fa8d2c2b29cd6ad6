"""What an architecture is told of a task."""

from __future__ import annotations

import pytest

from crosstask.tasks import Head


def test_a_head_that_can_be():
    head = Head("pixel", 2, (0.5, -1.0))
    assert (head.level, head.channels, head.bias) == ("pixel", 2, (0.5, -1.0))
    assert Head("image", 1).bias is None
    assert hash(head) == hash(Head("pixel", 2, (0.5, -1.0)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("voxel", 1), "level must be 'pixel' or 'image', not 'voxel'"),
        (("pixel", 0), "at least one channel"),
        (("pixel", 2, (1.0,)), "1 biases for 2 channels"),
    ],
)
def test_one_that_cannot(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        Head(*arguments)
