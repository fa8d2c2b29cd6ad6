"""The steps as functions, for scripts and notebooks; ``import crosstask`` gives them all."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.buckets import Place, store_place
from crosstask.datasets.base import SPLITS
from crosstask.datasets.cohort.init import propose_cohort
from crosstask.devices import AUTO
from crosstask.errors import InputError
from crosstask.experiment import Experiment, experiment_from, load_experiment
from crosstask.files import write_atomically
from crosstask.pipeline.affinity import EPOCHS, EVERY, METHOD, SEEDS, TaskAffinity, look
from crosstask.pipeline.benchmark import Manner, run_benchmark
from crosstask.pipeline.context import Context
from crosstask.pipeline.ensembles import score_ensembles
from crosstask.pipeline.external import compare_on, score_run_on
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.packing import Packed, pack_runs
from crosstask.pipeline.predicting import Predicted, predict_cases
from crosstask.pipeline.reporting import report_again
from crosstask.pipeline.results import Comparison
from crosstask.pipeline.scoring import score_run
from crosstask.pipeline.seeds import MAX_SEEDS, Aim
from crosstask.pipeline.subject import benchmark_at, check_trained, experiment_at, is_run, runs_to_pack, runs_to_predict
from crosstask.pipeline.trained import TrainedRun
from crosstask.pipeline.training import train_runs
from crosstask.report.ensembles import ensembles_csv

ExperimentLike = Experiment | Mapping[str, Any] | str | Path


def as_experiment(experiment: ExperimentLike, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from what describes it.

    Args:
        experiment: a file, the name of one that comes along (``crosstask configs``), a mapping of its keys, or an
            :class:`Experiment`.
        overrides: ``key=value``, as on the command line; values are YAML.

    Raises:
        InputError: one line for the first fault, with the key.

    >>> values = {"name": "tiny", "dataset": {"name": "phantom", "root": "data", "tasks": {"dose": {}}}}
    >>> as_experiment(values, ["training.epochs=3"]).training.epochs
    3
    """
    if isinstance(experiment, (str, Path)):
        return load_experiment(Path(experiment), overrides)
    values = experiment.model_dump(mode="json") if isinstance(experiment, Experiment) else _plain(experiment)
    return experiment_from(values, overrides=overrides)


