"""Every tutorial is followed from its first line to its last, with data and trainings of test size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import tutorials

_PANDAS = (tutorials.DOCS / "tutorials" / "pandas.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all of them were followed, by a process of its own: one of them registers a method."""
    folder = tmp_path_factory.mktemp("tutorials") / "folder"
    done = subprocess.run(
        [sys.executable, tutorials.__file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=1800,
    )
    assert (folder / "faults.json").is_file(), done.stderr.decode(errors="replace")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", tutorials.PAGES)
def test_every_command_of_the_page_goes_well(page, played):
    faults = json.loads((played / "faults.json").read_text(encoding="utf-8"))
    assert faults[page] == "", faults[page]


@pytest.mark.slow
def test_they_leave_what_they_promise(played):
    runs = played / "runs"
    for name in ("first/index.html", "gated/index.html", "first/external/clinic/index.html"):
        assert (runs / name).stat().st_size > 10_000, name
    assert (runs / "first/runs/hps/seed0/scores-on-clinic.csv").is_file()
    assert list((runs / "gated/runs").iterdir()) and (runs / "gated/runs/gated/seed0/final.safetensors").is_file()
    for name in ("imagenet", "second"):
        assert (runs / name / "runs/hps/seed0/final.safetensors").is_file(), name
    planned = {path.name for path in (played / "planned/patient001").iterdir()}
    assert {"RTSTRUCT.dcm", "RTDOSE.dcm", "RTPLAN.dcm", "SEG.dcm", "plan.png"} <= planned
    assert (played / "histograms/dvh.csv").is_file()


@pytest.mark.slow
def test_tables_have_the_columns_that_the_page_names(played):
    first = played / "runs" / "first"
    named = {
        "scores.csv": ("method", "seed", "case", "task", "class", "metric", "value", "unit", "higher_is_better"),
        "predictions.csv": ("target",),
        "verdict.csv": ("low", "high", "p_adjusted", "verdict"),
        "table.csv": ("value", "seed_deviation", "improvement_percent"),
        "runs/hps/seed0/history.csv": ("score", "learning_rate"),
    }
    for file, columns in named.items():
        assert set(columns) <= set(pd.read_csv(first / file, nrows=1).columns), file
        assert all(f"`{column}`" in _PANDAS for column in columns), file


def test_a_page_is_read_as_its_comments_say(tmp_path, monkeypatch):
    monkeypatch.setattr(tutorials, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text(
        "<!-- test: 100 -> 1 -->\n<!-- test: fast -> slow -->\n\n```sh\ntrain 100 fast \\\n  more  # why\n```\n\n"
        "```sh\ntrain 100\n```\n<!-- test: skip; a GPU -->\n```sh\ngpu\n```\n"
        "```console\n$ show it\nshown\n```\n```yaml\n# file.yaml\na: 1\n```\n```yaml\na: 2\n```\n"
    )
    found = tutorials.blocks("page")
    assert [list(block.commands()) for block in found[:3]] == [
        ["train 1 slow    more  # why"],
        ["train 100"],
        ["show it"],
    ]
    assert [block.file for block in found] == ["", "", "", "file.yaml"]
    assert found[0].line == 4
    (tmp_path / "page.md").write_text("<!-- test: 100 -> 1 -->\n```sh\ntrain 10\n```\n")
    with pytest.raises(ValueError, match="'100' is not in the block"):
        tutorials.blocks("page")
    (tmp_path / "page.md").write_text("<!-- test: later -->\n```sh\ntrain 10\n```\n")
    with pytest.raises(ValueError, match="neither"):
        tutorials.blocks("page")


def test_what_goes_wrong_on_a_page_is_told_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tutorials, "DOCS", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    (tmp_path / "page.md").write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    assert "docs/page.md, line 5:" in tutorials.play("page") and "AssertionError" in tutorials.play("page")
    (tmp_path / "page.md").write_text("```sh\ncrosstask check nothing here\n```\n")
    assert "exit code 2" in tutorials.play("page")
    (tmp_path / "page.md").write_text("```sh\ncrosstask configs &\nwait\n```\n")
    assert tutorials.play("page") == ""
