"""Train and score every method and seed of an experiment; what is done is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from crosstask.buckets import Place
from crosstask.datasets.base import SPLITS, Split
from crosstask.evaluation.kept import predictions_of, scores_of
from crosstask.evaluation.predictions import joined_predictions, write_predictions
from crosstask.evaluation.scored import same_scores
from crosstask.evaluation.scores import write_scores
from crosstask.evaluation.work import Runner, Work, in_processes, log_of
from crosstask.files import writing
from crosstask.locks import present
from crosstask.runs import (
    EXAMPLES,
    HISTOGRAMS,
    HISTORY,
    PREDICTIONS,
    SCORES,
    RunSpec,
    check_data,
    check_settings,
    evaluation_of,
    is_trained,
    keep_evaluation,
    trained_record,
)
from crosstask.seals import seal
from crosstask.splits import splits_of
from crosstask.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """How far a run is: epochs of how many, and what it does."""

    spec: RunSpec
    epochs: int
    doing: str


def run_all(
    specs: Sequence[RunSpec],
    store_root: Place,
    *,
    runner: Runner = in_processes,
    progress: Callable[[list[State]], None] | None = None,
) -> None:
    """Train and score all runs that are not done yet, each in a process of its own.

    A run that fails leaves the others alone; the first failure is raised when all have ended. Whether the run folders
    belong to the runs is for :func:`check_belonging` to see.

    Args:
        specs: the runs.
        store_root: the prepared cases.
        runner: where it is done; by default here, one after the other.
        progress: told about once a second how far every run is.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    do_all(work_of(specs, store_root), runner, specs, progress)


def work_of(specs: Sequence[RunSpec], store_root: Place) -> list[Work]:
    """What is still to be done of runs: to be trained, to be scored, or both."""
    for spec in specs:
        _log.info("%s %s; folder %s", spec.name, "is done" if is_done(spec) else f"logs to {log_of(spec)}", spec.folder)
    return [Work(spec, store_root, train_and_score) for spec in specs if not is_done(spec)]


