"""Losses by option of a task: what every kind must do, with each of them; and options that are refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from task_tester import BATCH
from test_classification import FINDINGS
from test_classification import TestExclusive as ExclusiveTester
from test_classification import TestSeveralFindings as FindingsTester
from test_regression import TestRegression as RegressionTester
from test_segmentation import CLASSES
from test_segmentation import TestExclusive as ExclusiveMasksTester
from test_segmentation import TestOverlapping as MasksTester
from torch import Tensor

from crosstask.errors import InputError
from crosstask.functional import ComboForm, combo_loss, softmax_combo_loss
from crosstask.tasks import ClassificationTask, RegressionTask, SegmentationTask, Task

FORM = {"dice": "sample", "focal": 2.0, "tversky": [0.3, 0.7]}


class TestMasks(MasksTester):
    def fresh(self) -> SegmentationTask:
        return SegmentationTask("organs", "structures", CLASSES, **FORM)

    def test_the_loss_is_the_combo_loss_with_its_weights(self):
        target, output, present = self.truth((6, 5)), self.noise(self.task(), (6, 5)), self.present(self.task())
        expected = combo_loss(output, target, present=present, form=ComboForm("sample", (0.3, 0.7), 2.0))
        assert torch.equal(self.task().loss(output, target, present, None), expected)


class TestExclusiveMasks(ExclusiveMasksTester):
    def fresh(self) -> SegmentationTask:
        return SegmentationTask("lesion", "masks", CLASSES, exclusive=True, **FORM)

    def test_the_loss_is_the_softmax_combo_loss_of_whole_samples(self):
        target, output = self.truth((6, 5)), self.noise(self.task(), (6, 5))
        form = ComboForm("sample", (0.3, 0.7), 2.0)
        expected = softmax_combo_loss(output, target, present=torch.tensor([True, False, True]), form=form)
        present = torch.tensor([[True, True], [False, True], [True, True]])
        assert torch.equal(self.task().loss(output, target, present, None), expected)


class TestFocalFindings(FindingsTester):
    def fresh(self) -> ClassificationTask:
        weights = {"effective_number": 0.99}
        return ClassificationTask("findings", "findings", FINDINGS, exclusive=False, focal=2.0, class_weights=weights)

    # so of cross-entropy and even weights alone
    test_the_weighted_head_starts_where_its_loss_is_lowest = None
    test_the_head_starts_at_the_constant = None

    def test_the_loss_is_the_equations(self):
        task, target, output = self.task(), self.truth(()), self.noise(self.task(), ())
        present = torch.rand(self.batch, 3, generator=torch.Generator().manual_seed(0)) < 0.7
        positive = np.array([60, 100, 4])
        weight = (1 - 0.99 ** (200 - positive)) / (1 - 0.99**positive)
        np.testing.assert_allclose(task.class_weights, weight, rtol=1e-9)
        p, t = output.double().sigmoid().numpy(), target.numpy()
        each = -weight * t * (1 - p) ** 2 * np.log(p) - (1 - t) * p**2 * np.log(1 - p)
        assert float(task.loss(output, target, present, None)) == pytest.approx(each[present].mean(), rel=1e-5)


class TestFocalDiagnosis(ExclusiveTester):
    def fresh(self) -> ClassificationTask:
        weights = {"effective_number": 0.99}
        return ClassificationTask(
            "diagnosis", "diagnosis", tuple(self.statistics()), exclusive=True, focal=0.5, class_weights=weights
        )

    # so of cross-entropy and even weights alone
    test_the_weighted_head_starts_where_its_loss_is_lowest = None
    test_the_head_starts_at_the_constant = None

    def test_the_loss_is_the_equations(self):
        task, target, output = self.task(), self.truth(()), self.noise(self.task(), ())
        present = self.present(task)
        present[1, 2] = present[4] = False
        inverse = 1 / (1 - 0.99 ** np.array([134, 36, 28, 2]))
        np.testing.assert_allclose(task.class_weights, inverse * 4 / inverse.sum(), rtol=1e-9)
        rows = present.all(1).numpy()
        true = target.argmax(1).numpy()[rows]
        p = output.double().softmax(1).numpy()[rows, true]
        weight = inverse[true]
        expected = (weight * -((1 - p) ** 0.5) * np.log(p)).sum() / weight.sum()
        assert float(task.loss(output, target, present, None)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tester", [FindingsTester(), ExclusiveTester()], ids=["findings", "exclusive"])
def test_options_at_zero_are_the_unweighted_cross_entropy(tester):
    plain = tester.task()
    zero = ClassificationTask(
        "t", "s", plain.classes, exclusive=plain.exclusive, focal=0, class_weights={"effective_number": 0}
    )
    zero.fit(tester.statistics())
    output, target, present = tester.noise(plain, ()), tester.truth(()), tester.present(plain)
    assert zero.class_weights == (1.0,) * len(plain.classes)
    assert torch.equal(zero.loss(output, target, present, None), plain.loss(output, target, present, None))
    assert plain.state().keys() == {"prior"}  # as records of older runs have it
    zero.load_state(plain.state())
    assert zero.class_weights == (1.0,) * len(plain.classes)


def of_structures(**options: object) -> RegressionTask:
    named = {"structures": ("PTV", "Cord"), "structure_array": "structures"}
    return RegressionTask("dose", "dose", ("plan", "boost"), "Gy", minimum=0.0, **{"moments": 0.5, **named, **options})


class TestDoseInStructures(RegressionTester):
    def fresh(self) -> Task:
        return WithMasks(of_structures(dvh={"weight": 2.0, "step": 5, "highest": 60}))

    # of the mean absolute error alone; the terms are tested below
    test_the_loss_is_the_mean_absolute_error_in_units_of_the_scale = None
    test_units_of_the_loss_do_not_depend_on_units_of_the_quantity = None
    test_region_of_the_loss = None


class WithMasks(RegressionTask):
    """A dose whose structures are the upper and the right half of every sample: the common tests know no masks."""

    def __init__(self, task: RegressionTask) -> None:
        super().__init__(**task.arguments())

    def loss(self, output: Tensor, target: Tensor, present: Tensor, region: Tensor | None, **_: object) -> Tensor:
        masks = torch.zeros(len(output), 2, *output.shape[2:])
        masks[:, 0, : output.shape[2] // 2], masks[:, 1, ..., output.shape[-1] // 2 :] = 1, 1
        masked = torch.ones(len(output), 2, dtype=torch.bool)
        return super().loss(output, target, present, region, masks=masks, masked=masked)


def plain_terms(output: np.ndarray, target: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Both squared differences of one structure, of doses in Gy in units of 20 Gy."""
    one, other = np.clip(output[inside], 0, None), target[inside] / 20
    moments = [np.mean(one**p) ** (1 / p) - np.mean(other**p) ** (1 / p) for p in (1, 2, 10)]
    places = np.arange(2.0, 81.0, 2.0)
    histograms = [
        np.mean(1 / (1 + np.exp(-(20 * output[inside] - at) / 2)))
        - np.mean(1 / (1 + np.exp(-(target[inside] - at) / 2)))
        for at in places
    ]
    return float(np.mean(np.square(moments))), float(np.mean(np.square(histograms)))


