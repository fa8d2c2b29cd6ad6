"""What runs found of each characteristic, collected and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crosstask.errors import InputError
from crosstask.evaluation.characteristics import COLUMNS, collect_characteristics
from crosstask.functional.spearman import Characteristic
from crosstask.methods import get_method
from crosstask.report.characteristics import characteristics_table, write_characteristics
from crosstask.runs import CHARACTERISTICS, RunSpec
from crosstask.store import Store, prepare
from crosstask.tasks import ClassificationTask, SegmentationTask
from crosstask.training.characteristics import check_ordered, levels_of
from crosstask.training.characteristics import write_characteristics as write_of_run
from run_fakes import KINDS, Pictures, fake_experiment

KEPT = Characteristic("lobulation", 0.36, 0.0004, 80, 0.36)
AGAINST = Characteristic("margin", -0.2, 0.03, 79, 0.2)
LEFT = Characteristic("texture", 0.09, 0.3, 80, 0.0, "p is not below 0.05")
NONE = Characteristic("NA", float("nan"), float("nan"), 2, 0.0, "only 2 cases have both labels")


@pytest.fixture
def plans(tmp_path: Path):
    def make(*tables: tuple[str, int, list[Characteristic]], variants: tuple[str, ...] = ("",)) -> list[RunSpec]:
        experiment = fake_experiment(tmp_path / "raw", tmp_path / "results")
        for variant, seed, table in tables:
            plan = RunSpec(experiment, get_method("hps"), seed, ("kind", "age"), variant)
            plan.folder.mkdir(parents=True)
            write_of_run(plan.folder / CHARACTERISTICS, table)
        seeds = dict.fromkeys(seed for _, seed, _ in tables) or {0: None}
        return [
            RunSpec(experiment, get_method(name), seed, ("kind", "age"), variant)
            for seed in seeds
            for variant in variants
            for name in ("stl", "hps")
        ]

    return make


def test_a_table_of_one_split_is_that_of_the_paper(plans):
    table = collect_characteristics(plans(("", 0, [KEPT, AGAINST, LEFT, NONE])))
    assert tuple(table.columns) == COLUMNS
    titles, rows = characteristics_table(table)
    assert titles == ["Characteristic", "Spearman's r", "p", "Cases", "Kept", "w", "Left out"]
    assert rows == [
        ["lobulation", "+0.36", "< 0.001", "80", "yes", "0.36", ""],
        ["margin", "-0.20", "0.030", "79", "yes", "0.20", ""],
        ["texture", "+0.09", "0.30", "80", "no", "0.00", "p is not below 0.05"],
        ["NA", "", "", "2", "no", "0.00", "only 2 cases have both labels"],
    ]


def test_seeds_with_the_same_training_cases_are_one(plans):
    once = characteristics_table(collect_characteristics(plans(("", 0, [KEPT, NONE]), ("", 1, [KEPT, NONE]))))
    assert once[1][0] == ["lobulation", "+0.36", "< 0.001", "80", "yes", "0.36", ""]


def test_splits_by_seed_show_means_and_ranges(plans):
    other = Characteristic("texture", 0.29, 0.01, 84, 0.29)
    _, rows = characteristics_table(collect_characteristics(plans(("", 0, [LEFT]), ("", 1, [other]))))
    assert rows == [
        [
            "texture",
            "+0.19 [+0.09, +0.29]",
            "0.010 to 0.30",
            "80 to 84",
            "1 of 2 seeds",
            "0.14 [0.00, 0.29]",
            "p is not below 0.05",
        ]
    ]


@pytest.mark.parametrize("alike", [True, False])
def test_variants_stand_apart_only_if_they_differ(plans, alike):
    second = [KEPT] if alike else [LEFT]
    table = collect_characteristics(plans(("TL", 0, [KEPT]), ("RI", 0, second), variants=("TL", "RI")))
    titles, rows = characteristics_table(table)
    if alike:
        assert "Variants" not in titles and len(rows) == 1
    else:
        assert [(row[0], row[1]) for row in rows] == [("TL", "lobulation"), ("RI", "texture")]


def test_nothing_where_nothing_was_chosen(plans):
    assert collect_characteristics(plans()).empty


def test_the_csv_holds_every_figure_unrounded(plans, tmp_path):
    exact = Characteristic("sign", 1 / 3, 1e-9 / 7, 41, 1 / 3)
    write_characteristics(collect_characteristics(plans(("", 4, [exact]))), "sick", tmp_path)
    (row,) = pd.read_csv(tmp_path / "characteristics.csv", float_precision="round_trip").to_dict("records")
    assert (row["rho"], row["p"], row["seed"], row["kept"]) == (1 / 3, 1e-9 / 7, 4, 1)
    assert "correlation with sick" in (tmp_path / "characteristics.md").read_text(encoding="utf-8")


def test_a_damaged_table_is_named(plans):
    made = plans(("", 0, [KEPT]))
    path = made[1].folder / CHARACTERISTICS
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is damaged; remove the folder") as error:
        collect_characteristics(made)
    assert str(path) in str(error.value)


# Labels as ranks need them


def test_levels_are_places_in_the_list_values_and_signs(tmp_path):
    fake_experiment(tmp_path / "raw", tmp_path / "results")
    pictures = Pictures(tmp_path / "raw")
    prepare(pictures, tmp_path / "store", workers=1)
    tasks = [
        pictures.task("kind"),
        ClassificationTask("shade", "kind", KINDS[1:], exclusive=True),
        ClassificationTask("lines", "signs", ("lines",), exclusive=False),
        pictures.task("age"),
    ]
    check_ordered(tasks, "spearman")
    cases = [f"c{index}" for index in (7, 4, 5, 6, 0)]
    found = levels_of(Store(tmp_path / "store"), cases, tasks)
    nan = np.nan
    np.testing.assert_array_equal(found["kind"], [1, nan, 2, 0, 0])
    np.testing.assert_array_equal(found["shade"], [0, nan, 1, nan, nan])  # red is neither of its classes
    np.testing.assert_array_equal(found["lines"], [0, 0, nan, 0, 1])
    np.testing.assert_array_equal(found["age"], [45, 30, 35, nan, 10])


def test_masks_and_several_findings_have_no_rank():
    with pytest.raises(InputError, match="task 'lesion' is at pixel level; take the task out"):
        check_ordered([SegmentationTask("lesion", "lesion", ["lesion"])], "spearman")
    with pytest.raises(InputError, match=r"task 'signs' has 2 \(a, b\); give each a task of its own"):
        check_ordered([ClassificationTask("signs", "signs", ("a", "b"), exclusive=False)], "spearman")
