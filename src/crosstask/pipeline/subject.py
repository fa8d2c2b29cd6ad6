"""What is to be scored: one run, or all runs of a benchmark, by its output folder or its experiment file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from, load_experiment
from crosstask.runs import EXPERIMENT, RECORD, is_trained, load_spec, run_specs
from crosstask.shipped import find_config


def is_run(path: Path) -> bool:
    """Whether a path is the folder of one run."""
    return (path / RECORD).exists()


def benchmark_at(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a benchmark whose runs are trained.

    Args:
        path: its output folder, its experiment file, or the name of one that comes along.
        overrides: ``key=value``, as on the command line.

    Raises:
        InputError: it is none of these, or a run is not trained to its end.
    """
    if path.is_dir():
        if (path / EXPERIMENT).is_file():
            experiment = load_experiment(path / EXPERIMENT, overrides)
            moved = {"output": path}
            if (path / "store").is_dir():
                moved["store"] = path / "store"
            experiment = experiment.model_copy(update=moved)
        else:
            experiment = _from_runs(path, overrides)
    elif find_config(path).is_file():
        experiment = load_experiment(path, overrides)
    else:
        raise InputError(
            f"{path}: no such run folder, output folder of a benchmark or experiment file; give one of these"
        )
    check_trained(experiment)
    return experiment


def check_trained(experiment: Experiment) -> None:
    """Make sure that all runs of a benchmark are there.

    Raises:
        InputError: one is not trained to its end.
    """
    specs = run_specs(experiment)
    lacking = [spec.name for spec in specs if not is_trained(spec)]
    if lacking:
        raise InputError(
            f"{experiment.output_folder}: {len(lacking)} of {len(specs)} runs are not trained to their end "
            f"({lacking[0]}); run crosstask benchmark first, or leave them out (methods=[...] seeds=[...])"
        )


def _from_runs(path: Path, overrides: Sequence[str]) -> Experiment:
    """The experiment of an output folder from before that kept it, as its runs have it."""
    folders = sorted(record.parent for record in (path / "runs").rglob(RECORD))
    if not folders:
        raise InputError(f"{path}: holds no run and no benchmark; give a folder that train or benchmark made")
    specs = [load_spec(folder) for folder in folders]
    if any(spec.variant for spec in specs):
        raise InputError(f"{path}: has variants, which its runs do not describe; give the experiment file instead")
    values = specs[0].experiment.model_dump(mode="json")
    methods = dict.fromkeys(spec.method.name for spec in sorted(specs, key=lambda spec: not spec.method.run_per_task))
    values |= {"methods": list(methods), "seeds": sorted({spec.seed for spec in specs}), "output": str(path)}
    values["stl_network"] = None
    single = [spec.method.architecture for spec in specs if spec.method.run_per_task]
    if single:
        values["stl_network"] = single[0]
    return experiment_from(values, str(path), overrides=overrides)
