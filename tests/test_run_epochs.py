"""Which epochs other rules choose, from histories, against a plain search; and which weights a run is judged by."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from crosstask.errors import InputError
from crosstask.evaluation.run import is_scored, judged_otherwise
from crosstask.experiment import Experiment, experiment_from
from crosstask.runs import (
    EXPERIMENT,
    HISTORY,
    JOINT,
    PER_TASK,
    SCORES,
    RunSpec,
    check_settings,
    environment,
    evaluation_of,
    grid_of,
    load_spec,
    open_run,
    other_epochs,
    run_specs,
    snapshots_needed,
    weights_of_epoch,
    weights_path,
    write_record,
)

TASKS = ("organs", "dose", "age")
NAN = math.nan


def experiment(output: Path, epochs: int = 30, smoothing: int = 1, **changes: object) -> Experiment:
    values = {
        "name": "rules",
        "dataset": {"name": "cohort", "root": "cohort.yaml", "tasks": list(TASKS), "windows": [[0, 255]]},
        "training": {"epochs": epochs, "smoothing": smoothing},
        "methods": ["stl", "hps"],
        "seeds": [0, 1],
        "output": str(output),
    }
    for name, change in changes.items():
        values[name] = {**values.get(name, {}), **change} if isinstance(change, dict) else change
    return experiment_from(values)


def trained(spec: RunSpec, skills: dict[str, list[float]], best: int = 0) -> RunSpec:
    """A run folder with a record and a history of these skills, as a training leaves them."""
    open_run(spec)
    epochs = len(next(iter(skills.values())))
    with (spec.folder / HISTORY).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "seconds", *(f"skill/{task}" for task in skills), "score"])
        for epoch in range(epochs):
            own = [values[epoch] for values in skills.values()]
            writer.writerow([epoch, 1.0, *own, np.nanmean(own) if np.isfinite(own).any() else NAN])
    record = {
        "method": spec.method.name,
        "seed": spec.seed,
        "tasks": list(spec.tasks),
        "trained": True,
        "task_state": {task: {} for task in spec.tasks},
        "parameters": 1,
        "data": {},
        "training": {"epochs": epochs, "best_epoch": best, "best_score": 0.0, "seconds": 1.0},
        "environment": environment(),
    }
    write_record(spec.folder, record)
    return spec


def drawn(seed: int, epochs: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {task: rng.normal(size=epochs).round(2).tolist() for task in TASKS}


def specs_of(changed: Experiment, key: str, seed: int) -> list[RunSpec]:
    return [spec for spec in run_specs(changed) if (spec.key, spec.seed) == (key, seed)]


def window_mean(values: list[float], epoch: int, width: int) -> float:
    """Of an odd number of epochs about one, moved inward at the ends."""
    start = min(max(epoch - width // 2, 0), len(values) - width)
    return float(np.mean(values[start : start + width]))


@pytest.mark.parametrize("smoothing", [1, 5])
@pytest.mark.parametrize("seed", range(4))
def test_both_rules_take_what_a_plain_search_takes_for_every_method(tmp_path, seed, smoothing):
    changed = experiment(tmp_path, smoothing=smoothing)
    skills = drawn(seed, 30)
    (hps,) = specs_of(changed, "hps", 0)
    trained(hps, skills)
    singles = [trained(spec, {spec.tasks[0]: skills[spec.tasks[0]]}) for spec in specs_of(changed, "stl", 0)]
    others = [trained(spec, {spec.tasks[0]: drawn(99, 30)[spec.tasks[0]]}) for spec in specs_of(changed, "stl", 1)]
    grid = [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]
    assert grid_of(hps) == grid
    mean = np.mean([skills[task] for task in TASKS], axis=0).tolist()
    joint = max(grid, key=lambda epoch: window_mean(mean, epoch, smoothing))
    own = {task: max(grid, key=lambda epoch: window_mean(skills[task], epoch, smoothing)) for task in TASKS}
    assert len({joint, *own.values()}) > 1
    assert other_epochs(hps, [hps]) == {JOINT: dict.fromkeys(TASKS, joint), PER_TASK: own}
    for spec in singles:  # equal curves, so the same epochs: neither is judged harder
        (task,) = spec.tasks
        assert other_epochs(spec, [*others, *singles, hps]) == {JOINT: {task: joint}, PER_TASK: {task: own[task]}}


def test_the_major_task_alone_chooses(tmp_path):
    changed = experiment(tmp_path, epochs=10, major="dose")
    (hps,) = specs_of(changed, "hps", 0)
    skills = drawn(1, 10)
    trained(hps, skills)
    best = int(np.argmax(skills["dose"]))
    assert best not in (int(np.argmax(skills["organs"])), int(np.argmax(skills["age"])))
    assert other_epochs(hps, [hps]) == {rule: dict.fromkeys(TASKS, best) for rule in (JOINT, PER_TASK)}


def test_a_task_without_a_skill_goes_with_the_others(tmp_path):
    changed = experiment(tmp_path, epochs=10)
    (hps,) = specs_of(changed, "hps", 0)
    trained(hps, {**drawn(2, 10), "age": [NAN] * 10})
    found = other_epochs(hps, [hps])
    assert found[PER_TASK]["age"] == found[JOINT]["age"]
    (lost,) = specs_of(changed, "hps", 1)
    trained(lost, {task: [NAN] * 10 for task in TASKS})
    assert other_epochs(lost, [lost]) == {rule: dict.fromkeys(TASKS, 9) for rule in (JOINT, PER_TASK)}


def test_weights_of_an_epoch_are_not_looked_for_twice(tmp_path):
    changed = experiment(tmp_path)
    (hps,) = specs_of(changed, "hps", 0)
    trained(hps, drawn(0, 30), best=14)
    assert [weights_of_epoch(hps, epoch) for epoch in (29, 14, 8)] == ["final", "best", "epoch 8"]
    assert weights_path(hps.folder, "epoch 8") == hps.folder / "snapshots" / "8.safetensors"
    assert snapshots_needed({JOINT: {"a": 8, "b": 8}, PER_TASK: {"a": 8, "b": 2}}) == [2, 8]
    with pytest.raises(InputError, match="weights: 'worst' is not accepted; give best, final or average"):
        weights_path(hps.folder, "worst")


def test_the_last_epoch_is_judged_unless_the_training_may_end_early(tmp_path):
    assert experiment(tmp_path).judged_weights == "final" and experiment(tmp_path).keeps_epochs
    early = experiment(tmp_path, training={"patience": 3})
    assert early.judged_weights == "best" and not early.keeps_epochs and grid_of(run_specs(early)[0]) == []
    assert experiment(tmp_path, training={"patience": 3}, evaluation={"weights": "final"}).judged_weights == "final"
    assert not experiment(tmp_path, evaluation={"other_epochs": False}).keeps_epochs
    with pytest.raises(InputError, match=r"evaluation\.other_epochs: true needs a training that runs to the end"):
        experiment(tmp_path, training={"patience": 3}, evaluation={"other_epochs": True})
    with pytest.raises(InputError, match=r"variants\.early\..*evaluation\.other_epochs"):
        experiment(tmp_path, variants={"early": {"training": {"patience": 3}}}, evaluation={"other_epochs": True})


def scored_before(spec: RunSpec) -> None:
    """The run's settings as they were written before one could choose the weights, and scores of that time."""
    path = spec.folder / EXPERIMENT
    settings = yaml.safe_load(path.read_text())
    del settings["evaluation"]["weights"], settings["evaluation"]["other_epochs"], settings["training"]["average"]
    path.write_text(yaml.safe_dump(settings))
    (spec.folder / SCORES).touch()


