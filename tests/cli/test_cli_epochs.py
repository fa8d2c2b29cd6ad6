"""``benchmark`` under several rules for the epoch, and the weights that commands take."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cli_runner import Outcome, here, write_experiment

import crosstask
from crosstask.pipeline.listener import Listener

EPOCHS = 4
RUNS = ("stl/seed0/segmentation", "stl/seed0/dose", "hps/seed0")
TASKS = ("segmentation", "dose")


class Heard(Listener):
    """What a benchmark in this process warns of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warned(self, line: str) -> None:
        self.lines.append(line)


@dataclass(frozen=True)
class Benched:
    folder: Path
    results: Path
    snapshots: dict[str, list[int]]
    """Epochs whose weights lay in each run's folder once it was trained."""
    outcome: Outcome
    again: list[str]
    """What the same benchmark said when it was repeated."""
    before: dict[Path, int]

    def run(self, name: str) -> Path:
        return self.results / "runs" / name

    def skills(self, name: str) -> pd.DataFrame:
        table = pd.read_csv(self.run(name) / "history.csv")
        return table[[column for column in table if column.startswith("skill/")]]

    def epochs(self, name: str) -> dict[str, dict[str, int]]:
        return json.loads((self.run(name) / "epochs.json").read_text())["epochs"]

    def scores(self, name: str, rule: str = "") -> pd.DataFrame:
        path = self.run(name) / (f"scores-{rule}.csv" if rule else "scores.csv")
        table = pd.read_csv(path, keep_default_na=False).astype({"value": float})
        return table.sort_values(list(table.columns[:6])).reset_index(drop=True)


@pytest.fixture(scope="module")
def benched(raw, prepared, tmp_path_factory) -> Iterator[Benched]:
    folder = tmp_path_factory.mktemp("cli-epochs")
    results = folder / "results"
    training = {
        "epochs": EPOCHS,
        "batch_size": 4,
        "samples_per_epoch": 16,
        "validation_samples": 8,
        "learning_rate": 3e-3,
        "smoothing": 1,
        "average": 1.0,
        "foreground": 1.0,
        "threads": 1,
        "device": "cpu",
    }
    experiment = write_experiment(folder, raw, prepared.store, training=training, output=str(results))
    crosstask.train(str(experiment))
    snapshots = {
        name: sorted(int(path.stem) for path in (results / "runs" / name / "snapshots").glob("*")) for name in RUNS
    }
    first = here(folder, "benchmark", "experiment.yaml", "--jobs", "2")
    before = {path: path.stat().st_mtime_ns for path in (results / "runs").rglob("scores*.csv")}
    again = Heard()
    crosstask.benchmark(str(experiment), listener=again)
    yield Benched(folder, results, snapshots, first, again.lines, before)
    shutil.rmtree(folder)


def test_each_rule_takes_the_epochs_of_the_highest_validation_skill(benched):
    assert benched.outcome.code == 0, benched.outcome.err
    together = pd.concat([benched.skills(f"stl/seed0/{task}") for task in TASKS], axis=1).mean(axis=1)
    own = {task: benched.skills(f"stl/seed0/{task}")[f"skill/{task}"] for task in TASKS}
    shared = benched.skills("hps/seed0")
    last = lambda values: int(values[values == values.max()].index[-1])  # noqa: E731
    for task in TASKS:
        assert benched.epochs(f"stl/seed0/{task}") == {
            "joint": {task: last(together)},
            "per_task": {task: last(own[task])},
        }
    assert benched.epochs("hps/seed0") == {
        "joint": dict.fromkeys(TASKS, last(shared.mean(axis=1))),
        "per_task": {task: last(shared[f"skill/{task}"]) for task in TASKS},
    }


def test_only_weights_that_may_be_needed_are_kept_and_none_in_the_end(benched):
    record = {name: json.loads((benched.run(name) / "run.json").read_text())["training"] for name in RUNS}
    for name in RUNS[:2]:  # which epoch all tasks share is not known before the last of them is trained
        assert benched.snapshots[name] == sorted({*range(EPOCHS - 1)} - {record[name]["best_epoch"]})
    chosen = {epoch for rule in benched.epochs("hps/seed0").values() for epoch in rule.values()}
    assert set(benched.snapshots["hps/seed0"]) == chosen - {record["hps/seed0"]["best_epoch"], EPOCHS - 1}
    assert not list(benched.results.rglob("snapshots"))


