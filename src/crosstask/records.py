"""The form of a run's record, ``run.json``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Data(_Part):
    fingerprint: str | None = None
    cases: dict[str, list[str]] = {}
    dataset: str = ""
    licence: str = ""
    source: str = ""
    citation: str = ""


class _Training(_Part):
    epochs: int = Field(ge=1)
    best_epoch: int = Field(ge=0)
    best_score: float | None
    seconds: float = Field(ge=0)


class _Packages(_Part):
    torch: str


class _Environment(_Part):
    revision: str | None
    processor: str
    cores: int | None
    packages: _Packages


class _Record(_Part):
    method: str
    variant: str = ""
    seed: int
    tasks: list[str] = Field(min_length=1)
    learned: list[str] | None = None
    trained: bool = False
    task_state: dict[str, dict[str, Any]]
    parameters: int | None = None
    data: _Data | None = None
    training: _Training | None = None
    environment: _Environment | None = None

    @model_validator(mode="after")
    def _known(self) -> _Record:
        learned = self.learned if self.learned is not None else self.tasks
        if not learned or set(learned) - set(self.tasks):
            raise ValueError("learned")
        return self


def is_record(record: Any) -> bool:
    """Whether a value has all that a record must have, and what it has is of the right kind."""
    try:
        _Record.model_validate(record)
    except ValidationError:
        return False
    return True


def is_complete(record: dict[str, Any]) -> bool:
    """Whether a trained run's record has all that reports show of it."""
    return all(record.get(part) is not None for part in ("parameters", "data", "training", "environment"))
