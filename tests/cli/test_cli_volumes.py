"""3-D as a user runs it: patches trained, resumed, compared, predicted and packed; beams; a cascade of two runs."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from cli_runner import forked, here

from crosstask.assembly import assembly_of, dataset_of
from crosstask.datasets import Phantom
from crosstask.datasets.base import CaseData
from crosstask.evaluation.handed_on import earlier_of, prediction_parts, run_files
from crosstask.evaluation.mirror import Change
from crosstask.evaluation.remote import Begun, Ended, Job, Lacks, Shipped, do_job, fingerprint_of, store_parts
from crosstask.evaluation.run import train_and_score
from crosstask.evaluation.scores import read_scores
from crosstask.evaluation.work import Work, log_of
from crosstask.experiment import load_experiment
from crosstask.export.predicted import RECORD
from crosstask.functional.sides import other_sides
from crosstask.inputs import PREDICTED
from crosstask.io import openkbp_csv
from crosstask.prediction.predictor import Predictor
from crosstask.runs import earlier_runs, files_of, run_specs
from crosstask.store import Store
from crosstask.store.derived import CompletedStore, Derived
from crosstask.training.module import TrainingModule

SHAPE = (24, 24, 24)


def experiment_file(folder: Path, raw: Path, name: str, **changes: Any) -> Path:
    """Patches of a tiny phantom, one epoch; its output is ``name`` in the folder."""
    values: dict[str, Any] = {
        "name": name,
        "dataset": {
            "name": "phantom",
            "root": str(raw),
            "tasks": {"segmentation": {"classes": ["RightParotid", "LeftParotid"]}, "dose": {}},
            "windows": [[0, 2500]],
        },
        "sample": {"kind": "patch", "size": [16, 16, 24]},
        "encoder": {"name": "resnet18-narrow"},
        "training": {
            "epochs": 1,
            "batch_size": 2,
            "samples_per_epoch": 4,
            "validation_samples": 2,
            "foreground": 0.5,
            "threads": 1,
            "device": "cpu",
        },
        "methods": ["hps"],
        "seeds": [0],
        "output": str(folder / name),
        "store": str(folder / "store"),
    }
    for key, change in changes.items():
        values[key] = {**values[key], **change} if isinstance(values.get(key), dict) else change
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


class World:
    """Two benchmarks, the second on what the run of the first predicts."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.raw = folder, folder / "raw"
        Phantom.generate(self.raw, train=3, validation=1, test=2, seed=5, size=SHAPE[0])
        augmented = {"augmentation": {"flip": ["x"], "exchange_sides": True}}
        plain = yaml.safe_load(experiment_file(folder, self.raw, "first").read_text())
        training = {**plain["training"], **augmented}
        self.first = experiment_file(folder, self.raw, "first", training=training, evaluation={"tta": "flips"})
        self.run = folder / "first" / "runs" / "hps" / "seed0"
        data = {**plain["dataset"], "tasks": {"dose": {}}, "structure_input": True}
        data["beams"] = {"angles": [0, 120, 240], "margin": 4}
        self.second = experiment_file(
            *(folder, self.raw, "second"),
            training={**training, "foreground": 0.0},
            dataset=data,
            input_from=str(self.run),
            methods=["stl"],
            evaluation={"other_epochs": False, "bootstrap": 50},
        )
        self.later = folder / "second" / "runs" / "stl" / "seed0" / "dose"
        self.trained = here(folder, "train", "first.yaml")
        self.compared = forked(folder, "benchmark", "second.yaml", "-j", "1")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("volumes"))


def raw_case(world: World, name: str = "pt_241") -> CaseData:
    data = Phantom(world.raw)
    return data.read(next(case for case in data.cases() if case.id == name))


def test_a_benchmark_in_patches_ends_with_scores_and_a_page(world):
    assert world.compared.code == 0, world.compared.err
    scores = read_scores(world.later / "scores.csv")
    assert set(scores["case"]) == {"pt_241", "pt_242"}
    assert {"mae", "dose_score"} <= set(scores["metric"]) and np.isfinite(scores["value"]).all()
    assert (world.folder / "second" / "index.html").is_file()