def do_all(
    work: Sequence[Work],
    runner: Runner,
    specs: Sequence[RunSpec],
    progress: Callable[[list[State]], None] | None = None,
) -> None:
    """Do what is to be done of runs.

    Args:
        work: what.
        runner: where.
        specs: the runs that are followed, also those that are done.
        progress: told about once a second how far every one of them is.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    runner(work, follow=None if progress is None else lambda: progress([state_of(spec) for spec in specs]))


def run_here(
    specs: Sequence[RunSpec],
    store_root: Place,
    *,
    progress: Callable[[list[State]], None] | None = None,
    tell: Callable[[str], None] | None = None,
    follow: Callable[[RunSpec, Mapping[str, Any]], None] | None = None,
) -> None:
    """Train and score all runs that are not done yet in this process, one after the other.

    For notebooks and scripts: what they have registered is known here, and in another process it would not be.

    Args:
        specs: the runs.
        store_root: the prepared cases.
        progress: told after each run how far all are.
        tell: told in one line what a run does.
        follow: told the row of each epoch of a run; by default ``tell`` gets a line of it.

    Raises:
        CrosstaskError: a run failed; those after it are not begun.
    """
    for spec in specs:
        if not is_done(spec):
            rows = None if follow is None else partial(follow, spec)
            train_and_score(spec, store_root, tell=tell or _unheard, follow=rows)
        if progress:
            progress([state_of(other) for other in specs])


def _unheard(line: str) -> None:
    pass


def check_belonging(
    specs: Sequence[RunSpec], store: Store, splits: Mapping[int, Mapping[Split, Sequence[str]]]
) -> None:
    """Refuse folders of other settings or data before hours are spent, and before their scores are taken for ours.

    Args:
        specs: the runs.
        store: the prepared cases.
        splits: case ids of each split, of each seed.

    Raises:
        InputError: a run folder belongs to other settings or other data; nothing is touched.
    """
    for spec in specs:
        check_settings(spec)
    if not any(spec.folder.exists() for spec in specs):
        return
    fingerprints = {
        seed: store.fingerprint_of([case for cases in own.values() for case in cases]) for seed, own in splits.items()
    }
    for spec in specs:
        check_data(spec, fingerprints[spec.seed])
        if is_done(spec):  # what is damaged is told now, and not after hours
            scores_of(spec)
            predictions_of(spec)


def splits_by_seed(
    specs: Sequence[RunSpec], store: Store, image_array: str, *, needed: Sequence[Split] = SPLITS
) -> dict[int, dict[Split, list[str]]]:
    """Case ids of each split, of each seed: the same ones, unless the experiment has splits by seed.

    Raises:
        InputError: see :func:`crosstask.splits.splits_of`.
    """
    known: dict[str, dict[Split, list[str]]] = {}
    found: dict[int, dict[Split, list[str]]] = {}
    for spec in specs:
        section = spec.experiment.dataset
        rule = section.splits.model_dump_json()
        if rule not in known:
            known[rule] = splits_of(store, section, image_array, needed=needed)
        found[spec.seed] = known[rule]
    return found


def judged_otherwise(specs: Sequence[RunSpec]) -> list[str]:
    """What is said of runs that were scored with other weights or on other cases, and are scored anew."""
    scored = [spec for spec in specs if is_trained(spec) and (spec.folder / SCORES).exists()]
    lines = []
    for key, words in _HOW_JUDGED.items():
        changed = [
            (spec, before, now)
            for spec in scored
            for before, now in [(getattr(evaluation_of(spec.folder), key), getattr(spec.experiment.scoring, key))]
            if before != now
        ]
        if changed:
            spec, before, now = changed[0]
            more = f" and {len(changed) - 1} more runs" if len(changed) > 1 else ""
            value = f"[{','.join(before)}]" if isinstance(before, list) else before
            lines.append(
                f"{spec.name}{more}: scored before {words(before)}, and now anew {words(now)}; "
                f"set evaluation.{key}={value} to keep the scores"
            )
    return lines


def _of_mirrored(axes: Sequence[str]) -> str:
    return f"as means over samples mirrored along {' and '.join(axes)}" if axes else "without mirrored samples"


_HOW_JUDGED: Mapping[str, Callable[[Any], str]] = {
    "weights": "with the weights {}".format,
    "split": "on {} cases".format,
    "tta": _of_mirrored,
}
"""What may differ between the scores of a run and what its benchmark asks for now, in words."""


def is_done(spec: RunSpec) -> bool:
    """Whether a run is trained, and scored as the experiment wants it."""
    return is_trained(spec) and is_scored(spec)


def is_scored(spec: RunSpec) -> bool:
    """Whether a run has scores, and these are made as the experiment says now."""
    there = (spec.folder / SCORES).exists()
    return there and same_scores(evaluation_of(spec.folder), spec.experiment.scoring)


def state_of(spec: RunSpec) -> State:
    """How far a run is, by its folder."""
    if is_done(spec):
        return State(spec, trained_record(spec.folder)["training"]["epochs"], "done")
    history = spec.folder / HISTORY
    epochs = max(0, len(history.read_bytes().splitlines()) - 1) if history.exists() else 0
    if is_trained(spec):
        return State(spec, epochs, "scoring")
    return State(spec, epochs, "training" if spec.folder.exists() else "waiting")


def collect_scores(specs: list[RunSpec]) -> pd.DataFrame:
    """Scores of all runs in one table."""
    return pd.concat([scores_of(spec) for spec in specs], ignore_index=True)


def collect_predictions(specs: list[RunSpec]) -> pd.DataFrame:
    """Image-level predictions of all runs in one table; empty where there are none."""
    return joined_predictions([predictions_of(spec) for spec in specs])


def train_and_score(
    spec: RunSpec,
    store_root: Place,
    *,
    tell: Callable[[str], None] = _unheard,
    follow: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """One run from beginning to end, in this process.

    Args:
        spec: the run.
        store_root: the prepared cases.
        tell: told in one line what it does.
        follow: told the row of each epoch; by default ``tell`` gets a line of it.
    """
    # the parent of many runs, and whoever only reads their scores, must not pay for torch
    from crosstask.training.run import train

    store = Store(store_root)
    with writing(spec.folder):
        train(spec, store, tell=tell, follow=follow)
    if not is_scored(spec):
        with present(spec.folder):
            _score(spec, store, tell)


def _score(spec: RunSpec, store: Store, tell: Callable[[str], None]) -> None:
    """Score a trained run as the experiment says, and keep how it was scored."""
    from crosstask.devices import describe_device, devices_in, find_device
    from crosstask.evaluation.evaluate import evaluate_run
    from crosstask.training.device import scoring_devices

    device = scoring_devices(spec.experiment.training)
    tell(f"{spec.name}: is scored on {', '.join(describe_device(find_device(name)) for name in devices_in(device))}")
    settings = spec.experiment.evaluation
    evaluation = evaluate_run(spec.folder, store, split=settings.split, device=device, evaluation=settings)
    (spec.folder / EXAMPLES).unlink(missing_ok=True)  # of scores that were made otherwise
    if len(evaluation.predictions):
        write_predictions(evaluation.predictions, spec.folder / PREDICTIONS)
    if evaluation.histograms is not None:
        evaluation.histograms.save(spec.folder)
    write_scores(evaluation.scores, spec.folder / SCORES)
    seal(spec.folder, SCORES, PREDICTIONS, HISTOGRAMS)
    keep_evaluation(spec)
    if spec.experiment.training.logged_by:
        from crosstask.training.loggers import log_scores

        log_scores(spec, evaluation.scores, tell)
