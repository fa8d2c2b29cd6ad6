"""What each logger is made of: package, Lightning's class, and silence. No Lightning here before one is made."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosstask.errors import InputError
from crosstask.experiment import Experiment, TrainingSection

_PACKAGES = {
    "csv": (),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SOURCE = "crosstask"
# Set where the user has not: what these packages tell their makers, and how long a server that is away may hold us up.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}


def check_loggers(settings: TrainingSection) -> None:
    """Make sure that the loggers which are on are installed.

    Raises:
        InputError: one is not.
    """
    for name in settings.logged_by:
        needed = [*_PACKAGES[name]]
        if name == "mlflow" and mlflow_uri(settings).startswith(_DATABASES):
            needed += ["sqlalchemy", "alembic"]
        missing = [package for package in needed if importlib.util.find_spec(package) is None]
        if missing:
            raise InputError(
                f"training.loggers: {name} needs {missing[0]}, which is not installed; pip install 'crosstask[{name}]'"
            )


def mlflow_uri(settings: TrainingSection) -> str:
    """Where MLflow's runs go: as the experiment says, the environment, or MLflow's own default."""
    section = settings.loggers.mlflow
    given = (section.tracking_uri if section is not None else None) or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{Path('mlflow.db').absolute()}"


def prepare_environment() -> None:
    """Keep the packages to themselves; before any of them is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "wandb", "git"):
        logging.getLogger(name).setLevel(logging.ERROR)


def make_logger(
    name: str,
    experiment: Experiment,
    folder: Path,
    *,
    run: str,
    known: str | None = None,
    tags: Mapping[str, str] | None = None,
    done: int = 0,
) -> Any:
    """One of Lightning's loggers, nothing of it begun yet.

    Args:
        name: of the logger.
        experiment: as the run has it.
        folder: of the run, or of the benchmark.
        run: what the run is called.
        known: the logger's own name of a run that goes on.
        tags: what the run is marked with, where the logger has marks.
        done: epochs that were logged before.
    """
    prepare_environment()
    from lightning.pytorch import loggers

    training = experiment.training
    if name == "csv":
        return loggers.CSVLogger(folder, name="csv", version="", flush_logs_every_n_steps=1)
    if name == "tensorboard":
        return loggers.TensorBoardLogger(
            folder, name="tensorboard", version="", default_hp_metric=False, purge_step=done
        )
    if name == "mlflow":
        section = training.loggers.mlflow
        return loggers.MLFlowLogger(
            experiment_name=(section.experiment if section is not None else None) or experiment.name,
            run_name=run,
            tracking_uri=mlflow_uri(training),
            # MLflow would take the path of the program
            tags={"mlflow.source.name": _SOURCE, "mlflow.source.type": "LOCAL", **(tags or {})},
            run_id=known,
        )
    return _wandb(experiment, folder, run, known, tags or {})


def _wandb(experiment: Experiment, folder: Path, run: str, known: str | None, tags: Mapping[str, str]) -> Any:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    section = experiment.training.loggers.wandb
    assert section is not None
    folder.mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        name=run,
        project=section.project or experiment.name,
        entity=section.entity,
        save_dir=folder,
        id=known or secrets.token_hex(4),
        offline=section.offline,
        group=experiment.name,
        job_type=tags.get("method", "benchmark"),
        # neither the program's path and arguments, nor the code, nor what is printed
        settings=wandb.Settings(
            console="off", disable_git=True, save_code=False, x_disable_meta=True, silent=True, init_timeout=30
        ),
    )