def test_the_terms_are_added_with_their_weights():
    size = (6, 5)
    target = 60 * torch.rand((BATCH, 2, *size), generator=torch.Generator().manual_seed(9))
    output = 2 * torch.rand((BATCH, 2, *size), generator=torch.Generator().manual_seed(4))
    masks = (torch.rand((BATCH, 2, *size), generator=torch.Generator().manual_seed(5)) > 0.5).float()
    present = torch.tensor([[True, True], [True, False], [False, False]])
    masked = torch.tensor([[True, False], [True, True], [True, True]])
    statistics = {name: {"cases": 3, "std": 20.0, "median": 1.0} for name in ("plan", "boost")}
    plain = RegressionTask("dose", "dose", ("plan", "boost"), "Gy")
    both = of_structures(moments=0.5, dvh=3.0)
    for task in (plain, both):
        task.fit(statistics)
    expected = float(plain.loss(output, target, present, None))
    for channel, there in ((0, [(0, 0), (1, 0), (1, 1)]), (1, [(0, 0)])):
        terms = [
            plain_terms(
                output[b, channel].double().numpy(), target[b, channel].double().numpy(), masks[b, r].numpy() > 0
            )
            for b, r in there
        ]
        moments, histograms = np.mean(terms, axis=0)
        expected += (0.5 * moments + 3 * histograms) / 2
    assert float(both.loss(output, target, present, None, masks=masks, masked=masked)) == pytest.approx(expected, 1e-5)
    with pytest.raises(ValueError, match="needs the masks of PTV, Cord"):
        both.loss(output, target, present, None)


