"""Scores of any origin become the project's long table; what is wrong is told by file, row and column."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crosstask.errors import InputError
from crosstask.evaluation.cells import score_cells
from crosstask.evaluation.foreign import Scores, clean_scores, known_baseline, read_tables
from crosstask.evaluation.foreign.cells import texts
from crosstask.evaluation.predictions import prediction_table, write_predictions
from crosstask.evaluation.scores import COLUMNS, read_scores, score_table, write_scores
from crosstask.evaluation.scores_compare import compare, compare_scores
from foreign_fakes import long_table, nnunet_folds, nnunet_summary


def fault(frame: pd.DataFrame, **options) -> str:
    with pytest.raises(InputError) as error:
        clean_scores(frame, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def file_fault(*tables: object, **options) -> str:
    with pytest.raises(InputError) as error:
        read_tables([str(table) for table in tables], **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def saved(frame: pd.DataFrame, path: Path, **options) -> Path:
    frame.to_csv(path, index=False, **options)
    return path


def values(scores: Scores) -> dict[tuple, float]:
    keys = ["method", "seed", "case", "task", "class", "metric"]
    return {tuple(row[key] for key in keys): row["value"] for row in scores.table.to_dict("records")}


class TestWhole:
    def test_a_clean_table_comes_back_as_it_was(self):
        frame = long_table()
        scores = clean_scores(frame)
        assert tuple(scores.table.columns) == (*COLUMNS, "group")
        assert scores.table["value"].tolist() == frame["value"].tolist()
        assert scores.table["higher_is_better"].tolist() == frame["higher_is_better"].tolist()
        assert set(scores.table["class"]) == set(scores.table["unit"]) == {""}
        assert [(one.task, one.metric, one.higher_is_better, one.of) for one in scores.measures] == [
            ("organs", "dice", True, "case"),
            ("dose", "mae", False, "case"),
        ]
        assert scores.groups == {f"case{number}": f"case{number}" for number in range(6)}
        assert (scores.by_seed, scores.remarks, scores.methods) == (False, (), ("stl", "mtl"))

    @pytest.mark.parametrize("kind", ["csv", "semicolon", "tab", "utf16", "bom", "xlsx", "parquet", "tsv"])
    def test_every_format_gives_the_same_scores(self, tmp_path, kind):
        frame, path = long_table(), tmp_path / f"t.{kind if kind in ('xlsx', 'parquet', 'tsv') else 'csv'}"
        if kind == "xlsx":
            frame.to_excel(path, index=False)
        elif kind == "parquet":
            frame.to_parquet(path)
        else:
            separator = {"semicolon": ";", "tab": "\t", "tsv": "\t", "utf16": "\t"}.get(kind, ",")
            encoding = {"utf16": "utf-16", "bom": "utf-8-sig"}.get(kind, "utf-8")
            saved(frame, path, sep=separator, encoding=encoding)
        assert values(read_tables([path])) == values(clean_scores(frame))

    def test_cells_pass_the_checks_of_a_benchmark(self):
        frame = long_table()
        table = clean_scores(frame).table
        cells = score_cells(table, "organs", "dice", ["stl", "mtl"], by_seed=False)
        assert cells.to_numpy().size == 36 and np.isfinite(cells.to_numpy()).all()

    def test_other_types_are_the_same_text(self):
        frame = long_table()
        typed = frame.assign(
            seed=frame["seed"].astype(float),
            case=frame["case"].str[4:].astype(float),
            task=frame["task"].astype("category"),
            higher_is_better=frame["higher_is_better"].map({True: "Yes", False: "lower"}),
            value=frame["value"].astype(str),
        )
        scores = clean_scores(typed)
        assert set(scores.table["case"]) == set("012345")
        assert scores.table["seed"].tolist() == frame["seed"].tolist()
        assert scores.table["value"].tolist() == frame["value"].tolist()
        assert scores.table["higher_is_better"].tolist() == frame["higher_is_better"].tolist()

    def test_no_row(self):
        assert "has no row" in fault(long_table().iloc[:0])


class TestColumns:
    def test_near_names_are_proposed_and_taken_when_told(self):
        frame = long_table().rename(columns={"method": "methods", "seed": "fold"})
        said = fault(frame)
        assert "no columns 'method', 'seed'" in said
        assert "--column method=methods" in said and "--column seed=fold" in said
        told = clean_scores(frame, columns={"method": "methods", "seed": "fold"})
        assert values(told) == values(clean_scores(long_table()))

    @pytest.mark.parametrize(
        ("column", "other"),
        [("case", "patient"), ("value", "score"), ("metric", "measure"), ("method", "model"), ("seed", "sed")],
    )
    def test_what_others_call_them(self, column, other):
        assert f"--column {column}={other}" in fault(long_table().rename(columns={column: other}))

    def test_case_and_spaces_are_no_other_name_and_said(self):
        scores = clean_scores(
            long_table().rename(columns={"method": "Method ", "higher_is_better": "Higher is better"})
        )
        assert values(scores) == values(clean_scores(long_table()))
        assert scores.remarks == (
            "taken for the columns meant: 'Method ' as 'method', 'Higher is better' as 'higher_is_better'.",
        )

    def test_two_that_could_be_meant(self):
        frame = long_table().rename(columns={"method": "Method"})
        assert "'Method' and 'METHOD' could both be 'method'" in fault(frame.assign(METHOD="x"))

    def test_columns_told_that_are_not_there(self, tmp_path):
        path = saved(long_table(), tmp_path / "t.csv")
        assert "no table has a column 'fold'" in file_fault(path, columns={"seed": "fold"})
        assert "there is no 'seeds' to be told" in fault(long_table(), columns={"seeds": "seed"})

    def test_what_is_not_used_is_said_with_what_groups_it_may_hold(self):
        remarks = clean_scores(long_table().assign(patient_id="p", note="x")).remarks
        assert remarks == (
            "not used: patient_id, note. If cases of one patient_id belong together, say so: --column "
            "group=patient_id.",
        )

    def test_a_column_for_each_metric_is_told_with_the_melt_that_works(self):
        frame = long_table()
        wide = frame.pivot(index=["method", "seed", "case"], columns="metric", values="value").reset_index()
        said = fault(wide.rename_axis(columns=None))
        melt = re.search(r"table\.melt\(.*?\)", said)
        assert melt is not None and "add a column 'task'" in said
        long = eval(melt[0], {"table": wide})  # the advice itself
        long = long.assign(task=long["metric"].map({"dice": "organs", "mae": "dose"}))
        scores = clean_scores(long, better={"dice": "higher", "mae": "lower"})
        assert values(scores) == values(clean_scores(frame))

    def test_means_are_no_scores_of_cases(self):
        frame = long_table()
        means = frame.groupby(["method", "seed", "task", "metric", "higher_is_better"])["value"].mean().reset_index()
        assert "values of single cases are needed" in fault(means)
        assert "every row has 'all'" in fault(means.assign(case="all"))


class TestValues:
    @pytest.mark.parametrize(
        ("cell", "advice"),
        [
            ("0,85", "write '0.85'"),
            ("85 %", "column 'unit'"),
            ("0.85 ± 0.02", "0.85 alone is a number"),
            ("x", "write"),
        ],
    )
    def test_what_is_no_number_is_told_by_file_row_and_column(self, tmp_path, cell, advice):
        frame = long_table().astype({"value": object})
        frame.loc[5, "value"] = cell
        said = file_fault(saved(frame, tmp_path / "t.csv", sep=";"))
        assert said.startswith(f"{tmp_path / 't.csv'}, row 7, column 'value': {cell!r} is no number")
        assert advice in said

    @pytest.mark.parametrize("cell", ["n/a", "", "NaN", "-", "inf"])
    def test_a_value_that_one_run_lacks_is_refused(self, tmp_path, cell):
        frame = long_table().astype({"value": object})
        frame.loc[4, "value"] = cell
        said = file_fault(saved(frame, tmp_path / "t.csv"))
        assert "row 6, column 'value': dice of case case2, method 'stl', is empty or no number" in said

    def test_a_value_that_every_run_lacks_is_left_out_and_said(self):
        frame = long_table()
        frame.loc[(frame["case"] == "case2") & (frame["metric"] == "dice"), "value"] = np.nan
        scores = clean_scores(frame)
        assert len(scores.table) == len(frame) - 6
        assert scores.remarks == ("Left out: 6 values that are no numbers, of cells for which no run has one.",)

    def test_no_value_at_all(self):
        assert "row 0, column 'value': no row has a number" in fault(long_table().assign(value=np.nan))

    def test_metrics_that_do_not_judge_may_lack_values(self):
        other = long_table().query("metric == 'dice'").assign(metric="hd95", higher_is_better=False)
        other.iloc[0, other.columns.get_loc("value")] = np.nan
        frame = pd.concat([long_table(), other], ignore_index=True)
        assert any("metrics that do not judge (hd95)" in remark for remark in clean_scores(frame).remarks)
        assert "is empty or no number" in fault(frame, metrics={"organs": "hd95"})

    def test_directions(self):
        frame = long_table().astype({"higher_is_better": object})
        frame.loc[6, "higher_is_better"] = "no"
        assert "rows 0 and 6, column 'higher_is_better': dice of task 'organs' has True and False" in fault(frame)
        frame.loc[6, "higher_is_better"] = "good"
        assert "row 6, column 'higher_is_better': 'good' is neither true nor false" in fault(frame)
        frame.loc[6, "higher_is_better"] = ""
        assert "row 6, column 'higher_is_better': is empty" in fault(frame)

    def test_directions_told_beside_the_table(self):
        frame = long_table().drop(columns="higher_is_better")
        assert "--better dice=higher" in fault(frame)
        told = clean_scores(frame, better={"dice": "higher", "mae": "lower"})
        assert values(told) == values(clean_scores(long_table()))
        assert [measure.higher_is_better for measure in told.measures] == [True, False]
        assert "'up' is not accepted" in fault(frame, better={"dice": "up"})
        assert "there is no such metric" in fault(frame, better={"dica": "higher"})
        assert "lower is better by the command line" in fault(long_table(), better={"dice": "lower"})

    def test_a_fraction_beside_percent(self):
        frame = long_table()
        frame.loc[(frame["method"] == "mtl") & (frame["metric"] == "dice"), "value"] *= 100
        assert "is the one a fraction, the other percent?" in fault(frame)
        assert clean_scores(frame.assign(unit="%")).measures[0].unit == "%"
        units = np.where(frame["method"] == "mtl", "%", "")
        assert "column 'unit': dice of task 'organs' has" in fault(frame.assign(unit=units))


class TestCells:
    def test_copies(self, tmp_path):
        frame = long_table()
        copies = clean_scores(pd.concat([frame, frame.head(3)], ignore_index=True))
        assert len(copies.table) == len(frame)
        assert copies.remarks == ("3 values are there twice, and equal: each counts once.",)
        one, other = saved(frame, tmp_path / "a.csv"), saved(frame.assign(value=0.5), tmp_path / "b.csv")
        said = file_fault(one, other)
        assert said.startswith(f"{one}, row 2 and {other}, row 2: dice of case case0 of task 'organs', method 'stl'")
        assert "(72 such cells)" in said
        twice = pd.concat([frame.assign(organ="a"), frame.assign(organ="b", value=0.4)], ignore_index=True)
        assert "--column class=organ" in fault(twice)
        assert set(clean_scores(twice, columns={"class": "organ"}).table["class"]) == {"a", "b"}

    def test_seeds_of_any_label_are_numbered_in_order(self):
        frame = long_table(seeds=["fold_10", "fold_2", "fold_1"])
        scores = clean_scores(frame)
        assert scores.table["seed"].drop_duplicates().tolist() == [2, 1, 0]
        assert "'fold_1' is 0, 'fold_2' is 1, 'fold_10' is 2" in scores.remarks[0]

    def test_seeds_that_are_no_small_integers(self):
        scores = clean_scores(long_table(seeds=["9" * 25, "\u00b2", "x"]))
        assert set(scores.table["seed"]) == {0, 1, 2}
        assert clean_scores(long_table(seeds=["3.0", "7"])).table["seed"].unique().tolist() == [3, 7]

    def test_methods_may_have_other_seeds_and_numbers_of_them(self):
        stl, mtl = long_table(seeds=range(5)), long_table(seeds=(7, 8, 9))
        frame = pd.concat([stl[stl["method"] == "stl"], mtl[mtl["method"] == "mtl"]], ignore_index=True)
        scores = clean_scores(frame)
        assert not scores.by_seed
        assert scores.remarks == ("Methods have different numbers of runs: stl 5, mtl 3.",)

    @pytest.mark.parametrize("other", ["Case2", "case 2", "case02", "case2.nii.gz", "case002"])
    def test_cases_that_methods_write_differently(self, other):
        frame = long_table()
        frame.loc[(frame["method"] == "mtl") & (frame["case"] == "case2"), "case"] = other
        assert f"is 'case2' (of 'stl') the same as {other!r} (of 'mtl')?" in fault(frame)

    def test_cases_of_one_method_that_look_alike_are_two(self):
        frame = long_table()
        scores = clean_scores(frame.assign(case=frame["case"].replace("case2", "case01")))
        assert {"case1", "case01"} <= set(scores.table["case"])

    def test_names_that_differ_in_spelling_alone(self):
        frame = long_table()
        frame.loc[frame["method"] == "mtl", "metric"] = frame["metric"].str.upper()
        assert "column 'metric': 'dice' and 'DICE' differ in spelling alone" in fault(frame)

    def test_classes_of_different_tasks_may_be_spelled_alike(self):
        frame = long_table().assign(**{"class": "Lesion"})
        other = frame.assign(task="diagnosis", **{"class": "lesion"})
        scores = clean_scores(pd.concat([frame, other], ignore_index=True))
        assert set(scores.table["class"]) == {"Lesion", "lesion"}
        mixed = frame.assign(**{"class": frame["method"].map({"stl": "Lesion", "mtl": "lesion"})})
        assert "column 'class': 'Lesion' and 'lesion' differ in spelling alone" in fault(mixed)

    def test_groups(self):
        frame = long_table()
        patients = frame["case"].map(lambda case: f"p{int(case[4:]) // 2}")
        assert clean_scores(frame.assign(group=patients)).groups["case3"] == "p1"
        other = patients.copy()
        other[3] = "p9"
        assert "rows 2 and 3, column 'group': case case1 is in 'p0' and 'p9'" in fault(frame.assign(group=other))
        lacking = patients.where(frame["case"] != "case4", "")
        assert "column 'group': case case4 has none" in fault(frame.assign(group=lacking))
        of_one = patients.where(frame["method"] == "stl", "")
        assert clean_scores(frame.assign(group=of_one)).groups["case3"] == "p1"

    def test_a_cell_that_one_run_lacks(self, tmp_path):
        frame = long_table()
        gone = frame[(frame["method"] == "mtl") & (frame["seed"] == 1) & (frame["case"] == "case3")].index[0]
        said = file_fault(saved(frame.drop(gone), tmp_path / "t.csv"))
        assert "case case3 has dice in another run" in said and "t.csv, row 8" in said
        assert "none for method 'mtl', seed 1" in said

    def test_a_task_that_one_method_lacks(self):
        frame = long_table()
        frame = frame[~((frame["method"] == "mtl") & (frame["task"] == "dose"))].reset_index(drop=True)
        assert "method 'mtl' has no mae for task 'dose'" in fault(frame)
        assert [measure.task for measure in clean_scores(frame, tasks=["organs"]).measures] == ["organs"]
        assert "did you mean 'organs'?" in fault(frame, tasks=["organ"])

    def test_rows_of_means_among_cases(self):
        frame = long_table()
        mean = frame.head(1).assign(case="Mean")
        assert "row 72, column 'case': 'Mean' looks like a summary" in fault(
            pd.concat([frame, mean], ignore_index=True)
        )

    def test_the_name_of_the_mean_is_taken(self):
        assert "name it otherwise" in fault(long_table().replace({"organs": "mean"}))

    def test_metrics(self):
        other = long_table().query("metric == 'dice'").assign(metric="nsd")
        frame = pd.concat([long_table(), other], ignore_index=True)
        first = clean_scores(frame)
        assert first.measures[0].metric == "dice"
        assert first.remarks == (
            "organs is judged by dice, the first of its 2 metrics; --metric organs=METRIC takes another (nsd).",
        )
        told = clean_scores(frame, metrics={"organs": "nsd"})
        assert [(one.task, one.metric) for one in told.measures] == [("organs", "nsd"), ("dose", "mae")]
        assert told.remarks == ()
        assert "did you mean 'nsd'?" in fault(frame, metrics={"organs": "nsdd"})

    def test_every_column_that_a_row_needs(self):
        for column in ("method", "seed", "task", "metric"):
            frame = long_table().astype({column: object})
            frame.loc[3, column] = None
            assert f"row 3, column {column!r}: is empty" in fault(frame)
        frame = long_table()
        frame.loc[4, "case"] = ""
        assert "row 4, column 'case': is empty" in fault(frame)


class TestFolds:
    @staticmethod
    def folds() -> pd.DataFrame:
        frame = long_table()
        return frame.assign(case=frame["case"] + "_of_" + frame["seed"].astype(str))

    def test_seeds_with_cases_of_their_own_are_seen_and_said(self):
        scores = clean_scores(self.folds())
        assert scores.by_seed
        assert "Every seed has test cases of its own" in scores.remarks[0]

    def test_a_fold_that_lacks_a_case_or_a_method_a_fold(self):
        frame = self.folds()
        assert "has dice in another run" in fault(frame.drop(index=frame.index[40]).reset_index(drop=True))
        fewer = frame[~((frame["method"] == "mtl") & (frame["seed"] == 2))].reset_index(drop=True)
        assert "method 'mtl' has no seed 2" in fault(fewer)

    def test_folds_of_one_method_beside_the_same_cases_of_another(self):
        mixed = pd.concat([self.folds().query("method == 'stl'"), long_table().query("method == 'mtl'")])
        assert "every seed of 'stl' has test cases of its own (folds), and those of 'mtl' share theirs" in fault(
            mixed.reset_index(drop=True)
        )

    def test_seeds_that_lack_the_same_case_under_all_methods_are_no_folds(self):
        frame = long_table()
        frame = frame[~((frame["seed"] == 1) & (frame["case"] == "case0"))].reset_index(drop=True)
        assert "case case0 has dice in another run" in fault(frame)


class TestNnunet:
    def test_values_by_hand(self, tmp_path):
        stl = nnunet_summary(tmp_path / "a.json", {"c1": {"0": 0.99, "1": 0.8, "2": 0.5}, "c2": {"1": 0.6, "2": 0.7}})
        mtl = nnunet_summary(tmp_path / "b.json", {"c1": {"1": 0.9, "2": 0.6}, "c2": {"1": 0.7, "2": 0.8}})
        scores = read_tables([f"stl:0={stl}", f"nnU-Net: big:0={mtl}"])
        found = values(scores)
        assert found["stl", 0, "c1", "segmentation", "2", "Dice"] == 0.5
        assert found["nnU-Net: big", 0, "c2", "segmentation", "1", "Dice"] == 0.7
        assert found["stl", 0, "c2", "segmentation", "1", "IoU"] == pytest.approx(0.6 / 1.4)
        assert len(found) == 16  # no background, no counts of voxels

    def test_a_label_that_the_reference_lacks_counts_for_no_method(self, tmp_path):
        stl = nnunet_summary(tmp_path / "a.json", {"c1": {"1": None}}, without=["1"])
        more = nnunet_summary(tmp_path / "a2.json", {"c2": {"1": 0.6}, "c3": {"1": 0.7}})
        mtl = nnunet_summary(tmp_path / "b.json", {"c1": {"1": 0.0}}, without=["1"])
        both = nnunet_summary(tmp_path / "b2.json", {"c2": {"1": 0.8}, "c3": {"1": 0.7}})
        scores = read_tables([f"stl:0={stl}", f"stl:0={more}", f"mtl:0={mtl}", f"mtl:0={both}"])
        assert {case for _, _, case, *_ in values(scores)} == {"c2", "c3"}
        assert any("that the reference of a case lacks does not count" in remark for remark in scores.remarks)

    def test_folds_of_a_folder_are_seeds(self, tmp_path):
        folders = [nnunet_folds(tmp_path / "stl"), nnunet_folds(tmp_path / "mtl", 0.02)]
        scores = read_tables([f"stl={folders[0]}", f"mtl={folders[1]}"])
        assert scores.by_seed and set(scores.table["seed"]) == {0, 1, 2}
        (folders[1] / "fold_2" / "validation" / "summary.json").unlink()
        assert "this fold is not validated" in file_fault(f"stl={folders[0]}", f"mtl={folders[1]}")

    def test_what_is_not_said_or_is_no_summary(self, tmp_path):
        path = nnunet_summary(tmp_path / "summary.json", {"c1": {"1": 0.5}})
        assert f"write METHOD:SEED={path}" in file_fault(path)
        assert f"write stl:SEED={path}" in file_fault(f"stl={path}")
        assert "METHOD=" in file_fault(nnunet_folds(tmp_path / "stl"))
        (tmp_path / "v1.json").write_text('{"results": {"all": []}}')
        assert "nnU-Net v1" in file_fault(f"stl:0={tmp_path / 'v1.json'}")
        (tmp_path / "broken.json").write_text('{"resu')
        assert "cannot be read as JSON" in file_fault(f"stl:0={tmp_path / 'broken.json'}")
        assert "no such file" in file_fault(f"stl:0={tmp_path / 'none.json'}")


class TestResults:
    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        """Results with an AUC of all cases, a Dice of each, and two cases a patient."""
        random, rows, predicted = np.random.default_rng(1), [], []
        for method, seed in ((method, seed) for method in ("stl", "hps") for seed in (0, 1)):
            rows.append((method, seed, "", "covid", "covid", "auc", 80.0, "%", True))
            for case in range(20):
                rows.append((method, seed, f"c{case}", "lesion", "lesion", "dice", random.uniform(60, 90), "%", True))
                chance = random.uniform(0, 1)
                line = ("covid", "sigmoid", "covid", float(case % 2), chance, float(chance > 0.5))
                predicted.append((method, seed, f"c{case}", *line))
        write_scores(score_table(rows), tmp_path / "scores.csv")
        write_predictions(prediction_table(predicted), tmp_path / "predictions.csv")
        lines = [f"c{case},p{case // 2},test" for case in range(20)]
        (tmp_path / "splits.csv").write_text("\n".join(["case,group,split", *lines]) + "\n")
        return tmp_path

    @pytest.mark.parametrize("name", ["", "scores.csv"])
    def test_figures_of_all_cases_come_with_their_predictions_and_groups(self, folder, name):
        scores = read_tables([folder / name])
        assert [(one.task, one.of) for one in scores.measures] == [("covid", "cohort"), ("lesion", "case")]
        assert scores.predictions is not None and len(scores.predictions) == 80
        assert scores.groups["c3"] == "p1"

    def test_groups_are_known_where_only_predictions_name_cases(self, folder, tmp_path_factory):
        scores = read_tables([folder], tasks=["covid"])
        assert scores.groups["c3"] == scores.groups["c2"] == "p1"
        assert compare_scores(scores).rows[1].cells["covid"].groups == 10
        other = tmp_path_factory.mktemp("other") / "results"
        shutil.copytree(folder, other)
        splits = (other / "splits.csv").read_text()
        (other / "splits.csv").write_text(splits.replace("c3,p1", "c3,p2"))
        assert "has case c3 in group 'p2', another in 'p1'" in file_fault(folder, other, tasks=["covid"])

    def test_classes_count_as_in_the_benchmark_unless_it_is_told(self, folder, tmp_path_factory):
        """Of the ten patients each has a case of COVID and one without, so ten are asked for by default."""
        remark = "covid: auc is not defined, since no class has at least 11"
        (folder / "experiment.yaml").write_text("name: own\nevaluation: {least_positives: 11}\n")
        found = compare_scores(read_tables([folder]))
        assert any(
            one.startswith(remark) and one.endswith("--least-positives 1 counts them all.") for one in found.remarks
        )
        told = compare_scores(read_tables([folder], least_positives=10))
        assert not any(one.startswith(remark) for one in told.remarks)
        (folder / "experiment.yaml").write_text("name: own\n")
        assert read_tables([folder]).least_positives == 10
        other = tmp_path_factory.mktemp("other") / "results"
        shutil.copytree(folder, other)
        scores = read_scores(other / "scores.csv", remedy="").replace({"hps": "mtan"})
        write_scores(scores[scores["method"] == "mtan"], other / "scores.csv")
        (other / "experiment.yaml").write_text("evaluation: {least_positives: 3}\n")
        assert "counts classes of 10 positive cases and more" in file_fault(folder, other)
        (other / "experiment.yaml").write_text("evaluation: {least_positives: few}\n")
        assert "evaluation.least_positives is 'few'" in file_fault(other)

    def test_without_predictions_such_a_figure_is_refused(self, folder):
        (folder / "predictions.csv").unlink()
        assert "row 2, column 'case': is empty, and auc of all cases together" in file_fault(folder)
        assert [one.task for one in read_tables([folder], tasks=["lesion"]).measures] == ["lesion"]

    def test_other_folders_and_files(self, tmp_path):
        (tmp_path / "notes.docx").write_text("x")
        assert "no table of scores" in file_fault(tmp_path / "notes.docx")
        assert "holds no scores" in file_fault(tmp_path)
        assert "cannot be understood" in file_fault("=t.csv")

    def test_a_method_is_told_once(self, tmp_path):
        path = saved(long_table(), tmp_path / "t.csv")
        assert "method is 'stl' by the command line, and there is a column 'method' with 'mtl'" in file_fault(
            f"stl={path}"
        )
        for method in ("stl", "mtl"):
            saved(long_table().query("method == @method").drop(columns="method"), tmp_path / f"{method}.csv")
        told = read_tables([f"{method}={tmp_path / method}.csv" for method in ("stl", "mtl")])
        assert values(told) == values(clean_scores(long_table()))


class TestCompare:
    def test_a_baseline_of_any_name(self):
        frame = long_table(methods=("nnU-Net + TTA", "stl+x", "hps"))
        comparison = compare(frame, baseline="nnU-Net + TTA")
        assert [row.method for row in comparison.rows] == ["nnU-Net + TTA", "stl+x", "hps"]
        found = comparison.to_frame()
        assert set(found["method"]) == {"stl+x", "hps"}
        assert (found.loc[found["task"] == "mean", "verdict"] == "better").all()
        columns = "method task improvement low high p p_adjusted verdict seeds groups"
        assert set(columns.split()) <= set(found.columns)

    def test_the_improvement_by_hand(self):
        frame = long_table()
        means = frame.groupby(["method", "task"])["value"].mean()
        found = compare(frame).to_frame().set_index("task")["improvement"]
        assert found["organs"] == pytest.approx(100 * (means["mtl", "organs"] / means["stl", "organs"] - 1))
        assert found["dose"] == pytest.approx(100 * (1 - means["mtl", "dose"] / means["stl", "dose"]))
        assert found["mean"] == pytest.approx(found[["organs", "dose"]].mean())

    def test_what_cannot_be_compared(self):
        frame = long_table()
        for options, said in (
            ({"baseline": "STL"}, "did you mean 'stl'? there are stl, mtl"),
            ({"methods": ["stl"]}, "'stl' is the only method"),
            ({"level": 95}, "write 0.95"),
            ({"margin": -1}, "no margin of equivalence"),
        ):
            with pytest.raises(InputError, match=re.escape(said)):
                compare(frame, **options)
        assert known_baseline(clean_scores(frame), "mtl") == "mtl"


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        ([" a", "b", "a", "b "], None, ["a", "b", "a", "b"]),
        (["a ", "a", None], None, ["a", "a", ""]),
        (["x", pd.NA, "x "], "string", ["x", "", "x"]),
        ([True, 1, 1.0, "1", 1.5, None], object, ["True", "1", "1.0", "1", "1.5", ""]),
        ([3, 1, 3], None, ["3", "1", "3"]),
        ([3, None, 3], "Int64", ["3", "", "3"]),
        ([3, math.nan, 0.5], None, ["3", "", "0.5"]),
        (["x", "y ", "x"], "category", ["x", "y", "x"]),
        ([True, False, True], None, ["True", "False", "True"]),
        ([], object, []),
    ],
)
def test_cells_are_text_whatever_they_were(cells: list[object], kind: object, expected: list[str]) -> None:
    index = [7 + 2 * place for place in range(len(cells))]
    told = texts(pd.Series(cells, index, dtype=kind))
    assert list(told) == expected
    assert list(told.index) == index
