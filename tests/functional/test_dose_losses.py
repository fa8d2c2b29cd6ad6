"""Moments and differentiable histograms of the dose in structures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from crosstask.functional.dose_losses import dvh_loss, moment_loss, moments, soft_dvh

SIZES = [(7, 6), (4, 5, 6)]
ORDERS = (1, 2, 10)


def doses(*shape: int, seed: int = 0) -> Tensor:
    return 70 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks(*shape: int, seed: int = 1) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.6).double()


def plain_moment(dose: np.ndarray, mask: np.ndarray, order: float) -> float:
    inside = dose[mask > 0]
    return float(np.mean(inside**order) ** (1 / order))


def plain_dvh(dose: np.ndarray, mask: np.ndarray, at: float, width: float) -> float:
    inside = dose[mask > 0]
    return float(np.mean(1 / (1 + np.exp(-(inside - at) / width))))


@pytest.mark.parametrize("size", SIZES)
def test_moments_follow_the_equation(size: tuple[int, ...]):
    dose, structures = doses(2, *size), masks(2, 3, *size)
    found = moments(dose, structures, ORDERS)
    assert found.shape == (2, 3, 3)
    for b, r, p in np.ndindex(2, 3, 3):
        expected = plain_moment(dose[b].numpy(), structures[b, r].numpy(), ORDERS[p])
        assert float(found[b, r, p]) == pytest.approx(expected, rel=1e-12)


def test_the_first_moment_is_the_mean_and_high_ones_near_the_highest_dose():
    dose, structures = doses(1, 6, 6), torch.ones(1, 1, 6, 6)
    found = moments(dose, structures, (1, 500))[0, 0]
    assert float(found[0]) == pytest.approx(float(dose.mean()))
    assert float(found[1]) == pytest.approx(float(dose.max()), rel=0.02)


@pytest.mark.parametrize("size", SIZES)
def test_histograms_follow_the_equation(size: tuple[int, ...]):
    dose, structures = doses(2, *size), masks(2, 3, *size)
    places = torch.tensor([2.0, 10.0, 55.0], dtype=torch.float64)
    found = soft_dvh(dose, structures, places, 1.5)
    for b, r, t in np.ndindex(2, 3, 3):
        expected = plain_dvh(dose[b].numpy(), structures[b, r].numpy(), float(places[t]), 1.5)
        assert float(found[b, r, t]) == pytest.approx(expected, rel=1e-12)


def test_a_narrow_sigmoid_gives_the_histogram_itself():
    dose, structures = doses(1, 9, 9), torch.ones(1, 1, 9, 9, dtype=torch.float64)
    found = soft_dvh(dose, structures, torch.tensor([20.0, 50.0], dtype=torch.float64), 1e-6)[0, 0]
    np.testing.assert_allclose(found, [(dose > 20).double().mean(), (dose > 50).double().mean()], atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["moments", "dvh"])
def test_losses_are_means_over_the_structures_that_are_there(size: tuple[int, ...], name: str):
    dose, target, structures = doses(2, *size), doses(2, *size, seed=5), masks(2, 3, *size)
    structures[1, 0] = 0  # contoured elsewhere in the case, but not in this sample
    contoured = torch.tensor([[True, False, True], [True, True, False]])
    there = [(0, 0), (0, 2), (1, 1)]
    squares = []
    for b, r in there:
        one, other, mask = dose[b].numpy(), target[b].numpy(), structures[b, r].numpy()
        if name == "moments":
            squares += [(plain_moment(one, mask, p) - plain_moment(other, mask, p)) ** 2 for p in ORDERS]
        else:
            places = np.arange(4.0, 73.0, 4.0)
            assert len(places) == 18
            squares += [(plain_dvh(one, mask, at, 4.0) - plain_dvh(other, mask, at, 4.0)) ** 2 for at in places]
    if name == "moments":
        found = moment_loss(dose, target, structures, contoured, ORDERS)
    else:
        found = dvh_loss(dose, target, structures, contoured, step=4.0, highest=72.0)
    assert float(found) == pytest.approx(np.mean(squares), rel=1e-12)


def test_the_moment_loss_is_zero_where_moments_are_equal_and_only_there():
    structures, contoured = torch.ones(1, 1, 6, 6), torch.ones(1, 1, dtype=torch.bool)
    dose = doses(1, 6, 6)
    assert moment_loss(dose, dose.flip(1), structures, contoured).item() == pytest.approx(0, abs=1e-20)
    assert moment_loss(dose, dose + 1e-3, structures, contoured).item() > 1e-8
    same_mean = dose.clone()
    same_mean[0, 0, 0], same_mean[0, 0, 1] = dose[0, 0, 0] - 0.5, dose[0, 0, 1] + 0.5
    assert moment_loss(dose, same_mean, structures, contoured, (1,)).item() == pytest.approx(0, abs=1e-20)
    assert moment_loss(dose, same_mean, structures, contoured, (2,)).item() > 0


def test_the_histogram_loss_is_zero_of_equal_doses_and_grows_with_their_distance():
    structures, contoured = masks(2, 2, 8, 8), torch.ones(2, 2, dtype=torch.bool)
    dose = doses(2, 8, 8)
    assert dvh_loss(dose, dose, structures, contoured).item() == 0
    losses = [float(dvh_loss(dose + shift, dose, structures, contoured)) for shift in (0.0, 1.0, 3.0, 9.0)]
    assert losses == sorted(losses) and losses[1] > 0


def _moments_of(dose: Tensor, target: Tensor, structures: Tensor, contoured: Tensor) -> Tensor:
    return moment_loss(dose, target, structures, contoured, (1, 1.5, 10))


def _dvh_of(dose: Tensor, target: Tensor, structures: Tensor, contoured: Tensor) -> Tensor:
    return dvh_loss(dose, target, structures, contoured, step=10.0, highest=60.0)


@pytest.mark.parametrize("loss", [_moments_of, _dvh_of])
def test_gradients(loss):
    dose, target, structures = doses(2, 4, 4).requires_grad_(), doses(2, 4, 4, seed=5), masks(2, 2, 4, 4)
    contoured = torch.tensor([[True, True], [False, True]])
    assert torch.autograd.gradcheck(lambda dose: loss(dose, target, structures, contoured), (dose,))


@pytest.mark.parametrize("loss", [_moments_of, _dvh_of])
def test_only_voxels_of_structures_that_are_there_get_a_gradient(loss):
    dose, target, structures = doses(2, 6, 6).requires_grad_(), doses(2, 6, 6, seed=5), masks(2, 2, 6, 6)
    contoured = torch.tensor([[True, False], [False, False]])
    loss(dose, target, structures, contoured).backward()
    assert dose.grad[0][structures[0, 0] > 0].all()
    assert not dose.grad[0][structures[0, 0] == 0].any() and not dose.grad[1].any()


@pytest.mark.parametrize("loss", [_moments_of, _dvh_of])
@pytest.mark.parametrize("dose", [torch.zeros(2, 6, 6), torch.full((2, 6, 6), -3.0), 1e-8 * torch.ones(2, 6, 6)])
def test_no_dose_yet_gives_a_finite_gradient(loss, dose: Tensor):
    leaf = dose.clone().requires_grad_()
    value = loss(leaf, doses(2, 6, 6).float(), masks(2, 2, 6, 6).float(), torch.ones(2, 2, dtype=torch.bool))
    value.backward()
    assert value > 0 and leaf.grad.isfinite().all()


@pytest.mark.parametrize("loss", [_moments_of, _dvh_of])
@pytest.mark.parametrize("left", ["no voxel", "no contour", "no structure", "no sample"])
def test_without_any_structure_loss_and_gradient_are_exactly_zero(loss, left: str):
    dose, target, structures = doses(2, 6, 6).requires_grad_(), doses(2, 6, 6, seed=5), masks(2, 2, 6, 6)
    contoured = torch.ones(2, 2, dtype=torch.bool)
    if left == "no voxel":
        structures = torch.zeros_like(structures)
    elif left == "no contour":
        contoured = ~contoured
    elif left == "no structure":
        structures, contoured = structures[:, :0], contoured[:, :0]
    else:
        return _of_no_sample(loss, dose, target, structures, contoured)
    value = loss(dose, target, structures, contoured)
    value.backward()
    assert value.item() == 0 and not dose.grad.any()


def _of_no_sample(loss, dose: Tensor, target: Tensor, structures: Tensor, contoured: Tensor) -> None:
    value = loss(dose[:0], target[:0], structures[:0], contoured[:0])
    value.backward()
    assert value.item() == 0 and not dose.grad.any()


def test_equal_moments_of_every_slice_are_equal_moments_of_the_volume():
    """Why a loss on slices is the stronger demand: p-th powers of a volume's moments are means of its slices'."""
    volume, structure = doses(5, 6, 6), masks(5, 1, 6, 6)
    sizes = structure.flatten(1).sum(1)
    of_slices = moments(volume, structure, ORDERS)[:, 0]
    whole = moments(volume[None], structure[:, 0][None, None], ORDERS)[0, 0]
    for index, order in enumerate(ORDERS):
        joined = float(((sizes * of_slices[:, index] ** order).sum() / sizes.sum()) ** (1 / order))
        assert float(whole[index]) == pytest.approx(joined, rel=1e-12)
