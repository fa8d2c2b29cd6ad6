"""A cheap look before a benchmark at which tasks to learn together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.assembly import assembly_of
from crosstask.errors import InputError
from crosstask.evaluation.kept import without_transfer
from crosstask.evaluation.transfer import Transfer, collect_transfer
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.functional.grouping import MOST, best_groups
from crosstask.methods import get_method
from crosstask.network import build_architecture, check_names
from crosstask.pipeline.context import Context
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.seeds import more_seeds
from crosstask.pipeline.training import train_runs
from crosstask.report.affinity import as_markdown, as_text, figures_of, sentence
from crosstask.report.charts.files import as_png
from crosstask.runs import RunSpec
from crosstask.transfer import AFFINITY, COSINE

METHOD, EPOCHS, SEEDS, EVERY = "hps+equal", 5, 3, 5
FOLDER = "affinity"
"""Below the output of the experiment."""
_FEWEST = 3  # tasks that are divided into groups
_MOST_SEEDS = 100


@dataclass(frozen=True)
class TaskAffinity:
    """Which tasks help or hurt which in the first epochs of learning them together.

    Attributes:
        transfer: what was measured.
        method: key of what was trained.
        tasks: their names.
        groups: the division into networks with the highest total affinity; empty with fewer than three tasks, or more
            than twelve.
        total: its total affinity.
        folder: where runs, tables and pictures are.
    """

    transfer: Transfer
    method: str
    tasks: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    total: float
    folder: Path

    @cached_property
    def affinities(self) -> pd.DataFrame:
        """A row a direction, with task of the step, task whose loss it is, affinity with interval, p, seeds, steps."""
        return self._rows(AFFINITY).drop(columns="part")

    @cached_property
    def cosines(self) -> pd.DataFrame:
        """A row a part and pair of tasks with cosine, interval, p, seeds, steps; ``all`` is what all share together."""
        return self._rows(COSINE)

    def _rows(self, figure: str) -> pd.DataFrame:
        summary = self.transfer.summary
        rows = summary[(summary["method"] == self.method) & (summary["figure"] == figure)]
        return rows.drop(columns=["method", "figure"]).reset_index(drop=True)

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        return sentence(self.transfer, self.method, self.groups)

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it; what is not known is None."""
        tables = {name: _plain(table) for name, table in (("affinity", self.affinities), ("cosine", self.cosines))}
        return {
            "method": self.method,
            "tasks": list(self.tasks),
            **tables,
            "groups": [list(group) for group in self.groups],
            "total_affinity": self.total if self.groups else None,
            "sentence": self.sentence,
            "folder": str(self.folder),
        }

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.as_dict(), indent=2)

    def __str__(self) -> str:
        return as_text(self.transfer, self.method, self.groups)

    def write(self) -> None:
        """Write ``affinity.json``, ``.md``, and pictures into its folder."""
        write_atomically(self.folder / "affinity.json", self.to_json() + "\n")
        write_atomically(self.folder / "affinity.md", as_markdown(self.transfer, self.method, self.groups))
        for figure in figures_of(self.transfer, self.method):
            write_atomically(self.folder / f"{figure.name}.png", as_png(figure))


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = table.to_dict(orient="records")
    return [{str(key): None if value != value else value for key, value in row.items()} for row in rows]


def look(
    experiment: Experiment,
    listener: Listener | None = None,
    *,
    method: str = METHOD,
    epochs: int = EPOCHS,
    seeds: int = SEEDS,
    every: int = EVERY,
    groups: int | None = None,
    workers: int | None = None,
) -> TaskAffinity:
    """Train a few epochs, measure, and write what is found; see :func:`crosstask.pipeline.api.affinity`.

    Raises:
        InputError: settings or data do not allow it, or there is nothing to be seen.
    """
    for name, value in (("epochs", epochs), ("seeds", seeds), ("every", every), ("groups", groups)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise InputError(f"--{name}: {value!r} is not accepted; give a whole number from 1 on")
    if seeds > _MOST_SEEDS:
        raise InputError(f"--seeds: {seeds} is more than {_MOST_SEEDS}; three to five do")
    context = Context(_small(experiment, method, epochs, seeds, every), listener)
    _check(context, method)
    train_runs(context, workers=workers)
    for line in without_transfer(context.specs):
        context.listener.warned(line)
    figures = collect_transfer(context.specs)
    if figures.empty:
        raise InputError(
            f"{context.experiment.output_folder}: no step of these runs could be looked at, as there are fewer than "
            f"{every} batches with several labels; give --every 1, or more --epochs"
        )
    transfer = Transfer(figures, level=experiment.evaluation.level)
    key = context.specs[0].key
    tasks = tuple(dict.fromkeys(one.task for one in transfer.of(key, AFFINITY)))
    if len(tasks) > MOST:
        context.listener.warned(f"{len(tasks)} tasks are too many to try all groups of; {MOST} at most")
    divided, total = _groups(transfer, key, tasks, groups)
    found = TaskAffinity(transfer, key, tasks, divided, total, context.experiment.output_folder)
    found.write()
    return found


def _groups(
    transfer: Transfer, key: str, tasks: Sequence[str], most: int | None
) -> tuple[tuple[tuple[str, ...], ...], float]:
    if not _FEWEST <= len(tasks) <= MOST:
        return (), 0.0
    groups, total = best_groups(tasks, {one.pair: one.value for one in transfer.of(key, AFFINITY)}, most)
    return tuple(map(tuple, groups)), total


def _small(experiment: Experiment, method: str, epochs: int, seeds: int, every: int) -> Experiment:
    """The experiment with one method, few epochs and a folder of its own; its prepared cases stay where they are.

    Raises:
        InputError: there is no such method, it learns each task alone, or it needs a major task.
    """
    found = get_method(method)
    if found.run_per_task:
        raise InputError(f"--method: {method} learns each task alone; give one of several tasks, e.g. {METHOD}")
    if found.needs_major and experiment.major is None:
        raise InputError(f"--method: {method} needs major, the task that the others help; name it, e.g. major=TASK")
    training = {"epochs": epochs, "transfer_every": every, "patience": None, "average": None}
    own = experiment.seeds
    changes = {
        "methods": [method],
        "seeds": more_seeds(own, seeds - len(own)) if seeds > len(own) else own[:seeds],
        "variants": {},
        "external": {},
        "training": experiment.training.model_copy(update=training),
        "evaluation": experiment.evaluation.model_copy(update={"weights": None, "other_epochs": False}),
        "store": experiment.store or experiment.store_folder,
        "output": experiment.output_folder / FOLDER / f"{method}-epochs{epochs}-every{every}",
    }
    return experiment.model_copy(update=changes)


def _check(context: Context, method: str) -> None:
    """Make sure, before anything is prepared, that there is something to be seen.

    Raises:
        InputError: a single task, or tasks that share nothing.
    """
    spec = context.specs[0]
    check_names(context.experiment)
    if len(spec.tasks) < 2:
        raise InputError(
            f"dataset.tasks: has {spec.tasks[0]} alone; affinity is between tasks, give two or more in dataset.tasks"
        )
    if not _shares(context, spec):
        raise InputError(f"--method: the tasks of {method} share no parameter; give one that shares, e.g. {METHOD}")


def _shares(context: Context, spec: RunSpec) -> bool:
    import torch

    with torch.device("meta"):
        assembly = assembly_of(spec.experiment, context.dataset).only(spec.tasks)
        return bool(build_architecture(spec, assembly, pretrained=False).shared_parameters())