def test_moments_do_not_depend_on_the_unit():
    target, output = torch.rand(1, 1, 6, 5) * 60, torch.rand(1, 1, 6, 5)
    masks, yes = torch.ones(1, 1, 6, 5), torch.ones(1, 1, dtype=torch.bool)
    values = []
    for factor in (1, 100):
        task = RegressionTask("dose", "dose", ("dose",), moments=1.0, structures=["a"], structure_array="structures")
        task.fit({"dose": {"cases": 1, "std": 20.0 * factor, "median": 1.0}})
        values.append(task.loss(output, factor * target, yes, None, masks=masks, masked=yes))
    torch.testing.assert_close(*values)


def test_a_task_is_made_again_from_its_arguments():
    """A record holds them, so that a run can predict without its data set."""
    for task in (
        of_structures(dvh={"weight": 2.0, "step": 5}),
        SegmentationTask("organs", "structures", CLASSES, **FORM),
        ClassificationTask("f", "f", FINDINGS, exclusive=False, focal=2, class_weights={"effective_number": 0.9}),
    ):
        arguments = json.loads(json.dumps(task.arguments()))
        again = type(task)(**arguments)
        assert json.loads(json.dumps(again.arguments())) == arguments
        assert (again.masks is None) == (task.masks is None)
    masks = of_structures().masks
    assert masks is not None and (masks.array, masks.classes) == ("structures", ("PTV", "Cord"))
    assert RegressionTask("dose", "dose", ("dose",)).masks is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moments": "much"}, "moments.weight: 'much' is not accepted; give a number above 0"),
        ({"moments": 0}, "moments.weight: 0 is not accepted"),
        ({"moments": {"orders": [2]}}, "moments: it has no weight; give its weight, or a mapping of weight, orders"),
        ({"moments": {"weight": 1, "p": 2}}, "moments: there is no 'p'; give its weight"),
        ({"moments": {"weight": 1, "orders": []}}, r"moments.orders: \[\] is not accepted; give a list of numbers"),
        (
            {"moments": {"weight": 1, "orders": [0.5]}},
            "moments.orders: 0.5 is not accepted; give a number of at least 1",
        ),
        ({"dvh": {"weight": 1, "step": 0}}, "dvh.step: 0 is not accepted; give a number above 0"),
        ({"dvh": {"weight": 1, "step": 5, "highest": 2}}, "dvh.highest: 2 is below the step, 5; give a higher one"),
        ({"dvh": True}, "dvh.weight: True is not accepted"),
        ({"moments": None}, "structures: no term of the loss looks at them; give moments or dvh, or leave them out"),
        ({"structures": ()}, "structures: moments and dvh are taken within structures, and there is none; name some"),
    ],
)
def test_terms_that_are_none_are_refused(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=f"^{said}"):
        of_structures(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dice": "volume"}, "dice: 'volume' is not accepted; give batch or sample"),
        ({"tversky": 0.3}, r"tversky: 0.3 is not accepted; give \[a, b\], weights of false positives"),
        ({"tversky": [0, 0]}, r"tversky: \[0, 0\] is not accepted"),
        ({"tversky": [-1, 1]}, "tversky: -1 is not accepted; give a number of at least 0"),
        ({"focal": -1}, "focal: -1 is not accepted; give a number of at least 0"),
        ({"focal": math.nan}, "focal: nan is not accepted"),
        ({"dice_weight": 0, "cross_entropy_weight": 0}, "dice_weight and cross_entropy_weight are both 0"),
        ({"dice_weight": 0, "tversky": [0.3, 0.7]}, "tversky: does nothing where dice_weight is 0; leave one"),
        ({"dice_weight": 0, "dice": "sample"}, "dice: does nothing where dice_weight is 0; leave one"),
        ({"cross_entropy_weight": 0, "focal": 2}, "focal: does nothing where cross_entropy_weight is 0; leave one"),
        ({"exclusive": True, "threshold": 0.4}, "threshold: does nothing where classes are exclusive; leave one"),
    ],
)
def test_forms_of_the_combo_loss_that_are_none_are_refused(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=f"^{said}"):
        SegmentationTask("organs", "structures", CLASSES, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"dice_weight": 0, "focal": 2, "class_weights": "square_root"},
        {"dice_weight": 0, "dice": "batch"},
        {"cross_entropy_weight": 0, "focal": 0, "tversky": [0.3, 0.7], "dice": "sample"},
        {"exclusive": True, "threshold": 0.5},
    ],
)
def test_forms_of_the_term_that_is_there_are_taken(options: dict[str, object]):
    task = SegmentationTask("organs", "structures", CLASSES, **options)
    assert SegmentationTask(**task.arguments()).arguments() == task.arguments()


