"""Train and score every method and seed of an experiment; what is done is kept."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path

import pandas as pd

from crosstask.datasets.base import SPLITS, Split
from crosstask.errors import CrosstaskError, InputError
from crosstask.evaluation.kept import predictions_of, scores_of
from crosstask.evaluation.predictions import write_predictions
from crosstask.evaluation.scored import same_scores
from crosstask.evaluation.scores import write_scores
from crosstask.faults import FOR_MEMORY, told_plainly
from crosstask.files import writing
from crosstask.plugins import load
from crosstask.processes import follow_parent
from crosstask.runs import (
    EXAMPLES,
    HISTORY,
    PREDICTIONS,
    SCORES,
    RunPlan,
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

_SIGKILL = 9  # the signal module of Windows does not know it


@dataclass(frozen=True)
class State:
    """How far a run is: epochs of how many, and what it does."""

    plan: RunPlan
    epochs: int
    doing: str


def run_all(
    plans: Sequence[RunPlan],
    store_root: Path,
    *,
    jobs: int = 1,
    progress: Callable[[list[State]], None] | None = None,
) -> None:
    """Train and score all runs that are not done yet, ``jobs`` at a time, each in a process of its own.

    A run that fails leaves the others alone; the first failure is raised when all have ended. Whether the run folders
    belong to the runs is for :func:`check_belonging` to see.

    Args:
        plans: the runs.
        store_root: the prepared cases.
        jobs: runs at a time.
        progress: told about once a second how far every run is.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    context = SpawnContext()
    waiting = [plan for plan in plans if not is_done(plan)]
    at_work: list[tuple[RunPlan, SpawnProcess]] = []
    failed: list[tuple[RunPlan, int]] = []
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                plan = waiting.pop(0)
                process = context.Process(target=_work, args=(plan, store_root), name=plan.name)
                process.start()
                at_work.append((plan, process))
            wait([process.sentinel for _, process in at_work], timeout=1)
            for plan, process in [entry for entry in at_work if not entry[1].is_alive()]:
                at_work.remove((plan, process))
                if process.exitcode != 0:
                    failed.append((plan, process.exitcode or 0))
            if progress:
                progress([state_of(plan) for plan in plans])
    finally:
        for _, process in at_work:
            process.terminate()
    if failed:
        raise _failure(*failed[0], others=len(failed) - 1)


