"""What a run tells its loggers: settings, a row an epoch, weights, scores. One that fails is left out of it.

Lightning's loggers are called here and not by its trainer, which would stop at the first that fails. Which run of each
logger belongs to a run folder, and how many epochs it has, is kept in ``loggers.json``: a run that goes on after it was
killed goes on there, too, without an epoch that is logged twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from crosstask.errors import CrosstaskError, one_line
from crosstask.experiment import Experiment
from crosstask.files import write_atomically
from crosstask.history import EPOCH
from crosstask.runs import LOGGERS, RunSpec, weights_path
from crosstask.runs.disclosed import flattened, without_places
from crosstask.runs.settings import settings_of
from crosstask.training.device import quiet
from crosstask.training.logger_kinds import make_logger, mlflow_uri

_LONGEST_REASON = 200
_REMOTE = ("mlflow", "wandb")
"""Loggers that have runs of their own, which go on, and that keep files."""


class LoggedRuns:
    """Which run of each logger belongs to a folder: ``{logger: {"run": id, "where": digest, "epochs": number}}``.

    Args:
        folder: of a run, or of a benchmark.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOGGERS
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        self._known: dict[str, dict[str, Any]] = found if isinstance(found, dict) else {}

    def of(self, name: str, where: str) -> dict[str, Any]:
        """What is known of a logger's run, if that lies where it would lie now; else nothing."""
        known = self._known.get(name)
        return dict(known) if isinstance(known, dict) and known.get("where") == where else {}

    def keep(self, name: str, where: str, **known: Any) -> None:
        """Keep what is known."""
        self._known[name] = {**self.of(name, where), "where": where, **known}
        write_atomically(self._path, json.dumps(self._known, indent=2) + "\n")


def where_of(name: str, experiment: Experiment) -> str:
    """A digest of where a logger's runs go; not the address, which may be nobody else's business."""
    section = experiment.training.loggers.wandb
    place = {
        "mlflow": mlflow_uri(experiment.training) if name == "mlflow" else "",
        "wandb": "" if section is None else f"{section.entity}/{section.project or experiment.name}/{section.offline}",
    }.get(name, "")
    return hashlib.sha256(place.encode()).hexdigest()[:16]


class Guarded:
    """Loggers of one folder, each left out after its first failure, which is told once.

    Args:
        experiment: as the run has it.
        folder: of the run, or of the benchmark.
        run: what the run is called.
        tell: told that a logger failed.
        tags: marks of the run.
        names: of the loggers.
        done: epochs that the run has when it begins.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        run: str,
        tell: Callable[[str], None],
        *,
        tags: Mapping[str, str],
        names: Sequence[str],
    ) -> None:
        self._experiment, self._folder, self._run, self._tell = experiment, folder, run, tell
        self._tags, self._names = dict(tags), list(names)
        self._runs = LoggedRuns(folder)
        self._loggers: dict[str, Any] = {}

    def logged(self, name: str) -> int:
        """Epochs that a logger has."""
        return int(self._runs.of(name, where_of(name, self._experiment)).get("epochs", 0))

    def open(self, name: str, done: int = 0) -> Any:
        """A logger, its run begun or gone on with."""
        if name not in self._loggers:
            where = where_of(name, self._experiment)
            known = self._runs.of(name, where).get("run")
            logger = make_logger(
                name, self._experiment, self._folder, run=self._run, known=known, tags=self._tags, done=done
            )
            _ = logger.experiment  # makes the run, or finds it
            self._loggers[name] = logger
            if name == "mlflow":
                self._runs.keep(name, where, run=logger.run_id, failed="")
                if known is not None:
                    logger.experiment.update_run(known, status="RUNNING")
            elif name == "wandb":
                self._runs.keep(name, where, run=logger.experiment.id, failed="")
        return self._loggers[name]

    def parameters(self, name: str, values: Mapping[str, Any]) -> None:
        """Log settings; MLflow, which lets none be changed, keeps those with which its run was begun."""
        logger = self.open(name)
        there = logger.experiment.get_run(logger.run_id).data.params if name == "mlflow" else {}
        logger.log_hyperparams({key: value for key, value in values.items() if key not in there})

    def keep(self, name: str, **known: Any) -> None:
        """Keep something of a logger's run."""
        self._runs.keep(name, where_of(name, self._experiment), **known)

    @contextlib.contextmanager
    def each(self, name: str) -> Iterator[None]:
        """Work with one logger, which is left out from its first failure on."""
        import lightning.pytorch  # noqa: F401 - which lets its loggers speak when it is imported

        try:
            with quiet():
                yield
        except Exception as error:
            reason = one_line(str(error).strip().partition("\n")[0])[:_LONGEST_REASON] or type(error).__name__
            self._names.remove(name)
            self._loggers.pop(name, None)
            with contextlib.suppress(CrosstaskError):
                self.keep(name, failed=reason)
            self._tell(f"Warning: {self._run}: the logger {name} failed and is left out from here on: {reason}")

    @property
    def names(self) -> list[str]:
        """Loggers that have not failed."""
        return list(self._names)

    def file(self, name: str, paths: Sequence[Path], kind: str) -> None:
        """Keep files with the logger's run, where it is to keep any.

        Args:
            name: of the logger, which is open.
            paths: the files.
            kind: ``weights`` or ``tables``, the folder or type under which they are kept.
        """
        section = getattr(self._experiment.training.loggers, name)
        if section is None or not section.artifacts:
            return
        logger = self.open(name)
        if name == "mlflow":
            for path in paths:
                logger.experiment.log_artifact(logger.run_id, str(path), kind)
            return
        import wandb

        artifact = wandb.Artifact(file_label(f"{self._run}-{kind}"), type="model" if kind == "weights" else kind)
        for path in paths:
            artifact.add_file(str(path), name=path.name)
        logger.experiment.log_artifact(artifact)

    def close(self, status: str) -> None:
        """End what is open; ``status`` is ``success``, ``failed`` or ``killed``."""
        for name in self.names:
            if name in self._loggers:
                with self.each(name):
                    self._end(name, status)
        self._loggers = {}

    def _end(self, name: str, status: str) -> None:
        logger = self._loggers[name]
        if name == "wandb":
            logger.experiment.finish(exit_code=0 if status == "success" else 1)
        else:
            logger.finalize("KILLED" if name == "mlflow" and status == "killed" else status)


