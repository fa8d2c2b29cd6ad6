"""Train and score every method and seed of an experiment; what is done is kept."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from crosstask.benchmark.scores import read_scores, write_scores
from crosstask.errors import CrosstaskError
from crosstask.runs import HISTORY, SCORES, RunPlan, is_trained, read_record


@dataclass(frozen=True)
class State:
    """How far a run is: epochs of how many, and what it does."""

    plan: RunPlan
    epochs: int
    doing: str


def run_all(
    plans: list[RunPlan], store_root: Path, *, jobs: int = 1, progress: Callable[[list[State]], None] | None = None
) -> None:
    """Train and score all runs that are not done yet, ``jobs`` at a time, each in a process of its own.

    A run that fails leaves the others alone; the first failure is raised when all have ended.

    Args:
        plans: the runs.
        store_root: the prepared cases.
        jobs: runs at a time.
        progress: told about once a second how far every run is.

    Raises:
        CrosstaskError: a run failed, or its process was killed.
    """
    waiting = [plan for plan in plans if not is_done(plan)]
    failures: list[tuple[RunPlan, BaseException]] = []
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        futures: dict[Future[None], RunPlan] = {pool.submit(_work, plan, store_root): plan for plan in waiting}
        try:
            while futures:
                done, _ = wait(futures, timeout=1, return_when=FIRST_COMPLETED)
                for future in done:
                    plan = futures.pop(future)
                    error = future.exception()
                    if error is not None:
                        failures.append((plan, error))
                if progress:
                    progress([state_of(plan) for plan in plans])
        except KeyboardInterrupt:
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failures:
        plan, error = failures[0]
        if isinstance(error, BrokenProcessPool):
            names = ", ".join(failed.name for failed, _ in failures)
            raise CrosstaskError(
                f"a training process was killed, most likely for want of memory (unfinished: {names}); "
                "run the same command again to go on, with fewer --jobs or a smaller training.batch_size"
            )
        if isinstance(error, CrosstaskError):
            raise error
        raise CrosstaskError(f"{plan.name}: {type(error).__name__}: {error}; see {log_of(plan)}")


def is_done(plan: RunPlan) -> bool:
    """Whether a run is trained and scored."""
    return is_trained(plan) and (plan.folder / SCORES).exists()


def state_of(plan: RunPlan) -> State:
    """How far a run is, by its folder."""
    if is_done(plan):
        return State(plan, read_record(plan.folder)["training"]["epochs"], "done")
    history = plan.folder / HISTORY
    epochs = len(history.read_text().splitlines()) - 1 if history.exists() else 0
    if is_trained(plan):
        return State(plan, epochs, "scoring")
    return State(plan, epochs, "training" if plan.folder.exists() else "waiting")


def log_of(plan: RunPlan) -> Path:
    """Where a run's own output goes: beside its folder, which is not there before the run has begun."""
    return plan.folder.parent / f"{plan.folder.name}.log"


def collect_scores(plans: list[RunPlan]) -> pd.DataFrame:
    """Scores of all runs in one table."""
    return pd.concat([read_scores(plan.folder / SCORES) for plan in plans], ignore_index=True)


def train_and_score(plan: RunPlan, store_root: Path, *, show_progress: bool = False) -> None:
    """One run from beginning to end, in this process."""
    # the parent of many runs, and whoever only reads their scores, must not pay for torch
    from crosstask.benchmark.evaluate import evaluate_run
    from crosstask.store import Store
    from crosstask.training.run import train

    store = Store(store_root)
    train(plan, store, show_progress=show_progress)
    if not (plan.folder / SCORES).exists():
        write_scores(evaluate_run(plan.folder, store), plan.folder / SCORES)


def _work(plan: RunPlan, store_root: Path) -> None:
    threads = plan.experiment.training.threads
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported
    plan.folder.parent.mkdir(parents=True, exist_ok=True)
    with _logged(log_of(plan)):
        train_and_score(plan, store_root)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what a run prints, and the trace of what breaks it, to a file beside its folder."""
    with path.open("a") as log:
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            traceback.print_exc(file=log)
            raise
