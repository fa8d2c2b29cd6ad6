"""Which runs an experiment has: one method trained once, with which tasks, seed and variant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from crosstask.experiment import Experiment
from crosstask.methods import Method, get_method, method_key

UNWEIGHTED = "equal"
"""Weighting of a run of one task."""


@dataclass(frozen=True)
class RunSpec:
    """What one run trains.

    Attributes:
        experiment: the whole experiment, as it is for this variant and seed.
        method: the method.
        seed: of initial weights, sample order and validation split.
        tasks: the tasks that it learns: all, or one for a single-task run.
        variant: name of the experiment's variant, or empty.
    """

    experiment: Experiment
    method: Method
    seed: int
    tasks: tuple[str, ...]
    variant: str = ""

    @property
    def key(self) -> str:
        """The method in tables and folders: its name, with the variant if there is one."""
        return method_key(self.method.name, self.variant)

    @property
    def weighting(self) -> str:
        """Name of the weighting of its losses: the method's own or the experiment's; of a single task there is none."""
        if self.method.run_per_task:
            return UNWEIGHTED
        return self.method.weighting or self.experiment.weighting.name

    @property
    def name(self) -> str:
        """Short name for a person, and the folder's path below the output."""
        parts = [self.key, f"seed{self.seed}"]
        return "/".join([*parts, *self.tasks] if self.method.run_per_task else parts)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.experiment.output_folder / "runs" / self.name


def with_threads(spec: RunSpec, threads: int) -> RunSpec:
    """The spec with so many threads, if it does not say how many."""
    training = spec.experiment.training
    if training.threads is not None:
        return spec
    changed = spec.experiment.model_copy(update={"training": training.model_copy(update={"threads": threads})})
    return replace(spec, experiment=changed)


def run_specs(experiment: Experiment) -> list[RunSpec]:
    """All runs of a benchmark: seeds x variants x methods, and for single-task methods x tasks.

    With a major task, single-task learning learns that alone: the others are there to help it.
    """
    tasks = tuple(experiment.dataset.tasks)
    single = tasks if experiment.major is None else (experiment.major,)
    specs: dict[str, RunSpec] = {}
    resolved: dict[tuple[str, int], Experiment] = {}
    for seed in experiment.seeds:
        for variant in experiment.variants or ("",):
            for name in experiment.methods:
                method = method_of(experiment, name)
                seen = _seen_by(method, variant, experiment)
                if (seen, seed) not in resolved:
                    resolved[seen, seed] = experiment.resolved(seen, seed)
                own = resolved[seen, seed]
                sets = [(task,) for task in single] if method.run_per_task else [tasks]
                for spec in (RunSpec(own, method, seed, chosen, seen) for chosen in sets):
                    specs.setdefault(spec.name, spec)
    return list(specs.values())


def keys_of(experiment: Experiment) -> list[str]:
    """Keys of the methods of a benchmark, in the order of its tables: each method with all its variants."""
    methods = [method_of(experiment, name) for name in experiment.methods]
    variants = list(experiment.variants) or [""]
    keys = [method_key(one.name, _seen_by(one, variant, experiment)) for one in methods for variant in variants]
    return list(dict.fromkeys(keys))


def _seen_by(method: Method, variant: str, experiment: Experiment) -> str:
    """The variant as a method has it, or none: to who learns each task alone, another weighting changes nothing.

    Where variants differ by the weighting, one that changes nothing at all is the same to it as those.
    """
    changes = experiment.variants
    by_weighting = any(set(own) == {"weighting"} for own in changes.values())
    same = by_weighting and set(changes.get(variant, {})) <= {"weighting"}
    return "" if method.run_per_task and same else variant


def method_of(experiment: Experiment, name: str) -> Method:
    """The method of that name, as the experiment has it.

    Raises:
        InputError: there is none.
    """
    method = get_method(name)
    if method.run_per_task and experiment.stl_network is not None:
        return replace(method, architecture=experiment.stl_network)
    return method
