"""A run whose predictions another takes as input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from crosstask.experiment.section import Section


class EarlierSection(Section):
    """An earlier run, what it predicts of a case being further input channels: a cascade of two networks."""

    run: list[Path] = Field(
        min_length=1,
        description="its folder; or the runs of several folds of one method, each of which predicts the cases that it "
        "was not trained on, and all together those that none was (docs/volumes.md)",
    )
    tasks: list[str] = Field(default=[], description="of its tasks at pixel level, those that are given on; []: all")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        return {"run": values} if isinstance(values, (str, Path, list)) else values

    @field_validator("run", mode="before")
    @classmethod
    def _several(cls, run: Any) -> Any:
        return [run] if isinstance(run, (str, Path)) else run