def test_a_cascade_says_how_honest_its_input_is(world):
    assert world.trained.code == 0, world.trained.err
    assert f"Input from {world.run}: 6 cases predicted, 0 kept" in world.compared.out
    log = (world.later.parent / "dose.log").read_text()
    assert "input_from: 3 of 3 training cases trained the earlier run, too" in log


def test_the_input_of_the_second_run_is_what_the_first_predicts(world):
    experiment = load_experiment(world.second)
    runs = earlier_runs(experiment)
    assert runs.inputs.channels == ("segmentation/RightParotid", "segmentation/LeftParotid", "dose/dose")
    store = CompletedStore(world.folder / "store", runs.key)
    case = store.open("pt_241")
    raw = raw_case(world)
    first = Predictor(world.run, device="cpu")
    values = first.predict("pt_241", raw, raw.geometry).values
    whole = np.concatenate([values["segmentation"], values["dose"]]).astype(np.float16)
    np.testing.assert_array_equal(case.read(PREDICTED), whole)
    assembly = assembly_of(experiment, dataset_of(experiment))
    assert assembly.in_channels == 1 + 10 + 3 + 3
    scale = next(task for task in first.tasks if task.name == "dose").state()["scale"]
    part = (slice(2, 18), slice(0, 16), slice(0, 24))
    np.testing.assert_allclose(
        assembly.image(case, part)[-1], whole[2, 2:18, :16].astype(np.float32) / np.float32(scale), rtol=1e-6
    )
    np.testing.assert_array_equal(assembly.image(case, part)[11:14], assembly.beams.fields(raw)[:, 2:18, :16])


def test_new_patients_are_predicted_by_both_runs_as_prepared_ones_are(world, call, tmp_path):
    store = Store(world.folder / "store")
    later = Predictor(world.later, device="cpu")
    raw, prepared = raw_case(world), store.open("pt_241")
    from_raw = later.predict("new", raw, raw.geometry).values["dose"]
    np.testing.assert_array_equal(from_raw, later.predict("pt_241", prepared, prepared.geometry).values["dose"])
    changed = replace(raw, arrays={**raw.arrays, "ct": raw.arrays["ct"][..., ::-1].copy()})
    assert not np.allclose(from_raw, later.predict("new", changed, raw.geometry).values["dose"])
    shown = call("predict", world.later, world.raw, "-o", tmp_path / "out", "--case", "pt_241")
    assert shown.code == 0, shown.err
    (written,) = [path for path in (tmp_path / "out").rglob("*.csv") if path.name != RECORD and "pt_241" in path.stem]
    table = pd.read_csv(written, index_col=0).clip(lower=0)  # after one epoch some of the dose is negative
    table.to_csv(tmp_path / "dose.csv")
    dose, region = openkbp_csv.read_dose(tmp_path / "dose.csv", SHAPE), raw.arrays["region"][0] > 0
    np.testing.assert_allclose(dose[region], np.maximum(from_raw[0][region], 0), atol=2e-3)


def test_a_packed_cascade_has_both_runs(world, call, tmp_path):
    packed = call("pack", world.later, "-o", tmp_path / "model", "--license", "mit")
    assert packed.code == 0, packed.err
    text = (tmp_path / "model" / "README.md").read_text()
    assert "beams at 0, 120, 240 degrees" in text and "earlier run, which is in here too" in text
    assert str(world.folder) not in "".join(p.read_text() for p in (tmp_path / "model").rglob("*.yaml"))
    moved = shutil.move(tmp_path / "model", tmp_path / "moved")
    one = call("predict", world.later, world.raw, "-o", tmp_path / "one", "--case", "pt_242")
    other = call("predict", moved, world.raw, "-o", tmp_path / "other", "--case", "pt_242")
    assert (one.code, other.code) == (0, 0), other.err
    names = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.csv")]
    assert names and all((tmp_path / "one" / n).read_bytes() == (tmp_path / "other" / n).read_bytes() for n in names)


