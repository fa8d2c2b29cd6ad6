"""From a raw data set with a third of all labels missing to a page: four tasks of both levels and all kinds."""

import numpy as np
import pandas as pd
import pytest
from ham10000_fakes import make_ham10000

from crosstask.assembly import assembly_of, dataset_of
from crosstask.evaluation.comparison import compare
from crosstask.evaluation.evaluate import evaluate_constant
from crosstask.evaluation.examples import save_examples
from crosstask.evaluation.run import collect_predictions, collect_scores, train_and_score
from crosstask.experiment import experiment_from
from crosstask.report.benchmark_page import Benchmark, write_report
from crosstask.runs import read_record, run_specs
from crosstask.splits import splits_of
from crosstask.store import Store, prepare

TASKS = ("segmentation", "diagnosis", "age", "localization")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    raw = make_ham10000(folder / "raw", lesions=90, size=(32, 40), diagnoses=("bkl", "mel", "nv"))
    experiment = experiment_from(
        {
            "name": "mixed",
            "dataset": {
                "name": "ham10000",
                "root": str(raw),
                "tasks": {
                    "segmentation": {},
                    "diagnosis": {},
                    "age": {},
                    "localization": {},
                },
                "windows": [[0, 255]],
                "splits": {"rule": "drawn", "fractions": [0.5, 0.2, 0.3], "stratify": "diagnosis"},
                "hide_labels": 0.33,
            },
            "sample": {"kind": "image", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {
                "epochs": 2,
                "batch_size": 8,
                "samples_per_epoch": 40,
                "learning_rate": 3e-3,
                "balance": "diagnosis",
                "augmentation": {"flip": ["x", "y"], "rotate": 20},
                "cache": True,
                "threads": 1,
            },
            "evaluation": {"bootstrap": 200},
            "methods": ["stl", "hps", "ctan"],
            "seeds": [0],
            "output": str(folder / "results"),
            "store": str(folder / "store"),
        }
    )
    prepare(dataset_of(experiment), experiment.store_folder, workers=1)
    for plan in run_specs(experiment):
        train_and_score(plan, experiment.store_folder)
    return experiment


def test_every_task_of_every_method_has_figures_and_none_is_nan(benchmark):
    plans = run_specs(benchmark)
    scores, predictions = collect_scores(plans), collect_predictions(plans)
    assert np.isfinite(scores["value"]).all()
    assert set(scores["task"]) == set(TASKS)
    store = Store(benchmark.store_folder)
    comparison = compare(
        scores,
        dataset="mixed",
        methods=benchmark.methods,
        predictions=predictions,
        groups={case.id: case.group for case in store.cases},
        resamplings=200,
    )
    assert [measure.task for measure in comparison.measures] == list(TASKS)
    assert [measure.metric for measure in comparison.measures] == [
        "dice",
        "balanced_accuracy",
        "mae",
        "balanced_accuracy",
    ]
    for row in comparison.rows:
        for task, cell in row.cells.items():
            assert np.isfinite(cell.value)
            if row.method == "stl":
                continue
            assert np.isfinite(cell.improvement) != bool(cell.undefined)
            if not np.isfinite([cell.low, cell.high]).all():  # and then it is said why
                assert cell.undefined or any(remark.startswith(f"{task}: no interval") for remark in comparison.remarks)
    assert comparison.groups < max(comparison.cases.values())
    constant = evaluate_constant(benchmark, store)
    for plan in plans[-1:]:
        save_examples(plan.folder, store, splits_of(store, benchmark.dataset, "image")["test"][:2])
    whole = Benchmark(benchmark, plans, scores, predictions, constant.scores, comparison)
    page = write_report(whole, benchmark.output_folder)
    text = page.read_text(encoding="utf-8")
    assert all(task in text for task in TASKS)
    assert "nan" not in (benchmark.output_folder / "table.txt").read_text(encoding="utf-8").lower()


def test_missing_labels_are_scored_nowhere(benchmark):
    store = Store(benchmark.store_folder)
    tested = splits_of(store, benchmark.dataset, "image")["test"]
    predictions = collect_predictions(run_specs(benchmark))
    scores = collect_scores(run_specs(benchmark))
    for task, source in {"diagnosis": "diagnosis", "age": "age", "localization": "localization"}.items():
        known = {case for case in tested if store.open(case).channels[source]}
        assert 0 < len(known) < len(tested)
        assert set(predictions[predictions["task"] == task]["case"]) == known
    masks = {case for case in tested if store.open(case).channels["lesion"]}
    assert set(scores[scores["task"] == "segmentation"]["case"]) == masks


def test_training_history_has_no_nan(benchmark):
    for plan in run_specs(benchmark):
        history = pd.read_csv(plan.folder / "history.csv")
        assert np.isfinite(history.to_numpy(dtype=float)).all()
        assert read_record(plan.folder)["trained"]


def test_the_assembly_knows_its_channels(benchmark):
    assembly = assembly_of(benchmark, dataset_of(benchmark))
    assert assembly.in_channels == 3
    assert [task.level for task in assembly.tasks] == ["pixel", "image", "image", "image"]
