"""Loggers by name: where else a training writes what its history has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from crosstask.experiment.section import Section


class PlainLoggerSection(Section):
    """A logger without options, which writes into the run folder."""


class MlflowSection(Section):
    """An MLflow server or local store; the benchmark is a run, and each training one nested in it."""

    tracking_uri: str | None = Field(
        default=None,
        description="server (http://...) or local store (sqlite:///mlflow.db); None: $MLFLOW_TRACKING_URI, else "
        "mlflow.db in the working folder. Passwords belong into $MLFLOW_TRACKING_USERNAME and "
        "$MLFLOW_TRACKING_PASSWORD",
    )
    experiment: str | None = Field(default=None, description="MLflow's experiment; None: the experiment's name")
    artifacts: bool = Field(
        default=True, description="also keep page and tables of the benchmark and the judged weights of each run there"
    )

    @field_validator("tracking_uri")
    @classmethod
    def _without_password(cls, uri: str | None) -> str | None:
        """An experiment file is copied into every run folder."""
        if uri is not None and urlsplit(uri).password is not None:
            raise ValueError(
                "it holds a password, which would be written into every run folder; give that in "
                "$MLFLOW_TRACKING_PASSWORD, and the user in $MLFLOW_TRACKING_USERNAME"
            )
        return uri


class WandbSection(Section):
    """Weights & Biases; the runs of a benchmark are one group."""

    project: str | None = Field(default=None, description="W&B's project; None: the experiment's name")
    entity: str | None = Field(default=None, description="user or team; None: the account's default")
    offline: bool = Field(
        default=False, description="write to the run folder only; wandb sync sends it to a server later"
    )
    artifacts: bool = Field(
        default=False, description="also send page and tables of the benchmark and the judged weights of each run"
    )


class LoggersSection(Section):
    """Where else a training writes: a list of names, or names with their options; history.csv is written anyway."""

    csv: PlainLoggerSection | None = Field(
        default=None, description="csv/metrics.csv in the run folder, one row an epoch, as Lightning writes it"
    )
    tensorboard: PlainLoggerSection | None = Field(
        default=None, description="tensorboard/ in the run folder (needs the extra tensorboard)"
    )
    mlflow: MlflowSection | None = Field(default=None, description="MLflow (needs the extra mlflow)")
    wandb: WandbSection | None = Field(
        default=None, description="Weights & Biases (needs the extra wandb, and wandb login unless offline)"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        """A list of names is these without options; so is a name without any, or with true. False leaves it off."""
        values = [values] if isinstance(values, str) else values
        if isinstance(values, list | tuple):
            if not all(isinstance(name, str) for name in values) or len(set(values)) < len(values):
                raise ValueError("give each name once, e.g. [csv, mlflow]")
            values = dict.fromkeys(values)
        if not isinstance(values, Mapping):
            return values
        return {
            name: {} if options is None or options is True else options
            for name, options in values.items()
            if options is not False
        }

    @model_serializer(mode="wrap")
    def _those_on(self, as_usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Those that are on, so that what is written is read as it was meant: a name without options is on."""
        return {name: options for name, options in as_usual(self).items() if options is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are on."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)