def test_mirrored_patients_have_mirrored_predictions_with_the_sides_exchanged(world):
    """With test-time mirroring along x, whichever of two mirror images a patient is makes no difference."""
    raw = raw_case(world)
    names = raw.channels["structures"]
    order = other_sides(names)
    mirrored = replace(
        raw,
        arrays={name: array[..., ::-1].copy() for name, array in raw.arrays.items()},
        channels={**raw.channels, "structures": tuple(names[index] for index in order)},
    )
    predictor = Predictor(world.run, device="cpu")
    assert predictor.experiment.mirrored == ("x",)
    one = predictor.predict("one", raw, raw.geometry).values
    other = predictor.predict("other", mirrored, raw.geometry).values
    np.testing.assert_allclose(other["segmentation"], one["segmentation"][::-1, ..., ::-1], rtol=1e-5)
    np.testing.assert_allclose(other["dose"], one["dose"][..., ::-1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(other["segmentation"], one["segmentation"][..., ::-1], rtol=1e-4, atol=0)


def test_a_run_that_was_killed_goes_on_with_the_same_input_or_not_at_all(world, call, tmp_path):
    again = call("benchmark", world.second, "-j", "1")
    assert again.code == 0 and "0 cases predicted, 6 kept" in again.out
    other = shutil.copytree(world.run, tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    record["task_state"]["dose"]["scale"] *= 2
    (other / "run.json").write_text(json.dumps(record))
    (other / "checksums.json").unlink()
    settings = world.later / "experiment.yaml"
    before = settings.read_text()
    try:
        settings.write_text(before.replace(str(world.run), str(other)))
        refused = call("predict", world.later, world.raw, "-o", tmp_path / "out", "--case", "pt_241")
    finally:
        settings.write_text(before)
    assert refused.code == 2 and "was trained on predictions of input_from as it was then" in refused.error


def test_the_second_run_of_a_cascade_that_was_cut_ends_as_an_unbroken_one(world, call, tmp_path, monkeypatch):
    def trained(name: str):
        return call("train", world.second, "training.epochs=3", f"output={tmp_path / name}")

    whole = trained("whole")
    assert whole.code == 0, whole.err
    step, steps = TrainingModule.training_step, 0

    def cut_once(self: TrainingModule, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:  # in the second of three epochs of two batches
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(TrainingModule, "training_step", cut_once)
    run, handler = Path("runs", "stl", "seed0", "dose"), signal.getsignal(signal.SIGINT)
    try:
        assert trained("cut").code == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not (tmp_path / "cut" / run / "final.safetensors").exists()
    gone_on = trained("cut")
    assert gone_on.code == 0 and "0 cases predicted, 6 kept" in gone_on.out, gone_on.err
    assert steps == 4 + 4  # the second epoch anew, and the third
    ends = [(tmp_path / name / run / "final.safetensors").read_bytes() for name in ("whole", "cut")]
    assert ends[0] == ends[1]


def test_a_machine_that_sees_nothing_of_ours_trains_the_second_run_to_the_same_bits(world, tmp_path, monkeypatch):
    """The runs go there, and what they predicted; neither is made again."""
    experiment = load_experiment(world.second, [f"output={tmp_path / 'out'}"])
    (spec,) = run_specs(experiment)
    store = world.folder / "store"
    earlier, folders = earlier_of(experiment, store)
    assert len(earlier.cases) == 6
    shipped = Shipped(runs=run_files(folders), store=list(store_parts(store)))
    parts = list(prediction_parts(store, earlier, 1))
    assert len(parts) == 6
    job = Job(
        *(Work(spec, store, train_and_score), "mark", fingerprint_of(store), str(tmp_path), False, 60.0),
        earlier=earlier,
    )
    monkeypatch.setenv("CROSSTASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    hidden = [world.folder / "first", store]
    for folder in hidden:
        folder.rename(folder.with_name(f"{folder.name}-elsewhere"))
    try:
        assert list(do_job(job, Shipped(runs=shipped.runs))) == [Lacks(store=True, state=False)]
        unpredicted = [{name: data for name, data in part.items() if "derived/" not in name} for part in shipped.store]
        assert list(do_job(job, replace(shipped, store=unpredicted))) == [
            Lacks(store=False, state=False, predictions=True)
        ]
        begun, *changes, ended = do_job(job, replace(shipped, store=None, predictions=parts))
    finally:
        for folder in hidden:
            folder.with_name(f"{folder.name}-elsewhere").rename(folder)
    for change in changes:
        assert isinstance(change, Change)
        change.put(spec.folder, log_of(spec))
    assert isinstance(begun, Begun) and not begun.shared and ended == Ended(0), log_of(spec).read_text()
    for name in ("final.safetensors", "scores.csv"):
        assert (spec.folder / name).read_bytes() == (world.later / name).read_bytes(), name
    # and where it sees the runs, their predictions and the store, it asks for nothing
    seen, *_ = do_job(
        replace(job, work=Work(replace(spec, experiment=load_experiment(world.second)), store, print)), Shipped()
    )
    assert isinstance(seen, Begun)


def test_a_chain_of_runs_is_the_same_chain_elsewhere(world, tmp_path):
    chain = load_experiment(world.second, [f"input_from={world.later}", f"output={tmp_path / 'third'}"])
    for name, data in files_of(world.later).items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    there = load_experiment(world.second, [f"input_from={tmp_path / 'copy'}", f"output={tmp_path / 'third'}"])
    first = world.folder / "first"
    first.rename(world.folder / "elsewhere")
    try:
        key = earlier_runs(there).key
    finally:
        (world.folder / "elsewhere").rename(first)
    assert key == earlier_runs(chain).key


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("input_from=nowhere", "input_from: nowhere: no such run folder"),
        ("input_from={run: RUN, tasks: [doses]}", "'doses' is no pixel-level task of RUN; did you mean 'dose'?"),
        ("input_from=[RUN, RUN]", "input_from: run names a folder twice"),
        ("input_from={run: []}", "input_from"),
        ("dataset.beams.targets=[PTV71]", "dataset.beams.targets: 'PTV71' is no structure; did you mean 'PTV"),
        ("dataset.beams.angles=[0, 360]", "two angles are the same"),
        ("dataset.beams.angles=[0, 50]", "exchange_sides: 'beam 50' has no counterpart"),
        ("training.augmentation.exchange_sides=false", "along x it would teach wrong sides of"),
        ("output=OUTPUT", "which would come after itself"),
    ],
)
def test_mistakes_are_one_line(world, call, override, said):
    places = {"RUN": str(world.run), "OUTPUT": str(world.folder / "first")}
    for name, path in places.items():
        override, said = override.replace(name, path), said.replace(name, path)
    shown = call("train", world.second, "--dry-run", override)
    assert shown.code == 2 and said in shown.error, shown.err


def test_an_earlier_run_that_learned_from_the_test_cases_is_refused(world, call, tmp_path):
    (tmp_path / "s.csv").write_text("case,split\npt_241,train\npt_242,train\npt_201,validation\npt_1,test\n")
    shown = call(
        "train", world.second, f"output={tmp_path / 'o'}", "dataset.splits={rule: file, file: s.csv}", folder=tmp_path
    )
    assert shown.code == 2 and "test cases trained the earlier run (pt_1), so their figures would be no" in shown.error


def test_of_several_folds_each_case_is_predicted_by_those_that_did_not_learn_from_it(world, tmp_path):
    pixels = {case.id: Store(world.folder / "store").open(case.id).digest("ct") for case in Phantom(world.raw).cases()}
    runs = replace(
        earlier_runs(load_experiment(world.second)),
        folders=(tmp_path / "a", tmp_path / "b"),
        pixels=(frozenset({pixels["pt_1"]}), frozenset({pixels["pt_1"], pixels["pt_2"]})),
    )
    assert (runs.of(pixels["pt_2"]), runs.of(pixels["pt_241"]), runs.of(pixels["pt_1"])) == ([0], [0, 1], [0, 1])
    assert runs.unseen_by(pixels["pt_1"]) == []


def test_kept_predictions_are_of_these_weights_and_this_case_alone(world):
    store = Store(world.folder / "store")
    key = earlier_runs(load_experiment(world.second)).key
    assert Derived(store.root, key).find(store.open("pt_1")) is not None
    assert Derived(store.root, "0" * 32).find(store.open("pt_1")) is None
    folder = next(Derived(store.root, key).folder.iterdir())
    (array,) = folder.glob("*.b2nd")
    assert array.stat().st_size > 0 and (folder / "case.json").is_file()
