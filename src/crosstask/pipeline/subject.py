"""What is to be scored: one run, or all runs of a benchmark, by its output folder or its experiment file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from, load_experiment
from crosstask.runs import EXPERIMENT, RECORD, RunSpec, is_trained, keys_of, load_spec, run_specs
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
    experiment = experiment_at(path, overrides)
    check_trained(experiment)
    return experiment


def experiment_at(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a benchmark; see :func:`benchmark_at`, but whether its runs are trained does not matter.

    Raises:
        InputError: the path is none of a benchmark.
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
    return experiment


def ensembles_of(experiment: Experiment, method: str | None = None) -> dict[str, list[RunSpec]]:
    """``{method's key: its runs of all seeds}`` of a benchmark.

    Args:
        experiment: the benchmark's.
        method: only this one; its name, or its key with a variant.

    Raises:
        InputError: there is no such method, it has one seed alone, or a run of it is not trained to its end.
    """
    keys = keys_of(experiment)
    if method is not None and method not in keys:
        raise InputError(f"--method: {method!r} is not among the experiment's methods: {', '.join(keys)}")
    specs = [spec for spec in run_specs(experiment) if method in (None, spec.key)]
    if len(experiment.seeds) < 2:
        raise InputError(
            f"{experiment.output_folder}: has seed {experiment.seeds[0]} alone, and an ensemble needs two; train more "
            "(seeds=[0,1,2])"
        )
    lacking = [spec.name for spec in specs if not is_trained(spec)]
    if lacking:
        raise InputError(
            f"{experiment.output_folder}: run {lacking[0]} is not trained to its end; run crosstask benchmark first"
        )
    return {key: [spec for spec in specs if spec.key == key] for key in keys if method in (None, key)}


def runs_to_predict(path: Path, method: str | None, *, ensemble: bool) -> Path | list[Path]:
    """The run that a path is of, or with ``ensemble`` all seeds of a method of the benchmark that it is of.

    Raises:
        InputError: it is a benchmark and no ensemble is asked for, or the other way round; see :func:`ensemble_at`.
    """
    if ensemble:
        return ensemble_at(path, method)
    if method is not None:
        raise InputError("--method: is of an ensemble; add --ensemble, or give the run's folder alone")
    if path.is_dir() and not is_run(path) and (path / "runs").is_dir():
        raise InputError(f"{path}: is a benchmark; add --ensemble, or give the folder of one of its runs")
    return path


def ensemble_at(path: Path, method: str | None) -> list[Path]:
    """Run folders of all seeds of a method of a benchmark.

    Args:
        path: the benchmark; see :func:`benchmark_at`.
        method: name or key; None where there is only one.

    Raises:
        InputError: the path is one run, or none of a benchmark; see :func:`ensembles_of`.
    """
    if is_run(path):
        raise InputError(f"--ensemble: {path} is one run; give the benchmark, its output folder or experiment file")
    experiment = experiment_at(path)
    keys = keys_of(experiment)
    if method is None and len(keys) > 1:
        raise InputError(f"--ensemble: {path} has several methods; add --method, one of {', '.join(keys)}")
    (specs,) = ensembles_of(experiment, method or keys[0]).values()
    return [spec.folder for spec in specs]


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
