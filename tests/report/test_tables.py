"""Tables of a comparison as text, Markdown, LaTeX and CSV: well-formed, and with the right figures."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.evaluation.average import average
from crosstask.evaluation.comparison import Cell, Comparison, compare
from crosstask.evaluation.scores import score_table
from crosstask.methods import label_of
from crosstask.report.forms import as_text
from crosstask.report.joint import write_joint_table
from crosstask.report.tables import (
    CONSTANT_LABEL,
    all_metrics,
    body,
    comparison_table,
    csv_table,
    floor_of,
    header,
    latex_table,
    markdown_table,
    text_table,
)

DICE = ("organs", "c", "dice", "%", True)
MAE = ("dose", "d", "mae", "Gy", False)

FILES = ("table.csv", "table.md", "table.tex", "table.txt", "verdict.csv")

words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
grids = st.integers(2, 5).flatmap(
    lambda n: st.tuples(
        st.lists(words, min_size=n, max_size=n), st.lists(st.lists(words, min_size=n, max_size=n), max_size=4)
    )
)


def scores(stl_dice: float = 80.0, seeds: int = 2) -> list[tuple[object, ...]]:
    values = {"stl": (stl_dice, 0.5), "hps": (84.0, 0.55), "ctan": (82.0, 0.4)}
    return [
        (method, seed, case, *kind[:3], value * factor + (seed if kind is DICE and value else 0), *kind[3:])
        for seed in range(seeds)
        for case, factor in (("a", 0.9), ("b", 1.1))
        for method, pair in values.items()
        for kind, value in zip((DICE, MAE), pair, strict=True)
    ]


def comparison(dataset: str = "phantom", **options) -> Comparison:
    return compare(score_table(scores(**options)), dataset=dataset, methods=("stl", "hps", "ctan"), resamplings=50)


FLOOR = {"organs": Cell(0.0, math.nan), "dose": Cell(12.3456, math.nan)}


def test_rows_are_the_comparison():
    titles, rows = header(comparison()), body(comparison(), FLOOR)
    assert titles == [
        "Data set",
        "Method",
        "M organs: dice % (up)",
        "Δ organs [95 %: runs and cases]",
        "M dose: mae Gy (down)",
        "Δ dose [95 %: runs and cases]",
        "Δ mean [95 %: runs and cases]",
        "Verdict",
        "Rank",
    ]
    assert all(len(row) == len(titles) for row in rows)
    assert [row[1] for row in rows] == [CONSTANT_LABEL, "STL", "HPS", "CTAN"]
    assert {row[0] for row in rows} == {"phantom"}
    constant, stl, hps, ctan = rows
    assert constant[2:] == ["0.000", "", "12.35", "", "", "", ""]
    assert stl[2:] == ["80.50 ± 0.71", "", "0.500 ± 0.00", "", "", "", "2"]
    assert hps[2] == "84.50 ± 0.71"
    assert hps[3].startswith("+4.97 % [+") and hps[3].endswith("]")  # 100 (84.5 - 80.5) / 80.5
    assert hps[5].startswith("-10.00 % [-10.00, -10.00]")
    assert ctan[5].startswith("+20.00 %")
    assert ctan[6].startswith("+11.24 %")  # the mean of 20 and 100 (82.5 - 80.5) / 80.5
    assert (ctan[7:], hps[7:]) == (["better", "1"], ["worse", "3"])


def test_the_constant_row_is_left_out_without_a_floor():
    assert [row[1] for row in body(comparison())] == ["STL", "HPS", "CTAN"]
    assert body(comparison(), {}) == body(comparison())


def test_a_single_seed_has_no_deviation():
    assert all("±" not in cell for row in body(comparison(seeds=1), FLOOR) for cell in row)


def test_an_improvement_over_zero_is_undefined_and_not_a_number():
    whole = comparison(stl_dice=0.0)
    stl, hps, _ = body(whole)
    assert stl[3] == ""
    assert hps[3].startswith(
        "no ratio: see the difference +84.50 points [-26.63, +195.63]"
    )  # 84 and seeds 0 and 1, over 0
    assert hps[5].startswith("-10.00 %")
    assert hps[6:] == ["", "no ratio for organs", ""]
    lines = list(csv.DictReader(io.StringIO(csv_table([whole], [{}]))))
    organs = {line["method"]: line for line in lines if line["task"] == "organs"}
    assert organs["hps"]["improvement_percent"] == organs["hps"]["rank_low"] == organs["hps"]["rank_high"] == ""
    assert float(organs["hps"]["difference"]) == 84.5
    assert organs["hps"]["verdict"] == "no ratio: see the difference"
    assert "nan" not in csv_table([whole], [{}]).lower()


def test_without_the_baseline_nothing_is_called_undefined():
    table = score_table([row for row in scores() if row[0] != "stl"])
    whole = compare(table, dataset="x", methods=("hps", "ctan"), resamplings=5)
    assert all(row[3] == row[5] == row[6] == row[7] == row[8] == "" for row in body(whole))
    assert "Intervals" not in as_text([whole], [{}]) and "Verdict at" not in as_text([whole], [{}])


def test_the_average_over_data_sets():
    whole = average([comparison("a"), comparison("b")])
    titles, rows = header(whole), body(whole)
    assert all(len(row) == len(titles) for row in rows)
    assert [row[0] for row in rows] == ["Average"] * 3
    assert rows[2][3].startswith("+2.48 % [+")
    assert rows[2][7] == "better"
    assert rows[2][2] == ""
    assert "nan" not in text_table(titles, rows).lower()


def test_labels():
    assert [label_of(name) for name in ("stl", "ctan", "constant")] == ["STL", "CTAN", "constant"]


# Formats


def test_markdown():
    titles, rows = header(comparison()), body(comparison(), FLOOR)
    lines = markdown_table(titles, rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[1] == "|" + " --- |" * len(titles)
    for line, cells in zip([lines[0], *lines[2:]], [titles, *rows], strict=True):
        assert [cell.strip() for cell in line.strip("|").split("|")] == [cell.strip() for cell in cells]


def test_markdown_escapes_the_pipe():
    table = markdown_table(["a|b", "c"], [["|", "x||y"]])
    assert table == "| a\\|b | c |\n| --- | --- |\n| \\| | x\\|\\|y |\n"


@given(grids)
def test_every_markdown_line_has_as_many_cells(grid):
    titles, rows = grid
    lines = markdown_table(titles, rows).split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2 + len(rows)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(titles) + 1 for line in lines)


def latex_cells(line: str) -> list[str]:
    """Cells of a line of a tabular, by what LaTeX takes for a separator: an ampersand that is not escaped."""
    assert line.endswith(r" \\")
    return re.split(r"(?<!\\)&", line.removesuffix(r"\\"))


def test_latex():
    titles, rows = header(comparison()), body(comparison(), FLOOR)
    lines = latex_table(titles, rows).splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrrrrr}"
    assert lines[-1] == r"\end{tabular}"
    assert [lines[index] for index in (1, 3, -2)] == [r"\toprule", r"\midrule", r"\bottomrule"]
    written = [lines[2], *lines[4:-2]]
    assert len(written) == 1 + len(rows)
    assert all(len(latex_cells(line)) == len(titles) for line in written)
    assert latex_cells(written[0])[2].strip() == r"M organs: dice \% (up)"
    assert r"$\Delta$ organs [95 \%: runs and cases]" in written[0]
    assert r"80.50 $\pm$ 0.71" in written[2]


def test_latex_escapes_what_latex_reads():
    titles = ["a_b", "c & d"]
    (line,) = latex_table(titles, [["50 % #1 $x^2$ {y} ~ \\z", "Δ ±"]]).splitlines()[4:5]
    assert line == (r"50 \% \#1 \$x\textasciicircum{}2\$ \{y\} \textasciitilde{} \textbackslash{}z & $\Delta$ $\pm$ \\")
    assert latex_table(titles, []).splitlines()[2] == r"a\_b & c \& d \\"


@given(grids)
def test_every_latex_line_has_as_many_cells_and_no_open_brace(grid):
    titles, rows = grid
    lines = latex_table(titles, rows).split("\n")
    assert len(lines) == 7 + len(rows)
    for line in [lines[2], *lines[4:-3]]:
        assert len(re.findall(r"(?<!\\)&", line)) == len(titles) - 1
        assert len(re.findall(r"(?<!\\)\{", line)) == len(re.findall(r"(?<!\\)\}", line))
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
        assert not re.search(r"(?<!\\)[%#_~]", line)


def test_text_columns_line_up():
    titles, rows = header(comparison()), body(comparison(), FLOOR)
    lines = text_table(titles, rows).splitlines()
    rule = next(index for index, line in enumerate(lines) if line.startswith("-"))
    assert len(lines) == rule + 1 + len(rows) and rule > 1  # titles are broken rather than the lines long
    assert max(map(len, lines)) <= 160
    starts = [match.start() for match in re.finditer(r"-+", lines[rule])]
    assert len(starts) == len(titles)
    told = [[line[start:].split("  ")[0].strip() for start in starts] for line in lines]
    heads = [" ".join(filter(None, parts)) for parts in zip(*told[:rule], strict=True)]
    assert [heads, *told[rule + 1 :]] == [titles, *([cell.strip() for cell in row] for row in rows)]
    assert all(line == line.rstrip() for line in lines)
    assert text_table(["a", "b"], []) == "a  b\n-  -\n"


def test_csv_holds_every_figure_unrounded():
    one, other = comparison("a"), comparison('b, "c"\nd')
    text = csv_table([one, other], [FLOOR, {}])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 2 * (3 + 1) + 2 * 3
    assert all(None not in line and None not in line.values() for line in lines)
    assert {line["dataset"] for line in lines} == {"a", 'b, "c"\nd'}
    found = {(line["method"], line["task"]): line for line in lines if line["dataset"] == "a"}
    assert float(found[CONSTANT_LABEL, "dose"]["value"]) == 12.3456
    assert found[CONSTANT_LABEL, "dose"]["rank_low"] == found[CONSTANT_LABEL, "dose"]["verdict"] == ""
    assert "rank" not in lines[0]
    for row in one.rows:
        for measure in one.measures:
            line, cell = found[row.method, measure.task], row.cells[measure.task]
            assert (line["metric"], line["unit"]) == (measure.metric, measure.unit)
            assert line["higher_is_better"] == str(measure.higher_is_better)
            for key, figure in {
                "value": cell.value,
                "seed_deviation": cell.deviation,
                "improvement_percent": cell.improvement,
                "improvement_low": cell.low,
                "improvement_high": cell.high,
                "mean_improvement_percent": row.mean.improvement,
                "mean_improvement_low": row.mean.low,
                "mean_improvement_high": row.mean.high,
                "p_adjusted": cell.gain.p_adjusted,
                "p_equivalent_adjusted": cell.gain.p_equivalent_adjusted,
                "difference": cell.gain.difference.value,
                "difference_low": cell.gain.difference.low,
                "difference_high": cell.gain.difference.high,
                "level": one.level,
                "margin": one.margin,
            }.items():
                assert line[key] == "" if math.isnan(figure) else float(line[key]) == figure
            assert (line["rank_low"], line["rank_high"]) == tuple(map(str, row.rank))
            assert (line["verdict"], line["mean_verdict"]) == (cell.verdict, row.mean.verdict)
            assert line["interval_covers"] == ("" if row.method == "stl" else "runs and cases")


# What stands in them


def test_floor_is_the_constant_predictors_m():
    constant = score_table(
        [
            ("constant", 0, "a", "organs", "x", "dice", 0.0, "%", True),
            ("constant", 0, "a", "organs", "y", "dice", 100.0, "%", True),
            ("constant", 0, "b", "organs", "x", "dice", 0.0, "%", True),
            ("constant", 0, "a", "dose", "d", "mae", 10.0, "Gy", False),
            ("constant", 0, "b", "dose", "d", "mae", 14.0, "Gy", False),
            ("constant", 0, "b", "dose", "d", "mae_grid", 99.0, "Gy", False),
        ]
    )
    floor = floor_of(constant, comparison())
    assert {task: cell.value for task, cell in floor.items()} == {"organs": 25.0, "dose": 12.0}


def test_all_metrics():
    table = score_table(
        [
            ("stl", 0, "a", "organs", "x", "dice", 80.0, "%", True),
            ("stl", 0, "a", "organs", "y", "dice", 40.0, "%", True),
            ("stl", 0, "b", "organs", "x", "dice", 60.0, "%", True),
            ("hps", 0, "a", "organs", "x", "dice", 50.0, "%", True),
            ("stl", 0, "a", "dose", "dose", "mae", 2.5, "Gy", False),
            ("stl", 0, "a", "dose", "x", "dvh_error_mean", 1.0, "Gy", False),
            ("stl", 0, "a", "dose", "y", "dvh_error_mean", 2.0, "Gy", False),
            ("stl", 0, "b", "dose", "x", "dvh_error_D_0.1cc", 6.0, "Gy", False),
        ]
    )
    titles, rows = all_metrics(table, ["stl", "hps"])
    assert titles == ["Task", "Metric", "Class", "Unit", "STL", "HPS"]
    assert rows == [
        ["organs", "dice", "x", "%", "70.00", "incomplete: 1 of 2"],
        ["organs", "dice", "y", "%", "40.00", ""],
        ["organs", "dice", "mean", "%", "60.00", "incomplete: 1 of 3"],  # of cases: 60 and 60
        ["dose", "mae", "", "Gy", "2.50", ""],
        ["dose", "dvh_score", "", "Gy", "3.00", ""],  # of all cells at once, as the challenge has it
    ]


@pytest.mark.parametrize("methods", [["stl"], ["ctan", "stl"], []])
def test_all_metrics_of_chosen_methods(methods: list[str]):
    titles, rows = all_metrics(score_table(scores()), methods)
    assert titles[4:] == [label_of(method) for method in methods]
    assert all(len(row) == len(titles) for row in rows)
    assert len(rows) == 2


# Many tasks, and figures of all cases together

FOUR = [
    ("lesion", "lesion", "dice", "%", True),
    ("kind", "", "balanced_accuracy", "%", True),
    ("age", "age", "mae", "years", False),
    ("site", "", "auc", "%", True),
]


def four(dataset: str = "ham", number: int = 4) -> Comparison:
    rows = []
    for method, gain in {"stl": 0.0, "hps": 2.0, "mtan": -1.0, "ctan": 3.0}.items():
        for kind in FOUR[:number]:
            rows += [(method, 0, f"c{i}", *kind[:3], 50.0 + i + gain, *kind[3:]) for i in range(6)]
        rows += [(method, 0, "", "kind", "", "accuracy", 80.0 + gain, "%", True)]
    return compare(score_table(rows), dataset=dataset, methods=("stl", "hps", "mtan", "ctan"), resamplings=50)


def test_many_tasks_stand_below_each_other():
    floor = {kind[0]: Cell(10.0, math.nan, companion=20.0 if kind[0] == "kind" else math.nan) for kind in FOUR}
    titles, rows = comparison_table([four()], [floor])
    assert titles == ["Data set", "Task", "Figure", CONSTANT_LABEL, "STL", "HPS", "MTAN", "CTAN"]
    assert [(row[1], row[2]) for row in rows[4:8]] == [
        ("kind", "M: balanced_accuracy (accuracy) % (up)"), ("kind", "Δ"),
        ("kind", "Δ [95 %: cases only, one run each]"), ("kind", "Verdict"),
    ]  # fmt: skip
    assert rows[4][3:6] == ["10.00 (20.00)", "52.50 (80.00)", "54.50 (82.00)"]
    assert rows[5][3:6] == ["", "", "+3.81 %"] and rows[6][5].startswith("[+")
    assert rows[7][3:] == ["", "", "no verdict", "no verdict", "no verdict"]
    assert rows[-1] == ["ham", "", "Rank", "", "", "one run each", "one run each", "one run each"]
    assert len(rows) == 4 * 4 + 3 + 1
    assert max(map(len, text_table(titles, rows).splitlines())) <= 160
    for table in (text_table, markdown_table, latex_table):
        assert table(titles, rows).count("balanced") == 1


def test_two_tasks_stand_side_by_side():
    whole = comparison()
    assert comparison_table([whole], [FLOOR]) == (header(whole), body(whole, FLOOR))


def test_accuracy_is_never_alone():
    one = four(number=2)
    assert header(one)[4] == "M kind: balanced_accuracy (accuracy) % (up)"
    assert body(one)[1][4] == "54.50 (82.00)"
    lines = list(csv.DictReader(io.StringIO(csv_table([one], [{}]))))
    kind = [line for line in lines if line["task"] == "kind" and line["method"] == "hps"]
    assert [(line["companion_metric"], float(line["companion_value"])) for line in kind] == [("accuracy", 82.0)]
    assert {line["companion_metric"] for line in lines if line["task"] == "lesion"} == {""}


def test_all_metrics_of_all_cases_together():
    table = score_table(
        [
            ("stl", seed, "", "signs", name, "auc", value + seed, "%", True)
            for seed in (0, 1)
            for name, value in (("a", 60.0), ("b", 80.0))
        ]
        + [("stl", 0, "c", "first", "x", "dice", 1.0, "%", True)]
    )
    _, rows = all_metrics(table, ["stl"], tasks=["first", "signs"])
    assert rows[1:] == [
        ["signs", "auc", "a", "%", "60.50"],
        ["signs", "auc", "b", "%", "80.50"],
        ["signs", "auc", "mean", "%", "70.50"],
    ]
    assert rows[0][0] == "first"
    _, means = all_metrics(table, ["stl"], by_class=False)
    assert [row[2] for row in means] == ["mean", ""]


def test_the_joint_table_averages_data_sets_with_the_same_number_of_tasks(tmp_path):
    path = write_joint_table([comparison("a"), comparison("b")], [FLOOR, FLOOR], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "Average" in text and "M task 1" in text and "No average" not in text
    assert "M of a: organs by dice, %, dose by mae, Gy; b:" in text
    text = write_joint_table([four("a"), four("b")], [{}, {}], tmp_path).read_text(encoding="utf-8")
    assert "Average" in text and "task 4" in text
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)


def test_the_joint_table_of_different_numbers_of_tasks_has_no_average_and_says_so(tmp_path):
    text = write_joint_table([four("a"), four("b", 2)], [{}, {}], tmp_path).read_text(encoding="utf-8")
    assert "No average: it goes by the position of tasks, and their number differs (a has 4, b has 2)" in text
    assert "Average" not in text.replace("No average", "")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8"))))
    assert {line["dataset"] for line in lines} == {"a", "b"}
