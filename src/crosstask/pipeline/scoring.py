"""Score a trained run, as its settings say or as they are overridden, into tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crosstask.buckets import Place
from crosstask.datasets.base import Split
from crosstask.devices import AUTO, describe_device, devices_for
from crosstask.errors import InputError
from crosstask.evaluation.coverage import is_own_store
from crosstask.evaluation.evaluate import Evaluation, evaluate_run
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.scores import write_scores
from crosstask.experiment import EvaluationSection, Experiment, with_evaluation
from crosstask.pipeline.listener import Listener
from crosstask.runs import load_spec
from crosstask.store import Store


@dataclass(frozen=True)
class Scoring:
    """What was scored, and where it was written.

    Attributes:
        evaluation: scores, image-level predictions, and what to know of them.
        settings: how it was scored.
        output: the table of scores.
        predictions: the table of image-level predictions, or None where there is none.
    """

    evaluation: Evaluation
    settings: EvaluationSection
    output: Path
    predictions: Path | None


def score_run(
    run: Path,
    *,
    split: Split | Literal["all"] = "test",
    weights: str | None = None,
    output: Path | None = None,
    store: Place | None = None,
    device: str = AUTO,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> Scoring:
    """Score one run on whole cases, and write the tables.

    Args:
        run: the run folder.
        split: ``train``, ``validation``, ``test``, or ``all`` for every case of the store.
        weights: ``best`` (by validation), ``final`` or ``average``; None for those
            by which the run is judged (``evaluation.weights``).
        output: the table, ``.csv`` or ``.parquet``; None for a name of its own in the run folder.
        store: the prepared cases; None for those that the run was trained on.
        device: of the network; see :func:`crosstask.devices.find_device`. Several, with commas between, share the
            cases out; by default those that the run was trained on, if there were several.
        overrides: ``evaluation.KEY=value``, in the place of what the run's settings have.
        listener: told what happens.

    Raises:
        InputError: the folder is no complete run, or an argument cannot be used.
    """
    listener = listener or Listener()
    spec = load_spec(run)
    settings = with_evaluation(spec.experiment, overrides).evaluation
    given = output is not None
    axes = with_evaluation(spec.experiment, overrides).mirrored
    name = f"scores-{split}-mirrored-{''.join(axes)}.csv" if axes else f"scores-{split}.csv"
    output = output or run / name
    check_output(output)
    if store is None and not spec.experiment.store_folder.exists():
        raise InputError(
            f"{spec.experiment.store_folder}: the run's prepared cases are not there; give their folder with --store"
        )
    cases = Store(store or spec.experiment.store_folder)
    if not given and output.exists() and not is_own_store(run, cases):  # figures of the run's own cases are kept
        place = [cases.root.parent.name] if isinstance(cases.root, Path) else []
        output = run / name.replace(".csv", f"-{'-'.join([*place, cases.root.name])}.csv")
    device = told_devices(device, spec.experiment, listener)
    with listener.progress("Scoring") as progress:
        evaluation = evaluate_run(
            run,
            cases,
            split=split,
            weights=weights,
            device=device,
            evaluation=settings,
            progress=progress,
        )
    for remark in evaluation.remarks:
        listener.warned(remark)
    return written(evaluation, settings, output)


def told_devices(device: str, experiment: Experiment, listener: Listener) -> str:
    """Names of the devices that share the cases out, with commas between; they are told."""
    found = devices_for(device, experiment.training.device, experiment.training.devices)
    listener.told(f"Device: {', '.join(describe_device(one) for one in found)}")
    return ",".join(map(str, found))


def written(evaluation: Evaluation, settings: EvaluationSection, output: Path) -> Scoring:
    """Write what was scored: the table of scores, and beside it that of predictions if there are any."""
    write_scores(evaluation.scores, output)
    beside = None
    if len(evaluation.predictions):
        beside = output.with_name(f"{output.stem}-predictions.csv")
        write_predictions(evaluation.predictions, beside)
    return Scoring(evaluation, settings, output, beside)


def check_output(output: Path) -> None:
    """Make sure that a table can be written there.

    Raises:
        InputError: it has another ending, or its folder is not there.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise InputError(f"--output: {output} must end in .csv or .parquet")
    if not output.parent.is_dir():
        raise InputError(f"--output: there is no folder {output.parent}; make it first")
