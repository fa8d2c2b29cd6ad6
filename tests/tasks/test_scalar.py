"""Scalar regression: one number a case."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from task_tester import ImageTaskTester
from torch import Tensor
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.tasks import ScalarTask, Task

AGES = [31.0, 77.0, 12.0, 64.0, 55.0, 49.0, 70.0, 23.0, 81.0]


class TestScalar(ImageTaskTester):
    def fresh(self) -> ScalarTask:
        return ScalarTask("age", "age", "years", minimum=0.0)

    def statistics(self):
        return {"age": {"cases": 20, "std": 17.0, "median": 52.5}}

    def truth(self, size: tuple[int, ...]) -> Tensor:
        return torch.tensor(AGES)[:, None]

    def raw(self, task: Task, target: Tensor) -> Tensor:
        return (target - 52.5) / 17

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_the_loss_is_the_mean_absolute_error_in_units_of_the_deviation(self, dtype: torch.dtype):
        task, target, present = self.task(), self.truth(()), self.present(self.task())
        present[[1, 4]] = False
        value, gradient = self.loss(task, self.noise(task, ()).to(dtype), target, present)
        leaf = self.noise(task, ()).to(dtype).requires_grad_()
        rows = present[:, 0]
        expected = F.l1_loss(17 * leaf[rows].float() + 52.5, target[rows]) / 17
        expected.backward()
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, leaf.grad)

    def test_units_of_the_loss_do_not_depend_on_units_of_the_number(self):
        months = self.fresh()
        months.fit({"age": {"cases": 20, "std": 12 * 17.0, "median": 12 * 52.5}})
        target, output, present = self.truth(()), self.noise(months, ()), self.present(months)
        torch.testing.assert_close(
            months.loss(output, 12 * target, present, None), self.task().loss(output, target, present, None)
        )

    def test_half_precision_is_enough_for_numbers_far_from_zero(self):
        task = ScalarTask("year", "year", "a")
        task.fit({"year": {"cases": 20, "std": 5.0, "median": 2015.0}})
        assert task.decode(torch.tensor([[0.125]]).bfloat16()).tolist() == [[2015.625]]

    def test_skill_is_the_share_of_the_constants_error(self):
        task, target = self.task(), torch.tensor([[52.5], [62.5]])
        tally = task.tally(torch.tensor([[54.5], [59.5]]), target, torch.ones(2, 1, dtype=torch.bool), None)
        assert tally.tolist() == [[5.0], [10.0]]
        assert task.skill(tally) == 0.5
        # labels that equal the constant say nothing
        assert math.isnan(task.skill(task.tally(target[:1], target[:1], torch.ones(1, 1, dtype=torch.bool), None)))

    def test_predictions_are_clipped_to_what_is_possible(self):
        assert self.task().decode(torch.tensor([[-10.0], [1.0]])).tolist() == [[0.0], [69.5]]
        free = ScalarTask("score", "score")
        assert free.decode(torch.tensor([[-10.0]])).tolist() == [[-10.0]]

    def test_figures(self):
        task, target = self.task(), self.truth(())
        decoded = task.decode(self.noise(task, ()))
        assert [(m.name, m.unit, m.higher_is_better, m.of) for m in task.metrics()] == [
            ("mae", "years", False, "case"),
            ("r2", "", True, "cohort"),
        ]
        assert task.score(np.array([60.0]), np.array([52.0]), np.array([True]), None) == [("age", "mae", 8.0)]
        figures = self.figures(task, self.cohort(task, decoded, target))
        assert figures == {"r2": pytest.approx(r2_score(target.double(), decoded.double()))}
        floor = self.constant(task, target)
        assert self.figures(task, self.cohort(task, floor, target))["r2"] <= 0

    def test_a_number_is_its_own_decision(self):
        values = np.array([[3.0], [80.0]])
        assert self.task().decide(values) is values

    @pytest.mark.parametrize(
        "figures",
        [
            {"cases": 0, "std": math.nan, "median": math.nan},
            {"cases": 3, "std": 0.0, "median": 4.0},
        ],
    )
    def test_labels_that_do_not_vary_are_refused(self, figures: dict[str, float]):
        with pytest.raises(InputError, match="task 'age': no training case carries a 'age' that varies; leave the"):
            self.fresh().fit({"age": figures})
