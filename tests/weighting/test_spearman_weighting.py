"""The weighting by correlations: what it keeps, what it weighs, and what survives a resume."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from crosstask.weighting import Equal, Spearman, build_weighting

MAJOR = np.repeat([0.0, 1.0], 10)
LABELS = {
    "grade": np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2], float),
    "smooth": np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], float),
    "sick": MAJOR,
    "noise": np.tile([0.0, 1.0], 10),
    "empty": np.full(20, math.nan),
}
GRADE, SMOOTH = (abs(spearmanr(LABELS[name], MAJOR).statistic) for name in ("grade", "smooth"))


def fitted(**options) -> Spearman:
    weighting = Spearman(list(LABELS), **options)
    weighting.fit("sick", LABELS)
    return weighting


def test_only_related_characteristics_are_learned_in_the_given_order():
    weighting = fitted()
    assert weighting.tasks == ("grade", "smooth", "sick")
    assert weighting.weights() == pytest.approx({"grade": 0.3 * GRADE, "smooth": 0.3 * SMOOTH, "sick": 0.7})
    assert list(weighting.weights()) == ["grade", "smooth", "sick"]
    assert [(found.name, found.kept) for found in weighting.characteristics] == [
        ("grade", True),
        ("smooth", True),
        ("noise", False),
        ("empty", False),
    ]


def test_options_change_the_choice():
    assert fitted(m=0.5).weights()["sick"] == 0.5
    assert fitted(negative="leave_out").tasks == ("grade", "sick")
    assert fitted(significance=1e-9).tasks == ("sick",)
    assert "noise" not in fitted(significance=0.9999).tasks  # p is 1


def test_the_major_task_alone_weighs_one():
    alone = Spearman(["sick"])
    alone.fit("sick", {})
    assert alone.weights() == fitted(significance=1e-9).weights() == {"sick": 1.0}
    assert alone.characteristics == ()


def test_a_resume_keeps_the_choice():
    state = json.loads(json.dumps(fitted().state_dict()))
    other = Spearman(list(LABELS))
    other.load_state_dict(state)
    assert (other.weights(), other.tasks) == (fitted().weights(), fitted().tasks)


def test_weights_without_labels_are_a_mistake():
    with pytest.raises(RuntimeError, match="call fit first"):
        Spearman(["sick"]).weights()


@pytest.mark.parametrize("name", ["equal", "dwa"])
def test_other_weightings_keep_all_tasks(name: str):
    weighting = build_weighting(name, list(LABELS))
    weighting.fit("sick", LABELS)
    assert weighting.tasks == tuple(LABELS)
    assert not Equal.needs_labels and Spearman.needs_labels