def _plain(value: Any) -> Any:
    """Mappings and sections of pydantic, at any depth, as plain values."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def benchmark(
    experiment: ExperimentLike,
    overrides: Sequence[str] = (),
    *,
    jobs: int | None = None,
    workers: int = 1,
    until: float | None = None,
    max_seeds: int = MAX_SEEDS,
    listener: Listener | None = None,
) -> Comparison:
    """Train methods x seeds, score them on test cases, and compare. What is done is kept; the same call resumes.

    By default all runs are trained one after the other in this process, so that it works in a notebook, with what was
    registered in it. With ``jobs``, or with more ``workers``, other processes are started: a script then needs the
    usual ``if __name__ == "__main__":``.

    Args:
        experiment: a file, a name, a mapping, or an :class:`Experiment`.
        overrides: ``key=value``, as on the command line.
        jobs: runs at a time, each in a process of its own; None for all in this one.
        workers: processes that prepare cases.
        until: seeds are added to the experiment's own until the 95 % interval of the mean improvement reaches at most
            so many points of percent to either side, of every method; None for the experiment's own alone.
        max_seeds: where adding ends with ``until``, whatever the interval.
        listener: told what happens; None for nobody.

    Returns:
        The comparison; its tables are pandas', and a notebook shows it.

    Raises:
        InputError: settings, data or run folders do not allow it.
        CrosstaskError: a run failed.
    """
    context = Context(as_experiment(experiment, overrides), listener)
    aim = None if until is None else Aim(until, max_seeds)
    return run_benchmark(context, Manner(jobs or 1, workers, apart=jobs is not None), aim=aim)


def train(
    experiment: ExperimentLike,
    overrides: Sequence[str] = (),
    *,
    method: str | None = None,
    workers: int = 1,
    listener: Listener | None = None,
) -> list[TrainedRun]:
    """Train the runs of an experiment in this process, without scoring; those that are complete are kept.

    Args:
        experiment: a file, a name, a mapping, or an :class:`Experiment`.
        overrides: ``key=value``, as on the command line.
        method: only this one: its name, or its key with a variant.
        workers: processes that prepare cases.
        listener: told what happens; None for nobody.

    Raises:
        InputError: settings, data or run folders do not allow it.
    """
    context = Context(as_experiment(experiment, overrides), listener)
    return [TrainedRun(folder) for folder in train_runs(context, method, workers=workers)]


def load_benchmark(folder: str | Path, *, listener: Listener | None = None) -> Comparison:
    """What a benchmark found, read from the folder of its results; no data are needed, and nothing is written.

    Args:
        folder: of the results, which may have been moved.
        listener: told what happens; None for nobody.

    Raises:
        InputError: the folder is none of a benchmark, or runs are missing or not done.
    """
    return report_again(Path(folder), listener, write=False)


def affinity(
    experiment: ExperimentLike,
    overrides: Sequence[str] = (),
    *,
    method: str = METHOD,
    epochs: int = EPOCHS,
    seeds: int = SEEDS,
    every: int = EVERY,
    groups: int | None = None,
    workers: int = 1,
    listener: Listener | None = None,
) -> TaskAffinity:
    """A cheap look at which tasks to learn together: a few epochs of hard sharing, gradients and affinities measured.

    It trains in this process, into a folder of its own below the experiment's output; what is done is kept.

    Args:
        experiment: a file, a name, a mapping, or an :class:`Experiment`.
        overrides: ``key=value``, as on the command line.
        method: what is trained, with a weighting of its own or the experiment's.
        epochs: of each run.
        seeds: how many runs: those of the experiment first.
        every: batches, of which one is looked at.
        groups: networks at most into which tasks are divided; None for any number.
        workers: processes that prepare cases.
        listener: told what happens; None for nobody.

    Raises:
        InputError: settings or data do not allow it, or there is nothing to be seen: a single task, or tasks that share
            nothing.
    """
    given = as_experiment(experiment, overrides)
    return look(
        given,
        listener,
        method=method,
        epochs=epochs,
        seeds=seeds,
        every=every,
        groups=groups,
        workers=workers,
    )


def evaluate(
    run: str | Path | TrainedRun | ExperimentLike,
    *,
    on: str | Path | Mapping[str, Any] | None = None,
    tasks: Mapping[str, str] | None = None,
    classes: Mapping[str, Mapping[str, str]] | None = None,
    name: str | None = None,
    split: str = "test",
    weights: str | None = None,
    store: str | Path | None = None,
    output: str | Path | None = None,
    device: str = AUTO,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> pd.DataFrame | Comparison:
    """Score a run on whole cases: one row per case, task, class and metric. The table is also written.

    With ``on`` the cases are others than the run has ever met, and ``run`` may be a whole benchmark, whose methods are
    then compared on them. A class is what it is called, or what ``classes`` says; cases that trained a run are refused
    by their pixels.

    Args:
        run: a run, or its folder; with ``on`` also a benchmark: its output folder, experiment file or experiment.
        on: external cases: an experiment file, a cohort file, a folder, ``DATASET=FOLDER``, the name of external cases
            of the experiment, or a mapping with ``name``, ``root`` and ``options`` of their data set.
        tasks: with ``on``: ``{their task: ours}`` where the names differ.
        classes: with ``on``: ``{our task: {their class: ours}}`` where the names differ.
        name: with ``on``: what the cases are called; by default after their file or folder.
        split: ``train``, ``validation``, ``test`` or ``all``.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        store: prepared cases, if others than those that it was trained on.
        output: the table, ``.csv`` or ``.parquet``; None for a name of its own in the run folder.
        device: ``auto``, ``cpu``, ``cuda``, ...
        overrides: ``evaluation.KEY=value``.
        listener: told what happens; None for nobody.

    Returns:
        The scores; of a benchmark the comparison.

    Raises:
        InputError: the folder is no complete run, or an argument cannot be used.
    """
    if on is not None:
        if split != "test":
            raise InputError(f"split: {split!r} says nothing with on, which scores every case; leave it out")
        return _evaluate_on(
            run,
            on,
            {"tasks": tasks, "classes": classes, "name": name, "weights": weights, "device": device},
            None if store is None else store_place(store),
            None if output is None else Path(output),
            overrides,
            listener,
        )
    if tasks or classes or name:
        raise InputError("tasks, classes and name are of external cases; give these with on")
    if not isinstance(run, (str, Path, TrainedRun)):
        raise InputError("run: give a run or its folder; a benchmark is scored on external cases alone (on)")
    if split not in (*SPLITS, "all"):
        raise InputError(f"split: {split!r} is not accepted; one of {', '.join(SPLITS)}, all")
    scoring = score_run(
        _folder_of(run),
        split=split,  # type: ignore[arg-type]
        weights=weights,
        store=None if store is None else store_place(store),
        output=None if output is None else Path(output),
        device=device,
        overrides=overrides,
        listener=listener,
    )
    return scoring.evaluation.scores


def _evaluate_on(
    run: str | Path | TrainedRun | ExperimentLike,
    on: str | Path | Mapping[str, Any],
    about: dict[str, Any],
    store: Place | None,
    output: Path | None,
    overrides: Sequence[str],
    listener: Listener | None,
) -> pd.DataFrame | Comparison:
    """Scores of a run, or the comparison of a benchmark, on external cases."""
    about["listener"] = listener
    if isinstance(run, TrainedRun) or (isinstance(run, (str, Path)) and is_run(Path(run))):
        folder = _folder_of(run)
        scoring = score_run_on(folder, on, output=output, store=store, overrides=overrides, workers=1, **about)
        return scoring.evaluation.scores
    if output is not None:
        raise InputError("output: a benchmark's tables lie in external/NAME of its output; leave it out")
    if isinstance(run, (str, Path)):
        experiment = benchmark_at(Path(run), overrides)
    else:
        experiment = as_experiment(run, overrides)
        check_trained(experiment)
    if store is not None:
        experiment = experiment.model_copy(update={"store": store})
    return compare_on(experiment, on, workers=1, **about)


def predict(
    run: str | Path | TrainedRun,
    root: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    image: str | None = None,
    cases: Sequence[str] = (),
    format: str | None = None,
    weights: str | None = None,
    device: str = AUTO,
    ensemble: bool = False,
    method: str | None = None,
    tta: bool = False,
    probabilities: bool = False,
    listener: Listener | None = None,
) -> Predicted:
    """Predict images, or the raw cases of a data set, into files; those that are there already are kept.

    For arrays there is :meth:`TrainedRun.predict`.

    Args:
        run: a run, its folder, a packed model, or a benchmark: its output folder or experiment file.
        root: image files, folders of them, tables that name them, or a raw data set; see docs/predicting.md.
        output: folder of the predictions: new, empty, or of this run.
        image: which files of a folder, or which column of a table.
        cases: ids; empty for all.
        format: ``openkbp``, ``dicom``, ``nifti``, ``png``, ``overlay``, ``npz``, ``csv`` or a plugin's; None for what
            fits the images.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: ``auto``, ``cpu``, ``cuda``, ...
        ensemble: insist on two seeds or more; of a benchmark all seeds of a method predict together in any case.
        method: of a benchmark: which; may be left out where it has one alone.
        tta: the mean over images mirrored along the axes that training flipped.
        probabilities: write them too, not only what they amount to.
        listener: told what happens; None for nobody.

    Raises:
        InputError: an option or a folder cannot be used, or no case could be predicted.
    """
    return predict_cases(
        runs_to_predict(_folder_of(run), method, ensemble=ensemble),
        [Path(one) for one in ([root] if isinstance(root, (str, Path)) else root)],
        Path(output),
        image=image,
        tta=tta,
        probabilities=probabilities,
        cases=cases,
        kind=format,
        weights=weights,
        device=device,
        listener=listener,
    )


def pack(
    run: str | Path | TrainedRun,
    output: str | Path | None = None,
    *,
    method: str | None = None,
    licence: str | None = None,
    weights: str | None = None,
    listener: Listener | None = None,
) -> Packed:
    """Make one folder of a trained model to give away: no data, no ids, no paths; see docs/giving-away.md.

    Args:
        run: a run, its folder, or a benchmark: its output folder or experiment file.
        output: the new folder; None for one in the working folder, named after experiment and method.
        method: of a benchmark: which; all its seeds go along.
        licence: of the weights; None if it is not known, which the card then says.
        weights: ``best``, ``final`` or ``average``; None for those by which the runs are judged.
        listener: told what happens; None for nobody.

    Raises:
        InputError: a run is not complete, or the folder is there already.
    """
    runs = runs_to_pack(_folder_of(run), method)
    folder = None if output is None else Path(output)
    return pack_runs(runs, folder, licence=licence, weights=weights, listener=listener)


def evaluate_ensembles(
    benchmark: ExperimentLike,
    *,
    method: str | None = None,
    device: str = AUTO,
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Score the seeds of each method of a benchmark as one predictor, beside each seed; write ``ensembles.*``, too.

    Args:
        benchmark: its output folder, experiment file or experiment; its runs are trained and scored.
        method: only this one.
        device: ``auto``, ``cpu``, ``cuda``, ...
        listener: told what happens; None for nobody.

    Returns:
        One row a method, task and metric: mean of the seeds, the ensemble, and its interval over the test cases alone.

    Raises:
        InputError: there is one seed alone, every seed has splits of its own, or a run is not trained or scored.
    """
    if isinstance(benchmark, (str, Path)):
        experiment = experiment_at(Path(benchmark))
    else:
        experiment = as_experiment(benchmark)
    figures = score_ensembles(experiment, method=method, device=device, listener=listener)
    return pd.read_csv(io.StringIO(ensembles_csv(figures)))