def run_here(
    plans: Sequence[RunPlan],
    store_root: Path,
    *,
    progress: Callable[[list[State]], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Train and score all runs that are not done yet in this process, one after the other.

    For notebooks and scripts: what they have registered is known here, and in another process it would not be.

    Args:
        plans: the runs.
        store_root: the prepared cases.
        progress: told after each run how far all are.
        tell: told in one line what a run does.

    Raises:
        CrosstaskError: a run failed; those after it are not begun.
    """
    for plan in plans:
        if not is_done(plan):
            train_and_score(plan, store_root, tell=tell or _unheard)
        if progress:
            progress([state_of(other) for other in plans])


def _unheard(line: str) -> None:
    pass


def check_belonging(
    plans: Sequence[RunPlan], store: Store, splits: Mapping[int, Mapping[Split, Sequence[str]]]
) -> None:
    """Refuse folders of other settings or data before hours are spent, and before their scores are taken for ours.

    Args:
        plans: the runs.
        store: the prepared cases.
        splits: case ids of each split, of each seed.

    Raises:
        InputError: a run folder belongs to other settings or other data; nothing is touched.
    """
    for plan in plans:
        check_settings(plan)
    if not any(plan.folder.exists() for plan in plans):
        return
    fingerprints = {
        seed: store.fingerprint_of([case for cases in own.values() for case in cases]) for seed, own in splits.items()
    }
    for plan in plans:
        check_data(plan, fingerprints[plan.seed])
        if is_done(plan):  # what is damaged is told now, and not after hours
            scores_of(plan)
            predictions_of(plan)


def splits_by_seed(
    plans: Sequence[RunPlan], store: Store, image_source: str, *, needed: Sequence[Split] = SPLITS
) -> dict[int, dict[Split, list[str]]]:
    """Case ids of each split, of each seed: the same ones, unless the experiment has splits by seed.

    Raises:
        InputError: see :func:`crosstask.splits.splits_of`.
    """
    known: dict[str, dict[Split, list[str]]] = {}
    found: dict[int, dict[Split, list[str]]] = {}
    for plan in plans:
        section = plan.experiment.dataset
        rule = section.splits.model_dump_json()
        if rule not in known:
            known[rule] = splits_of(store, section, image_source, needed=needed)
        found[plan.seed] = known[rule]
    return found


def _failure(plan: RunPlan, exit_code: int, others: int) -> CrosstaskError:
    """One line for a run that failed; its own last words if it had any."""
    more = f" (and {others} more)" if others else ""
    if exit_code == -_SIGKILL:
        return CrosstaskError(f"{plan.name}: its process was killed, probably out of memory; {FOR_MEMORY}{more}")
    if exit_code < 0:
        return CrosstaskError(
            f"{plan.name}: its process was ended by signal {-exit_code}; run the same command to resume "
            f"from its last epoch{more}"
        )
    try:
        log = log_of(plan).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        log = ""
    last = log.rpartition("\n")[2]
    if not last or last.startswith(f"{plan.name}: "):  # a line of its progress
        last = "its process left no message; is the disk full?"
    words = last.partition("Error: ")[2] if last.startswith("crosstask.errors.") else last
    if "run the same command to resume" in words:
        return CrosstaskError(f"{words}{more}")
    if exit_code == InputError.exit_code:
        return InputError(f"{words}{more}")
    return CrosstaskError(f"{plan.name}: {words}{more}; see {log_of(plan)}; run the same command to resume")


def is_done(plan: RunPlan) -> bool:
    """Whether a run is trained, and scored as the experiment wants it."""
    return is_trained(plan) and is_scored(plan)


def is_scored(plan: RunPlan) -> bool:
    """Whether a run has scores, and these are made as the experiment says now."""
    there = (plan.folder / SCORES).exists()
    return there and same_scores(evaluation_of(plan.folder), plan.experiment.evaluation)


def state_of(plan: RunPlan) -> State:
    """How far a run is, by its folder."""
    if is_done(plan):
        return State(plan, trained_record(plan.folder)["training"]["epochs"], "done")
    history = plan.folder / HISTORY
    epochs = max(0, len(history.read_bytes().splitlines()) - 1) if history.exists() else 0
    if is_trained(plan):
        return State(plan, epochs, "scoring")
    return State(plan, epochs, "training" if plan.folder.exists() else "waiting")


def log_of(plan: RunPlan) -> Path:
    """Where a run's own output goes: beside its folder, which is not there before the run has begun."""
    return plan.folder.parent / f"{plan.folder.name}.log"


def collect_scores(plans: list[RunPlan]) -> pd.DataFrame:
    """Scores of all runs in one table."""
    return pd.concat([scores_of(plan) for plan in plans], ignore_index=True)


def collect_predictions(plans: list[RunPlan]) -> pd.DataFrame:
    """Image-level predictions of all runs in one table; empty where there are none."""
    tables = [predictions_of(plan) for plan in plans]
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def train_and_score(plan: RunPlan, store_root: Path, *, tell: Callable[[str], None] = _unheard) -> None:
    """One run from beginning to end, in this process; ``tell`` is told in one line what it does."""
    # the parent of many runs, and whoever only reads their scores, must not pay for torch
    from crosstask.devices import describe_device, find_device
    from crosstask.evaluation.evaluate import evaluate_run
    from crosstask.training.device import scoring_device
    from crosstask.training.run import train

    store = Store(store_root)
    with writing(plan.folder):
        train(plan, store, tell=tell)
    if not is_scored(plan):
        device = scoring_device(plan.experiment.training)
        tell(f"{plan.name}: is scored on {describe_device(find_device(device))}")
        evaluation = evaluate_run(plan.folder, store, device=device, evaluation=plan.experiment.evaluation)
        (plan.folder / EXAMPLES).unlink(missing_ok=True)  # of scores that were made otherwise
        if len(evaluation.predictions):
            write_predictions(evaluation.predictions, plan.folder / PREDICTIONS)
        write_scores(evaluation.scores, plan.folder / SCORES)
        seal(plan.folder, SCORES, PREDICTIONS)
        keep_evaluation(plan)


def _work(plan: RunPlan, store_root: Path) -> None:
    follow_parent()
    threads = plan.experiment.training.threads
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    log_of(plan).parent.mkdir(parents=True, exist_ok=True)
    with log_of(plan).open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            load(plan.experiment.plugins)
            with told_plainly(plan.name):
                train_and_score(plan, store_root, tell=lambda line: print(line, file=sys.stderr, flush=True))
        except CrosstaskError as error:
            traceback.print_exc()
            sys.stderr.flush()
            sys.exit(error.exit_code)
