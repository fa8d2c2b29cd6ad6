"""Trained runs on another clinic's cases: one or all, from Python, the command line and the experiment."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file

import crosstask as ct
from crosstask.cli.main import main
from crosstask.errors import InputError
from crosstask.evaluation.scores import read_scores
from crosstask.pipeline.api import as_experiment
from crosstask.pipeline.external_set import find_external
from crosstask.pipeline.subject import benchmark_at
from crosstask.runs import IMAGES, run_specs
from external_fakes import (
    AWAY,
    CLASSES,
    KINDS,
    STATED,
    TASKS,
    home_experiment,
    make_away,
    make_home,
    our_name,
    their_name,
)

SCORED = [f"x{index}" for index in range(AWAY)]


class World:
    """A folder with a benchmark of four runs, and another clinic's cases with six copies of ours among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.away = make_home(folder / "home"), folder / "away"
        make_away(self.away, copies=6, home=folder / "home")
        self.output = folder / "results"
        self.values = home_experiment(self.home, self.output)  # stl of three tasks, and hps
        self.comparison = ct.benchmark(self.values)
        self.run = self.output / "runs" / "hps" / "seed0"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("external"))


@pytest.fixture
def fresh(world: World, tmp_path: Path) -> Path:
    """A copy of the results, to be changed."""
    shutil.copytree(world.output, tmp_path / "results")
    return tmp_path / "results"


