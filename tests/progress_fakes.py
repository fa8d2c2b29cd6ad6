"""Run folders as they lie on disk while a benchmark runs, written by hand: no training, no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crosstask.evaluation.work import log_of
from crosstask.experiment import Experiment, experiment_from
from crosstask.locks import Holder
from crosstask.runs import EXPERIMENT, HISTORY, LOCK, SCORES, RunSpec, environment, open_run, run_specs, write_record

EPOCHS = 4
ENVIRONMENT = environment()


def experiment_at(output: Path, **changes: object) -> Experiment:
    """An experiment whose data set need not be there."""
    return experiment_from(
        {
            "name": "watched",
            "dataset": {
                "name": "phantom",
                "root": "nowhere",
                "tasks": {"segmentation": {"classes": ["Brainstem"]}, "dose": {}},
            },
            "training": {"epochs": EPOCHS},
            "methods": ["stl", "hps"],
            "seeds": [0],
            "output": str(output),
            **changes,
        }
    )


def benchmark(output: Path, **changes: object) -> list[RunSpec]:
    """The output folder of a benchmark none of whose runs has begun; its runs."""
    experiment = experiment_at(output, **changes)
    output.mkdir(parents=True, exist_ok=True)
    (output / EXPERIMENT).write_text(experiment.dump(), encoding="utf-8")
    return run_specs(experiment)


def train(spec: RunSpec, scores: Sequence[float], seconds: float = 2.0) -> None:
    """Epochs of a run, with these validation scores."""
    open_run(spec)
    write_history(spec, scores, seconds)
    data = {"data": {"cases": {}}, "environment": ENVIRONMENT}
    write_record(spec.folder, {**_record(spec), "trained": False, **data})


def write_history(spec: RunSpec, scores: Sequence[float], seconds: float = 2.0) -> None:
    """The history of a run, with these validation scores."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    columns = [f"{kind}/{task}" for task in spec.tasks for kind in ("loss", "skill")]
    lines = [",".join(["epoch", "seconds", *columns, "score"])]
    for epoch, score in enumerate(scores):
        lines.append(",".join(map(str, [epoch, seconds, *([0.5, score] * len(spec.tasks)), score])))
    (spec.folder / HISTORY).write_text("\n".join(lines) + "\n")


def _record(spec: RunSpec) -> dict[str, object]:
    return {
        "method": spec.method.name,
        "seed": spec.seed,
        "tasks": list(spec.tasks),
        "task_state": {},
        "parameters": 1000,
    }


def finish(spec: RunSpec, epochs: int = EPOCHS, *, scored: bool = True) -> None:
    """A run that is trained to its end, and scored."""
    train(spec, [0.1 * epoch for epoch in range(epochs)])
    training = {"epochs": epochs, "best_epoch": epochs - 1, "best_score": 0.1, "seconds": 2.0 * epochs}
    more = {"data": {"cases": {}}, "environment": ENVIRONMENT, "training": training}
    write_record(spec.folder, {**_record(spec), "trained": True, **more})
    if scored:
        (spec.folder / SCORES).write_text("method\n")


def hold(spec: RunSpec, holder: Holder | None = None) -> None:
    """A process works on the run: this one, or another."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    (spec.folder / LOCK).write_text(f"{holder or Holder.here()}\n")


def gone() -> Holder:
    """A process of this machine that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return Holder(process.pid, Holder.here().host)


def log(spec: RunSpec, text: str) -> None:
    """What a run's process has said."""
    log_of(spec).parent.mkdir(parents=True, exist_ok=True)
    log_of(spec).write_text(text)


def report(output: Path) -> None:
    """The page of a benchmark, newer than all scores."""
    (output / "index.html").write_text("page")
    os.utime(output / "index.html", (4e9, 4e9))
