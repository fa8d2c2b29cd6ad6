"""What a run leaves on disk as it goes: history, best weights and the checkpoint that it resumes from."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from safetensors.torch import save

from crosstask.files import write_atomically
from crosstask.runs import BEST, FINAL, HISTORY, LAST
from crosstask.training.module import TrainingModule


def weights_bytes(module: TrainingModule) -> bytes:
    """The architecture's weights as safetensors."""
    return save({key: value.detach().cpu().contiguous() for key, value in module.architecture.state_dict().items()})


def smoothed(scores: Sequence[float], epochs: int) -> float:
    """Validation score of the last of the epochs, averaged over it and those before it.

    A score of one epoch is often luck where validation cases are few, and the highest of many is luck more often yet.
    Epochs before the first count as 0, the skill of a constant predictor, so that no epoch is judged by fewer.

    Args:
        scores: of every epoch so far; one that is not finite does not count.
        epochs: how many to average.

    Returns:
        The mean, NaN if the last score is not finite.
    """
    if not math.isfinite(scores[-1]):
        return math.nan
    last = scores[-epochs:]
    known = [score for score in last if math.isfinite(score)]
    return sum(known) / (len(known) + max(0, epochs - len(scores)))


class Recorder(L.Callback):
    """Writes the run folder after each epoch, each file whole or not at all; stops early if asked.

    The checkpoint is written last: a run that is killed between two files repeats the epoch and writes the same.

    Args:
        folder: the run folder.
        smoothing: epochs whose validation scores are averaged before they are compared.
        patience: epochs without a better validation score after which training stops; None for never.
        writer: a TensorBoard writer, or None.
    """

    def __init__(self, folder: Path, *, smoothing: int = 1, patience: int | None = None, writer: Any = None) -> None:
        self._folder, self._smoothing, self._patience, self._writer = folder, smoothing, patience, writer
        self._rows: list[dict[str, Any]] = []
        self._best = -math.inf
        self.best_epoch = -1
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume."""
        return {"rows": self._rows, "best": self._best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""
        self._rows, self._best, self.best_epoch = state["rows"], state["best"], state["best_epoch"]

    @property
    def best_score(self) -> float:
        """Highest smoothed validation score so far."""
        return self._best

    @property
    def seconds(self) -> float:
        """Training time of all epochs."""
        return sum(row["seconds"] for row in self._rows)

    @property
    def epochs(self) -> int:
        """Epochs that were finished."""
        return len(self._rows)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Train no further if the run was killed after the epoch that ended it."""
        if self._patience_is_over():
            trainer.should_stop = True

    def _patience_is_over(self) -> bool:
        return self._patience is not None and len(self._rows) - 1 - self.best_epoch >= self._patience

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
        row["score"] = pl_module.score
        row["smoothed_score"] = smoothed(
            [*(earlier["score"] for earlier in self._rows[:epoch]), row["score"]], self._smoothing
        )
        row["learning_rate"] = trainer.optimizers[0].param_groups[-1]["lr"]  # the first is the encoder's own
        self._rows = [*self._rows[:epoch], row]
        score = row["smoothed_score"]
        better = score > self._best or not math.isfinite(self._best)  # without any score, the latest
        if better:
            self._best, self.best_epoch = (score if math.isfinite(score) else -math.inf), epoch
        trainer.should_stop = self._patience_is_over()
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self._folder / LAST)  # every process takes part in gathering the state
            return
        if better:
            write_atomically(self._folder / BEST, weights_bytes(pl_module))
        self._write_history()
        self._write_tensorboard(row)
        trainer.save_checkpoint(self._folder / LAST)

    def finish(self, trainer: L.Trainer, module: TrainingModule) -> None:
        """Keep the last epoch's weights beside the best, also of a run that was killed after its last epoch."""
        if trainer.is_global_zero and not trainer.interrupted and self._rows:
            write_atomically(self._folder / FINAL, weights_bytes(module))

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self._rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._folder / HISTORY, text.getvalue())

    def _write_tensorboard(self, row: dict[str, Any]) -> None:
        if self._writer is None:
            return
        for key, value in row.items():
            if key != "epoch" and math.isfinite(value):
                self._writer.add_scalar(key, value, row["epoch"])
        self._writer.flush()
