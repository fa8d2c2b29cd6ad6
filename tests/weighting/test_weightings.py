"""Weightings over the epochs of a run: DWA against torchjd's, resume, missing labels, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchjd.scalarization import DWA

from crosstask.errors import InputError
from crosstask.weighting import (
    WEIGHTINGS,
    DynamicWeightAverage,
    EpochWeighting,
    Equal,
    Fixed,
    Weighting,
    build_weighting,
)

TASKS = ("organs", "dose", "covid")
OPTIONS = {"fixed": {"weights": {"organs": 1.0, "dose": 0.5, "covid": 2.0}}}

EPOCHWISE = [name for name, kind in WEIGHTINGS.items() if issubclass(kind, EpochWeighting)]

epoch_losses = st.fixed_dictionaries(
    {task: st.one_of(st.floats(1e-3, 1e3), st.just(math.nan)) for task in TASKS},
)


LABELS = {
    "organs": np.array([0, 0, 0, 0, 1, 1, 1, 1], float),
    "dose": np.array([0, 0, 0, 1, 2, 2, 2, 2], float),
    "covid": np.array([9, 8, 7, 6, 5, 4, 3, 2], float),
}


def build(name: str) -> Weighting:
    weighting = build_weighting(name, TASKS, **OPTIONS.get(name, {}))
    if weighting.needs_labels:
        weighting.fit("organs", LABELS)
    return weighting


def history(epochs: int, seed: int = 0) -> list[dict[str, float]]:
    values = torch.rand((epochs, len(TASKS)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [dict(zip(TASKS, (row + 0.1).tolist(), strict=True)) for row in values]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_dwa_equals_torchjd_over_a_run(temperature: float):
    ours = DynamicWeightAverage(TASKS, temperature=temperature)
    oracle = DWA(temperature=temperature)
    generator = torch.Generator().manual_seed(3)
    seen = []
    for epoch in range(7):
        batches = torch.rand((5, len(TASKS)), generator=generator, dtype=torch.float64) + 1 / (epoch + 1)
        weights = torch.tensor([ours.weights()[task] for task in TASKS], dtype=torch.float64)
        for batch in batches:
            torch.testing.assert_close((weights * batch).sum(), oracle(batch))
        oracle.step()
        ours.end_epoch(dict(zip(TASKS, batches.mean(0).tolist(), strict=True)))
        seen.append(weights)
    assert torch.equal(seen[0], torch.ones(3, dtype=torch.float64))
    assert torch.equal(seen[1], torch.ones(3, dtype=torch.float64))
    assert not torch.equal(seen[2], seen[3])


@pytest.mark.parametrize("name", EPOCHWISE)
@pytest.mark.parametrize("stop", range(6))
def test_a_resumed_run_goes_on_as_an_unbroken_one(name: str, stop: int):
    epochs = history(6)
    unbroken = build(name)
    for losses in epochs[:stop]:
        unbroken.end_epoch(losses)
    resumed = build(name)
    resumed.load_state_dict(json.loads(json.dumps(unbroken.state_dict())))
    for losses in epochs[stop:]:
        assert resumed.weights() == unbroken.weights()
        resumed.end_epoch(losses)
        unbroken.end_epoch(losses)
    assert resumed.weights() == unbroken.weights()


def test_a_state_is_a_copy():
    weighting = DynamicWeightAverage(TASKS)
    weighting.end_epoch(history(1)[0])
    state = weighting.state_dict()
    other = DynamicWeightAverage(TASKS)
    other.load_state_dict(state)
    for losses in history(3, seed=1):
        other.end_epoch(losses)
    assert weighting.state_dict() == state


@pytest.mark.parametrize("name", EPOCHWISE)
@settings(max_examples=25, deadline=None)
@given(epochs=st.lists(epoch_losses, max_size=6))
def test_weights_are_finite_and_named_after_the_tasks_whatever_is_missing(name, epochs):
    weighting = build(name)
    for losses in epochs:
        weighting.end_epoch(losses)
        weights = weighting.weights()
        assert list(weights) == list(TASKS)
        assert all(type(weight) is float and math.isfinite(weight) and weight >= 0 for weight in weights.values())
        if name == "dwa":
            assert sum(weights.values()) == pytest.approx(len(TASKS))


@pytest.mark.parametrize("missing", ["nan", "absent"])
def test_an_epoch_without_labels_keeps_the_history(missing: str):
    first, second, third = history(3)
    with_gap, without = DynamicWeightAverage(TASKS), DynamicWeightAverage(TASKS)
    for losses in (first, second):
        with_gap.end_epoch(losses)
        without.end_epoch(losses)
    gap = {task: math.nan for task in TASKS} if missing == "nan" else {}
    with_gap.end_epoch(gap)
    assert with_gap.weights() == without.weights()
    with_gap.end_epoch(third)
    without.end_epoch(third)
    assert with_gap.weights() == without.weights()


def test_one_task_without_labels_keeps_its_own_rate():
    first, second, third = history(3)
    weighting, oracle = DynamicWeightAverage(TASKS), DWA()
    for losses in (first, second, {**third, "dose": math.nan}):
        weighting.end_epoch(losses)
    for losses in ({**second, "dose": first["dose"]}, {**third, "dose": second["dose"]}):
        oracle(torch.tensor([losses[task] for task in TASKS], dtype=torch.float64))
        oracle.step()
    values = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(oracle(values), values)
    torch.testing.assert_close(torch.tensor(list(weighting.weights().values()), dtype=torch.float64), expected)


def test_a_task_that_never_had_labels_stands_still():
    weighting = DynamicWeightAverage(("a", "b"))
    for loss in (2.0, 1.0):
        weighting.end_epoch({"a": loss, "b": math.nan})
    first, second = math.exp(0.5 / 2), math.exp(1 / 2)
    assert weighting.weights()["a"] == pytest.approx(2 * first / (first + second))


def test_one_task_always_has_weight_one():
    weighting = DynamicWeightAverage(("dose",))
    for loss in (5.0, 1.0, 7.0):
        weighting.end_epoch({"dose": loss})
        assert weighting.weights() == {"dose": 1.0}


def test_equal_and_fixed_do_not_move():
    equal, fixed = Equal(TASKS), build("fixed")
    for losses in history(3):
        equal.end_epoch(losses)
        fixed.end_epoch(losses)
    assert equal.weights() == dict.fromkeys(TASKS, 1.0)
    assert fixed.weights() == OPTIONS["fixed"]["weights"]


def test_fixed_takes_its_own_tasks_out_of_more_and_gives_a_copy():
    fixed = Fixed(("dose",), weights=OPTIONS["fixed"]["weights"])
    fixed.weights()["dose"] = 9.0
    assert fixed.weights() == {"dose": 0.5}


def test_the_table_builds_every_weighting_with_its_options():
    for name, kind in WEIGHTINGS.items():
        weighting = build(name)
        assert type(weighting) is kind
        assert weighting.tasks == TASKS
    assert build_weighting("dwa", TASKS, temperature=5.0).temperature == 5.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("grdnorm", {}, r"weighting\.name: 'grdnorm' is not known; did you mean 'gradnorm'"),
        ("equal", {"temperature": 2.0}, r"weighting: equal has no option 'temperature'; options: none"),
        ("fixed", {}, r"weighting\.weights: is missing; 'fixed' needs it"),
        ("fixed", {"weights": {"organs": 1, "dose": 1}}, r"weighting\.weights: no weight for task 'covid'"),
        ("fixed", {"weights": {"organs": 1, "dose": -1, "covid": 1}}, r"weighting\.weights\.dose: -1.*give 0 or more"),
        ("fixed", {"weights": {"organs": math.nan, "dose": 1, "covid": 1}}, r"weighting\.weights: .*finite"),
        ("dwa", {"temperature": 0.0}, r"weighting\.temperature: 0\.0 is not positive"),
        ("dwa", {"temperature": math.nan}, r"weighting\.temperature: nan is not accepted"),
        ("spearman", {"m": 0.0}, r"weighting\.m: 0\.0 is no share .*give more than 0 and at most 1"),
        ("spearman", {"m": math.nan}, r"weighting\.m: nan is not accepted"),
        ("spearman", {"significance": 1.5}, r"weighting\.significance: 1\.5 is no level of p-values"),
        (
            "spearman",
            {"negative": "squared"},
            r"weighting\.negative: 'squared' is not accepted.*'absolute' or 'leave_out'",
        ),
    ],
)
def test_what_cannot_be_used_is_named(name: str, options: dict, message: str):
    with pytest.raises(InputError, match=message) as error:
        build_weighting(name, TASKS, **options)
    assert "\n" not in str(error.value)
