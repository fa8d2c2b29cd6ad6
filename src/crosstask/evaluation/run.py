"""Train and score every method and seed of an experiment; what is done is kept."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd

from crosstask.buckets import Place
from crosstask.datasets.base import SPLITS, Split
from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.kept import predictions_of, scores_of
from crosstask.evaluation.predictions import joined_predictions, write_predictions
from crosstask.evaluation.scored import same_scores
from crosstask.evaluation.scores import write_scores
from crosstask.faults import FOR_MEMORY, told_plainly
from crosstask.files import writing
from crosstask.locks import present
from crosstask.plugins import load
from crosstask.processes import context_with, follow_parent
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
_SIGKILL = 9  # the signal module of Windows does not know it
_IMPORTED = ("crosstask.training.run", "crosstask.evaluation.evaluate", "monai.networks.nets.resnet")
"""What every run needs of modules: imported once for all of them, where processes can be forked.

MONAI is named, as encoders import it no sooner than they are made.
"""


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
    jobs: int = 1,
    progress: Callable[[list[State]], None] | None = None,
) -> None:
    """Train and score all runs that are not done yet, ``jobs`` at a time, each in a process of its own.

    A run that fails leaves the others alone; the first failure is raised when all have ended. Whether the run folders
    belong to the runs is for :func:`check_belonging` to see.

    Args:
        specs: the runs.
        store_root: the prepared cases.
        jobs: runs at a time.
        progress: told about once a second how far every run is.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    for spec in specs:
        _log.info("%s %s; folder %s", spec.name, "is done" if is_done(spec) else f"logs to {log_of(spec)}", spec.folder)
    follow = None if progress is None else lambda: progress([state_of(spec) for spec in specs])
    work = [(spec, train_and_score, (spec, store_root)) for spec in specs if not is_done(spec)]
    in_processes(work, jobs=jobs, follow=follow)


def in_processes(
    work: Sequence[tuple[RunSpec, Callable[..., None], tuple[object, ...]]],
    *,
    jobs: int = 1,
    follow: Callable[[], None] | None = None,
) -> None:
    """Do something of several runs, ``jobs`` at a time, each in a process of its own.

    What fails leaves the others alone; the first failure is raised when all have ended.

    Args:
        work: of each run what is called with which arguments, and with ``tell``; its output goes to the run's log.
        jobs: processes at a time.
        follow: called about once a second.

    Raises:
        CrosstaskError: something failed, or its process was killed.
    """
    context = context_with(_IMPORTED, on_cpu=all(spec.experiment.training.device == "cpu" for spec, *_ in work))
    waiting = list(work)
    at_work: list[tuple[RunSpec, BaseProcess]] = []
    failed: list[tuple[RunSpec, int]] = []
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                spec, target, arguments = waiting.pop(0)
                process: BaseProcess = context.Process(
                    target=_work, args=(spec, target, arguments, dict(os.environ)), name=spec.name
                )
                process.start()
                at_work.append((spec, process))
            wait([process.sentinel for _, process in at_work], timeout=1)
            for spec, process in [entry for entry in at_work if not entry[1].is_alive()]:
                at_work.remove((spec, process))
                if process.exitcode != 0:
                    failed.append((spec, process.exitcode or 0))
            if follow:
                follow()
    finally:
        for _, process in at_work:
            process.terminate()
    if failed:
        raise _failure(*failed[0], others=len(failed) - 1)


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


def _failure(spec: RunSpec, exit_code: int, others: int) -> CrosstaskError:
    """One line for a run that failed; its own last words if it had any."""
    more = f" (and {others} more)" if others else ""
    if exit_code == -_SIGKILL:
        return CrosstaskError(f"{spec.name}: its process was killed, probably out of memory; {FOR_MEMORY}{more}")
    if exit_code < 0:
        return CrosstaskError(
            f"{spec.name}: its process was ended by signal {-exit_code}; run the same command to resume "
            f"from its last epoch{more}"
        )
    words = last_words(spec) or "its process left no message; is the disk full?"
    if "run the same command to resume" in words:
        return CrosstaskError(f"{words}{more}")
    if exit_code == InputError.exit_code:
        return InputError(f"{words}{more}")
    return CrosstaskError(f"{spec.name}: {words}{more}; see {log_of(spec)}; run the same command to resume")


def last_words(spec: RunSpec) -> str:
    """What a run's process said when it failed, by its log; empty where that ends with a line of progress."""
    try:
        log = log_of(spec).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    last = log.rpartition("\n")[2]
    if last.startswith(f"{spec.name}: "):  # a line of its progress
        return ""
    return last.partition("Error: ")[2] if last.startswith("crosstask.errors.") else last


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


def log_of(spec: RunSpec) -> Path:
    """Where a run's own output goes: beside its folder, which is not there before the run has begun."""
    return spec.folder.parent / f"{spec.folder.name}.log"


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
    from crosstask.devices import describe_device, find_device
    from crosstask.evaluation.evaluate import evaluate_run
    from crosstask.training.device import scoring_device

    device = scoring_device(spec.experiment.training)
    tell(f"{spec.name}: is scored on {describe_device(find_device(device))}")
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


def _work(
    spec: RunSpec, target: Callable[..., None], arguments: tuple[object, ...], environment: dict[str, str]
) -> None:
    follow_parent()
    os.environ.clear()
    os.environ.update(environment)  # of now: a forked process has that of the time when modules were imported
    threads = spec.experiment.training.threads
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for a torch that is still to be imported
        if "torch" in sys.modules:  # forked: it has been
            sys.modules["torch"].set_num_threads(threads)
    log_of(spec).parent.mkdir(parents=True, exist_ok=True)
    with log_of(spec).open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            load(spec.experiment.plugins)
            with told_plainly(spec.name):
                target(*arguments, tell=lambda line: print(line, file=sys.stderr, flush=True))
        except CrosstaskError as error:
            traceback.print_exc()
            sys.stderr.flush()
            sys.exit(error.exit_code)
