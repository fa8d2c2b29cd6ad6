"""``crosstask compare`` as a user runs it: tables of other programs in, verdicts, tables and a page out."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys

import pytest
from cli_runner import Call, environment, run

from foreign_fakes import long_table, nnunet_folds


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "study.csv"
    long_table().to_csv(path, index=False)
    return path


def test_prints_the_table_and_what_must_be_known(call: Call, table):
    shown = call("compare", "study.csv")
    assert shown.code == 0, shown.err
    assert "study" in shown.out and "mtl" in shown.out and "Δ mean" in shown.out
    assert "Page:" not in shown.out and not shown.err


def test_json_is_all_there_is_and_has_no_nan(call: Call, table):
    shown = call("compare", "study.csv", "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out, parse_constant=pytest.fail)
    assert (found["baseline"], found["margin"], found["level"], found["by_seed"]) == ("stl", 1.0, 0.95, False)
    assert [(row["method"], row["task"]) for row in found["rows"]] == [
        ("mtl", "organs"),
        ("mtl", "dose"),
        ("mtl", "mean"),
    ]
    frame = long_table()
    means = frame.groupby(["method", "task"])["value"].mean()
    gain = 100 * (means["mtl", "organs"] / means["stl", "organs"] - 1)
    row = found["rows"][0]
    assert row["improvement"] == pytest.approx(gain) and row["low"] < gain < row["high"]
    assert (row["seeds"], row["groups"], row["verdict"]) == (3, 6, "better")
    assert found["rows"][2]["difference"] is None
    assert isinstance(found["remarks"], list) and found["remarks"]
    assert found["measures"][1] == {"task": "dose", "metric": "mae", "unit": "", "higher_is_better": False}


def test_output_is_a_page_with_tables_and_may_be_written_again(call: Call, table, tmp_path):
    shown = call("compare", "study.csv", "-o", "out")
    assert shown.code == 0, shown.err
    assert f"Page: {tmp_path / 'out' / 'index.html'}" in shown.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "table.txt", "table.md", "table.csv", "table.tex", "verdict.csv"}
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    charts = set(re.findall(r'data-chart="([a-z]+)', page))
    assert {"improvement", "cases", "rivals"} <= charts and ">Verdict</h2>" in page and "better" in page
    with (tmp_path / "out" / "verdict.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == ["organs", "dose", "mean"]
    assert (tmp_path / "out" / "table.txt").read_text(encoding="utf-8") in shown.out
    (tmp_path / "out" / "table.txt").write_text("old")
    assert call("compare", "study.csv", "-o", "out").code == 0
    assert (tmp_path / "out" / "table.txt").read_text(encoding="utf-8") != "old"


def test_output_never_takes_the_place_of_other_things(call: Call, table, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "table.csv").write_text("mine")
    assert "holds files that no comparison has written" in call("compare", "study.csv", "-o", "other").error
    (other / "notes.txt").write_text("mine")
    assert "holds notes.txt" in call("compare", "study.csv", "-o", "other").error
    assert "is a file" in call("compare", "study.csv", "-o", "study.csv").error
    assert (other / "table.csv").read_text() == "mine"


def test_names_cannot_break_the_page(call: Call, tmp_path):
    frame = long_table(methods=("<b>stl</b>", "=1+1"))
    frame.to_csv(tmp_path / "x.csv", index=False)
    assert call("compare", "x.csv", "--baseline", "<b>stl</b>", "-o", "out").code == 0
    assert "<b>stl" not in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "'=1+1" in (tmp_path / "out" / "verdict.csv").read_text(encoding="utf-8")


def test_a_baseline_of_any_name_keeps_it(call: Call, tmp_path):
    long_table(methods=("nnU-Net + TTA", "stl+x")).to_csv(tmp_path / "x.csv", index=False)
    shown = call("compare", "x.csv", "--baseline", "nnU-Net + TTA", "-o", "out")
    assert shown.code == 0, shown.err
    assert "nnU-Net + TTA" in shown.out
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "methods compared with nnU-Net + TTA" in page and "stl+x: better in" in page
    near = call("compare", "x.csv", "--baseline", "nnUnet + TTA")
    assert near.code == 2
    assert "did you mean 'nnU-Net + TTA'? there are nnU-Net + TTA, stl+x" in near.error


def test_nnunet_folds(call: Call, tmp_path):
    nnunet_folds(tmp_path / "base")
    nnunet_folds(tmp_path / "large", 0.05)
    shown = call("compare", "stl=base", "ResEnc L=large", "--json")
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)
    assert found["by_seed"] and {row["method"] for row in found["rows"]} == {"ResEnc L"}
    assert any("Every seed has test cases of its own" in remark for remark in found["remarks"])
    files = [
        f"{m}:{f}={d}/fold_{f}/validation/summary.json" for m, d in (("stl", "base"), ("L", "large")) for f in "012"
    ]
    one_by_one = json.loads(call("compare", *files, "--json").out)
    assert one_by_one["rows"][0]["improvement"] == found["rows"][0]["improvement"]


def test_options_that_say_what_a_table_does_not(call: Call, tmp_path):
    frame = long_table().drop(columns="higher_is_better").rename(columns={"seed": "fold", "case": "Patient"})
    frame.to_excel(tmp_path / "colleague.xlsx", index=False)
    first = call("compare", "colleague.xlsx")
    assert first.code == 2
    assert "--column seed=fold" in first.error and "--column case=Patient" in first.error
    columns = ("--column", "seed=fold", "--column", "case=Patient")
    assert "--better dice=higher" in call("compare", "colleague.xlsx", *columns).error
    shown = call("compare", "colleague.xlsx", *columns, "--better", "dice=higher", "--better", "mae=lower", "--json")
    assert shown.code == 0, shown.err
    long_table().to_csv(tmp_path / "same.csv", index=False)
    rows, same = (json.loads(text)["rows"] for text in (shown.out, call("compare", "same.csv", "--json").out))
    assert [{**row, "dataset": "same"} for row in rows] == same  # a data set is called as its table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv"], "no such table"),
        (["study.csv", "--metric", "dice"], "--metric: 'dice' cannot be understood; write TASK=METRIC"),
        (["study.csv", "--metric", "organs=a", "--metric", "organs=b"], "'organs' is told twice"),
        (["study.csv", "--metric", "organ=dice"], "did you mean 'organs'?"),
        (["study.csv", "--level", "95"], "write 0.95"),
        (["study.csv", "--margin", "0"], "more than 0"),
        (["study.csv", "--method", "mtI"], "did you mean 'mtl'?"),
    ],
)
def test_faults_are_one_line_and_code_2(call: Call, table, arguments, said):
    shown = call("compare", *arguments)
    assert shown.code == 2 and said in shown.error
    assert not shown.out


def test_level_and_margin_reach_the_figures(call: Call, table):
    wide = json.loads(call("compare", "study.csv", "--level", "0.99", "--json").out)["rows"][2]
    usual = json.loads(call("compare", "study.csv", "--json").out)["rows"][2]
    assert wide["high"] - wide["low"] > usual["high"] - usual["low"]
    lax = json.loads(call("compare", "study.csv", "--margin", "50", "--json").out)["rows"][2]
    assert lax["p_equivalent_adjusted"] < 0.05 < usual["p_equivalent_adjusted"]
    assert math.isclose(lax["improvement"], usual["improvement"])


def test_the_installed_command_says_it_off_a_terminal(table, tmp_path):
    shown = run(tmp_path, "compare", "study.csv", "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["rows"] and not shown.err


def test_imports_no_torch(table, tmp_path):
    probe = (
        "import sys\nfrom crosstask.cli.main import main\ntry:\n    main()\n"
        "finally:\n    print([name for name in ('torch', 'monai', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "compare", "study.csv", "-o", "out"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
