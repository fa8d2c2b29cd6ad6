"""What every task kind must do. A new one inherits :class:`TaskTester` and says how it is made and what is true."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from crosstask.tasks import Task

SIZES = [(6, 5), (4, 5, 6)]
BATCH = 3


class TaskTester(ABC):
    """Properties of all pixel-level kinds, in 2-D and 3-D.

    Attributes:
        classes_together: a sample counts only where all its classes are labelled.
    """

    classes_together = False

    @abstractmethod
    def fresh(self) -> Task:
        """A task with at least two classes, before it has seen any statistics."""

    @abstractmethod
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Figures of the training cases for it."""

    @abstractmethod
    def truth(self, size: tuple[int, ...]) -> Tensor:
        """A target ``b c *s`` in physical units, with something to find in every class of every sample."""

    @abstractmethod
    def raw(self, task: Task, target: Tensor) -> Tensor:
        """Raw output whose decoded values are those of the target, or close to them."""

    def task(self) -> Task:
        task = self.fresh()
        task.fit(self.statistics())
        return task

    def present(self, task: Task) -> Tensor:
        return torch.ones(BATCH, len(task.classes), dtype=torch.bool)

    def noise(self, task: Task, size: tuple[int, ...]) -> Tensor:
        shape = (BATCH, task.head().channels, *size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(4))

    def loss(self, task: Task, output: Tensor, target: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient."""
        leaf = output.clone().requires_grad_()
        value = task.loss(leaf, target, present, None)
        value.backward()
        return value.detach(), leaf.grad

    # Outputs

    @pytest.mark.parametrize("size", SIZES)
    def test_head_channels_match(self, size: tuple[int, ...]):
        for task in (self.fresh(), self.task()):
            head = task.head()
            assert head.level == task.level
            assert head.channels == self.raw(task, self.truth(size)).shape[1]
            assert head.bias is None or all(math.isfinite(value) for value in head.bias)
            assert task.constant(size, None).shape == (len(task.classes), *size)

    @pytest.mark.parametrize("size", SIZES)
    def test_decoded_shapes(self, size: tuple[int, ...]):
        task = self.task()
        decoded = task.decode(self.noise(task, size).bfloat16())
        assert decoded.shape == (BATCH, len(task.classes), *size)
        assert decoded.dtype == torch.float32
        assert decoded.isfinite().all()

    @pytest.mark.parametrize("size", SIZES)
    def test_the_raw_truth_decodes_to_the_truth(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        torch.testing.assert_close(task.decode(self.raw(task, target)), target, atol=1e-3, rtol=1e-4)

    # Loss

    @pytest.mark.parametrize("size", SIZES)
    def test_the_loss_falls_as_the_prediction_nears_the_target(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        goal, start = self.raw(task, target), self.noise(task, size)
        losses = [
            float(task.loss(torch.lerp(start, goal, share), target, self.present(task), None))
            for share in (0.0, 0.1, 0.3, 0.6, 1.0)
        ]
        assert all(math.isfinite(loss) for loss in losses)
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < 0.01 * losses[0]

    @pytest.mark.parametrize("size", SIZES)
    def test_a_step_along_the_gradient_lowers_the_loss(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        output = self.noise(task, size)
        value, gradient = self.loss(task, output, target, self.present(task))
        assert gradient.any()
        after, _ = self.loss(task, output - gradient, target, self.present(task))
        assert after < value

    @pytest.mark.parametrize("size", SIZES)
    def test_without_any_label_the_loss_and_its_gradient_are_exactly_zero(self, size: tuple[int, ...]):
        task = self.task()
        target, present = torch.zeros_like(self.truth(size)), torch.zeros_like(self.present(task))
        value, gradient = self.loss(task, self.noise(task, size), target, present)
        assert value.shape == ()
        assert value.item() == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))

    @pytest.mark.parametrize("size", SIZES)
    def test_a_sample_without_labels_is_as_if_it_were_not_there(self, size: tuple[int, ...]):
        task, target, output = self.task(), self.truth(size), self.noise(self.task(), size)
        present = self.present(task)
        present[1] = False
        value, gradient = self.loss(task, output, target, present)
        assert not gradient[1].any()
        assert gradient[0].any() and gradient[2].any()
        output[1], target[1] = 50.0, 1.0
        changed, same = self.loss(task, output, target, present)
        assert torch.equal(changed, value)
        assert torch.equal(same, gradient)
        alone, _ = self.loss(task, output[[0, 2]], target[[0, 2]], present[[0, 2]])
        torch.testing.assert_close(alone, value)

    @pytest.mark.parametrize("size", SIZES)
    def test_one_class_without_a_label(self, size: tuple[int, ...]):
        task, target, output = self.task(), self.truth(size), self.noise(self.task(), size)
        present = self.present(task)
        present[0, 1] = False
        value, gradient = self.loss(task, output, target, present)
        if self.classes_together:
            assert not gradient[0].any()
            whole, _ = self.loss(task, output[1:], target[1:], present[1:])
            torch.testing.assert_close(value, whole)
        else:
            assert not gradient[0, 1].any()
            assert gradient[0, 0].any()
        assert gradient[1].any()
        target[0, 1] = 1.0
        changed, same = self.loss(task, output, target, present)
        assert torch.equal(changed, value)
        assert torch.equal(same, gradient)

    # State

    @pytest.mark.parametrize("size", SIZES)
    def test_state_round_trip(self, size: tuple[int, ...]):
        task, other = self.task(), self.fresh()
        other.load_state(json.loads(json.dumps(task.state())))
        output, target = self.noise(task, size), self.truth(size)
        assert other.state() == task.state()
        assert other.head() == task.head()
        np.testing.assert_array_equal(other.constant(size, None), task.constant(size, None))
        assert torch.equal(other.decode(output), task.decode(output))
        present = self.present(task)
        assert torch.equal(other.loss(output, target, present, None), task.loss(output, target, present, None))

    def test_what_is_fitted_matters(self):
        assert self.task().state() != self.fresh().state()

    # Targets

    @pytest.mark.parametrize("size", SIZES)
    def test_a_target_that_was_not_interpolated_stays_as_it_is(self, size: tuple[int, ...]):
        for target in self.truth(size):
            assert torch.equal(self.task().resized(target), target)

    def test_foreground_is_of_the_classes(self):
        assert set(self.task().foreground) <= set(self.task().classes)

    def test_reports_know_how_to_draw_it(self):
        assert self.task().picture in ("contours", "colours")

    # Skill

    @pytest.mark.parametrize("size", SIZES)
    def test_the_constant_is_a_whole_prediction(self, size: tuple[int, ...]):
        task = self.task()
        region = np.zeros((1, *size), dtype=bool)
        region[:, 1:3] = True
        for where in (None, region):
            constant = task.constant(size, where)
            assert constant.shape == (len(task.classes), *size)
            assert constant.dtype == np.float32
            assert np.isfinite(constant).all()

    def tally(self, task: Task, prediction: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        return task.tally(prediction, target, self.present(task) if present is None else present, None)

    def constant(self, task: Task, target: Tensor) -> Tensor:
        return torch.from_numpy(task.constant(tuple(target.shape[2:]), None))[None].expand_as(target)

    @pytest.mark.parametrize("size", SIZES)
    def test_skill_of_the_constant_is_zero_and_of_the_truth_one(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        assert task.skill(self.tally(task, target, target)) == 1
        assert task.skill(self.tally(task, self.constant(task, target), target)) == 0
        between = torch.lerp(self.noise(task, size), self.raw(task, target), 0.5)
        assert 0 < task.skill(self.tally(task, task.decode(between), target)) <= 1

    @pytest.mark.parametrize("size", SIZES)
    def test_tallies_add_up(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        decoded, present = task.decode(self.noise(task, size)), self.present(task)
        present[0, 1] = present[2, 0] = False
        whole = self.tally(task, decoded, target, present)
        assert whole.shape == (2, len(task.classes))
        assert whole.dtype == torch.float64
        parts = [self.tally(task, decoded[i : i + 1], target[i : i + 1], present[i : i + 1]) for i in range(BATCH)]
        torch.testing.assert_close(sum(parts), whole)

    @pytest.mark.parametrize("size", SIZES)
    def test_skill_does_not_look_at_what_is_missing(self, size: tuple[int, ...]):
        task, target, present = self.task(), self.truth(size), self.present(self.task())
        present[0, 1] = present[2, 0] = False
        spoiled = target.clone()
        spoiled[0, 1], spoiled[2, 0] = 1 - spoiled[0, 1], 1 - spoiled[2, 0]
        assert task.skill(self.tally(task, spoiled, target, present)) == 1
        zero = self.tally(task, spoiled, target, torch.zeros_like(present))
        assert not zero.any()
        assert math.isnan(task.skill(zero))

    @pytest.mark.parametrize("size", SIZES)
    def test_skill_needs_no_label_of_every_class(self, size: tuple[int, ...]):
        task, target, present = self.task(), self.truth(size), self.present(self.task())
        present[:, 0] = False
        assert task.skill(self.tally(task, target, target, present)) == 1

    # Scores

    @pytest.mark.parametrize("size", SIZES)
    def test_scores_are_of_declared_metrics_and_classes(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)[0].numpy()
        rows = task.score(target, target, np.ones(len(task.classes), dtype=bool), None)
        declared = {metric.name for metric in task.metrics()}
        assert len(declared) == len(task.metrics())
        assert {metric for _, metric, _ in rows} == declared
        assert {name for name, _, _ in rows} == set(task.classes)
        assert len(rows) == len({(name, metric) for name, metric, _ in rows})
        assert all(type(value) is float and math.isfinite(value) for _, _, value in rows)

    @pytest.mark.parametrize("size", SIZES)
    def test_scores_of_the_truth_are_better_than_of_the_constant(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        present = np.ones(len(task.classes), dtype=bool)
        best = {row[:2]: row[2] for row in task.score(target[0].numpy(), target[0].numpy(), present, None)}
        floor = self.constant(task, target)[0].numpy()
        for name, metric, value in task.score(floor, target[0].numpy(), present, None):
            direction = {m.name: m.higher_is_better for m in task.metrics()}[metric]
            assert (best[name, metric] > value) is direction

    @pytest.mark.parametrize("size", SIZES)
    def test_scores_leave_missing_labels_out(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)[0].numpy()
        prediction = task.decode(self.noise(task, size))[0].numpy()
        present = np.ones(len(task.classes), dtype=bool)
        every = task.score(prediction, target, present, None)
        present[0] = False
        spoiled = target.copy()
        spoiled[0] = 0
        assert task.score(prediction, spoiled, present, None) == [row for row in every if row[0] != task.classes[0]]
        assert task.score(prediction, target, np.zeros_like(present), None) == []
