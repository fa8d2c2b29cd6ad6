"""Ids of any kind: files of their own in their own folder, no formula for a spreadsheet, nothing for a page to obey."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.csv_cells import csv_text, frame_text, read_cell, true_frame, written_cell
from crosstask.evaluation.predictions import prediction_table, read_predictions, write_predictions
from crosstask.evaluation.scores import read_scores, score_table, write_scores
from crosstask.files import file_name
from crosstask.report.tables import latex_table, markdown_table, markdown_text, text_table

EVIL = ['=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1", "'=1", "''", "\uff1d1+1"]
PLAIN = ["pt_1", "-5", "+1.5e-3", "it's", "'", "", "007", "a=b", "Ünal 3"]


@given(st.text())
def test_any_text_comes_back_from_a_cell(text: str) -> None:
    assert read_cell(written_cell(text)) == text


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_is_a_formula(text: str) -> None:
    [[cell, figure]] = csv.reader(io.StringIO(csv_text([[text, -1.5]])))
    assert cell[0] == "'"
    assert figure == "-1.5"


@pytest.mark.parametrize("text", PLAIN)
def test_what_harms_nobody_stays_as_it_is(text: str) -> None:
    assert written_cell(text) == (text if text != "'" else "''")


def test_a_frame_comes_back_and_its_figures_have_their_signs() -> None:
    table = pd.DataFrame({"case": [*EVIL, *PLAIN], "value": [-float(i) for i in range(len(EVIL + PLAIN))]})
    text = frame_text(table)
    back = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype={"case": str})
    assert not any(cell[:1] in tuple("=@\t\uff1d") for cell in back["case"])
    pd.testing.assert_frame_equal(true_frame(back), table, check_dtype=False)


def test_scores_and_predictions_of_such_cases_come_back(tmp_path: Path) -> None:
    scores = score_table(("hps", 0, case, "dose", "-dose", "mae", -1.5, "Gy", False) for case in EVIL)
    write_scores(scores, tmp_path / "scores.csv")
    text = (tmp_path / "scores.csv").read_text(encoding="utf-8")
    assert "\n=" not in text and ",=" not in text
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), scores)
    predictions = prediction_table(("hps", 0, case, "kind", "softmax", "=a", 1.0, 0.5, 1.0) for case in EVIL)
    write_predictions(predictions, tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "predictions.csv"), predictions)


@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_different_ids_have_different_names_within_one_folder(ids: list[str]) -> None:
    names = [file_name(text) for text in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert Path(name).name == name
        assert name not in ("", ".", "..")
        assert len(name.encode("utf-8", "surrogateescape")) < 200


@pytest.mark.parametrize(
    "text", ["../../x", "/etc/x", "..", "a\\b", "a\0b", "C:x", "nul", "COM1.txt", ".x", "x.", "é" * 400]
)
def test_no_id_names_a_file_elsewhere(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{file_name(text)}.npz"
    path.touch()
    assert list(tmp_path.iterdir()) == [path]
    assert path.stem.split(".")[0].lower() not in ("nul", "com1")


def test_ids_that_need_no_change_name_their_files() -> None:
    assert [file_name(text) for text in ("pt_1", "Müller 3", "a-b.c")] == ["pt_1", "Müller 3", "a-b.c"]


def test_names_in_markdown_are_only_shown() -> None:
    text = markdown_table(["a|b"], [["<img src=x onerror=alert(1)>"], ["[x](http://y)"], ["two\nrows\\|"]])
    assert text == (
        "| a\\|b |\n| --- |\n| &lt;img src=x onerror=alert(1)&gt; |\n| [x]\\(http://y) |\n| two rows\\\\\\| |\n"
    )
    assert markdown_text("dose by <b>mae</b>") == "dose by &lt;b&gt;mae&lt;/b&gt;"


def test_names_in_latex_and_text_keep_to_their_row() -> None:
    latex = latex_table(["a", "b"], [["[x]", "\\input{/etc/passwd}\n"], ["*", "$^~_"]])
    assert "\\midrule\n{}[x] & \\textbackslash{}input\\{/etc/passwd\\}  \\\\\n{}* & \\$" in latex
    assert text_table(["a"], [["x\r\n\x1b[2Jy"]]).splitlines() == ["a", "--------", "x   [2Jy"]
