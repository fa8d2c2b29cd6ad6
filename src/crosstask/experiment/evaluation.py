"""How predictions of the test cases are scored."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator

from crosstask.experiment.section import Section
from crosstask.functional.improvement import LEVEL, MARGIN


class EvaluationSection(Section):
    """How predictions of the test cases are scored."""

    batch_size: PositiveInt = Field(default=32, description="slices or patches predicted at a time")
    overlap: float = Field(default=0.5, ge=0, lt=1, description="patch: overlap of neighbouring patches")
    pooling: Literal["mean", "median", "max"] = Field(
        default="mean",
        description="slice, patch: how their image-level predictions become that of the case; max is the largest "
        "probability of each class (quantities are averaged)",
    )
    threshold: Literal["validation"] | float = Field(
        default="validation",
        description="probability above which a class with a sigmoid is called positive; validation: a threshold per "
        "class, tuned on validation for the highest balanced accuracy; 0.5: as a softmax of two classes decides",
    )
    complete_cases: bool = Field(
        default=False, description="leave out test cases that lack a label of any of the experiment's tasks"
    )
    bootstrap: PositiveInt = Field(default=2000, description="resamplings of the cases behind each interval")
    margin: float = Field(
        default=MARGIN,
        ge=0,
        allow_inf_nan=False,
        description="percent; methods whose difference is certain to be smaller are called equivalent",
    )
    level: float = Field(default=LEVEL, gt=0.5, lt=1, description="confidence of intervals and verdicts")
    keep_predictions: bool = Field(default=False, description="keep the predicted volumes in the run folder")

    @field_validator("threshold", mode="before")
    @classmethod
    def _decides(cls, threshold: Any) -> Any:
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold != "validation" and not (number and 0 < threshold < 1):
            raise ValueError("give validation, or a probability between 0 and 1")
        return threshold

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold that is given, or None where each class has one chosen on validation cases."""
        return None if isinstance(self.threshold, str) else self.threshold