def test_a_run_from_before_was_judged_by_its_best_epoch_and_is_scored_anew_told(tmp_path):
    changed = experiment(tmp_path, epochs=3)
    (hps,) = specs_of(changed, "hps", 0)
    trained(hps, drawn(0, 3))
    (hps.folder / SCORES).touch()
    assert is_scored(hps) and judged_otherwise([hps]) == []
    scored_before(hps)
    check_settings(hps)
    assert load_spec(hps.folder).experiment.judged_weights == "best" == evaluation_of(hps.folder).weights
    assert not is_scored(hps)
    (line,) = judged_otherwise([hps])
    assert line.startswith("hps/seed0: scored before with the weights best, and now anew with the weights final;")
    assert "evaluation.weights=best" in line
    (kept,) = specs_of(experiment(tmp_path, epochs=3, evaluation={"weights": "best"}), "hps", 0)
    assert is_scored(kept) and judged_otherwise([kept]) == []


def test_a_run_from_before_that_may_have_ended_early_keeps_its_scores(tmp_path):
    (hps,) = specs_of(experiment(tmp_path, epochs=3, training={"patience": 2}), "hps", 0)
    trained(hps, drawn(0, 3))
    scored_before(hps)
    assert is_scored(hps) and judged_otherwise([hps]) == []
    assert json.loads((hps.folder / "run.json").read_text())["trained"]
