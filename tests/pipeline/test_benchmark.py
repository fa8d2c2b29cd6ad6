"""What a benchmark hands on to its comparison."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from crosstask.pipeline.facts import _test_to_train


def context(*, by_seed: bool) -> Any:
    cases = {"train": ["a"] * 8, "validation": ["v"], "test": ["t"] * 2}
    splits = {0: cases, 1: {**cases, "test": ["t"] * 4}}
    dataset = SimpleNamespace(splits=SimpleNamespace(by_seed=by_seed))
    evaluation = SimpleNamespace(split="test")
    return SimpleNamespace(experiment=SimpleNamespace(dataset=dataset, evaluation=evaluation), splits=splits)


def test_splits_by_seed_tell_how_many_test_cases_there_are_for_one_of_training():
    assert _test_to_train(context(by_seed=True)) == pytest.approx((2 / 8 + 4 / 8) / 2)
    assert math.isnan(_test_to_train(context(by_seed=False)))
