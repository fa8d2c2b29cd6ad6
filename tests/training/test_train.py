"""Training: learns, stops, resumes, repeats; and what it leaves in the run folder."""

import dataclasses
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import forked
from crosstask.assembly import Assembly
from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.evaluate import evaluate_constant, evaluate_run
from crosstask.experiment import Experiment
from crosstask.locks import locked
from crosstask.methods import get_method
from crosstask.runs import BEST, FINAL, HISTORY, LAST, LOCK, RunSpec, is_trained, read_record, run_specs
from crosstask.sample import Sample
from crosstask.store import CaseArrays, Store
from crosstask.tasks.base import Task
from crosstask.training.recorder import smoothed
from crosstask.training.run import train


def changed(experiment: Experiment, **training: object) -> Experiment:
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=training)})


def spec_of(experiment: Experiment, method: str = "hps", seed: int = 0, output: Path | None = None) -> RunSpec:
    if output is not None:
        experiment = experiment.model_copy(update={"output": output})
    return RunSpec(experiment, get_method(method), seed, tuple(experiment.dataset.tasks))


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = load_file(first), load_file(second)
    assert one.keys() == two.keys()
    different = [key for key in one if not torch.equal(one[key], two[key])]
    assert not different, f"{len(different)} of {len(one)} tensors differ, {different[:3]}"


def history(plan: RunSpec) -> pd.DataFrame:
    return pd.read_csv(plan.folder / HISTORY).drop(columns="seconds")


class StopError(Exception):
    """What a fault raises in the tests."""


