"""Ensembles of seeds beside their seeds: every figure against one computed by hand from what the networks predict."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from ham10000_fakes import make_ham10000
from sklearn.metrics import balanced_accuracy_score

import crosstask as ct
from crosstask.errors import InputError
from crosstask.evaluation.ensembles import ENSEMBLE, OF_SPREAD, Resampling, figures_of, mean_predictions
from crosstask.evaluation.predictions import prediction_table
from crosstask.evaluation.scores import score_table
from crosstask.experiment import EvaluationSection, Experiment, experiment_from
from crosstask.functional.dice import dice
from crosstask.pipeline.ensembles import score_ensembles
from crosstask.prediction.ensemble import Ensemble
from crosstask.prediction.predictor import Predictor
from crosstask.report.ensembles import ensembles_csv, ensembles_table, ensembles_text, spread_table, write_ensembles
from crosstask.runs import run_specs
from crosstask.splits import splits_of
from crosstask.store import Store
from crosstask.tasks import ClassificationTask, ScalarTask, SegmentationTask


def rows(method: str, seed: int, task: str, kind: str, name: str, values: dict[str, tuple[float, float]]):
    return [(method, seed, case, task, kind, name, target, value, value) for case, (target, value) in values.items()]


# --- from tables ---


def test_predictions_are_averaged_and_decided_by_the_thresholds():
    table = prediction_table(
        [
            *rows("hps", 0, "sign", "sigmoid", "b", {"c1": (1, 0.9), "c2": (0, 0.5)}),
            *rows("hps", 0, "sign", "sigmoid", "a", {"c1": (0, 0.2)}),
            *rows("hps", 1, "sign", "sigmoid", "b", {"c1": (1, 0.5), "c2": (0, 0.3)}),
            *rows("hps", 1, "sign", "sigmoid", "a", {"c1": (0, 0.4)}),
            *[row for seed in (0, 1) for name, p in (("x", 0.3 + 0.2 * seed), ("y", 0.7 - 0.2 * seed))
              for row in rows("hps", seed, "kind", "softmax", name, {"c1": (name == "x", p)})],
            *rows("hps", 0, "age", "quantity", "age", {"c1": (40, 30.0)}),
            *rows("hps", 1, "age", "quantity", "age", {"c1": (40, 36.0)}),
        ]
    )  # fmt: skip
    found = mean_predictions(table, {"sign": {"a": 0.25, "b": 0.6}}).set_index(["task", "class", "case"])
    assert (found["seed"] == ENSEMBLE).all() and len(found) == 6
    assert found.loc[("sign", "b", "c1"), ["prediction", "decision"]].tolist() == [pytest.approx(0.7), 1]
    assert found.loc[("sign", "b", "c2"), ["prediction", "decision"]].tolist() == [pytest.approx(0.4), 0]
    assert found.loc[("sign", "a", "c1"), ["prediction", "decision"]].tolist() == [pytest.approx(0.3), 1]
    assert found.loc[("sign", "b", "c1"), "spread"] == pytest.approx(np.std([0.9, 0.5], ddof=1))
    assert found.loc[("kind", "y", "c1"), ["prediction", "decision"]].tolist() == [pytest.approx(0.6), 1]
    assert found.loc[("kind", "x", "c1"), "decision"] == 0
    assert found.loc[("age", "age", "c1"), ["prediction", "decision"]].tolist() == [33, 33]
    alike = mean_predictions(table, {"sign": {"a": 0.25, "b": 0.6}, "kind": {"x": 0.3, "y": 0.7}})
    alike = alike.set_index(["task", "class", "case"])["decision"]
    assert (alike["kind", "x", "c1"], alike["kind", "y", "c1"]) == (1, 0)  # 0.4 / 0.3 and 0.6 / 0.7


def test_a_seed_that_lacks_a_case_is_named():
    table = prediction_table(
        [
            *rows("hps", 0, "age", "quantity", "age", {"c1": (40, 30.0), "c2": (50, 60.0)}),
            *rows("hps", 1, "age", "quantity", "age", {"c1": (40, 30.0)}),
        ]
    )
    with pytest.raises(InputError, match=r"hps: not every seed has a prediction of 'age' for case c2; run crosstask"):
        mean_predictions(table, {})
    assert len(mean_predictions(prediction_table([]), {})) == 0


def test_figures_of_tables_are_means_and_their_intervals_over_cases():
    rng = np.random.default_rng(0)
    cases = [f"c{index}" for index in range(30)]
    alone = score_table(
        ("hps", seed, case, "organs", name, "dice", rng.uniform(60, 90), "%", True)
        for seed in (0, 1, 2)
        for case in cases
        for name in ("a", "b")
    )
    together = score_table(
        ("hps", ENSEMBLE, case, "organs", name, "dice", rng.uniform(70, 95), "%", True)
        for case in cases
        for name in ("a", "b")
    )
    groups = {case: f"g{index // 2}" for index, case in enumerate(cases)}
    task, nothing = SegmentationTask("organs", "structures", ("a", "b")), prediction_table([])
    how = Resampling(groups, 2000, 0.95)
    (found,) = figures_of([task], (together, alone), (nothing.assign(spread=[]), nothing), how)
    assert (found.metric, found.unit, found.higher_is_better, found.seeds, found.cases) == ("dice", "%", True, 3, 30)
    assert found.together == pytest.approx(together["value"].mean())
    assert found.alone == pytest.approx(alone["value"].mean())
    of_group = together.assign(group=together["case"].map(groups)).groupby("group")["value"].mean()
    error = of_group.std(ddof=1) / math.sqrt(len(of_group))
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.low < found.together < found.high


def test_classification_and_age_have_calibration_and_spread():
    rng = np.random.default_rng(1)
    table = []
    for case in range(60):
        true, age = float(case % 2), rng.uniform(20, 80)
        for seed in range(3):
            logit = 2 * (true - 0.5) + rng.normal(0, 1.5)
            table += rows("hps", seed, "sign", "sigmoid", "a", {f"c{case}": (true, 1 / (1 + math.exp(-logit)))})
            table += rows("hps", seed, "age", "quantity", "age", {f"c{case}": (age, age + rng.normal(0, 5))})
    predictions = prediction_table(table)
    together = mean_predictions(predictions, {"sign": {"a": 0.5}})
    tasks = [ClassificationTask("sign", "sign", ("a",), exclusive=False), ScalarTask("age", "age", "years")]
    nothing = score_table([])
    found = figures_of(tasks, (nothing, nothing), (together, predictions), Resampling({}, 200, 0.95))
    known = {(one.task, one.metric): one for one in found}
    sign, age = (together[together["task"] == name] for name in ("sign", "age"))
    brier = known["sign", "brier"]
    assert brier.together == pytest.approx(((sign["prediction"] - sign["target"]) ** 2).mean())
    own = predictions[predictions["task"] == "sign"]
    assert brier.alone == pytest.approx(((own["prediction"] - own["target"]) ** 2).mean())
    assert brier.together < brier.alone  # it is convex, whatever is averaged
    expected = 100 * balanced_accuracy_score(sign["target"], sign["decision"])
    assert known["sign", "balanced_accuracy"].together == pytest.approx(expected)
    assert known["sign", "auc"].together > known["sign", "auc"].alone
    assert {("sign", "calibration_error"), ("age", "mae"), ("age", "r2")} <= known.keys()
    error = (age["prediction"] - age["target"]).abs()
    assert known["age", "mae"].together == pytest.approx(error.mean())
    assert known["age", "within_1sd"].together == pytest.approx(100 * (error <= age["spread"]).mean())
    assert math.isnan(known["age", "within_1sd"].alone) and known["age", "within_1sd"].higher_is_better is None


# --- from networks ---


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("ensembles")
    raw = make_ham10000(folder / "raw", lesions=60, size=(32, 40), diagnoses=("mel", "nv"))
    experiment = experiment_from(
        {
            "name": "together",
            "dataset": {
                "name": "ham10000",
                "root": str(raw),
                "tasks": {"segmentation": {}, "sex": {}, "age": {}},
                "windows": [[0, 255]],
                "splits": {"rule": "drawn", "fractions": [0.4, 0.3, 0.3], "stratify": "sex"},
            },
            "sample": {"kind": "image", "size": [32, 32]},
            "encoder": {"name": "resnet18-narrow"},
            "training": {"epochs": 1, "samples_per_epoch": 16, "learning_rate": 3e-3, "threads": 1},
            "evaluation": {"bootstrap": 50, "ensembles": True, "other_epochs": False, "least_positives": 1},
            "methods": ["stl", "hps"],
            "seeds": [0, 1],
            "output": str(folder / "results"),
            "store": str(folder / "store"),
        }
    )
    ct.benchmark(experiment)
    return experiment


def test_a_benchmark_writes_the_table_and_its_page_has_it(benchmark: Experiment):
    table = pd.read_csv(benchmark.output_folder / "ensembles.csv")
    assert set(table["method"]) == {"stl", "hps"} and set(table["task"]) == {"segmentation", "sex", "age"}
    assert not table.duplicated(["method", "task", "metric"]).any()
    assert (table["seeds"] == 2).all()
    assert table["mean_of_seeds"].isna().equals(table["metric"].isin(OF_SPREAD))
    for name, task in (("dice", "segmentation"), ("brier", "segmentation"), ("auc", "sex"), ("mae", "age")):
        assert len(table[(table["metric"] == name) & (table["task"] == task)]) == 2
    page = (benchmark.output_folder / "index.html").read_text()
    assert ">Ensembles of seeds</h2>" in page and "neither verdict nor rank" in page
    assert "ensemble" not in (benchmark.output_folder / "verdict.csv").read_text().lower()


def test_the_mean_of_seeds_is_that_of_the_scores(benchmark: Experiment):
    table = pd.read_csv(benchmark.output_folder / "ensembles.csv").set_index(["method", "task", "metric"])
    scores = pd.read_csv(benchmark.output_folder / "scores.csv")
    for method in ("stl", "hps"):
        for task, metric in (("segmentation", "dice"), ("sex", "auc"), ("age", "mae")):
            own = scores[(scores["method"] == method) & (scores["task"] == task) & (scores["metric"] == metric)]
            expected = own.groupby("seed")["value"].mean().mean()
            assert table.loc[(method, task, metric), "mean_of_seeds"] == pytest.approx(expected, rel=1e-5)


def test_every_figure_is_that_of_the_ensemble_s_own_predictions(benchmark: Experiment):
    """Image-level figures come from kept tables: they must be those of the networks together."""
    store = Store(benchmark.store_folder)
    test = splits_of(store, benchmark.dataset, "image")["test"]
    table = pd.read_csv(benchmark.output_folder / "ensembles.csv").set_index(["method", "task", "metric"])["ensemble"]
    for method in ("stl", "hps"):
        folders = [spec.folder for spec in run_specs(benchmark) if spec.key == method]
        ensemble = Ensemble(folders, device="cpu")
        (sex,) = (task for task in ensemble.tasks if task.name == "sex")
        overlaps, squares, errors, sexes = [], [], [], []
        for case in test:
            arrays = store.open(case)
            found = ensemble.predict(case, arrays, arrays.geometry).values
            if arrays.channels["lesion"]:
                mask = arrays.read("lesion")[0]
                overlaps.append(100 * dice(found["segmentation"][0] > 0.5, mask))
                squares.append(((found["segmentation"][0].astype(float) - mask) ** 2).mean())
            if arrays.channels["age"]:
                errors.append(abs(float(found["age"][0]) - float(arrays.read("age")[0])))
            if arrays.channels["sex"]:
                sexes.append((float(arrays.read("sex")[0]), float(sex.decide(found["sex"])[0])))
        assert table[method, "segmentation", "dice"] == pytest.approx(np.mean(overlaps), rel=1e-5)
        assert table[method, "segmentation", "brier"] == pytest.approx(np.mean(squares), rel=1e-5)
        assert table[method, "age", "mae"] == pytest.approx(np.mean(errors), rel=1e-5)
        target, decision = np.array(sexes).T
        expected = 100 * balanced_accuracy_score(target, decision)
        assert table[method, "sex", "balanced_accuracy"] == pytest.approx(expected)


def test_what_was_scored_is_kept_until_it_changes(benchmark: Experiment, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    predict = Predictor.predict

    def counted(self, case_id, *rest):
        asked.append(case_id)
        return predict(self, case_id, *rest)

    monkeypatch.setattr(Predictor, "predict", counted)
    before = score_ensembles(benchmark)
    assert asked == []  # nor does any image-level figure need a network
    folder = benchmark.output_folder / "ensembles" / "hps"
    (folder / "made.json").write_text("{")
    assert score_ensembles(benchmark) == before
    number = len(splits_of(Store(benchmark.store_folder), benchmark.dataset, "image")["test"])
    assert len(asked) == 2 * number


def test_in_python(benchmark: Experiment, tmp_path):
    raw = benchmark.dataset.root
    (case, *_) = splits_of(Store(benchmark.store_folder), benchmark.dataset, "image")["test"]
    asked = {"cases": [case], "format": "npz", "device": "cpu"}
    done = ct.predict(benchmark.output_folder, raw, tmp_path / "files", ensemble=True, method="stl", **asked)
    assert (done.done, done.failed) == (1, ())
    with np.load(tmp_path / "files" / f"{case}.npz") as found:
        assert {"segmentation", "sex", "age", "age_spread", "sex_entropy"} <= set(found.files)
    with pytest.raises(InputError, match=r"is a benchmark of several methods; add --method, one of stl, hps"):
        ct.predict(benchmark.output_folder, raw, tmp_path / "more", **asked)


def test_one_method_alone(benchmark: Experiment):
    found = ct.evaluate_ensembles(benchmark.output_folder, method="hps")
    assert set(found["method"]) == {"hps"} and {"mean_of_seeds", "ensemble", "low", "high"} <= set(found.columns)
    with pytest.raises(InputError, match=r"^--method: 'ctan' is not among the experiment's methods: stl, hps$"):
        ct.evaluate_ensembles(benchmark, method="ctan")


def test_on_validation_cases_it_says_so(benchmark: Experiment):
    """Last of those that look at the scores: the runs are scored anew."""
    ct.benchmark(benchmark, ["evaluation.split=validation", "methods=[hps]"])
    table = pd.read_csv(benchmark.output_folder / "ensembles.csv")
    cases = splits_of(Store(benchmark.store_folder), benchmark.dataset, "image")["validation"]
    assert (table["cases"] <= len(cases)).all() and table["cases"].max() == len(cases)
    for name in ("ensembles.txt", "ensembles.md", "index.html"):
        assert "no result" in (benchmark.output_folder / name).read_text()
    with pytest.raises(InputError, match="is not scored as the experiment says; run crosstask benchmark first"):
        ct.evaluate_ensembles(benchmark)


def test_one_seed_and_seeds_with_test_cases_of_their_own_are_refused(benchmark: Experiment, tmp_path):
    with pytest.raises(InputError, match=r"^evaluation\.ensembles: an ensemble needs two seeds or more; give seeds="):
        ct.benchmark(benchmark, ["seeds=[0]", f"output={tmp_path / 'one'}"])
    with pytest.raises(InputError, match=r"^evaluation\.ensembles: every seed has splits of its own .* set it false"):
        ct.benchmark(benchmark, ["dataset.splits.by_seed=true", f"output={tmp_path / 'own'}"])
    assert not (tmp_path / "one").exists() and not (tmp_path / "own").exists()
    with pytest.raises(InputError, match="run hps/seed2 is not trained to its end; run crosstask benchmark first"):
        ct.evaluate_ensembles(ct.Experiment(**{**benchmark.model_dump(), "seeds": [0, 1, 2]}), method="hps")


# --- as tables ---


def test_the_tables_say_what_they_are(tmp_path):
    rng = np.random.default_rng(1)
    table = [
        row
        for case in range(20)
        for seed in range(2)
        for row in rows("hps", seed, "age", "quantity", "age", {f"c{case}": (40.0 + case, 40 + case + rng.normal())})
    ]
    predictions = prediction_table(table)
    nothing, how = score_table([]), Resampling({}, 100, 0.9)
    task = ScalarTask("age", "age", "years")
    figures = figures_of([task], (nothing, nothing), (mean_predictions(predictions, {}), predictions), how)
    titles, lines = ensembles_table(figures, 0.9)
    assert titles == ["Method", "Task", "Metric", "Mean of seeds", "Ensemble", "90 %: cases only"]
    assert [line[2] for line in lines] == ["mae (years) ↓", "r2 ↑"] and lines[0][0] == "HPS x 2"
    assert spread_table(figures)[1][0][:2] == ["HPS", "age"]
    settings = EvaluationSection(level=0.9)
    text = ensembles_text(figures, settings)
    assert "neither verdict nor rank" in text and "Within 1 SD (68.3 %)" in text
    write_ensembles(figures, settings, tmp_path)
    assert (tmp_path / "ensembles.csv").read_text() == ensembles_csv(figures)
    assert "| HPS x 2 | age |" in (tmp_path / "ensembles.md").read_text()
    write_ensembles(None, settings, tmp_path)
    assert not list(tmp_path.iterdir())
