"""The long table of scores: written, read back, and summed up."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstask.errors import InputError
from crosstask.evaluation.scores import COLUMNS, per_case, read_scores, score_table, write_scores

ROWS = [
    ("hps", 0, "pt_201", "organs", "Brainstem", "dice", 100 / 3, "%", True),
    ("hps", 0, "pt_201", "organs", "Larynx", "dice", 0.1 + 0.2, "%", True),
    ("hps", 0, "pt_201", "dose", "", "mae", 2.0000000000000004, "Gy", False),
    ("stl", 1, "007", "covid", "NA", "auc", math.nan, "", True),
    ("stl", 1, "7", "covid", "None", "auc", math.inf, "", True),
]


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_round_trip_to_the_last_digit(tmp_path: Path, name: str):
    table = score_table(ROWS)
    write_scores(table, tmp_path / name)
    pd.testing.assert_frame_equal(read_scores(tmp_path / name), table, check_exact=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8))
def test_any_value_survives_a_csv(tmp_path_factory: pytest.TempPathFactory, values: list[float]):
    path = tmp_path_factory.getbasetemp() / "any-scores.csv"
    table = score_table(
        [(*row[:6], value, *row[7:]) for row, value in zip(ROWS[:1] * len(values), values, strict=True)]
    )
    write_scores(table, path)
    np.testing.assert_array_equal(read_scores(path)["value"].to_numpy(), values)


def test_what_looks_like_a_missing_value_stays_a_name(tmp_path: Path):
    path = tmp_path / "scores.csv"
    write_scores(score_table(ROWS), path)
    table = read_scores(path)
    assert table["class"].tolist() == ["Brainstem", "Larynx", "", "NA", "None"]
    assert table["case"].tolist()[-2:] == ["007", "7"]
    assert table["higher_is_better"].dtype == bool


def test_a_table_of_no_rows_has_its_columns(tmp_path: Path):
    write_scores(score_table([]), tmp_path / "scores.csv")
    table = read_scores(tmp_path / "scores.csv")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 0


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_a_missing_column_is_named(tmp_path: Path, name: str, column: str):
    path = tmp_path / name
    write_scores(score_table(ROWS).drop(columns=column), path)
    with pytest.raises(InputError) as error:
        read_scores(path)
    assert str(error.value) == f"{path}: has no column {column!r}; run evaluate again"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scores.csv", b""),
        ("scores.csv", b"\xff\xfe\x00"),
        ("scores.csv", b"a,b\n1,2\n1,2,3\n"),
        ("scores.csv", ",".join(COLUMNS).encode() + b"\nhps,0,a,t,c,m,many,u,True\n"),
        ("scores.parquet", b"not parquet"),
        ("scores.parquet", b""),
    ],
)
def test_what_is_no_table_of_scores(tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read as a table of scores .*; run evaluate again") as error:
        read_scores(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_a_missing_table(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="no such table of scores; run evaluate first"):
        read_scores(tmp_path / name)


def test_mean_over_the_classes_of_each_case():
    table = score_table(
        [
            ("stl", 0, "a", "organs", "x", "dice", 80.0, "%", True),
            ("stl", 0, "a", "organs", "y", "dice", 60.0, "%", True),
            ("stl", 0, "b", "organs", "x", "dice", 50.0, "%", True),  # y is not contoured
            ("stl", 1, "a", "organs", "x", "dice", 10.0, "%", True),
            ("hps", 0, "a", "organs", "x", "dice", 20.0, "%", True),
            ("stl", 0, "a", "dose", "dose", "mae", 2.0, "Gy", False),
            ("stl", 0, "a", "dose", "dose", "mae_grid", 1.0, "Gy", False),
        ]
    )
    means = per_case(table)
    found = {(row.method, row.seed, row.case, row.task, row.metric): row.value for row in means.itertuples()}
    assert found == {
        ("stl", 0, "a", "organs", "dice"): 70.0,
        ("stl", 0, "b", "organs", "dice"): 50.0,
        ("stl", 1, "a", "organs", "dice"): 10.0,
        ("hps", 0, "a", "organs", "dice"): 20.0,
        ("stl", 0, "a", "dose", "mae"): 2.0,
        ("stl", 0, "a", "dose", "mae_grid"): 1.0,
    }


def test_scores_comparison_and_tables_import_no_torch():
    code = (
        "import sys, crosstask.evaluation.scores, crosstask.evaluation.comparison, crosstask.report.tables; "
        "assert not {'torch', 'lightning', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