def break_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Make training fail in the middle of the epoch after so many."""
    from crosstask.training.module import TrainingModule

    step = TrainingModule.training_step

    def failing(self: TrainingModule, batch: object, index: int) -> object:
        if self.current_epoch == epochs and index == 2:
            raise StopError
        return step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", failing)


@pytest.mark.parametrize("broken_after", [1, 2])
def test_a_broken_run_resumes_to_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken_after: int
) -> None:
    whole, broken = spec_of(experiment, output=tmp_path / "whole"), spec_of(experiment, output=tmp_path / "broken")
    train(whole, store)
    with monkeypatch.context() as patch:
        break_after(patch, broken_after)
        with pytest.raises(StopError):
            train(broken, store)
    assert not is_trained(broken)
    record = train(broken, store)
    assert record["training"]["epochs"] == 3
    assert_same_weights(whole.folder / FINAL, broken.folder / FINAL)
    assert_same_weights(whole.folder / BEST, broken.folder / BEST)
    pd.testing.assert_frame_equal(history(whole), history(broken))


def test_a_run_killed_by_the_system_resumes_to_the_same_weights(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    experiment = changed(experiment, epochs=4)
    whole = spec_of(experiment, output=tmp_path / "whole")
    killed = spec_of(experiment, output=tmp_path / "killed")
    train(whole, store)
    process = forked.start(train, killed, store)
    deadline = time.monotonic() + 120
    while not (killed.folder / LAST).exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    assert not is_trained(killed), "the run ended before it could be killed"
    assert (killed.folder / LAST).exists()
    train(killed, store)
    assert_same_weights(whole.folder / FINAL, killed.folder / FINAL)


def test_one_seed_makes_a_run_repeatable_and_another_does_not(
    experiment: Experiment, store: Store, tmp_path: Path
) -> None:
    experiment = changed(experiment, epochs=1)
    first, second = spec_of(experiment, output=tmp_path / "a"), spec_of(experiment, output=tmp_path / "b")
    other = spec_of(experiment, seed=1, output=tmp_path / "c")
    for plan in (first, second, other):
        train(plan, store)
    assert_same_weights(first.folder / FINAL, second.folder / FINAL)
    with pytest.raises(AssertionError):
        assert_same_weights(first.folder / FINAL, other.folder / FINAL)


def test_a_complete_run_is_kept(experiment: Experiment, store: Store) -> None:
    plan = spec_of(changed(experiment, epochs=1))
    train(plan, store)
    before = {path.name: path.stat().st_mtime_ns for path in plan.folder.iterdir()}
    train(plan, store)
    assert before == {path.name: path.stat().st_mtime_ns for path in plan.folder.iterdir()}


def test_a_run_folder_of_other_settings_is_refused_and_untouched(experiment: Experiment, store: Store) -> None:
    train(spec_of(changed(experiment, epochs=1)), store)
    plan = spec_of(changed(experiment, epochs=1, learning_rate=0.5))
    before = (plan.folder / FINAL).read_bytes()
    with pytest.raises(InputError, match=r"training\.learning_rate"):
        train(plan, store)
    assert (plan.folder / FINAL).read_bytes() == before


@pytest.mark.parametrize("patience", [None, 1])
def test_a_run_killed_after_its_last_epoch_is_completed_as_it_was(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch, patience: int | None
) -> None:
    from crosstask.tasks import RegressionTask, SegmentationTask
    from crosstask.training import run

    monkeypatch.setattr(SegmentationTask, "skill", lambda self, tally: 0.5)  # never better than the first epoch
    monkeypatch.setattr(RegressionTask, "skill", lambda self, tally: float("nan"))
    plan = spec_of(changed(experiment, epochs=2 if patience is None else 5, patience=patience, smoothing=1))
    write = run.write_record

    def failing(folder: Path, record: dict[str, object]) -> None:
        if record["trained"]:
            raise StopError
        write(folder, record)

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_record", failing)
        with pytest.raises(StopError):
            train(plan, store)
    before = (plan.folder / FINAL).read_bytes()
    (plan.folder / FINAL).unlink()
    record = train(plan, store)
    assert record["training"]["epochs"] == 2 and len(history(plan)) == 2
    assert (plan.folder / FINAL).read_bytes() == before
    assert not (plan.folder / LAST).exists()


def test_a_device_that_is_not_there_is_named(experiment: Experiment, store: Store) -> None:
    with pytest.raises(InputError, match=r"training\.device: 'nonsense'"):
        train(spec_of(changed(experiment, device="nonsense")), store)


def test_two_at_once_are_refused(experiment: Experiment, store: Store) -> None:
    plan = spec_of(experiment)
    plan.folder.mkdir(parents=True)
    with locked(plan.folder, LOCK, "trained"), pytest.raises(CrosstaskError, match="is being trained by process"):
        train(plan, store)


def test_what_a_run_folder_holds(experiment: Experiment, store: Store) -> None:
    plan = spec_of(changed(experiment, epochs=2))
    train(plan, store)
    record = read_record(plan.folder)
    assert record["trained"] and record["seed"] == 0 and record["tasks"] == ["segmentation", "dose"]
    assert record["data"]["fingerprint"] and record["data"]["cases"]["test"]
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert set(json.dumps(record)) and (plan.folder / "experiment.yaml").exists()
    table = history(plan)
    assert list(table["epoch"]) == [0, 1]
    assert {"loss/dose", "weight/dose", "skill/dose", "loss/segmentation", "score", "learning_rate"} <= set(table)
    assert table["learning_rate"].tolist() == pytest.approx([1e-3, 5e-4])
    leftovers = [path.name for path in plan.folder.iterdir() if path.name.endswith(".part")]
    assert not leftovers


@pytest.mark.parametrize(
    ("scores", "epochs", "expected"),
    [
        ([0.4], 1, 0.4),
        ([0.9, 0.4], 1, 0.4),
        ([0.4], 4, 0.4),  # there are no epochs before the first
        ([0.4, 0.8], 4, 0.6),
        ([-1.5, -1.0], 5, -1.25),
        ([5.0, 0.1, 0.2, 0.3, 0.4], 4, 0.25),
        ([-0.4, 0.2], 2, -0.1),
        ([0.2, math.nan, 0.6], 3, 0.4),
        ([0.2, 0.4, math.nan, 0.6], 2, 0.5),  # an epoch without a score counts as if it had not been
    ],
)
def test_a_score_is_averaged_with_those_before_it(scores: list[float], epochs: int, expected: float) -> None:
    assert smoothed(scores, epochs) == pytest.approx(expected)


def test_without_a_score_there_is_no_smoothed_one() -> None:
    assert math.isnan(smoothed([0.2, math.nan], 3))


def test_a_lucky_epoch_is_not_the_best_one(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstask.tasks import RegressionTask, SegmentationTask

    given = [0.9, 0.0, 0.5, 0.6, 0.7, 0.1]
    monkeypatch.setattr(RegressionTask, "skill", lambda self, tally: float("nan"))
    for smoothing, best, score in ((1, 0, 0.9), (3, 4, 0.6)):
        scores = iter(given)
        monkeypatch.setattr(SegmentationTask, "skill", lambda self, tally, scores=scores: next(scores))
        small = {"epochs": 6, "samples_per_epoch": 4, "validation_samples": 4}
        plan = spec_of(changed(experiment, smoothing=smoothing, **small), output=tmp_path / str(smoothing))
        record = train(plan, store)
        assert record["training"]["best_epoch"] == best
        assert record["training"]["best_score"] == pytest.approx(score)
        table = pd.read_csv(plan.folder / HISTORY)
        assert table["score"].tolist() == given
        assert table["smoothed_score"][best] == pytest.approx(score)


def test_without_validation_labels_the_latest_epoch_is_kept(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstask.tasks import RegressionTask, SegmentationTask

    for task in (RegressionTask, SegmentationTask):
        monkeypatch.setattr(task, "skill", lambda self, tally: float("nan"))
    plan = spec_of(changed(experiment, epochs=2, patience=1))
    record = train(plan, store)
    assert record["training"]["best_epoch"] == 1
    assert record["training"]["best_score"] is None
    assert record["training"]["unscored"] == ["segmentation", "dose"]
    assert_same_weights(plan.folder / BEST, plan.folder / FINAL)


def test_a_class_that_is_never_predicted_is_told_at_the_end_and_after_a_resume_too(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that was killed when its last epoch was on disk, and validates no more."""
    from crosstask.tasks import SegmentationTask

    decode = SegmentationTask.decode
    found: list[float] = [0.0, 1.0]  # how much of each structure

    def decoded(self: SegmentationTask, output: torch.Tensor) -> torch.Tensor:
        shown = decode(self, output)
        return shown * 0 + shown.new_tensor(found).reshape(1, 2, 1, 1)

    monkeypatch.setattr(SegmentationTask, "decode", decoded)
    plan, told = spec_of(changed(experiment, epochs=2), output=tmp_path / "a"), []
    with monkeypatch.context() as patch:
        patch.setattr("crosstask.training.run._write_readings", lambda *_: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            train(plan, store, tell=told.append)
    before = [line for line in told if "never predicted" in line]
    record = train(plan, store, tell=told.append)
    assert record["training"]["never_predicted"] == {"segmentation": ["Brainstem"]}
    after = [line for line in told if "never predicted" in line][len(before) :]
    assert (
        before
        == after
        == [
            "Warning: hps/seed0: never predicted where it is, in validation samples after the last epoch: Brainstem "
            "(segmentation); train longer, or with other seeds"
        ]
    )
    found[0] = 1.0
    plan, told = spec_of(changed(experiment, epochs=1), output=tmp_path / "b"), []
    assert train(plan, store, tell=told.append)["training"]["never_predicted"] == {}
    assert not any("never predicted" in line for line in told)


def test_training_stops_when_the_score_has_not_improved(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstask.tasks import RegressionTask, SegmentationTask

    scores = iter([0.1, 0.3, 0.2, 0.2, 0.9, 0.9])
    monkeypatch.setattr(SegmentationTask, "skill", lambda self, tally: next(scores))
    monkeypatch.setattr(RegressionTask, "skill", lambda self, tally: float("nan"))
    record = train(spec_of(changed(experiment, epochs=6, patience=2, smoothing=1)), store)
    assert record["training"]["epochs"] == 4
    assert record["training"]["best_epoch"] == 1
    assert record["training"]["unscored"] == ["dose"]


def test_the_best_epoch_keeps_its_own_weights(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crosstask.tasks import RegressionTask, SegmentationTask

    short = spec_of(changed(experiment, epochs=1, schedule="constant"), output=tmp_path / "short")
    train(short, store)
    scores = iter([0.5, 0.4])
    monkeypatch.setattr(SegmentationTask, "skill", lambda self, tally: next(scores))
    monkeypatch.setattr(RegressionTask, "skill", lambda self, tally: float("nan"))
    longer = spec_of(changed(experiment, epochs=2, schedule="constant", smoothing=1), output=tmp_path / "longer")
    train(longer, store)
    assert_same_weights(short.folder / FINAL, longer.folder / BEST)


def test_stl_is_one_run_per_task(experiment: Experiment) -> None:
    plans = run_specs(experiment.model_copy(update={"methods": ["stl", "ctan"], "seeds": [0, 1]}))
    assert [plan.name for plan in plans] == [
        "stl/seed0/segmentation",
        "stl/seed0/dose",
        "ctan/seed0",
        "stl/seed1/segmentation",
        "stl/seed1/dose",
        "ctan/seed1",
    ]
    assert plans[0].tasks == ("segmentation",)


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "bf16-mixed"},
        {"accumulate": 2},
        {"channels_last": True},
        {"gradient_clip": 0.1},
        {"gradient_clip": 0.2, "precision": "bf16-mixed"},
        {"loader_workers": 1},
        {"tensorboard": True},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_training_option_trains(experiment: Experiment, store: Store, settings: dict[str, object]) -> None:
    plan = spec_of(changed(experiment, epochs=1, **settings))
    record = train(plan, store)
    assert record["trained"]
    assert history(plan)["loss/dose"].notna().all()
    assert (plan.folder / "tensorboard").exists() == ("tensorboard" in settings)


def test_patches_train_and_predict_in_3d(experiment: Experiment, store: Store) -> None:
    sample = experiment.sample.model_copy(update={"kind": "patch", "size": [32, 32, 32]})
    experiment = changed(experiment, epochs=1, batch_size=2, samples_per_epoch=2, validation_samples=1)
    plan = spec_of(experiment.model_copy(update={"sample": sample}))
    train(plan, store)
    scores = evaluate_run(plan.folder, store).scores
    assert scores["value"].notna().all() and set(scores["task"]) == {"segmentation", "dose"}


def test_a_batch_without_labels_of_a_task_leaves_its_parameters_untouched(experiment: Experiment, store: Store) -> None:
    from crosstask.architectures import build
    from crosstask.sample import Batch
    from crosstask.tasks import RegressionTask, SegmentationTask
    from crosstask.training.module import TrainingModule
    from crosstask.weighting import build_weighting

    tasks = (SegmentationTask("masks", "structures", ["a", "b"]), RegressionTask("dose", "dose", ["dose"], "Gy"))
    network = build("hps", encoder="resnet18", tasks=tasks)
    module = TrainingModule(network, tasks, build_weighting("dwa", ["masks", "dose"]), experiment.training)
    module.trainer = SimpleNamespace(is_last_batch=False)
    module._sums, module._weights = {"masks": [], "dose": []}, {"masks": [], "dose": []}
    batch = Batch(
        image=torch.randn(2, 1, 32, 32),
        targets={"masks": torch.zeros(2, 2, 32, 32), "dose": torch.rand(2, 1, 32, 32)},
        present={"masks": torch.zeros(2, 2, dtype=torch.bool), "dose": torch.ones(2, 1, dtype=torch.bool)},
        region=None,
        cases=["a", "b"],
        positions=[(0,), (0,)],
    )
    loss = module.training_step(batch, 0)
    assert loss is not None
    module.backward(loss)
    assert all(parameter.grad is None for parameter in network.task_parameters("masks"))
    assert all(parameter.grad is not None for parameter in network.task_parameters("dose"))
    assert module._sums["masks"] == []
    batch.present["dose"] = torch.zeros(2, 1, dtype=torch.bool)
    assert module.training_step(batch, 0) is None


def _content(sample: Sample) -> float:
    """How much of both tasks a slice shows."""
    return float(sample.targets["segmentation"].sum() * sample.targets["dose"].sum())


# That every architecture learns, on simpler pictures, is for tests/architectures.
@pytest.mark.parametrize(
    "method", ["hps", "ctan-gated", *(pytest.param(name, marks=pytest.mark.long) for name in ("stl", "mtan", "ctan"))]
)
def test_every_method_learns_both_tasks_of_a_batch(experiment: Experiment, store: Store, method: str) -> None:
    from crosstask.assembly import assembly_of, dataset_of
    from crosstask.network import build_architecture
    from crosstask.sample import collate
    from crosstask.store.statistics import channel_statistics
    from crosstask.training.samples import SliceSamples

    experiment = experiment.model_copy(update={"architecture": {"upsampling_blocks": 5}})
    assembly = assembly_of(experiment, dataset_of(experiment))
    cases = [case.id for case in store.cases if case.split == "train"]
    for task in assembly.tasks:
        task.fit(channel_statistics(store, cases, task.array, task.classes, assembly.region_array))
    samples = SliceSamples(store, cases, assembly, (32, 32))
    full = sorted(range(len(samples)), key=lambda index: -_content(samples[index]))
    batch = collate([samples[index] for index in full[:6]])
    torch.manual_seed(0)
    network = build_architecture(spec_of(experiment, method), assembly, pretrained=False).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    first: dict[str, float] = {}
    for _ in range(40):
        outputs = network(batch.image)
        losses = {
            task.name: task.loss(outputs[task.name], batch.targets[task.name], batch.present[task.name], batch.region)
            for task in assembly.tasks
        }
        first = first or {name: loss.item() for name, loss in losses.items()}
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    # a class that the batch lacks keeps its Dice loss of one, so the combo loss cannot fall to zero
    for name, share in {"segmentation": 0.8, "dose": 0.75}.items():
        assert losses[name].item() < share * first[name], f"{name}: {first[name]:.3f} -> {losses[name].item():.3f}"


def test_a_run_beats_the_constant_predictor_on_test_cases(experiment: Experiment, store: Store) -> None:
    settings = {"epochs": 8, "batch_size": 8, "samples_per_epoch": 96, "learning_rate": 5e-4, "validation_samples": 16}
    experiment = changed(experiment, **settings)
    plan = dataclasses.replace(spec_of(experiment, "stl"), tasks=("dose",))
    train(plan, store)
    scores, floor = evaluate_run(plan.folder, store).scores, evaluate_constant(experiment, store).scores
    error = scores[scores["metric"] == "mae"]["value"].mean()
    constant = floor[floor["metric"] == "mae"]["value"].mean()
    assert error < 0.9 * constant


@pytest.mark.parametrize(("case", "place"), [("pt_1", "image"), ("pt_201", "image"), ("pt_2", "target")])
def test_a_case_that_holds_no_numbers_is_named_where_training_meets_it(
    experiment: Experiment, store: Store, monkeypatch: pytest.MonkeyPatch, case: str, place: str
) -> None:
    """As in stores of before it was found out when they were prepared; in training and in validation."""
    true_image, true_target = Assembly.image, Assembly.target

    def image(self: Assembly, data: CaseArrays, slices: object = None) -> np.ndarray:
        values = true_image(self, data, slices)  # type: ignore[arg-type]
        return values * np.float32(np.nan) if (data.id, place) == (case, "image") else values

    def target(self: Assembly, task: Task, data: CaseArrays, slices: object = None) -> tuple[np.ndarray, np.ndarray]:
        values, present = true_target(self, task, data, slices)  # type: ignore[arg-type]
        strange = (data.id, place, task.name) == (case, "target", "dose")
        return values * np.float32(np.nan) if strange else values, present

    monkeypatch.setattr(Assembly, "image", image)
    monkeypatch.setattr(Assembly, "target", target)
    what = "image" if place == "image" else "label of task 'dose'"
    with pytest.raises(CrosstaskError, match=f"case {case}: its {what} holds NaN or infinite values; run crosstask"):
        train(spec_of(changed(experiment, epochs=1, samples_per_epoch=None)), store)