def test_scores_of_an_epoch_are_those_of_its_weights(benched, call, tmp_path):
    last = EPOCHS - 1
    for name in RUNS:
        best = json.loads((benched.run(name) / "run.json").read_text())["training"]["best_epoch"]
        shown = call("evaluate", benched.run(name), "--weights", "best", "-o", "best.csv")
        assert shown.code == 0 and "Scores of the weights best: best.csv" in shown.out
        of_best = pd.read_csv(tmp_path / "best.csv", keep_default_na=False)
        found = {last: benched.scores(name), best: of_best.sort_values(list(of_best.columns[:6]))}
        checked = 0
        for rule, epochs in benched.epochs(name).items():
            table = benched.scores(name, rule)
            assert len(table) == len(benched.scores(name))
            for task, epoch in epochs.items():
                if epoch in found:
                    part = found[epoch][found[epoch]["task"] == task]["value"]
                    assert table[table["task"] == task]["value"].tolist() == pytest.approx(part.tolist(), nan_ok=True)
                    checked += 1
        assert checked


def test_the_three_rules_are_shown_wherever_the_comparison_is(benched):
    table = pd.read_csv(benched.results / "epochs.csv")
    assert list(dict.fromkeys(table["rule"])) == ["final", "joint", "per_task"]
    assert set(table["method"]) == {"hps"} and set(table["task"]) == {*TASKS, "mean"}
    by_rule = table.set_index(["rule", "task"])["improvement_percent"]
    judged = pd.read_csv(benched.results / "table.csv").query("method == 'hps'").set_index("task")
    for rule in ("joint", "per_task"):
        means = []
        for name in ("stl/seed0/dose", "hps/seed0"):
            scores = benched.scores(name, rule).query("metric == 'mae'")
            means.append(scores.groupby("case")["value"].mean().mean())
        assert by_rule[rule, "dose"] == pytest.approx(100 * (means[0] - means[1]) / means[0])
    assert by_rule["final", "dose"] == pytest.approx(judged.loc["dose", "improvement_percent"])
    page = (benched.results / "index.html").read_text(encoding="utf-8")
    assert ">Other epochs</h2>" in page and "Judged: the weights of the last epoch." in page
    assert "one epoch for all tasks" in (benched.results / "table.md").read_text(encoding="utf-8")
    assert "Δ each task's own epoch" in benched.outcome.out


def test_the_same_command_scores_nothing_again(benched):
    assert {path: path.stat().st_mtime_ns for path in benched.before} == benched.before
    assert benched.again == []


def test_other_weights_are_judged_without_training_anew(benched, call, tmp_path, monkeypatch):
    folder = tmp_path
    shutil.copytree(benched.folder, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    values = yaml.safe_load((folder / "experiment.yaml").read_text()) | {"output": str(folder / "results")}
    weights = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    heard = Heard()
    crosstask.benchmark(values, ["evaluation.weights=average"], listener=heard)
    assert any(
        "scored before with the weights final, and now anew with the weights average" in line for line in heard.lines
    )
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == weights
    page = (folder / "results" / "index.html").read_text(encoding="utf-8")
    assert "Judged: the moving average of the weights (time constant: 1 epoch) at the last epoch." in page
    table = pd.read_csv(folder / "results" / "epochs.csv")
    assert list(dict.fromkeys(table["rule"])) == ["average", "joint", "per_task"]
    before = pd.read_csv(benched.results / "epochs.csv")
    for rule in ("joint", "per_task"):  # they do not hang on the weights that are judged
        figures = [one[one["rule"] == rule]["improvement_percent"].tolist() for one in (before, table)]
        assert figures[0] == pytest.approx(figures[1], nan_ok=True)
    shown = call("evaluate", folder / "results" / "runs" / "hps" / "seed0")
    assert "Scores of the weights average: " in shown.out

    found = crosstask.benchmark(values, ["evaluation.other_epochs=false", "evaluation.weights=average"])
    assert found.epochs is None and not (folder / "results" / "epochs.csv").exists()


def test_weights_that_are_gone_leave_the_rules_out_and_say_so(benched, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(benched.folder, folder)
    values = yaml.safe_load((folder / "experiment.yaml").read_text()) | {"output": str(folder / "results")}
    name = "stl/seed0/segmentation"
    (folder / "results" / "runs" / name / "scores-joint.csv").unlink()
    record = json.loads((folder / "results" / "runs" / name / "run.json").read_text())
    lost = set(benched.epochs(name)["joint"].values()) - {record["training"]["best_epoch"], EPOCHS - 1}
    heard = Heard()
    found = crosstask.benchmark(values, listener=heard)
    said = [line for line in heard.lines if "The comparison under other rules for the epoch is left out" in line]
    assert bool(said) == bool(lost) == (found.epochs is None)
    assert all(f"of {name} the weights" in line and line in found.remarks for line in said)


def test_predict_takes_the_judged_weights_and_others_by_name(benched, raw, call, tmp_path):
    files = {}
    for weights in (None, "final", "average"):
        more = () if weights is None else ("--weights", weights)
        folder = tmp_path / str(weights)
        shown = call("predict", benched.run("hps/seed0"), raw, "--case", "pt_241", "-o", folder, *more)
        assert shown.code == 0, shown.err
        files[weights] = (folder / "pt_241.csv").read_bytes()
    assert files[None] == files["final"] != files["average"]
