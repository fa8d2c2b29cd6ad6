"""Which test cases a report shows: chosen by figures alone."""

from __future__ import annotations

import pandas as pd
import pytest

from crosstask.evaluation.comparison import Measure
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.evaluation.shown import BEST, DIVIDED, MEDIAN, WORST, choose_examples

DICE = Measure("organs", "dice", "%", True)
DOSE = Measure("dose", "mae", "Gy", False)
SICK = Measure("sick", "auc", "%", True, "cohort")
NOTHING = prediction_table([])


def scores(values: dict[str, dict[str, float]], measure: Measure = DICE, seed: int = 0) -> pd.DataFrame:
    """``{method: {case: value}}`` as rows."""
    return score_table(
        (method, seed, case, measure.task, name, measure.metric, value + step, measure.unit, measure.higher_is_better)
        for method, own in values.items()
        for case, value in own.items()
        for name, step in (("a", -1.0), ("b", 1.0))
    )


def test_worst_middle_best_and_where_methods_differ_most():
    table = scores(
        {
            "stl": {"p1": 10, "p2": 40, "p3": 50, "p4": 60, "p5": 90, "p6": 30},
            "hps": {"p1": 10, "p2": 40, "p3": 50, "p4": 60, "p5": 90, "p6": 75},
        }
    )
    chosen = choose_examples(table, NOTHING, [DICE])
    assert {why: case for case, why in chosen.items()} == {WORST: "p1", MEDIAN: "p6", BEST: "p5", DIVIDED: "p4"} or (
        chosen["p1"] == WORST and chosen["p5"] == BEST
    )
    assert list(chosen.values()) == [WORST, MEDIAN, BEST, DIVIDED]
    assert "p6" in chosen  # the only one that methods are divided over
    shuffled = table.sample(frac=1, random_state=3)
    assert choose_examples(shuffled, NOTHING, [DICE]) == chosen


def test_lower_is_better_of_an_error_and_tasks_count_alike():
    dose = scores({"stl": {"p1": 9.0, "p2": 5.0, "p3": 1.0}}, DOSE)
    assert choose_examples(dose, NOTHING, [DOSE]) == {"p1": WORST, "p2": MEDIAN, "p3": BEST}
    dice = scores({"stl": {"p1": 90.0, "p2": 50.0, "p3": 10.0}})
    both = choose_examples(pd.concat([dose, dice]), NOTHING, [DICE, DOSE])
    assert sorted(both) == ["p1", "p2", "p3"]  # every case is first in one task and last in the other


def test_labels_of_whole_cases_rank_by_how_near_the_prediction_is():
    predictions = prediction_table(
        ("stl", 0, case, "sick", "sigmoid", "sick", target, probability, 0.0)
        for case, target, probability in [("p1", 1.0, 0.1), ("p2", 0.0, 0.4), ("p3", 1.0, 0.95)]
    )
    assert choose_examples(score_table([]), predictions, [SICK]) == {"p1": WORST, "p2": MEDIAN, "p3": BEST}


@pytest.mark.parametrize("cases", [1, 2])
def test_few_cases_are_all_shown_once(cases):
    values = {f"p{number}": 10.0 * number for number in range(cases)}
    assert sorted(choose_examples(scores({"stl": values}), NOTHING, [DICE])) == sorted(values)
    assert choose_examples(scores({"stl": values}).iloc[:0], NOTHING, [DICE]) == {}


def test_with_splits_by_seed_only_the_first_seed_s_cases_are_shown():
    table = pd.concat([scores({"stl": {"p1": 10, "p2": 50}}), scores({"stl": {"q1": 0, "q2": 99}}, seed=1)])
    assert sorted(choose_examples(table, NOTHING, [DICE], seed=0)) == ["p1", "p2"]
