"""What a benchmark or a training would do, without doing any of it: nothing is written, nothing is locked."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from crosstask.assembly import assembly_of
from crosstask.evaluation.progress import SCORED, TRAINED, BenchmarkProgress, RunProgress, benchmark_progress
from crosstask.files import only_looking
from crosstask.functional.best_epoch import even_epochs
from crosstask.network import build_architecture, check_names
from crosstask.pipeline.context import Context
from crosstask.pipeline.ensembles import check_ensembles
from crosstask.pipeline.training import specs_of
from crosstask.runs import RunSpec, check_settings, has_checkpoint, is_trained
from crosstask.store import Outlook, Store, outlook
from crosstask.training.check import check_specs

_BYTES = 4
"""Of a parameter."""
_CHECKPOINT = 3
"""Copies of the weights in a checkpoint: their own, and Adam's two moments."""
DONE, TO_SCORE, TO_RESUME, TO_DO = "done", "to score", "to resume", "to do"


@dataclass(frozen=True)
class RunPlan:
    """What would become of a run.

    Attributes:
        progress: how far it is.
        scored: whether it is to be scored, too.
        parameters: of its network; where its weighting chooses among the tasks, at most.
    """

    progress: RunProgress
    scored: bool
    parameters: int

    @property
    def spec(self) -> RunSpec:
        return self.progress.spec

    @property
    def state(self) -> str:
        """``done``, ``to score``, ``to resume`` or ``to do``."""
        if self.progress.state == SCORED or (is_trained(self.spec) and not self.scored):
            return DONE
        if is_trained(self.spec):
            return TO_SCORE
        return TO_RESUME if has_checkpoint(self.spec.folder) else TO_DO

    @property
    def kept_bytes(self) -> int:
        """Of the weights that stay: of the best epoch and of the last, and their average."""
        copies = 2 + (self.spec.experiment.training.average is not None)
        return 0 if self.state in (DONE, TO_SCORE) else copies * self.parameters * _BYTES

    @property
    def passing_bytes(self) -> int:
        """Of checkpoints and weights that are there only while it is trained, at most."""
        if self.state in (DONE, TO_SCORE):
            return 0
        experiment = self.spec.experiment
        snapshots = len(even_epochs(experiment.training.epochs)) if experiment.keeps_epochs else 0
        copies = 2 * _CHECKPOINT + snapshots + experiment.training.smoothing
        return copies * self.parameters * _BYTES

    def as_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "run": self.spec.name,
            "state": self.state,
            "epochs": self.progress.epochs,
            "epochs_planned": self.progress.planned,
            "parameters": self.parameters,
            "seconds_per_epoch": self.progress.seconds,
            "folder": self.spec.folder,
        }


@dataclass(frozen=True)
class Plan:
    """What would be prepared, trained and scored.

    Attributes:
        context: the experiment.
        cases: what would become of its prepared cases.
        splits: how many cases each split has, of each seed; None before the cases are prepared.
        runs: in order.
        progress: how far they are.
        jobs: runs at a time.
        free: bytes on the disk of the output.
    """

    context: Context
    cases: Outlook
    splits: dict[int, dict[str, int]] | None
    runs: tuple[RunPlan, ...]
    progress: BenchmarkProgress
    jobs: int
    free: int

    @property
    def seconds(self) -> float:
        """Estimate of the time to train and score, by what epochs took in this output; NaN where none was timed."""
        left = self.progress.seconds_left
        return 0.0 if all(run.state == DONE for run in self.runs) else left / min(self.jobs, max(1, len(self.runs)))

    @property
    def bytes(self) -> int:
        """Of the disk, at most, for weights and checkpoints of the runs that are to be trained; without the store."""
        passing = sorted((run.passing_bytes for run in self.runs), reverse=True)
        return sum(run.kept_bytes for run in self.runs) + sum(passing[: self.jobs])

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it but for paths and numbers that are none."""
        experiment = self.context.experiment
        return {
            "name": experiment.name,
            "output": experiment.output_folder,
            "store": str(experiment.store_folder),
            "cases": {
                "kept": len(self.cases.kept),
                "to_prepare": len(self.cases.written),
                "to_prepare_again": len(self.cases.rebuilt),
                "to_remove": len(self.cases.removed),
            },
            "splits": self.splits,
            "external": list(experiment.external),
            "runs": [run.as_dict() for run in self.runs],
            "seconds": self.seconds,
            "bytes": self.bytes,
            "bytes_free": self.free,
        }


def plan_of(context: Context, method: str | None = None, *, jobs: int = 1, scored: bool = True) -> Plan:
    """What :func:`crosstask.pipeline.benchmark.run_benchmark` or ``train_runs`` would do.

    Args:
        context: the experiment.
        method: only the runs of this method; None for all.
        jobs: runs at a time.
        scored: whether the runs are scored and compared, too.

    Raises:
        InputError: what the work itself would refuse before it begins.
    """
    with only_looking():
        experiment = context.experiment
        specs = specs_of(context, method)
        check_names(experiment)
        if scored and experiment.evaluation.ensembles:
            check_ensembles(experiment)
        check_specs(specs, context.dataset)
        for spec in specs:
            check_settings(spec)
        with context.listener.progress("Looking", at_once=False) as looking:
            context.dataset.find(looking)
        cases = outlook(context.dataset, experiment.store_folder)
        splits = _splits(context, cases, scored)
        progress = benchmark_progress(experiment.name, experiment.output_folder, specs)
        counts = _parameters(context, specs)
        runs = tuple(RunPlan(run, scored, counts[run.spec.key, run.spec.tasks]) for run in progress.runs)
        return Plan(context, cases, splits, runs, _to_be_done(progress, scored), jobs, _free(experiment.output_folder))


def _to_be_done(progress: BenchmarkProgress, scored: bool) -> BenchmarkProgress:
    """Progress of which what is left is to be estimated: without scoring, trained runs are done."""
    if scored:
        return progress
    kept = tuple(run for run in progress.runs if run.state not in (SCORED, TRAINED))
    timed = tuple(run for run in progress.runs if run.state in (SCORED, TRAINED))
    done = tuple(RunProgress(run.spec, SCORED, run.rows) for run in timed)
    return BenchmarkProgress(progress.name, progress.folder, (*kept, *done))


def _splits(context: Context, cases: Outlook, scored: bool) -> dict[int, dict[str, int]] | None:
    """How many cases each split has, where the store is as it will be."""
    if not cases.whole:
        return None
    context.use(Store(context.experiment.store_folder))
    splits = context.splits if scored else context.splits_of_training
    return {seed: {name: len(ids) for name, ids in own.items()} for seed, own in splits.items()}


def _parameters(context: Context, specs: Sequence[RunSpec]) -> dict[tuple[str, tuple[str, ...]], int]:
    """``{(key, tasks): parameters}``, of networks without memory."""
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    for spec in specs:
        if (spec.key, spec.tasks) not in found:
            with torch.device("meta"):
                assembly = assembly_of(spec.experiment, context.dataset).only(spec.tasks)
                network = build_architecture(spec, assembly, pretrained=False)
            found[spec.key, spec.tasks] = sum(parameter.numel() for parameter in network.parameters())
    return found


def _free(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def is_known(seconds: float) -> bool:
    """Whether a time could be estimated."""
    return math.isfinite(seconds)
