"""The table of `make bench`: what is found, measured, kept, shown and what makes CI fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def table(benchmark_module):
    return benchmark_module("table")


@pytest.fixture
def folder(table, tmp_path, monkeypatch) -> Path:
    """A folder of benchmarks: one that holds, one that misses, one that is none."""
    (tmp_path / "good.py").write_text(
        "from rows import Row\n\ndef rows(short):\n"
        "    yield Row('small' if short else 'large', 1.0, 2.0, True, note='noted')\n"
        "    yield Row('seconds', 90.0, 60.0, True, 's', ratio=False)\n"
    )
    (tmp_path / "other.py").write_text("def measure():\n    pass\n")
    for name in ("table.py", "rows.py", "measured.py"):
        (tmp_path / name).write_text((BENCHMARKS / name).read_text(encoding="utf-8"))
    monkeypatch.setattr(table, "HERE", tmp_path)
    monkeypatch.setattr(table, "WANTED", ("good",))
    return tmp_path


def document(output: Path) -> dict:
    return json.loads(output.read_text())


def test_the_repository_has_every_benchmark_that_the_table_wants(table):
    assert set(table.WANTED) <= set(table.benchmarks())
    assert "rows" not in table.benchmarks() and "table" not in table.benchmarks()


def test_a_benchmark_that_is_missing_is_an_error(table, folder, monkeypatch):
    monkeypatch.setattr(table, "WANTED", ("good", "gone"))
    with pytest.raises(SystemExit, match=r"benchmarks/gone\.py: is not there"):
        table.benchmarks()


def test_each_is_measured_kept_and_shown(table, folder, capsys):
    output = folder / "build" / "bench.json"
    assert table.main(["--output", str(output)]) == 0, "a time that is missed is shown, and fails nothing"
    shown = capsys.readouterr().out
    assert "large" in shown and "holds" in shown and "misses" in shown and "noted" in shown
    found = document(output)
    assert [row["what"] for row in found["files"]["good"]["rows"]] == ["large", "seconds"]
    assert {"processor", "cores", "python", "versions", "date"} <= set(found["machine"])
    assert found["machine"]["versions"]["numpy"]


def test_what_was_measured_with_the_same_code_is_not_measured_again(table, folder, capsys):
    output = folder / "bench.json"
    table.main(["--output", str(output), "--short"])
    kept = document(output)["files"]["good"]["rows"]
    capsys.readouterr()
    table.main(["--output", str(output), "--short"])
    assert "measured before" in capsys.readouterr().out
    assert document(output)["files"]["good"]["rows"] == kept
    (folder / "other.py").write_text("def measure():\n    return 1\n")  # other code, other figures
    table.main(["--output", str(output), "--short"])
    assert "measured before" not in capsys.readouterr().out
    table.main(["--output", str(output), "--short", "--again"])
    assert "measured before" not in capsys.readouterr().out


def test_a_benchmark_that_fails_is_told_and_stops_no_other(table, folder, capsys):
    (folder / "bad.py").write_text("def rows(short):\n    raise ValueError('no such thing')\n")
    (folder / "empty.py").write_text("def rows(short):\n    yield from ()\n")
    output = folder / "bench.json"
    assert table.main(["--output", str(output)]) == 1
    said = capsys.readouterr()
    assert "benchmarks/bad.py ended with 1" in said.err and "no such thing" in said.err
    assert "benchmarks/empty.py gave no row" in said.err
    assert document(output)["files"]["good"]["rows"]


def test_only_some_are_measured_and_the_others_stay_in_the_document(table, folder):
    output = folder / "bench.json"
    (folder / "more.py").write_text("from rows import Row\ndef rows(short):\n    yield Row('more', 3, 2, False)\n")
    table.main(["--output", str(output), "--only", "good"])
    assert set(document(output)["files"]) == {"good"}
    table.main(["--output", str(output), "--only", "more"])
    assert set(document(output)["files"]) == {"good", "more"}
    with pytest.raises(SystemExit):
        table.main(["--output", str(output), "--only", "nonsense"])


@pytest.mark.parametrize(
    ("row", "fails"),
    [
        (dict(measured=2.5, bound=2.0, lower_is_better=True), False),  # within what noise does
        (dict(measured=2.7, bound=2.0, lower_is_better=True), True),
        (dict(measured=0.8, bound=1.0, lower_is_better=False), False),
        (dict(measured=0.7, bound=1.0, lower_is_better=False), True),
        (dict(measured=float("nan"), bound=1.0, lower_is_better=False), True),
        (dict(measured=900.0, bound=60.0, lower_is_better=True, unit="s", ratio=False), False),  # never a time
    ],
)
def test_ci_fails_on_a_ratio_that_is_far_off_and_never_on_a_time(table, folder, row, fails):
    whole = {"what": "x", **row}
    text = ", ".join(f"{key}={value!r}" for key, value in whole.items()).replace("nan", "float('nan')")
    (folder / "good.py").write_text(f"from rows import Row\n\ndef rows(short):\n    yield Row({text})\n")
    assert table.main(["--short", "--output", str(folder / "bench.json")]) == int(fails)
    assert table.main(["--output", str(folder / "whole.json")]) == 0, "the whole table only says so"


def test_the_page_gets_the_table_between_its_marks(table, folder):
    page = folder / "page.md"
    page.write_text("before\n<!-- measured: begin -->\nstale\n<!-- measured: end -->\nafter\n")
    table.main(["--output", str(folder / "bench.json"), "--page", str(page)])
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "stale" not in text
    assert "| large | 1 x | ≤ 2 x | holds | noted |" in text
    assert "| seconds | 90 s | ≤ 60 s | **misses** |  |" in text
    page.write_text("no marks")
    with pytest.raises(SystemExit, match="add them where the table is to be"):
        table.main(["--output", str(folder / "bench.json"), "--page", str(page)])
