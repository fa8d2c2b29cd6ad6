"""Change of grid: interpolation where it becomes finer, averages where it becomes coarser."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from crosstask.functional.resize import resize


@pytest.mark.parametrize("size", [(40, 47), (32, 33), (64, 64), (33, 90)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_finer_grid_is_that_of_the_antialiased_form(size: tuple[int, int], order: torch.memory_format) -> None:
    values = torch.rand(2, 3, 32, 33).contiguous(memory_format=order)
    expected = F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(resize(values, size), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("size", [(16, 66), (16, 16), (31, 33)])
def test_where_one_side_becomes_coarser_it_is_averaged(size: tuple[int, int]) -> None:
    values = torch.rand(1, 2, 32, 33)
    expected = F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=True)
    assert torch.equal(resize(values, size), expected)
    if size == (16, 16):
        assert float(resize(values, size).std()) < 0.8 * float(values.std())


def test_the_same_grid_gives_the_same_values() -> None:
    values = torch.rand(1, 2, 8, 9)
    assert resize(values, (8, 9)) is values
