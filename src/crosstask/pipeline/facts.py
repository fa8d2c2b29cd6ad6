"""What comparing and reporting need to know of the cases; kept in a file, so that a page needs no data again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.assembly import assembly_from
from crosstask.errors import InputError
from crosstask.evaluation.comparison import measure_of
from crosstask.evaluation.described import describe_data
from crosstask.evaluation.ensembles import EnsembleFigure
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.pipeline.context import Context
from crosstask.runs import RunSpec, keys_of, read_record
from crosstask.splits import SPLIT_FILE, SPLIT_FOLDER
from crosstask.tasks.base import Task

REPORT = "report.json"


@dataclass(frozen=True)
class Facts:
    """What is known of a benchmark's cases.

    Attributes:
        experiment: the experiment.
        tasks: those that methods are compared by: single-task learning knows the major task alone.
        groups: ``{case: group}``.
        test_to_train: test cases for one training case, mean over seeds; NaN where all seeds have the same splits.
        remarks: what must be said beside the figures.
        data: what the cases are, by :func:`crosstask.evaluation.described.describe_data`.
        external: HTML on external cases, by the name of these.
        ensembles: the seeds of each method as one predictor, or None.
    """

    experiment: Experiment
    tasks: tuple[Task, ...]
    groups: Mapping[str, str]
    test_to_train: float
    remarks: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    external: Mapping[str, str] = field(default_factory=dict)
    ensembles: Sequence[EnsembleFigure] | None = None

    @classmethod
    def of(cls, context: Context, remarks: Sequence[str]) -> Facts:
        """Those of a benchmark at work."""
        experiment, major = context.experiment, context.experiment.major
        return cls(
            experiment,
            tuple(task for task in context.assembly.tasks if major in (None, task.name)),
            {case.id: case.group for case in context.store.cases},
            _test_to_train(context),
            tuple(remarks),
        )

    def described(self, context: Context) -> Facts:
        """The same with what the cases are, as the report shows it."""
        seed, assembly = context.experiment.seeds[0], context.assembly
        data = describe_data(context.store, context.splits[seed], assembly.tasks, assembly.image_array)
        data["of_seed"] = seed if context.experiment.dataset.splits.by_seed else None
        return dataclasses.replace(self, data=data)

    def options(self) -> dict[str, Any]:
        """How methods are compared on the benchmark's own test cases, by whatever figure."""
        by_seed = self.experiment.dataset.splits.by_seed
        return comparison_options(self.experiment, self.groups, name=self.experiment.name, by_seed=by_seed)

    def improvement_options(self, constant: pd.DataFrame) -> dict[str, Any]:
        """The same with what the improvement is made of and how it is judged.

        Args:
            constant: scores of the constant predictor.
        """
        return {
            **judging_options(self.experiment, self.tasks, constant),
            "test_to_train": self.test_to_train,
            **self.options(),
        }

    def write(self, folder: Path) -> None:
        """Keep them in the folder of the results."""
        values = {
            "remarks": list(self.remarks),
            "test_to_train": None if math.isnan(self.test_to_train) else self.test_to_train,
            "data": dict(self.data),
            "external": dict(self.external),
            "ensembles": None if self.ensembles is None else [_plain(one) for one in self.ensembles],
        }
        write_atomically(folder / REPORT, json.dumps(values, indent=1, ensure_ascii=False))


def read_facts(folder: Path, experiment: Experiment, specs: Sequence[RunSpec]) -> Facts:
    """What was kept by :meth:`Facts.write`, with the groups of the splits and the tasks of the runs.

    Args:
        folder: of the results.
        experiment: the experiment.
        specs: its runs, all done.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / REPORT
    again = "run crosstask benchmark on it once more, which keeps what is done"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: values[name] for name in ("remarks", "test_to_train", "data", "external", "ensembles")}
        ratio = math.nan if kept["test_to_train"] is None else float(kept["test_to_train"])
        ensembles = None if kept["ensembles"] is None else [_ensemble(one) for one in kept["ensembles"]]
    except FileNotFoundError:
        raise InputError(f"{path}: is missing, so there is no page to make of {folder}; {again}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; {again}") from None
    return Facts(
        experiment,
        _tasks(experiment, specs),
        _groups(folder, again),
        ratio,
        tuple(kept["remarks"]),
        kept["data"],
        kept["external"],
        ensembles,
    )


def _tasks(experiment: Experiment, specs: Sequence[RunSpec]) -> tuple[Task, ...]:
    """The judged tasks as the runs' records describe them, in the experiment's order."""
    found: dict[str, Task] = {}
    for spec in specs:
        for task in assembly_from(read_record(spec.folder)["assembly"]).tasks:
            found.setdefault(task.name, task)
    return tuple(found[name] for name in experiment.dataset.tasks if name in found and experiment.major in (None, name))


def _groups(folder: Path, again: str) -> dict[str, str]:
    """``{case: group}`` of the tables of splits."""
    files = [path for path in [folder / SPLIT_FILE, *sorted((folder / SPLIT_FOLDER).glob("*.csv"))] if path.is_file()]
    try:
        tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in files]
        return {case: group for table in tables for case, group in zip(table["case"], table["group"], strict=True)}
    except (OSError, ValueError, KeyError):
        raise InputError(f"{folder / SPLIT_FILE}: cannot be read; {again}") from None


def _plain(figure: EnsembleFigure) -> dict[str, Any]:
    values = dataclasses.asdict(figure)
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def _ensemble(values: Mapping[str, Any]) -> EnsembleFigure:
    numbers = ("alone", "together", "low", "high")
    return EnsembleFigure(**{**values, **{name: math.nan for name in numbers if values[name] is None}})


def _test_to_train(context: Context) -> float:
    """Test cases for one training case, mean over seeds; NaN where all seeds have the same splits."""
    if not context.experiment.dataset.splits.by_seed:
        return math.nan
    split = context.experiment.evaluation.split
    ratios = [len(own[split]) / len(own["train"]) for own in context.splits.values()]
    return math.fsum(ratios) / len(ratios)


def comparison_options(
    experiment: Experiment, groups: Mapping[str, str], *, name: str, by_seed: bool
) -> dict[str, Any]:
    """How methods are compared, by whatever figure.

    Args:
        experiment: the experiment.
        groups: ``{case: group}`` of the cases that they are scored on.
        name: what these are called.
        by_seed: every seed has test cases of its own.
    """
    return {
        "dataset": name,
        "methods": keys_of(experiment),
        "groups": dict(groups),
        "by_seed": by_seed,
        "resamplings": experiment.evaluation.bootstrap,
        "least_positives": experiment.evaluation.least_positives,
    }


def judging_options(experiment: Experiment, judged: Sequence[Task], constant: pd.DataFrame) -> dict[str, Any]:
    """What the improvement is made of, and what is called equivalent and certain.

    Args:
        experiment: the experiment.
        judged: the tasks that methods are compared by.
        constant: scores of the constant predictor.
    """
    return {
        "constant": constant,
        "measures": [measure_of(task) for task in judged],
        "margin": experiment.evaluation.margin,
        "level": experiment.evaluation.level,
    }
