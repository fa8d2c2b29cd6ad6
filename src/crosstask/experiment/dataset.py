"""Which data, which of its labels become tasks, and which cases train, choose and test."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from crosstask.experiment.section import Section


class SplitSection(Section):
    """Which cases train, choose the best epoch, and test. No rule divides a group."""

    rule: Literal["original", "validation_as_test", "validation_from_train", "drawn", "folds", "file"] = Field(
        default="original",
        description="original: the data set's own; validation_as_test: its validation cases are the test set, and "
        "validation_fraction of its training cases the validation set; validation_from_train: its own test set, and "
        "validation_fraction of all others the validation set; drawn: all cases anew by fractions; folds: "
        "k-fold cross-validation, of which this is one fold; file: as a table says",
    )
    validation_fraction: float = Field(
        default=0.15, gt=0, lt=1, description="with validation_as_test, validation_from_train and folds"
    )
    fractions: tuple[float, float, float] = Field(
        default=(0.7, 0.1, 0.2), description="drawn: shares of training, validation and test"
    )
    stratify: str | None = Field(
        default=None,
        description="drawn, folds: labels of whole cases (a case array) that each split gets in equal shares",
    )
    folds: int = Field(default=5, ge=2, description="folds: how many")
    fold: int = Field(default=0, ge=0, description="folds: which one is the test set")
    file: Path | None = Field(default=None, description="file: a CSV with the columns case and split")
    seed: int = Field(
        default=0,
        description="random seed of the split; original and file have none",
    )
    by_seed: bool = Field(
        default=False,
        description="drawn: every seed of the benchmark draws splits of its own; folds: every seed takes another fold, "
        "so that seeds 0 to folds - 1 test each case once",
    )

    @model_validator(mode="after")
    def _possible(self) -> SplitSection:
        if any(share <= 0 for share in self.fractions) or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError(f"fractions {list(self.fractions)} must be positive and add up to 1")
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is not there; {self.folds} folds are counted from 0")
        if (self.rule == "file") != (self.file is not None):
            raise ValueError("rule file needs file=splits.csv, and file needs rule=file")
        if self.by_seed and self.rule not in ("drawn", "folds"):
            raise ValueError(f"by_seed needs rule drawn or folds; {self.rule} is the same for every seed")
        return self

    def of_seed(self, seed: int) -> SplitSection:
        """The rule of one seed of a benchmark."""
        if not self.by_seed:
            return self
        moved = {"seed": self.seed + seed} if self.rule == "drawn" else {"fold": (self.fold + seed) % self.folds}
        return self.model_copy(update={"by_seed": False, **moved})


class BeamSection(Section):
    """Coplanar beams aimed at the targets: what each irradiates is an input channel of its own."""

    angles: list[float] = Field(
        default=[40.0 * number for number in range(9)],
        min_length=1,
        description="of the gantry, in degrees: 0 from the front, 90 from the patient's left; those of OpenKBP's plans "
        "are nine from 0 to 320",
    )
    targets: list[str] = Field(
        default=[],
        description="structures that the beams are aimed at, together; []: those whose name begins with PTV",
    )
    margin: float = Field(default=5.0, ge=0, le=100, description="of the openings around the targets' outline, in mm")
    source_distance: float = Field(
        default=1000.0, ge=500, description="of the source from the isocentre, the targets' centre of mass, in mm"
    )

    @field_validator("angles")
    @classmethod
    def _distinct(cls, angles: list[float]) -> list[float]:
        if not all(math.isfinite(angle) for angle in angles):
            raise ValueError("angles must be finite")
        if len({angle % 360 for angle in angles}) < len(angles):
            raise ValueError("two angles are the same")
        return angles


class DatasetSection(Section):
    """Which data, and which of its labels become tasks."""

    name: str = Field(description="a data set, e.g. openkbp or phantom")
    root: Path = Field(description="folder of the raw data set, or the YAML file of a cohort")
    options: dict[str, Any] = Field(default={}, description="what the data set's reader takes, e.g. spacing of stoic")
    tasks: dict[str, dict[str, Any]] = Field(
        description="task: its options, e.g. segmentation: {classes: [Brainstem]}; of losses see docs/losses.md"
    )
    windows: list[tuple[float, float]] = Field(
        default=[(0.0, 2000.0)], min_length=1, description="one input channel per window [low, high] of image values"
    )
    structure_input: bool | Annotated[list[str], Field(min_length=1)] = Field(
        default=False,
        description="give the true structure masks as extra input channels: all, targets too (the challenge's own "
        "setting), or those that are named",
    )
    beams: BeamSection | None = Field(
        default=None,
        description="give what beams aimed at the targets irradiate as extra input channels, one a beam "
        "(docs/volumes.md); {}: nine, as in OpenKBP's plans. None: none",
    )
    splits: SplitSection = SplitSection()
    hide_labels: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of all labels to take away at random, as if they had never been there; give it a store of "
        "its own",
    )
    limit: PositiveInt | None = Field(default=None, description="use only the first so many cases of each split")

    @field_validator("splits", mode="before")
    @classmethod
    def _rule(cls, splits: Any) -> Any:
        return {"rule": splits} if isinstance(splits, str) else splits

    @field_validator("windows")
    @classmethod
    def _ordered(cls, windows: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if any(not low < high for low, high in windows):
            raise ValueError("each window is [low, high] with low < high")
        return windows

    @field_validator("tasks", mode="before")
    @classmethod
    def _options(cls, tasks: Any) -> Any:
        if isinstance(tasks, list):
            tasks = dict.fromkeys(tasks)
        if isinstance(tasks, dict):
            if not tasks:
                raise ValueError("at least one task is needed")
            return {name: options or {} for name, options in tasks.items()}
        return tasks
