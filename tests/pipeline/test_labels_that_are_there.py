"""Labels that nothing can be learned or scored by are told before hours of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imsave

from crosstask.datasets import Phantom
from crosstask.errors import InputError
from crosstask.experiment import experiment_from
from crosstask.pipeline.benchmark import run_benchmark
from crosstask.pipeline.context import Context
from crosstask.pipeline.training import train_runs
from crosstask.training.pools import labelled_pools
from crosstask.training.samples import WholeSamples

CLASSES = ["Brainstem", "SpinalCord"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    Phantom.generate(tmp_path / "raw", train=4, validation=1, test=1, seed=3, size=24)
    return tmp_path / "raw"


def experiment(raw: Path, tasks: dict[str, Any], methods: list[str], **changes: Any) -> Any:
    return experiment_from(
        {
            "name": "there",
            "dataset": {"name": "phantom", "root": str(raw), "tasks": tasks},
            "sample": {"kind": "slice", "size": [24, 24]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {"epochs": 1, "batch_size": 4, "samples_per_epoch": 4, "threads": 1, "validation_samples": 4},
            "methods": methods,
            "seeds": [0],
            "store": str(raw.parent / "store"),
            "output": str(raw.parent / "out"),
            **changes,
        }
    )


def runs_of(raw: Path) -> list[Path]:
    return list((raw.parent / "out").glob("runs/*/*"))


def without(raw: Path, name: str, *patients: str) -> None:
    found = [path for patient in patients for path in raw.rglob(f"{patient}/{name}.csv")]
    assert len(found) == len(patients)
    for path in found:
        path.unlink()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Grey pictures of two structures, of which each training case has the outline of one alone."""
    root = tmp_path / "pictures"
    for folder in ("img", "inner", "outer"):
        (root / folder).mkdir(parents=True)
    rows = ["id,split"]
    for number in range(8):
        split = "train" if number < 4 else "val" if number < 6 else "test"
        rows.append(f"{number},{split}")
        image = np.random.default_rng(number).integers(0, 99, (24, 24)).astype(np.uint8)
        imsave(root / "img" / f"{number}.png", image)
        mask = np.zeros((24, 24), np.uint8)
        mask[8:16, 4 + number : 12 + number] = 255
        for folder, has in (("inner", number % 2 == 0), ("outer", number % 2 == 1)):
            if has or split != "train":
                imsave(root / folder / f"{number}.png", mask, check_contrast=False)
                mask = 255 - mask
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    (root / "cohort.yaml").write_text(COHORT)
    return root


COHORT = """
folder: .
table: table.csv
case: id
split: {column: split}
image: img/{id}.png
channels: grey
dimensions: 2
masks:
  parts:
    classes:
      inner: {path: 'inner/{id}.png', values: '>0'}
      outer: {path: 'outer/{id}.png', values: '>0'}
"""


def of_pictures(root: Path, *, exclusive: bool) -> Any:
    dataset = {"name": "cohort", "root": str(root / "cohort.yaml"), "tasks": {"parts": {"exclusive": exclusive}}}
    return experiment(root, dataset["tasks"], ["stl"], dataset=dataset, sample={"kind": "image", "size": [24, 24]})


def test_classes_that_exclude_each_other_and_are_never_labelled_together(pictures: Path) -> None:
    for do in (run_benchmark, train_runs):
        with pytest.raises(InputError, match="no training case has all of inner, outer labelled") as error:
            do(Context(of_pictures(pictures, exclusive=True)))
        assert "exclusive: false" in str(error.value)
    assert not runs_of(pictures)
    assert len(train_runs(Context(of_pictures(pictures, exclusive=False)))) == 1  # what is advised works


def test_the_order_of_samples_counts_what_the_loss_counts(pictures: Path) -> None:
    for exclusive, wanted in ((True, {"4", "7"}), (False, {"0", "1", "4", "7"})):
        planned = of_pictures(pictures, exclusive=exclusive)
        context = Context(planned)
        store = context.prepare(workers=1)
        samples = WholeSamples(store, ["0", "1", "4", "7"], context.assembly, (24, 24))
        (pool,) = labelled_pools(samples, store, context.assembly.tasks)
        assert {samples.cases[index] for index in pool} == wanted


def test_a_task_that_no_test_case_is_labelled_with(raw: Path) -> None:
    """Where single-task learning of it could not be scored; joint methods are scored by the other task alone."""
    without(raw, "dose", "pt_241")
    tasks = {"segmentation": {"classes": CLASSES}, "dose": {}}
    with pytest.raises(
        InputError, match=r"task 'dose': none of the 1 test cases has a label to score stl/seed0/dose by"
    ):
        run_benchmark(Context(experiment(raw, tasks, ["stl", "hps"])))
    assert not runs_of(raw)
    context = Context(experiment(raw, tasks, ["hps"]))
    context.prepare(workers=1)
    context.check_labels(context.splits, scored=True)


def test_a_task_that_no_training_case_is_labelled_with(raw: Path) -> None:
    without(raw, "dose", "pt_1", "pt_2", "pt_3", "pt_4")
    planned = experiment(raw, {"segmentation": {"classes": CLASSES}, "dose": {}}, ["stl"])
    with pytest.raises(
        InputError, match=r"task 'dose': no training case has a label of it; leave it out of dataset\.tasks"
    ):
        run_benchmark(Context(planned))
    assert not runs_of(raw)
