"""Regression of a quantity per voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from task_tester import BATCH, TaskTester
from torch import Tensor

from crosstask.errors import InputError
from crosstask.tasks import RegressionTask, Task

NOTHING = {"cases": 0, "std": math.nan, "median": math.nan}


class TestRegression(TaskTester):
    def fresh(self) -> RegressionTask:
        return RegressionTask("dose", "dose", ("plan", "boost"), "Gy", minimum=0.0)

    def statistics(self):
        return {
            "plan": {"cases": 3, "std": 20.0, "median": 12.5},
            "boost": {"cases": 2, "std": 8.0, "median": 3.0},
        }

    def truth(self, size: tuple[int, ...]) -> Tensor:
        return 60 * torch.rand((BATCH, 2, *size), generator=torch.Generator().manual_seed(9))

    def raw(self, task: Task, target: Tensor) -> Tensor:
        return target / task.state()["scale"]

    def test_the_loss_is_the_mean_absolute_error_in_units_of_the_scale(self):
        task, target, output = self.task(), self.truth((6, 5)), self.noise(self.task(), (6, 5))
        present = torch.tensor([[True, True], [True, False], [False, False]])
        errors = [(output[b, c] - target[b, c] / 20).abs() for b, c in present.nonzero()]
        torch.testing.assert_close(task.loss(output, target, present, None), torch.stack(errors).mean())

    def test_units_of_the_loss_do_not_depend_on_units_of_the_quantity(self):
        target, output = self.truth((6, 5)), self.noise(self.task(), (6, 5))
        in_centigray = self.fresh()
        in_centigray.fit(
            {name: {**figures, "std": 100 * figures["std"]} for name, figures in self.statistics().items()}
        )
        present = self.present(in_centigray)
        torch.testing.assert_close(
            in_centigray.loss(output, 100 * target, present, None), self.task().loss(output, target, present, None)
        )

    def test_region_of_the_loss(self, size: tuple[int, ...]):
        grid = self.task()
        inside = RegressionTask("dose", "dose", ("plan", "boost"), "Gy", loss_region="region")
        inside.fit(self.statistics())
        target, output, present = self.truth(size), self.noise(grid, size), self.present(grid)
        region = torch.zeros(BATCH, 1, *size, dtype=torch.bool)
        region[:, :, 1:3] = True
        assert torch.equal(grid.loss(output, target, present, region), grid.loss(output, target, present, None))
        assert torch.equal(inside.loss(output, target, present, None), grid.loss(output, target, present, None))
        expected = grid.loss(output[:, :, 1:3], target[:, :, 1:3], present, None)
        torch.testing.assert_close(inside.loss(output, target, present, region), expected)
        leaf = output.clone().requires_grad_()
        inside.loss(leaf, target, present, region).backward()
        assert not leaf.grad[:, :, 3:].any()
        assert leaf.grad[:, :, 1:3].any()
        nowhere = inside.loss(output, target, present, torch.zeros_like(region))
        assert nowhere.item() == 0

    def test_skill_looks_at_the_region_alone(self):
        task, target = self.task(), self.truth((6, 5))
        region = torch.zeros(BATCH, 1, 6, 5, dtype=torch.bool)
        region[:, :, 2:4] = True
        prediction = torch.where(region, target, torch.full_like(target, 1000.0))
        assert task.skill(task.tally(prediction, target, self.present(task), region)) == 1
        assert task.skill(task.tally(prediction, target, self.present(task), None)) < 0

    def test_skill_is_the_share_of_the_constants_error(self):
        task = RegressionTask("dose", "dose", ("plan",), "Gy")
        task.fit({"plan": {"cases": 1, "std": 5.0, "median": 10.0}})
        target = torch.tensor([[[[0.0, 30.0]]]])
        tally = task.tally(torch.tensor([[[[1.0, 24.0]]]]), target, torch.ones(1, 1, dtype=torch.bool), None)
        assert tally.tolist() == [[7.0], [30.0]]
        assert task.skill(tally) == pytest.approx(1 - 7 / 30)

    def test_predictions_are_clipped_to_what_is_possible(self):
        task = self.task()
        assert task.decode(torch.tensor([[[-1.0, 0.5]], [[0.0, 2.0]]]))[..., 0].tolist() == [[0.0], [0.0]]
        free = RegressionTask("hu", "ct", ("ct",), "HU")
        assert free.decode(torch.tensor([[[-1.0, 0.5]]])).tolist() == [[[-1.0, 0.5]]]

    def test_both_conventions_of_the_error(self):
        task = RegressionTask("dose", "dose", ("plan",), "Gy")
        target = np.array([[10.0, 20.0, 0.0, 0.0]], dtype=np.float32)
        prediction = np.array([[12.0, 16.0, 1.0, 1.0]], dtype=np.float32)
        region = np.array([[True, True, False, False]])
        present = np.array([True])
        assert task.score(prediction, target, present, region) == [("plan", "mae", 3.0), ("plan", "mae_grid", 2.0)]
        assert task.score(prediction, target, present, None) == [("plan", "mae", 2.0), ("plan", "mae_grid", 2.0)]
        # no voxel of the region: no figure, and no NaN in a mean
        assert task.score(prediction, target, present, ~region & region) == [("plan", "mae_grid", 2.0)]
        assert [(m.name, m.unit, m.higher_is_better) for m in task.metrics()] == [
            ("mae", "Gy", False),
            ("mae_grid", "Gy", False),
        ]

    def test_the_constant_is_the_median_and_the_unit_the_largest_deviation(self):
        region = np.array([[True, False]])
        assert self.task().constant((2,), region).tolist() == [[12.5, 0.0], [3.0, 0.0]]
        assert self.task().constant((2,), None).tolist() == [[12.5, 12.5], [3.0, 3.0]]
        assert self.task().state()["scale"] == 20.0

    def test_a_channel_without_cases_does_not_disturb(self):
        task = self.fresh()
        task.fit({**self.statistics(), "boost": NOTHING})
        assert task.state() == {"scale": 20.0, "constant": [12.5, 0.0]}

    @pytest.mark.parametrize("std", [0.0, math.nan])
    def test_labels_that_do_not_vary_are_refused(self, std: float):
        with pytest.raises(InputError, match="task 'dose': no training case carries a 'dose' that varies"):
            self.fresh().fit({"plan": {"cases": 2, "std": std, "median": 1.0}, "boost": NOTHING})

    def test_a_resized_quantity_stays_as_interpolated(self):
        values = torch.tensor([[[0.25, 12.75]]])
        assert torch.equal(self.task().resized(values), values)
        assert self.task().foreground == ()

    def test_no_labels_are_refused(self):
        with pytest.raises(InputError, match="leave the task out"):
            self.fresh().fit({"plan": NOTHING, "boost": NOTHING})
