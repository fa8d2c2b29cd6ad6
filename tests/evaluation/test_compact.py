"""Long tables in little memory: read, joined and counted they say what plain pandas says, and memory stays bounded."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from crosstask.csv_cells import frame_text
from crosstask.errors import InputError
from crosstask.evaluation import compact
from crosstask.evaluation.comparison import compare
from crosstask.evaluation.predictions import read_predictions
from crosstask.evaluation.resampling import Values, case_values, draw
from crosstask.evaluation.scores import per_case, read_scores, score_table

HOSTILE = ("", "=1+1", "'quoted", 'a "b", c', "two\nlines", "nan", "NA", "ü", "7", "007")


def scores(cases: int, *, methods=("stl", "mtl"), seeds=2, classes=("a", "b")) -> pd.DataFrame:
    random = np.random.default_rng(0)
    keys = itertools.product(methods, range(seeds), range(cases), classes)
    return score_table(
        (method, seed, f"case{case}", "organs", name, "dice", random.random() * 100, "%", True)
        for method, seed, case, name in keys
    )


def predictions(cases: int, *, methods=("stl", "mtl"), seeds=2) -> pd.DataFrame:
    random = np.random.default_rng(1)
    target = random.random(cases) < 0.4
    rows = [
        (method, seed, f"case{case}", "finding", "sigmoid", "x", float(target[case]), p, float(p > 0.5))
        for method, seed, case in itertools.product(methods, range(seeds), range(cases))
        for p in [float(np.clip(0.3 + 0.3 * target[case] + 0.2 * random.normal(), 0, 1))]
    ]
    columns = ["method", "seed", "case", "task", "values", "class", "target", "prediction", "decision"]
    return pd.DataFrame(rows, columns=columns)


def test_a_table_is_read_as_plain_pandas_reads_it(tmp_path, monkeypatch):
    table = score_table(
        ("stl", seed, f"case{name}", "organs", name, "dice", value, "%", seed == 1)
        for seed in (1, 2)
        for name in HOSTILE
        for value in (1 / 3, 1e-300, -0.1, float("nan"))
    )
    path = tmp_path / "scores.csv"
    path.write_text(frame_text(table), encoding="utf-8")
    monkeypatch.setattr(compact, "_BLOCK", 1 << 10)  # several blocks, whose words are not the same
    found = read_scores(path, compact=True)
    plain = read_scores(path)
    assert {name for name in found if isinstance(found[name].dtype, pd.CategoricalDtype)} >= {"case", "class"}
    for name in plain:
        assert found[name].tolist()[:3] == plain[name].tolist()[:3]
        pd.testing.assert_series_equal(found[name].astype(plain[name].dtype), plain[name])


def test_predictions_are_read_so_too(tmp_path):
    table = predictions(30)
    path = tmp_path / "predictions.csv"
    path.write_text(frame_text(table), encoding="utf-8")
    found = read_predictions(path, compact=True)
    pd.testing.assert_frame_equal(found.astype(table.dtypes.to_dict()), table)
    assert read_predictions(tmp_path / "none.csv", compact=True).empty


@pytest.mark.parametrize(
    "text",
    [
        "",
        "method,seed\nstl,0\n",
        "method,seed,case,task,class,metric,value,unit,higher_is_better\na,0,c,t,k,m,many,%,True\n",
    ],
)
def test_a_damaged_table_is_one_line(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=r"scores\.csv: (cannot be read|has no column)") as error:
        read_scores(path, compact=True)
    assert "\n" not in str(error.value)


def test_joined_tables_keep_their_categories_and_their_order():
    one, other = (compact.compact(pd.DataFrame({"name": names, "n": [1, 2]})) for names in (["b", "a"], ["c", "b"]))
    found = compact.joined([one, other])
    assert found["name"].tolist() == ["b", "a", "c", "b"]
    assert list(found["name"].cat.categories) == ["a", "b", "c"]
    assert compact.joined([one]) is one, "nothing is copied"


def test_distinct_rows_and_codes_are_those_of_pandas(monkeypatch):
    random = np.random.default_rng(0)
    table = pd.DataFrame({name: random.choice(list("dbca"), 500) for name in "xyz"} | {"n": random.integers(0, 3, 500)})
    small = compact.compact(table)
    monkeypatch.setattr(compact, "_PART", 64)
    for columns in (["x"], ["x", "n"], ["x", "y", "z", "n"]):
        wanted = table[columns].drop_duplicates()
        for given in (table, small):
            found = compact.distinct(given, columns)
            assert found.index.tolist() == wanted.index.tolist()
            assert found.astype(object).to_numpy().tolist() == wanted.astype(object).to_numpy().tolist()
    codes, names = compact.codes_of(small["x"][small["x"] != "b"])
    assert names == ["a", "c", "d"], "of those that occur"
    assert [names[code] for code in codes] == [name for name in table["x"] if name != "b"]


def test_means_of_cases_are_the_same_of_categories():
    table = scores(20)
    pd.testing.assert_frame_equal(
        per_case(compact.compact(table)).astype(per_case(table).dtypes.to_dict()), per_case(table)
    )


@pytest.mark.parametrize("small", [False, True], ids=["objects", "categories"])
def test_a_comparison_of_categories_is_that_of_objects(small):
    table, given = scores(30), predictions(30)
    auc = [(m, s, "", "finding", "x", "auc", 70.0, "%", True) for m in ("stl", "mtl") for s in range(2)]
    table = pd.concat([table, score_table(auc)], ignore_index=True)
    options = {"dataset": "d", "methods": ["stl", "mtl"], "resamplings": 50, "least_positives": 1}
    wanted = compare(table, predictions=given, **options).to_frame()
    change = compact.compact if small else (lambda frame: frame.sample(frac=1, random_state=0).reset_index(drop=True))
    found = compare(change(table), predictions=change(given), **options).to_frame()
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-10)


def test_blocks_of_draws_are_the_draws_of_one_matrix(monkeypatch):
    """The numbers that one call of the generator gives, in however many blocks they are asked for."""
    cases = tuple(f"c{number}" for number in range(40))
    groups = {case: f"g{number // 3}" for number, case in enumerate(cases)}
    names = sorted(set(groups.values()))
    drawn = np.random.default_rng(5).integers(0, len(names), (30, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    wanted = counts[:, [names.index(groups[case]) for case in cases]]
    values = {"t": Values(cases, {}, {})}
    for cells in (1, 200, 1 << 20):
        monkeypatch.setattr("crosstask.evaluation.resampling._CELLS", cells)
        draws = draw(values, groups, 30, np.random.default_rng(5))
        for _ in range(2):  # they are made anew, and are the same
            found = np.zeros_like(wanted)
            for which, weights in draws.blocks():
                found[which] = weights["t"]
            np.testing.assert_array_equal(found, wanted)
    assert draws.groups == {"t": 14} and draws.number == 14


def test_memory_of_resamplings_does_not_grow_with_their_number():
    """A matrix of 4,000 draws of 4,000 cases would be 128 MB."""
    table = scores(4000, methods=("stl",), seeds=1, classes=("a",))
    values = {"organs": case_values(table, "organs", "dice", ["stl"], by_seed=False)}
    draws = draw(values, {}, 4000, np.random.default_rng(0))
    figures = {"organs": values["organs"].figures["stl"]}
    tracemalloc.start()
    told = []
    found = draws.resampled(figures, lambda done, total: told.append((done, total)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["organs"].shape == (1, 4000) and np.isfinite(found["organs"]).all()
    assert peak < 60e6, f"{peak / 1e6:.0f} MB"
    assert told[0] == (0, 4000) and told[-1] == (4000, 4000) and len(told) > 3


def test_a_table_of_categories_takes_a_few_bytes_a_row():
    table = compact.compact(scores(2000, classes=tuple("abcdefgh")))
    assert table.memory_usage(deep=True).sum() / len(table) < 35
