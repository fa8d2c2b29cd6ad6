"""A major diagnosis, characteristics that help it, variants and splits by seed: one call of ``benchmark``."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_runner import Outcome
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import recall_score, roc_auc_score

from crosstask.cli.main import main
from crosstask.evaluation.run import is_done, train_and_score
from crosstask.evaluation.scores import read_scores
from crosstask.runs import read_record

CASES, SEEDS = 60, (0, 1)
NAMES = ("auxiliary", "stl")
KEYS = ["auxiliary+slow", "auxiliary+plain", "stl+slow", "stl+plain"]
LABELS = {
    "sick": {"kind": "binary", "column": "sick"},
    "mark": {"kind": "classes", "column": "mark", "classes": ["none", "mild", "severe"]},
    "smooth": {"kind": "binary", "column": "smooth"},
    "noise": {"kind": "binary", "column": "noise"},
    "flat": {"kind": "binary", "column": "flat"},
    "pair": {"kind": "findings", "columns": ["noise", "smooth"]},
}
TASKS = ["mark", "sick", "smooth", "noise", "flat"]


def make_cohort(folder: Path) -> Path:
    """Pictures in pairs of one patient; ``mark`` goes with the diagnosis, ``smooth`` against it, the others neither."""
    rng = np.random.default_rng(3)
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(CASES):
        sick = (index // 2) % 2
        Image.fromarray(rng.integers(1, 255, (32, 32)).astype(np.uint8)).save(folder / "images" / f"c{index:02}.png")
        mark = ["none", "mild", "severe"][min(2, sick + int(rng.random() < 0.4))]
        # the pattern of noise repeats over patients and both diagnoses
        noise = (index // 4) % 2
        rows.append([f"c{index:02}", f"p{index // 2}", sick, mark if index % 10 else "", 1 - sick, noise, 1])
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "patient", "sick", "mark", "smooth", "noise", "flat"], *rows])
    spec = {"table": "table.csv", "case": "id", "group": "patient", "image": "images/{id}.png", "labels": LABELS}
    (folder / "cohort.yaml").write_text(yaml.safe_dump({**spec, "licence": "none needed"}))
    return folder / "cohort.yaml"


def write(folder: Path, **changes: Any) -> Path:
    experiment = {
        "name": "lesions",
        "dataset": {
            "name": "cohort",
            "root": str(folder / "raw" / "cohort.yaml"),
            "tasks": TASKS,
            "windows": [[0, 255]],
            "splits": {"rule": "drawn", "fractions": [0.5, 0.2, 0.3], "stratify": "sick", "by_seed": True},
        },
        "sample": {"kind": "image", "size": [32, 32]},
        "encoder": {"name": "resnet18-narrow"},
        "weighting": {"name": "spearman"},
        "training": {"epochs": 1, "batch_size": 8, "samples_per_epoch": 8, "threads": 1, "device": "cpu"},
        "evaluation": {"bootstrap": 200, "least_positives": 1},
        "major": "sick",
        "variants": {"slow": {"encoder": {"learning_rate": 1e-5}}, "plain": {}},
        "methods": ["auxiliary", "stl"],
        "seeds": list(SEEDS),
        "output": str(folder / "results"),
        "store": str(folder / "store"),
        **changes,
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    return path


Trained = list[str]


def call(*arguments: object) -> tuple[Outcome, Trained]:
    """The command with its runs in this process, and which of them it trained."""
    trained: Trained = []

    def run_all(plans: list[Any], store_root: Path, **_: Any) -> None:
        for plan in plans:
            if not is_done(plan):
                train_and_score(plan, store_root)
                trained.append(plan.name)

    printed, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(errors):
        patch.setattr("crosstask.pipeline.benchmark.run_all", run_all)
        patch.setattr(sys, "argv", ["crosstask", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
    return Outcome(int(stop.value.code or 0), printed.getvalue(), errors.getvalue()), trained


@dataclass(frozen=True)
class Benched:
    folder: Path
    results: Path
    outcome: Outcome
    trained: Trained


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benched]:
    folder = tmp_path_factory.mktemp("cli-variants")
    make_cohort(folder / "raw")
    yield Benched(folder, folder / "results", *call("benchmark", write(folder)))
    shutil.rmtree(folder)  # weights: hundreds of megabytes


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def splits(benched: Benched, seed: int) -> dict[str, list[str]]:
    rows = rows_of(benched.results / "splits" / f"seed{seed}.csv")
    return {name: [row["case"] for row in rows if row["split"] == name] for name in ("train", "validation", "test")}


def labels(benched: Benched) -> pd.DataFrame:
    return pd.read_csv(benched.folder / "raw" / "table.csv").set_index("id")


def test_every_method_variant_and_seed_is_trained_once(benched):
    assert benched.outcome.code == 0, benched.outcome.err
    assert sorted(benched.trained) == sorted(
        f"{key}/seed{seed}{'/sick' * key.startswith('stl')}" for key in KEYS for seed in SEEDS
    )
    assert set(read_scores(benched.results / "scores.csv")["method"]) == set(KEYS)


def test_each_seed_has_test_cases_of_its_own(benched):
    assert not (benched.results / "splits.csv").exists()
    tested = [set(splits(benched, seed)["test"]) for seed in SEEDS]
    assert tested[0] != tested[1]
    predictions = pd.read_csv(benched.results / "predictions.csv", dtype=str)
    for (_, seed), part in predictions.groupby(["method", "seed"]):
        assert set(part[part["task"] == "sick"]["case"]) == tested[int(seed)]
    constant = read_scores(benched.results / "constant.csv")
    assert set(constant["seed"]) == set(SEEDS) and "flat" not in set(constant["task"])


def test_only_what_goes_with_the_diagnosis_is_learned(benched):
    for seed in SEEDS:
        record = read_record(benched.results / "runs" / "auxiliary+slow" / f"seed{seed}")
        assert record["tasks"] == TASKS and record["learned"] == ["mark", "sick", "smooth"]
        single = read_record(benched.results / "runs" / "stl+slow" / f"seed{seed}" / "sick")
        assert single["learned"] == single["tasks"] == ["sick"]
    scores = read_scores(benched.results / "scores.csv")
    assert set(scores[scores["method"].str.startswith("auxiliary")]["task"]) == {"mark", "sick", "smooth"}


def test_characteristics_are_correlated_on_the_training_cases_alone(benched):
    rows = rows_of(benched.results / "characteristics.csv")
    assert [(row["seed"], row["characteristic"]) for row in rows] == [
        (str(seed), name) for seed in SEEDS for name in TASKS if name != "sick"
    ]
    table = labels(benched)
    order = {"none": 0, "mild": 1, "severe": 2}
    for row in rows:
        training = table.loc[splits(benched, int(row["seed"]))["train"]]
        values = training[row["characteristic"]]
        values = (values.map(order) if row["characteristic"] == "mark" else values).astype(float)
        known = values.notna()
        assert int(row["cases"]) == known.sum()
        if row["characteristic"] == "flat":
            assert row["rho"] == "" and row["kept"] == "0" and "is the same in all cases" in row["reason"]
            continue
        expected = spearmanr(values[known], training["sick"][known])
        assert float(row["rho"]) == pytest.approx(expected.statistic)
        assert float(row["p"]) == pytest.approx(expected.pvalue, abs=1e-12)
        kept = expected.pvalue < 0.05
        assert row["kept"] == str(int(kept))
        assert float(row["weight"]) == pytest.approx(abs(expected.statistic) if kept else 0)
        history = pd.read_csv(benched.results / "runs" / "auxiliary+plain" / f"seed{row['seed']}" / "history.csv")
        column = f"weight/{row['characteristic']}"
        assert (column in history) == kept
        if kept:
            assert history[column].iloc[0] == pytest.approx(0.3 * abs(expected.statistic))
    text = (benched.results / "characteristics.md").read_text(encoding="utf-8")
    assert re.search(r"\| smooth \| -1\.00.* yes|\| smooth \| -1\.00 \[-1\.00, -1\.00\].* 2 of 2 seeds", text)
    assert "Variants" not in text  # they differ in nothing that the choice looks at


def test_table_2_is_printed_and_is_that_of_sklearn(benched):
    text = (benched.results / "diagnosis.txt").read_text(encoding="utf-8")
    assert text in benched.outcome.out
    lines = text.splitlines()
    first = next(at for at, line in enumerate(lines, 1) if line.startswith("-"))  # titles may take two lines
    assert [line[:12].strip() for line in lines[first : first + 4]] == [
        "MTL + slow",
        "MTL + plain",
        "STL + slow",
        "STL + plain",
    ]
    assert "decided at thresholds of highest balanced accuracy on validation cases" in " ".join(lines[first + 4 :])
    predictions = pd.read_csv(benched.results / "predictions.csv")
    found = {(row["method"], row["figure"]): row for row in rows_of(benched.results / "diagnosis.csv")}
    areas = {}
    for key in KEYS:
        part = predictions[(predictions["task"] == "sick") & (predictions["method"] == key)]
        seeds = [run for _, run in part.groupby("seed")]
        areas[key] = np.mean([100 * roc_auc_score(run["target"], run["prediction"]) for run in seeds])
        hits = np.mean([100 * recall_score(run["target"], run["decision"]) for run in seeds])
        rejected = np.mean([100 * recall_score(run["target"], run["decision"], pos_label=0) for run in seeds])
        right = np.mean([100 * (run["target"] == run["decision"]).mean() for run in seeds])
        expected = {"auc": areas[key], "sensitivity": hits, "specificity": rejected, "accuracy": right}
        for figure, value in expected.items():
            row = found[key, figure]
            assert float(row["value"]) == pytest.approx(value)
            assert float(row["low"]) <= value <= float(row["high"])
    for variant in ("slow", "plain"):
        gain = float(found[f"auxiliary+{variant}", "auc_minus_stl"]["value"])
        assert gain == pytest.approx(areas[f"auxiliary+{variant}"] - areas[f"stl+{variant}"])
    assert ("stl+slow", "auc_minus_stl") not in found
    for suffix in ("md", "tex"):
        assert "MTL + slow" in (benched.results / f"diagnosis.{suffix}").read_text(encoding="utf-8")


def test_methods_are_compared_by_the_major_alone_with_stl_of_their_variant(benched):
    rows = {row["method"]: row for row in rows_of(benched.results / "table.csv")}
    assert list(rows) == ["constant", *KEYS]
    assert {row["task"] for row in rows.values()} == {"sick"}
    for variant in ("slow", "plain"):
        ours, theirs = (float(rows[f"{name}+{variant}"]["value"]) for name in ("auxiliary", "stl"))
        row = rows[f"auxiliary+{variant}"]
        assert float(row["difference"]) == pytest.approx(ours - theirs)
        assert row["interval_covers"].startswith("runs and cases")
        ranks = sorted(
            (rows[f"{name}+{variant}"]["rank_low"], rows[f"{name}+{variant}"]["rank_high"]) for name in NAMES
        )
        if row["verdict"] == "no ratio: see the difference":  # with two seeds and few cases STL may be near zero
            assert row["improvement_percent"] == "" and ranks == [("", "")] * 2
        else:
            assert float(row["improvement_percent"]) == pytest.approx(100 * (ours - theirs) / theirs)
            assert ranks in ([("1", "2")] * 2, [("1", "1"), ("2", "2")])
    assert float(rows["constant"]["value"]) == 50
    text = (benched.results / "table.md").read_text(encoding="utf-8")
    assert "| mark |" in text and "each on test cases of its own" in text
    assert "Every seed has a split of its own" in text


def test_the_page_has_both_tables_of_the_paper(benched):
    page = (benched.results / "index.html").read_text(encoding="utf-8")
    assert ">Diagnosis: sick</h2>" in page and ">Characteristics</h2>" in page
    assert "MTL + plain" in page and "auxiliary+plain/seed1" in page


def test_a_second_call_trains_nothing_and_says_the_same(benched):
    outcome, trained = call("benchmark", write(benched.folder))
    assert (outcome.code, trained) == (0, [])
    *splits, warning = outcome.err.splitlines()
    assert all(line.startswith("seed ") for line in splits)  # of splits that hold one class alone
    assert warning.startswith("Warning: auxiliary+slow/seed0: never predicted where it is, in validation samples ")
    assert warning.endswith(" (3 more runs never predict some class)")
    # but for the line about the store, which had to be written the first time, and those of runs in this process
    said = [line for line in benched.outcome.out.splitlines()[1:] if not re.search(": is (trained|scored) on ", line)]
    assert outcome.out.splitlines()[1:] == said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"weighting": {"name": "spearman", "m": 0.5}}, ("weighting.m", "auxiliary+slow")),
        ({"variants": {"plain": {"encoder": {"learning_rate": 1e-3}}}}, ("encoder.learning_rate", "auxiliary+plain")),
        ({"major": "smooth"}, ("major", "auxiliary+slow")),
        ({"weighting": {"name": "dwa"}}, ("weighting.name", "auxiliary+slow")),
    ],
)
def test_other_settings_are_refused(benched, changes, named):
    folder = benched.folder
    outcome, trained = call("benchmark", write(folder, **changes))
    write(folder)
    assert outcome.code == 2 and trained == []
    assert all(part in outcome.error for part in named)


def test_splits_of_another_seed_of_splits_are_refused(benched):
    outcome, trained = call("benchmark", write(benched.folder), "dataset.splits.seed=7")
    assert outcome.code == 2 and trained == []
    assert "dataset.splits.seed" in outcome.error


def test_other_architectures_learn_the_same_choice_beside_what_is_there(benched):
    shared = ("methods=[hps,mtan,ctan,stl]", "seeds=[0]", "variants={plain: {}}")
    outcome, trained = call("benchmark", write(benched.folder, stl_network="auxiliary"), *shared)
    assert outcome.code == 0, outcome.err
    assert trained == [f"{name}+plain/seed0" for name in ("hps", "mtan", "ctan")]
    for name in trained:
        assert read_record(benched.results / "runs" / name)["learned"] == ["mark", "sick", "smooth"]
    assert "HPS + plain" in outcome.out and "MTL" not in outcome.out


@pytest.mark.parametrize(
    "weighting",
    [{"name": "equal"}, {"name": "dwa"}, {"name": "fixed", "weights": {"sick": 1.0, "smooth": 0.5, "noise": 0.5}}],
    ids=lambda weighting: weighting["name"],
)
def test_other_weightings_keep_all_characteristics(benched, weighting):
    output = benched.folder / str(weighting["name"])
    path = write(benched.folder, weighting=weighting, output=str(output))
    arguments = ("methods=[auxiliary]", "seeds=[0]", "variants={}", "dataset.tasks=[sick,smooth,noise]")
    outcome, _ = call("benchmark", path, *arguments)
    assert outcome.code == 0, outcome.err
    assert read_record(output / "runs" / "auxiliary" / "seed0")["learned"] == ["sick", "smooth", "noise"]
    assert not list(output.rglob("characteristics.*"))
    assert (output / "diagnosis.txt").exists() and "AUC - STL" not in outcome.out


def test_where_nothing_is_kept_the_major_is_learned_alone_and_that_is_said(benched):
    arguments = ("methods=[auxiliary]", "seeds=[0]", "variants={}", "dataset.tasks=[sick,noise,flat]")
    outcome, _ = call("benchmark", write(benched.folder), *arguments, f"output={benched.folder / 'lonely'}")
    assert outcome.code == 0, outcome.err
    folder = benched.folder / "lonely" / "runs" / "auxiliary" / "seed0"
    assert read_record(folder)["learned"] == ["sick"]
    (line,) = [line for line in outcome.err.splitlines() if "learned sick alone" in line]
    assert line.startswith("auxiliary/seed0: ") and str(folder / "characteristics.csv") in line
    history = pd.read_csv(folder / "history.csv")
    assert (history["weight/sick"] == 1).all() and "weight/noise" not in history


@pytest.mark.parametrize(
    ("method", "names"), [("stl", ["stl+slow", "stl+plain"]), ("stl+plain", ["stl+plain"]), ("stl+none", None)]
)
def test_train_takes_names_and_keys(benched, method, names):
    outcome, _ = call("train", write(benched.folder), "--method", method, "seeds=[1]")
    if names is None:
        assert outcome.code == 2 and "'stl+none'" in outcome.error and "'auxiliary+plain'" in outcome.error
        return
    assert outcome.code == 0, outcome.err
    lines = [line for line in outcome.out.splitlines() if "epochs" in line]
    assert [line.partition("/")[0] for line in lines] == names


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (
            ["sick", "pair"],
            "needs one value a case, and task 'pair' has 2 (noise, smooth); give each a task of its own",
        ),
        (["pair", "smooth", "sick"], "task 'pair' has 2"),
    ],
)
def test_what_has_no_rank_is_refused_before_anything_is_prepared(benched, tmp_path, tasks, said):
    places = (f"output={tmp_path / 'results'}", f"store={tmp_path / 'store'}")
    outcome, _ = call("benchmark", write(benched.folder), f"dataset.tasks={tasks}", *places)
    assert outcome.code == 2
    assert said in outcome.error
    assert not (tmp_path / "store").exists()
