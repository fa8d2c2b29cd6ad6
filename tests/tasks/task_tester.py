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

from crosstask.functional.cohort import COHORT_METRICS, Cohort, cohort_metric, mean_over_classes
from crosstask.tasks import Task

SIZES = [(6, 5), (4, 5, 6)]
BATCH = 3


class TaskTester(ABC):
    """Properties of all kinds. Those of pixel level in 2-D and 3-D; see :class:`ImageTaskTester` for image level.

    Attributes:
        sizes: spatial shapes ``*s``; each test with the argument ``size`` runs over them.
        batch: number of samples, at least 3, of which any may lack labels but the last.
        classes_together: the loss counts a sample only where all its classes are labelled.
        skill_together: so does the skill.
        pictures: how reports may draw the level.
    """

    sizes: tuple[tuple[int, ...], ...] = tuple(SIZES)
    batch = BATCH
    classes_together = False
    skill_together = False
    pictures: tuple[str, ...] = ("contours", "colours")

    @abstractmethod
    def fresh(self) -> Task:
        """A task, at pixel level with at least two classes, before it has seen any statistics."""

    @abstractmethod
    def statistics(self) -> dict[str, dict[str, Any]]:
        """Figures of the training cases for it."""

    @abstractmethod
    def truth(self, size: tuple[int, ...]) -> Tensor:
        """A target ``b c *s`` in physical units.

        Of pixel level with something to find in every class of every sample; of image level with every class true in
        some samples and false in others, samples 0 and 2 left out.
        """

    @abstractmethod
    def raw(self, task: Task, target: Tensor) -> Tensor:
        """Raw output whose decoded values are those of the target, or close to them."""

    def task(self) -> Task:
        task = self.fresh()
        task.fit(self.statistics())
        return task

    def present(self, task: Task) -> Tensor:
        return torch.ones(self.batch, len(task.classes), dtype=torch.bool)

    def noise(self, task: Task, size: tuple[int, ...]) -> Tensor:
        shape = (self.batch, task.head().channels, *size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(4))

    def loss(self, task: Task, output: Tensor, target: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and its gradient."""
        leaf = output.clone().requires_grad_()
        value = task.loss(leaf, target, present, None)
        value.backward()
        return value.detach(), leaf.grad

    # Outputs

    def test_head_channels_match(self, size: tuple[int, ...]):
        for task in (self.fresh(), self.task()):
            head = task.head()
            assert head.level == task.level
            assert head.channels == self.raw(task, self.truth(size)).shape[1]
            assert head.bias is None or all(math.isfinite(value) for value in head.bias)
            assert task.constant(size, None).shape == (len(task.classes), *size)

    def test_decoded_shapes(self, size: tuple[int, ...]):
        task = self.task()
        decoded = task.decode(self.noise(task, size).bfloat16())
        assert decoded.shape == (self.batch, len(task.classes), *size)
        assert decoded.dtype == torch.float32
        assert decoded.isfinite().all()

    def test_the_raw_truth_decodes_to_the_truth(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        torch.testing.assert_close(task.decode(self.raw(task, target)), target, atol=1e-3, rtol=1e-4)

    # Loss

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

    def test_a_step_along_the_gradient_lowers_the_loss(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        output = self.noise(task, size)
        value, gradient = self.loss(task, output, target, self.present(task))
        assert gradient.any()
        after, _ = self.loss(task, output - gradient, target, self.present(task))
        assert after < value

    def test_without_any_label_the_loss_and_its_gradient_are_exactly_zero(self, size: tuple[int, ...]):
        task = self.task()
        target, present = torch.zeros_like(self.truth(size)), torch.zeros_like(self.present(task))
        value, gradient = self.loss(task, self.noise(task, size), target, present)
        assert value.shape == ()
        assert value.item() == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))

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
        rest = [index for index in range(self.batch) if index != 1]
        alone, _ = self.loss(task, output[rest], target[rest], present[rest])
        torch.testing.assert_close(alone, value)

    def test_one_class_without_a_label(self, size: tuple[int, ...]):
        task, target, output = self.task(), self.truth(size), self.noise(self.task(), size)
        present = self.present(task)
        present[0, -1] = False
        value, gradient = self.loss(task, output, target, present)
        if self.classes_together or len(task.classes) == 1:
            assert not gradient[0].any()
            whole, _ = self.loss(task, output[1:], target[1:], present[1:])
            torch.testing.assert_close(value, whole)
        else:
            assert not gradient[0, -1].any()
            assert gradient[0, 0].any()
        assert gradient[1].any()
        target[0, -1] = 1 - target[0, -1]
        changed, same = self.loss(task, output, target, present)
        assert torch.equal(changed, value)
        assert torch.equal(same, gradient)

    # State

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

    def test_a_target_that_was_not_interpolated_stays_as_it_is(self, size: tuple[int, ...]):
        for target in self.truth(size):
            assert torch.equal(self.task().resized(target), target)

    def test_foreground_is_of_the_classes(self):
        assert set(self.task().foreground) <= set(self.task().classes)

    def test_reports_know_how_to_draw_it(self):
        assert self.task().picture in self.pictures

    # Skill

    def test_the_constant_is_a_whole_prediction(self, size: tuple[int, ...]):
        task = self.task()
        region = np.arange(math.prod(size)).reshape(1, *size) % 3 == 1
        for where in (None, region):
            constant = task.constant(size, where)
            assert constant.shape == (len(task.classes), *size)
            assert constant.dtype == np.float32
            assert np.isfinite(constant).all()

    def tally(self, task: Task, prediction: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        return task.tally(prediction, target, self.present(task) if present is None else present, None)

    def constant(self, task: Task, target: Tensor) -> Tensor:
        return torch.from_numpy(task.constant(tuple(target.shape[2:]), None))[None].expand_as(target)

    def test_skill_of_the_constant_is_zero_and_of_the_truth_one(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        assert task.skill(self.tally(task, target, target)) == 1
        assert task.skill(self.tally(task, self.constant(task, target), target)) == 0
        between = torch.lerp(self.noise(task, size), self.raw(task, target), 0.5)
        assert 0 < task.skill(self.tally(task, task.decode(between), target)) <= 1

    def test_tallies_add_up(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        decoded, present = task.decode(self.noise(task, size)), self.present(task)
        present[0, -1] = present[2, 0] = False
        whole = self.tally(task, decoded, target, present)
        assert len(whole) >= 2 and whole.shape[1] == len(task.classes)
        assert whole.dtype == torch.float64
        parts = [self.tally(task, decoded[i : i + 1], target[i : i + 1], present[i : i + 1]) for i in range(self.batch)]
        torch.testing.assert_close(sum(parts), whole)

    def test_skill_does_not_look_at_what_is_missing(self, size: tuple[int, ...]):
        task, target, present = self.task(), self.truth(size), self.present(self.task())
        present[0, -1] = present[2, 0] = False
        spoiled = target.clone()
        spoiled[0, -1], spoiled[2, 0] = 1 - spoiled[0, -1], 1 - spoiled[2, 0]
        assert task.skill(self.tally(task, spoiled, target, present)) == 1
        zero = self.tally(task, spoiled, target, torch.zeros_like(present))
        assert not zero.any()
        assert math.isnan(task.skill(zero))

    def test_skill_needs_no_label_of_every_class(self, size: tuple[int, ...]):
        task, target, present = self.task(), self.truth(size), self.present(self.task())
        present[:, 0] = False
        skill = task.skill(self.tally(task, target, target, present))
        if self.skill_together or len(task.classes) == 1:
            assert math.isnan(skill)
        else:
            assert skill == 1

    # Scores

    def test_scores_are_of_declared_metrics_and_classes(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)[0].numpy()
        rows = task.score(target, target, np.ones(len(task.classes), dtype=bool), None)
        assert len({metric.name for metric in task.metrics()}) == len(task.metrics())
        declared = {metric.name for metric in task.metrics() if metric.of == "case"}
        assert {row[:2] for row in rows} == {(name, metric) for name in task.classes for metric in declared}
        assert len(rows) == len({(name, metric) for name, metric, _ in rows})
        assert all(type(value) is float and math.isfinite(value) for _, _, value in rows)

    def test_scores_of_the_truth_are_better_than_of_the_constant(self, size: tuple[int, ...]):
        task, target = self.task(), self.truth(size)
        present = np.ones(len(task.classes), dtype=bool)
        best = {row[:2]: row[2] for row in task.score(target[0].numpy(), target[0].numpy(), present, None)}
        floor = self.constant(task, target)[0].numpy()
        for name, metric, value in task.score(floor, target[0].numpy(), present, None):
            direction = {m.name: m.higher_is_better for m in task.metrics()}[metric]
            assert (best[name, metric] > value) is direction

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


class ImageTaskTester(TaskTester):
    """The same of image-level kinds, and what they do beyond: figures of many cases together, and decisions."""

    sizes = ((),)
    batch = 9
    pictures = ("text",)

    def cohort(self, task: Task, prediction: Tensor, target: Tensor, present: Tensor | None = None) -> Cohort:
        """Many cases as the tables of scores take them."""
        present = self.present(task) if present is None else present
        return Cohort(
            target.numpy(),
            prediction.numpy(),
            task.decide(prediction.numpy()),
            present.numpy(),
            exclusive=task.values == "softmax",
        )

    def figures(self, task: Task, cohort: Cohort) -> dict[str, float]:
        """The task's figures of many cases."""
        names = [metric.name for metric in task.metrics() if metric.of == "cohort"]
        return {name: float(mean_over_classes(cohort_metric(name, cohort))[0]) for name in names}

    def test_it_is_of_image_level(self):
        task = self.task()
        assert task.level == task.head().level == "image"
        assert task.foreground == ()

    def test_predictions_are_what_they_are_said_to_be(self):
        task = self.task()
        decoded = task.decode(3 * self.noise(task, ()))
        if task.values == "quantity":
            assert task.unit
            return
        assert task.unit == ""
        assert decoded.min() >= 0 and decoded.max() <= 1
        if task.values == "softmax":
            torch.testing.assert_close(decoded.sum(1), torch.ones(self.batch))

    def test_a_region_does_not_matter(self):
        task, target, output = self.task(), self.truth(()), self.noise(self.task(), ())
        region, present = torch.zeros(self.batch, 1, 4, 4, dtype=torch.bool), self.present(task)
        assert torch.equal(task.loss(output, target, present, region), task.loss(output, target, present, None))
        decoded = task.decode(output)
        assert torch.equal(task.tally(decoded, target, present, region), task.tally(decoded, target, present, None))
        where = region[0].numpy()
        np.testing.assert_array_equal(task.constant((4, 4), where), task.constant((), None))
        every = np.ones(len(task.classes), dtype=bool)
        arguments = decoded[0].numpy(), target[0].numpy(), every
        assert task.score(*arguments, where) == task.score(*arguments, None)

    def test_the_head_starts_at_the_constant(self):
        task = self.task()
        bias = torch.tensor(task.head().bias or (0.0,) * task.head().channels)
        np.testing.assert_allclose(task.decode(bias[None])[0], task.constant((), None), rtol=1e-5)

    def test_the_truth_is_its_own_decision(self):
        task, target = self.task(), self.truth(())
        np.testing.assert_array_equal(task.decide(target.numpy()), target.numpy())
        for sample in target.numpy():
            assert task.decide(sample).shape == sample.shape
            np.testing.assert_array_equal(task.decide(sample), sample)

    def test_figures_of_many_cases_are_known_and_best_for_the_truth(self):
        task, target = self.task(), self.truth(())
        best = self.figures(task, self.cohort(task, target, target))
        assert set(best) <= set(COHORT_METRICS)
        assert all(math.isfinite(value) for value in best.values())
        noise = self.figures(task, self.cohort(task, task.decode(self.noise(task, ())), target))
        for metric in task.metrics():
            if metric.of == "cohort":
                better, worse = best[metric.name], noise[metric.name]
                assert better > worse if metric.higher_is_better else better < worse

    def test_figures_of_many_cases_without_labels_are_nan(self):
        task, target = self.task(), self.truth(())
        nothing = self.cohort(task, target, target, torch.zeros_like(self.present(task)))
        assert all(math.isnan(value) for value in self.figures(task, nothing).values())

    def test_the_gradient_of_half_precision_is_that_of_its_values(self):
        task, target, present = self.task(), self.truth(()), self.present(self.task())
        half = self.noise(task, ()).bfloat16()
        value, gradient = self.loss(task, half, target, present)
        expected, slope = self.loss(task, half.float(), target, present)
        assert value.dtype == torch.float32
        assert torch.equal(value, expected)
        assert gradient.dtype == torch.bfloat16
        torch.testing.assert_close(gradient, slope.bfloat16())

    def test_thresholds_are_one_a_class_or_none(self):
        task = self.task()
        target, prediction = self.truth(()).numpy(), task.decode(self.noise(task, ())).numpy()
        if task.thresholds is None:
            with pytest.raises(AttributeError, match=f"task {task.name!r}"):
                task.thresholds = (0.5,) * len(task.classes)
            with pytest.raises(AttributeError, match=f"task {task.name!r}"):
                task.choose_thresholds(target, prediction, self.present(task).numpy())
            return
        assert task.thresholds == (0.5,) * len(task.classes)
        chosen = task.choose_thresholds(target, prediction, self.present(task).numpy())
        assert len(chosen) == len(task.classes)
        assert task.thresholds == (0.5,) * len(task.classes)
        task.thresholds = json.loads(json.dumps(chosen))
        assert task.thresholds == chosen
        np.testing.assert_array_equal(task.decide(prediction), prediction > np.array(chosen))
        with pytest.raises(ValueError, match=f"thresholds for {len(task.classes)} classes"):
            task.thresholds = (*chosen, 0.5)
