"""Labelled cases of another origin, on which all runs of a benchmark are scored too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from crosstask.experiment.section import Section

EXTERNAL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What an external set may be called: it names a folder."""


class ExternalDataset(Section):
    """Which data set the cases are read as; a path alone is the root of a cohort."""

    name: str = Field(default="cohort", description="a data set, as dataset.name")
    root: Path = Field(description="folder of the raw data set, or the YAML file of a cohort")
    options: dict[str, Any] = Field(default={}, description="what the data set's reader takes, as dataset.options")


class ExternalSection(Section):
    """Labelled cases of another origin (another hospital, another camera), and what their labels are called here."""

    dataset: ExternalDataset
    tasks: dict[str, str] = Field(
        default={}, description="their task: ours, where the names differ; tasks of the same name match"
    )
    classes: dict[str, dict[str, str]] = Field(
        default={},
        description="our task: {their class: ours}, where the names differ; classes of the same name match, several of "
        "theirs may be one of ours, and cases of a class that is none of ours are left out and counted",
    )

    @field_validator("dataset", mode="before")
    @classmethod
    def _cohort(cls, dataset: Any) -> Any:
        return {"root": dataset} if isinstance(dataset, (str, Path)) else dataset

    @field_validator("tasks", mode="before")
    @classmethod
    def _task_names(cls, tasks: Any) -> Any:
        return _names(tasks)

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, classes: Any) -> Any:
        if not isinstance(classes, Mapping):
            return classes
        return {str(task): _names(pairs) for task, pairs in classes.items()}


def _names(pairs: Any) -> Any:
    """Names as text: YAML reads 1 as a number. What it reads yes and no as is nobody's name."""
    if not isinstance(pairs, Mapping):
        return pairs
    for name in (*pairs, *pairs.values()):
        if isinstance(name, bool):
            raise ValueError(f"{name!r} is no name; write 'yes', 'no', 'on' and the like in quotes")
    return {_text(theirs): _text(ours) for theirs, ours in pairs.items()}


def _text(name: Any) -> Any:
    return str(name) if isinstance(name, (int, float)) else name