def test_class_weights_beside_dice_alone_are_where_the_outputs_begin():
    """A form of the cross-entropy that is left where that has no weight: the start, without which thin organs die."""
    started = {}
    for weights in (None, "square_root"):
        task = SegmentationTask("organs", "structures", CLASSES, cross_entropy_weight=0, class_weights=weights)
        task.fit({name: {"count": 1000, "positive": 10} for name in CLASSES})
        started[weights] = torch.tensor(task.head().bias).sigmoid()
    torch.testing.assert_close(started[None], torch.full((len(CLASSES),), 0.01))
    odds = (99**0.5) / 99  # p w / (1 - p), w = sqrt((1 - p) / p)
    torch.testing.assert_close(started["square_root"], torch.full((len(CLASSES),), odds / (1 + odds)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"focal": "high"}, "focal: 'high' is not accepted; give a number of at least 0"),
        (
            {"class_weights": {"effective_number": 1}},
            "class_weights.effective_number: 1 is not accepted; give a number",
        ),
        *(
            ({"class_weights": weights}, r"class_weights: .*; give balanced, or 3 positive numbers, or \{effective")
            for weights in ({"beta": 0.9}, [1, 2], [1, 2, "3"], [1, 2, True], [1, 2, math.inf], [1, 2, 0], "1, 2, 3")
        ),
    ],
)
def test_options_of_a_classification_that_are_none_are_refused(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=f"^{said}"):
        ClassificationTask("f", "f", FINDINGS, exclusive=False, **options)


def test_focal_loss_and_weights_ask_more_of_what_is_missed():
    """An easy sample loses weight, a hard one hardly any; weights shift the balance between classes."""
    output = torch.tensor([[4.0], [-1.0]]).requires_grad_()
    target, yes = torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool)
    shares = []
    for focal in (0, 2):
        task = ClassificationTask("f", "f", ("a",), exclusive=False, focal=focal)
        (gradient,) = torch.autograd.grad(task.loss(output, target, yes, None), output)
        shares.append(float(gradient[0] / gradient[1]))
    assert 0 < shares[1] < 0.01 * shares[0]
    assert shares[0] == pytest.approx(float(torch.tensor(-4.0).sigmoid() / torch.tensor(1.0).sigmoid()), rel=1e-5)
