"""A benchmark's page from its folder alone: moved, without its data, and what is told where that cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import crosstask as ct
from crosstask.datasets.phantom import Phantom
from crosstask.errors import InputError
from crosstask.pipeline.reporting import report_again

TABLES = ("table.txt", "table.md", "table.csv", "table.tex", "verdict.csv", "epochs.csv")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ct.Comparison, Path]:
    """A benchmark of generated phantoms, its folder moved away and everything else removed."""
    root = tmp_path_factory.mktemp("report")
    Phantom.generate(root / "raw", train=4, validation=2, test=3, size=24)
    comparison = ct.benchmark(
        {
            "name": "moved",
            "dataset": {
                "name": "phantom",
                "root": str(root / "raw"),
                "tasks": {"segmentation": {"classes": ["SpinalCord", "RightParotid"]}, "dose": {}},
                "windows": [[0, 2500]],
            },
            "sample": {"kind": "slice", "size": [24, 24]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {"epochs": 2, "samples_per_epoch": 8, "batch_size": 4, "transfer_every": 1},
            "evaluation": {"bootstrap": 50},
            "methods": ["stl", "hps"],
            "seeds": [0, 1],
            "output": str(root / "before"),
        }
    )
    (root / "before").rename(root / "after")
    shutil.rmtree(root / "after" / "store")
    shutil.rmtree(root / "raw")
    return comparison, root / "after"


def test_the_same_tables_and_page_come_of_the_folder_alone(made: tuple[ct.Comparison, Path]) -> None:
    before, folder = made
    kept = {name: (folder / name).read_text(encoding="utf-8") for name in TABLES}
    page = (folder / "index.html").read_text(encoding="utf-8")
    for name in (*TABLES, "index.html"):
        (folder / name).unlink()
    again = report_again(folder)
    assert {name: (folder / name).read_text(encoding="utf-8") for name in TABLES} == kept
    new = (folder / "index.html").read_text(encoding="utf-8")
    assert new.replace(str(folder), "") == page.replace(str(folder.with_name("before")), "")
    pd.testing.assert_frame_equal(again.to_frame(), before.to_frame())
    assert again.page == folder / "index.html" and "dvh/0" in new


def test_a_benchmark_is_loaded_without_writing(made: tuple[ct.Comparison, Path]) -> None:
    before, folder = made
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    loaded = ct.load_benchmark(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    pd.testing.assert_frame_equal(loaded.table, before.table)
    assert set(loaded.runs) == {"stl/seed0/segmentation", "stl/seed0/dose", "stl/seed1/segmentation",
                                "stl/seed1/dose", "hps/seed0", "hps/seed1"}  # fmt: skip
    assert loaded.runs["hps/seed0"].is_dir()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "experiment.yaml").unlink(), "is no folder of a benchmark"),
        (lambda folder: (folder / "report.json").unlink(), "report.json: is missing"),
        (lambda folder: (folder / "report.json").write_text("{}"), "report.json: is damaged"),
        (lambda folder: shutil.rmtree(folder / "runs" / "hps" / "seed1"), "hps/seed1 of 6 runs are not done"),
        (lambda folder: (folder / "constant.csv").unlink(), "constant.csv: no such table"),
    ],
)
def test_what_is_missing_is_told_in_a_line(
    made: tuple[ct.Comparison, Path], tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made[1], copy)
    page = (copy / "index.html").read_bytes()
    harm(copy)
    with pytest.raises(InputError) as told:
        report_again(copy)
    assert words in str(told.value) and "\n" not in str(told.value)
    assert (copy / "index.html").read_bytes() == page


def test_what_is_kept_of_the_data_names_no_case(made: tuple[ct.Comparison, Path]) -> None:
    text = (made[1] / "report.json").read_text(encoding="utf-8")
    data = json.loads(text)["data"]
    splits = pd.read_csv(made[1] / "splits.csv")
    assert {name: one["cases"] for name, one in data["splits"].items()} == splits.groupby("split").size().to_dict()
    assert [task["name"] for task in data["tasks"]] == ["segmentation", "dose"]
    assert not any(f'"{case}"' in text for case in splits["case"])
