"""How far the runs of a benchmark are, by what lies on disk alone; no torch here, and nothing is written or locked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crosstask.errors import CrosstaskError
from crosstask.evaluation.run import is_scored
from crosstask.evaluation.work import last_words, log_of
from crosstask.history import LOSS, SCORE, SECONDS, read_history
from crosstask.locks import Holder, holder_of, present_in
from crosstask.runs import HISTORY, LOCK, RECORD, SCORES, RunSpec, has_learned, is_trained

WAITING, TRAINING, TRAINED, SCORING, SCORED = "waiting", "training", "trained", "scoring", "scored"
FAILED, INTERRUPTED = "failed", "interrupted"
STATES = (TRAINING, SCORING, FAILED, INTERRUPTED, WAITING, TRAINED, SCORED)
"""What a run may be, those that somebody wants to know of first."""
_INTERRUPTIONS = ("KeyboardInterrupt", "SystemExit")
_SKILL = "skill/"
_LAST_EPOCHS = 10
"""Epochs behind the time that one takes."""


@dataclass(frozen=True)
class RunProgress:
    """How far one run is.

    Attributes:
        spec: the run.
        state: one of :data:`STATES`.
        rows: of its history.
        process: who works on it, or None.
        message: why it failed, or empty.
    """

    spec: RunSpec
    state: str
    rows: Sequence[dict[str, float]]
    process: Holder | None = None
    message: str = ""

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.rows)

    @property
    def planned(self) -> int:
        """Epochs in all; where training may end early, at most."""
        return self.spec.experiment.training.epochs

    @property
    def is_learned(self) -> bool:
        """Whether nothing is left to be trained."""
        return self.state in (TRAINED, SCORING, SCORED) or self.epochs >= self.planned

    @cached_property
    def seconds(self) -> float:
        """Of one of its latest epochs; NaN before the first."""
        latest = [row[SECONDS] for row in self.rows[-_LAST_EPOCHS:]]
        return statistics.median(latest) if latest else math.nan

    @property
    def losses(self) -> dict[str, float]:
        """Of the last epoch, by task."""
        return self._last(LOSS)

    @property
    def skills(self) -> dict[str, float]:
        """Validation skill after the last epoch, by task."""
        return self._last(_SKILL)

    def _last(self, prefix: str) -> dict[str, float]:
        last = self.rows[-1] if self.rows else {}
        return {key.removeprefix(prefix): value for key, value in last.items() if key.startswith(prefix)}

    @property
    def scores(self) -> list[float]:
        """Validation score, epoch by epoch."""
        return [row[SCORE] for row in self.rows]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it but for numbers that are none."""
        return {
            "run": self.spec.name,
            "method": self.spec.key,
            "seed": self.spec.seed,
            "state": self.state,
            "epochs": self.epochs,
            "epochs_planned": self.planned,
            "losses": self.losses,
            "skills": self.skills,
            "score": self.scores[-1] if self.rows else None,
            "seconds_per_epoch": self.seconds,
            "process": None if self.process is None else str(self.process),
            "message": self.message,
            "folder": str(self.spec.folder),
        }


def progress_of(spec: RunSpec) -> RunProgress:
    """How far a run is, by its folder, its lock and its log."""
    folder = spec.folder
    rows = read_history(folder / HISTORY)
    if not folder.exists() and not log_of(spec).exists():
        return RunProgress(spec, WAITING, rows)
    trainer = holder_of(folder, LOCK)
    at_work = trainer if trainer is not None and trainer.is_alive is not False else None
    if is_trained(spec):
        if _is_scored(spec):
            return RunProgress(spec, SCORED, rows)
        at_work = next(iter(present_in(folder)), None) or at_work
        if at_work is not None:
            return RunProgress(spec, SCORING, rows, at_work)
    elif at_work is not None:
        return RunProgress(spec, TRAINING, rows, at_work)
    message = last_words(spec)
    if message and not message.startswith(_INTERRUPTIONS):
        return RunProgress(spec, FAILED, rows, message=message)
    if is_trained(spec):
        return RunProgress(spec, TRAINED, rows)
    begun = trainer is not None or has_learned(folder) or log_of(spec).exists()
    return RunProgress(spec, INTERRUPTED if begun else WAITING, rows)


