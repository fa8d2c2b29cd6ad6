"""A benchmark as loggers have it: a run of its own, above those of its trainings, with its page and its tables."""

from __future__ import annotations

import html
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from crosstask.evaluation.comparison import Comparison
from crosstask.experiment import Experiment
from crosstask.runs import EXPERIMENT
from crosstask.runs.disclosed import absolute_places, flattened, without_places
from crosstask.training.loggers import Guarded, metric_name

_REMOTE = ("mlflow", "wandb")
_TABLES = ("index.html", "table.*", "verdict.csv", "epochs.*", "transfer.*", "ensembles.*", "diagnosis.*", "readings.*")
"""Page and tables of a benchmark; none of them a row a case."""
_KINDS = (".html", ".txt", ".md", ".csv", ".tex")


@contextmanager
def logged(experiment: Experiment, tell: Callable[[str], None]) -> Iterator[Callable[[Comparison], None]]:
    """A benchmark at work: its run is there before those of its trainings, and ends with it.

    What it gives is called with the comparison once page and tables are written.

    Args:
        experiment: the benchmark's.
        tell: told in one line that a logger failed.
    """
    names = [name for name in experiment.training.logged_by if name in _REMOTE]
    if not names:
        yield lambda comparison: None
        return
    loggers = Guarded(experiment, experiment.output_folder, experiment.name, tell, tags={}, names=names)
    if "mlflow" in names:  # whose runs are nested; those of W&B are a group by its name
        with loggers.each("mlflow"):
            loggers.parameters("mlflow", _parameters(experiment))
    status = "killed"
    try:
        yield lambda comparison: _log(loggers, experiment, comparison)
        status = "success"
    except Exception:
        status = "failed"
        raise
    finally:
        loggers.close(status)


def _log(loggers: Guarded, experiment: Experiment, comparison: Comparison) -> None:
    for name in loggers.names:
        with loggers.each(name):
            logger = loggers.open(name)
            if name != "mlflow":
                loggers.parameters(name, _parameters(experiment))
            logger.log_metrics(_figures(comparison))
            with tempfile.TemporaryDirectory() as folder:
                loggers.file(name, _written(experiment, Path(folder)), "benchmark")


def _written(experiment: Experiment, folder: Path) -> list[Path]:
    """Page, tables and experiment, as copies without places on this machine."""
    settings = experiment.model_dump(mode="json")
    told = yaml.safe_dump(without_places(settings), sort_keys=False, allow_unicode=True)
    copies = []
    for path in _tables(experiment.output_folder):
        text = path.read_text(encoding="utf-8").replace(html.escape(experiment.dump()), html.escape(told))
        for place in absolute_places(settings):
            text = text.replace(html.escape(place), "...")
        copies.append(folder / path.name)
        copies[-1].write_text(text, encoding="utf-8")
    (folder / EXPERIMENT).write_text(told, encoding="utf-8")
    return [*copies, folder / EXPERIMENT]


def _parameters(experiment: Experiment) -> dict[str, Any]:
    return flattened(without_places(experiment.model_dump(mode="json")))


def _tables(folder: Path) -> list[Path]:
    found = {path for pattern in _TABLES for path in folder.glob(pattern)}
    return sorted(path for path in found if path.suffix in _KINDS)


def _figures(comparison: Comparison) -> dict[str, float]:
    """M of every method and task, and improvements with their intervals, in percent."""
    figures: dict[str, float] = {}
    for row in comparison.rows:
        for task, cell in [*row.cells.items(), ("mean", row.mean)]:
            if task != "mean":
                figures[f"M/{task}/{row.method}"] = cell.value
            figures[f"improvement/{task}/{row.method}"] = cell.improvement
            figures[f"improvement_low/{task}/{row.method}"] = cell.low
            figures[f"improvement_high/{task}/{row.method}"] = cell.high
    return {metric_name(name): float(value) for name, value in figures.items() if math.isfinite(value)}
