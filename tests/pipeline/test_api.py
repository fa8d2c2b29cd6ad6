"""The Python API: from a table of images to a comparison and a prediction, in a script as a notebook would have it."""

from __future__ import annotations

import csv
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import crosstask as ct
from crosstask.pipeline.api import as_experiment
from crosstask.prediction.predictor import Predictor
from crosstask.runs import RECORD
from crosstask.store import Store

SCRIPT = Path(__file__).parents[2] / "examples" / "first_comparison.py"
CASES = 36


def generate(folder: Path) -> None:
    """A table of pictures with a disk each, its mask, and whether it is bright."""
    draw = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    y, x = np.mgrid[:48, :48]
    rows = []
    for index in range(CASES):
        name, bright = f"p{index:02}", index % 2
        (cy, cx), radius = draw.uniform(16, 32, 2), draw.uniform(6, 12)
        disk = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        grey = np.clip(90 + draw.normal(0, 8, disk.shape) + disk * (40 + 60 * bright), 0, 255)
        Image.fromarray(grey.astype(np.uint8)).save(folder / "images" / f"{name}.png")
        Image.fromarray((disk * 255).astype(np.uint8)).save(folder / "masks" / f"{name}.png")
        rows.append([name, f"images/{name}.png", f"masks/{name}.png", bright])
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "image", "mask", "malignant"], *rows])


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the example's names are after it was run in a folder with data."""
    folder = tmp_path_factory.mktemp("script")
    generate(folder / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = runpy.run_path(str(SCRIPT))
        yield folder, found


def test_the_script_is_short():
    assert len(SCRIPT.read_text().splitlines()) <= 25


def test_a_comparison_is_pandas_text_and_html(script):
    _, found = script
    comparison = found["comparison"]
    table = comparison.table
    assert isinstance(table, pd.DataFrame)
    assert list(dict.fromkeys(table["method"])) == ["constant", "stl", "hps", "ctan+equal"]
    scores = comparison.scores
    dice = scores[(scores["method"] == "hps") & (scores["metric"] == "dice")]["value"].mean()
    cell = table[(table["method"] == "hps") & (table["task"] == "segmentation")]["value"].item()
    assert cell == pytest.approx(dice) and cell > 50  # nothing learned is 0
    assert "CTAN + equal" in str(comparison) and str(comparison).startswith("HPS: no verdict: ")
    assert "cases only, one run each: no verdict and no rank" in str(comparison)
    assert str(comparison) == (comparison.page.parent / "table.txt").read_text(encoding="utf-8")
    assert str(comparison).startswith(comparison.remarks[0])
    frame = comparison.to_frame()
    assert list(frame.columns[:3]) == ["method", "task", "improvement"] and set(frame["verdict"]) <= {
        "no verdict",
        "no ratio: see the difference",
    }
    html = comparison._repr_html_()
    assert (
        html.startswith("<ul class=verdict>")
        and "<table>" in html
        and "CTAN + equal" in html
        and all(word in html for word in ("Δ", "malignant"))
    )
    assert comparison.page.is_file()


def test_pictures_are_drawn_anew(script, tmp_path):
    _, found = script
    pictures = found["comparison"].pictures()
    assert any(picture.title.startswith("Learning curves") for picture in pictures)
    assert all(picture._repr_png_().startswith(b"\x89PNG") for picture in pictures)
    assert Image.open(pictures[0].save(tmp_path / "a.png")).size[0] > 100


def test_a_run_predicts_an_array_as_it_predicts_the_case(script):
    _, found = script
    comparison = found["comparison"]
    store = Store(comparison.experiment.store_folder)
    case = store.open(store.cases[5].id)
    image = case.read("image")
    whole = Predictor(comparison.runs["hps/seed0"]).predict("x", case, case.geometry)
    for array in (image, image[0]):
        prediction = found["run"].predict(array, spacing=0.5)
        for task, values in whole.values.items():
            np.testing.assert_array_equal(prediction[task], values)
    masks = prediction.masks("segmentation")
    assert masks["Structure"].shape == image.shape[1:] and masks["Structure"].dtype == bool
    assert list(prediction.labels["task"]) == ["malignant"]
    assert "<table" in prediction._repr_html_()


def test_a_run_needs_no_data_set(script, monkeypatch):
    folder, found = script
    (folder / "cohort.yaml").rename(folder / "gone.yaml")
    try:
        run = ct.load_run(found["comparison"].runs["ctan+equal/seed0"])
        assert list(run.tasks) == ["segmentation", "malignant"] and len(run.history) == 10
        assert run.predict(np.zeros((50, 30)))["segmentation"].shape == (1, 50, 30)
    finally:
        (folder / "gone.yaml").rename(folder / "cohort.yaml")


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (np.zeros((3, 40, 40, 40)), {}, r"image: shape \(3, 40, 40, 40\) does not fit; this run takes y x"),
        (np.full((40, 40), np.nan), {}, "image: holds NaN"),
        (np.zeros((40, 40)), {"spacing": -1}, "spacing: "),
        (np.zeros((40, 40)), {"structures": {"A": np.zeros((40, 40))}}, "does not take them as input"),
        (np.zeros((40, 40)), {"lesion": np.zeros((40, 41))}, r"shape \(40, 41\).* image \(40, 40\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(script, image, options, said):
    with pytest.raises(ct.InputError, match=said):
        script[1]["run"].predict(image, **options)


def test_the_same_call_keeps_what_is_done_and_prints_nothing(script, capfd):
    _, found = script
    comparison = found["comparison"]
    before = {path: path.stat().st_mtime_ns for path in comparison.experiment.output_folder.rglob("best.safetensors")}
    again = ct.benchmark(comparison.experiment)
    assert capfd.readouterr() == ("", "")
    assert {path: path.stat().st_mtime_ns for path in before} == before and len(before) == 4
    pd.testing.assert_frame_equal(again.table, comparison.table)


def test_evaluate_and_train_as_functions(script):
    _, found = script
    comparison = found["comparison"]
    scores = ct.evaluate(found["run"], split="validation", device="cpu")
    assert set(scores["task"]) == {"segmentation", "malignant"}
    runs = ct.train(comparison.experiment, method="hps")
    assert [run.name for run in runs] == ["hps/seed0"]
    with pytest.raises(ct.InputError, match="split: 'tset' is not accepted"):
        ct.evaluate(found["run"], split="tset")


def test_the_listener_hears_what_happens(script):
    class HeardError(Exception):
        pass

    class Collector(ct.Listener):
        def told(self, line: str) -> None:
            if line.startswith("Store "):
                raise HeardError

    with pytest.raises(HeardError):  # what it raises ends the call
        ct.benchmark(script[1]["comparison"].experiment, listener=Collector())


def test_a_run_of_an_earlier_version_says_what_it_lacks(script, tmp_path):
    import json
    import shutil

    from crosstask.seals import SEALS

    folder = Path(shutil.copytree(script[1]["comparison"].runs["hps/seed0"], tmp_path / "run"))
    (folder / SEALS).unlink()
    record = json.loads((folder / RECORD).read_text())
    del record["assembly"]
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(ct.InputError, match="is of an earlier version and does not say how the run looks at a case"):
        ct.load_run(folder)


def test_experiments_from_files_names_mappings_and_objects(tmp_path):
    by_name = as_experiment("phantom", ["training.epochs=3"])
    assert by_name.training.epochs == 3
    (tmp_path / "e.yaml").write_text(by_name.dump())
    assert (
        as_experiment(tmp_path / "e.yaml") == by_name == as_experiment(by_name) == as_experiment(by_name.model_dump())
    )
    mixed = as_experiment({**by_name.model_dump(), "dataset": by_name.dataset, "training": by_name.training})
    assert mixed == by_name
    with pytest.raises(ct.InputError, match=r"training\.epohcs: no such key; did you mean 'epochs'"):
        as_experiment(by_name, ["training.epohcs=3"])
    assert by_name.training.epochs == 3


def test_every_public_name_is_there_and_importing_takes_nothing():
    assert all(getattr(ct, name) is not None for name in ct.__all__)
    assert set(ct.__all__) == set(ct._PUBLIC) | {"__version__"}
    assert set(ct.__all__) <= set(dir(ct))
    with pytest.raises(AttributeError, match="no attribute 'bench'"):
        ct.bench  # noqa: B018
    code = "import sys, crosstask; print(*{'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
    # nor does a benchmark's own process take what only the processes that train need
    code = "import sys, crosstask.evaluation.run, crosstask; print(callable(crosstask.benchmark)); "
    code += "import crosstask.training.check; print({'lightning', 'monai'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "True\nset()\n"


def test_doctests():
    import doctest

    import crosstask.pipeline.api as api

    assert doctest.testmod(api).failed == 0 and doctest.testmod(api).attempted >= 2


def test_a_table_is_not_described_twice(tmp_path):
    (tmp_path / "cohort.yaml").write_text("")
    with pytest.raises(ct.InputError, match="already exists and is not overwritten"):
        ct.describe_table(tmp_path / "t.csv", tmp_path / "cohort.yaml")
