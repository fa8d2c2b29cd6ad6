"""The seeds of each method of a benchmark as one predictor, scored beside each seed alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from crosstask.assembly import assembly_of, dataset_of
from crosstask.decisions import mean_thresholds
from crosstask.devices import AUTO, devices_for
from crosstask.errors import InputError
from crosstask.evaluation.ensemble_scores import PixelScores, score_ensemble
from crosstask.evaluation.ensembles import EnsembleFigure, Resampling, figures_of, mean_predictions
from crosstask.evaluation.run import collect_predictions, is_scored
from crosstask.evaluation.scored import scored_cases, what_decides
from crosstask.evaluation.scores import read_scores, score_table, write_scores
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.pipeline.listener import Listener
from crosstask.pipeline.subject import ensembles_of
from crosstask.report.ensembles import NAME, write_ensembles
from crosstask.runs import RunSpec, learned_tasks, read_record, read_thresholds, weights_path
from crosstask.splits import splits_of
from crosstask.store import Store
from crosstask.store.fingerprint import digest, digest_file
from crosstask.tasks.base import Task

_TOGETHER, _ALONE, _MADE = "together.csv", "alone.csv", "made.json"


def check_ensembles(experiment: Experiment) -> None:
    """Make sure that an experiment's seeds can be scored together.

    Raises:
        InputError: it has one alone, or each has test cases of its own.
    """
    if experiment.dataset.splits.by_seed:
        raise InputError(
            "evaluation.ensembles: every seed has splits of its own (dataset.splits.by_seed), so test cases of one "
            "have trained another; set it false"
        )
    if len(experiment.seeds) < 2:
        raise InputError(
            "evaluation.ensembles: an ensemble needs two seeds or more; give seeds=[0,1,2], or set it false"
        )


def score_ensembles(
    experiment: Experiment, *, method: str | None = None, device: str = AUTO, listener: Listener | None = None
) -> list[EnsembleFigure]:
    """Score the ensembles of a benchmark whose runs are trained and scored, and write ``ensembles.*`` in its output.

    Image-level figures come from the runs' predictions; for pixel-level ones every seed predicts the cases once more,
    and what was scored is kept in ``ensembles/METHOD``.

    Args:
        experiment: the benchmark's.
        method: only this one, by name or key; the tables then hold it alone.
        device: of the networks, or several, with commas between, which share the cases out.
        listener: told what happens.

    Raises:
        InputError: see :func:`check_ensembles`; or a run is not trained or scored.
    """
    check_ensembles(experiment)
    training = experiment.training
    device = ",".join(map(str, devices_for(device, training.device, training.devices)))
    listener = listener or Listener()
    ensembles = ensembles_of(experiment, method)
    unscored = [spec.name for specs in ensembles.values() for spec in specs if not is_scored(spec)]
    if unscored:
        raise InputError(
            f"{experiment.output_folder}: run {unscored[0]} is not scored as the experiment says; run crosstask "
            "benchmark first"
        )
    store = Store(experiment.store_folder)
    dataset = dataset_of(experiment)
    whole = assembly_of(experiment, dataset)
    settings = experiment.evaluation
    judged = splits_of(store, experiment.dataset, dataset.image_array, needed=(settings.split,))[settings.split]
    cases = scored_cases(store, judged, whole, settings)
    groups = {case.id: case.group for case in store.cases}
    how = Resampling(groups, settings.bootstrap, settings.level, settings.least_positives)
    figures: list[EnsembleFigure] = []
    for key, specs in ensembles.items():
        tasks, some = _of_every_seed(specs, whole.tasks)
        if some:
            listener.warned(f"{key}: not in its ensemble, since not every seed has learned it: {', '.join(some)}")
        pixel = _pixel_scores(specs, tasks, store, cases, device, listener)
        predictions = collect_predictions(specs)
        predictions = predictions[predictions["task"].isin([task.name for task in tasks])].reset_index(drop=True)
        image = mean_predictions(predictions, _thresholds(specs, tasks, experiment))
        figures += figures_of(tasks, (pixel.together, pixel.alone), (image, predictions), how)
    write_ensembles(figures, settings, experiment.output_folder)
    return figures


def _of_every_seed(specs: Sequence[RunSpec], tasks: Sequence[Task]) -> tuple[list[Task], list[str]]:
    """The tasks that every seed of a method has learned, and names of those that only some have."""
    learned: dict[int, set[str]] = {}
    for spec in specs:
        learned.setdefault(spec.seed, set()).update(learned_tasks(read_record(spec.folder)))
    common = set.intersection(*learned.values())
    some = set.union(*learned.values()) - common
    return [task for task in tasks if task.name in common], [task.name for task in tasks if task.name in some]


def _pixel_scores(
    specs: Sequence[RunSpec],
    tasks: Sequence[Task],
    store: Store,
    cases: Sequence[str],
    device: str,
    listener: Listener,
) -> PixelScores:
    """Scores of the pixel-level tasks, as they were kept or made anew."""
    pixel = {task.name for task in tasks if task.level == "pixel"}
    own = [spec for spec in specs if pixel & set(learned_tasks(read_record(spec.folder)))]
    if not own:
        return PixelScores(score_table([]), score_table([]))
    first = own[0]
    folder = first.experiment.output_folder / NAME / first.key
    weights = first.experiment.judged_weights
    made = digest(
        {
            "weights": {spec.name: digest_file(weights_path(spec.folder, weights)) for spec in own},
            "cases": list(cases),
            "data": store.fingerprint_of(cases),
            "how": what_decides(first.experiment.evaluation),
        }
    )
    if _made(folder) == made:
        return PixelScores(read_scores(folder / _TOGETHER), read_scores(folder / _ALONE))
    folders = [spec.folder for spec in own]
    with listener.progress(f"Scoring {first.key} x {len({spec.seed for spec in own})}") as progress:
        scores = score_ensemble(
            folders,
            store,
            cases,
            weights=weights,
            device=device,
            evaluation=first.experiment.evaluation,
            progress=progress,
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MADE).unlink(missing_ok=True)
    write_scores(scores.together, folder / _TOGETHER)
    write_scores(scores.alone, folder / _ALONE)
    write_atomically(folder / _MADE, json.dumps({"made": made}))
    return scores


def _made(folder: Path) -> str:
    """What the scores in a folder were made of; empty where there are none."""
    try:
        return str(json.loads((folder / _MADE).read_text(encoding="utf-8"))["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _thresholds_of(spec: RunSpec) -> dict[str, list[float]]:
    return read_thresholds(spec.folder, spec.experiment.judged_weights, spec.experiment.mirrored)


def _thresholds(specs: Sequence[RunSpec], tasks: Sequence[Task], experiment: Experiment) -> dict[str, dict[str, float]]:
    """By task and class, mean over seeds of the thresholds that they chose on validation cases, or the one given."""
    found: dict[str, dict[str, float]] = {}
    for task in tasks:
        if task.thresholds is None:
            continue
        found[task.name] = mean_thresholds(task, map(_thresholds_of, specs), experiment.evaluation)
    return found