class RunLoggers:
    """The loggers of a run in training: ``with RunLoggers(...) as loggers``, and they are ended with it.

    Args:
        spec: the run.
        tell: told in one line that a logger failed.
    """

    def __init__(self, spec: RunSpec, tell: Callable[[str], None]) -> None:
        self._spec = spec
        experiment = spec.experiment
        self._loggers = Guarded(
            experiment, spec.folder, spec.name, tell, tags=tags_of(spec), names=experiment.training.logged_by
        )

    def __enter__(self) -> RunLoggers:
        return self

    def begin(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the settings, and the epochs that a logger lacks of those before.

        Args:
            rows: of the history so far.
        """
        for name in self._loggers.names:
            with self._loggers.each(name):
                # a CSV file is written anew; TensorBoard takes back what was logged of epochs that are repeated
                had = 0 if name == "csv" else min(self._loggers.logged(name), len(rows))
                self._loggers.open(name, had)
                self._loggers.parameters(name, parameters_of(self._spec))
                if name not in _REMOTE:
                    self._loggers.keep(name, epochs=had, failed="")
                for row in rows[had:]:
                    self._log(name, row)

    def log(self, row: Mapping[str, Any]) -> None:
        """Log the row of an epoch, unless a logger had it before the run was killed."""
        for name in self._loggers.names:
            with self._loggers.each(name):
                self._log(name, row)

    def _log(self, name: str, row: Mapping[str, Any]) -> None:
        epoch = int(row[EPOCH])
        if epoch < self._loggers.logged(name):
            return
        logger = self._loggers.open(name)
        values = {metric_name(key): value for key, value in row.items() if key != EPOCH and math.isfinite(value)}
        logger.log_metrics(values, step=epoch)
        if name == "tensorboard":
            logger.experiment.flush()
        self._loggers.keep(name, epochs=epoch + 1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for name in self._loggers.names:
                if name in _REMOTE:
                    with self._loggers.each(name):
                        weights = weights_path(self._spec.folder, self._spec.experiment.judged_weights)
                        self._loggers.file(name, [weights], "weights")
        self._loggers.close("success" if kind is None else "failed" if issubclass(kind, Exception) else "killed")


def log_scores(spec: RunSpec, scores: Any, tell: Callable[[str], None]) -> None:
    """Add to a run's loggers what it scored: the mean over cases of each metric, as ``test/TASK/METRIC``.

    Args:
        spec: the run.
        scores: its long table.
        tell: told in one line that a logger failed.
    """
    names = [name for name in spec.experiment.training.logged_by if name in _REMOTE]
    split = spec.experiment.evaluation.split
    means = scores.groupby(["task", "metric"], sort=False)["value"].mean()
    values = {metric_name(f"{split}/{task}/{metric}"): float(value) for (task, metric), value in means.items()}
    log_values(spec, {name: value for name, value in values.items() if math.isfinite(value)}, names, tell)


def log_values(spec: RunSpec, values: Mapping[str, float], names: Sequence[str], tell: Callable[[str], None]) -> None:
    """Add figures to the runs that loggers have of a trained run.

    Args:
        spec: the run.
        values: ``{name: figure}``.
        names: of the loggers.
        tell: told in one line that one failed.
    """
    loggers = Guarded(spec.experiment, spec.folder, spec.name, tell, tags=tags_of(spec), names=names)
    for name in loggers.names:
        with loggers.each(name):
            loggers.open(name).log_metrics(dict(values), step=loggers.logged(name))
    loggers.close("success")


def failures_of(spec: RunSpec) -> dict[str, str]:
    """``{logger: why}`` of the loggers that have failed in a run and were left out of the rest of it."""
    runs = LoggedRuns(spec.folder)
    found = {
        name: str(runs.of(name, where_of(name, spec.experiment)).get("failed", ""))
        for name in spec.experiment.training.logged_by
    }
    return {name: why for name, why in found.items() if why}


def tags_of(spec: RunSpec) -> dict[str, str]:
    """Marks of a run: what it is, and of MLflow the run of the benchmark that it belongs to."""
    tags = {"method": spec.key, "seed": str(spec.seed), "tasks": ", ".join(spec.tasks)}
    if "mlflow" not in spec.experiment.training.logged_by:
        return tags
    parent = LoggedRuns(spec.experiment.output_folder).of("mlflow", where_of("mlflow", spec.experiment)).get("run")
    return {**tags, "mlflow.parentRunId": str(parent)} if parent else tags


def parameters_of(spec: RunSpec) -> dict[str, Any]:
    """The settings of a run, flat, without places on this machine."""
    settings = without_places(settings_of(spec))
    for key in ("methods", "seeds"):
        settings.pop(key)
    return {"method": spec.key, "seed": spec.seed, "tasks": ", ".join(spec.tasks), **flattened(settings)}


def metric_name(key: str) -> str:
    """A name that every logger takes: letters, digits, and ``_ / . -`` and blanks."""
    return re.sub(r"[^\w/. -]", "_", key, flags=re.ASCII)


def file_label(text: str) -> str:
    """A name of an artefact: letters, digits, and ``_ . -``."""
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)
