"""Classification: one binary finding, several that may go together, and classes that exclude each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from task_tester import ImageTaskTester
from torch import Tensor
from torch.nn import functional as F

from crosstask.errors import InputError
from crosstask.tasks import ClassificationTask, Task

FINDINGS = ("consolidation", "effusion", "nodule")
DIAGNOSES = ("nv", "mel", "bkl", "df")
DTYPES = [torch.float32, torch.bfloat16]


def shares(classes: tuple[str, ...], positive: tuple[int, ...], count: int = 200) -> dict[str, dict[str, int]]:
    return {name: {"count": count, "positive": number} for name, number in zip(classes, positive, strict=True)}


class ClassificationTester(ImageTaskTester):
    """Properties of all three kinds."""

    def raw(self, task: Task, target: Tensor) -> Tensor:
        return 24 * target - 12

    def test_scores_of_one_case_are_none(self):
        task, target = self.task(), self.truth(())[0].numpy()
        assert task.score(target, target, np.ones(len(task.classes), dtype=bool), None) == []
        assert {metric.of for metric in task.metrics()} == {"cohort"}

    def test_every_metric_may_be_the_first(self):
        task = self.task()
        names = [metric.name for metric in task.metrics()]
        for name in names:
            other = ClassificationTask("t", "s", task.classes, exclusive=task.exclusive, measure=name)
            assert other.metrics()[0].name == name
            assert sorted(metric.name for metric in other.metrics()) == sorted(names)
        lower = {metric.name for metric in task.metrics() if not metric.higher_is_better}
        assert lower == {"calibration_error", "brier"}
        assert {metric.name for metric in task.metrics() if metric.unit != "%"} == {"brier"}
        with pytest.raises(InputError, match=r"^measure: there is no 'luck'; one of .*auc"):
            ClassificationTask("t", "s", task.classes, exclusive=task.exclusive, measure="luck")

    @pytest.mark.parametrize("weights", ["rare", [1.0], [1.0] * 9, [0.0, 1.0, 1.0, 1.0], [math.nan] * 4])
    def test_weights_that_do_not_fit_are_refused(self, weights: object):
        task = self.task()
        if weights == [1.0] and len(task.classes) == 1:
            return
        with pytest.raises(InputError, match=r"^class_weights: .* give balanced, or"):
            ClassificationTask("t", "s", task.classes, exclusive=task.exclusive, class_weights=weights)

    def test_weights_of_any_size(self):
        task = self.task()
        tiny = ClassificationTask(
            "t", "s", task.classes, exclusive=task.exclusive, class_weights=[1e-9] * len(task.classes)
        )
        value, _ = self.loss(tiny, self.noise(task, ()), self.truth(()), self.present(task))
        assert value > 0.1

    def test_a_class_that_no_training_case_labels_is_refused_by_name(self):
        statistics = self.statistics()
        last = self.task().classes[-1]
        statistics[last] = {"count": 0, "positive": 0}
        with pytest.raises(InputError, match=rf"^task '\w+': '{last}' is labelled in no training case; leave"):
            self.fresh().fit(statistics)

    def test_a_class_that_alone_could_occur_is_refused(self):
        statistics = self.statistics()
        last = self.task().classes[-1]
        statistics |= {name: {"count": 200, "positive": 0} for name in self.task().classes[1:] or (last,)}
        with pytest.raises(InputError, match=r"^task '\w+': '\w+' is positive in no training case; leave"):
            self.fresh().fit(statistics)

    def test_the_constant_is_the_prior(self):
        statistics = self.statistics()
        expected = [figures["positive"] / figures["count"] for figures in statistics.values()]
        np.testing.assert_allclose(self.task().constant((), None), expected, rtol=1e-6)
        fresh = self.fresh()
        assert fresh.head().bias is None
        assert torch.equal(
            fresh.decode(torch.zeros(1, len(fresh.classes)))[0], torch.from_numpy(fresh.constant((), None))
        )

    def test_the_weighted_head_starts_where_its_loss_is_lowest(self):
        """On cases with the shares of the statistics, no other constant has a lower loss."""
        task = self.task()
        balanced = ClassificationTask("t", "s", task.classes, exclusive=task.exclusive, class_weights="balanced")
        balanced.fit(self.statistics())
        columns = []
        for figures in self.statistics().values():
            before = sum(int(column.sum()) for column in columns) if task.exclusive else 0
            column = torch.zeros(figures["count"], 1)
            column[before : before + figures["positive"]] = 1
            columns.append(column)
        target = torch.cat(columns, dim=1)
        present = torch.ones_like(target, dtype=torch.bool)
        for each in (task, balanced):
            output = torch.tensor(each.head().bias).expand_as(target).clone().requires_grad_()
            each.loss(output, target, present, None).backward()
            torch.testing.assert_close(output.grad.sum(0), torch.zeros(len(task.classes)), atol=1e-5, rtol=0)


class TestBinary(ClassificationTester):
    def fresh(self) -> ClassificationTask:
        return ClassificationTask("covid", "covid", ("covid",), exclusive=False)

    def statistics(self):
        return shares(("covid",), (60,))

    def truth(self, size: tuple[int, ...]) -> Tensor:
        return torch.tensor([1.0, 0, 1, 0, 0, 1, 0, 1, 0])[:, None]


class TestSeveralFindings(ClassificationTester):
    def fresh(self) -> ClassificationTask:
        return ClassificationTask("findings", "findings", FINDINGS, exclusive=False)

    def statistics(self):
        return shares(FINDINGS, (60, 100, 4))

    def truth(self, size: tuple[int, ...]) -> Tensor:
        rows = [[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]]
        return torch.tensor(rows, dtype=torch.float32)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("weights", [None, "balanced", (0.5, 2.0, 7.0)])
    def test_the_loss_is_the_binary_cross_entropy_of_the_labelled(self, dtype: torch.dtype, weights: object):
        task = ClassificationTask("findings", "findings", FINDINGS, exclusive=False, class_weights=weights)
        task.fit(self.statistics())
        expected_weights = {"balanced": (140 / 60, 1.0, 196 / 4), None: (1.0, 1.0, 1.0)}.get(weights, weights)
        assert task.class_weights == pytest.approx(expected_weights)
        target, present = self.truth(()), torch.rand(self.batch, 3, generator=torch.Generator().manual_seed(0)) < 0.7
        value, gradient = self.loss(task, self.noise(task, ()).to(dtype), target, present)
        leaf = self.noise(task, ()).to(dtype).requires_grad_()
        each = [
            F.binary_cross_entropy_with_logits(
                leaf[b, c].float(), target[b, c], pos_weight=torch.tensor(expected_weights[c])
            )
            for b, c in present.nonzero().tolist()
        ]
        expected = torch.stack(each).mean()
        expected.backward()
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, leaf.grad)

    def test_skill_is_the_mean_area_under_the_curve(self):
        task, target, present = self.task(), self.truth(()), self.present(self.task())
        # differences that the histogram of log odds tells apart, and some ties
        decoded = task.decode(self.noise(task, ()).mul(4).round() / 4)
        present[:3, 1] = False
        areas = [
            roc_auc_score(target[present[:, index], index], decoded[present[:, index], index]) for index in range(3)
        ]
        assert task.skill(self.tally(task, decoded, target, present)) == pytest.approx(2 * np.mean(areas) - 1)

    def test_skill_tells_probabilities_of_a_rare_class_apart(self):
        task, target = self.task(), self.truth(())
        decoded = task.decode(self.noise(task, ()) - 9)
        assert decoded.max() < 0.01
        expected = task.skill(self.tally(task, task.decode(self.noise(task, ())), target))
        assert task.skill(self.tally(task, decoded, target)) == pytest.approx(expected)

    def test_a_finding_that_validation_cases_all_have_leaves_the_skill(self):
        task, target = self.task(), self.truth(())
        decoded = task.decode(self.noise(task, ()))
        only = self.present(task)
        only[:, 1:] = False
        expected = task.skill(self.tally(task, decoded, target, only))
        target[:, 1], target[:, 2] = 1, 0
        assert task.skill(self.tally(task, decoded, target)) == pytest.approx(expected)

    def test_a_finding_in_every_training_case_is_refused(self):
        with pytest.raises(InputError, match="'effusion' is negative in no training case"):
            self.fresh().fit(shares(FINDINGS, (60, 200, 4)))

    def test_chosen_thresholds_are_the_best_on_the_labelled_cases(self):
        task, target = self.task(), self.truth(()).numpy()
        prediction = task.decode(self.noise(task, ())).numpy()
        present = self.present(task).numpy()
        present[[0, 1], 0] = False
        present[:, 2] = target[:, 2] == 1
        task.thresholds = task.choose_thresholds(target, prediction, present)
        assert task.thresholds[2] == 0.5  # no negative case
        decided = task.decide(prediction)
        assert decided.dtype == np.float32
        for index in range(2):
            rows = present[:, index]
            true, values = target[rows, index], prediction[rows, index]
            best = max(balanced_accuracy_score(true, values > t) for t in [0, *values])
            assert balanced_accuracy_score(true, decided[rows, index]) == pytest.approx(best)

    def test_thresholds_between_neighbours_of_single_precision_decide(self):
        task = ClassificationTask("covid", "covid", ("covid",), exclusive=False)
        low = np.float32(0.7)
        prediction = np.array([[low], [np.nextafter(low, np.float32(1))]])
        target = np.array([[0.0], [1.0]])
        task.thresholds = task.choose_thresholds(target, prediction, np.ones((2, 1), dtype=bool))
        np.testing.assert_array_equal(task.decide(prediction), target)


class TestExclusive(ClassificationTester):
    classes_together = True
    skill_together = True

    def test_with_each_class_alike_bayes_rule_of_that_is_decided_by(self):
        """Of a population of known densities: no other rule has a higher mean recall, and the most probable a lower."""
        random = np.random.default_rng(0)
        shares, middle = np.array([0.85, 0.12, 0.03]), np.array([0.0, 1.2, 2.4])
        names = DIAGNOSES[:3]
        kinds = random.choice(3, 40_000, p=shares)
        values = middle[kinds] + random.normal(size=len(kinds))
        density = np.exp(-((values[:, None] - middle) ** 2) / 2)
        prediction = density * shares / (density * shares).sum(1, keepdims=True)
        target, present = np.eye(3)[kinds], np.ones((len(kinds), 3), dtype=bool)
        task = ClassificationTask("diagnosis", "diagnosis", names, exclusive=True)
        usual = task.decide(prediction).argmax(1)
        task.balanced = True
        np.testing.assert_array_equal(task.decide(prediction).argmax(1), usual)  # nothing is chosen yet
        task.thresholds = task.choose_thresholds(target, prediction, present)
        assert task.thresholds == pytest.approx(shares, abs=0.005)
        found = task.decide(prediction).argmax(1)
        best = balanced_accuracy_score(kinds, density.argmax(1))
        assert balanced_accuracy_score(kinds, found) == pytest.approx(best, abs=0.003)
        assert balanced_accuracy_score(kinds, usual) < best - 0.1
        even = density / density.sum(1, keepdims=True)  # as of a network that drew the classes evenly
        assert task.choose_thresholds(target, even, present) == pytest.approx((1 / 3,) * 3, abs=0.01)
        present[:5] = False
        target[:5] = 0
        assert task.choose_thresholds(target, prediction, present) == pytest.approx(task.thresholds, rel=0.01)

    def fresh(self) -> ClassificationTask:
        return ClassificationTask("diagnosis", "diagnosis", DIAGNOSES, exclusive=True)

    def statistics(self):
        return shares(DIAGNOSES, (134, 36, 28, 2))

    def truth(self, size: tuple[int, ...]) -> Tensor:
        return F.one_hot(torch.tensor([0, 1, 3, 3, 0, 2, 1, 0, 2]), 4).float()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("weights", [None, "balanced", (0.5, 2.0, 7.0, 1.0)])
    def test_the_loss_is_the_cross_entropy_of_whole_samples(self, dtype: torch.dtype, weights: object):
        task = ClassificationTask("diagnosis", "diagnosis", DIAGNOSES, exclusive=True, class_weights=weights)
        task.fit(self.statistics())
        balanced = (200 / 4 / 134, 200 / 4 / 36, 200 / 4 / 28, 200 / 4 / 2)
        expected_weights = {"balanced": balanced, None: (1.0,) * 4}.get(weights, weights)
        assert task.class_weights == pytest.approx(expected_weights)
        target, present = self.truth(()), self.present(task)
        present[1, 2] = present[4] = False
        value, gradient = self.loss(task, self.noise(task, ()).to(dtype), target, present)
        leaf = self.noise(task, ()).to(dtype).requires_grad_()
        rows = [0, 2, 3, 5, 6, 7, 8]
        expected = F.cross_entropy(
            leaf[rows].float(), target[rows].argmax(1), weight=torch.tensor(expected_weights, dtype=torch.float32)
        )
        expected.backward()
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(gradient, leaf.grad)

    def test_skill_is_the_balanced_accuracy_over_chance(self):
        task, target, output = self.task(), self.truth(()), 2 * self.noise(self.task(), ())
        decoded, present = task.decode(output), self.present(self.task())
        present[0] = False
        accuracy = balanced_accuracy_score(target[1:].argmax(1), output[1:].argmax(1))
        skill = task.skill(self.tally(task, decoded, target, present))
        assert skill == pytest.approx((accuracy - 1 / 4) / (1 - 1 / 4))
        some = target.argmax(1) < 3  # a class that no validation case has does not count
        skill = task.skill(self.tally(task, decoded, target, present & some[:, None]))
        rows = some.nonzero()[1:, 0]
        accuracy = np.mean([(output[rows].argmax(1) == k)[target[rows, k] == 1].float().mean() for k in range(3)])
        assert skill == pytest.approx((accuracy - 1 / 3) / (1 - 1 / 3), abs=1e-6)
        assert math.isnan(task.skill(self.tally(task, decoded, target, present & (target[:, :1] == 1))))

    def test_the_most_probable_class_is_decided_for(self):
        task, probability = self.task(), np.array([[0.2, 0.3, 0.1, 0.4], [0.3, 0.25, 0.25, 0.2]], dtype=np.float32)
        np.testing.assert_array_equal(task.decide(probability), [[0, 0, 0, 1], [1, 0, 0, 0]])
        np.testing.assert_array_equal(task.decide(probability[1]), [1, 0, 0, 0])

    def test_a_case_of_a_class_that_is_left_out_does_not_count(self):
        task = ClassificationTask("diagnosis", "diagnosis", DIAGNOSES[:3], exclusive=True)
        task.fit(shares(DIAGNOSES[:3], (100, 40, 20)))
        np.testing.assert_allclose(task.constant((), None), [0.625, 0.25, 0.125], rtol=1e-6)
        target, output = self.truth(())[:, :3], self.noise(self.task(), ())[:, :3]
        present, rows = self.present(task), target.any(1)
        value, gradient = self.loss(task, output, target, present)
        expected, _ = self.loss(task, output[rows], target[rows], present[rows])
        torch.testing.assert_close(value, expected)
        assert not gradient[~rows].any()
        tallies = [self.tally(task, task.decode(output)[r], target[r], present[r]) for r in (rows, rows | True)]
        assert torch.equal(*tallies)

    def test_the_prior_of_a_very_rare_class_stays_finite(self):
        task = self.fresh()
        task.fit(shares(DIAGNOSES, (99_997, 1, 1, 1), 100_000))
        assert task.constant((), None).sum() == pytest.approx(1)
        assert min(task.head().bias) > -8

    def test_a_class_may_be_too_rare_to_occur_in_training(self):
        task = self.fresh()
        task.fit(shares(DIAGNOSES, (134, 36, 30, 0)))
        assert 0 < task.constant((), None)[3] < 0.002
        assert all(math.isfinite(bias) for bias in task.head().bias)

    def test_one_class_is_too_few(self):
        with pytest.raises(InputError, match="task 't': 1 classes are too few; give at least 2"):
            ClassificationTask("t", "s", ("nv",), exclusive=True)
        with pytest.raises(InputError, match="task 't': 0 classes are too few; give at least 1"):
            ClassificationTask("t", "s", (), exclusive=False)


def test_labels_to_score_may_be_others_than_those_to_learn():
    task = ClassificationTask("severity", "severity", ("severe",), exclusive=False, scored_array="severity_positive")
    assert (task.array, task.scored_array) == ("severity", "severity_positive")


def test_a_class_is_never_predicted_where_no_case_of_it_is_recognised() -> None:
    task = ClassificationTask("kind", "kind", ("red", "green", "blue"), exclusive=True)
    target = torch.eye(3)[[0, 0, 1, 1]]
    present = torch.ones(4, 3, dtype=torch.bool)
    tally = task.tally(torch.eye(3)[[0, 1, 0, 0]] * 0.8 + 0.1, target, present, None)
    assert task.never_predicted(tally) == ("green",)  # of blue there is no case
    task.balanced = True
    assert task.never_predicted(tally) == ()  # it may yet be decided for
    signs = ClassificationTask("signs", "signs", ("spots", "lines"), exclusive=False)
    tally = signs.tally(torch.full((4, 2), 0.1), target[:, :2], present[:, :2], None)
    assert signs.never_predicted(tally) == ()  # what is decided depends on thresholds
