"""What is to be scored: one run, or all runs of a benchmark, by its output folder or its experiment file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from, load_experiment
from crosstask.runs import EXPERIMENT, RECORD, RunSpec, is_packed, is_trained, keys_of, load_spec, run_specs, unpacked
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


def ensembles_of(experiment: Experiment, method: str | None = None, *, least: int = 2) -> dict[str, list[RunSpec]]:
    """``{method's key: its runs of all seeds}`` of a benchmark.

    Args:
        experiment: the benchmark's.
        method: only this one; its name, or its key with a variant.
        least: seeds that there must be.

    Raises:
        InputError: there is no such method, it has fewer seeds, or a run of it is not trained to its end.
    """
    keys = keys_of(experiment)
    if method is not None and method not in keys:
        raise InputError(f"--method: {method!r} is not among the experiment's methods: {', '.join(keys)}")
    specs = [spec for spec in run_specs(experiment) if method in (None, spec.key)]
    if len(experiment.seeds) < least:
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


def runs_to_predict(path: Path, method: str | None, *, ensemble: bool = False) -> Path | list[Path]:
    """The run that a path is of; of a benchmark all runs of a method, which predict as one.

    Args:
        path: a run folder, a packed model, or a benchmark: its output folder or experiment file.
        method: of a benchmark, by name or key; may be left out where it has one alone.
        ensemble: say so where the path is none of a benchmark.

    Raises:
        InputError: a single run, and a method of it is asked for; or see :func:`ensemble_at`.
    """
    if is_packed(path):
        if method is not None or ensemble:
            given = "--ensemble" if method is None else "--method"
            raise InputError(f"{given}: {path} is a packed model, which is one method; leave it out")
        return unpacked(path)
    if is_run(path):
        if ensemble:
            raise InputError(f"--ensemble: {path} is one run; give the benchmark, its output folder or experiment file")
        if method is not None:
            raise InputError(f"--method: {path} is one run; leave it out, or give the benchmark it belongs to")
        return path
    benchmark = not path.is_dir() or (path / EXPERIMENT).is_file() or (path / "runs").is_dir()
    if not benchmark and not ensemble and method is None:
        return path  # says itself what it lacks
    return ensemble_at(path, method, least=2 if ensemble else 1)


def runs_to_pack(path: Path, method: str | None) -> Path | list[Path]:
    """The runs that go into a packed model: a single one, or all seeds of a method of a benchmark.

    Raises:
        InputError: see :func:`runs_to_predict`; or the path is a packed model already.
    """
    if is_packed(path):
        raise InputError(f"{path}: is packed already; copy the folder as it is")
    return runs_to_predict(path, method)


def ensemble_at(path: Path, method: str | None, *, least: int = 1) -> Path | list[Path]:
    """Run folders of all seeds of a method of a benchmark; a single one where there is one.

    Args:
        path: the benchmark; see :func:`benchmark_at`.
        method: name or key; None where there is only one.
        least: seeds that there must be.

    Raises:
        InputError: the path is none of a benchmark, there is no such method, or a run is not trained to its end.
    """
    experiment = experiment_at(path)
    keys = keys_of(experiment)
    if method is None and len(keys) > 1:
        raise InputError(f"{path}: is a benchmark of several methods; add --method, one of {', '.join(keys)}")
    (specs,) = ensembles_of(experiment, method or keys[0], least=least).values()
    folders = [spec.folder for spec in specs]
    return folders[0] if len(folders) == 1 else folders


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