class Heard(ct.Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def told(self, line: str) -> None:
        self.lines.append(line)

    warned = told

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def on(run: Any, world: World, heard: Heard | None = None, **more: Any) -> Any:
    options = {"tasks": TASKS, "classes": CLASSES, "device": "cpu", "listener": heard or Heard(), **more}
    return ct.evaluate(run, on=world.away, **options)


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["crosstask", *map(str, words)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_figures_are_those_of_predictions_by_hand(world: World, tmp_path: Path) -> None:
    """Files read by Pillow, predicted as arrays, named by hand and counted by hand."""
    scores = on(world.run, world, output=tmp_path / "scores.csv")
    trained = ct.load_run(world.run, device="cpu")
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    dices = {}
    for index in range(AWAY):
        path = next((world.away / "Bilder").glob(f"x{index}.*"))
        with Image.open(path) as image:
            predicted = trained.predict(np.array(image.convert("RGB")))
        kind = our_name(their_name(index))
        if kind is not None:
            hits[kind].append(KINDS[int(np.argmax(predicted["kind"]))] == kind)
        if index != 4:
            with Image.open(world.away / "Bilder" / f"m{index}.PNG") as image:
                true = np.array(image) > 0
            mask = np.asarray(predicted["outline"]).reshape(true.shape) > 0.5
            dices[f"x{index}"] = 200 * (mask & true).sum() / (mask.sum() + true.sum())
    balanced = 100 * np.mean([np.mean(own) for own in hits.values()])
    found = scores[(scores["task"] == "kind") & (scores["metric"] == "balanced_accuracy")]["value"].item()
    assert found == pytest.approx(balanced, abs=1e-9)
    dice = scores[(scores["task"] == "outline") & (scores["metric"] == "dice")].set_index("case")["value"]
    assert dice.to_dict() == pytest.approx(dices, abs=1e-3)
    assert not set(scores["case"]) & {f"x{100 + index}" for index in range(6)}


def test_two_devices_give_the_same_tables(world: World, tmp_path: Path) -> None:
    tables = []
    for device in ("cpu", "cpu,cpu"):
        heard = Heard()
        on(world.run, world, heard, output=tmp_path / "scores.csv", device=device)
        assert f"Device: {device.replace(',', ', ')}" in heard.lines
        names = ("scores.csv", "scores-predictions.csv", "scores-mapping.csv", "scores-notes.txt")
        tables.append([(tmp_path / name).read_bytes() for name in names])
    assert tables[0] == tables[1]


def test_what_is_taken_as_what_stands_beside_the_scores(world: World, tmp_path: Path) -> None:
    heard = Heard()
    on(world.run, world, heard, output=tmp_path / "scores.csv")
    notes = (tmp_path / "scores-notes.txt").read_text(encoding="utf-8")
    names = [their_name(index) for index in range(AWAY)]
    words = {"RED": "RED as red", "Crimson": "Crimson as red", "Grün, hell": "Grün, hell as green", "blue": "blue"}
    counted = {text: names.count(name) for name, text in words.items()}
    for text in (notes, heard.text):
        assert "6 of 20 cases are refused, since the same pixels trained a run" in text
        assert "x100 (h0), x101 (h1)" in text
        assert all(f"{taken} ({number})" in text for taken, number in counted.items())
        assert "None of ours, left out: odd (2)" in text and "2 cases are left out of kind by that" in text
        assert "Their tasks that are none of ours: age." in text
    rows = pd.read_csv(tmp_path / "scores-mapping.csv", keep_default_na=False)
    assert rows[rows["their_class"] == "odd"].iloc[0].to_dict() == {
        "task": "kind", "their_task": "Farbe", "their_class": "odd", "class": "", "cases": 2, "how": "left out",
    }  # fmt: skip
    assert (tmp_path / "scores-predictions.csv").exists()


def test_a_finding_is_decided_by_thresholds_of_the_runs_own_validation_cases(world: World, tmp_path: Path) -> None:
    before = json.loads((world.run / "thresholds.json").read_text())
    on(world.run, world, output=tmp_path / "scores.csv")
    assert json.loads((world.run / "thresholds.json").read_text()) == before
    table = pd.read_csv(tmp_path / "scores-predictions.csv")
    wet = table[table["task"] == "wet"]
    assert len(wet) == AWAY
    assert (wet["decision"] == (wet["prediction"] > before["final"]["wet"][0])).all()


def test_thresholds_that_were_not_chosen_yet_are_chosen_on_the_runs_own_cases(fresh: Path, world: World) -> None:
    run = fresh / "runs" / "hps" / "seed0"
    before = (run / "thresholds.json").read_text()
    (run / "thresholds.json").unlink()
    on(run, world)
    assert json.loads((run / "thresholds.json").read_text()) == json.loads(before)


@pytest.mark.parametrize("more", [(), ("evaluation.threshold=0.4",)], ids=["alone", "beside a threshold"])
def test_where_classes_count_alike_by_the_command_their_thresholds_are_chosen_too(
    fresh: Path, world: World, tmp_path: Path, more: tuple[str, ...]
) -> None:
    run = fresh / "runs" / "hps" / "seed0"
    assert "kind" not in json.loads((run / "thresholds.json").read_text())["final"]
    overrides = ["evaluation.decision=balanced", *more]
    on(run, world, overrides=overrides, output=tmp_path / "scores.csv")
    chosen = json.loads((run / "thresholds.json").read_text())["final"]["kind"]
    assert sum(chosen) == pytest.approx(1) and len(set(chosen)) > 1
    table = pd.read_csv(tmp_path / "scores-predictions.csv")
    kind = table[table["task"] == "kind"]
    names = kind["class"].drop_duplicates().tolist()
    predicted, decided = (
        kind.pivot(index="case", columns="class", values=of)[names] for of in ("prediction", "decision")
    )
    np.testing.assert_array_equal(decided.to_numpy().argmax(1), (predicted / chosen).to_numpy().argmax(1))


@pytest.fixture(scope="module")
def compared(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Heard]:
    """A copy of the results, the comparison on the other clinic's cases, and what was told."""
    folder = tmp_path_factory.mktemp("compared") / "results"
    shutil.copytree(world.output, folder)
    heard = Heard()
    return folder, on(folder, world, heard), heard


def test_a_benchmark_is_compared_on_them(compared: tuple[Path, Any, Heard]) -> None:
    output, comparison, heard = compared
    folder = output / "external" / "away"
    assert comparison.page == folder / "index.html"
    assert {path.name for path in folder.iterdir()} >= {
        "index.html", "table.txt", "table.md", "table.csv", "table.tex", "scores.csv", "predictions.csv",
        "constant.csv", "mapping.csv", "notes.txt", "store", "runs",
    }  # fmt: skip
    assert list(comparison.table["task"].unique()) == ["outline", "kind", "wet"]
    assert set(comparison.scores["method"]) == {"stl", "hps"}
    for name in ("table.txt", "table.md", "table.csv", "table.tex", "index.html", "notes.txt"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "cases are refused" in text and "Crimson as red" in text, name
    for spec in ("hps/seed0", "stl/seed0/kind"):
        kept = read_scores(folder / "runs" / spec / "scores.csv")
        assert set(kept["case"]) - {""} <= set(SCORED)
    assert heard.text.count("scored on away") == 4


def test_the_constant_knows_the_training_cases_of_the_benchmark(compared: tuple[Path, Any, Heard]) -> None:
    """It decides for one kind, so it is right in one of three; there are as many of each in training."""
    constant = compared[1].constant
    kind = constant[constant["task"] == "kind"].set_index("metric")["value"]
    assert kind["balanced_accuracy"] == pytest.approx(100 / 3)
    known = [our_name(their_name(index)) for index in range(AWAY)]
    shares = {100 * known.count(kind) / sum(name is not None for name in known) for kind in KINDS}
    assert any(kind["accuracy"] == pytest.approx(share) for share in shares)


class StoppedError(Exception):
    """Raised where tables would be written: what was scored by then is told."""


def test_what_is_scored_is_kept_until_weights_mapping_or_cases_change(
    compared: tuple[Path, Any, Heard], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "results"
    shutil.copytree(compared[0], output)

    def stop(*arguments: object) -> None:
        raise StoppedError

    monkeypatch.setattr("crosstask.pipeline.external.write_long_tables", stop)

    def scored(**more: Any) -> list[str]:
        heard = Heard()
        with pytest.raises(StoppedError):
            on(output, world, heard, **more)
        return [line.partition(":")[0] for line in heard.lines if "scored on away" in line]

    every = ["stl/seed0/outline", "stl/seed0/kind", "stl/seed0/wet", "hps/seed0"]
    assert scored() == []
    run = output / "runs" / "hps" / "seed0"
    with (run / "final.safetensors").open("r+b") as file:  # other weights
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    monkeypatch.setattr("crosstask.prediction.predictor.load_checked", lambda path: load_file(path))
    assert scored() == ["hps/seed0"] and scored() == []
    stated = {**CLASSES, "kind": {**CLASSES["kind"], "odd": "blue"}}
    assert scored(classes=stated) == every and scored(classes=stated) == []
    assert scored(classes=stated, weights="best") == every and scored(classes=stated) == every
    (world.away / "extra.txt").write_text("no case")  # changes nothing
    assert scored(classes=stated) == []
    make_away(tmp_path / "away")
    other = {"dataset": "cohort", "root": str((world.away / "cohort.yaml").resolve()), "options": {}}
    source = output / "external" / "away" / "source.json"
    assert json.loads(source.read_text()) == other
    source.write_text(json.dumps({**other, "root": str((tmp_path / "away" / "cohort.yaml").resolve())}))
    moved = Heard()
    with pytest.raises(StoppedError):
        ct.evaluate(
            output, on=tmp_path / "away", tasks=TASKS, classes=stated, device="cpu", listener=moved
        )  # without the copies: the cases that are scored are the same
    assert "scored on away" not in moved.text and "6 removed" in moved.text


def test_a_damaged_table_is_not_taken_for_scores(
    compared: tuple[Path, Any, Heard], world: World, tmp_path: Path
) -> None:
    shutil.copytree(compared[0], tmp_path / "results")
    fresh = tmp_path / "results"
    path = fresh / "external" / "away" / "runs" / "hps" / "seed0" / "scores.csv"
    path.write_text(path.read_text().replace("kind", "kinb"))
    with pytest.raises(InputError, match=r"scores.csv: is damaged.*scored.txt"):
        on(fresh, world)


def test_an_experiment_names_them_after_training(fresh: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs do not depend on it: nothing is trained anew, and the page shows the table and leads to the other."""
    monkeypatch.chdir(world.folder)
    section = {"dataset": str(world.away), "tasks": TASKS, "classes": CLASSES}
    values = home_experiment(world.home, fresh, external={"clinic": section})
    before = {path: path.stat().st_mtime_ns for path in fresh.rglob("best.safetensors")}
    comparison = ct.benchmark(values)
    assert {path: path.stat().st_mtime_ns for path in fresh.rglob("best.safetensors")} == before
    other = comparison.external["clinic"]
    assert other.inner.dataset == "home on clinic" and other.page == fresh / "external" / "clinic" / "index.html"
    page = comparison.page.read_text(encoding="utf-8")
    assert "<a href='external/clinic/index.html'>" in page and "Crimson as red" in page
    assert "external" not in yaml.safe_load((fresh / "runs/hps/seed0/experiment.yaml").read_text()).get("external", {})
    known = benchmark_at(fresh).external  # the output knows the experiment
    name, found = find_external("clinic", own="cohort", known=known)
    assert name == "clinic" and found.classes == CLASSES and found.tasks == TASKS


def test_what_is_wrong_with_them_is_said_before_anything_is_trained(world: World, tmp_path: Path) -> None:
    section = {"dataset": str(world.away), "tasks": TASKS, "classes": {"kind": {"Crimsom": "red"}}}
    values = home_experiment(world.home, tmp_path / "new", external={"clinic": section})
    with pytest.raises(InputError, match="no class 'Crimsom' there; did you mean 'Crimson'"):
        ct.benchmark(values)
    assert not (tmp_path / "new" / "runs").exists()


@pytest.mark.parametrize(
    ("external", "words"),
    [
        ({"a b": {"dataset": "x"}}, "external: 'a b' cannot name external cases"),
        ({"a": {"dataset": "x", "tasks": {"Farbe": "kinds"}}}, "'kinds' is no task; did you mean 'kind'?"),
        ({"a": {"dataset": "x", "classes": {"kid": {"x": "red"}}}}, "classes.kid: is no task; did you mean 'kind'?"),
        ({"a": {"dataset": "x", "classes": {"kind": {True: "red"}}}}, "write 'yes', 'no', 'on' and the like in quotes"),
        ({"a": {"datasets": "x"}}, "external.a.datasets: no such key; did you mean 'dataset'?"),
        ({"a": {"dataset": {"name": "cohort"}}}, "a.dataset.root: is missing; give folder of the raw"),
        ({"a": {}}, "external.a.dataset: is missing"),
    ],
)  # fmt: skip
def test_the_section_is_checked_with_the_file(external: Any, words: str) -> None:
    from crosstask.experiment import experiment_from

    with pytest.raises(InputError) as error:
        experiment_from(home_experiment(Path("home"), Path("out"), external=external))
    assert words in str(error.value)


def test_numbers_are_names(world: World) -> None:
    from crosstask.experiment import experiment_from

    values = home_experiment(world.home, Path("out"))
    section = {"dataset": {"root": "x", "name": "ham10000"}, "classes": {"kind": {1: "red"}}}
    found = experiment_from({**values, "external": {"a": section}})
    assert found.external["a"].classes == {"kind": {"1": "red"}} and found.external["a"].dataset.name == "ham10000"


def test_a_copy_that_was_saved_anew_is_a_hint(world: World, tmp_path: Path) -> None:
    make_away(tmp_path / "away")
    with Image.open(world.home.parent / "pictures" / "h0.png") as image:
        image.save(tmp_path / "away" / "Bilder" / "x0.JPG", quality=100, subsampling=0)
    table = tmp_path / "away" / "Liste.csv"
    mask = tmp_path / "away" / "Bilder" / "m0.PNG"
    Image.fromarray(np.ones((40, 48), np.uint8)).save(mask)
    table.write_text(table.read_text(encoding="utf-8").replace("x0.TIF", "x0.JPG"), encoding="utf-8")
    heard = Heard()
    scores = ct.evaluate(
        world.run, on=tmp_path / "away", tasks=TASKS, classes=CLASSES, device="cpu", name="hint", listener=heard
    )
    assert "1 cases look like cases that trained a run, saved anew" in heard.text and "x0 (h0)" in heard.text
    assert "x0" in set(scores["case"])


def test_the_same_id_alone_is_no_more_than_a_hint(world: World, tmp_path: Path) -> None:
    make_away(tmp_path / "away")
    table = tmp_path / "away" / "Liste.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("x3;", "h3;"), encoding="utf-8")
    heard = Heard()
    scores = ct.evaluate(
        world.run, on=tmp_path / "away", tasks=TASKS, classes=CLASSES, device="cpu", name="ids", listener=heard
    )
    assert "1 cases have the id of a case that trained a run but other pixels, and are scored: h3." in heard.text
    assert "h3" in set(scores["case"])


def test_the_runs_own_data_leave_the_test_cases(world: World) -> None:
    heard = Heard()
    scores = ct.evaluate(world.run, on=world.home, device="cpu", name="own", listener=heard)
    assert set(scores["case"]) - {""} == {f"h{index}" for index in range(12, 18)}
    assert "12 of 18 cases are refused" in heard.text and "6 of 18 cases are test cases of the runs too" in heard.text


def test_cases_that_all_trained_are_an_error(world: World, tmp_path: Path) -> None:
    make_away(tmp_path / "away", copies=6, home=world.home.parent)
    table = tmp_path / "away" / "Liste.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([lines[0], *lines[-6:]]), encoding="utf-8")
    with pytest.raises(InputError, match="all 6 cases have the pixels of cases that trained"):
        ct.evaluate(world.run, on=tmp_path / "away", tasks=TASKS, classes=CLASSES, device="cpu", name="none")


def test_a_run_without_digests_takes_them_from_its_store_or_says_that_it_cannot(fresh: Path, world: World) -> None:
    run = fresh / "runs" / "hps" / "seed0"
    settings = yaml.safe_load((run / "experiment.yaml").read_text())
    moved = {**settings, "store": str(fresh / "store")}
    (run / "experiment.yaml").write_text(yaml.safe_dump(moved))
    (run / IMAGES).unlink()
    heard = Heard()
    on(run, world, heard)
    assert "6 of 20 cases are refused" in heard.text
    (fresh / "store").rename(fresh / "elsewhere")
    heard = Heard()
    on(run, world, heard)
    assert "it cannot be told which cases trained hps/seed0" in heard.text and "refused" not in heard.text
    heard = Heard()
    on(run, world, heard, store=fresh / "elsewhere")
    assert "6 of 20 cases are refused" in heard.text


def test_without_store_and_data_the_digests_that_the_run_kept_are_enough(fresh: Path, world: World) -> None:
    run = fresh / "runs" / "hps" / "seed0"
    settings = yaml.safe_load((run / "experiment.yaml").read_text())
    settings["store"] = str(fresh / "gone")
    settings["dataset"]["root"] = str(fresh / "gone.yaml")
    (run / "experiment.yaml").write_text(yaml.safe_dump(settings))
    heard = Heard()
    on(run, world, heard)
    assert "6 of 20 cases are refused" in heard.text and "were not looked for" in heard.text


def test_images_that_do_not_fit_are_one_line(world: World, tmp_path: Path) -> None:
    path = make_away(tmp_path / "away")
    path.write_text(path.read_text(encoding="utf-8").replace("colour", "grey"), encoding="utf-8")
    with pytest.raises(InputError, match=r"has 1 channels; .* three channels \(colour\); set channels: colour in"):
        ct.evaluate(world.run, on=path, tasks=TASKS, classes=CLASSES, device="cpu", name="grey")


def test_values_of_more_bits_are_told(world: World, tmp_path: Path) -> None:
    import tifffile

    path = make_away(tmp_path / "away")
    for file in sorted((tmp_path / "away" / "Bilder").glob("x*.*")):
        with Image.open(file) as image:
            deep = np.array(image.convert("RGB")).astype(np.uint16) * 257
        file.unlink()
        tifffile.imwrite(file.with_suffix(".tif"), deep, photometric="rgb")
    table = tmp_path / "away" / "Liste.csv"
    text = table.read_text(encoding="utf-8")
    for ending in (".TIF", ".BMP", ".PNG;Bilder"):
        text = text.replace(ending, ".tif" + ending[4:])
    table.write_text(text, encoding="utf-8")
    heard = Heard()
    ct.evaluate(world.run, on=path, tasks=TASKS, classes=CLASSES, device="cpu", name="deep", listener=heard)
    assert "do not lie in the run's windows (0 to 255)" in heard.text


def test_another_unit_is_not_judged_and_said(world: World, tmp_path: Path) -> None:
    values = home_experiment(world.home, tmp_path / "ages", methods=["hps"], seeds=[0])
    values["dataset"] = {**values["dataset"], "tasks": ["kind", "age"]}
    ct.train(values)
    heard = Heard()
    run = tmp_path / "ages" / "runs" / "hps" / "seed0"
    scores = on(run, world, heard, tasks={"Farbe": "kind"}, classes={"kind": CLASSES["kind"]})
    assert set(scores["task"]) == {"kind"}
    assert "age is not judged: ours is in years, theirs in months" in heard.text


def test_a_name_is_of_one_set_of_cases(world: World, tmp_path: Path) -> None:
    on(world.run, world, name="taken")
    heard = Heard()
    ct.evaluate(world.run, on=world.away / "cohort.yaml", tasks=TASKS, classes=CLASSES, name="taken", listener=heard)
    assert "0 written, 0 rebuilt, 20 kept" in heard.text  # the folder and its file are the same
    make_away(tmp_path / "other")
    with pytest.raises(InputError, match="give these cases another name"):
        ct.evaluate(world.run, on=tmp_path / "other", tasks=TASKS, classes=CLASSES, device="cpu", name="taken")


def test_a_name_of_the_experiment_goes_before_the_same_path_and_not_before_another(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    for root, taken in (("away", True), ("away/cohort.yaml", True), ("elsewhere/cohort.yaml", False)):
        values = home_experiment(world.home, tmp_path, external={"away": {"dataset": root, "classes": CLASSES}})
        known = as_experiment(values).external
        if taken:
            assert find_external("away", own="cohort", known=known) == ("away", known["away"])
        else:
            with pytest.raises(InputError, match=r"and a path to others; give \./away"):
                find_external("away", own="cohort", known=known)
        assert find_external("./away", own="cohort", known=known)[1].classes == {}


# --- the command line ---


def test_the_command_scores_a_run_and_a_benchmark(fresh, world, capsys, monkeypatch):
    monkeypatch.chdir(fresh.parent)
    run = Path("results/runs/hps/seed0")
    code, out, err = command(capsys, monkeypatch, "evaluate", run, "--on", world.away / "cohort.yaml", *STATED)
    assert code == 0, err
    assert "balanced_accuracy" in out and "scores-on-away.csv" in out and "6 of 20 cases are refused" in err
    path = fresh.parent / "home.yaml"
    path.write_text(yaml.safe_dump({**world.values, "output": "results"}))
    words = ("evaluate", "home.yaml", "--on", world.away, *STATED, "methods=[hps]")
    code, out, err = command(capsys, monkeypatch, *words)
    assert code == 0, err
    assert "STL" not in out and "HPS" in out and "home on away" in out and "Crimson as red" in out
    assert str(Path("away", "index.html")) in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--on", "nowhere"), "--on: nowhere: no such experiment file, cohort file or folder"),
        (("--on", "phantomm"), "did you mean 'phantom'?"),
        (("--on", "AWAY/Liste.csv"), "is no YAML file; describe a table of images with crosstask cohort init"),
        (("--on", "AWAY/Bilder"), "it has no cohort.yaml and is of no known data set; give DATASET=FOLDER"),
        (("--on", "ham1000=AWAY"), "did you mean 'ham10000'?"),
        (("--on", "AWAY", "--class", "kind.RED"), "--class kind.RED: is no statement; write TASK.THEIRS=OURS"),
        (("--on", "AWAY", "--task", "Farbe"), "--task Farbe: is no statement; write THEIRS=OURS"),
        (("--on", "AWAY", "--class", "kind.RED=red", "--class", "kind.RED=blue"), "'RED' is 'red' already"),
        (("--on", "AWAY", "--split", "all"), "--split: 'all' is not accepted"),
        (("--class", "kind.RED=red"), "--class: is of external cases; give these with --on"),
    ],
)
def test_what_the_command_refuses_is_one_line(world, capsys, monkeypatch, words, said):
    given = [word.replace("AWAY", str(world.away)) for word in words]
    code, _, err = command(capsys, monkeypatch, "evaluate", world.run, *given)
    assert code == 2 and said in err and err.count("\n") == 1


def test_a_benchmark_that_is_not_trained_to_its_end_is_refused(fresh, world, capsys, monkeypatch):
    shutil.rmtree(fresh / "runs" / "hps" / "seed0")
    code, _, err = command(capsys, monkeypatch, "evaluate", fresh, "--on", world.away, *STATED)
    assert code == 2 and "1 of 4 runs are not trained to their end (hps/seed0)" in err


def test_an_output_folder_from_before_is_told_by_its_runs(fresh, world):
    (fresh / "experiment.yaml").unlink()
    found = benchmark_at(fresh)
    assert found.methods == ["stl", "hps"] and found.seeds == [0] and found.output_folder == fresh
    assert {spec.name for spec in run_specs(found)} == set(world.comparison.runs)
