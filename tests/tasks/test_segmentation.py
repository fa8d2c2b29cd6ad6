"""Segmentation, with overlapping and with exclusive classes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from task_tester import BATCH, SIZES, TaskTester
from torch import Tensor

from crosstask.errors import InputError
from crosstask.functional import ComboForm, combo_loss, softmax_combo_loss
from crosstask.tasks import SegmentationTask, Task

CLASSES = ("Brainstem", "Larynx")


class TestOverlapping(TaskTester):
    def fresh(self) -> SegmentationTask:
        return SegmentationTask("organs", "structures", CLASSES)

    def statistics(self):
        return {"Brainstem": {"count": 1000, "positive": 20}, "Larynx": {"count": 500, "positive": 100}}

    def truth(self, size: tuple[int, ...]) -> Tensor:
        target = torch.zeros(BATCH, 2, *size)
        target[:, 0, 1:3, 1:4] = 1
        target[:, 1, 2:4, 2:5] = 1
        return target

    def raw(self, task: Task, target: Tensor) -> Tensor:
        return 24 * target - 12

    def test_the_loss_is_the_combo_loss_with_its_weights(self):
        target, output = self.truth((6, 5)), self.noise(self.task(), (6, 5))
        present = torch.tensor([[True, True], [False, True], [True, False]])
        expected = combo_loss(output, target, dice_weight=0.3, cross_entropy_weight=0.7, present=present)
        assert torch.equal(self.task().loss(output, target, present, None), expected)
        task = SegmentationTask("organs", "structures", CLASSES, dice_weight=2.0, cross_entropy_weight=0.1)
        expected = combo_loss(output, target, dice_weight=2.0, cross_entropy_weight=0.1, present=present)
        assert torch.equal(task.loss(output, target, present, None), expected)

    def test_a_region_does_not_matter_to_masks(self):
        task, target, output = self.task(), self.truth((6, 5)), self.noise(self.task(), (6, 5))
        region = torch.zeros(BATCH, 1, 6, 5, dtype=torch.bool)
        present = self.present(task)
        assert torch.equal(task.loss(output, target, present, region), task.loss(output, target, present, None))
        decoded = task.decode(output)
        assert torch.equal(task.tally(decoded, target, present, region), task.tally(decoded, target, present, None))

    def test_a_structure_is_never_predicted_where_none_of_it_is_found_though_it_is_there(self):
        task, target, present = self.task(), self.truth((6, 5)), self.present(self.task())
        found, elsewhere = target.clone(), target.clone()
        found[:, 0] = 0
        elsewhere[:, 0] = 1 - target[:, 0]

        def told(prediction: Tensor, target: Tensor = target, present: Tensor = present) -> tuple[str, ...]:
            return task.never_predicted(task.tally(prediction, target, present, None))

        assert told(target) == ()
        assert told(found) == told(elsewhere) == ("Brainstem",)
        assert told(torch.zeros_like(target)) == CLASSES
        nowhere = target.clone()
        nowhere[:, 0] = 0
        assert told(target, nowhere) == ()  # predicted where it is not is another fault
        unlabelled = present.clone()
        unlabelled[:, 0] = False
        assert told(found, target, unlabelled) == ()
        assert told(found[:1], target[:1], present[:1]) == ("Brainstem",)
        whole = task.tally(found[:1], target[:1], present[:1], None) + task.tally(
            target[1:], target[1:], present[1:], None
        )
        assert task.never_predicted(whole) == ()  # one case is enough

    def test_channels_start_at_the_prior(self):
        bias = self.task().head().bias
        np.testing.assert_allclose(torch.tensor(bias).sigmoid(), [0.02, 0.2], rtol=1e-5)
        assert self.fresh().head().bias is None

    @pytest.mark.parametrize(("given", "power"), [("square_root", 0.5), ([4.0, 0.5], None)])
    @pytest.mark.parametrize("exclusive", [False, True])
    def test_weighted_channels_start_where_the_entropy_of_a_constant_is_lowest(self, given, power, exclusive):
        task = SegmentationTask("organs", "structures", CLASSES, exclusive=exclusive, class_weights=given)
        assert task.class_weights == ((1.0, 1.0) if power else (4.0, 0.5))
        task.fit(self.statistics())
        shares = np.array([0.02, 0.2])
        expected = ((1 - shares) / shares) ** power if power else np.array([4.0, 0.5])
        np.testing.assert_allclose(task.class_weights, expected)
        target = torch.zeros(1, 2, 50, 10)
        target[0, 0, 0], target[0, 1, 1:11] = 1, 1  # 2 and 20 % of all voxels
        bias = torch.tensor(task.head().bias, requires_grad=True)
        form = ComboForm(class_weights=task.class_weights)
        loss = softmax_combo_loss if exclusive else combo_loss
        output = bias[None, :, None, None].expand(1, -1, 50, 10)
        loss(output, target, dice_weight=0, cross_entropy_weight=1, form=form).backward()
        assert bias.grad.abs().max() < 1e-6
        whole = loss(output.detach(), target, form=form)
        assert torch.equal(task.loss(output.detach(), target, torch.ones(1, 2, dtype=torch.bool), None), whole)
        again = SegmentationTask(**json.loads(json.dumps(task.arguments())))
        again.load_state(json.loads(json.dumps(task.state())))
        assert again.class_weights == pytest.approx(task.class_weights)

    @pytest.mark.parametrize("weights", ["balanced", [1.0], [1.0, 0.0], [1.0, True], [1.0, math.inf], {"a": 1}, 2.0])
    def test_weights_that_are_none_are_refused(self, weights):
        with pytest.raises(InputError, match=r"class_weights: .* give square_root, or 2 positive numbers"):
            SegmentationTask("organs", "structures", CLASSES, class_weights=weights)

    def test_a_resized_mask_is_a_mask_again(self):
        values = torch.tensor([[[0.0, 0.4, 0.5, 0.6, 1.0]]])
        assert self.task().resized(values).tolist() == [[[0.0, 0.0, 0.0, 1.0, 1.0]]]
        assert self.task().foreground == CLASSES

    def test_the_constant_is_an_empty_mask(self):
        assert not self.task().constant((4, 5), np.ones((1, 4, 5), dtype=bool)).any()

    def test_threshold(self):
        task = SegmentationTask("organs", "structures", ("Larynx",), threshold=0.3)
        probability = np.array([[0.2, 0.3, 0.31, 0.9]], dtype=np.float64)
        assert task.to_masks(probability).tolist() == [[0, 0, 1, 1]]
        assert task.to_masks(probability).dtype == np.uint8


@pytest.mark.parametrize("exclusive", [False, True], ids=["overlapping", "exclusive"])
def test_margins_are_above_zero_where_there_is_a_mask(exclusive: bool):
    task = SegmentationTask(
        "lesion", "masks", ("a", "b", "c"), exclusive=exclusive, threshold=0.5 if exclusive else 0.3
    )
    probability = np.random.default_rng(0).dirichlet((1, 1, 1, 1), (40, 50)).transpose(2, 0, 1)[:3]
    assert np.array_equal(task.margins(probability) > 0, task.to_masks(probability).astype(bool))


def test_the_margin_is_the_distance_to_what_would_be_decided_instead():
    probability = np.array([[0.5], [0.3], [0.05]])
    lone = SegmentationTask("lesion", "masks", ("a", "b", "c"), threshold=0.3)
    assert lone.margins(probability).ravel() == pytest.approx([0.2, 0.0, -0.25])
    one_of = SegmentationTask("lesion", "masks", ("a", "b", "c"), exclusive=True)
    assert one_of.margins(probability).ravel() == pytest.approx([0.2, -0.2, -0.45])
    background = np.array([[0.1], [0.2], [0.0]])
    assert one_of.margins(background).ravel() == pytest.approx([-0.6, -0.5, -0.7])


class TestExclusive(TaskTester):
    classes_together = True

    def fresh(self) -> SegmentationTask:
        return SegmentationTask("lesion", "masks", CLASSES, exclusive=True)

    def statistics(self):
        return {"Brainstem": {"count": 1000, "positive": 20}, "Larynx": {"count": 500, "positive": 100}}

    def truth(self, size: tuple[int, ...]) -> Tensor:
        target = torch.zeros(BATCH, 2, *size)
        target[:, 0, 1:3, 1:4] = 1
        target[:, 1, 3:4, 1:4] = 1
        return target

    def raw(self, task: Task, target: Tensor) -> Tensor:
        return 24 * torch.cat([1 - target.sum(1, keepdim=True), target], dim=1) - 12

    def test_the_loss_is_the_softmax_combo_loss_of_whole_samples(self):
        target, output = self.truth((6, 5)), self.noise(self.task(), (6, 5))
        present = torch.tensor([[True, True], [False, True], [True, True]])
        expected = softmax_combo_loss(output, target, present=torch.tensor([True, False, True]))
        assert torch.equal(self.task().loss(output, target, present, None), expected)

    def test_channels_start_at_the_prior_with_the_background(self):
        bias = self.task().head().bias
        np.testing.assert_allclose(torch.tensor(bias).softmax(0), [0.78, 0.02, 0.2], rtol=1e-5)

    def test_probabilities_and_background_sum_to_one(self):
        output = self.noise(self.task(), (6, 5))
        decoded = self.task().decode(output)
        torch.testing.assert_close(decoded.sum(1) + output.softmax(1)[:, 0], torch.ones(BATCH, 6, 5))

    def test_masks_exclude_each_other_and_are_the_most_probable_channel(self):
        output = self.noise(self.task(), (8, 9))
        for sample, decoded in zip(output, self.task().decode(output), strict=True):
            masks = self.task().to_masks(decoded.numpy())
            winner = sample.argmax(0).numpy()
            np.testing.assert_array_equal(masks, np.stack([winner == 1, winner == 2]))

    def test_a_class_below_one_half_can_win(self):
        # 0.3 background, 0.4 and 0.3: the threshold of the sigmoid has no say here
        task, target = self.task(), torch.tensor([[[[1.0]], [[0.0]]]])
        probability = torch.tensor([[[[0.4]], [[0.3]]]])
        assert task.to_masks(probability[0].numpy()).ravel().tolist() == [1, 0]
        assert task.skill(task.tally(probability, target, torch.ones(1, 2, dtype=torch.bool), None)) == 1


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_skill_and_masks_look_at_the_same_voxels(exclusive: bool, size: tuple[int, ...]):
    tester = TestExclusive() if exclusive else TestOverlapping()
    task, target = tester.task(), tester.truth(size)
    decoded = task.decode(2 * tester.noise(task, size))
    masks = torch.from_numpy(np.stack([task.to_masks(sample.numpy()) for sample in decoded]))
    overlap, total, size_of_target = (task.tally(decoded, target, tester.present(task), None)).tolist()
    assert overlap == [float((masks[:, i] * target[:, i]).sum()) for i in range(2)]
    assert total == [float(masks[:, i].sum() + target[:, i].sum()) for i in range(2)]
    assert size_of_target == [float(target[:, i].sum()) for i in range(2)]


def test_dice_is_in_percent_and_a_missed_structure_stays_in():
    task = SegmentationTask("organs", "structures", ("a", "b", "c", "d"))
    target = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    prediction = np.array([[0, 0.9, 0.9, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    rows = task.score(prediction, target, np.array([True, True, True, False]), None)
    assert rows == [("a", "dice", 50.0), ("b", "dice", 0.0), ("c", "dice", 100.0)]
    (metric,) = task.metrics()
    assert (metric.name, metric.unit, metric.higher_is_better) == ("dice", "%", True)


@pytest.mark.parametrize("exclusive", [False, True])
def test_priors_stay_finite_for_a_class_that_is_nowhere_or_everywhere(exclusive: bool):
    task = SegmentationTask("organs", "structures", ("a", "b", "c"), exclusive=exclusive)
    task.fit(
        {
            "a": {"count": 100, "positive": 1},
            "b": {"count": 100, "positive": 0},
            "c": {"count": 100, "positive": 100},
        }
    )
    bias = task.head().bias
    assert len(bias) == task.head().channels
    assert all(math.isfinite(value) for value in bias)
    assert min(bias) > -15


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_class_that_no_training_case_labels_is_refused_by_name(exclusive: bool):
    task = SegmentationTask("organs", "structures", CLASSES, exclusive=exclusive)
    statistics = {"Brainstem": {"count": 1000, "positive": 20}, "Larynx": {"count": 0, "positive": 0}}
    with pytest.raises(InputError, match="'Larynx'"):
        task.fit(statistics)