def load_run(folder: str | Path, *, weights: str | None = None, device: str = AUTO) -> TrainedRun:
    """A trained run: its network, its tasks, and predictions of plain arrays without any data set.

    Args:
        folder: the run folder, or that of a packed model.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        device: ``auto``, ``cpu``, ``cuda``, ...

    Raises:
        InputError: the folder is no complete run, or a file of it is damaged.
    """
    return TrainedRun(folder, weights=weights, device=device)


def describe_table(table: str | Path, output: str | Path = "cohort.yaml", *, sheet: str | None = None) -> Path:
    """Propose a cohort file for a table of images, as ``crosstask cohort init`` does; it is the ``root`` of a cohort.

    Args:
        table: CSV, TSV, Excel or Parquet, one row a case; images lie near it.
        output: the cohort file to write.
        sheet: of an Excel table.

    Returns:
        The cohort file. Read it before you trust it: what it is not sure of stands at its end.

    Raises:
        InputError: the table cannot be read, no image fits it, or the output exists.
    """
    output = Path(output)
    if output.exists():
        raise InputError(f"{output}: already exists and is not overwritten; remove it, or give another output")
    proposal = propose_cohort(table, output, sheet=sheet)
    write_atomically(output, proposal.text)
    return output


def _folder_of(run: str | Path | TrainedRun) -> Path:
    return run.folder if isinstance(run, TrainedRun) else Path(run)