def _is_scored(spec: RunSpec) -> bool:
    try:
        return is_scored(spec)
    except CrosstaskError:  # settings that cannot be read; whoever goes on with the run says so
        return False


@dataclass(frozen=True)
class BenchmarkProgress:
    """How far all runs are.

    Attributes:
        name: of the experiment.
        folder: its output.
        runs: in the order of the benchmark.
        at_work: processes that say they work on it.
        reported: whether tables and page are there, and newer than all scores.
    """

    name: str
    folder: Path
    runs: tuple[RunProgress, ...]
    at_work: tuple[Holder, ...] = ()
    reported: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        return {state: sum(run.state == state for run in self.runs) for state in STATES}

    @property
    def is_done(self) -> bool:
        """Whether all runs are scored, the page is written, and nobody is at work any more."""
        return self.counts[SCORED] == len(self.runs) and self.reported and not self.at_work

    @property
    def share(self) -> float:
        """Of all epochs of all runs, those that are done; a run that ended early counts as whole."""
        done = sum(run.planned if run.is_learned else min(run.epochs, run.planned) for run in self.runs)
        return done / max(1, sum(run.planned for run in self.runs))

    @property
    def seconds_left(self) -> float:
        """Estimate of the time until the last run is scored, by what epochs and scoring took; NaN before any."""
        return seconds_left(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it but for numbers that are none."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "done": self.is_done,
            "at_work": [str(holder) for holder in self.at_work],
            "counts": self.counts,
            "share": self.share,
            "seconds_left": self.seconds_left,
            "runs": [run.as_dict() for run in self.runs],
        }


def benchmark_progress(name: str, folder: Path, specs: Sequence[RunSpec]) -> BenchmarkProgress:
    """How far the runs of a benchmark are.

    Args:
        name: of the experiment.
        folder: its output.
        specs: its runs.
    """
    return BenchmarkProgress(
        name, folder, tuple(map(progress_of, specs)), tuple(present_in(folder)), _is_reported(folder, specs)
    )


def _is_reported(folder: Path, specs: Sequence[RunSpec]) -> bool:
    try:
        page = (folder / "index.html").stat().st_mtime
        return all((spec.folder / SCORES).stat().st_mtime <= page for spec in specs)
    except OSError:
        return False


def seconds_left(runs: Sequence[RunProgress]) -> float:
    """Estimate of the time until all runs are trained and scored; NaN where no epoch of any run was ever timed.

    An epoch of a run takes what the latest of its own took, else those of its method and tasks, of its method, or of
    any; scoring what it took others. As many runs go at a time as are at work now.
    """
    left = 0.0
    for run in runs:
        if run.state == SCORED:
            continue
        if not run.is_learned:
            left += (run.planned - run.epochs) * _epoch_of(run, runs)
        left += _scoring_of(runs)
    at_once = sum(run.state in (TRAINING, SCORING) for run in runs)
    return left / max(1, at_once)


def _epoch_of(run: RunProgress, runs: Sequence[RunProgress]) -> float:
    """Seconds of an epoch of a run, by the nearest run that has been timed."""
    alike: tuple[Callable[[RunProgress], bool], ...] = (
        lambda other: other is run,
        lambda other: (other.spec.key, other.spec.tasks) == (run.spec.key, run.spec.tasks),
        lambda other: other.spec.key == run.spec.key,
        lambda other: True,
    )
    for near in alike:
        timed = [other.seconds for other in runs if near(other) and math.isfinite(other.seconds)]
        if timed:
            return statistics.median(timed)
    return math.nan


def _scoring_of(runs: Sequence[RunProgress]) -> float:
    """Seconds between the last record and the scores of the runs that have both; 0 where none has."""
    took = []
    for run in runs:
        if run.state == SCORED:
            try:
                scored, trained = ((run.spec.folder / name).stat().st_mtime for name in (SCORES, RECORD))
            except OSError:
                continue
            if 0 <= scored - trained < run.planned * run.seconds:  # else of another day, or copied
                took.append(scored - trained)
    return statistics.median(took) if took else 0.0
