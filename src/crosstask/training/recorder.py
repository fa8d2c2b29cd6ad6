"""What a run leaves on disk as it goes: history, best weights and the checkpoint that it resumes from."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor

from crosstask.errors import CrosstaskError
from crosstask.files import link_atomically, write_atomically
from crosstask.functional.best_epoch import BestEpoch, best_epoch, may_become_best
from crosstask.nn.weights_file import weights_bytes
from crosstask.runs import BEST, CANDIDATES, FINAL, HISTORY, LAST, SNAPSHOTS, remove_weights
from crosstask.training.loggers import RunLoggers
from crosstask.training.module import TrainingModule
from crosstask.training.shares import whole_weights


def smoothed(scores: Sequence[float], epochs: int) -> float:
    """Validation score of the last of the epochs, averaged over it and those before it, as far as there are any.

    Args:
        scores: of every epoch so far; one that is not finite does not count.
        epochs: how many to average.

    Returns:
        The mean, NaN if the last score is not finite.
    """
    if not math.isfinite(scores[-1]):
        return math.nan
    known = [score for score in scores if math.isfinite(score)][-epochs:]
    return math.fsum(known) / len(known)


class Recorder(L.Callback):
    """Writes the run folder after each epoch, each file whole or not at all; stops early if asked.

    The checkpoint is written last: a run that is killed between two files repeats the epoch and writes the same.
    Weights of epochs that may turn out the best are kept in a folder of their own until then.

    Args:
        folder: the run folder.
        smoothing: epochs whose validation scores are averaged before they are compared; see
            :func:`crosstask.functional.best_epoch.best_epoch`.
        patience: epochs without a better mean after which training stops; None for never.
        snapshots: epochs whose weights are kept in a folder of their own.
        loggers: told the row of each epoch after the checkpoint, or None.
        tell: told the row of each epoch once it is on disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        smoothing: int = 1,
        patience: int | None = None,
        snapshots: Sequence[int] = (),
        loggers: RunLoggers | None = None,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._folder, self._smoothing, self._patience, self._loggers = folder, smoothing, patience, loggers
        self._tell, self._snapshots = tell, frozenset(snapshots)
        self._rows: list[dict[str, Any]] = []
        self._scores: list[float] = []
        self._never_predicted: dict[str, list[str]] = {}
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        return {"rows": self._rows, "scores": self._scores, "never_predicted": self._never_predicted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self._rows = state["rows"]
        self._never_predicted = state.get("never_predicted", {})
        if "scores" in state:
            self._scores = state["scores"]
        else:  # of a version that kept no weights but those of the best epoch, which is all that can be chosen
            best = state["best_epoch"]
            self._scores = [row["score"] if row["epoch"] == best else math.nan for row in self._rows]

    @property
    def _best(self) -> BestEpoch | None:
        return best_epoch(self._scores, self._smoothing)

    @property
    def best_epoch(self) -> int:
        """The best epoch so far; without any score, the latest."""
        return len(self._scores) - 1 if self._best is None else self._best.epoch

    @property
    def best_score(self) -> float:
        """Highest mean validation score so far, of as many epochs as are smoothed; -inf without any score."""
        return -math.inf if self._best is None else self._best.score

    @property
    def seconds(self) -> float:
        """Training time of all epochs."""
        return sum(row["seconds"] for row in self._rows)

    @property
    def epochs(self) -> int:
        """Epochs that were finished."""
        return len(self._rows)

    @property
    def unscored(self) -> list[str]:
        """Tasks that had no score on the validation cases in any epoch, so that the best was chosen without them."""
        names = [key.removeprefix("skill/") for key in (self._rows[-1] if self._rows else ()) if "skill/" in key]
        return [name for name in names if not any(math.isfinite(row[f"skill/{name}"]) for row in self._rows)]

    @property
    def never_predicted(self) -> dict[str, list[str]]:
        """``{task: classes}`` that are there in validation samples, and not predicted after the last epoch."""
        return {task: classes for task, classes in self._never_predicted.items() if classes}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train no further if the run was killed after the epoch that ended it; begin to log."""
        if self._loggers is not None:
            self._loggers.begin(self._rows)
        if self._patience_is_over():
            trainer.should_stop = True

    def _patience_is_over(self) -> bool:
        best = self._best
        return self._patience is not None and best is not None and len(self._scores) - 1 - best.until >= self._patience

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write everything. Lightning validates before this hook, so losses and skills are those of one epoch."""
        assert isinstance(pl_module, TrainingModule)
        pl_module.finish_epoch()
        epoch = trainer.current_epoch
        row: dict[str, Any] = {"epoch": epoch, "seconds": round(time.perf_counter() - self._started, 3)}
        for task in pl_module.tasks:
            row[f"loss/{task.name}"] = pl_module.epoch_losses[task.name]
            row[f"weight/{task.name}"] = pl_module.epoch_weights[task.name]
            row[f"skill/{task.name}"] = pl_module.skills[task.name]
        self._never_predicted = dict(pl_module.never_predicted)
        row["score"] = pl_module.score
        before = self.best_epoch
        self._scores = [*self._scores[:epoch], row["score"]]
        row["smoothed_score"] = smoothed(self._scores, self._smoothing)
        row["learning_rate"] = trainer.optimizers[0].param_groups[-1]["lr"]  # the first is the encoder's own
        self._rows = [*self._rows[:epoch], row]
        trainer.should_stop = self._patience_is_over()
        weights = whole_weights(pl_module.architecture)
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self._folder / LAST)  # every process takes part in gathering the state
            return
        self._write_weights(weights, before)
        self._write_history()
        trainer.save_checkpoint(self._folder / LAST)
        if self._loggers is not None:
            self._loggers.log(row)
        before_last = may_become_best(self._scores[:-1], self._smoothing)  # a run may go on from that checkpoint, too
        self._remove_candidates([*before_last, *may_become_best(self._scores, self._smoothing)])
        if self._tell is not None:
            self._tell(row)

    def _write_weights(self, state: dict[str, Tensor], before: int) -> None:
        """The best epoch's weights under their name, and those of this epoch if it may become the best later."""
        epoch, best = len(self._scores) - 1, self.best_epoch
        candidate = epoch in may_become_best(self._scores, self._smoothing)
        snapshot = epoch in self._snapshots
        weights = weights_bytes(state) if candidate or snapshot or best == epoch else b""
        if snapshot:
            self._snapshot(epoch).parent.mkdir(exist_ok=True)
            write_atomically(self._snapshot(epoch), weights)
        if candidate:
            self._candidate(epoch).parent.mkdir(exist_ok=True)
            write_atomically(self._candidate(epoch), weights)
        if best == epoch and candidate:
            link_atomically(self._folder / BEST, self._candidate(epoch))
        elif best == epoch:
            write_atomically(self._folder / BEST, weights)
        elif best != before:
            path = self._candidate(best)
            if not path.exists():
                raise CrosstaskError(f"{path}: is missing; remove {self._folder} and train the run anew")
            link_atomically(self._folder / BEST, path)

    def _candidate(self, epoch: int) -> Path:
        return self._folder / CANDIDATES / f"{epoch}.safetensors"

    def _snapshot(self, epoch: int) -> Path:
        return self._folder / SNAPSHOTS / f"{epoch}.safetensors"

    def _remove_candidates(self, kept: Sequence[int] = ()) -> None:
        remove_weights(self._folder / CANDIDATES, kept)

    def finish(self, trainer: L.Trainer, module: TrainingModule) -> None:
        """Keep the last epoch's weights beside the best, also of a run that was killed after its last epoch."""
        if trainer.is_global_zero and not trainer.interrupted and self._rows:
            write_atomically(self._folder / FINAL, weights_bytes(module.architecture.state_dict()))

    def clean(self, kept: Sequence[int] = ()) -> None:
        """Remove what a complete run has no use for.

        Args:
            kept: epochs whose weights are still wanted; those that have the name of best or final need no other.
        """
        self._remove_candidates()
        remove_weights(
            self._folder / SNAPSHOTS, [epoch for epoch in kept if epoch not in (self.best_epoch, self.epochs - 1)]
        )

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._folder / HISTORY, text.getvalue())
